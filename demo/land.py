"""What stands where: fields with crops, woods, a river and a lake, villages and roads.

The land is a set of maps that do not change; :mod:`demo.phenology` says how they look on a date.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, spatial

from cloud_removal_plugin.clouds.noise import fractal

CROPS: tuple[str, ...] = ("wheat", "barley", "rapeseed", "maize", "beet", "meadow", "fallow")
CROP_SHARES: tuple[float, ...] = (0.27, 0.10, 0.13, 0.18, 0.10, 0.17, 0.05)

FIELD, WOOD, WATER, VILLAGE, ROAD = range(5)


@dataclass(frozen=True)
class Land:
    """The unchanging part of the scene, everything (H, W).

    Attributes:
        cover: uint8, one of FIELD, WOOD, WATER, VILLAGE, ROAD.
        field: int32, number of the field that a pixel would belong to.
        crop: uint8 (fields,), index into CROPS.
        lag_days: float32 (fields,), how much later than usual a field's crop develops.
        vigour: float32 (fields,), how dense its crop gets, about 1.
        soil: float32, 0 dark to 1 light.
        conifers: float32, share of conifers in the wood.
        patchiness: float32, smooth variation inside fields, mean 0, deviation 1.
        grain: float32, pixel-scale texture, mean 0, deviation 1.
        built: float32 (4, H, W), shares of roof, concrete, asphalt and greenery in a village.
        slope: float32 (2, H, W), rise per metre to the south and to the east.
    """

    cover: np.ndarray
    field: np.ndarray
    crop: np.ndarray
    lag_days: np.ndarray
    vigour: np.ndarray
    soil: np.ndarray
    conifers: np.ndarray
    patchiness: np.ndarray
    grain: np.ndarray
    built: np.ndarray
    slope: np.ndarray


def _parcels(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Fields: districts of one orientation, each cut into strips and these into parcels of uneven length.

    Returns:
        int32 field numbers and a bool map of the tracks between districts.
    """
    height, width = shape
    count = max(3, round(height * width / 200**2))
    seeds = rng.uniform((0, 0), shape, (count, 2))
    rows, cols = np.mgrid[:height, :width].astype(np.float32)
    bend = 12 * fractal(rng, shape, 2.0, 200, 20)
    distances, nearest = spatial.cKDTree(seeds).query(np.stack([rows + bend, cols - bend], axis=-1), k=2)
    district = nearest[..., 0]
    track = (distances[..., 1] - distances[..., 0]) < 2.4
    angle = rng.uniform(0, np.pi, count)[district].astype(np.float32)
    across = rows * np.cos(angle) + cols * np.sin(angle) + bend * 0.4
    along = cols * np.cos(angle) - rows * np.sin(angle)
    reach = float(np.hypot(height, width))
    strip_edges = np.cumsum(rng.gamma(4.0, 5.5, int(reach / 5))) - reach / 2
    strip = np.searchsorted(strip_edges, across.ravel()).reshape(shape)
    parcel_edges = np.cumsum(rng.gamma(3.0, 18.0, int(reach / 10) + 40)) - reach
    shift = rng.uniform(-60, 60, strip_edges.size + 1).astype(np.float32)
    parcel = np.searchsorted(parcel_edges, (along + shift[strip]).ravel()).reshape(shape)
    key = (district.astype(np.int64) * 4096 + strip) * 4096 + parcel
    _, field = np.unique(key, return_inverse=True)
    return field.reshape(shape).astype(np.int32), track


def _river(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """bool (H, W): a winding river from north to south, and a lake."""
    height, width = shape
    rows = np.arange(height)
    bends = 0.05 * width * np.sin(rows / (0.13 * height) + rng.uniform(0, 6))
    bends += 0.02 * width * np.sin(rows / (0.045 * height) + rng.uniform(0, 6))
    centre = width * rng.uniform(0.62, 0.74) + bends
    half_width = 4.0 + 1.2 * np.sin(rows / 37.0)
    cols = np.arange(width)[None, :]
    river = np.abs(cols - centre[:, None]) < half_width[:, None] * min(1.0, width / 512)
    lake_row, lake_col = rng.uniform(0.2, 0.4) * height, rng.uniform(0.2, 0.35) * width
    radius = 0.055 * width * (1 + 0.25 * fractal(rng, shape, 2.0, 120, 12))
    lake = np.hypot((rows[:, None] - lake_row) * 1.5, cols - lake_col) < radius
    return river | lake


def _built(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """float32 (4, H, W): roofs, concrete, asphalt and greenery, in blocks of the size of houses."""
    height, width = shape
    small = (4, height // 2 + 1, width // 2 + 1)
    blocks = rng.dirichlet((0.5, 0.2, 0.4, 0.6), small[1:]).astype(np.float32)
    shares = np.repeat(np.repeat(np.moveaxis(blocks, -1, 0), 2, axis=1), 2, axis=2)
    return np.ascontiguousarray(shares[:, :height, :width])


def build(rng: np.random.Generator, shape: tuple[int, int], pixel_m: float = 10.0) -> Land:
    """The land of a scene of (H, W) pixels, seeded by ``rng``."""
    field, track = _parcels(rng, shape)
    fields = int(field.max()) + 1
    wood = fractal(rng, shape, 1.7, 260, 6)
    town = fractal(rng, shape, 1.8, 170, 8)
    cover = np.full(shape, FIELD, np.uint8)
    cover[wood > np.quantile(wood, 0.79)] = WOOD
    cover[town > np.quantile(town, 0.935)] = VILLAGE
    cover[track & (cover != WOOD)] = ROAD
    cover[_river(rng, shape)] = WATER
    height_m = 28 * fractal(rng, shape, 2.4, 600, 16)
    south, east = np.gradient(height_m, pixel_m)
    return Land(
        cover=cover,
        field=field,
        crop=rng.choice(len(CROPS), fields, p=CROP_SHARES).astype(np.uint8),
        lag_days=rng.normal(0, 6, fields).astype(np.float32),
        vigour=rng.normal(1.0, 0.09, fields).clip(0.7, 1.2).astype(np.float32),
        soil=(0.45 + 0.2 * fractal(rng, shape, 1.6, 300, 4) + rng.normal(0, 0.16, fields)[field])
        .clip(0, 1)
        .astype(np.float32),
        conifers=ndimage.gaussian_filter((fractal(rng, shape, 1.5, 120, 4) > 0.15).astype(np.float32), 1.5),
        patchiness=fractal(rng, shape, 1.4, 80, 4),
        grain=fractal(rng, shape, 0.3, 12, 2),
        built=_built(rng, shape),
        slope=np.stack([south, east]).astype(np.float32),
    )
