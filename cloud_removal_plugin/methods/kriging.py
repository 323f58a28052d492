"""Kriging of what an estimate leaves at clear pixels, in space and among pixels that look alike on other dates.

The rest is taken for a Gaussian process whose covariance is a short-ranged part in space and a long-ranged part that
falls with the distance in the principal components of the other dates as well; so a field that the gap cuts in two is
corrected by its clear half, and one beyond its border is not. Simple kriging (Cressie, Statistics for Spatial Data,
1993, 3.2; Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, 2.2) in square blocks of pixels:
every block takes its own teachers, dense nearby and thinner with the distance, and fades into the next ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np
from scipy import ndimage
from scipy.linalg import lapack

from .cores import on_cores

FINE, COARSE = 16, 32
"""Pixels a side that share their teachers and one matrix: in small regions, and in those that one window holds."""
FADE = 8
"""A block reaches one part in so many of its side over its borders, where it and the next ones pass into each other."""
TEACHERS = 200
"""Clear pixels that a block learns from; 128 lose 0.03 dB where blocks are fine, 0.1 where coarse, 300 gain none."""
COMPONENTS = 10
"""Principal components of the other dates in which pixels are alike or not."""
LONG = 48.0
"""Range in pixels of the part among pixels alike. The part in space alone, of the same variance, has a quarter."""
ALIKE = 2.5
"""Range of the former in standard deviations of the components."""
NOISE = 0.4
"""Variance of a pixel's own rest, which tells nothing of its neighbours, against that of either part."""
DENSITY = 2.0
"""Clear pixels this near to a gap all teach; farther ones with this share over their distance in pixels."""

REACH = 96
"""Pixels round a block beyond which none teaches, as long as there are enough."""
_CELL = 32

_R2 = (0.7548776662466927, 0.5698402910980532)
_SPACED = (_R2, (5 * _R2[1], 3 * _R2[0]))
"""Steps of evenly spread sequences (Roberts 2018, R2): one number a pixel, the same in any order of pixels."""


