"""Where the clouds' shadows can be: away from the sun, at one distance and direction in all the scene.

Dark ground is common; what tells a shadow is that a cloud of like shape lies in the sun's direction. The offset from
clouds to shadows is found once a date, by the correlation of its cloud mask with its dark pixels on a coarse map, or
along the sun's azimuth where that is known. Cloud heights differ within a scene, so shadows are looked for from near
to far along that line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

from .morphology import dilate

REACH_M = 3000.0
"""Farthest that a shadow is looked for: cloud top at 3 km with the sun 45 degrees high."""

LOWEST_SUN, HIGHEST_SUN = 18.4, 71.6
"""Degrees between which the reach follows the sun: three times and a third of it."""

LEAST_Z = 4.5
"""Height of the correlation's peak above its surroundings, in standard deviations, from which it is believed."""

NEAR_M = 1500.0
STEPS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.6)
STRONG_SHARE, MIDDLE_SHARE, WEAK_SHARE = 0.58, 0.64, 0.70
"""Share of the clear reference below which NIR + SWIR is shadow: by itself, near a cloud, and behind one."""

EDGE_SHARE = 0.54
"""The same where a cloud could stand only beyond the scene's edge, in a scene large enough to show some."""

SCENE_SHARE = 0.62
"""What WEAK_SHARE is where no other date can be compared: a share of the scene's median clear ground."""

_LARGEST = 1024


@dataclass(frozen=True)
class Offset:
    """From a cloud to its shadow, in cells of the coarse map (rows down, columns right); ``z`` tells how sure."""

    rows: float
    cols: float
    z: float


@dataclass(frozen=True)
class Expectation:
    """Where one date may hold shadow, bool (h, w) on the coarse map.

    Attributes:
        behind: on the line from a cloud away from the sun; None where the direction is not known.
        near: within 1.5 km of a cloud.
        reach: within the reach of a shadow's cloud; in a scene too small to show the clouds of its shadows, within
            reach of its edge as well.
        beyond: in a larger scene, out of reach of all its clouds, but within reach of its edge, behind which clouds
            are not seen. Where a scene has none, one just outside is rare, while dark fields and slopes are common.
    """

    behind: np.ndarray | None
    near: np.ndarray
    reach: np.ndarray
    beyond: np.ndarray

    def tests(self) -> list[tuple[np.ndarray, float, float]]:
        """Where, below which share of other dates, and below which share of the scene (0 = never) shadow is found.

        Darker than on other dates is a change and needs no cloud in sight; darker than the scene may be a forest.
        """
        far = [(self.reach, STRONG_SHARE, 0.0), (self.beyond, EDGE_SHARE, 0.0)]
        if self.behind is not None:
            return [*far, (self.behind, WEAK_SHARE, WEAK_SHARE)]
        return [*far, (self.near, MIDDLE_SHARE, STRONG_SHARE)]


def reach_m(sun_elevation: float | None) -> float:
    """Farthest that a shadow is looked for, in metres: the shadow of a cloud top at 3 km where the sun is known."""
    if sun_elevation is None:
        return REACH_M
    return REACH_M / math.tan(math.radians(min(max(sun_elevation, LOWEST_SUN), HIGHEST_SUN)))


