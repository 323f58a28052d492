"""Where a network sees clouds: its attention over any part of a scene, the same whatever windows it is asked in.

The attention comes from the cloudy image alone and looks a few pixels far, so that it needs neither the rest of the
pipeline nor windows that fade into each other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import Cancelled
from ..observation import Observation
from .learned_tiles import Axis, Lattice, Span, brought, reflected, spans

EDGE_PX = 256
"""Edge of the pieces that are computed at a time: some 80 MB each."""
FILL = np.float32(0.15)
"""Reflectance of usual land, for pixels without data beside others that have some."""


@runtime_checkable
class Attentive(Protocol):
    """A method that can show what it takes for cloud (see :class:`Attention`)."""

    def attention(self, device: str) -> Attention:
        """The attention over the scene that the method was prepared for."""
        ...


@dataclass(frozen=True)
class Attention:
    """A network's attention over a scene.

    Attributes:
        network: has ``attention(optical)``: reflectance (C, h, w) to (h, w) in 0..1.
        reach: pixels of the network around one that its attention depends on.
        multiple: its windows' sizes are multiples of this.
        bands: role names in the network's order.
        ratio: its pixels per pixel of the scene.
        shape: rows and columns of the scene.
        parallel: whether pieces may be computed side by side (on a processor).
        title: of the network. weights: digests of its weights.
    """

    network: Any
    reach: int
    multiple: int
    bands: tuple[str, ...]
    ratio: float
    shape: tuple[int, int]
    parallel: bool
    title: str
    weights: tuple[str, ...] = ()

    @property
    def halo(self) -> int:
        """Pixels of the scene that a window needs on all sides, for its own pixels to be right."""
        return int(np.ceil((self.reach + 1) / self.ratio)) + 2 * (self.ratio != 1)

    def over(
        self, obs: Observation, pool: Executor | None = None, cancelled: Callable[[], bool] | None = None
    ) -> np.ndarray:
        """The attention over one window.

        Args:
            obs: with :attr:`halo` pixels more on all sides than are kept, but for the scene's ends; only its target
                is read.
            pool: computes pieces side by side.
            cancelled: asked before every piece.

        Returns:
            float32 (H, W) in 0..1, NaN where the target holds no data in one of the bands.

        Raises:
            Cancelled: ``cancelled()`` said so.
        """
        target = obs.optical[0][[obs.bands.index(role) for role in self.bands]]
        known = np.isfinite(target).all(axis=0)
        if not known.any():
            return np.full(known.shape, np.nan, np.float32)
        target = np.where(np.isfinite(target), target, FILL)
        origin = (obs.row, obs.col)
        ends = [self._ends(at, size, whole) for at, size, whole in zip(origin, known.shape, self.shape, strict=True)]
        lattice = Lattice(EDGE_PX, self.reach + 1, self.multiple, self.multiple)
        rows, cols = (spans(lattice, length, low, high) for low, high, length in ends)
        tiles = [(row, col) for row in rows for col in cols]

        def piece(tile: tuple[Span, Span]) -> np.ndarray:
            if cancelled is not None and cancelled():
                raise Cancelled
            return self._piece(target, tile, origin)

        (top, bottom, _), (left, right, _) = ends
        out = np.empty((bottom - top, right - left), np.float32)
        alone = pool is None or not self.parallel
        for (row, col), values in zip(tiles, map(piece, tiles) if alone else pool.map(piece, tiles), strict=True):
            out[row.low - top : row.high - top, col.low - left : col.high - left] = values
        if self.ratio != 1:
            points = [np.arange(at, at + size) for at, size in zip(origin, known.shape, strict=True)]
            axes = (Axis.between(at, 1 / self.ratio, low, high - low) for at, (low, high, _) in zip(points, ends))
            out = brought(out[None], *axes)[0]
        return np.where(known, out, np.float32(np.nan))

    def _ends(self, origin: int, size: int, whole: int) -> tuple[int, int, int]:
        """First and last pixel of the network's in a window along one axis, and those of the whole scene."""
        length = max(1, int(np.ceil(whole * self.ratio - 1e-6)))
        return int(origin * self.ratio), min(length, int(np.ceil((origin + size) * self.ratio))), length

    def _piece(self, target: np.ndarray, tile: tuple[Span, Span], origin: tuple[int, int]) -> np.ndarray:
        """The attention (h, w) of what one piece answers for."""
        axes = []
        for span, first, size, whole in zip(tile, origin, target.shape[1:], self.shape, strict=True):
            length = max(1, int(np.ceil(whole * self.ratio - 1e-6)))
            axes.append(Axis.between(reflected(np.arange(span.start, span.stop), length), self.ratio, first, size))
        row, col = tile
        found = self.network.attention(brought(target, *axes))
        return found[row.low - row.start : row.high - row.start, col.low - col.start : col.high - col.start]
