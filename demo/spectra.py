"""Reflectance of the materials that the made-up scene is mixed from, and what the air adds on the way up.

Values are rounded from published spectral libraries (USGS splib07, ECOSTRESS) at the centres of Sentinel-2's
bands; they are meant to look right, not to be looked up.
"""

from __future__ import annotations

import numpy as np

BAND_NAMES: tuple[str, ...] = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")

# surface reflectance in percent, bands as above
_PERCENT: dict[str, tuple[float, ...]] = {
    "cereal": (2.0, 3.0, 6.5, 3.6, 10.5, 31, 39, 42, 44, 43, 30, 21, 9.5),
    "broadleaf": (2.0, 2.8, 7.5, 3.4, 11.5, 37, 47, 51, 53, 51, 34, 23, 10.0),
    "flower": (3.0, 4.6, 15.0, 13.5, 20.0, 38, 43, 46, 47, 46, 30, 23, 11.5),
    "straw": (7.0, 9.5, 14.5, 20.5, 24.5, 27, 30, 33, 35, 35, 35, 38, 29.0),
    "grass": (2.5, 3.8, 7.8, 5.0, 12.0, 29, 36, 38, 40, 39, 30, 25, 14.0),
    "soil_light": (9.0, 11.5, 16.0, 21.0, 24.0, 26, 28, 30, 32, 33, 33, 38, 33.0),
    "soil_dark": (4.8, 5.8, 8.3, 11.0, 12.8, 14, 15.5, 17, 18, 18.5, 19, 22, 19.0),
    "conifer": (1.5, 2.0, 3.5, 2.2, 5.0, 14, 18, 20, 21.5, 21, 15, 10, 4.5),
    "beech": (1.8, 2.5, 5.5, 3.0, 8.0, 29, 38, 40, 42, 41, 28, 19, 8.0),
    "bare_wood": (3.8, 4.8, 6.3, 7.4, 10.0, 14, 16, 18, 20, 20, 18, 20, 14.0),
    "water": (3.0, 3.6, 3.6, 2.0, 1.8, 1.3, 1.2, 1.0, 0.9, 0.8, 0.5, 0.5, 0.4),
    "asphalt": (7.0, 8.0, 9.5, 10.5, 11.0, 11.5, 12, 12.5, 13, 13, 13, 15, 14.0),
    "roof": (6.0, 7.0, 10.0, 18.0, 20.0, 21, 22, 24, 26, 26, 26, 32, 30.0),
    "concrete": (16, 19, 22, 25, 26, 27, 28, 29, 30, 30, 30, 33, 31.0),
}

MATERIALS: tuple[str, ...] = tuple(_PERCENT)

REFLECTANCE: np.ndarray = np.array([_PERCENT[name] for name in MATERIALS], np.float32) / 100
"""float32 (materials, 13), 1.0 = 100 %."""

# backscatter of each material in dB: VV, VH
_BACKSCATTER: dict[str, tuple[float, float]] = {
    "cereal": (-14.5, -19.5),
    "broadleaf": (-9.8, -15.0),
    "flower": (-10.5, -15.5),
    "straw": (-11.0, -19.0),
    "grass": (-12.5, -18.5),
    "soil_light": (-12.0, -20.0),
    "soil_dark": (-11.0, -19.0),
    "conifer": (-9.0, -13.8),
    "beech": (-8.4, -13.6),
    "bare_wood": (-8.6, -14.4),
    "water": (-20.0, -27.0),
    "asphalt": (-16.0, -23.0),
    "roof": (-2.5, -9.5),
    "concrete": (-4.5, -11.5),
}

BACKSCATTER: np.ndarray = 10 ** (np.array([_BACKSCATTER[name] for name in MATERIALS], np.float32) / 10)
"""float32 (materials, 2), linear power, VV and VH."""

PATH: np.ndarray = np.array(
    (0.105, 0.080, 0.050, 0.028, 0.022, 0.018, 0.015, 0.013, 0.012, 0.006, 0.0006, 0.003, 0.002), np.float32
)
"""Reflectance that clean air adds (Rayleigh)."""

TRANSMISSION: np.ndarray = np.array(
    (0.80, 0.84, 0.88, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.46, 0.004, 0.96, 0.96), np.float32
)
"""Share of the surface's reflectance that arrives at the sensor; water vapour takes B9 and nearly all of B10."""

AEROSOL: np.ndarray = np.array((1.15, 1.0, 0.84, 0.67, 0.62, 0.57, 0.53, 0.49, 0.47, 0.2, 0.002, 0.2, 0.13), np.float32)
"""Colour of haze, relative to B2 (Angstrom exponent 1.3)."""

DIRECT: np.ndarray = np.array(
    (0.60, 0.69, 0.79, 0.86, 0.88, 0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.97, 0.98), np.float32
)
"""Share of the light that comes straight from the sun: what a cloud's shadow takes away."""

CLOUD: np.ndarray = np.array(
    (0.66, 0.66, 0.65, 0.66, 0.67, 0.68, 0.69, 0.69, 0.68, 0.46, 0.016, 0.50, 0.38), np.float32
)
"""A thick water cloud at the top of the atmosphere."""

CIRRUS: np.ndarray = np.array(
    (0.42, 0.42, 0.41, 0.41, 0.42, 0.42, 0.43, 0.43, 0.43, 0.36, 0.110, 0.30, 0.22), np.float32
)
"""A thick ice cloud, high above the water vapour: it shines in B10."""

BLUR_M: np.ndarray = np.array((60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), np.float32)
"""Ground sampling of each band in metres; coarser bands are smoother on the 10 m grid."""