def find_offset(
    cloud: np.ndarray,
    dark: np.ndarray,
    cell_m: float,
    sun_azimuth: float | None = None,
    sun_elevation: float | None = None,
) -> Offset | None:
    """Find the offset from clouds to shadows.

    Args:
        cloud: float32 (h, w), cloud share 0..1 of each cell.
        dark: float32 (h, w), how shadow-like the clear part of each cell is, 0..1.
        cell_m: edge of a cell in metres.
        sun_azimuth: degrees clockwise from north, where known; shadows then lie on the opposite side.
        sun_elevation: degrees above the horizon, where known; shadows then reach as far as a low or high sun throws.

    Returns:
        The offset, or None where no direction stands out.
    """
    factor = max(1, math.ceil(max(cloud.shape) / _LARGEST))
    if factor > 1:
        cloud, dark, cell_m = shrink(cloud, factor), shrink(dark, factor), cell_m * factor
    reach = min(int(reach_m(sun_elevation) / cell_m), max(cloud.shape) - 1)
    weight = 1.0 - cloud
    if reach < 2 or cloud.sum() < 4 or (dark * weight).sum() < 4:
        return None
    mean = (dark * weight).sum() / weight.sum()
    scores = _correlate(cloud - cloud.mean(), (dark - mean) * weight, reach)
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(rows, cols)
    allowed = (distance <= reach) & (distance >= 1.5)
    z = (scores - scores[allowed].mean()) / max(float(scores[allowed].std()), 1e-12)
    if sun_azimuth is not None:
        away = math.radians(sun_azimuth + 180.0)
        along = -rows * math.cos(away) + cols * math.sin(away)
        allowed &= along >= 0.94 * distance  # within 20 degrees: the azimuth of a scene's centre, and terrain
    peak = int(np.argmax(np.where(allowed, z, -np.inf)))
    found = Offset(float(rows.flat[peak]) * factor, float(cols.flat[peak]) * factor, float(z.flat[peak]))
    # a scene as small as the way from a cloud to its shadow shows one without the other: there the sun alone misleads
    trusted = sun_azimuth is not None and min(cloud.shape) * cell_m >= NEAR_M
    return found if trusted or found.z >= LEAST_Z else None


def _correlate(first: np.ndarray, second: np.ndarray, reach: int) -> np.ndarray:
    """Sum over pixels of first(p) * second(p + lag), for lags up to ``reach``: (2 reach + 1)^2."""
    shape = [fft.next_fast_len(n + reach + 1, real=True) for n in first.shape]
    spectrum = np.conj(fft.rfft2(first.astype(np.float32), shape)) * fft.rfft2(second.astype(np.float32), shape)
    product = fft.irfft2(spectrum, shape)
    lags = np.arange(-reach, reach + 1)
    return product[np.ix_(lags, lags)]


def shrink(values: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks of ``factor`` x ``factor`` cells (..., H, W); the last ones repeat the edge."""
    if factor == 1:
        return values
    height, width = values.shape[-2:]
    extra = ((0, 0),) * (values.ndim - 2) + ((0, -height % factor), (0, -width % factor))
    if height % factor or width % factor:
        values = np.pad(values, extra, mode="edge")
    lead, (height, width) = values.shape[:-2], values.shape[-2:]
    rows = values.reshape(*lead, height // factor, factor, width).mean(axis=-2, dtype=np.float32)
    return rows.reshape(*lead, height // factor, width // factor, factor).mean(axis=-1, dtype=np.float32)


def expect(cloud: np.ndarray, offset: Offset | None, cell_m: float, sun_elevation: float | None = None) -> Expectation:
    """Where shadows of these clouds may lie.

    Args:
        cloud: float32 (h, w), cloud share of each cell.
        offset: from :func:`find_offset`.
        cell_m: edge of a cell in metres.
        sun_elevation: see :func:`find_offset`.
    """
    mask = cloud > 0.25
    near = dilate(mask, max(1, round(NEAR_M / cell_m)))
    radius = max(1, round(reach_m(sun_elevation) / cell_m))
    seen = dilate(mask, radius)
    edge = dilate(np.pad(mask, radius, constant_values=True), radius)[radius:-radius, radius:-radius]
    large = min(cloud.shape) * cell_m >= NEAR_M
    reach, beyond = (seen, edge & ~seen) if large else (edge, np.zeros_like(edge))
    behind = None
    if offset is not None:
        behind = np.zeros_like(mask)
        for step in STEPS:
            _or_shifted(behind, mask, round(offset.rows * step), round(offset.cols * step))
        behind = dilate(behind, max(1, round(120.0 / cell_m)))
    return Expectation(behind, near, reach, beyond)


def _or_shifted(into: np.ndarray, mask: np.ndarray, rows: int, cols: int) -> None:
    height, width = mask.shape
    if abs(rows) >= height or abs(cols) >= width:
        return
    target = np.s_[max(rows, 0) : height + min(rows, 0), max(cols, 0) : width + min(cols, 0)]
    source = np.s_[max(-rows, 0) : height + min(-rows, 0), max(-cols, 0) : width + min(-cols, 0)]
    into[target] |= mask[source]
