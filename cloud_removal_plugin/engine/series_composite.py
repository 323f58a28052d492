"""One raster of many restored dates: the medoid, or the best observed date of each pixel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

NEAR_CLOUD_PX = 10
"""Within this distance of a gap an observation counts less (haze and shadow rims)."""


def medoid(images: np.ndarray) -> np.ndarray:
    """The date whose spectrum is nearest to those of all other dates (Flood 2013, "Seasonal composite Landsat TM/ETM+
    images using the medoid", Remote Sensing 5).

    Args:
        images: float32 (T, C, H, W), NaN = unknown.

    Returns:
        float32 (C, H, W), NaN where no date is known.
    """
    many = len(images)
    total = np.zeros((many, *images.shape[2:]))
    count = np.zeros(total.shape)
    for one in range(many):
        for other in range(one):
            distance = np.sqrt(np.square(images[one] - images[other], dtype=np.float64).sum(axis=0))
            known = np.isfinite(distance)
            for place in (one, other):
                total[place] += np.where(known, distance, 0)
                count[place] += known
    unknown = ~np.isfinite(images).all(axis=1)
    cost = np.where(unknown, np.inf, total / np.maximum(count, 1))
    return _picked(images, np.argmin(cost, axis=0), unknown.all(axis=0))


def best_pixel(images: np.ndarray, restored: np.ndarray, days: np.ndarray) -> np.ndarray:
    """The observation nearest to the middle of the series and far from clouds (after White et al. 2014, "Pixel-based
    image compositing for large-area dense time series", Can. J. Remote Sensing 40); restored values where none is.

    Args:
        images: float32 (T, C, H, W). restored: bool (T, H, W), what is no observation. days: (T,).

    Returns:
        float32 (C, H, W).
    """
    middle = (days.min() + days.max()) / 2
    spread = max(float(np.ptp(days)) / 4, 1.0)
    timely = np.exp(-0.5 * ((days - middle) / spread) ** 2)
    score = np.empty(restored.shape)
    for date, gap in enumerate(restored):
        far = ndimage.distance_transform_edt(~gap) if gap.any() else np.full(gap.shape, np.inf)
        score[date] = np.where(gap, timely[date] - 10, timely[date] + np.minimum(far / NEAR_CLOUD_PX, 1))
    unknown = ~np.isfinite(images).all(axis=1)
    score[unknown] = -np.inf
    return _picked(images, np.argmax(score, axis=0), unknown.all(axis=0))


def _picked(images: np.ndarray, date: np.ndarray, never: np.ndarray) -> np.ndarray:
    """Values (C, H, W) of one date for each pixel; NaN where none is known."""
    out = np.take_along_axis(images, np.broadcast_to(date, images.shape[1:])[None], axis=0)[0]
    out[:, never] = np.nan
    return out
