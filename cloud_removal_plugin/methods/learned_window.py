"""Runs one network over the windows of a scene: cuts, scales, resamples, joins. No fitting happens here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from .. import ext
from ..errors import Cancelled
from ..models.records import Record
from ..observation import Observation
from .learned_inputs import Frames, Wants, lowered, predict_series
from .learned_members import predict
from .learned_tiles import EDGES, Axis, Lattice, Span, brought, reflected, spans

SAME_SIZE = 1.25
"""Pixels that differ from the network's by less than this factor are taken as they are."""

LEAST_CORE = 32
"""Pixels that a window answers for, at least."""

LEAST_FIXED = 64
"""Edge below which a network that sees its whole window is not run."""

LARGE_EDGES = (1024, 768)
"""Windows tried first on a graphics card."""


@dataclass(frozen=True)
class Runner:
    """A network at work on one region.

    Attributes:
        network: on ``device``, in evaluation mode.
        record, config, wants: of it.
        device: "cpu" or "cuda".
        lattice: how its windows lie, in its pixels.
        ratio: its pixels per pixel of the scene.
        shape: rows and columns of the scene, None = not known (a window's end counts as the scene's).
        order: indices of its frames in the observation's dates, in the order of time.
        radar_of: for each frame the acquisition of the radar.
        bands: its bands as indices into the observation's.
        fill, radar_fill: what stands for missing reflectance and backscatter.
        target_date: None where dates are not known.
        cancelled: asked before every window.
        parallel: whether the memory allows several windows at a time.
        precision: "float32", or what torch computes in where it can.
        keep: of a network that rebuilds every frame, the places in ``order`` that are wanted; empty = the target's.
    """

    network: Any
    record: Record
    config: dict[str, Any]
    wants: Wants
    device: str
    lattice: Lattice
    ratio: float
    shape: tuple[int, int] | None
    order: tuple[int, ...]
    radar_of: tuple[int, ...]
    bands: tuple[int, ...]
    fill: float
    radar_fill: float
    target_date: date | None
    cancelled: Callable[[], bool] | None = None
    parallel: bool = True
    precision: str = "float32"
    keep: tuple[int, ...] = ()

    @property
    def restored(self) -> tuple[int, ...]:
        """The bands that it restores, as indices into the observation's."""
        if not self.wants.gives:
            return self.bands
        return tuple(self.bands[self.wants.bands.index(role)] for role in self.wants.gives)

    @property
    def halo(self) -> int:
        """Pixels of the scene that a window needs on all sides."""
        return halo_of(self.lattice, self.ratio)

    def restore(
        self, obs: Observation, gap: np.ndarray, pool: Executor | None, context: int = 0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Restore one window.

        Args:
            obs: with the dates that ``order`` counts.
            gap: bool (H, W), what is wanted; parts without are not computed.
            pool: runs windows of the network side by side.
            context: pixels at the sides of ``obs`` that are there as surroundings only (not at the scene's ends).

        Returns:
            float32 (C, H, W) reflectance of the bands that the network restores, NaN where nothing was computed, and
            its standard deviation where the network gives one. With ``keep`` the bands of those frames, one frame
            after the other.
        """
        window = _Window(self, obs, gap, context)
        tiles = window.tiles()
        alone = pool is None or self.device != "cpu" or not self.parallel
        parts = map(window.part, tiles) if alone else _spread(window.part, tiles, pool)
        return window.joined(zip(tiles, parts, strict=True), self.wants.variance)


class _Window:
    """One window of the scene on the network's grid."""

    def __init__(self, runner: Runner, obs: Observation, gap: np.ndarray, context: int) -> None:
        self._runner, self._gap = runner, gap
        self._row, self._col = obs.row, obs.col
        height, width = gap.shape
        order = list(runner.order)
        self._optical = obs.optical[order][:, list(runner.bands)]
        self._hidden = ~_seen(self._optical, obs.cloud[order])
        self._radar = obs.radar[list(runner.radar_of)] if runner.wants.radar and obs.radar is not None else None
        self._days = np.asarray(obs.days, np.float64)[order]
        self._radar_days = (
            np.asarray(obs.radar_days, np.float64)[list(runner.radar_of)] if self._radar is not None else self._days
        )
        whole = runner.shape or (obs.row + height, obs.col + width)
        ratio = runner.ratio
        self._lengths = tuple(max(1, int(np.ceil(size * ratio - 1e-6))) for size in whole)
        rows = _asked(gap.any(axis=1), obs.row, whole[0], context)
        cols = _asked(gap.any(axis=0), obs.col, whole[1], context)
        self._asked = tuple(
            (max(0, int(low * ratio) - (ratio != 1)), min(length, int(np.ceil(high * ratio)) + (ratio != 1)))
            for (low, high), length in zip((rows, cols), self._lengths, strict=True)
        )
        self._planes: np.ndarray | None = None

    def tiles(self) -> list[tuple[Span, Span]]:
        """Windows of the network that hold something to restore."""
        lattice = self._runner.lattice
        rows, cols = (
            spans(lattice, length, low, high) if high > low else []
            for length, (low, high) in zip(self._lengths, self._asked, strict=True)
        )
        return [(row, col) for row in rows for col in cols if self._holds_gap(row, col)]

    def _holds_gap(self, row: Span, col: Span) -> bool:
        ratio = self._runner.ratio
        part = tuple(
            slice(max(0, int(np.floor((span.first - 1 * (ratio != 1)) / ratio)) - origin),
                  max(0, int(np.ceil((span.last + 1 * (ratio != 1)) / ratio)) - origin))
            for span, origin in ((row, self._row), (col, self._col))
        )  # fmt: skip
        return bool(self._gap[part].any())

    def part(self, tile: tuple[Span, Span]) -> np.ndarray:
        """Planes (C or 2 C, h, w) of what a tile answers for."""
        runner = self._runner
        if runner.cancelled is not None and runner.cancelled():
            raise Cancelled
        with lowered(runner.precision, runner.device):
            return self._computed(*tile)

    def _computed(self, row: Span, col: Span) -> np.ndarray:
        runner = self._runner
        bottom, right = min(row.last, self._lengths[0]), min(col.last, self._lengths[1])
        own = (slice(row.first - row.start, bottom - row.start), slice(col.first - col.start, right - col.start))
        if runner.keep:
            series = predict_series(runner.network, runner.record, runner.config, self._frames(row, col), runner.device)
            return series[list(runner.keep)].reshape(-1, *series.shape[-2:])[:, own[0], own[1]]
        mean, deviation = predict(runner.network, runner.record, runner.config, self._frames(row, col), runner.device)
        planes = mean if deviation is None else np.concatenate((mean, deviation))
        return planes[:, own[0], own[1]]

    def _frames(self, row: Span, col: Span) -> Frames:
        """What the network sees of a tile."""
        runner = self._runner
        axes = [
            Axis.between(reflected(np.arange(span.start, span.stop), length), runner.ratio, origin, size)
            for span, length, origin, size in zip(
                (row, col), self._lengths, (self._row, self._col), self._gap.shape, strict=True
            )
        ]
        optical = brought(self._optical, *axes)
        hidden = brought(self._hidden.astype(np.float32), *axes) > 0
        radar = None
        if self._radar is not None:
            radar = brought(self._radar, *axes)
            radar = np.where(np.isfinite(radar), radar, np.float32(runner.radar_fill))
        # what is trained with zeros for missing numbers gets them from its scaling
        if runner.record.scaling.missing != "zero":
            optical = np.where(np.isfinite(optical), optical, np.float32(runner.fill))
        dates = None
        if runner.target_date is not None:
            dates = [runner.target_date + timedelta(days=round(day)) for day in self._days]
        target = 0 if runner.keep else int(np.flatnonzero(np.asarray(runner.order) == 0)[0])
        return Frames(optical, hidden, radar, self._days, self._radar_days, dates, target)

    def joined(
        self, parts: Sequence[tuple[tuple[Span, Span], np.ndarray]], variance: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """All parts blended, on the scene's grid."""
        ratio, (height, width) = self._runner.ratio, self._gap.shape
        top, left = (int(np.floor(origin * ratio)) for origin in (self._row, self._col))
        bottom = min(self._lengths[0], int(np.ceil((self._row + height) * ratio)))
        right = min(self._lengths[1], int(np.ceil((self._col + width) * ratio)))
        bands = len(self._runner.restored) * max(len(self._runner.keep), 1)
        planes = np.zeros((bands * (2 if variance else 1), bottom - top, right - left), np.float32)
        weight = np.zeros(planes.shape[1:], np.float32)
        for (row, col), part in parts:
            r0, r1 = max(row.first, top), min(row.last, bottom)
            c0, c1 = max(col.first, left), min(col.last, right)
            if r1 <= r0 or c1 <= c0:
                continue
            share = (
                row.weights()[r0 - row.first : r1 - row.first, None] * col.weights()[c0 - col.first : c1 - col.first]
            )
            inside = part[:, r0 - row.first : r1 - row.first, c0 - col.first : c1 - col.first]
            planes[:, r0 - top : r1 - top, c0 - left : c1 - left] += inside * share
            weight[r0 - top : r1 - top, c0 - left : c1 - left] += share
        # where a ramp meets a neighbour that held nothing to restore, this tile speaks alone
        with np.errstate(invalid="ignore", divide="ignore"):
            planes /= np.where(weight > 0, weight, np.nan)
        if ratio != 1:
            rows = Axis.between(np.arange(self._row, self._row + height), 1 / ratio, top, bottom - top)
            cols = Axis.between(np.arange(self._col, self._col + width), 1 / ratio, left, right - left)
            planes = brought(planes, rows, cols)
        return planes[:bands], planes[bands:] if variance else None


def _spread(
    part: Callable[[tuple[Span, Span]], np.ndarray], tiles: Sequence[tuple[Span, Span]], pool: Executor
) -> Iterator[np.ndarray]:
    """Windows side by side, each on one thread: that is faster than two threads in one, and adds in one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from pool.map(part, tiles)
    finally:
        torch.set_num_threads(threads)


def _seen(optical: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """bool (T, H, W): not hidden, and a number in every band."""
    return (cloud < 0.5) & np.isfinite(optical).all(axis=1)


def _asked(any_gap: np.ndarray, origin: int, length: int, context: int) -> tuple[int, int]:
    """Range of rows or columns of the scene that hold gap pixels, without what is there as surroundings only."""
    places = np.flatnonzero(any_gap) + origin
    low = origin + (context if origin > 0 else 0)
    end = origin + len(any_gap)
    high = end - (context if end < length else 0)
    places = places[(places >= low) & (places < high)]
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (low, low)


def halo_of(lattice: Lattice, ratio: float) -> int:
    """Pixels of the scene that a window needs on all sides."""
    return int(np.ceil((lattice.reach + 2) / ratio)) + (2 if ratio != 1 else 0)


def ratio_of(pixel_m: float, record: Record) -> float:
    """Network pixels per pixel of a layer; 1 where they are about the same."""
    ratio = pixel_m / record.gsd_m
    return 1.0 if 1 / SAME_SIZE < ratio < SAME_SIZE else ratio


def lattice_of(record: Record, frames: int, memory_mb: float, workers: int, device: str) -> Lattice:
    """Windows that fit the memory: the largest that pays, or the network's own where it sees its whole window.

    Args:
        record: of the network.
        frames: dates of one call.
        memory_mb: what may be used.
        workers: windows that are computed at the same time.
        device: "cpu" or "cuda".
    """
    usable = _edges(record, device)
    fitting = [edge for edge in usable if workers * window_mb(record, edge, frames, device) <= memory_mb]
    edge = (fitting or usable[-1:])[0]
    if not record.window:
        return Lattice(edge, record.halo, record.size_multiple, record.size_least)
    # smaller windows share as much of themselves with their neighbours as those that the network was trained on
    halo, fade = (size * edge // record.window for size in (record.halo, record.fade))
    return Lattice(edge, halo, record.size_multiple, record.size_least, fade, fixed=True)


def window_mb(record: Record, edge: int, frames: int, device: str) -> float:
    """MiB that one window takes here; a kernel that is to be compiled must have been by now (:func:`.ext.load`)."""
    return record.memory_mb(edge, edge, frames, compiled=device == "cpu" and ext.loaded())


def _edges(record: Record, device: str) -> list[int]:
    """Edges to choose from, the largest first; never so small that a window is nearly all surroundings."""
    if record.window:
        edges = [edge for edge in EDGES if max(LEAST_FIXED, record.size_least) <= edge <= record.window]
        return edges or [record.window]
    least = max(2 * record.halo + max(LEAST_CORE, record.size_multiple), record.size_least)
    edges = (*LARGE_EDGES, *EDGES) if device == "cuda" else EDGES
    return [edge for edge in edges if edge >= least] or [max(edges)]


def workers_of(pool: Executor | None, device: str) -> int:
    """Windows that may be under way at once: one a thread of the pool; a graphics card works on one alone."""
    return 1 if pool is None or device != "cpu" else getattr(pool, "_max_workers", 1)


def side_by_side(record: Record, frames: int, memory_mb: float, workers: int) -> bool:
    """Whether as many windows as there are workers fit the memory without getting much smaller for it."""
    many, one = (lattice_of(record, frames, memory_mb, number, "cpu") for number in (workers, 1))
    fits = workers * window_mb(record, many.edge, frames, "cpu") <= memory_mb
    if record.window:
        return fits and many.edge == one.edge  # the size is part of such a network
    return fits and _work(many) <= 1.5 * _work(one)


def _work(lattice: Lattice) -> float:
    """Computed pixels for every wanted one."""
    return (lattice.edge / (lattice.edge - 2 * lattice.halo)) ** 2