def teachers(gap: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Clear pixels from which kriging learns, bool (H, W): all at the rim of gaps, fewer with the distance.

    Args:
        gap, clear: bool (H, W).
    """
    if not gap.any():
        return np.zeros(gap.shape, bool)
    far = ndimage.distance_transform_cdt(~gap, metric="chessboard")
    rows, cols = np.indices(gap.shape, sparse=True)
    return clear & (_spread(rows, cols, 0) * far < DENSITY)


def krige(
    known: np.ndarray,
    rest: np.ndarray,
    alike: np.ndarray,
    wanted: np.ndarray,
    components: np.ndarray,
    block: int = FINE,
    pixel: int = 1,
    pool: Executor | None = None,
) -> np.ndarray:
    """Carries the rest at clear pixels into a gap.

    Args:
        known: int (2, k), rows and columns of clear pixels. rest: float32 (R, k), true minus estimated there.
        alike: float32 (F, k), standardised components of the other dates there, the largest first.
        wanted: int (2, n), rows and columns of the gap. components: float32 (F, n) there.
        block: rows and columns that are solved together.
        pixel: what a row or column is in pixels: 2 where only every second one is looked at.
        pool: spreads blocks over cores.

    Returns:
        float32 (R, n). Zero where nothing is known.
    """
    if not known.size or not wanted.size:
        return np.zeros((len(rest), wanted.shape[1]), np.float32)
    cells, grid = _Cells(known), _Blocks(wanted, block)
    keys = _spread(*known[:, cells.order], 1).astype(np.float32)
    # a pixel's numbers side by side: blocks pick pixels from everywhere
    places, rest, alike = (np.ascontiguousarray(x.T[cells.order]) for x in (known, rest, alike[:COMPONENTS]))
    range_of, in_ranges = np.float32(2**0.5 * ALIKE), np.float32(pixel / LONG)
    spots, looks = (np.ascontiguousarray(x.T) for x in (wanted, components[:COMPONENTS] / range_of))
    alike /= range_of
    sums, total = np.zeros((len(spots), rest.shape[1]), np.float32), np.zeros(len(spots), np.float32)

    def one(task: tuple[np.ndarray, np.ndarray]) -> None:
        at, mine = task
        centre = (at + 0.5) * block
        around = cells.around(*at * block, block)
        near = (places[around] - centre).astype(np.float32)
        chosen = _nearest(near, keys[around], block)
        there, chosen = near[chosen] * in_ranges, around[chosen]
        system = _covariance(there, there, alike[chosen], alike[chosen])
        system[np.diag_indices(len(system))] += np.float32(NOISE)
        _, weights, fault = lapack.sposv(system, rest[chosen])
        if fault == 0:  # else rounding has made the matrix singular: no correction rather than a wild one
            here = ((spots[mine] - centre) * in_ranges).astype(np.float32)
            ramp = grid.ramp(at, mine)
            cross = _covariance(here, there, looks[mine], alike[chosen])
            cross *= ramp[:, None]
            sums[mine] += cross @ weights
            total[mine] += ramp

    for tasks in grid.turns():  # blocks of one turn share no pixel
        on_cores(one, tasks, pool)
    sums /= np.maximum(total, 1e-6)[:, None]
    return np.ascontiguousarray(sums.T)


class _Blocks:
    """Wanted pixels in square blocks that reach over their borders and pass into each other there.

    Args:
        wanted: int (2, n), rows and columns. block: edge of the blocks.
    """

    def __init__(self, wanted: np.ndarray, block: int) -> None:
        self._wanted, self._block, self._fade = wanted, block, max(block // FADE, 1)
        self._own = wanted // block
        self._there = np.zeros(self._own.max(axis=1) + 3, bool)  # which blocks hold any, with a margin of one
        self._there[tuple(self._own + 1)] = True

    def turns(self) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
        """Four lists of blocks that lie apart: row and column (2,) of the block, positions of its pixels."""
        for parity in ((0, 0), (0, 1), (1, 0), (1, 1)):
            (rows, down), (cols, across) = (self._reached(axis, parity[axis]) for axis in (0, 1))
            mine = np.flatnonzero(down & across & self._there[rows + 1, cols + 1])
            order = mine[np.lexsort((cols[mine], rows[mine]))]
            at = np.stack((rows[order], cols[order]))
            borders = np.flatnonzero(np.diff(at).any(axis=0)) + 1
            yield [(at[:, start], part) for start, part in zip((0, *borders), np.split(order, borders)) if len(part)]

    def _reached(self, axis: int, parity: int) -> tuple[np.ndarray, np.ndarray]:
        """Row or column of the block of a parity that reaches each pixel, and whether one does."""
        own, inside = self._own[axis], self._wanted[axis] - self._own[axis] * self._block
        beside = np.where(inside < self._fade, -1, np.where(inside >= self._block - self._fade, 1, 0))
        mine = own % 2 == parity
        return np.where(mine, own, own + beside), mine | (beside != 0)

    def ramp(self, at: np.ndarray, mine: np.ndarray) -> np.ndarray:
        """How much the block at ``at`` has to say of each of its pixels, float32: 1, and from 1 to 0 over a border."""
        inside = (self._wanted[:, mine] - at[:, None] * self._block + 0.5).astype(np.float32)
        up, down = inside + self._fade, self._block + self._fade - inside
        return np.clip(np.minimum(up, down) / np.float32(2 * self._fade), 0, 1).prod(axis=0)


class _Cells:
    """Clear pixels sorted into square cells, so that a block finds those around it without a look at all.

    Args:
        places: int (2, k), rows and columns.

    Attributes:
        order: (k,) brings them into the order of their cells.
    """

    def __init__(self, places: np.ndarray) -> None:
        rows, cols = places // _CELL
        self._shape = (int(rows.max()) + 1, int(cols.max()) + 1)
        number = rows * self._shape[1] + cols
        self.order = np.argsort(number, kind="stable")
        self._starts = np.searchsorted(number[self.order], np.arange(self._shape[0] * self._shape[1] + 1))

    def around(self, row: int, col: int, block: int) -> np.ndarray:
        """Positions, in that order, within reach of a block that begins there; all if they are too few."""
        ends = zip((row, col), self._shape, strict=True)
        (top, bottom), (left, right) = (
            (max(int(at) - REACH, 0) // _CELL, min((int(at) + block + REACH) // _CELL + 1, many)) for at, many in ends
        )
        lines = np.arange(top, bottom)[:, None] * self._shape[1] + np.array([left, max(left, right)])
        pieces = self._starts[lines]
        if (pieces[:, 1] - pieces[:, 0]).sum() < TEACHERS:
            return np.arange(len(self.order))
        return np.concatenate([np.arange(start, stop) for start, stop in pieces])


def _nearest(from_centre: np.ndarray, keys: np.ndarray, block: int) -> np.ndarray:
    """Which clear pixels teach a block: thinner by the third power of the distance from it."""
    if len(keys) <= TEACHERS:
        return np.arange(len(keys))
    far = np.sqrt(_length2(from_centre))
    far -= np.float32(block / 2)
    np.maximum(far, 1, out=far)
    return np.argpartition(keys * (far * far * far), TEACHERS)[:TEACHERS]


def _covariance(here: np.ndarray, there: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Covariance (n, m) of places (n, 2) and (m, 2) with components (n, F) and (m, F), all in units of their ranges."""
    far = _squares(here, there)
    np.abs(far, out=far)  # rounding
    np.sqrt(far, out=far)
    np.negative(far, out=far)
    np.exp(far, out=far)
    near = far * far
    near *= near
    unlike = _squares(one, other)
    np.negative(unlike, out=unlike)
    far *= np.exp(unlike, out=unlike)
    near += far
    return near


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) of points (n, F) and (m, F), but for rounding, as one product."""
    row, column = _length2(one)[:, None], _length2(other)[:, None]
    left = np.concatenate((np.float32(-2) * one, row, np.ones_like(row)), axis=1)
    return left @ np.concatenate((other, np.ones_like(column), column), axis=1).T


def _length2(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths (n,) of vectors (n, F)."""
    return np.einsum("nf,nf->n", vectors, vectors)


def _spread(rows: np.ndarray, cols: np.ndarray, number: int) -> np.ndarray:
    """A number from 0 to 1 for every pixel, spread evenly over any neighbourhood."""
    down, across = _SPACED[number]
    return (rows * down + cols * across) % 1.0
