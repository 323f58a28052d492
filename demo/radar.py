"""Sentinel-1 over the made-up scene: backscatter of what grows there, with speckle."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from demo.land import Land
from demo.spectra import BACKSCATTER, MATERIALS

LOOKS = 4.9
"""Equivalent number of looks of a ground-range detected IW product."""


def backscatter(land: Land, shares: np.ndarray, wetness: float, rng: np.random.Generator) -> np.ndarray:
    """VV and VH of one acquisition.

    Args:
        land: the land (fields differ in roughness, slopes face the sensor or not).
        shares: float32 (materials, H, W), what stands there on the day.
        wetness: 0 dry to 1 wet soil; wet soil scatters up to 3 dB more.
        rng: the acquisition's own randomness.

    Returns:
        float32 (2, H, W), backscatter in dB.
    """
    power = BACKSCATTER.copy()
    for name in ("soil_light", "soil_dark"):
        power[MATERIALS.index(name)] *= 10 ** (0.3 * wetness)
    shape = land.cover.shape
    mixed = (power.T @ shares.reshape(len(MATERIALS), -1)).reshape(2, *shape)
    roughness = np.random.default_rng(land.crop.size).normal(0, 1.0, land.crop.size)[land.field]
    relief = 6.0 * land.slope[1]
    mixed *= 10 ** ((roughness + relief) / 10)
    speckle = rng.gamma(LOOKS, 1 / LOOKS, mixed.shape).astype(np.float32)
    seen = np.stack([ndimage.gaussian_filter(plane, 0.6) for plane in mixed * speckle])
    return (10 * np.log10(seen)).astype(np.float32)
