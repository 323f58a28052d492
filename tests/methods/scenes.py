"""Small scenes of fields with seasons, in which the truth under the gap is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from cloud_removal_plugin.observation import Observation

DAYS = np.array([0.0, -10.0, -35.0, 15.0, 40.0])
BANDS = ("blue", "green", "red", "nir")


def scene(
    shape: tuple[int, int] = (72, 80),
    *,
    seed: int = 0,
    days: np.ndarray = DAYS,
    bands: tuple[str, ...] = BANDS,
    radar: int = 0,
    gap: float = 0.3,
) -> tuple[Observation, np.ndarray]:
    """A scene whose fields change with the season, with clouds on every date.

    Args:
        shape: (H, W). seed: of everything. days: T. bands: C. radar: acquisitions. gap: cloud share of a date.

    Returns:
        The observation (hidden pixels are NaN) and the target's truth float32 (C, H, W).
    """
    rng = np.random.default_rng(seed)
    kinds, size = 5, len(bands)
    fields = np.argmax([ndimage.gaussian_filter(rng.standard_normal(shape), 4) for _ in range(kinds)], axis=0)
    base, swing = rng.uniform(0.05, 0.3, (kinds, size)), rng.uniform(-0.08, 0.08, (kinds, size))
    phase = rng.uniform(0, 6, kinds)
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1) * 0.02
    optical = np.empty((len(days), size, *shape), np.float32)
    for t, day in enumerate(days):
        season = np.sin(2 * np.pi * day / 365.25 * 3 + phase)
        values = base + swing * season[:, None]
        optical[t] = np.moveaxis(values[fields], -1, 0) + texture + rng.normal(0, 0.003, (size, *shape))
    truth = optical[0].copy()
    cloud = np.stack([clouds(shape, gap, rng) for _ in days]).astype(np.float32)
    optical[np.broadcast_to(cloud[:, None] >= 0.5, optical.shape)] = np.nan
    waves = radar_days = None
    if radar:
        radar_days = np.linspace(-40, 40, radar)
        waves = np.stack([-12 + 20 * base[fields, 0] + rng.normal(0, 1, shape) for _ in range(2 * radar)])
        waves = waves.reshape(radar, 2, *shape).astype(np.float32)
    obs = Observation(optical, cloud, np.asarray(days, np.float64), bands)
    if radar:
        obs = replace(obs, radar=waves, radar_days=radar_days)
    return obs, truth


def clouds(shape: tuple[int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """Blobs that hide about ``share`` of the pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 5)
    return field > np.quantile(field, 1 - share)


def rmse(estimate: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Root mean squared error over a mask (H, W)."""
    return float(np.sqrt(np.mean(np.square(estimate[:, mask] - truth[:, mask], dtype=np.float64))))
