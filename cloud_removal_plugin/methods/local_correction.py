"""What one fit for a whole region gets wrong locally: a ridge in every 64 px tile on the clear residual.

Tiles overlap by half; coefficients are blended bilinearly between tile centres, so there are no seams.
"""

from __future__ import annotations

import numpy as np

from .gaussian import BlockGaussian

TILE = 64
COMPONENTS = 20
PENALTY = 400.0
"""Ridge on standardised components when every clear pixel of a tile is used (4,096)."""


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


class LocalRidge:
    """Tile-wise ridge of a residual on components.

    Args:
        shape: (H, W) of the window, in pixels.
        rows, cols: (n,) places of the clear pixels used.
        components: float32 (K, n) at them.
        residual: float32 (C, n), true minus estimated reflectance.
        density: share of the clear pixels that were used; the penalty shrinks with it.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        rows: np.ndarray,
        cols: np.ndarray,
        components: np.ndarray,
        residual: np.ndarray,
        density: float,
    ) -> None:
        half = TILE // 2
        self.grid = (-(-shape[0] // half), -(-shape[1] // half))
        many = len(components) + 1
        table = np.concatenate((components, np.ones((1, components.shape[1]), np.float32), residual)).astype(np.float32)
        block = (rows // half) * self.grid[1] + cols // half
        order = np.argsort(block, kind="stable")
        edges = np.searchsorted(block[order], np.arange(self.grid[0] * self.grid[1] + 1))
        moments = np.zeros((self.grid[0] + 2, self.grid[1] + 2, many, table.shape[0]))
        table = table[:, order]
        for index in range(self.grid[0] * self.grid[1]):
            part = table[:, edges[index] : edges[index + 1]]
            if part.shape[1]:
                moments[index // self.grid[1] + 1, index % self.grid[1] + 1] = part[:many] @ part.T
        tiles = moments[:-1, :-1] + moments[1:, :-1] + moments[:-1, 1:] + moments[1:, 1:]
        system = tiles[..., :many] + PENALTY * max(density, 1e-3) * np.eye(many)
        self.coefficients = np.linalg.solve(system, tiles[..., many:]).astype(np.float32)

    def predict(self, rows: np.ndarray, cols: np.ndarray, components: np.ndarray) -> np.ndarray:
        """Correction float32 (C, n) at other pixels."""
        half = TILE // 2
        block = (rows // half) * self.grid[1] + cols // half
        order = np.argsort(block, kind="stable")
        edges = np.searchsorted(block[order], np.arange(self.grid[0] * self.grid[1] + 1))
        part = np.ones((len(components) + 1, len(rows)), np.float32)
        np.take(components, order, axis=1, out=part[:-1])
        down, right = (((place[order] % half) + np.float32(0.5)) / np.float32(half) for place in (rows, cols))
        down, right = down.astype(np.float32), right.astype(np.float32)
        weights = np.stack(((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right))
        found = np.empty((self.coefficients.shape[-1], len(rows)), np.float32)
        for index in np.flatnonzero(np.diff(edges)):
            i, j = divmod(int(index), self.grid[1])
            where = slice(edges[index], edges[index + 1])
            # the four tiles that hold a pixel, one below the other: one product instead of four
            four = (weights[:, None, where] * part[:, where]).reshape(-1, where.stop - where.start)
            np.matmul(self.coefficients[i : i + 2, j : j + 2].reshape(len(four), -1).T, four, out=found[:, where])
        out = np.empty_like(found)
        out[:, order] = found
        return out
