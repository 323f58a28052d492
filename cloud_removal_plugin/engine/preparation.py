"""A preparation job: products as a hub delivers them become one stack that all other jobs read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..raster.classes import NO_DATA
from ..raster.delivery import Delivery
from ..raster.findings import look
from ..raster.grid import Grid
from ..raster.info import RasterInfo, describe
from ..raster.jp2 import check_whole
from ..raster.mosaic import Mosaic, QualityMosaic, common_grid, cut
from ..raster.numbers import to_stored
from ..raster.together import Together
from ..raster.windows import Window, cores
from ..raster.writer import RasterWriter
from .job import Job, Result
from .preparing import Settings, chosen_bands, one_pass, with_offset
from .progress import Cancel, Log, Progress, Report

SCALE, OFFSET = 1e-4, -0.1
"""How numbers are written: reflectance = number * SCALE, or with OFFSET where it is recorded."""

CORE_PX = 1024
_WRITING, _MASKS = "Reading and writing bands", "Reading and writing clouds"


@dataclass(frozen=True)
class _Numbers:
    """How reflectance is stored, as :func:`to_stored` wants it."""

    scale: float
    offset: float


def prepare(job: Job, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log) -> Result:
    """Write the stack, and the cloud layer if it is wanted.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    settings = Settings.from_json(job.settings)
    progress = Progress(report, cancelled, {_WRITING: 1.0, **({_MASKS: 0.15} if job.clouds else {})})
    warnings: list[str] = []
    deliveries = _deliveries(job.products, settings, progress, log, warnings, job.reflectance_offset)
    grid = common_grid(deliveries, settings.pixel or _usual_pixel(deliveries[0]))
    if job.extent:
        grid = cut(grid, job.extent, settings.extent_crs)
    for delivery in deliveries:
        for plane in delivery.planes:
            check_whole(plane.path)
    _introduce(deliveries, grid, log)
    numbers = _numbers(deliveries, settings)
    with Together() as stack:
        mosaic = stack.enter_context(Mosaic(deliveries, grid))
        out = stack.writer(_stack_writer(job, deliveries, grid, numbers))
        quality = clouds = None
        if job.clouds:
            quality = stack.enter_context(QualityMosaic(deliveries, grid))
            clouds = stack.writer(_cloud_writer(job, deliveries, grid, quality.names))
        empty = _write_bands(mosaic, out, numbers, progress, threads)
        if quality and clouds:
            _write_clouds(quality, clouds, progress)
        if empty:
            raise InputError("The product holds no data in this extent. Choose another extent.")
    for sentence in warnings:
        log("warning", sentence)
    used = ", ".join(sorted({delivery.product for delivery in deliveries}))
    return Result(output=job.output, clouds=job.clouds, method_used=used)


def _usual_pixel(delivery: Delivery) -> float:
    """10 m for Sentinel-2, also where only coarser bands are wanted; else that of the finest band (0)."""
    return 10.0 if delivery.sensor == "sentinel2" and delivery.level in ("L1C", "L2A") else 0.0


def _deliveries(
    products: Sequence[str], settings: Settings, progress: Progress, log: Log, warnings: list[str],
    offset: float | None,
) -> list[Delivery]:  # fmt: skip
    """What is wanted of everything that was given.

    Args:
        offset: in reflectance, as the analyst typed it; None = that of each product.

    Raises:
        InputError: nothing is recognised, or what is does not go together.
    """
    found: list[Delivery] = []
    problems: list[str] = []
    for path in products:
        seen = look(path, singles=False, cancelled=progress.asked)
        found += [delivery for delivery in seen.deliveries if delivery not in found]
        problems += seen.problems
    if not found:
        names = ", ".join(f"'{Path(path).name}'" for path in products)
        raise InputError(
            problems[0]
            if problems
            else f"{names} holds no product that is known. 'Describe layers' says what is in it."
        )
    for problem in problems:
        log("warning", problem)

    def say(level: str, sentence: str) -> None:
        (warnings.append if level == "warning" else lambda text: log("info", text))(sentence)

    chosen = [chosen_bands(delivery, settings.bands) for delivery in one_pass(found, settings.date, say)]
    if offset is not None:
        log("info", f"The offset {offset:g} was typed.")
        chosen = [with_offset(delivery, offset) for delivery in chosen]
    for delivery in chosen:
        warnings += [f"{delivery.name}: {doubt}" for doubt in delivery.doubts]
    return chosen


def _introduce(deliveries: Sequence[Delivery], grid: Grid, log: Log) -> None:
    for delivery in deliveries:
        when = delivery.when.strftime("%Y-%m-%d %H:%M:%S") if delivery.when else "no date"
        facts = [delivery.product, f"baseline {delivery.baseline}" if delivery.baseline else "", when]
        facts.append(f"tile {delivery.tile}" if delivery.tile else "")
        offset = delivery.planes[0].offset
        log(
            "info",
            f"{delivery.name}: {', '.join(fact for fact in facts if fact)}; reflectance = DN x "
            f"{delivery.planes[0].scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}.",
        )
    bands = ", ".join(plane.name for plane in deliveries[0].planes)
    log("info", f"Grid: {grid.width} x {grid.height} pixels of {grid.pixel_m:.4g} m; bands: {bands}.")


