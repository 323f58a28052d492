"""The layers of a series on one grid, in the order of their dates: what its windows are read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from ..clouds.detect import expand_given_mask
from ..errors import InputError
from ..methods.facts import SceneFacts
from ..observation import Observation
from ..raster.align import check_together
from ..raster.classes import NO_DATA, ClassStore
from ..raster.crs import grid_of, on_ground
from ..raster.dates import assign, date_of
from ..raster.info import RasterInfo, describe
from ..raster.masks import MaskReader, recognise_mask
from ..raster.mosaic import cut
from ..raster.offsets import agree
from ..raster.products import identify
from ..raster.radar import RadarReader
from ..raster.radiometry import Radiometry, recognise
from ..raster.reader import OpticalReader
from ..raster.stack import dates_in_bands, split_dates
from ..raster.windows import Window
from . import series_bands
from .detecting import detect_dates
from .job import Job
from .notes import folded
from .scene import crop, hidden
from .series_cubes import expanded
from .series_settings import SeriesSettings, typed_dates

MOST_UNNAMED = 13
"""Bands of one date that come without names: Sentinel-2 has thirteen."""


TWINS_OVERLAP = 0.8
"""Neighbouring tiles of one pass share up to a fifth of their ground."""


@dataclass(frozen=True)
class SeriesLayer:
    """One acquisition: its file, how its numbers become reflectance, when it was taken, its mask ('' = detect)."""

    info: RasterInfo
    radiometry: Radiometry
    date: date | None
    day: float
    mask: str


class SeriesScene:
    """Every layer of a series, ascending in time; use as a context manager.

    Attributes:
        grid: that of the first raster given, cut to the job's extent. layers: T acquisitions.
        dates: T dates, None where they are not known. days: float64 (T,), relative to the first.
        bands: role names of all rasters, those of the first raster given before the others; ``first_bands`` of them.
        own: places of the bands that each acquisition has. reference: the acquisition that was given first.
        notes, warnings: sentences for the log.
    """

    def __init__(self, job: Job, settings: SeriesSettings, folder: Path) -> None:
        """Describe and open all layers.

        Args:
            folder: a temporary one, for cloud classes and virtual rasters.

        Raises:
            InputError, GridError, DateError: a layer cannot be used, in a sentence that names it.
        """
        self._folder, self._stack = folder, ExitStack()
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._stacks: dict[str, str] = {}
        _refuse_twice(job.products)
        given = expanded(job.products, folder)
        self.notes += given.notes
        infos = self._split([describe(path) for path in given.paths], settings.bands_per_date)
        masks = self._split_masks(settings.masks, len(infos))
        if not masks and settings.detector == "auto" and len(given.masks) == len(infos) and any(given.masks):
            masks = given.masks
        check_together(infos[0], [*infos[1:], *(describe(path) for path in (*settings.radar, *masks) if path)])
        foreign = bool(job.extent and settings.extent_crs)
        self.grid = cut(grid_of(infos[0]), job.extent, settings.extent_crs) if foreign else crop(infos[0], job.extent)
        days, dates = self._days(infos, job.dates)
        self.warnings += _twins(infos, dates)
        found = [
            recognise(info, sensor=job.sensor, scale=job.reflectance_scale, offset=job.reflectance_offset)
            for info in infos
        ]
        found = agree(found, dates)
        self.grid, said = on_ground(self.grid, found[0].sensor)
        doubtful = {note for radiometry in found for note in radiometry.warnings}
        told = [note for radiometry in found for note in radiometry.notes]
        self.notes += [*(note for note in told if note not in doubtful), *said]
        self.warnings += folded(note for note in told if note in doubtful)
        series_bands.refuse_mixed_stacks([self._stacks.get(info.path, "") for info in infos], found)
        series_bands.refuse_strangers(found)
        self.bands, self.first_bands = series_bands.union(found), len(found[0].bands)
        by_layer = self._masks_of(masks, infos, dates)
        order = sorted(range(len(infos)), key=lambda i: (days[i], i))
        self.layers = [
            SeriesLayer(infos[i], found[i], dates[i] if dates else None, days[i] - days[order[0]], by_layer[i])
            for i in order
        ]
        self.reference = order.index(0)
        self.days = np.array([layer.day for layer in self.layers])
        self.dates = [dates[i] for i in order] if dates else None
        try:
            self._open(settings)
        except BaseException:
            self._stack.close()
            raise

    def _split(self, infos: list[RasterInfo], bands_per_date: int) -> list[RasterInfo]:
        """Rasters of several dates as one virtual raster a date."""
        if not bands_per_date:
            _refuse_several_dates(infos)
            self.warnings += [
                f"{info.name} has {info.count} bands without names, taken as one date. If they are several dates, type "
                "the number of bands of one for BANDS_PER_DATE."
                for info in infos
                if info.count > MOST_UNNAMED and not any(info.descriptions)
            ]
        if not bands_per_date or all(info.count == bands_per_date for info in infos):
            return infos
        out = []
        for number, info in enumerate(infos, start=1):
            if info.count == bands_per_date:
                out.append(info)
                continue
            paths = split_dates(info, bands_per_date, self._folder, number, grid_of(info))
            out += [describe(str(path)) for path in paths]
            self._stacks |= dict.fromkeys(map(str, paths), info.name)
            self.notes.append(f"{info.name}: {len(paths)} dates of {bands_per_date} bands.")
        return out

    def _split_masks(self, masks: Sequence[str], count: int) -> list[str]:
        """One raster of as many mask bands as there are dates becomes a mask a date."""
        if len(masks) != 1 or count == 1 or not masks[0]:
            return list(masks)
        info = describe(masks[0])
        if info.count != count:
            return list(masks)
        return [str(path) for path in split_dates(info, 1, self._folder, 0, grid_of(info))]

    def _days(self, infos: list[RasterInfo], text: str) -> tuple[list[float], list[date] | None]:
        """Days and dates of the layers in the order given."""
        if text.strip():
            typed = typed_dates(text, len(infos))
            return [float((day - typed[0]).days) for day in typed], typed
        days, dates, notes = assign(infos, "")
        for note in notes:
            (self.warnings if note.startswith("Warning") else self.notes).append(note.removeprefix("Warning: "))
        return [float(day) for day in days], list(dates) if dates else None

    def _masks_of(self, masks: Sequence[str], infos: list[RasterInfo], dates: list[date] | None) -> list[str]:
        """The mask of each layer, '' = none: by order where there are as many, else by the dates in their names."""
        if len(masks) != len(infos):
            return _matched(masks, infos, dates)
        days = [date_of(describe(path)) if path else None for path in masks]
        differ = [place for place, day in enumerate(days) if dates and day and day != dates[place]]
        if not differ:
            return list(masks)
        if None not in days and len(set(days)) == len(days) and set(days) == set(dates or []):
            self.notes.append(
                "The masks are in another order than the rasters; they are matched by the dates in names."
            )
            return [masks[days.index(day)] for day in dates or []]
        place = differ[0]
        self.warnings.append(
            f"{Path(masks[place]).name} is taken as the mask of {infos[place].name}, by the order of both, although "
            f"their dates differ ({days[place]}, {dates[place] if dates else ''})."
        )
        return list(masks)

    def _open(self, settings: SeriesSettings) -> None:
        enter = self._stack.enter_context
        self.readers = [enter(OpticalReader(each.info, each.radiometry, self.grid, self.bands)) for each in self.layers]
        self.own = [frozenset(reader.places) for reader in self.readers]
        self.radars = [enter(RadarReader(describe(path), self.grid, dates=self.dates)) for path in settings.radar]
        first = self.dates[0] if self.dates else None
        parts = [radar.days(first, self.days) for radar in self.radars]
        self.radar_days = np.concatenate(parts) if parts else np.zeros(0)
        self._store = ClassStore(self._folder, self.grid)
        self._stack.callback(self._store.close)
        self._given: dict[int, MaskReader] = {}
        for index, layer in enumerate(self.layers):
            if layer.mask:
                info = describe(layer.mask)
                self._given[index] = enter(MaskReader(info, self.grid, recognise_mask(info)))
        known = {reader.missing for reader in self.readers} | set(self.notes)  # what is missing is told for all at once
        for reader in (*self.readers, *self.radars, *self._given.values()):
            self.notes += [note for note in reader.notes if note not in known]
            known |= set(reader.notes)

    def __enter__(self) -> SeriesScene:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def complete(self) -> bool:
        """Whether every date has a mask, so that nothing is left to detect."""
        return len(self._given) == len(self.layers)

    def facts(self, seen: series_bands.Pass) -> SceneFacts:
        """What a pass sees of the series in a few words; ``target_date`` is its first date."""
        kinds = [found for radar in self.radars for found in radar.acquisitions]
        there = [name for name in ("vv", "vh") if any(getattr(kind, name) for kind in kinds)]
        return SceneFacts(
            bands=tuple(self.bands[place] for place in seen.bands),
            dates=len(seen.layers),
            target_date=self.dates[seen.layers[0]] if self.dates else None,
            radar=" ".join(there).upper(),
            pixel_m=self.grid.pixel_m,
            shape=self.grid.shape,
        )

    def detect(
        self, job: Job, method: str, report: Callable[[float], None], cancelled: Callable[[], bool], pool: Executor
    ) -> None:
        """Detect clouds on the dates that have no mask, into temporary rasters.

        Args:
            method: one of ``clouds.detect.METHODS``.
        """
        if self.complete:
            return

        def keep(index: int, window: Window, classes: np.ndarray, _probability: np.ndarray) -> None:
            self._store.write(index, window, classes)

        self.notes += detect_dates(
            self.readers, self.grid, self.days, method=method, threshold=job.threshold,
            dilate=job.dilate if job.dilate >= 0 else None, wanted=set(range(len(self.layers))) - set(self._given),
            report=report, cancelled=cancelled, pool=pool, write=keep, weights=job.weights,
        )  # fmt: skip

    def classes(self, index: int, window: Window, dilate: int = 0) -> np.ndarray:
        """Cloud classes uint8 (H, W) of one date in a window inside the scene; given masks grown by ``dilate``."""
        reader = self._given.get(index)
        if reader is None:
            return self._store.read(index, window)
        if dilate <= 0:
            return reader.read(window)
        wide = window.pad(dilate, dilate, dilate, dilate).clip(*self.grid.shape)
        return expand_given_mask(reader.read(wide), dilate)[window.slices(wide)]

    def observe(self, window: Window, pool: Executor, dilate: int = 0) -> Observation:
        """Read one window of all dates; days are relative to the first.

        Where a given mask says nothing of a date, its cloud is NaN: it is neither restored nor learned from.
        """
        many = len(self.layers)
        optical = np.empty((many, len(self.bands), window.height, window.width), np.float32)
        cloud = np.empty((many, window.height, window.width), np.float32)

        def one(index: int) -> None:
            self.readers[index].read(window, out=optical[index])
            classes = self.classes(index, window, dilate)
            np.copyto(cloud[index], hidden(classes))
            cloud[index, classes == NO_DATA] = np.nan

        radar = [pool.submit(reader.read, window) for reader in self.radars]
        for done in [pool.submit(one, index) for index in range(many)]:
            done.result()
        return Observation(
            optical=optical,
            cloud=cloud,
            days=self.days,
            bands=self.bands,
            radar=np.concatenate([part.result() for part in radar]) if radar else None,
            radar_days=self.radar_days,
            pixel_m=self.grid.pixel_m,
            row=window.row,
            col=window.col,
        )


def _refuse_several_dates(infos: Sequence[RasterInfo]) -> None:
    """A raster whose band names hold several dates is no single date."""
    for info in infos:
        dates = dates_in_bands(info)
        if dates > 1:
            each = "the number of bands of one date" if info.count % dates else str(info.count // dates)
            raise InputError(
                f"The names of the bands of layer '{info.name}' hold {dates} dates, and BANDS_PER_DATE 0 means "
                f"one date a raster. Type {each} for BANDS_PER_DATE."
            )


def _twins(infos: Sequence[RasterInfo], dates: Sequence[date] | None) -> list[str]:
    """A warning about rasters of one day, one sensor and one place: a product that was processed twice."""
    for place, info in enumerate(infos if dates else ()):
        for other, earlier in enumerate(infos[:place]):
            alike = dates[other] == dates[place] and _kind(earlier) == _kind(info)
            if alike and _overlap(earlier, info) > TWINS_OVERLAP:
                return [
                    f"{earlier.name} and {info.name} are of one day and one sensor and show the same ground. Each "
                    "seems to know what clouds hide on the other, so the expected error is too small; give one of them."
                ]
    return []


def _kind(info: RasterInfo) -> tuple[str, str]:
    product = identify(info)
    return product.sensor, product.table


def _overlap(one: RasterInfo, other: RasterInfo) -> float:
    """Share of the smaller raster that lies on the other; 0 where their CRS differ."""
    if one.crs_wkt != other.crs_wkt:
        return 0.0
    (left, low, right, top), (west, south, east, north) = grid_of(one).bounds, grid_of(other).bounds
    common = max(min(right, east) - max(left, west), 0.0) * max(min(top, north) - max(low, south), 0.0)
    return common / min((right - left) * (top - low), (east - west) * (north - south))


def _refuse_twice(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        real = str(Path(path).resolve()) if Path(path).exists() else path
        if real in seen:
            raise InputError(f"{Path(path).name} is given twice. Give every raster once.")
        seen.add(real)


def _matched(masks: Sequence[str], infos: Sequence[RasterInfo], dates: Sequence[date] | None) -> list[str]:
    """The mask of each layer, '' = none, of fewer masks than layers: by the dates in their names.

    Raises:
        InputError: a mask cannot be matched.
    """
    out = [""] * len(infos)
    for path in (path for path in masks if path):
        info = describe(path)
        day = date_of(info)
        places = [i for i, known in enumerate(dates or []) if known == day and day is not None]
        if not places:
            raise InputError(
                f"There are {len(masks)} masks for {len(infos)} dates, and '{info.name}' cannot be matched by date. "
                "Give one mask for each raster, in their order, or masks with dates in their names."
            )
        for place in places:
            out[place] = path
    return out
