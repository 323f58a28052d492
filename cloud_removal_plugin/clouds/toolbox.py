"""The cloud maps of the SEN12MS-CR-TS toolbox, which UnCRtainTS uses as well: one array in, one array out.

Source: Ebel et al. 2022, SEN12MS-CR-TS, IEEE TGRS 60, doi 10.1109/TGRS.2022.3146246 (names and settings of the maps).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from . import s2cloudless, score

THRESHOLD = 0.4
AVERAGE_M, DILATE_M = 40.0, 20.0
"""Radii of the averaging and of the dilation: 4 and 2 pixels of 10 m."""

MAP_FROM, MAP_SIGMA_PX = 0.5, 2.0
"""The probability map drops what is less likely than this, then is smoothed by a Gaussian."""

KINDS = ("s2cloudless_mask", "s2cloudless_map", "cloud_cloudshadow_mask", "none")


def probability_map(prob: np.ndarray) -> np.ndarray:
    """The toolbox' soft map.

    Args:
        prob: float32 (H, W), s2cloudless probability without NaN.

    Returns:
        float32 (H, W), 0..1. Its mean is a mean probability and not a share of area.
    """
    kept = np.where(prob < MAP_FROM, np.float32(0), prob.astype(np.float32))
    return ndimage.gaussian_filter(kept, MAP_SIGMA_PX, mode="reflect")


def cloud_cloudshadow(planes: dict[str, np.ndarray], limits: score.ShadowLimits | None = None) -> np.ndarray:
    """bool (H, W): cloud or shadow by the score detector in the toolbox' variant."""
    return (score.cloud_score(planes, score.TOOLBOX) >= score.THRESHOLD) | score.shadow_mask(planes, limits)


def cloud_map(optical: np.ndarray, bands: tuple[str, ...], kind: str, *, zero_is_cloudy: bool = False) -> np.ndarray:
    """The toolbox' map of one patch.

    Args:
        optical: float32 (C, H, W) top-of-atmosphere reflectance without NaN; limited to 0..1 here.
        bands: the C role names.
        kind: one of :data:`KINDS`; 'none' masks everything.
        zero_is_cloudy: UnCRtainTS' rule that a patch of nothing but zeros counts as all cloud.

    Returns:
        float32 (H, W): 1 = hidden, 0 = clear, in between for the map.

    Raises:
        DependencyError: the map needs s2cloudless, which is not installed.
    """
    clipped = np.clip(optical, 0, 1)
    ones = np.ones(optical.shape[-2:], dtype=np.float32)
    if kind == "none" or (zero_is_cloudy and np.allclose(clipped, 0)):
        return ones
    if kind == "cloud_cloudshadow_mask":
        return cloud_cloudshadow(score.prepare(clipped, bands, score.TOOLBOX)).astype(np.float32)
    prob = s2cloudless.probability(clipped, bands)
    if kind == "s2cloudless_map":
        return probability_map(prob)
    return s2cloudless.mask(prob, THRESHOLD, 4, 2).astype(np.float32)