def _numbers(deliveries: Sequence[Delivery], settings: Settings) -> _Numbers:
    """Reflectance x 10,000; with the offset kept where that is wanted and one of the products has it."""
    has = any(plane.offset == OFFSET for delivery in deliveries for plane in delivery.planes)
    return _Numbers(SCALE, OFFSET if settings.numbers == "recorded" and has else 0.0)


def _write_bands(mosaic: Mosaic, out: RasterWriter, numbers: _Numbers, progress: Progress, threads: Executor) -> bool:
    """Stream the bands; whether there was no data at all."""
    empty = True
    windows = cores(Window(0, 0, *mosaic.grid.shape), CORE_PX)
    for index, window in enumerate(windows):
        progress.step(_WRITING, index / len(windows))
        reflectance = mosaic.read(window, threads)
        empty = empty and bool(np.isnan(reflectance).all())
        out.write(to_stored(reflectance, numbers, "uint16", 0), window)
    progress.step(_WRITING, 1.0)
    return empty


def _write_clouds(quality: QualityMosaic, out: RasterWriter, progress: Progress) -> None:
    windows = cores(Window(0, 0, *quality.grid.shape), CORE_PX)
    for index, window in enumerate(windows):
        progress.step(_MASKS, index / len(windows))
        out.write(quality.read(window), window)
    progress.step(_MASKS, 1.0)


def _stack_writer(job: Job, deliveries: Sequence[Delivery], grid: Grid, numbers: _Numbers) -> RasterWriter:
    first = deliveries[0]
    like = _blank(describe(first.planes[0].path))
    band_tags = [
        {"wavelength": f"{plane.wavelength_nm:g}", "bandwidth": f"{plane.width_nm:g}", "wavelength_units": "nm"}
        if plane.wavelength_nm
        else {}
        for plane in first.planes
    ]
    count = len(first.planes)
    return RasterWriter(
        job.output, like, grid, dtype="uint16", count=count, nodata=0, descriptions=[p.name for p in first.planes],
        scales=[numbers.scale] * count, offsets=[numbers.offset] * count, tags=_tags(deliveries, numbers),
        band_tags=band_tags, colorinterp=["undefined"] * count, forbid=job.products,
    )  # fmt: skip


def _cloud_writer(job: Job, deliveries: Sequence[Delivery], grid: Grid, names: Sequence[str]) -> RasterWriter:
    like = _blank(describe(deliveries[0].planes[0].path))
    return RasterWriter(
        job.clouds, like, grid, dtype="uint8", count=len(names), nodata=NO_DATA, descriptions=list(names),
        scales=[1.0] * len(names), offsets=[0.0] * len(names), tags=_dated(deliveries[0]),
        colorinterp=["undefined"] * len(names), forbid=job.products,
    )  # fmt: skip


def _blank(info: RasterInfo) -> RasterInfo:
    """What the writer may copy of a product's file: nothing."""
    return replace(info, tags={}, band_tags=({},) * info.count, nodata=(None,) * info.count)


def _dated(delivery: Delivery) -> dict[str, str]:
    return {"ACQUISITION_DATE": delivery.when.strftime("%Y-%m-%dT%H:%M:%SZ")} if delivery.when else {}


def _tags(deliveries: Sequence[Delivery], numbers: _Numbers) -> dict[str, str]:
    """What other programs, and this one, want to know of the stack."""
    first = deliveries[0]
    tags = {
        "PRODUCT": " ".join(delivery.name for delivery in deliveries),
        "PRODUCT_TYPE": first.product,
        "SPACECRAFT": first.platform,
        "PROCESSING_LEVEL": first.level,
        "PROCESSING_BASELINE": " ".join(sorted({delivery.baseline for delivery in deliveries if delivery.baseline})),
        "TILES": " ".join(delivery.tile for delivery in deliveries if delivery.tile),
        "REFLECTANCE_SCALE": f"{numbers.scale:g}",
        "REFLECTANCE_OFFSET": f"{numbers.offset:g}",
        "CLOUD_REMOVAL": "prepared",
        **_dated(first),
    }
    if first.sensor == "sentinel2":
        # read before the baseline when the stack is opened again: whether the numbers still hold the offset
        key = "BOA_ADD_OFFSET" if first.level == "L2A" else "RADIO_ADD_OFFSET"
        tags[key] = f"{round(numbers.offset / numbers.scale)}"
    for key in ("azimuth", "elevation"):
        angles = [angle for delivery in deliveries if (angle := getattr(delivery.sun, key)) is not None]
        if angles:
            tags[f"SUN_{key.upper()}"] = f"{_mean_angle(angles):.4f}"
    return {key: value for key, value in tags.items() if value}


def _mean_angle(degrees: Sequence[float]) -> float:
    """Mean on the circle: 359 and 1 make 0."""
    radians = np.radians(degrees)
    return float(np.degrees(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean())) % 360)
