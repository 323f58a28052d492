"""Numbers that the starter network is made with, for PyTorch and for NumPy alike."""

from __future__ import annotations

from ..bands import SENTINEL2_L1C

BANDS = len(SENTINEL2_L1C)
HIDDEN = 32
"""Width of the network of single pixels."""
POOL = 8
"""Pixels of the surroundings that a pixel is compared with."""
MEAN = (0.1398, 0.1201, 0.1090, 0.1025, 0.1254, 0.1925, 0.2239, 0.2160, 0.2414, 0.0947, 0.0052, 0.1839, 0.1179)
SPREAD = 0.1
"""Reflectance by which deviations are divided."""
KEPT = 0.7
"""Share of the deviation from the mean that is kept: what is learned from some twenty places is too sure of itself on
others. Chosen from 0.6, 0.7, 0.8 and 1 on left-out regions."""
BASIS = (1.3, 1.2, 1.0, 0.9, 0.9, 0.8, 0.8, 0.8, 0.7, 0.4, 0.05, 0.4, 0.3)
"""Spectrum of haze to begin with."""
RAYLEIGH = (0.09, 0.0675, 0.0405, 0.0225, 0.018, 0.0135, 0.009, 0.009, 0.009, 0.0027, 0.0, 0.0, 0.0)
"""What a clear atmosphere adds to the reflectance: shadow takes light off the rest."""
CUES = {"blue": 0.065, "green": 0.035, "red": 0.02}
"""Path radiance that the cloud rules take off (``clouds/rules.py``)."""
RADAR_MEAN, RADAR_SPREAD = (-11.0, -18.0), 6.0
