"""A detection job: the cloud classes of the target, and their probability; a mask of the product may join in."""

from __future__ import annotations

import json
import math
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from ..clouds import published, s2cloudless
from ..clouds.detect import expand_given_mask
from ..errors import InputError
from ..raster.classes import CLEAR, CLOUD, NO_DATA, SHADOW
from ..raster.info import describe
from ..raster.masks import MaskReader
from ..raster.together import Together
from ..raster.windows import Window
from ..raster.writer import RasterWriter
from .detecting import detect_dates
from .job import Job, Result
from .progress import Cancel, Log, Progress, Report
from .scene import Scene, hidden


def detect(
    job: Job, scene: Scene, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log
) -> Result:
    """Write the target's cloud classes, and the probability if it is wanted.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    progress = Progress(report, cancelled, {"Finding clouds": 1.0})
    counted = {"valid": 0, "hidden": 0}
    dilate = _dilation(job, scene.grid.pixel_m)
    with Together() as stack:
        given = stack.enter_context(MaskReader(describe(job.cloud_mask), scene.grid)) if job.cloud_mask else None
        for note in given.notes if given else ():
            log("info", note)
        classes_out = stack.writer(_writer(job, scene, job.output, "uint8", NO_DATA, CLASS_NAMES))
        probability_out = None
        if job.probability:
            name = "cloud or shadow probability, 0..1"
            probability_out = stack.writer(_writer(job, scene, job.probability, "float32", float("nan"), name))

        def keep(date: int, window: Window, classes: np.ndarray, probability: np.ndarray) -> None:
            if given:
                known = _grown(given, window, dilate or 0, scene)
                classes = joined(classes, known)
                probability = np.where(hidden(known), np.float32(1), probability)
            classes_out.write(classes[None], window)
            counted["valid"] += int((classes != NO_DATA).sum())
            counted["hidden"] += int(hidden(classes).sum())
            if probability_out:
                known = np.where(classes == NO_DATA, np.nan, probability).astype(np.float32)
                probability_out.write(known[None], window)

        # the published detectors take each date by itself: the other dates have nothing to say
        dates = slice(1) if job.method in published.METHODS else slice(None)
        notes = detect_dates(
            scene.readers[dates], scene.grid, scene.days[dates], method=job.method, threshold=job.threshold,
            dilate=dilate, wanted={0}, report=progress.phase("Finding clouds"), cancelled=progress.asked,
            pool=threads, write=keep, weights=job.weights,
        )  # fmt: skip
        if not counted["valid"]:
            raise InputError(f"{Path(job.input).name} holds no data in this extent: there is nothing to look at.")
    for note in notes:
        log("info", note)
    return Result(
        output=job.output,
        probability=job.probability,
        cloud_share=counted["hidden"] / counted["valid"],
        method_used=_ran(job, scene),
    )


def _ran(job: Job, scene: Scene) -> str:
    """The detector behind 'auto': s2cloudless joins where its bands and its model are there."""
    if job.method != "auto":
        return job.method
    joins = s2cloudless.applicable(scene.bands, scene.readers[0].level) and s2cloudless.model_path() is not None
    return "s2cloudless" if joins else "rules"


def _dilation(job: Job, pixel_m: float) -> int | None:
    """Pixels by which masks are widened: the job's metres, else its pixels; None = the detector's own.

    Raises:
        InputError: the settings are not usable.
    """
    try:
        settings = json.loads(job.settings or "{}")
        metres = settings.get("dilate_m")
        if set(settings) - {"dilate_m"} or not (metres is None or 0 <= float(metres) < math.inf):
            raise ValueError("'dilate_m' must be 0 or more metres, and nothing else can be set")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"The settings of the job are not usable ({error}).") from error
    if metres is not None:
        return round(float(metres) / pixel_m)
    return job.dilate if job.dilate >= 0 else None


def _grown(given: MaskReader, window: Window, dilate: int, scene: Scene) -> np.ndarray:
    """Classes of the analyst's mask on a window, widened as far as was asked for."""
    wide = window.pad(*[dilate] * 4).clip(*scene.grid.shape)
    return expand_given_mask(given.read(wide), dilate)[window.slices(wide)]


def joined(found: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Cloud or shadow where either says so, cloud before shadow; no data where nothing was detected for lack of it.

    Args:
        found, given: classes uint8 (H, W); what the mask does not know changes nothing.
    """
    out = np.where((given == SHADOW) & (found == CLEAR), np.uint8(SHADOW), found)
    return np.where((given == CLOUD) & (found != NO_DATA), np.uint8(CLOUD), out)


CLASS_NAMES = "0 clear, 1 cloud, 2 shadow, 255 no data"


def _writer(job: Job, scene: Scene, path: str, dtype: str, nodata: float, name: str) -> RasterWriter:
    """A one-band raster on the scene's grid."""
    return RasterWriter(
        path, scene.layers[0].info, scene.grid, dtype=dtype, count=1, nodata=nodata, descriptions=[name],
        scales=[1.0], offsets=[0.0], tags={}, colorinterp=[], forbid=job.inputs,
    )  # fmt: skip
