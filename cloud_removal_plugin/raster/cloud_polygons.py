"""Cloud masks of Sentinel-2 Level-1C before baseline 04.00: GML polygons of opaque clouds and cirrus.

The file of a clear scene holds no polygon at all. Coordinates are those of the tile.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from rasterio.features import rasterize
from rasterio.transform import Affine

from . import leaves
from .classes import CLEAR, CLOUD
from .grid import Grid
from .windows import Window

_KINDS = ("OPAQUE", "CIRRUS")

Ring = list[tuple[float, float]]


@lru_cache(maxsize=64)
def polygons(text: str) -> list[list[Ring]]:
    """Exterior and interior rings of every polygon of cloud or cirrus in a mask's text."""
    found = []
    for _, feature in leaves.blocks(text, "MaskFeature"):
        if leaves.first(feature, "maskType") in _KINDS:
            for _, polygon in leaves.blocks(feature, "Polygon"):
                rings = [_ring(inner, attributes) for attributes, inner in leaves.blocks(polygon, "posList")]
                found.append([ring for ring in rings if len(ring) >= 4])
    return [rings for rings in found if rings]


def _ring(text: str, attributes: dict[str, str]) -> Ring:
    step = int(attributes.get("srsDimension", "2"))
    numbers = [float(part) for part in re.findall(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text)]
    return [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers) - step + 1, step)]


def classes(found: list[list[Ring]], grid: Grid, window: Window) -> np.ndarray:
    """uint8 (H, W) of a window: 1 cloud, 0 clear.

    Args:
        found: from :func:`polygons`, in the grid's CRS.
        grid: pixel grid.
        window: in its pixels.
    """
    shape = (window.height, window.width)
    if not found:
        return np.full(shape, CLEAR, np.uint8)
    shapes = [({"type": "Polygon", "coordinates": rings}, CLOUD) for rings in found]
    transform = Affine(*grid.window_transform(window.row, window.col))
    return rasterize(shapes, out_shape=shape, transform=transform, fill=CLEAR, dtype="uint8")
