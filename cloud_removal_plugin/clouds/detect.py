"""Clouds and shadows on every date of a scene, window by window.

Two passes. The first reads all dates of a window once and turns each pixel into a cloud probability and a darkness
(:mod:`firstpass`), kept in a temporary file of two bytes; it also fills small maps of about 100 m a cell, on which
the shadows' direction is found (:mod:`shadows`). The second cleans and grows the masks, with as many pixels of context
as that needs, and hands them on. So each raster is read once, memory does not grow with the scene, and no result
depends on how it was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import Cancelled, InputError
from ..raster.grid import Grid
from ..raster.windows import CORE_PX, Window, cores
from . import firstpass, published, rules, s2cloudless, shadows
from .cues_store import CuesStore
from .firstpass import Plan
from .morphology import closing, dilate, remove_specks
from .temporal import LEAST_DATES

CLEAR, CLOUD, SHADOW, NO_DATA = 0, 1, 2, 255
METHODS: tuple[str, ...] = ("auto", "s2cloudless", "rules", *published.METHODS)
THRESHOLD = 0.5
"""Cloud probability above which a pixel is cloud: where precision and recall met on the labelled scenes."""

DILATE_M, CLEAN_M, MAP_M = 80.0, 20.0, 120.0
WINDOW_BYTES = 320 << 20
"""All dates of a window are in memory at once; windows are halved where that would be more."""

TOP_OF_ATMOSPHERE_BLUE = 0.06
"""Darkest blue of a scene from which an unknown level is taken as top of atmosphere (surfaces reach 0.02)."""


class Reader(Protocol):
    """What detection needs of a raster, see ``raster.reader.OpticalReader``."""

    bands: tuple[str, ...]
    grid: Grid
    level: str

    def read(self, window: Window) -> np.ndarray:
        """float32 (C, H, W) reflectance, NaN = no data."""


@dataclass(frozen=True)
class Scale:
    """Sizes of the masks' clean-up in pixels."""

    dilate: int
    clean: int

    @property
    def halo(self) -> int:
        """Pixels of context that the clean-up needs: specks, closing (out and back), dilation."""
        return self.dilate + 3 * self.clean + 2


def default_dilate(pixel_m: float) -> int:
    """Pixels by which masks are grown where the analyst does not say: 80 m, at least one pixel."""
    return max(1, round(DILATE_M / pixel_m))


def detect_scene(
    readers: Sequence[Reader],
    grid: Grid,
    days: Sequence[float] | np.ndarray,
    *,
    method: str = "auto",
    threshold: float | None = None,
    dilate: int | None = None,
    report: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    write: Callable[[int, Window, np.ndarray, np.ndarray], None],
    pool: Executor | None = None,
    sun_azimuth: Sequence[float | None] | None = None,
    sun_elevation: Sequence[float | None] | None = None,
    core: int = CORE_PX,
    weights: str = "",
) -> list[str]:
    """Classify every date of a scene, streaming.

    Args:
        readers: one a date, on ``grid``; all with the same bands as the first, or some of them.
        grid: the scene's grid.
        days: days of the dates, in any order; dates near in time tell best how dark clear ground is.
        method: 'auto' (rules and the series, s2cloudless where it applies and is installed), 's2cloudless', 'rules', or
            one of :data:`published.METHODS`, which take each date by itself, with their own threshold and growth.
        threshold: cloud probability 0..1 above which a pixel is cloud; None = 0.5.
        dilate: pixels by which masks are grown; None = 80 m.
        report: called with the share done, 0..1.
        cancelled: asked at every window.
        write: called with (date index, window, uint8 classes (H, W), float32 probability (H, W)) for every date and
            window; classes 0 clear, 1 cloud, 2 shadow, 255 no data; probability of cloud or shadow, NaN = no data.
        pool: threads for the dates of one window; its tasks start no tasks of their own.
        sun_azimuth: degrees clockwise from north for every date, None where not known.
        sun_elevation: degrees above the horizon for every date, None where not known.
        core: edge of the windows in pixels.
        weights: folder of the networks' weights, '' = the analyst's.

    Returns:
        Sentences for the log.

    Raises:
        InputError: unknown method, or a method that the bands do not allow.
        DependencyError: method 's2cloudless' without the package.
        Cancelled: ``cancelled`` said so.
        OutputError: no room for temporary files.
    """
    if len(readers) != len(days):
        raise InputError(f"{len(readers)} layers but {len(days)} dates were given. Give one date a layer.")
    if method in published.METHODS:
        bands = published.bands_of(method, readers[0].bands, readers[0].level)
        tell, asked = report or (lambda _: None), cancelled or (lambda: False)
        run = published.Run(grid, pool.map if pool else map, tell, asked, write, core, weights)
        with ExitStack() as stack:
            reads = [_reads(_narrow(reader, bands, stack), bands) for reader in readers]
            return published.detect_dates(method, reads, run, threshold, dilate)
    with ExitStack() as stack:
        scene = _Scene(readers, grid, days, method, pool, stack, core)
        scene.first_pass(_share(report, 0.0, 0.75), cancelled)
        limit = THRESHOLD if threshold is None else float(threshold)
        scale = Scale(default_dilate(grid.pixel_m) if dilate is None else max(0, int(dilate)), _clean_px(grid.pixel_m))
        scene.find_shadows(limit, sun_azimuth, sun_elevation)
        scene.second_pass(limit, scale, write, _share(report, 0.75, 1.0), cancelled)
        return scene.notes


