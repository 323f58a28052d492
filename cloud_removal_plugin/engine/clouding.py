"""A simulation: made-up clouds, or the real masks of another date, over a clear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..clouds.simulate import SUN_AZIMUTH, SUN_ELEVATION, Clouds, Wish
from ..clouds.simulated_gaps import filled
from ..errors import InputError
from ..raster.align import check_together
from ..raster.classes import NO_DATA
from ..raster.crs import grid_of, on_ground
from ..raster.grid import Grid
from ..raster.info import RasterInfo, describe
from ..raster.masks import MaskReader
from ..raster.numbers import to_stored, unify_nodata
from ..raster.radiometry import Radiometry, recognise
from ..raster.reader import OpticalReader
from ..raster.sample import sample
from ..raster.sun import sun_of
from ..raster.together import Together
from ..raster.windows import Window, cores
from ..raster.writer import RasterWriter
from .job import Job, Result
from .notes import folded
from .progress import Cancel, Log, Progress, Report
from .scene import hidden

DARK_QUANTILE = 0.001
DARK_SHARE = 0.9
PHASE, LOOK = "Laying clouds over the scene", "Looking at masks"
Cover = Callable[[np.ndarray, Window], tuple[np.ndarray, np.ndarray]]
"""Reflectance (C, H, W) and its window to the cloudy reflectance and classes (H, W)."""


def simulate(job: Job, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log) -> Result:
    """Write a cloudy layer, which keeps everything that is told of the clear one, and its mask.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    info = describe(job.input)
    masks = [describe(path) for path in job.donor_masks]
    check_together(info, masks)
    radiometry = recognise(info, sensor=job.sensor, scale=job.reflectance_scale, offset=job.reflectance_offset)
    grid, said = on_ground(grid_of(info), radiometry.sensor)
    for note in folded((*radiometry.notes, *said)):
        log("info", note)
    progress = Progress(report, cancelled, {LOOK: 0.3 if masks else 0.0, PHASE: 1.0})
    windows = cores(Window(0, 0, *grid.shape))
    with ExitStack() as stack:
        if masks:
            cover, said = _from_masks(job, masks, grid, windows, stack, progress)
        else:
            cover, said = _made_up(job, info, radiometry, grid)
        log("info", said)
        counted = _write(job, info, radiometry, grid, windows, cover, progress)
    warnings = () if counted["hidden"] else ("No pixel was hidden: raise COVER, or give masks that hide something.",)
    for sentence in warnings:
        log("warning", sentence)
    return Result(
        output=job.output,
        clouds=job.clouds,
        cloud_share=counted["hidden"] / counted["valid"],
        method_used="masks" if masks else "made-up clouds",
        warnings=warnings,
    )


def _made_up(job: Job, info: RasterInfo, radiometry: Radiometry, grid: Grid) -> tuple[Cover, str]:
    """Clouds that follow from the seed; the sun stands where the analyst, else the layer's tags, say."""
    for name, low, high in (("cover", 0.0, 1.0), ("haze", 0.0, 1.0), ("size_m", grid.pixel_m, np.inf)):
        if not low <= getattr(job, name) <= high:
            raise InputError(
                f"'{name}' of the simulated clouds is {getattr(job, name):g}; give a number of at least {low:g}"
                + (f" and at most {high:g}." if np.isfinite(high) else " (one pixel in metres).")
            )
    sun = sun_of(info)
    azimuth = next(angle for angle in (job.sun_azimuth, sun.azimuth, SUN_AZIMUTH) if angle is not None)
    elevation = next(angle for angle in (job.sun_elevation, sun.elevation, SUN_ELEVATION) if angle is not None)
    wish = Wish(job.cover, job.size_m, job.haze, job.seed, azimuth, elevation)
    clouds = Clouds(wish, grid.shape, grid.pixel_m, _air(info, radiometry))
    said = f"Sun at azimuth {azimuth:.0f} and elevation {elevation:.0f} degrees; seed {job.seed}."
    return lambda surface, window: clouds.over(surface, radiometry.bands, window), said


