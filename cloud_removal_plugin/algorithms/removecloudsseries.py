"""``removecloudsseries``: a season of cloudy rasters, to a folder of cloud-free dates or a composite."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import replace
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from ..bands import SENSORS
from ..engine.job import AUTO_DILATE_PX, DEVICES, Job, Result
from ..gui import settings as chosen
from ..gui import styling
from ..gui.temporal import dated_style
from . import checks, inputs, layers, products, running
from .base import CloudRemovalAlgorithm
from .detectclouds import METHODS as DETECTORS

METHODS = (
    "auto", "fast", "gaussian", "scene_networks", "interpolation", "harmonic", "whittaker", "inpainting",
    "utilise", "clearvision",
)  # fmt: skip
"""As the engine's registry of series has them; those behind ``inpainting`` need imported weights."""
COMPOSITES = ("medoid", "best_pixel")
STACK = "stack.vrt"


class RemoveCloudsSeries(CloudRemovalAlgorithm):
    """Restores what clouds and shadows hide on every date of a series."""

    INPUTS = "INPUTS"
    CUBES = "CUBES"
    RADAR_SERIES = "RADAR_SERIES"
    CLOUD_MASKS = "CLOUD_MASKS"
    BANDS_PER_DATE = "BANDS_PER_DATE"
    DATES = "DATES"
    METHOD = "METHOD"
    OUTPUT_DATES = "OUTPUT_DATES"
    TARGET = "TARGET"
    COMPOSITE = "COMPOSITE"
    EXTENT = "EXTENT"
    DETECTOR = "DETECTOR"
    SENSOR = "SENSOR"
    REFLECTANCE_SCALE = "REFLECTANCE_SCALE"
    REFLECTANCE_OFFSET = "REFLECTANCE_OFFSET"
    DILATE = "DILATE"
    DEVICE = "DEVICE"
    MEMORY_MB = "MEMORY_MB"
    SEED = "SEED"
    LOAD = "LOAD"
    OUTPUT = "OUTPUT"
    UNCERTAINTY = "UNCERTAINTY"
    OUTPUT_STACK = "OUTPUT_STACK"
    OUTPUT_LAYERS = "OUTPUT_LAYERS"
    CLOUD_SHARE = "CLOUD_SHARE"
    RESTORED_SHARE = "RESTORED_SHARE"
    EXPECTED_RMSE = "EXPECTED_RMSE"
    SECONDS = "SECONDS"
    METHOD_USED = "METHOD_USED"

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None
        self._look = styling.Look()

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self._add_inputs()
        self._add_expert_knobs()
        self.add(QgsProcessingParameterBoolean(self.LOAD, self.tr("Load the dates into the project"), True))
        self.add(QgsProcessingParameterFolderDestination(self.OUTPUT, self.tr("Folder of restored dates")))
        self.add(
            QgsProcessingParameterFolderDestination(
                self.UNCERTAINTY, self.tr("Folder of uncertainties"), optional=True, createByDefault=False
            )
        )
        self.addOutput(QgsProcessingOutputRasterLayer(self.OUTPUT_STACK, self.tr("All dates as one raster")))
        self.addOutput(QgsProcessingOutputMultipleLayers(self.OUTPUT_LAYERS, self.tr("Restored dates")))
        self.addOutput(QgsProcessingOutputNumber(self.CLOUD_SHARE, self.tr("Share of cloud and shadow")))
        self.addOutput(QgsProcessingOutputNumber(self.RESTORED_SHARE, self.tr("Share restored")))
        self.addOutput(QgsProcessingOutputNumber(self.EXPECTED_RMSE, self.tr("Expected error (reflectance)")))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, self.tr("Seconds")))
        self.addOutput(QgsProcessingOutputString(self.METHOD_USED, self.tr("Method used")))

    def _add_inputs(self) -> None:
        raster = QgsProcessing.SourceType.TypeRaster
        several, text, choice = (
            QgsProcessingParameterMultipleLayers,
            QgsProcessingParameterString,
            QgsProcessingParameterEnum,
        )
        files = QgsProcessing.SourceType.TypeFile
        self.add(several(self.INPUTS, self.tr("Rasters of the series"), raster, optional=True))
        self.add(several(self.CUBES, self.tr("Cubes (NetCDF or Zarr)"), files, optional=True))
        self.add(several(self.CLOUD_MASKS, self.tr("Cloud masks"), raster, optional=True))
        self.add(several(self.RADAR_SERIES, self.tr("Radar (Sentinel-1)"), raster, optional=True))
        self.add(text(self.DATES, self.tr("Acquisition dates (in the order of the rasters)"), optional=True))
        bands = self.tr("Bands of one date (0 = a raster is one date)")
        whole = QgsProcessingParameterNumber.Type.Integer
        self.add(QgsProcessingParameterNumber(self.BANDS_PER_DATE, bands, whole, 0, False, 0))
        self.add(choice(self.METHOD, self.tr("Method"), list(METHODS), False, METHODS[0], False, True))
        self.add(text(self.OUTPUT_DATES, self.tr("Dates to write (input, every N days, or a list)"), "input"))
        self.add(text(self.TARGET, self.tr("What to write (all, composite, or one date)"), "all"))
        self.add(choice(self.COMPOSITE, self.tr("Composite"), list(COMPOSITES), False, COMPOSITES[0], False, True))
        self.add(QgsProcessingParameterExtent(self.EXTENT, self.tr("Extent"), optional=True))

    def _add_expert_knobs(self) -> None:
        integer, real = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double
        number, choice, auto = QgsProcessingParameterNumber, QgsProcessingParameterEnum, AUTO_DILATE_PX
        knobs = (
            choice(self.DETECTOR, self.tr("Cloud detection"), list(DETECTORS), False, DETECTORS[0], False, True),
            choice(self.SENSOR, self.tr("Sensor"), list(SENSORS), defaultValue="auto", usesStaticStrings=True),
            number(self.REFLECTANCE_SCALE, self.tr("Scale to reflectance"), real, optional=True),
            number(self.REFLECTANCE_OFFSET, self.tr("Offset to reflectance"), real, optional=True),
            number(self.DILATE, self.tr("Widen the masks (pixels, -1 = automatic)"), integer, auto, False, auto, 100),
            choice(self.DEVICE, self.tr("Device"), list(DEVICES), defaultValue="auto", usesStaticStrings=True),
            number(self.MEMORY_MB, self.tr("Memory (MiB, 0 = automatic)"), integer, 0, False, 0),
            number(self.SEED, self.tr("Seed"), integer, 0, False, 0),
        )
        for knob in knobs:
            self.add(knob, advanced=True)

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "removecloudsseries"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Remove clouds from a series")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        words = self.tr(
            "cloud,shadow,gap fill,gap filling,time series,season,temporal,composite,medoid,best available pixel,"
            "harmonic,whittaker,interpolation,u-tilise,clear vision,sentinel,landsat"
        )
        return words.split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        missing = running.dependency_problem()
        if missing:
            return missing
        for key, title in inputs.raster_keys(self).items():
            sentence = "" if key == self.CUBES else layers.unreadable(parameters, key, title, context)
            if sentence:
                return sentence
        cubes = self._cubes(parameters, context)
        given = layers.rasters(self, parameters, self.INPUTS, context)
        nothing = self.tr("No raster was given. Choose the rasters of the series (INPUTS), or a cube (CUBES).")
        if not given:
            return products.problem(cubes, nothing=nothing)
        if cubes and (sentence := products.problem(cubes, nothing="")):
            return sentence
        extent = self._extent(parameters, context)
        return checks.repeated_problem(given[0], given[1:]) or checks.extent_problem(
            extent, self._given(parameters, self.EXTENT), given[0]
        )

    def _cubes(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        """Absolute paths of the cubes."""
        given = self.parameterAsFileList(parameters, self.CUBES, context) if parameters.get(self.CUBES) else []
        return [os.path.abspath(path) for path in given if path]

    def _given(self, parameters: dict[str, Any], key: str) -> bool:
        return parameters.get(key) not in (None, "") and not (
            hasattr(parameters[key], "isNull") and parameters[key].isNull()
        )

    def _extent(self, parameters: dict[str, Any], context: QgsProcessingContext) -> Any:
        """The extent in the CRS of the first raster's file (of cubes: in its own), None where none is given."""
        if not self._given(parameters, self.EXTENT):
            return None
        given = layers.rasters(self, parameters, self.INPUTS, context)
        if not given:
            return self.parameterAsExtent(parameters, self.EXTENT, context)
        return self.parameterAsExtent(parameters, self.EXTENT, context, given[0].dataProvider().crs())

    def _extent_crs(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """WKT of the extent's CRS where no layer gives one, else ''."""
        if not self._given(parameters, self.EXTENT) or layers.rasters(self, parameters, self.INPUTS, context):
            return ""
        return self.parameterAsExtentCrs(parameters, self.EXTENT, context).toWkt()

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Snapshot the layers and build the job but for its outputs."""
        super().prepareAlgorithm(parameters, context, feedback)
        found = {
            key: [layers.snapshot(layer) for layer in layers.rasters(self, parameters, key, context)]
            for key in (self.INPUTS, self.RADAR_SERIES, self.CLOUD_MASKS)
        }
        for key, rasters in found.items():
            for raster in rasters:
                feedback.pushInfo(f"{key}: {raster.describe()}")
                if raster.note:
                    feedback.pushWarning(raster.note)
        given = layers.rasters(self, parameters, self.INPUTS, context)
        self._look = styling.Look.of(given[0]) if given else styling.Look()
        extent = self._extent(parameters, context)
        paths = {key: [raster.path for raster in rasters] for key, rasters in found.items()}
        paths[self.INPUTS] += self._cubes(parameters, context)
        self._job = self._make_job(parameters, context, paths, extent)
        return True

    def _make_job(
        self, parameters: dict[str, Any], context: QgsProcessingContext, paths: dict[str, list[str]], extent: Any
    ) -> Job:
        """The job; its folders are filled in by ``processAlgorithm``, where QGIS settles the paths."""
        settings = {
            "radar": paths[self.RADAR_SERIES],
            "masks": paths[self.CLOUD_MASKS],
            "bands_per_date": self.parameterAsInt(parameters, self.BANDS_PER_DATE, context),
            "output_dates": self.parameterAsString(parameters, self.OUTPUT_DATES, context),
            "target": self.parameterAsString(parameters, self.TARGET, context),
            "composite": self.parameterAsEnumString(parameters, self.COMPOSITE, context),
            "extent_crs": self._extent_crs(parameters, context),
            "detector": self.parameterAsEnumString(parameters, self.DETECTOR, context),
        }
        box = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()) if extent else None
        return Job(
            kind="series",
            input="",
            output="pending",
            products=tuple(paths[self.INPUTS]),
            settings=json.dumps(settings),
            method=self.parameterAsEnumString(parameters, self.METHOD, context),
            dates=self.parameterAsString(parameters, self.DATES, context).strip(),
            extent=box,
            sensor=self.parameterAsEnumString(parameters, self.SENSOR, context),
            reflectance_scale=inputs.number(self, parameters, self.REFLECTANCE_SCALE, context),
            reflectance_offset=inputs.number(self, parameters, self.REFLECTANCE_OFFSET, context),
            dilate=self.parameterAsInt(parameters, self.DILATE, context),
            device=self.parameterAsEnumString(parameters, self.DEVICE, context),
            memory_mb=self.parameterAsInt(parameters, self.MEMORY_MB, context),
            seed=self.parameterAsInt(parameters, self.SEED, context),
            weights=chosen.weights_folder(),
        )

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the job; returns {} on cancel."""
        job = replace(
            self._job,
            output=self.parameterAsFileOutput(parameters, self.OUTPUT, context),
            uncertainty=self.parameterAsFileOutput(parameters, self.UNCERTAINTY, context),
        )
        result = running.run(job, feedback)
        if result is None:
            return {}
        dated = [tuple(line.split("\t")) for line in result.report.splitlines()]
        if self.parameterAsBool(parameters, self.LOAD, context) and context.project() is not None:
            self._load(dated, context)
        return self._results(result, [path for path, *_ in dated])

    def _load(self, dated: list[tuple[str, ...]], context: QgsProcessingContext) -> None:
        """Have QGIS load the dates, the earliest first, each with the time for which it stands."""
        for path, begin, end in dated:
            name = os.path.splitext(os.path.basename(path))[0]
            details = QgsProcessingContext.LayerDetails(name, context.project(), name)
            context.addLayerToLoadOnCompletion(path, details)
            days = [datetime.date.fromisoformat(day) for day in (begin, end) if day]
            styling.attach(context, path, dated_style(self._look.apply, days), main=True)

    def _results(self, result: Result, paths: list[str]) -> dict[str, Any]:
        """Declared keys that were produced; an unknown error is None."""
        folders = {self.OUTPUT: result.output, self.UNCERTAINTY: result.uncertainty}
        return {
            **{key: path for key, path in folders.items() if path},
            self.OUTPUT_STACK: os.path.join(result.output, STACK),
            self.OUTPUT_LAYERS: paths,
            self.CLOUD_SHARE: result.cloud_share,
            self.RESTORED_SHARE: result.restored_share,
            self.EXPECTED_RMSE: result.expected_rmse,
            self.SECONDS: result.seconds,
            self.METHOD_USED: result.method_used,
        }
