"""Clouds of several sizes with soft edges and rims of haze, and the shadows that they cast."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cloud_removal_plugin.clouds.noise import fractal
from demo.spectra import AEROSOL, BLUR_M, CIRRUS, CLOUD, DIRECT, PATH, TRANSMISSION

CLOUDY_FROM = 0.02
"""Opacity from which the truth calls a pixel cloudy: it adds 0.01, as much as two overpasses differ."""
SHADY_FROM = 0.06
"""Share of the direct light taken from which the truth calls a pixel shadowed."""
DARKEST_SHADE = 0.80
"""Light from the sides of clouds and from clear sky keeps the deepest shadow from being black."""
MARGIN_PX = 192
"""Clouds outside the scene cast shadows into it."""


@dataclass(frozen=True)
class Sky:
    """Opacities of one date, everything float32 (H, W) in 0..1.

    Attributes:
        cloud: opacity of water clouds with their rims.
        cirrus: opacity of high ice clouds.
        shade: share of the direct sunlight that clouds take away.
        thickness: brightness of the cloud's top, about 1.
    """

    cloud: np.ndarray
    cirrus: np.ndarray
    shade: np.ndarray
    thickness: np.ndarray

    def classes(self) -> np.ndarray:
        """uint8 (H, W): 0 clear, 1 cloud, 2 shadow."""
        cloudy = np.maximum(self.cloud, self.cirrus) >= CLOUDY_FROM
        return np.where(cloudy, 1, np.where(self.shade >= SHADY_FROM, 2, 0)).astype(np.uint8)


def _opacity(field: np.ndarray, share: float, sharpness: float) -> np.ndarray:
    """Opacity of clouds that cover about ``share``: nothing below the threshold, thick well above it."""
    if share <= 0:
        return np.zeros_like(field)
    depth = np.maximum(field - np.quantile(field, 1 - share), 0.0)
    opacity = 1 - np.exp(-sharpness * depth**1.3)
    return ndimage.gaussian_filter(opacity.astype(np.float32), 1.5)


def _shifted(field: np.ndarray, rows: float, cols: float) -> np.ndarray:
    return ndimage.shift(field, (rows, cols), order=1, mode="constant", cval=0.0, prefilter=False)


def sky(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    deck: float,
    cumulus: float,
    cirrus: float,
    sun_zenith_deg: float,
    sun_azimuth_deg: float,
    pixel_m: float = 10.0,
) -> Sky:
    """The clouds of one date.

    Args:
        rng: the date's own randomness.
        shape: (H, W) of the scene.
        deck: share under large clouds, about 900 m up.
        cumulus: share under small ones, about 1400 m up.
        cirrus: share under veils of ice.
        sun_zenith_deg: decides with the heights how far away the shadows fall.
        sun_azimuth_deg: clockwise from north; shadows fall the other way.
        pixel_m: ground sampling in metres.
    """
    margin = min(MARGIN_PX, shape[0], shape[1])
    wide = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    large = _opacity(fractal(rng, wide, 1.8, 420, 5), deck, 4.5)
    crowded = fractal(rng, wide, 2.0, 500, 60)
    small = _opacity(fractal(rng, wide, 2.1, 60, 10) + 0.8 * crowded, cumulus, 4.5)
    veil = 0.6 * _opacity(fractal(rng, wide, 1.9, 300, 12), cirrus, 1.2)
    solid = np.maximum(large, small)
    rim = 0.22 * ndimage.gaussian_filter(solid, 9.0) + 0.05 * ndimage.gaussian_filter(solid, 22.0)
    cloud = 1 - (1 - solid) * (1 - np.where(rim > 0.01, rim - 0.01, 0.0))
    away = math.radians(sun_azimuth_deg + 180.0)
    taken = np.zeros(wide, np.float32)
    for layer, height_m in ((large, 900.0), (small, 1400.0)):
        reach = height_m * math.tan(math.radians(sun_zenith_deg)) / pixel_m
        cast = _shifted(layer, -reach * math.cos(away), reach * math.sin(away))
        taken = np.maximum(taken, ndimage.gaussian_filter(cast, 1.5))
    inside = (slice(margin, -margin), slice(margin, -margin))
    bumps = 1 + 0.10 * fractal(rng, shape, 1.4, 60, 3)
    return Sky(
        cloud=np.ascontiguousarray(cloud[inside], np.float32),
        cirrus=np.ascontiguousarray(veil[inside], np.float32),
        shade=np.ascontiguousarray(DARKEST_SHADE * taken[inside], np.float32),
        thickness=bumps.clip(0.7, 1.3).astype(np.float32),
    )


def observe(
    surface: np.ndarray, above: Sky | None, rng: np.random.Generator, *, pixel_m: float = 10.0
) -> tuple[np.ndarray, np.ndarray]:
    """What the sensor sees at the top of the atmosphere, with and without clouds.

    Args:
        surface: float32 (13, H, W), reflectance at the ground.
        above: the sky, or None for a cloudless date.
        rng: the date's own randomness (haze, water vapour, noise).
        pixel_m: ground sampling in metres.

    Returns:
        Two float32 (13, H, W) of top-of-atmosphere reflectance: as observed, and as it would be without clouds. Both
        hold the same sensor noise.
    """
    shape = surface.shape[1:]
    haze = (0.006 + 0.004 * fractal(rng, shape, 2.0, 700, 60)).clip(0, 0.03) * rng.uniform(0.3, 1.5)
    vapour = rng.uniform(0.8, 1.2)
    observed = np.empty_like(surface)
    clear = np.empty_like(surface)
    for band in range(surface.shape[0]):
        sigma_px = 0.35 * float(BLUR_M[band]) / pixel_m
        ground = ndimage.gaussian_filter(surface[band], sigma_px)
        through = TRANSMISSION[band] * (vapour if BLUR_M[band] == 60 else 1.0)
        air = PATH[band] + AEROSOL[band] * haze
        noise = rng.standard_normal(shape, np.float32) * (0.0008 + 0.004 * ground)
        if BLUR_M[band] > 10:
            noise = ndimage.gaussian_filter(noise, sigma_px)
        clear[band] = ground * through + air + noise
        if above is None:
            observed[band] = clear[band]
            continue
        lit = ground * through * (1 - DIRECT[band] * above.shade) + air * (1 - 0.35 * above.shade)
        covered = lit * (1 - above.cloud) + CLOUD[band] * above.thickness * above.cloud
        observed[band] = covered * (1 - above.cirrus) + CIRRUS[band] * above.cirrus + noise
    return observed, clear
