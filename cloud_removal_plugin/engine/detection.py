"""A detection job: the cloud classes of the target, and their probability."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..clouds import published
from ..clouds.detect import detect_scene
from ..errors import InputError
from ..raster.classes import NO_DATA
from ..raster.windows import Window
from ..raster.writer import RasterWriter
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
    with ExitStack() as stack:
        classes_out = stack.enter_context(_writer(job, scene, job.output, "uint8", NO_DATA, CLASS_NAMES))
        probability_out = None
        if job.probability:
            name = "cloud or shadow probability, 0..1"
            probability_out = stack.enter_context(_writer(job, scene, job.probability, "float32", float("nan"), name))

        def keep(date: int, window: Window, classes: np.ndarray, probability: np.ndarray) -> None:
            if date:
                return
            classes_out.write(classes[None], window)
            counted["valid"] += int((classes != NO_DATA).sum())
            counted["hidden"] += int(hidden(classes).sum())
            if probability_out:
                known = np.where(classes == NO_DATA, np.nan, probability).astype(np.float32)
                probability_out.write(known[None], window)

        # the published detectors take each date by itself: the other dates have nothing to say
        dates = slice(1) if job.method in published.METHODS else slice(None)
        notes = detect_scene(
            scene.readers[dates], scene.grid, scene.days[dates], method=job.method, threshold=job.threshold,
            dilate=job.dilate if job.dilate >= 0 else None, report=progress.phase("Finding clouds"),
            cancelled=progress.asked, write=keep, pool=threads, weights=job.weights,
            **scene.sun(dates),
        )  # fmt: skip
        if not counted["valid"]:
            raise InputError(f"{Path(job.input).name} holds no data in this extent: there is nothing to look at.")
    for note in notes:
        log("info", note)
    return Result(
        output=job.output,
        probability=job.probability,
        cloud_share=counted["hidden"] / counted["valid"],
        method_used=job.method,
    )


CLASS_NAMES = "0 clear, 1 cloud, 2 shadow, 255 no data"


def _writer(job: Job, scene: Scene, path: str, dtype: str, nodata: float, name: str) -> RasterWriter:
    """A one-band raster on the scene's grid."""
    return RasterWriter(
        path, scene.layers[0].info, scene.grid, dtype=dtype, count=1, nodata=nodata, descriptions=[name],
        scales=[1.0], offsets=[0.0], tags={}, colorinterp=[], forbid=job.inputs,
    )  # fmt: skip
