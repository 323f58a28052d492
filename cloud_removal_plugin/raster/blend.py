"""Windows fade into each other, so that no seam shows where one restoration ends and the next begins.

Every window is restored a little beyond its core, to the right and to the bottom. Over that extension the
predecessor's values fade out while the successor's fade in, with weights that are products of two smooth ramps
(a partition of unity) and never zero inside a core. The ramps are flat at their ends, where a window has no context
of its own beyond the pixel. Only strips are kept between windows: the right
extension of the last core and the bottom extensions of one row of cores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .windows import Window

FADE_PX = 64
"""Default length of the ramps, and of the extensions that the engine reads."""


@dataclass(frozen=True)
class _Strip:
    """What a window knows of its successor's pixels.

    Attributes:
        row, col: upper left pixel in the scene.
        values: float32 (K, h, w).
        weight: float32 (w,), sum of the horizontal weights of the windows in ``values``; None = a window that
            faded out to the right, where its successor never came (its ramp needs the width of the core below).
    """

    row: int
    col: int
    values: np.ndarray
    weight: np.ndarray | None = None


class Fade:
    """Blends windows that come in raster order: one row of cores after the other, left to right.

    The cores lie on one lattice (all cores of a row share ``row`` and ``height``, all cores of a column ``col``
    and ``width``). Cores may be absent; then nothing fades in from there. Memory: K x width x (scene width +
    core height) float32.
    """

    def __init__(self, width: int = FADE_PX) -> None:
        """Make an empty blender.

        Args:
            width: length of the ramps in pixels; 0 = hard edges.
        """
        if width < 0:
            raise ValueError(f"The fade width cannot be negative: {width}.")
        self._width = width
        self._last: Window | None = None
        self._right: _Strip | None = None
        self._above: dict[int, _Strip] = {}
        self._below: dict[int, _Strip] = {}

    def add(self, core: Window, extension_right: int, extension_bottom: int, arrays: np.ndarray) -> np.ndarray:
        """Fade a window into its left and top predecessors.

        Args:
            core: the window's core in scene pixels.
            extension_right, extension_bottom: pixels by which ``arrays`` reaches beyond the core; 0 at the scene's
                edges.
            arrays: float32 (K, core.height + extension_bottom, core.width + extension_right), NaN = unknown. It is
                used as working memory and overwritten.

        Returns:
            float32 (K, core.height, core.width), a view of ``arrays``. Where one side is NaN, the other's value.

        Raises:
            ValueError: the array does not fit the core, or the core comes out of order.
        """
        expected = (core.height + extension_bottom, core.width + extension_right)
        if arrays.ndim != 3 or arrays.shape[1:] != expected:
            raise ValueError(f"Expected (K, {expected[0]}, {expected[1]}) for {core}, got {arrays.shape}.")
        arrays = np.require(arrays, np.float32, "W")
        self._advance(core)
        body = arrays[:, :, : core.width]
        right = arrays[:, :, core.width : core.width + min(extension_right, self._width)].copy()
        horizontal = self._fade_left(core, body)
        bottom = body[:, core.height : core.height + min(extension_bottom, self._width)].copy()
        self._fade_top(core, body[:, : core.height], horizontal)
        self._right = _Strip(core.row, core.right, right)
        if bottom.shape[1]:
            self._below[core.col] = _Strip(core.bottom, core.col, bottom, horizontal)
        self._last = core
        return body[:, : core.height]

    def _advance(self, core: Window) -> None:
        """Move to the row of ``core``, and keep the extension of a window whose right successor is absent."""
        last, right = self._last, self._right
        if last is None:
            return
        if (core.row, core.col) <= (last.row, last.col):
            raise ValueError(f"{core} comes after {last}, but windows must come in raster order.")
        if right is not None and (core.row, core.col) != (right.row, right.col):
            corner = right.values[:, last.height :].copy()
            if corner.size:
                self._below[right.col] = _Strip(last.bottom, right.col, corner)
            self._right = None
        if core.row != last.row:
            self._above = {col: strip for col, strip in self._below.items() if strip.row == core.row}
            self._below = {}

    def _fade_left(self, core: Window, body: np.ndarray) -> np.ndarray:
        """Fade the left predecessor into ``body`` (K, h, w); returns the horizontal weight (w,) of what is there."""
        weight = np.ones(core.width, np.float32)
        left = self._right
        if left is None:
            ramp = _ramp(min(self._width, core.width))
            weight[: ramp.size] = ramp
            return weight
        rows = min(left.values.shape[1], body.shape[1])
        ramp = _ramp(min(left.values.shape[2], core.width))
        _mix(body[:, :rows, : ramp.size], left.values[:, :rows, : ramp.size], 1 - ramp[None])
        return weight

    def _fade_top(self, core: Window, body: np.ndarray, weight: np.ndarray) -> None:
        """Fade the top predecessor into ``body`` (K, h, w), whose horizontal weight is ``weight`` (w,)."""
        above = self._above.pop(core.col, None)
        if above is None:
            return
        cols = min(above.values.shape[2], core.width)
        theirs = 1 - _ramp(cols) if above.weight is None else above.weight[:cols]
        ramp = _ramp(min(above.values.shape[1], core.height))
        old, new = (1 - ramp)[:, None] * theirs, ramp[:, None] * weight[:cols]
        _mix(body[:, : ramp.size, :cols], above.values[:, : ramp.size, :cols], old / (old + new))


def _ramp(length: int) -> np.ndarray:
    """Weights float32 (length,) from just above 0 to just below 1 (3 t^2 - 2 t^3), antisymmetric about 0.5."""
    t = (np.arange(length) + 0.5) / max(length, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _mix(mine: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    """Move ``mine`` (K, h, w) towards ``other`` by ``share`` (h, w), in place; NaN counts as absent.

    Written as a step from ``mine``, so that equal values stay equal to the last bit.
    """
    with np.errstate(invalid="ignore"):  # inf - inf
        step = (other - mine) * share
    np.copyto(step, 0, where=np.isnan(step))
    np.copyto(mine, other, where=np.isnan(mine))
    mine += step
