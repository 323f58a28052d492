"""Made-up clouds over a scene of any size: what lies at a pixel follows from the seed and its place alone.

Optical depth comes from random fields with a power-law spectrum (clouds are scale-free over three decades: Cahalan and
Joseph 1989, "Fractal statistics of cloud fields"). One field covers the scene coarsely, a periodic tile adds what is
finer than its pixels; both are periodic, so that windows need nothing of each other and shadows fall in from outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..raster.classes import CLEAR, CLOUD, NO_DATA, SHADOW
from ..raster.windows import Window
from .noise import fractal
from .optics import optics, reflected, seen_through

FIELD_EDGE = 1536
"""Largest edge of the field that covers the scene."""

TILE_EDGE = 512
SLOPE = 1.9
TILE_WEIGHT = 0.12
"""Of what is finer than the field's pixels, against the field; small, as the spectrum falls steeply."""

THICKEST = 45.0
"""Optical depth one standard deviation of the field above the threshold; nothing is seen through 20."""

HAZE_DEPTH = 1.2
"""Optical depth of the haze at the rim of a cloud where HAZE is 1."""

HAZE_FADES = 0.3
"""Standard deviations of the field over which the haze round a cloud fades."""

FAINTEST_SHADE = 0.05
BASE_M = 1200.0
"""Height of the clouds, which with the sun decides how far their shadows fall."""

SUN_AZIMUTH, SUN_ELEVATION = 155.0, 50.0
"""Where the sun stands unless the layer's tags or the analyst say."""

LEAST_ELEVATION = 10.0
SAMPLES = 400_000


@dataclass(frozen=True)
class Wish:
    """What clouds are wanted.

    Attributes:
        cover: share of the scene (0..1) under clouds and their haze, without shadows.
        size_m: typical size of a cloud in metres.
        haze: 0 = hard edges, 1 = wide rims of haze.
        seed: start of every random choice.
        azimuth, elevation: of the sun in degrees; azimuth clockwise from north.
    """

    cover: float
    size_m: float
    haze: float
    seed: int
    azimuth: float = SUN_AZIMUTH
    elevation: float = SUN_ELEVATION


class Clouds:
    """The clouds of one date over a scene of ``shape`` pixels of ``pixel_m`` metres."""

    def __init__(
        self, wish: Wish, shape: tuple[int, int], pixel_m: float, air: tuple[float, ...] | None = None
    ) -> None:
        """Args:
        air: reflectance of each band that comes from the air alone (path radiance), None = none.
        """
        self._wish, self._shape, self._air = wish, shape, air
        self._step = max(1, math.ceil(max(shape) / FIELD_EDGE))
        wave = 2.5 * wish.size_m / pixel_m
        rng = np.random.default_rng([wish.seed, 71])
        coarse = tuple(max(16, math.ceil(edge / self._step)) for edge in shape)
        self._field = fractal(rng, coarse, SLOPE, max(wave / self._step, 4.0))
        self._tile = fractal(rng, (TILE_EDGE, TILE_EDGE), SLOPE, 4.0 * self._step, 2.0) if self._step > 1 else None
        self._shift = self._shadow_shift(pixel_m)
        self._threshold = self._found_threshold()

    def _shadow_shift(self, pixel_m: float) -> tuple[int, int]:
        """Rows and columns from a cloud to its shadow."""
        reach = BASE_M / math.tan(math.radians(max(self._wish.elevation, LEAST_ELEVATION))) / pixel_m
        away = math.radians(self._wish.azimuth + 180.0)
        return round(-reach * math.cos(away)), round(reach * math.sin(away))

    def _found_threshold(self) -> float:
        """The field above which the wanted share of the scene is cloud or haze."""
        step = max(1, math.ceil(math.sqrt(self._shape[0] * self._shape[1] / SAMPLES)))
        rows, cols = np.arange(0, self._shape[0], step), np.arange(0, self._shape[1], step)
        values = self._values(rows, cols)
        cover = min(max(self._wish.cover, 0.0), 1.0)
        if cover >= 1:
            return float(values.min()) - 3.0
        # haze reaches below the threshold of the clouds, so that much less has to be above it
        return float(np.quantile(values, 1 - cover)) + self._reach() if cover > 0 else math.inf

    def _reach(self) -> float:
        """How far below the clouds' threshold the field still brings haze."""
        return HAZE_FADES * self._wish.haze

    def _values(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """The field at rows x columns of the scene, which may lie outside it."""
        if self._step == 1:
            height, width = self._field.shape
            return self._field[np.ix_(rows % height, cols % width)]
        places = np.meshgrid(rows / self._step, cols / self._step, indexing="ij")
        smooth = ndimage.map_coordinates(self._field, places, order=1, mode="grid-wrap")
        return smooth + TILE_WEIGHT * self._tile[np.ix_(rows % TILE_EDGE, cols % TILE_EDGE)]

    def depths(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Optical depth at 550 nm of clouds and of the haze round them, each float32 (H, W)."""
        rows = np.arange(window.row, window.bottom)
        cols = np.arange(window.col, window.right)
        above = self._values(rows, cols) - self._threshold
        cloud = THICKEST * np.maximum(above, 0.0) ** 1.5
        haze = np.zeros_like(cloud)
        if self._wish.haze > 0:
            near = np.clip(1 + above / self._reach(), 0.0, 1.0)
            haze = HAZE_DEPTH * self._wish.haze * near**2
        return cloud.astype(np.float32), haze.astype(np.float32)

    def shade(self, window: Window) -> np.ndarray:
        """Share of direct light, float32 (H, W), that clouds take which stand elsewhere."""
        down, right = self._shift
        cloud, haze = self.depths(Window(window.row - down, window.col - right, window.height, window.width))
        slant = max(math.sin(math.radians(max(self._wish.elevation, LEAST_ELEVATION))), 0.2)
        taken = reflected((cloud + haze) / slant)
        return np.clip((taken - FAINTEST_SHADE) / (1 - FAINTEST_SHADE), 0.0, 1.0).astype(np.float32)

    def over(self, surface: np.ndarray, bands: tuple[str, ...], window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Lay the clouds over a window.

        Args:
            surface: float32 (C, H, W), reflectance, NaN = no data. bands: C roles. window: of the scene.

        Returns:
            The cloudy reflectance like ``surface``, and classes uint8 (H, W): 0 clear and untouched, 1 cloud or haze,
            2 shadow, 255 no data.
        """
        cloud, haze = self.depths(window)
        shade = self.shade(window)
        covered = cloud + haze > 0
        classes = np.where(covered, CLOUD, np.where(shade > 0, SHADOW, CLEAR)).astype(np.uint8)
        classes[~np.isfinite(surface).any(axis=0)] = NO_DATA
        touched = (classes == CLOUD) | (classes == SHADOW)
        out = surface.copy()
        for plane, name, air in zip(out, bands, self._air or (0.0,) * len(bands), strict=True):
            parts = (part[touched] for part in (cloud, haze, shade))
            plane[touched] = seen_through(plane[touched], optics(name), *parts, air)
        return out, classes
