"""A restoration over a whole scene: detect, fit each region on samples, restore its windows, blend, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from ..methods.protocol import Fitted, Restorer
from ..observation import Observation
from ..raster.blend import FADE_PX, Fade
from ..raster.windows import Window
from .attending import Attending
from .masks import Masks
from .outputs import Outputs
from .plan import RegionPlan, preselect
from .progress import Progress
from .scene import Scene, hidden
from .stream import StageTimes, read_ahead, write_behind

FIT_DATES = 16
"""Acquisitions that a fit may choose from: the recipe uses twelve, and reading more costs time and memory."""


@dataclass(frozen=True)
class RegionFit:
    """What one region has learned.

    Attributes:
        fitted: maps an observation of ``dates`` to a restoration.
        dates: indices of the scene's acquisitions that a window is read with, target first.
        gap: hidden pixels of the region's windows, the weight of its figures in the scene's.
        region: where it was fitted. seen: share of the gap that each acquisition of the scene shows.
        empty: bands in which the target holds no number, although it does in others.
    """

    fitted: Fitted
    dates: tuple[int, ...]
    gap: int
    region: Window
    seen: tuple[float, ...]
    empty: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Task:
    """A core, the core with the border over which it fades, and what restores it (None: nothing to restore)."""

    window: Window
    beyond: Window
    fit: RegionFit | None


@dataclass(frozen=True)
class _Read:
    task: _Task
    raw: np.ndarray
    outside: np.ndarray | None
    classes: np.ndarray
    wide: Window
    observation: Observation | None
    attended: Observation | None = None
    """What the attention is made of, where it is wanted."""


class Restoring:
    """One restoration; ``run`` does it."""

    def __init__(
        self,
        scene: Scene,
        masks: Masks,
        restorer: Restorer,
        *,
        seed: int,
        device: str,
        pool: Executor,
        progress: Progress,
        attending: Attending | None = None,
    ) -> None:
        self._scene, self._masks, self._restorer, self._attending = scene, masks, restorer, attending
        self._seed, self._device, self._pool, self._progress = seed, device, pool, progress
        self._kept: Observation | None = None
        self.times = StageTimes()
        self.fits: list[RegionFit] = []

    def run(self, plans: Sequence[RegionPlan], outputs: Outputs) -> None:
        """Restore all regions; windows are written in raster order.

        Raises:
            CloudRemovalError, Cancelled: as the parts say.
        """
        fade = Fade(FADE_PX)
        total = sum(window.pixels * (12 if gap else 1) for plan in plans for window, gap in plan.windows)
        done = 0
        with write_behind(lambda item: item(), self.times) as put:
            for _, row in groupby(plans, key=lambda plan: plan.region.row):
                tasks = self._fit_row(list(row), done / total)
                for item in read_ahead(tasks, self._read_all, self.times):
                    if item.attended is not None:
                        put(self._attended(item))
                    put(self._restored(item, fade, outputs))
                    done += item.task.window.pixels * (12 if item.observation is not None else 1)
                    self._progress.step("Restoring", done / total)

    def _fit_row(self, row: list[RegionPlan], fraction: float) -> list[_Task]:
        """Fit the regions of one row of the scene, and list their windows in raster order."""
        tasks = []
        for plan in row:
            self._progress.step("Restoring", fraction, "Learning from clear pixels")
            fit = self._fit(plan) if plan.has_gap else None
            for (window, gap), beyond in zip(plan.windows, plan.beyond, strict=True):
                learned = fit if gap else None
                tasks.append(_Task(window, _beyond(window, beyond, plan.region, learned), learned))
        return sorted(tasks, key=lambda task: task.window)

    def _wide(self, beyond: Window, fit: RegionFit) -> Window:
        """What is read of a window: its core, the border over which it fades, and the method's halo."""
        halo = fit.fitted.needs.halo
        return beyond.pad(halo, halo, halo, halo).clip(*self._scene.grid.shape)

    def _fit(self, plan: RegionPlan) -> RegionFit:
        """Fit one region on its sample windows."""
        since = time.perf_counter()
        every = range(len(self._scene.days))
        classes = [[self._masks.read(date, window) for date in every] for window in plan.samples]
        gap = np.concatenate([hidden(found[0]).ravel() for found in classes])
        shares = [1.0 for _ in every]
        if gap.any():
            seen = [np.concatenate([(found[date] == 0).ravel() for found in classes]) for date in every]
            shares = [float(part[gap].mean()) for part in seen]
        dates = preselect(self._scene.days, shares, FIT_DATES)
        samples = [
            self._scene.observe(window, dates, [found[date] for date in dates], self._pool)
            for window, found in zip(plan.samples, classes, strict=True)
        ]
        self.times.add("read", since)
        since = time.perf_counter()
        fitted = self._restorer.fit(
            samples,
            seed=(self._seed, plan.region.row, plan.region.col),
            device=self._device,
            pool=self._pool,
            cancelled=self._progress.asked,
        )
        self.times.add("fit", since)
        used = tuple(dates[index] for index in fitted.dates_used)
        fit = RegionFit(fitted, used, int(gap.sum()), plan.region, tuple(shares), _empty_bands(samples))
        wanted = [
            self._wide(_beyond(core, beyond, plan.region, fit), fit)
            for (core, gaps), beyond in zip(plan.windows, plan.beyond, strict=True)
            if gaps
        ]
        self._kept = _reduced(samples[0], fitted.dates_used) if plan.samples[0] in wanted else None
        self.fits.append(fit)
        return fit

    def _read_all(self, task: _Task) -> _Read:
        """What a window needs, and what its attention needs where that is wanted."""
        item = self._read(task)
        return item if self._attending is None else replace(item, attended=self._attending.look(task.window))

    def _attended(self, item: _Read) -> Callable[[], None]:
        """The attention over one window; returns what the writing thread is to do with it."""
        since = time.perf_counter()
        done = self._attending.write(item.task.window, item.attended, self._pool, self._progress.asked)
        self.times.add("attention", since)
        return done

    def _read(self, task: _Task) -> _Read:
        """Read what a window needs: the input's own numbers, and an observation where there is a gap."""
        core = task.window
        raw = self._scene.readers[0].read_raw(core)
        outside = self._scene.readers[0].read_hidden(core)
        if task.fit is None:
            return _Read(task, raw, outside, self._masks.read(0, core), core, None)
        wide = self._wide(task.beyond, task.fit)
        kept = self._kept
        if kept is not None and (kept.row, kept.col, *kept.shape[2:]) == wide:
            classes = self._masks.read(0, wide)
            observation = kept
            self._kept = None
        else:
            found = [self._masks.read(date, wide) for date in task.fit.dates]
            classes = found[0]
            observation = self._scene.observe(wide, task.fit.dates, found, self._pool)
        return _Read(task, raw, outside, classes[core.slices(wide)], wide, observation)

    def _restored(self, item: _Read, fade: Fade, outputs: Outputs) -> Callable[[], None]:
        """Restore one window; returns what the writing thread is to do with it."""
        core, fit = item.task.window, item.task.fit
        raw, outside, classes = item.raw, item.outside, item.classes  # ``item`` itself would keep all dates alive
        if fit is None or item.observation is None:
            return lambda: outputs.copy(core, raw, outside, classes)
        since = time.perf_counter()
        restoration = fit.fitted.restore(item.observation, pool=self._pool)
        beyond = item.task.beyond
        part = beyond.slices(item.wide)
        bands = len(self._scene.bands)
        both = np.empty((2 * bands, beyond.height, beyond.width), np.float32)
        gap = item.observation.gap()[part]

        def place(number: int) -> None:
            values = restoration.reflectance if number < bands else restoration.sigma
            both[number] = np.nan
            if values is not None:
                np.copyto(both[number], values[number % bands][part], where=gap, casting="same_kind")

        list(self._pool.map(place, range(2 * bands)))
        faded = fade.add(core, beyond.width - core.width, beyond.height - core.height, both)
        self.times.add("restore", since)
        return lambda: outputs.merge(core, raw, outside, classes, faded[:bands], faded[bands:])


