"""Kriging of what an estimate leaves at clear pixels, in space and among pixels that look alike on other dates.

The rest is taken for a Gaussian process whose covariance is a short-ranged part in space and a long-ranged part that
falls with the distance in the principal components of the other dates as well; so a field that the gap cuts in two is
corrected by its clear half, and one beyond its border is not. Simple kriging (Cressie, Statistics for Spatial Data,
1993, 3.2; Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, 2.2) in blocks of 16 x 16 pixels:
every block takes its own teachers, dense nearby and thinner with the distance.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
from scipy import ndimage
from scipy.linalg import lapack

from .cores import on_cores

BLOCK = 16
"""Pixels a side that share their teachers and one matrix."""
TEACHERS = 200
"""Clear pixels that a block learns from; 128 lose 0.03 dB, 300 gain none."""
COMPONENTS = 10
"""Principal components of the other dates in which pixels are alike or not."""
SHORT, LONG = 12.0, 48.0
"""Ranges in pixels of the part in space alone and of the one among pixels alike."""
ALIKE = 2.5
"""Range of the latter in standard deviations of the components."""
SHARE = 0.5
"""The latter's share of the variance."""
NOISE = 0.2
"""Variance of a pixel's own rest, which tells nothing of its neighbours, against that of the process."""
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
    pixel: int = 1,
    pool: Executor | None = None,
) -> np.ndarray:
    """Carries the rest at clear pixels into a gap.

    Args:
        known: int (2, k), rows and columns of clear pixels. rest: float32 (R, k), true minus estimated there.
        alike: float32 (F, k), standardised components of the other dates there, the largest first.
        wanted: int (2, n), rows and columns of the gap. components: float32 (F, n) there.
        pixel: what a row or column is in pixels: 2 where only every second one is looked at.
        pool: spreads blocks over cores.

    Returns:
        float32 (R, n). Zero where nothing is known.
    """
    out = np.zeros((len(rest), wanted.shape[1]), np.float32)
    if not known.size or not wanted.size:
        return out
    keys = _spread(*known, 1).astype(np.float32)
    places, alike, components = known.astype(np.float32), alike[:COMPONENTS], components[:COMPONENTS]
    cells = _Cells(known)
    blocks = wanted // BLOCK
    order = np.lexsort(blocks)
    borders = np.flatnonzero(np.diff(blocks[:, order]).any(axis=0)) + 1

    def one(mine: np.ndarray) -> None:
        centre = (blocks[:, mine[:1]] * BLOCK + BLOCK / 2).astype(np.float32)
        around = cells.around(*blocks[:, mine[0]] * BLOCK)
        chosen = around[_nearest(places[:, around] - centre, keys[around])]
        here, there = wanted[:, mine].astype(np.float32) - centre, places[:, chosen] - centre
        system = _covariance(there, there, alike[:, chosen], alike[:, chosen], pixel)
        system[np.diag_indices(len(system))] += np.float32(NOISE)
        _, weights, fault = lapack.sposv(system, rest[:, chosen].T)
        if fault == 0:  # else rounding has made the matrix singular: no correction rather than a wild one
            cross = _covariance(here, there, components[:, mine], alike[:, chosen], pixel)
            out[:, mine] = (cross @ weights).T

    on_cores(one, np.split(order, borders), pool)
    return out


class _Cells:
    """Clear pixels sorted into square cells, so that a block finds those around it without a look at all.

    Args:
        places: int (2, k), rows and columns.
    """

    def __init__(self, places: np.ndarray) -> None:
        rows, cols = places // _CELL
        self._shape = (int(rows.max()) + 1, int(cols.max()) + 1)
        number = rows * self._shape[1] + cols
        self._order = np.argsort(number, kind="stable")
        self._starts = np.searchsorted(number[self._order], np.arange(self._shape[0] * self._shape[1] + 1))

    def around(self, row: int, col: int) -> np.ndarray:
        """Positions of the clear pixels within reach of the block that begins at ``row``, ``col``; all if too few."""
        (top, bottom), (left, right) = (self._range(at, many) for at, many in zip((row, col), self._shape, strict=True))
        if right <= left:
            return self._order
        lines = [self._starts[line * self._shape[1] + np.array([left, right])] for line in range(top, bottom)]
        near = [self._order[start:stop] for start, stop in lines]
        return np.concatenate(near) if sum(map(len, near)) >= TEACHERS else self._order

    @staticmethod
    def _range(at: int, many: int) -> tuple[int, int]:
        return max(int(at) - REACH, 0) // _CELL, min((int(at) + BLOCK + REACH) // _CELL + 1, many)


def _nearest(from_centre: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Which clear pixels teach a block: thinner by the third power of the distance from it."""
    if len(keys) <= TEACHERS:
        return np.arange(len(keys))
    far = np.maximum(np.hypot(*from_centre) - np.float32(BLOCK / 2), 1)
    return np.argpartition(keys * far**3, TEACHERS)[:TEACHERS]


def _covariance(here: np.ndarray, there: np.ndarray, one: np.ndarray, other: np.ndarray, pixel: int) -> np.ndarray:
    """Covariance (n, m) of places (2, n) and (2, m) with components (F, n) and (F, m)."""
    far = np.sqrt(_squares(here, there)) * np.float32(pixel)
    near = np.exp(far * np.float32(-1 / SHORT))
    near *= np.float32(1 - SHARE)
    far *= np.float32(-1 / LONG)
    far -= _squares(one, other) * np.float32(0.5 / ALIKE**2)
    np.exp(far, out=far)
    far *= np.float32(SHARE)
    near += far
    return near


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) of points (F, n) and (F, m)."""
    out = one.T @ (np.float32(-2) * other)
    out += np.square(one).sum(axis=0)[:, None]
    out += np.square(other).sum(axis=0)
    return np.maximum(out, 0, out=out)


def _spread(rows: np.ndarray, cols: np.ndarray, number: int) -> np.ndarray:
    """A number from 0 to 1 for every pixel, spread evenly over any neighbourhood."""
    down, across = _SPACED[number]
    return (rows * down + cols * across) % 1.0
