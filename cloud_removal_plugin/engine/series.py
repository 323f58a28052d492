"""A job over a whole series: detect, fit each region once for all dates, restore window by window, write a folder."""

from __future__ import annotations

import contextlib
import tempfile
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..methods import series as methods
from ..methods.learned_window import workers_of
from ..observation import HIDDEN_FROM
from ..raster.classes import NO_DATA
from ..raster.crs import grid_of
from ..raster.parts import scratch_prefix
from ..raster.windows import REGION_PX, Window
from . import device as devices
from .job import Job, Result
from .notes import folded
from .progress import Cancel, Log, Progress, Report
from .series_between import between, check_composite, ends_of, needed
from .series_composite import best_pixel, medoid
from .series_fits import SeriesFits, Work, prepare
from .series_outputs import (
    DateWriter,
    SeriesOutputs,
    Written,
    check_folder,
    names_of,
    spans_of,
    tags_of,
)
from .series_plan import shares, window_px, windows
from .series_scene import SeriesScene
from .series_settings import SeriesSettings, Wanted, wanted
from .series_sigma import SigmaWriter
from .weights import folder_of

FILES_A_DATE = 4
"""Raster, mask, classes and output of every date are open at once."""


def restore_series(
    job: Job, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log
) -> Result:
    """Restore what is hidden on the dates of a series.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    settings = SeriesSettings.from_json(job.settings)
    if not job.products:
        raise InputError("The job names no raster. Give at least one.")
    check_folder(job.output, (*job.products, *settings.radar, *settings.masks))
    if job.uncertainty:
        check_folder(job.uncertainty, job.products)
    methods.create(job.method, folder_of(job), budget_mb)  # an unknown name is said before anything is read
    parent = Path(job.output).resolve().parent
    with tempfile.TemporaryDirectory(prefix=scratch_prefix(), suffix=".part", dir=parent) as name:
        _allow_files(FILES_A_DATE * (len(job.products) + 16))
        with SeriesScene(job, settings, Path(name)) as scene:
            _allow_files(FILES_A_DATE * (len(scene.layers) + 16))
            asked = wanted(settings, scene.dates, len(scene.layers))
            work = prepare(job, scene, budget_mb, workers_of(threads, devices.choose(job.device)))
            _introduce(job, scene, budget_mb, log)
            progress = Progress(report, cancelled, {"Finding clouds": 0.0 if scene.complete else 0.3, "Restoring": 1.0})
            scene.detect(job, settings.detector, progress.phase("Finding clouds"), progress.asked, threads)
            for note in (*folded(scene.notes), *work.notes):
                log("info", note)
            run = _SeriesRun(job, settings, scene, work, asked, threads, progress)
            outputs = run.folder(Path(name))
            for note in run.fits.notes:
                log("info", note)
            return run.result(outputs, log)


def _allow_files(count: int) -> None:
    """Raise the number of files that this process may have open, where the system has such a number."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        need = count + 256
        if soft != resource.RLIM_INFINITY and soft < need:
            top = need if hard == resource.RLIM_INFINITY else min(need, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))


def _introduce(job: Job, scene: SeriesScene, budget: int, log: Log) -> None:
    """The first lines of the log."""
    days = list(dict.fromkeys(day.isoformat() for day in (scene.dates or [])))
    span = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "not known when"
    count = f"{len(scene.layers)} dates ({span})" if len(scene.layers) > 1 else f"One date ({span})"
    dtypes = ", ".join(dict.fromkeys(each.info.dtype for each in scene.layers))
    log("info", f"{count}, {dtypes}; bands: {', '.join(scene.bands)}.")
    grid = scene.grid
    log("info", f"Grid of {Path(job.products[0]).name}: {grid.width} x {grid.height} pixels of {grid.pixel_m:.4g} m.")
    warped = sum(not reader.same_grid for reader in scene.readers)
    if warped:
        many = (
            "One date lies on another grid and comes" if warped == 1 else f"{warped} dates lie on other grids and come"
        )
        scene.warnings.append(f"{many} warped to that of the first raster; only there do clear pixels change.")
        finest = min(grid_of(each.info).pixel_m for each in scene.layers)
        if finest < 0.9 * grid.pixel_m:
            scene.warnings.append(
                f"Some rasters have finer pixels ({finest:.4g} m) than the first, whose {grid.pixel_m:.4g} m all "
                "results have. Put one of them first in INPUTS to keep their detail."
            )
    log("info", f"Method {job.method}; memory budget {budget} MB; seed {job.seed}. {devices.describe(job.device)}")


