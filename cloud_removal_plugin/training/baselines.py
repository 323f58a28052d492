"""What the inputs alone give: the simple baselines that the SEN12MS-CR-TS toolbox measures beside a network.

Ebel et al. 2022, doi 10.1109/TGRS.2022.3146246.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

MISSING = np.float32(0.1)
"""Reflectance where no input shows anything: a half on the scale of the toolbox's network, DN 1000."""


def least_cloudy(frames: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The least covered input date as it is, the first of equals.

    Args:
        frames: (T, C, H, W), reflectance. covered: bool (T, H, W).
    """
    return _clipped(frames[int(covered.mean(axis=(1, 2)).argmin())])


def mosaic(frames: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The mean of what is not covered, value by value; a value of exactly 0 counts as missing, as in the toolbox.

    Args:
        frames: (T, C, H, W), reflectance. covered: bool (T, H, W).
    """
    seen = _clipped(frames)
    known = (seen != 0) & ~covered[:, None]
    count = known.sum(axis=0)
    total = np.where(known, seen, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), MISSING).astype(np.float32)


def _clipped(values: np.ndarray) -> np.ndarray:
    """As the toolbox reads numbers; what holds no data is 0."""
    return np.clip(np.nan_to_num(values), 0, 1).astype(np.float32)


BASELINES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "least_cloudy": least_cloudy,
    "mosaic": mosaic,
}
