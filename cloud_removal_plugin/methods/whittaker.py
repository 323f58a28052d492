"""The Whittaker smoother in time: near the observations, and as smooth as these allow.

Source: Eilers (2003), "A Perfect Smoother", Analytical Chemistry 75: minimise sum w (y - z)^2 + s |D z|^2, with D the
second divided differences, so that dates may lie unevenly. The system has five diagonals; its Cholesky factors are
computed for all pixels together, date after date (a banded solver of SciPy takes one pixel at a time).
"""

from __future__ import annotations

import numpy as np

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Weight s of the smoothness, at the series' mean spacing, tried on withheld values."""
LEAST = 1e-6
"""Weight that keeps a system solvable where a pixel is seen on one date."""


def penalty(days: np.ndarray) -> np.ndarray:
    """D'D, float64 (T, T), of second divided differences, with the mean spacing as unit of time."""
    days = np.asarray(days, np.float64)
    count = len(days)
    spacing = max(float(np.ptp(days)) / max(count - 1, 1), 1e-9)
    # acquisitions of one day are a twentieth of a step apart, or the differences would have no bound
    time = np.concatenate(([0.0], np.cumsum(np.maximum(np.diff(days) / spacing, 0.05))))
    if count < 3:
        step = np.diff(np.eye(count), axis=0)
        return step.T @ step
    rows = np.zeros((count - 2, count))
    for i in range(count - 2):
        first, second = time[i + 1] - time[i], time[i + 2] - time[i + 1]
        rows[i, i : i + 3] = 1 / first, -(1 / first + 1 / second), 1 / second
        rows[i] /= max((first + second) / 2, 1e-9) ** 0.5
    return rows.T @ rows


def curve(values: np.ndarray, seen: np.ndarray, days: np.ndarray, strength: float) -> np.ndarray:
    """The smoothed series of every pixel.

    Args:
        values: float32 (T, C, n); only seen ones are read. seen: bool (T, n). days: (T,), ascending.
        strength: weight s of the smoothness.

    Returns:
        float32 (T, C, n), NaN where a pixel is never seen.
    """
    dates = len(days)
    smooth = strength * penalty(days)
    weight = seen.astype(np.float64)
    clean = np.where(seen[:, None], values, 0).astype(np.float64)
    # z solves L D L' z = W y; the band of L has two entries a row
    pivot = np.zeros((dates, seen.shape[1]))
    one, two = np.zeros_like(pivot), np.zeros_like(pivot)
    for t in range(dates):
        pivot[t] = weight[t] + smooth[t, t] + LEAST * strength
        if t >= 2:
            two[t] = smooth[t, t - 2] / pivot[t - 2]
            pivot[t] -= two[t] ** 2 * pivot[t - 2]
        if t >= 1:
            cross = smooth[t, t - 1] - (two[t] * one[t - 1] * pivot[t - 2] if t >= 2 else 0)
            one[t] = cross / pivot[t - 1]
            pivot[t] -= one[t] ** 2 * pivot[t - 1]
    for t in range(1, dates):
        clean[t] -= one[t] * clean[t - 1]
        if t >= 2:
            clean[t] -= two[t] * clean[t - 2]
    clean /= pivot[:, None]
    for t in range(dates - 2, -1, -1):
        clean[t] -= one[t + 1] * clean[t + 1]
        if t + 2 < dates:
            clean[t] -= two[t + 2] * clean[t + 2]
    clean[:, :, ~seen.any(axis=0)] = np.nan
    return clean.astype(np.float32)
