"""What the passes of a series have learned, region by region, and what they make of a window."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..methods import series as methods
from ..methods.series_protocol import FittedSeries
from ..observation import HIDDEN_FROM, Observation
from ..raster.windows import Window
from . import device as devices
from . import series_bands
from .job import Job
from .progress import Progress
from .series_bands import Pass
from .series_plan import Room, room_for, sample_px, samples
from .series_scene import SeriesScene
from .weights import folder_of

Regions = Sequence[tuple[Window, np.ndarray]]
"""Regions whose models restore a window, with their weights float32 (H, W)."""


@dataclass(frozen=True)
class Work:
    """What restores a series: passes, the method of each, and the room that their windows have.

    Attributes:
        held: dates and bands that a window holds; bands twice where a pass needs a copy of some.
        notes: sentences for the log.
    """

    passes: tuple[Pass, ...]
    methods: tuple[Any, ...]
    room: Room
    held: tuple[int, int]
    notes: tuple[str, ...]


def prepare(job: Job, scene: SeriesScene, budget_mb: int, workers: int) -> Work:
    """Make the methods and have them look at the series; nothing of it is read.

    Raises:
        InputError, DependencyError: the series lacks what the method needs, or the memory does.
    """
    every = series_bands.passes(job.method, scene.own)
    many, bands = len(scene.layers), len(scene.bands)
    copies = any(each.copies(many, bands) for each in every)
    held = (many, 2 * bands if copies else bands)
    used: list[Pass] = []
    made, rooms, refused = [], [], []

    def add(one: Pass) -> None:
        method = methods.create(one.method, folder_of(job), budget_mb)
        rooms.append(room_for(method, scene.facts(one), budget_mb, workers, held))
        made.append(method)
        used.append(one)

    for each in every:
        try:
            add(each)
        except InputError as error:
            alone = not any(other.method == job.method for other in (*used, *every[every.index(each) + 1 :]))
            if each.method != job.method or alone:
                raise (refused or [error])[0] from None
            refused.append(error)
            for other in series_bands.completing(series_bands.FILLS, scene.own, each.targets):
                add(other)
    room = Room(max(r.halo for r in rooms), min(r.budget_mb for r in rooms))
    notes = series_bands.described(scene.bands, scene.own, job.method, used)
    return Work(tuple(used), tuple(made), room, held, tuple(notes))


class SeriesFits:
    """The models of the regions that windows need at the moment.

    Attributes:
        notes: what the methods said. summary: of the first pass. errors: expected RMSE and hidden values of each
            region, date and pass.
    """

    def __init__(
        self, job: Job, scene: SeriesScene, work: Work, targets: Sequence[int], pool: Executor, progress: Progress
    ) -> None:
        self._job, self._scene, self._work, self._targets = job, scene, work, list(targets)
        self._pool, self._progress = pool, progress
        self._device = devices.choose(job.device)
        self._dilate = max(job.dilate, 0)
        self._fits: dict[Window, list[FittedSeries]] = {}
        self.errors: list[tuple[float, int]] = []
        self.notes: dict[str, None] = {}
        self.summary = ""

    def of(self, region: Window) -> list[FittedSeries]:
        """The fits of one region, made when the first of its windows comes and dropped after its last row."""
        if region in self._fits:
            return self._fits[region]
        for done in [r for r in self._fits if r.bottom + 64 < region.row]:
            del self._fits[done]
        self._progress.step("Restoring", 0.0, "Learning from clear pixels")
        most = sample_px(self._work.room.budget_mb, *self._work.held)
        chosen = samples(region, most, self._promise)
        observed = [self._scene.observe(window, self._pool, self._dilate) for window in chosen]
        whole = len(chosen) == 1 and chosen[0] == region
        dates = [
            t for t in self._targets if not whole or (observed[0].cloud[t] >= HIDDEN_FROM).any() or self._rim(region)
        ]
        self._fits[region] = [self._fit(number, region, observed, dates) for number in range(len(self._work.passes))]
        return self._fits[region]

    def _fit(self, number: int, region: Window, observed: Sequence[Observation], dates: Sequence[int]) -> FittedSeries:
        """The model of one pass."""
        each = self._work.passes[number]
        fitted = self._work.methods[number].fit(
            [each.narrowed(obs) for obs in observed],
            [each.layers.index(t) for t in dates if t in each.targets],
            seed=(self._job.seed, region.row, region.col), device=self._device, pool=self._pool,
            cancelled=self._progress.asked,
        )  # fmt: skip
        self.notes.update(dict.fromkeys(fitted.notes))
        self.summary = self.summary or fitted.summary
        for place, rmse in fitted.expected_rmse.items():
            hidden = sum(int((obs.cloud[each.layers[place]] >= HIDDEN_FROM).sum()) for obs in observed)
            self.errors.append((rmse, hidden * len(each.take)))
        return fitted

    def _rim(self, region: Window) -> bool:
        """Whether windows of neighbouring regions are restored with this region's model, too."""
        return (region.height, region.width) != self._scene.grid.shape

    def _promise(self, window: Window) -> float:
        """How much a sample window teaches, from the classes of some dates."""
        some = np.unique(np.linspace(0, len(self._scene.layers) - 1, 8).round().astype(int))
        found = [self._scene.classes(int(t), window) for t in some]
        clear = float(np.mean([(c == 0).mean() for c in found]))
        gap = float(np.mean([((c == 1) | (c == 2)).mean() for c in found]))
        return (clear + 0.05) * (gap + 0.05)

    def restored(
        self, obs: Observation, regions: Regions, inner: tuple[slice, slice], gap: np.ndarray, with_sigma: bool
    ) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """Restored reflectance, and sigma where wanted, of every date; regions are mixed.

        Args:
            obs: of all dates and bands. regions: fitted ones. inner: the window inside ``obs``.
            gap: bool (T, H, W), what is hidden in the window.

        Returns:
            float32 (C, n) by date, at the n pixels of its gap; NaN in bands that the date lacks, or that are unknown.
        """
        found: dict[int, np.ndarray] = {}
        sigma: dict[int, np.ndarray] = {}
        for number, each in enumerate(self._work.passes):
            dates = [t for t in self._targets if t in each.targets and (obs.cloud[t] >= HIDDEN_FROM).any()]
            if not dates:
                continue
            seen, rows = each.narrowed(obs), each.rows
            values: dict[int, np.ndarray] = {}
            errors: dict[int, np.ndarray] = {}
            for region, weight in regions:
                places = [each.layers.index(t) for t in dates]
                for place, result in self.of(region)[number].restore(seen, places, pool=self._pool):
                    self._progress.check()
                    t = each.layers[place]
                    share = weight[gap[t]]
                    _add(values, t, result.reflectance[:, inner[0], inner[1]][:, gap[t]][rows], share)
                    if with_sigma and result.sigma is not None:
                        _add(errors, t, result.sigma[:, inner[0], inner[1]][:, gap[t]][rows], share)
            self._spread(each, values, found)
            self._spread(each, errors, sigma)
        return found, sigma

    def _spread(self, each: Pass, values: dict[int, np.ndarray], into: dict[int, np.ndarray]) -> None:
        """Put a pass's bands at their places among all, where the date has them."""
        for t, part in values.items():
            if t not in into:
                into[t] = np.full((len(self._scene.bands), part.shape[1]), np.nan, np.float32)
            for row, place in zip(part, each.take, strict=True):
                if place in self._scene.own[t]:
                    into[t][place] = row


def _add(store: dict[int, np.ndarray], date: int, values: np.ndarray, share: np.ndarray) -> None:
    """Add weighted values; where a region has no weight its values don't count, known or not."""
    part = np.where(share > 0, values * share, np.float32(0))
    store[date] = store[date] + part if date in store else part
