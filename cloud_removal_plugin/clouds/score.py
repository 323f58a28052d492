"""The published score detectors: cloudiness as the least of a few linear ramps, shadow by a dark index.

One detector in two variants that differ in a single pair of limits. DSen2-CR (and GLF-CR, which shares it) asks for
coastal + cirrus between 0.15 and 0.2; the SEN12MS-CR-TS toolbox and UnCRtainTS for 0.4 to 0.9, so that they call far
less cloud (2.5 % against 56 % on one scene of heavy cloud). Both were made for Sentinel-2 Level-1C.

Sources: Meraner et al. 2020, ISPRS J. Photogramm. Remote Sens. 166, doi 10.1016/j.isprsjprs.2020.05.013; Schmitt et
al. 2019 (the score); Zhai et al. 2018, Remote Sens. Environ. 217 (the shadow index); Ebel et al. 2022, IEEE TGRS 60.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

BANDS: tuple[str, ...] = ("coastal", "blue", "green", "red", "nir", "cirrus", "swir16")
"""What the detector reads: B01 B02 B03 B04 B08 B10 B11."""

THRESHOLD = 0.2
"""A pixel is cloud from this score on."""

LEAST_SCORE = 1e-5
CLOSING_PX, MEAN_PX, MEDIAN_PX = 5, 7, 5
HALO_PX = 2 * (CLOSING_PX // 2) + MEAN_PX // 2
"""Pixels of context: closing goes out and back, then the mean."""

NO_DENOMINATOR = 0.001
"""Takes the place of a sum of two bands that is exactly zero."""

SHADOW_INDEX_SHARE, SHADOW_BLUE_SHARE = 3 / 4, 5 / 6
"""How far from the least value to the mean the limits of the shadow test lie."""


@dataclass(frozen=True)
class Variant:
    """One published setting.

    Attributes:
        haze: limits between which coastal + cirrus goes from clear to cloud.
        clip: whether reflectance is limited to 0..1 first.
        moisture: whether the moisture index (NIR against SWIR) is tested as well.
    """

    haze: tuple[float, float]
    clip: bool = False
    moisture: bool = False


DSEN2CR = Variant((0.15, 0.2))
TOOLBOX = Variant((0.4, 0.9), clip=True)
MOISTURE = Variant((0.4, 0.9), clip=True, moisture=True)


@dataclass(frozen=True)
class ShadowLimits:
    """Below both, a pixel is shadow: the mean of NIR and SWIR, and blue (reflectance)."""

    index: float
    blue: float


def prepare(optical: np.ndarray, bands: tuple[str, ...], variant: Variant) -> dict[str, np.ndarray]:
    """The planes that the detector reads, without holes.

    Args:
        optical: float32 (C, H, W) reflectance, NaN = no data, which becomes the mean of all numbers of the array.
        bands: the C role names; those of :data:`BANDS` are among them.
        variant: which detector.
    """
    holes = ~np.isfinite(optical)
    if holes.any():
        mean = optical[~holes].mean(dtype=np.float64) if not holes.all() else 0.0
        optical = np.where(holes, np.float32(mean), optical)
    planes = {name: optical[bands.index(name)] for name in BANDS}
    return {name: np.clip(plane, 0, 1) for name, plane in planes.items()} if variant.clip else planes


def cloud_score(planes: Mapping[str, np.ndarray], variant: Variant) -> np.ndarray:
    """How cloudy each pixel is.

    Args:
        planes: float32 (H, W) reflectance of each of :data:`BANDS`, without NaN.
        variant: which detector.

    Returns:
        float32 (H, W) in 1e-5..1. Beyond the border the score counts as zero, so borders look clearer than they are.
    """
    visible = planes["red"] + planes["green"] + planes["blue"]
    score = np.minimum(_ramp(planes["blue"], 0.1, 0.5), 1)
    score = np.minimum(score, _ramp(planes["coastal"], 0.1, 0.3))
    score = np.minimum(score, _ramp(planes["coastal"] + planes["cirrus"], *variant.haze))
    score = np.minimum(score, _ramp(visible, 0.2, 0.8))
    if variant.moisture:
        score = np.minimum(score, _ramp(_index(planes["nir"], planes["swir16"]), -0.1, 0.1))
    # towards snow the index rises, so this ramp falls
    score = np.minimum(score, _ramp(_index(planes["green"], planes["swir16"]), 0.8, 0.6))
    score = ndimage.grey_closing(score, size=(CLOSING_PX, CLOSING_PX), mode="reflect")
    score = ndimage.uniform_filter(score, MEAN_PX, mode="constant", cval=0.0)
    return np.clip(score, LEAST_SCORE, 1).astype(np.float32)


def _ramp(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 at ``start``, 1 at ``end``, and straight on beyond them: the closing acts on what lies outside as well."""
    return (values - np.float32(start)) / np.float32(end - start)


def _index(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    total = first + second
    return (first - second) / np.where(total == 0, np.float32(NO_DENOMINATOR), total)


def shadow_limits(least: tuple[float, float], mean: tuple[float, float]) -> ShadowLimits:
    """Limits of the shadow test from the least and the mean (index, blue) of a whole scene."""
    shares = (SHADOW_INDEX_SHARE, SHADOW_BLUE_SHARE)
    return ShadowLimits(*(low + share * (middle - low) for low, middle, share in zip(least, mean, shares, strict=True)))


def shadow_index(planes: Mapping[str, np.ndarray]) -> np.ndarray:
    """float32 (H, W): the mean of NIR and SWIR, low in shadow (and on water)."""
    return (planes["nir"] + planes["swir16"]) / np.float32(2)


def limits_of(planes: Mapping[str, np.ndarray]) -> ShadowLimits:
    """Limits of the shadow test where these planes are the whole scene."""
    index, blue = shadow_index(planes), planes["blue"]
    return shadow_limits((float(index.min()), float(blue.min())), (float(index.mean()), float(blue.mean())))


def shadow_mask(planes: Mapping[str, np.ndarray], limits: ShadowLimits | None = None) -> np.ndarray:
    """Dark pixels.

    Args:
        planes: as in :func:`cloud_score`.
        limits: of the whole scene; None = these planes are the whole scene.

    Returns:
        bool (H, W), True = shadow; beyond the border it is none.
    """
    limits = limits or limits_of(planes)
    # float32 on both sides, as published: ties at the limit must fall the same way
    dark = (shadow_index(planes) < np.float32(limits.index)) & (planes["blue"] < np.float32(limits.blue))
    return ndimage.median_filter(dark.view(np.uint8), MEDIAN_PX, mode="constant", cval=0).astype(bool)


def combine(cloud: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """int8 (H, W): 1 cloud, -1 shadow, 0 clear; cloud wins."""
    return np.where(cloud, np.int8(1), np.where(shadow, np.int8(-1), np.int8(0)))
