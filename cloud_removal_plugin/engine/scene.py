"""The layers of a job, opened on one grid: what the engine reads windows from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..methods.facts import SceneFacts
from ..observation import Observation
from ..raster.align import check_together
from ..raster.classes import CLOUD, NO_DATA, SHADOW
from ..raster.crs import grid_of, on_ground
from ..raster.dates import assign
from ..raster.grid import Grid
from ..raster.info import RasterInfo, describe
from ..raster.offsets import agree
from ..raster.radar import RadarReader
from ..raster.radiometry import Radiometry, recognise
from ..raster.reader import OpticalReader
from ..raster.windows import Window
from .job import Job


@dataclass(frozen=True)
class OpticalLayer:
    """One acquisition: its file, how its numbers become reflectance, and when it was taken."""

    info: RasterInfo
    radiometry: Radiometry
    day: float


class Scene:
    """Every layer of a job on the target's grid. Index 0 is the target; use as a context manager.

    Attributes:
        grid: the target's grid, cut to the job's extent.
        layers: the acquisitions, target first, others in the order in which they were given.
        days: float64 (T,), days relative to the target.
        bands: role names of the target's reflectance bands.
        notes: sentences about what was recognised and assumed.
        doubtful: those of them that an analyst should check.
    """

    def __init__(self, job: Job, pool: Executor) -> None:
        """Describe and open all layers, several at a time.

        Raises:
            InputError, GridError, DateError: a layer cannot be used, in a sentence that names it.
        """
        paths = (job.input, *job.other_dates)
        infos = [describe(path) for path in paths]
        _refuse_input_twice(job)
        extras = (job.radar, job.cloud_mask, *job.other_masks)
        check_together(infos[0], [*infos[1:], *(describe(path) for path in extras if path)])
        self.grid = crop(infos[0], job.extent)
        days, dates, notes = assign(infos, job.dates)
        self.days, self.dates = np.asarray(days, np.float64), dates
        self.notes: list[str] = list(notes)
        given = {"sensor": job.sensor, "scale": job.reflectance_scale, "offset": job.reflectance_offset}
        found = list(pool.map(lambda info: recognise(info, **given), infos))
        # a date that is all cloud cannot tell whether +1000 is inside its numbers; the series can
        found = agree(found, self.dates)
        self.layers = [OpticalLayer(*each) for each in zip(infos, found, self.days.tolist(), strict=True)]
        self.notes += [note for radiometry in found for note in radiometry.notes]
        self.doubtful = {note for radiometry in found for note in radiometry.warnings}
        self.grid, said = on_ground(self.grid, found[0].sensor)
        self.notes += said
        self.bands = self.layers[0].radiometry.bands
        self._stack = ExitStack()
        try:
            self._open(job)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, job: Job) -> None:
        self.readers = [
            self._stack.enter_context(
                OpticalReader(layer.info, layer.radiometry, self.grid, self.bands if index else None)
            )
            for index, layer in enumerate(self.layers)
        ]
        self.radar: RadarReader | None = None
        if job.radar:
            self.radar = self._stack.enter_context(RadarReader(describe(job.radar), self.grid, dates=self.dates))
        for reader in (*self.readers, *((self.radar,) if self.radar else ())):
            self.notes += [note for note in reader.notes if note not in self.notes]
        target = self.dates[0] if self.dates else None
        self.radar_days = self.radar.days(target, self.days) if self.radar else np.zeros(0)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def facts(self) -> SceneFacts:
        """The scene in a few words, for methods that not every scene suits."""
        kinds = self.radar.acquisitions if self.radar else ()
        there = [name for name in ("vv", "vh") if any(getattr(kind, name) for kind in kinds)]
        return SceneFacts(
            bands=self.bands,
            dates=len(self.days),
            target_date=self.dates[0] if self.dates else None,
            radar=" ".join(there).upper(),
            pixel_m=self.grid.pixel_m,
            shape=self.grid.shape,
        )

    def observe(
        self, window: Window, dates: Sequence[int], classes: Sequence[np.ndarray], pool: Executor
    ) -> Observation:
        """Read one window of some dates.

        Where a mask that does not cover a date says nothing of it, there may be clouds: nothing is learned from that.

        Args:
            window: in pixels of the grid, inside the scene.
            dates: indices of the acquisitions, the target (0) first.
            classes: cloud classes (H, W) of each of them.
            pool: threads that read different dates at the same time.
        """
        optical = np.empty((len(dates), len(self.bands), window.height, window.width), np.float32)

        def one(place: int) -> None:
            self.readers[dates[place]].read(window, out=optical[place])
            unknown = classes[place] == NO_DATA
            if unknown.any():
                np.copyto(optical[place], np.float32(np.nan), where=unknown)

        radar = pool.submit(self.radar.read, window) if self.radar else None
        for done in [pool.submit(one, place) for place in range(len(dates))]:
            done.result()
        cloud = np.stack([hidden(part) for part in classes]).astype(np.float32)
        return Observation(
            optical=optical,
            cloud=cloud,
            days=self.days[list(dates)],
            bands=self.bands,
            radar=radar.result() if radar else None,
            radar_days=self.radar_days,
            pixel_m=self.grid.pixel_m,
            row=window.row,
            col=window.col,
        )


def hidden(classes: np.ndarray) -> np.ndarray:
    """True (H, W) under a cloud or its shadow."""
    return (classes == CLOUD) | (classes == SHADOW)


def crop(info: RasterInfo, extent: tuple[float, float, float, float] | None) -> Grid:
    """The grid of a layer, cut to an extent in the layer's CRS."""
    grid = grid_of(info)
    return grid.crop(extent)[0] if extent else grid


def _refuse_input_twice(job: Job) -> None:
    seen: set[str] = set()
    for path in job.other_dates:
        real = os.path.realpath(path)
        if path == job.input or real == os.path.realpath(job.input):
            raise InputError(
                f"{Path(path).name} is the input and also one of the other dates. Remove it from the other dates."
            )
        if real in seen:
            raise InputError(f"{Path(path).name} is twice among the other dates. Give every raster once.")
        seen.add(real)