def _empty_bands(samples: Sequence[Observation]) -> tuple[str, ...]:
    """Bands in which the target holds no number, although it does in others."""
    held = [np.isfinite(obs.optical[0]).any(axis=(1, 2)) for obs in samples]
    there = np.any(held, axis=0)
    return tuple(name for name, some in zip(samples[0].bands, there, strict=True) if there.any() and not some)


def _beyond(core: Window, beyond: Window, region: Window, fit: RegionFit | None) -> Window:
    """A core with the border that it needs to fade; inside a region, pixels that stand alone have no seams to hide."""
    if fit is None:
        return core
    alike = fit.fitted.needs.pixelwise
    right = core.right if alike and core.right < region.right else beyond.right
    bottom = core.bottom if alike and core.bottom < region.bottom else beyond.bottom
    return Window(core.row, core.col, bottom - core.row, right - core.col)


def _reduced(observation: Observation, dates: Sequence[int]) -> Observation:
    """An observation of some of its dates."""
    keep = list(dates)
    if keep == list(range(observation.shape[0])):
        return observation
    return replace(
        observation, optical=observation.optical[keep], cloud=observation.cloud[keep], days=observation.days[keep]
    )


def figures(fits: Sequence[RegionFit]) -> tuple[float | None, Iterator[str]]:
    """The scene's expected RMSE (None where no region knows its own), and the notes of the fits, each once."""
    known = [(fit.fitted.expected_rmse, fit.gap) for fit in fits if fit.fitted.expected_rmse is not None]
    weight = sum(gap for _, gap in known)
    rmse = float(np.sqrt(sum(value**2 * gap for value, gap in known) / weight)) if weight else None
    return rmse, iter(dict.fromkeys(note for fit in fits for note in fit.fitted.notes))
