"""Does a job: the one function that the worker process, QGIS and the command line all call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import rasterio

from ..errors import OutputError
from ..raster.info import files_behind
from ..raster.target import EXTENSIONS, FIGURES, PAGES, check_target
from . import device as devices
from .clouding import simulate
from .description import describe_layers
from .detection import detect
from .job import Job, Result
from .judging import judge
from .libraries import check_libraries
from .notes import folded
from .preparation import prepare
from .progress import Cancel, Log, Report
from .radar_preparation import prepare_radar
from .restoration import restore
from .scene import Scene
from .series import restore_series
from .threads import pool, single_threaded
from .training import train_model
from .weights import import_weights, list_models

BLOCK_CACHE_MB = 512
"""GDAL's block cache: what the sample windows of a fit and the last window read must still be there when the next
window asks for it again."""


def run(job: Job, report: Report, cancelled: Cancel, log: Log) -> Result:
    """Do a job: over whole rasters, or with the networks' weights.

    Args:
        job: what to do.
        report: receives (fraction 0..1, phase), at most ten times a second.
        cancelled: asked at every step.
        log: receives ('info' or 'warning', sentence).

    Returns:
        What was written, and the figures of the run.

    Raises:
        CloudRemovalError: a sentence for the analyst; nothing was written.
        Cancelled: the analyst cancelled; nothing was written.
    """
    started = time.perf_counter()
    check_libraries()
    if job.kind in ("import", "models"):
        result = import_weights(job, report, cancelled, log) if job.kind == "import" else list_models(job, report, log)
        return replace(result, seconds=time.perf_counter() - started)
    if job.kind == "train":  # in as many threads as the training's settings say
        return replace(train_model(job, report, cancelled, log), seconds=time.perf_counter() - started)
    read = (*job.inputs, *(file for path in job.inputs if path for file in files_behind(path)))
    for target in job.outputs if job.kind != "series" else ():  # a series writes folders, which it checks itself
        check_target(target, read, _endings(job, target))
    if len({os.path.realpath(path) for path in job.outputs}) < len(job.outputs):
        raise OutputError("Two outputs have the same file name. Give each output a file of its own.")
    budget = devices.memory_budget_mb(job.memory_mb)
    cache = min(BLOCK_CACHE_MB, max(budget // 8, 32)) * 2**20  # rasterio hands GDAL bytes, whatever GDAL's text says
    with (
        single_threaded(),
        rasterio.Env(GDAL_CACHEMAX=cache),
        pool() as threads,
    ):
        door: dict[str, Any] = {"threads": threads, "report": report, "cancelled": cancelled, "log": log}
        result = _LAYERS_OF_THEIR_OWN.get(job.kind, _on_scene)(job, budget_mb=budget, **door)
        return replace(result, seconds=time.perf_counter() - started)


def _on_scene(job: Job, *, budget_mb: int, threads: Executor, log: Log, **door: Any) -> Result:
    """Restoration and detection: the layers of one scene."""
    with Scene(job, threads) as scene:
        _introduce(job, scene, budget_mb, log)
        work = detect if job.kind == "detect" else restore
        return work(job, scene, budget_mb=budget_mb, threads=threads, log=log, **door)


_LAYERS_OF_THEIR_OWN: dict[str, Callable[..., Result]] = {
    "evaluate": judge,
    "simulate": simulate,
    "describe": describe_layers,
    "prepare": prepare,
    "prepare_radar": prepare_radar,
    "series": restore_series,
}
"""Kinds that open their layers themselves."""


def _endings(job: Job, target: str) -> tuple[str, ...]:
    """What the name of an output may end with."""
    return {job.page: PAGES, job.figures: FIGURES}.get(target, EXTENSIONS)


def _introduce(job: Job, scene: Scene, budget: int, log: Log) -> None:
    """The first lines of the log: what came in, on which grid, with what it will be done."""
    for layer in scene.layers:
        info = layer.info
        what = f"{info.width} x {info.height} pixels, {info.count} bands, {info.dtype}"
        product = f"{layer.radiometry.sensor} {layer.radiometry.level}".rstrip()
        log("info", f"{Path(info.path).name}: {what}, {product}, day {layer.day:+.0f}.")
    grid = scene.grid
    log("info", f"Grid: {grid.width} x {grid.height} pixels of {grid.pixel_m:.4g} m; bands: {', '.join(scene.bands)}.")
    for note in folded(note for note in scene.notes if note not in scene.doubtful):
        log("warning" if note.startswith("Warning") else "info", note.removeprefix("Warning: "))
    for note in folded(note for note in scene.notes if note in scene.doubtful):
        log("warning", note)
    log("info", f"Method {job.method}; memory budget {budget} MB; seed {job.seed}. {devices.describe(job.device)}")
