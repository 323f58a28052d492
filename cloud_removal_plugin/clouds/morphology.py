"""Binary morphology on cloud masks, by whole-array operations: a disk is a stack of row runs.

SciPy's binary dilation visits every offset of the structure for every pixel; a running OR over doubling shifts
needs some dozen passes over one byte a pixel whatever the radius, which keeps detection below the cost of reading.
"""

from __future__ import annotations

import math

import numpy as np


def disk(radius: int) -> np.ndarray:
    """bool (2r+1, 2r+1): all offsets with dx^2 + dy^2 <= r^2."""
    span = np.arange(-radius, radius + 1)
    return span[:, None] ** 2 + span[None, :] ** 2 <= radius**2


def _row_run(mask: np.ndarray, half: int) -> np.ndarray:
    """OR of ``mask`` over the columns -half..+half; False beyond the border."""
    if half == 0:
        return mask
    width, length, reach = mask.shape[1], 2 * half + 1, 1
    run = np.zeros((mask.shape[0], width + 2 * half), dtype=bool)
    run[:, half : half + width] = mask  # column j of the result looks at columns j..j+2 half of this
    while reach < length:
        step = min(reach, length - reach)
        longer = run.copy()  # the shifted source must not see what this step already wrote
        longer[:, :-step] |= run[:, step:]
        run, reach = longer, reach + step
    return run[:, :width]


def dilate(mask: np.ndarray, radius: int) -> np.ndarray:
    """Dilate by a disk; beyond the border the mask is False.

    Args:
        mask: bool (H, W).
        radius: in pixels; 0 returns the mask itself.

    Returns:
        bool (H, W).
    """
    if radius <= 0 or not mask.any():
        return mask
    height = mask.shape[0]
    result = np.zeros(mask.shape, dtype=bool)
    runs: dict[int, np.ndarray] = {}
    for dy in range(-radius, radius + 1):
        half = math.isqrt(radius * radius - dy * dy)
        if half not in runs:
            runs[half] = _row_run(mask, half)
        if abs(dy) >= height:
            continue
        if dy >= 0:
            result[: height - dy] |= runs[half][dy:]
        else:
            result[-dy:] |= runs[half][: height + dy]
    return result


def erode(mask: np.ndarray, radius: int) -> np.ndarray:
    """Erode by a disk; beyond the border the mask counts as True (a cloud at the edge is not eaten)."""
    return mask if radius <= 0 else ~dilate(~mask, radius)


def closing(mask: np.ndarray, radius: int) -> np.ndarray:
    """Fill holes and gaps narrower than the disk."""
    if radius <= 0 or not mask.any():
        return mask
    padded = np.pad(mask, radius)
    return erode(dilate(padded, radius), radius)[radius:-radius, radius:-radius]


def remove_specks(mask: np.ndarray, radius: int) -> np.ndarray:
    """Drop what is too small: pixels in whose square neighbourhood less than a third is set.

    A count in a neighbourhood and not of connected pixels, because it needs ``radius`` pixels of context and
    thus gives the same result whatever the tiling. Beyond the border the mask is clear.
    """
    if radius <= 0 or not mask.any():
        return mask
    edge = 2 * radius + 1
    count = _run_sum(_run_sum(mask.view(np.uint8), radius).T, radius).T
    return mask & (count >= -(-edge * edge // 3))


def _run_sum(values: np.ndarray, radius: int) -> np.ndarray:
    """Sum over the columns -radius..+radius, in uint8 (edges up to 15 cannot overflow it)."""
    total = values.copy()
    for step in range(1, radius + 1):
        total[:, step:] += values[:, :-step]
        total[:, :-step] += values[:, step:]
    return total