def expand_given_mask(classes: np.ndarray, dilate_px: int) -> np.ndarray:
    """Grow a mask that the analyst gave.

    Args:
        classes: uint8 (H, W): 0 clear, 1 cloud, 2 shadow, 255 no data.
        dilate_px: pixels; 0 leaves the mask as it is.

    Returns:
        uint8 (H, W); cloud grows over shadow, both over clear, neither over no data.
    """
    if dilate_px <= 0:
        return classes
    return _classes(dilate(classes == CLOUD, dilate_px), dilate(classes == SHADOW, dilate_px), classes != NO_DATA)


def _classes(cloud: np.ndarray, shadow: np.ndarray, valid: np.ndarray) -> np.ndarray:
    result = shadow.astype(np.uint8) * np.uint8(SHADOW)
    result[cloud] = CLOUD
    result[~valid] = NO_DATA
    return result


def _clean_px(pixel_m: float) -> int:
    return max(1, round(CLEAN_M / pixel_m)) if pixel_m < 25 else 1


def _share(report: Callable[[float], None] | None, start: float, end: float) -> Callable[[float], None]:
    return (lambda _: None) if report is None else lambda done: report(start + (end - start) * done)


def _check(cancelled: Callable[[], bool] | None) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled


class _Scene:
    """The state of one detection: plan, temporary store and coarse maps."""

    def __init__(
        self, readers: Sequence[Reader], grid: Grid, days: Sequence[float] | np.ndarray, method: str,
        pool: Executor | None, stack: ExitStack, core: int,
    ) -> None:  # fmt: skip
        self.grid, self.notes = grid, []
        self._map = pool.map if pool is not None else map
        self._plan = _plan(readers, grid, days, method, self.notes)
        self._readers = [_narrow(reader, self._plan.bands, stack) for reader in readers]
        self._cell = firstpass.cell_px(grid.pixel_m, MAP_M)
        lattice = max(self._cell, self._plan.cell)
        if len(readers) * len(self._plan.bands) * core * core * 4 > WINDOW_BYTES:
            core //= 2
        core = max(lattice, core // lattice * lattice)
        self._windows = cores(Window(0, 0, grid.height, grid.width), core, min(256, core))
        self._store = stack.enter_context(CuesStore(self._windows, len(readers)))
        shape = (len(readers), -(-grid.height // self._cell), -(-grid.width // self._cell))
        self._cloud_map = np.zeros(shape, dtype=np.uint8)
        self._dark_map = np.zeros(shape, dtype=np.uint8)
        self._histograms = np.zeros((len(readers), 256), dtype=np.int64)
        self._expected: list[shadows.Expectation] = []
        self._tables: list[np.ndarray] = []

    def first_pass(self, report: Callable[[float], None], cancelled: Callable[[], bool] | None) -> None:
        """Probability and darkness of every pixel into the store; coarse maps and histograms."""
        for index, window in enumerate(self._windows):
            _check(cancelled)
            read = [_reading(reader, self._plan.bands, window) for reader in self._readers]
            for date, planes in enumerate(firstpass.classify_window(read, self._plan, self._map)):
                self._store.write(index, date, planes)
                self._count(date, window, planes)
            report((index + 1) / len(self._windows))

    def _count(self, date: int, window: Window, planes: np.ndarray) -> None:
        """Fill the coarse maps with the mean probability and the mean darkness of clear pixels of each cell."""
        prob = np.where(planes[0] == NO_DATA, np.uint8(0), planes[0])
        clear = planes[0] < firstpass.PROBABILITY_STEPS * 0.35
        relative = planes[1] < firstpass.NO_DARKNESS
        absolute = planes[1] >= firstpass.SCENE_FROM
        self._histograms[date] += np.bincount(planes[1][clear & absolute], minlength=256)
        rows, cols = window.row // self._cell, window.col // self._cell
        cloud = firstpass.shrink(prob, self._cell)
        # bytes of both kinds must not be averaged: a series is judged by its shares, a single date by its reflectance
        series = len(self._readers) >= LEAST_DATES
        ground = np.uint8(firstpass.SHARE_STEPS if series else firstpass.NO_DATA - 2)
        dark = firstpass.shrink(np.where(clear & (relative if series else absolute), planes[1], ground), self._cell)
        here = np.s_[date, rows : rows + cloud.shape[0], cols : cols + cloud.shape[1]]
        self._cloud_map[here] = np.rint(cloud)
        self._dark_map[here] = np.rint(dark)

    def find_shadows(
        self,
        threshold: float,
        sun_azimuth: Sequence[float | None] | None,
        sun_elevation: Sequence[float | None] | None,
    ) -> None:
        """The direction of the shadows and where they are to be expected, for every date."""
        cell_m = self.grid.pixel_m * self._cell
        for date in range(len(self._readers)):
            table = firstpass.darkness_table(_scene_dark(self._histograms[date]))
            cloud = np.clip(self._cloud_map[date] / np.float32(firstpass.PROBABILITY_STEPS * 2 * threshold), 0, 1)
            dark = np.clip((1.0 - table[self._dark_map[date]]) / 0.5, 0, 1)
            azimuth = sun_azimuth[date] if sun_azimuth is not None else None
            elevation = sun_elevation[date] if sun_elevation is not None else None
            offset = shadows.find_offset(cloud.astype(np.float32), dark.astype(np.float32), cell_m, azimuth, elevation)
            self._expected.append(shadows.expect(cloud, offset, cell_m, elevation))
            self._tables.append(table)

    def second_pass(
        self, threshold: float, scale: Scale, write: Callable[[int, Window, np.ndarray, np.ndarray], None],
        report: Callable[[float], None], cancelled: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        """Clean and grow the masks and hand them on."""
        for index, window in enumerate(self._windows):
            _check(cancelled)
            wide = window.pad(*[scale.halo] * 4).clip(*self.grid.shape)

            def one(date: int, wide: Window = wide, window: Window = window) -> tuple[np.ndarray, np.ndarray]:
                return self._finish(date, wide, window, threshold, scale)

            for date, (classes, probability) in enumerate(self._map(one, range(len(self._readers)))):
                write(date, window, classes, probability)
            report((index + 1) / len(self._windows))

    def _finish(
        self, date: int, wide: Window, window: Window, threshold: float, scale: Scale
    ) -> tuple[np.ndarray, np.ndarray]:
        planes = self._store.read(date, wide)
        valid = planes[0] != NO_DATA
        core = remove_specks(valid & (planes[0] > threshold * firstpass.PROBABILITY_STEPS), scale.clean)
        shade = self._shadow(date, planes[1], wide) & valid & ~core
        shade = dilate(closing(remove_specks(shade, scale.clean), scale.clean), scale.dilate)
        cloud = dilate(closing(core, scale.clean), scale.dilate)
        inner = window.slices(wide)
        shade, planes = shade[inner], planes[:, inner[0], inner[1]]
        probability = firstpass.PROBABILITY[planes[0]]
        if shade.any():
            found = np.clip(1.2 - self._tables[date][planes[1][shade]], 0, 1)
            probability[shade] = np.maximum(probability[shade], found)  # NaN stays NaN
        return _classes(cloud[inner], shade, valid[inner]), probability

    def _shadow(self, date: int, dark: np.ndarray, wide: Window) -> np.ndarray:
        """bool: dark enough for what is known of the place."""
        table, compared = self._tables[date], np.arange(256) < firstpass.NO_DARKNESS  # bytes that tell a share of dates
        found = np.zeros(dark.shape, dtype=bool)
        for place, over_time, in_scene in self._expected[date].tests():
            here = self._at(place, wide)
            if here.any():
                found |= (table < np.where(compared, over_time, in_scene))[dark] & here
        return found

    def _at(self, cells: np.ndarray, window: Window) -> np.ndarray:
        """A coarse map's values on the pixels of a window."""
        top, left, size = window.row // self._cell, window.col // self._cell, self._cell
        part = cells[top : -(-window.bottom // size), left : -(-window.right // size)]
        if not part.any():
            return np.zeros((window.height, window.width), dtype=bool)
        grown = part.repeat(size, axis=1).repeat(size, axis=0)
        row, col = window.row - top * size, window.col - left * size
        return grown[row : row + window.height, col : col + window.width]


def _scene_dark(histogram: np.ndarray) -> float:
    """Median NIR + SWIR of the clear ground; water (below the dark limit) and its code are left out."""
    counts = histogram.copy()
    counts[: firstpass.SCENE_FROM + round(firstpass.SCENE_STEPS * 0.06)] = 0
    counts[firstpass.WATER :] = 0
    total = counts.sum()
    if total < 50:
        return float("nan")
    middle = int(np.searchsorted(np.cumsum(counts), total / 2))
    return (middle - firstpass.SCENE_FROM + 0.5) / firstpass.SCENE_STEPS


def _plan(
    readers: Sequence[Reader], grid: Grid, days: Sequence[float] | np.ndarray, method: str, notes: list[str]
) -> Plan:
    if method not in METHODS:
        raise InputError(f"Unknown detection method '{method}'. Choose one of {', '.join(METHODS)}.")
    first = readers[0]
    model = _model(first, method, notes)
    needed = set(rules.wanted(first.bands)) | (set(s2cloudless.BANDS) if model is not None else set())
    bands = tuple(name for name in first.bands if name in needed)
    how = rules.recipe(bands, _top_of_atmosphere(readers, grid, notes))
    if not how.dark:
        notes.append("Shadows were not looked for: the layer has no near or shortwave infrared band.")
    if "blue" not in bands:
        notes.append("Clouds were found without a blue band: bright ground may count as cloud. Look at what was found.")
    when = tuple(float(day) for day in days)
    return Plan(bands, how, model, method == "s2cloudless", firstpass.cell_px(grid.pixel_m), when)


def _model(first: Reader, method: str, notes: list[str]) -> s2cloudless.Model | None:
    applies = s2cloudless.applicable(first.bands, first.level)
    if method == "s2cloudless":
        if not applies:
            raise InputError(
                "s2cloudless needs ten bands of Sentinel-2 Level-1C, the cirrus band among them. "
                "Choose the detection method 'rules' or 'auto' for this layer."
            )
        return s2cloudless.load_fast()
    if method == "rules" or not applies:
        return None
    if s2cloudless.model_path() is None:
        notes.append(
            "Clouds were found by rules: s2cloudless is not installed ('python -m pip install s2cloudless lightgbm')."
        )
        return None
    return s2cloudless.load_fast()


def _top_of_atmosphere(readers: Sequence[Reader], grid: Grid, notes: list[str]) -> bool:
    """Whether reflectance holds the path radiance: by level, by the cirrus band, else by the darkest blue."""
    first = readers[0]
    if first.level:
        return first.level == "L1C"
    if "cirrus" in first.bands:
        return True
    if "blue" not in first.bands:
        return False
    darkest = min(_darkest_blue(reader, grid) for reader in readers)
    top = TOP_OF_ATMOSPHERE_BLUE < darkest < 0.2
    kind = "top-of-atmosphere" if top else "surface"
    notes.append(f"Cloud detection took the numbers as {kind} reflectance, from the darkest blue ({darkest:.3f}).")
    return top


def _darkest_blue(reader: Reader, grid: Grid, edge: int = 128) -> float:
    """2nd percentile of blue on nine small windows spread over the scene; inf without data."""
    blue = reader.bands.index("blue")
    found = []
    for row in (0.15, 0.5, 0.85):
        for col in (0.15, 0.5, 0.85):
            window = Window(int(row * grid.height) - edge // 2, int(col * grid.width) - edge // 2, edge, edge)
            inside = window.clip(grid.height, grid.width)
            if inside.pixels:
                values = reader.read(inside)[blue]
                found.append(values[np.isfinite(values)])
    values = np.concatenate(found) if found else np.zeros(0)
    return float(np.quantile(values, 0.02)) if values.size else float("inf")


def _narrow(reader: Reader, bands: tuple[str, ...], stack: ExitStack) -> Reader:
    """A reader of the needed bands alone: band-interleaved files then cost half, and no memory goes to the rest."""
    reopen = getattr(reader, "reopen", None)  # arrays in memory have none
    if reopen is None or tuple(reader.bands) == bands:
        return reader
    return stack.enter_context(reopen(bands))


def _reads(reader: Reader, bands: tuple[str, ...]) -> Callable[[Window], np.ndarray]:
    """A function that reads any window's planes of ``bands``."""
    return lambda window: _reading(reader, bands, window)()


def _reading(reader: Reader, bands: tuple[str, ...], window: Window) -> Callable[[], np.ndarray]:
    """A function that reads the planes of ``bands`` in this order."""

    def read() -> np.ndarray:
        optical = reader.read(window)
        if tuple(reader.bands) == bands:
            return optical
        planes = [optical[reader.bands.index(n)] if n in reader.bands else None for n in bands]
        empty = np.full(optical.shape[-2:], np.nan, dtype=np.float32)
        return np.stack([empty if plane is None else plane for plane in planes])

    return read
