"""Speckle filters on linear power: refined Lee for one acquisition, Quegan for many.

Speckle multiplies: the variance of a homogeneous area is its squared mean over the number of looks. Both filters are
made for that model and keep the mean, which a filter on decibels would not.

Sources: Lee 1981, Refined filtering of image noise using local statistics, Comput. Graph. Image Process. 15; Lee et al.
1999, Polarimetric SAR speckle filtering, IEEE TGRS 37 (the eight edge-aligned windows); Quegan and Yu 2001, Filtering
of multichannel SAR images, IEEE TGRS 39.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LOOKS = 4.4
"""Equivalent number of looks of Sentinel-1 IW GRD in high resolution (ESA product specification)."""

WINDOW_PX = 7
HALO_PX = WINDOW_PX // 2
"""Pixels of context that both filters need."""

_BLOCK_PX = 3
_AROUND = ((-2, -2), (-2, 0), (-2, 2), (0, 2), (2, 2), (2, 0), (2, -2), (0, -2))
"""Centres of the 3 x 3 blocks around a pixel, clockwise from the upper left; block i + 4 lies opposite of block i."""


def refined_lee(power: np.ndarray, looks: float = LOOKS) -> np.ndarray:
    """Smooth along edges, not across them.

    The strongest gradient between opposite 3 x 3 blocks tells the direction of an edge; local statistics come from the
    half of the 7 x 7 window on the pixel's own side of it, and the pixel moves towards their mean by as much as the
    variance there is speckle.

    Args:
        power: float32 (H, W), linear power, NaN = no data.
        looks: equivalent number of looks.

    Returns:
        float32 (H, W), NaN where the input is.
    """
    valid = np.isfinite(power)
    filled = np.where(valid, power, 0).astype(np.float64)
    side = _side(filled, valid)
    mean, variance = np.zeros_like(filled), np.zeros_like(filled)
    for number in range(len(_AROUND)):
        here = side == number
        if here.any():
            own_mean, own_variance = _statistics(filled, valid, _half_window(number))
            mean[here], variance[here] = own_mean[here], own_variance[here]
    speckle = 1.0 / looks
    texture = np.maximum(variance - speckle * mean**2, 0) / (1 + speckle)
    share = np.divide(texture, variance, out=np.zeros_like(variance), where=variance > 0)
    smoothed = mean + share * (filled - mean)
    return np.where(valid, smoothed, np.nan).astype(np.float32)


def _side(filled: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """int (H, W): on which of the eight sides of a pixel the ground is most like it, given the strongest edge."""
    block = np.ones((_BLOCK_PX, _BLOCK_PX))
    middle = _mean(filled, valid, block)
    blocks = np.stack([_shifted(middle, *offset) for offset in _AROUND])
    gradients = np.abs(blocks[:4] - blocks[4:])
    edge = gradients.argmax(axis=0)
    near = np.take_along_axis(blocks, edge[None], 0)[0]
    far = np.take_along_axis(blocks, edge[None] + 4, 0)[0]
    return np.where(np.abs(near - middle) <= np.abs(far - middle), edge, edge + 4)


def _half_window(number: int) -> np.ndarray:
    """float (7, 7): the pixels of the window on the side of block ``number``, the line through the centre included."""
    rows, cols = np.mgrid[-HALO_PX : HALO_PX + 1, -HALO_PX : HALO_PX + 1]
    towards = _AROUND[number]
    return ((rows * towards[0] + cols * towards[1]) >= 0).astype(np.float64)


def _statistics(filled: np.ndarray, valid: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the pixels with data under a kernel; beyond the border the image is mirrored."""
    count = ndimage.correlate(valid.astype(np.float64), kernel, mode="reflect")
    total = ndimage.correlate(filled, kernel, mode="reflect")
    squares = ndimage.correlate(filled**2, kernel, mode="reflect")
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean, np.maximum(np.divide(squares, count, out=np.zeros_like(total), where=count > 0) - mean**2, 0)


def _mean(filled: np.ndarray, valid: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    count = ndimage.correlate(valid.astype(np.float64), kernel, mode="reflect")
    total = ndimage.correlate(filled, kernel, mode="reflect")
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _shifted(values: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """``values`` at (row + rows, col + cols); beyond the border the image is mirrored."""
    reach = HALO_PX
    padded = np.pad(values, reach, mode="symmetric")
    height, width = values.shape
    return padded[reach + rows : reach + rows + height, reach + cols : reach + cols + width]


def quegan(power: np.ndarray, window: int = WINDOW_PX) -> np.ndarray:
    """Average speckle over the acquisitions of one orbit, and keep each acquisition's own radiometry.

    ``J_k = E[I_k] / N * sum_i I_i / E[I_i]``, with local means for E. What changed between acquisitions stays, because
    only each one's ratio to its own surroundings is averaged.

    Args:
        power: float32 (N, H, W), linear power, NaN = no data.
        window: edge of the local means in pixels.

    Returns:
        float32 (N, H, W), NaN where the input is.
    """
    valid = np.isfinite(power)
    kernel = np.ones(window)
    means = np.empty(power.shape, dtype=np.float64)
    for index, (plane, there) in enumerate(zip(power, valid, strict=True)):
        total, count = np.where(there, plane, 0).astype(np.float64), there.astype(np.float64)
        for axis in (0, 1):
            total = ndimage.correlate1d(total, kernel, axis=axis, mode="reflect")
            count = ndimage.correlate1d(count, kernel, axis=axis, mode="reflect")
        means[index] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    ratios = np.divide(power, means, out=np.full(power.shape, np.nan), where=valid & (means > 0))
    seen = np.isfinite(ratios)
    average = np.where(seen, ratios, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return np.where(valid, means * average, np.nan).astype(np.float32)