def _air(info: RasterInfo, radiometry: Radiometry) -> tuple[float, ...]:
    """What the air adds to each band: a little less than the darkest pixels show (Chavez 1988, dark-object method)."""
    numbers = sample(info, radiometry.used_bands)
    if not numbers.shape[1]:
        return (0.0,) * len(radiometry.bands)
    scales, offsets = np.array([radiometry.pair(place) for place in range(len(radiometry.bands))]).T
    dark = np.quantile(numbers, DARK_QUANTILE, axis=1) * scales + offsets
    return tuple(float(value) for value in np.maximum(DARK_SHARE * dark, 0.0))


def _from_masks(
    job: Job, masks: Sequence[RasterInfo], grid: Grid, windows: Sequence[Window], stack: ExitStack, progress: Progress
) -> tuple[Cover, str]:
    """The mask whose share of hidden pixels is nearest to COVER; hidden pixels become white, as U-TILISE trains."""
    readers = [stack.enter_context(MaskReader(info, grid)) for info in masks]
    shares = []
    for place, reader in enumerate(readers):
        progress.step(LOOK, place / len(readers))
        known = gone = 0
        for window in windows:
            classes = reader.read(window)
            known, gone = known + int((classes != NO_DATA).sum()), gone + int(hidden(classes).sum())
        shares.append(gone / max(known, 1))
    chosen = int(np.argmin([abs(share - job.cover) for share in shares]))
    reader = readers[chosen]

    def cover(surface: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
        classes = np.where(hidden(found := reader.read(window)), found, 0).astype(np.uint8)
        classes[~np.isfinite(surface).any(axis=0)] = NO_DATA
        return filled(surface[None], hidden(classes)[None, None])[0], classes

    return cover, f"The gap is that of {masks[chosen].name}, which hides {100 * shares[chosen]:.1f} %."


def _write(
    job: Job,
    info: RasterInfo,
    radiometry: Radiometry,
    grid: Grid,
    windows: Sequence[Window],
    cover: Cover,
    progress: Progress,
) -> dict[str, int]:
    """Stream the windows; untouched pixels are copied bit for bit. Returns counts of valid and hidden pixels."""
    counted = {"valid": 0, "hidden": 0}
    bands = [band - 1 for band in radiometry.used_bands]
    with Together() as stack:
        reader = stack.enter_context(OpticalReader(info, radiometry, grid))
        cloudy = stack.writer(RasterWriter(job.output, info, grid, mask=info.mask_band, forbid=job.inputs))
        mask = stack.writer(_mask_writer(job, info, grid)) if job.clouds else None
        for place, window in enumerate(windows):
            progress.step(PHASE, place / len(windows))
            raw, surface = reader.read_with_raw(window)
            unify_nodata(raw, info, cloudy.nodata)
            seen, classes = cover(surface, window)
            touched = hidden(classes)
            for number, band in enumerate(bands):
                known = touched & np.isfinite(surface[number])
                values = seen[number][known][None]
                raw[band][known] = to_stored(values, radiometry.of([number]), raw.dtype, cloudy.nodata)[0]
            cloudy.write(raw, window)
            outside = reader.read_hidden(window)
            if outside is not None:
                cloudy.write_mask(~outside, window)
            if mask:
                mask.write(classes[None], window)
            counted["valid"] += int((classes != NO_DATA).sum())
            counted["hidden"] += int(touched.sum())
        if not counted["valid"]:
            raise InputError(f"{Path(job.input).name} holds no data: there is nothing to lay clouds over.")
    return counted


def _mask_writer(job: Job, info: RasterInfo, grid: Grid) -> RasterWriter:
    return RasterWriter(
        job.clouds, info, grid, dtype="uint8", count=1, nodata=NO_DATA,
        descriptions=["0 clear, 1 cloud, 2 shadow, 255 no data"], scales=[1.0], offsets=[0.0], tags={}, colorinterp=[],
        forbid=job.inputs,
    )  # fmt: skip
