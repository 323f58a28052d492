"""What one fit for a whole region gets wrong locally: a ridge in every 64 px tile on the clear residual.

The Gaussian is linear; squares and products of the leading components let the correction bend where no network does.
Tiles overlap by half; coefficients are blended bilinearly between tile centres, so there are no seams.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from .cores import on_cores
from .gaussian import BlockGaussian

TILE = 64
COMPONENTS = 20
PENALTY = 400.0
"""Ridge on standardised components when every clear pixel of a tile is used (4,096)."""
TOGETHER = 6
"""Lines of tiles that are solved one after the other by one thread."""
LEADING_SMALL, LEADING = 12, 6
"""Components whose squares and products take part, in small and in larger regions."""


def component_head(gaussian: BlockGaussian) -> tuple[np.ndarray, np.ndarray]:
    """Standardised principal components of the filled dates as a linear map.

    Returns:
        float32 (K, V + C) on [filled variables; estimate] and float32 (K,) constants, K <= 20.
    """
    bands = gaussian.sizes[-1]
    many = len(gaussian.mean) - bands
    cov = gaussian.cov[:many, :many]
    values, vectors = np.linalg.eigh(cov)
    keep = min(COMPONENTS, many)
    matrix = (vectors[:, ::-1][:, :keep] / np.sqrt(np.maximum(values[::-1][:keep], 1e-8))).T
    constant = -matrix @ gaussian.mean[:many]
    return np.pad(matrix, ((0, 0), (0, bands))).astype(np.float32), constant.astype(np.float32)


def leading_components(*, small: bool, networks: bool) -> int:
    """How many components are squared and multiplied: more in small regions, none where networks bend the estimate."""
    return 0 if networks else LEADING_SMALL if small else LEADING


def terms(components: np.ndarray, leading: int) -> np.ndarray:
    """What the ridge is linear in: components, squares and products of the leading ones, and 1.

    Args:
        components: float32 (K, n), standardised, the largest first.
        leading: L, how many of them are multiplied with each other, at most K. They are held at three deviations there.

    Returns:
        float32 (K + L (L + 1) / 2 + 1, n). The products have half the size of standardised ones, so that the same
        penalty weighs four times as much on them.
    """
    many = len(components)
    out = np.empty((terms_count(many, leading), components.shape[1]), np.float32)
    out[:many] = components
    bound = np.clip(components[:leading], -3, 3)
    squares = np.multiply(bound, bound, out=out[many : many + leading])
    squares -= np.float32(1)
    squares *= np.float32(0.125**0.5)  # the variance of a square is 2
    half = np.float32(0.5) * bound
    row = many + leading
    for first in range(leading - 1):
        after = row + leading - 1 - first
        np.multiply(half[first + 1 :], bound[first], out=out[row:after])
        row = after
    out[-1] = 1
    return out


def terms_count(components: int, leading: int) -> int:
    """Rows of :func:`terms`."""
    return components + leading * (leading + 1) // 2 + 1


class LocalRidge:
    """Tile-wise ridge of a residual on the :func:`terms` of components.

    Args:
        shape: (H, W) of the window, in pixels.
        rows, cols: (n,) places of the clear pixels used.
        components: float32 (K, n) at them.
        residual: float32 (C, n), true minus estimated reflectance.
        density: share of the clear pixels that were used; the penalty shrinks with it.
        leading: components that are squared and multiplied with each other.
        pool: spreads lines of tiles over cores.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        rows: np.ndarray,
        cols: np.ndarray,
        components: np.ndarray,
        residual: np.ndarray,
        density: float,
        leading: int = 0,
        pool: Executor | None = None,
    ) -> None:
        half = TILE // 2
        self.leading = min(leading, len(components))
        self.grid = (-(-shape[0] // half), -(-shape[1] // half))
        order, edges = self._by_block(rows, cols)
        known = np.concatenate((components, residual))[:, order]
        penalty = np.float32(PENALTY * max(density, 1e-3))

        def some(start: int) -> np.ndarray:
            return self._solved(known, len(components), edges, start, penalty)

        self.coefficients = np.concatenate(on_cores(some, range(0, self.grid[0] + 1, TOGETHER), pool))

    def _solved(self, known: np.ndarray, many: int, edges: np.ndarray, start: int, penalty: np.float32) -> np.ndarray:
        """Coefficients (tiles, tiles across, C, T) of some lines of tiles; the moments of all would fill the memory."""
        solutions = []
        above = self._moments(known, many, edges, start - 1)
        for line in range(start, min(start + TOGETHER, self.grid[0] + 1)):
            below = self._moments(known, many, edges, line)
            tiles = above[:-1] + above[1:] + below[:-1] + below[1:]
            size = tiles.shape[1]
            solution = np.linalg.solve(tiles[..., :size] + penalty * np.eye(size, dtype=np.float32), tiles[..., size:])
            solutions.append(solution.transpose(0, 2, 1))
            above = below
        return np.stack(solutions)

    def _by_block(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Order that brings pixels together by block of half a tile, and where each block begins in it."""
        half = TILE // 2
        block = (rows // half) * self.grid[1] + cols // half
        count = self.grid[0] * self.grid[1]
        if count < 1 << 16:
            block = block.astype(np.uint16)  # numbers this short are sorted by counting
        order = np.argsort(block, kind="stable")
        return order, np.searchsorted(block[order], np.arange(count + 1))

    def _moments(self, known: np.ndarray, many: int, edges: np.ndarray, line: int) -> np.ndarray:
        """Sums of products of terms with terms and residuals, (blocks of a line + 2, T, T + C); zero outside."""
        size = terms_count(many, self.leading)
        out = np.zeros((self.grid[1] + 2, size, size + len(known) - many), np.float32)
        if not 0 <= line < self.grid[0]:
            return out
        start = edges[line * self.grid[1] :][: self.grid[1] + 1]
        part = known[:, start[0] : start[-1]]
        table = np.concatenate((terms(part[:many], self.leading), part[many:]))
        for col, (first, last) in enumerate(zip(start[:-1] - start[0], start[1:] - start[0], strict=True), 1):
            np.matmul(table[:size, first:last], table[:, first:last].T, out=out[col])
        return out

    def predict(
        self, rows: np.ndarray, cols: np.ndarray, components: np.ndarray, pool: Executor | None = None
    ) -> np.ndarray:
        """Correction float32 (C, n) at other pixels; lines of blocks are spread over the pool's cores."""
        order, edges = self._by_block(rows, cols)
        out = np.empty((self.coefficients.shape[2], len(rows)), np.float32)

        def one(line: int) -> None:
            start = edges[line * self.grid[1] :][: self.grid[1] + 1]
            where = order[start[0] : start[-1]]
            if len(where):
                given = np.take(components, where, axis=1)
                out[:, where] = self._line(line, start - start[0], rows[where], cols[where], given)

        on_cores(one, range(self.grid[0]), pool)
        return out

    def _line(
        self, line: int, start: np.ndarray, rows: np.ndarray, cols: np.ndarray, components: np.ndarray
    ) -> np.ndarray:
        """Correction (C, n) at the pixels of one line of blocks, which begin at ``start``."""
        half = np.float32(TILE // 2)
        down, right = (((place % (TILE // 2)).astype(np.float32) + np.float32(0.5)) / half for place in (rows, cols))
        weights = np.stack(((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right))
        table = terms(components, self.leading)
        bands = self.coefficients.shape[2]
        found = np.empty((bands, len(rows)), np.float32)
        for col in np.flatnonzero(np.diff(start)):
            where = slice(start[col], start[col + 1])
            # the four tiles that hold a pixel, one below the other: one product instead of four
            four = self.coefficients[line : line + 2, col : col + 2].reshape(4 * bands, -1) @ table[:, where]
            four = four.reshape(4, bands, -1)
            four *= weights[:, None, where]
            np.sum(four, axis=0, out=found[:, where])
        return found