class _SeriesRun:
    """One run; ``folder`` does it."""

    def __init__(
        self, job: Job, settings: SeriesSettings, scene: SeriesScene, work: Work, asked: list[Wanted],
        threads: Executor, progress: Progress,
    ) -> None:  # fmt: skip
        self._job, self._settings, self._scene, self._work = job, settings, scene, work
        self._asked, self._pool, self._progress = asked, threads, progress
        self._dilate = max(job.dilate, 0)
        self._targets = needed(scene, asked)
        self._ends = {each.date: ends_of(scene, each.date) for each in asked if each.layer is None}
        many = len(scene.layers)
        self._valid, self._hidden, self._restored = (np.zeros(many, np.int64) for _ in range(3))
        self.fits = SeriesFits(job, scene, work, self._targets, threads, progress)

    def folder(self, scratch: Path) -> list[Written]:
        """Restore and write everything."""
        composite = self._settings.target.strip().lower() == "composite"
        with contextlib.ExitStack() as stack:
            outputs = stack.enter_context(SeriesOutputs(self._job.output, scratch, self._scene))
            writers = self._open_composite(outputs) if composite else self._open_dates(outputs)
            sigmas = self._open_sigmas(stack, scratch)
            height, width = self._scene.grid.shape
            every = windows(height, width, self._edge())
            for number, window in enumerate(every):
                self._progress.step("Restoring", number / len(every))
                self._window(window, writers, sigmas, composite)
        if not self._valid.any():
            raise InputError("The rasters hold no data in this extent: there is nothing to restore.")
        spans = [(self._asked[0].date, self._asked[-1].date)] if composite else spans_of(self._asked)
        written = outputs.move(spans)
        self._move_sigmas(scratch)
        return written

    def _edge(self) -> int:
        return window_px(self._work.room.budget_mb, *self._work.held, self._work.room.halo)

    def _open_dates(self, outputs: SeriesOutputs) -> list[DateWriter]:
        names = names_of(self._asked, "restored")
        return [outputs.add(n, each.layer, tags_of(each)) for n, each in zip(names, self._asked, strict=True)]

    def _open_composite(self, outputs: SeriesOutputs) -> list[DateWriter]:
        self._scene.warnings += check_composite(self._scene, self._asked)
        kind, first, last = self._settings.composite, self._asked[0].date, self._asked[-1].date
        span = f"_{first:%Y%m%d}_{last:%Y%m%d}" if first and last else ""
        tags = {"CONTENT": f"{kind} composite of {len(self._asked)} restored dates"}
        if first and last:
            tags |= {"START_DATE": first.isoformat(), "END_DATE": last.isoformat()}
        return [outputs.add(f"composite_{kind}{span}.tif", None, tags)]

    def _open_sigmas(self, stack: contextlib.ExitStack, scratch: Path) -> dict[int, SigmaWriter]:
        """Writers of the standard deviations by acquisition, in a scratch folder of their own."""
        if not self._job.uncertainty:
            return {}
        folder = scratch / "sigma"
        folder.mkdir()
        outputs = stack.enter_context(SeriesOutputs(self._job.uncertainty, folder, self._scene))
        acquired = [each for each in self._asked if each.layer is not None]
        names = names_of(acquired, "sigma")
        return {
            each.layer: outputs.add_sigma(name, each.layer, tags_of(each))
            for name, each in zip(names, acquired, strict=True)
        }

    def _move_sigmas(self, scratch: Path) -> None:
        if self._job.uncertainty:
            target = Path(self._job.uncertainty).resolve()
            target.mkdir(exist_ok=True)
            for path in sorted((scratch / "sigma").glob("[!.]*.tif")):
                path.replace(target / path.name)

    def _window(
        self, window: Window, writers: list[DateWriter], sigmas: dict[int, SigmaWriter], composite: bool
    ) -> None:
        """Read, restore and write one window of all dates."""
        scene = self._scene
        parts = shares(window, *scene.grid.shape, REGION_PX)
        classes = [scene.classes(t, window, self._dilate) for t in self._targets]
        busy = any(((c == 1) | (c == 2)).any() for c in classes)
        if not busy and not composite and all(each.layer is not None for each in self._asked):
            self._copy(window, classes, writers, sigmas)
            return
        regions = parts if busy else []
        halo = max((-(-fit.halo // 64) * 64 for region, _ in regions for fit in self.fits.of(region)), default=0)
        wide = window.pad(halo, halo, halo, halo).clip(*scene.grid.shape)
        obs = scene.observe(wide, self._pool, self._dilate)
        inner = window.slices(wide)
        gap = obs.cloud[:, inner[0], inner[1]] >= HIDDEN_FROM
        found, sigma = self.fits.restored(obs, regions, inner, gap, bool(sigmas))
        images = obs.optical[:, :, inner[0], inner[1]]
        self._count(images, gap, found)
        for t in range(len(gap)):
            if gap[t].any():
                images[t][:, gap[t]] = found.get(t, np.float32(np.nan))
        if composite:
            writers[0].write(window, self._composite(images, gap), np.zeros(gap.shape[1:], bool))
        else:
            for writer, each in zip(writers, self._asked, strict=True):
                if each.layer is None:
                    writer.write(window, between(images, self._ends[each.date]), np.zeros(gap.shape[1:], bool))
                else:
                    writer.write(window, images[each.layer], gap[each.layer])
        for t, writer in sigmas.items():
            writer.write(window, images[t], gap[t], sigma.get(t))

    def _copy(
        self, window: Window, classes: list[np.ndarray], writers: list[DateWriter], sigmas: dict[int, SigmaWriter]
    ) -> None:
        """Write a window without gaps, date by date."""
        for t, found in zip(self._targets, classes, strict=True):
            self._valid[t] += int((found != NO_DATA).sum())
        nothing = np.zeros((window.height, window.width), bool)
        for writer, each in zip(writers, self._asked, strict=True):
            plain = writer.raw and each.layer not in sigmas
            image = None if plain else self._scene.readers[each.layer].read(window)
            writer.write(window, image, nothing)
            if each.layer in sigmas:
                sigmas[each.layer].write(window, image, nothing, None)

    def _count(self, images: np.ndarray, gap: np.ndarray, found: dict[int, np.ndarray]) -> None:
        for t in self._targets:
            self._hidden[t] += int(gap[t].sum())
            self._valid[t] += int((gap[t] | np.isfinite(images[t]).any(axis=0)).sum())
            if t in found:
                own = sorted(self._scene.own[t])
                self._restored[t] += int(np.isfinite(found[t][own]).all(axis=0).sum())

    def _composite(self, images: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """All dates asked for as one (C, H, W)."""
        stack = np.stack([self._image(images, each) for each in self._asked])
        if self._settings.composite == "medoid":
            return medoid(stack)
        nothing = np.ones(gap.shape[1:], bool)
        restored = np.stack([nothing if each.layer is None else gap[each.layer] for each in self._asked])
        return best_pixel(stack, restored, np.array([self._day(each) for each in self._asked]))

    def _image(self, images: np.ndarray, each: Wanted) -> np.ndarray:
        """A date asked for, in the bands of the first raster."""
        if each.layer is None:
            return between(images, self._ends[each.date])
        return images[each.layer, : self._scene.first_bands]

    def _day(self, each: Wanted) -> float:
        if each.layer is not None:
            return float(self._scene.days[each.layer])
        return float((each.date - self._scene.dates[0]).days)

    def result(self, written: list[Written], log: Log) -> Result:
        """Figures of the whole series."""
        scene = self._scene
        missing = int((self._hidden - self._restored).sum())
        warnings = list(scene.warnings)
        if missing:
            composite = self._settings.target.strip().lower() == "composite"
            warnings.append(
                f"{missing} of {int(self._hidden.sum())} hidden pixels could not be restored, because nothing is known "
                f"of them on any date. They were {'left out of the composite' if composite else 'left as they were'}."
            )
        if len(scene.layers) == 1 and self._restored.any():
            warnings.append("With one date alone the gaps are filled from their rims; more dates help most.")
        for warning in warnings:
            log("warning", warning)
        weight = sum(many for _, many in self.fits.errors)
        rmse = float(np.sqrt(sum(e**2 * n for e, n in self.fits.errors) / weight)) if weight else None
        valid = max(int(self._valid.sum()), 1)
        return Result(
            output=self._job.output,
            uncertainty=self._job.uncertainty,
            cloud_share=float(self._hidden.sum()) / valid,
            restored_share=float(self._restored.sum()) / valid,
            expected_rmse=rmse,
            method_used=self.fits.summary or "copy",
            warnings=tuple(warnings),
            report="\n".join(each.line() for each in written),
        )
