"""The inputs that the raster algorithms share: checked in one place, snapshotted in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterRasterLayer,
    QgsRasterLayer,
    QgsRectangle,
)

from ..gui.styling import Look
from ..gui.text import tr
from . import checks, layers, running
from .layers import Raster


@dataclass(frozen=True)
class Inputs:
    """What a run reads, as plain data.

    Attributes:
        target: the cloudy raster.
        others: every other raster parameter's layers, by key.
        extent: (xmin, ymin, xmax, ymax) in the target's CRS, None = all.
        look: how the target is drawn.
    """

    target: Raster
    others: dict[str, tuple[Raster, ...]]
    extent: tuple[float, float, float, float] | None
    look: Look

    def path(self, key: str) -> str:
        """Path of an optional single raster, '' = not given."""
        return next(iter(self.paths(key)), "")

    def paths(self, key: str) -> tuple[str, ...]:
        """Paths of an optional list of rasters."""
        return tuple(raster.path for raster in self.others.get(key, ()))

    def log(self, feedback: QgsProcessingFeedback) -> None:
        """First lines of the log: what was given, as QGIS sees it."""
        feedback.pushInfo(f"INPUT: {self.target.describe()}")
        for key, given in self.others.items():
            for raster in given:
                feedback.pushInfo(f"{key}: {raster.describe()}")
        for raster in (self.target, *(raster for given in self.others.values() for raster in given)):
            if raster.note:
                feedback.pushWarning(raster.note)


def raster_keys(algorithm: QgsProcessingAlgorithm) -> dict[str, str]:
    """Key and title of every parameter that takes rasters, in their order."""
    kinds = (QgsProcessingParameterRasterLayer, QgsProcessingParameterMultipleLayers)
    return {item.name(): item.description() for item in algorithm.parameterDefinitions() if isinstance(item, kinds)}


def problem(
    algorithm: QgsProcessingAlgorithm,
    parameters: dict[str, Any],
    context: QgsProcessingContext,
    outputs: Sequence[str],
    main: str = "INPUT",
) -> str:
    """One sentence on what keeps these parameters from running, '' = nothing; ``main``: the main raster's key."""
    keys = raster_keys(algorithm)
    missing = running.dependency_problem()
    if missing:
        return missing
    for key, title in keys.items():
        sentence = layers.unreadable(parameters, key, title, context)
        if sentence:
            return sentence
    target = algorithm.parameterAsRasterLayer(parameters, main, context)
    if target is None:
        return algorithm.invalidRasterError(parameters, main)
    others = layers.rasters(algorithm, parameters, "OTHER_DATES", context)
    masks = layers.count(parameters, "OTHER_MASKS", context)
    if masks and masks != len(others):
        return tr(
            "The masks ({masks}) and the other dates ({dates}) differ in number. Give one mask for each, in the same "
            "order, or none."
        ).format(masks=masks, dates=len(others))
    given = [layer for key in keys for layer in layers.rasters(algorithm, parameters, key, context)]
    return (
        checks.repeated_problem(target, others)
        or _dates_problem(algorithm, parameters, context, 1 + len(others))
        or _extent_problem(algorithm, parameters, context, target)
        or checks.outputs_problem(
            [layers.destination(parameters, key, context) for key in outputs],
            [layers.snapshot(layer).path for layer in given],
        )
    )


def read(
    algorithm: QgsProcessingAlgorithm,
    parameters: dict[str, Any],
    context: QgsProcessingContext,
    main: str = "INPUT",
) -> Inputs:
    """Snapshot every raster; ``main`` is the key of the main one.

    Raises:
        QgsProcessingException: the main raster cannot be read.
    """
    target = algorithm.parameterAsRasterLayer(parameters, main, context)
    if target is None:
        raise QgsProcessingException(algorithm.invalidRasterError(parameters, main))
    others = {
        key: tuple(layers.snapshot(layer) for layer in layers.rasters(algorithm, parameters, key, context))
        for key in raster_keys(algorithm)
        if key != main
    }
    extent = _extent(algorithm, parameters, context, target) if _has(algorithm, parameters, "EXTENT") else None
    corners = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()) if extent else None
    return Inputs(layers.snapshot(target), others, corners, Look.of(target))


def number(
    algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], key: str, context: QgsProcessingContext
) -> float | None:
    """An optional number, None = left empty."""
    return algorithm.parameterAsDouble(parameters, key, context) if _has(algorithm, parameters, key) else None


def _has(algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], key: str) -> bool:
    """Whether an optional parameter exists and was given (QGIS' NULL compares equal to None-like values)."""
    value = parameters.get(key)
    empty = value is None or (hasattr(value, "isNull") and not isinstance(value, QgsRectangle) and value.isNull())
    return algorithm.parameterDefinition(key) is not None and not empty and value != ""


def _dates_problem(
    algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], context: QgsProcessingContext, count: int
) -> str:
    if not _has(algorithm, parameters, "DATES"):
        return ""
    return checks.dates_problem(algorithm.parameterAsString(parameters, "DATES", context), count)


def _extent_problem(
    algorithm: QgsProcessingAlgorithm,
    parameters: dict[str, Any],
    context: QgsProcessingContext,
    target: QgsRasterLayer,
) -> str:
    given = _has(algorithm, parameters, "EXTENT")
    return checks.extent_problem(_extent(algorithm, parameters, context, target) if given else None, given, target)


def _extent(
    algorithm: QgsProcessingAlgorithm,
    parameters: dict[str, Any],
    context: QgsProcessingContext,
    target: QgsRasterLayer,
) -> QgsRectangle:
    """The extent in the CRS of the target's file, which is the one that the job works in."""
    return algorithm.parameterAsExtent(parameters, "EXTENT", context, target.dataProvider().crs())
