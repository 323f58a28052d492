"""Where a network's windows lie in a scene, how they join, and how pixels of another size are brought to it and back.

All positions are pixels of the network's grid, counted from the scene's upper left corner, so that a window is the same
whichever part of the scene is asked for: a network whose reach is local gives the same numbers in windows as in one
pass, and one with window attention sees its windows on one lattice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

EDGES = (512, 448, 384, 320, 288, 256, 224, 192, 160, 128, 96, 64, 48, 32)
"""Edges of windows that are tried, from the one with the least overlap: on a processor larger ones gain nothing."""


@dataclass(frozen=True)
class Lattice:
    """How windows are laid along one axis of a scene.

    Attributes:
        edge: pixels of a window, context included.
        halo: context on either side; a multiple of half of ``multiple`` wastes none.
        multiple, least: a window's length is a multiple of the first and at least the second.
        fade: pixels over which windows fade into each other where context cannot make them equal; 0 = they meet. Ramps
            are straight: of all ramps of a length their steepest step is the smallest.
        fixed: every window has the edge (the network sees its size, or means over it); else windows are cut to what is
            asked for.
    """

    edge: int
    halo: int
    multiple: int = 1
    least: int = 1
    fade: int = 0
    fixed: bool = False

    @property
    def reach(self) -> int:
        """Pixels beside what is asked for that a window may read."""
        return self.edge if self.fixed else self.halo + max(self.multiple, self.least)


@dataclass(frozen=True)
class Span:
    """One window along one axis: what it reads, what it answers for, and how it fades at both ends."""

    start: int
    stop: int
    low: int
    high: int
    fade_low: int = 0
    fade_high: int = 0

    @property
    def first(self) -> int:
        """First pixel with a weight."""
        return self.low - self.fade_low // 2

    @property
    def last(self) -> int:
        """One behind the last pixel with a weight."""
        return self.high + self.fade_high // 2

    def weights(self) -> np.ndarray:
        """Weights float32 (last - first,): ramps at the ends; those of all windows sum to one."""
        at = np.arange(self.first, self.last) + 0.5
        weight = np.ones(len(at))
        if self.fade_low:
            weight = np.minimum(weight, (at - self.first) / (2 * (self.low - self.first)))
        if self.fade_high:
            weight = np.minimum(weight, (self.last - at) / (2 * (self.last - self.high)))
        return weight.astype(np.float32)


def spans(lattice: Lattice, length: int, low: int, high: int) -> list[Span]:
    """The windows along one axis that give ``low`` to ``high`` of a scene of ``length`` pixels.

    A window may end behind the scene, where its size has to be a multiple; what lies there is reflected.
    """
    if lattice.fixed:
        return list(_fixed(lattice, length, low, high))
    return list(_cut(lattice, length, low, high))


def _fixed(lattice: Lattice, length: int, low: int, high: int) -> Iterator[Span]:
    edge = max(_up(lattice.edge, lattice.multiple), lattice.least)
    if length <= edge:
        stop = max(_up(length, lattice.multiple), lattice.least)
        yield Span(0, stop, 0, length)
        return
    fade = 2 * (lattice.fade // 2)
    stride = max(_down(edge - 2 * lattice.halo - fade, lattice.multiple), lattice.multiple)
    last = _up(length - edge, lattice.multiple)
    starts = [*range(0, last, stride), last]
    cuts = [0, *((after + before + edge) // 2 for before, after in pairwise(starts)), length]
    # where the scene's last window makes its neighbour answer for little, ramps are short enough not to overlap
    owned = [after - before for before, after in pairwise(cuts)]
    fades = [0, *(2 * (min(fade, *both) // 2) for both in pairwise(owned)), 0]
    for place, start in enumerate(starts):
        span = Span(start, start + edge, cuts[place], cuts[place + 1], fades[place], fades[place + 1])
        if span.first < high and span.last > low:
            yield span


def _cut(lattice: Lattice, length: int, low: int, high: int) -> Iterator[Span]:
    stride = max(_down(lattice.edge - 2 * lattice.halo, lattice.multiple), lattice.multiple)
    # Windows begin at multiples of the stride, and so on the grid; those at the scene's ends need no context there.
    last = max(-(-(length - 2 * lattice.halo) // stride) - 1, 0)
    for place in range(min(max((low - lattice.halo) // stride, 0), last), last + 1):
        begin = place * stride + lattice.halo if place else 0
        own = max(begin, low), min((place + 1) * stride + lattice.halo if place < last else length, high)
        if own[0] >= own[1]:
            return
        start = _down(max(own[0] - lattice.halo, 0), lattice.multiple)
        stop = min(_up(own[1] + lattice.halo, lattice.multiple), _up(length, lattice.multiple))
        yield Span(start, max(stop, start + _up(lattice.least, lattice.multiple)), *own)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _down(value: int, multiple: int) -> int:
    return value // multiple * multiple


def reflected(points: np.ndarray, length: int) -> np.ndarray:
    """Indices ``points`` brought into 0..length-1 by reflection at the ends (the edge pixel is not repeated)."""
    if length == 1:
        return np.zeros_like(points)
    period = 2 * (length - 1)
    points = np.abs(points) % period
    return np.minimum(points, period - points)


@dataclass(frozen=True)
class Axis:
    """Makes pixels of one grid from pixels of another along one axis.

    Attributes:
        source: part of the source that is read.
        matrix: float32 (points, source pixels), rows sum to one; None where the grids are the same.
        index: int (points,), places inside ``source``, where the grids are the same.
    """

    source: slice
    matrix: np.ndarray | None
    index: np.ndarray

    @classmethod
    def between(cls, points: np.ndarray, ratio: float, origin: int, size: int) -> Axis:
        """An axis.

        Args:
            points: indices of wanted pixels, from the scene's corner.
            ratio: wanted pixels per source pixel.
            origin, size: source pixels that are there, from ``origin`` on; beyond them the nearest counts.
        """
        if ratio == 1:
            place = np.clip(points - origin, 0, size - 1)
            low = int(place.min())
            return cls(slice(low, int(place.max()) + 1), None, place - low)
        half = max(0.5, 0.5 / ratio)
        centre = (points + 0.5) / ratio
        low = int(np.clip(np.floor((centre - half).min()) - 1 - origin, 0, size - 1))
        high = int(np.clip(np.ceil((centre + half).max()) + 1 - origin, low + 1, size))
        source = np.arange(low, high) + origin + 0.5
        if ratio < 1:
            # the share of a source pixel that lies inside the wanted one
            overlap = np.minimum(source + 0.5, centre[:, None] + half) - np.maximum(
                source - 0.5, centre[:, None] - half
            )
            matrix = np.maximum(overlap, 0)
        else:
            matrix = np.maximum(1 - np.abs(source - np.clip(centre, source[0], source[-1])[:, None]), 0)
        total = matrix.sum(axis=1, keepdims=True)
        nearest = np.abs(source - centre[:, None]).argmin(axis=1)
        matrix = np.where(total > 0, matrix / np.maximum(total, 1e-9), np.eye(len(source))[nearest])
        return cls(slice(low, high), matrix.astype(np.float32), np.zeros(0, int))


def brought(values: np.ndarray, rows: Axis, cols: Axis) -> np.ndarray:
    """Values (..., H, W) on another grid, float32 (..., h, w); NaN is left out of means, and stays where all is NaN."""
    part = values[..., rows.source, cols.source]
    if rows.matrix is None or cols.matrix is None:
        return part[..., rows.index[:, None], cols.index].astype(np.float32, copy=False)
    known = np.isfinite(part)
    mixed = _mixed(np.where(known, part, 0).astype(np.float32), rows.matrix, cols.matrix)
    if known.all():
        return mixed
    share = _mixed(known.astype(np.float32), rows.matrix, cols.matrix)
    return np.where(share >= 0.5, mixed / np.maximum(share, 1e-6), np.nan).astype(np.float32)


def _mixed(values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    return rows @ (values @ cols.T)
