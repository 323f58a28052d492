"""How far a restored scene is from the truth, beside what interpolation in time makes of the same scene.

The interpolation is written here from nothing but NumPy, so that it owes nothing to the plugin; and it is told the true
masks of every date, which the plugin has to find out by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOMINAL_90 = 1.6449
"""Half width of a 90 % interval in standard deviations."""


@dataclass(frozen=True)
class Score:
    """Error over some pixels and all bands: mean absolute error in reflectance, and PSNR in dB (data range 1)."""

    mae: float
    psnr: float

    @classmethod
    def of(cls, estimate: np.ndarray, truth: np.ndarray, where: np.ndarray) -> Score:
        """Compares (C, H, W) with (C, H, W) where the bool map (H, W) is true."""
        error = estimate[:, where].astype(np.float64) - truth[:, where]
        if error.size == 0:
            return cls(float("nan"), float("nan"))
        square = float(np.mean(error**2))
        return cls(float(np.mean(np.abs(error))), float(-10 * np.log10(square)) if square else float("inf"))


def interpolate_in_time(series: np.ndarray, hidden: np.ndarray, days: Sequence[float], target: int) -> np.ndarray:
    """Straight line, pixel by pixel, between the nearest clear dates before and after the target.

    Args:
        series: (T, C, H, W) reflectance.
        hidden: bool (T, H, W).
        days: T days, increasing.
        target: index of the date wanted; its own pixels are never used.

    Returns:
        float32 (C, H, W); one-sided where only one side has a clear date, NaN where there is none.
    """
    before = np.full(series.shape[1:], np.nan, np.float32)
    after = before.copy()
    day_before = np.full(series.shape[2:], -np.inf)
    day_after = np.full(series.shape[2:], np.inf)
    for index in range(target):
        clear = ~hidden[index]
        before[:, clear] = series[index][:, clear]
        day_before[clear] = days[index]
    for index in range(len(days) - 1, target, -1):
        clear = ~hidden[index]
        after[:, clear] = series[index][:, clear]
        day_after[clear] = days[index]
    with np.errstate(invalid="ignore"):
        weight = ((days[target] - day_before) / (day_after - day_before)).astype(np.float32)
    both = np.isfinite(day_before) & np.isfinite(day_after)
    line = before + np.where(both, weight, 0) * (after - before)
    return np.where(both, line, np.where(np.isfinite(before), before, after)).astype(np.float32)


def coverage(estimate: np.ndarray, sigma: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Share of values whose 90 % interval holds the truth; NaN where no sigma is known."""
    spread = sigma[:, where]
    known = np.isfinite(spread) & (spread > 0)
    if not known.any():
        return float("nan")
    error = np.abs(estimate[:, where].astype(np.float64) - truth[:, where])
    return float((error[known] <= NOMINAL_90 * spread[known]).mean())
