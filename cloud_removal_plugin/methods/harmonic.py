"""Harmonic regression in time: each pixel's year as a mean, a trend and a few yearly waves.

Source: Roerink, Menenti, Verhoef (2000), "Reconstructing cloudfree NDVI composites using Fourier analysis of time
series", Int. J. Remote Sensing 21; with a ridge on the waves instead of the rejection of outliers, because masks have
removed the clouds already. Libraries that fit this fit one pixel at a time; here all pixels are solved together.
"""

from __future__ import annotations

import numpy as np

YEAR = 365.25
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""Ridge on the waves in units of an observation, tried on withheld values."""
WAVES = 3


def design(days: np.ndarray) -> np.ndarray:
    """Regressors float64 (T, P): one, trend, and up to three waves.

    The longest wave is a year, or one and a half times the series where that is shorter.
    """
    days = np.asarray(days, np.float64)
    span = max(float(np.ptp(days)), 1.0)
    time = (days - days.mean()) / span
    waves = min(WAVES, max(0, (len(days) - 2) // 3))
    angle = 2 * np.pi * (days - days[0]) / min(YEAR, 1.5 * span)
    columns = [np.ones_like(time), time]
    for wave in range(1, waves + 1):
        columns += [np.cos(wave * angle), np.sin(wave * angle)]
    return np.stack(columns, axis=1)


def curve(values: np.ndarray, seen: np.ndarray, days: np.ndarray, strength: float) -> np.ndarray:
    """The fitted year of every pixel.

    Args:
        values: float32 (T, C, n); only seen ones are read. seen: bool (T, n). days: (T,).
        strength: ridge on the waves; higher waves get more of it.

    Returns:
        float32 (T, C, n), NaN where a pixel is never seen.
    """
    table = design(days)
    many = table.shape[1]
    order = np.concatenate(([0.0, 1.0], np.repeat(np.arange(1, (many - 2) // 2 + 1), 2)))
    ridge = strength * order**2 + 1e-6
    weight = seen.T.astype(np.float64)
    gram = np.einsum("nt,tp,tq->npq", weight, table, table, optimize=True) + np.diag(ridge)
    clean = np.where(seen[:, None], values, 0).astype(np.float64)
    count = np.maximum(weight.sum(axis=1), 1)
    mean = clean.sum(axis=0).T / count[:, None]
    centred = clean.transpose(2, 0, 1) - mean[:, None] * weight[:, :, None]
    found = np.linalg.solve(gram, np.einsum("tp,ntc->npc", table, centred, optimize=True))
    out = np.einsum("tp,npc->tcn", table, found, optimize=True) + mean.T
    out[:, :, ~seen.any(axis=0)] = np.nan
    return out.astype(np.float32)
