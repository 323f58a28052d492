"""Bit and class tables of the quality layers that come with products, and what they mean to us.

Classes are those of :mod:`classes`: 0 clear, 1 cloud (also haze and cirrus), 2 shadow, 255 no data. Sources: sen2cor
documentation (SCL), USGS Landsat Collection 2 guide (QA_PIXEL), HLS v2.0 user guide (Fmask), Earth Engine catalogue
(QA60, Cloud Score+), Planet's UDM2 description. Snow is clear: it is not what hides the ground.
"""

from __future__ import annotations

import numpy as np

from .classes import CLEAR, CLOUD, NO_DATA, SHADOW

Bits = dict[str, tuple[int, int]]
"""Field name to (first bit, number of bits)."""

QA_PIXEL: Bits = {
    "fill": (0, 1),
    "dilated_cloud": (1, 1),
    "cirrus": (2, 1),
    "cloud": (3, 1),
    "cloud_shadow": (4, 1),
    "snow": (5, 1),
    "clear": (6, 1),
    "water": (7, 1),
    "cloud_conf": (8, 2),
    "shadow_conf": (10, 2),
    "snow_conf": (12, 2),
    "cirrus_conf": (14, 2),
}
"""Landsat Collection 2 QA_PIXEL, uint16."""

FMASK: Bits = {
    "cirrus_reserved": (0, 1),
    "cloud": (1, 1),
    "adjacent": (2, 1),
    "cloud_shadow": (3, 1),
    "snow_ice": (4, 1),
    "water": (5, 1),
    "aerosol": (6, 2),
}
"""HLS v2.0 Fmask, uint8."""

FMASK_FILL = 255
"""Tested before the bits: it has all of them set."""

QA60: Bits = {"opaque": (10, 1), "cirrus": (11, 1)}
"""Earth Engine's Sentinel-2 QA60, uint16."""

SCL: dict[int, str] = {
    0: "no data",
    1: "saturated or defective",
    2: "dark area or topographic shadow",
    3: "cloud shadow",
    4: "vegetation",
    5: "not vegetated",
    6: "water",
    7: "unclassified",
    8: "cloud, medium probability",
    9: "cloud, high probability",
    10: "thin cirrus",
    11: "snow or ice",
}
"""Sentinel-2 L2A scene classification, uint8."""

_SCL_CLASS = {0: NO_DATA, 1: NO_DATA, 3: SHADOW, 8: CLOUD, 9: CLOUD, 10: CLOUD}

UDM2 = ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "unusable")
"""PlanetScope UDM2: eight bands; the first six are 0/1, the seventh 0..100, the eighth the bits of the old UDM."""

CLEAR_SCORE = 0.6
"""Cloud Score+ (1 = clear): pixels below this are hidden (Google's example)."""


def field(values: np.ndarray, table: Bits, name: str) -> np.ndarray:
    """One field of a bit-packed layer, as small integers of the same shape."""
    first, length = table[name]
    return (values.astype(np.int64) >> first) & ((1 << length) - 1)


def scl_classes(values: np.ndarray) -> np.ndarray:
    """Classes of an SCL array; numbers that SCL does not know are no data."""
    table = np.full(256, NO_DATA, np.uint8)
    table[: len(SCL)] = [_SCL_CLASS.get(code, CLEAR) for code in SCL]
    return table[np.clip(values, 0, 255).astype(np.uint8)]


def _qa_pixel_table() -> np.ndarray:
    codes = np.arange(65536)
    hidden = (
        field(codes, QA_PIXEL, "dilated_cloud") | field(codes, QA_PIXEL, "cirrus") | field(codes, QA_PIXEL, "cloud")
    )
    classes = np.where(field(codes, QA_PIXEL, "cloud_shadow") == 1, SHADOW, CLEAR)
    classes = np.where(hidden == 1, CLOUD, classes)
    return np.where(field(codes, QA_PIXEL, "fill") == 1, NO_DATA, classes).astype(np.uint8)


_QA_PIXEL_CLASS = _qa_pixel_table()


def qa_pixel_classes(values: np.ndarray) -> np.ndarray:
    """Classes of a Landsat QA_PIXEL array: any of bits 0 to 4; cloud goes before shadow."""
    return _QA_PIXEL_CLASS[values.astype(np.int64) & 0xFFFF]


def fmask_classes(values: np.ndarray) -> np.ndarray:
    """Classes of an HLS Fmask array: cloud, then shadow, then what is adjacent to either."""
    codes = np.arange(256)
    table = np.where(field(codes, FMASK, "adjacent") == 1, CLOUD, CLEAR)
    table = np.where(field(codes, FMASK, "cloud_shadow") == 1, SHADOW, table)
    table = np.where(field(codes, FMASK, "cloud") == 1, CLOUD, table)
    table[FMASK_FILL] = NO_DATA
    return table.astype(np.uint8)[values.astype(np.int64) & 0xFF]


def qa60_classes(values: np.ndarray) -> np.ndarray:
    """Classes of a QA60 array: opaque cloud or cirrus."""
    hidden = field(values, QA60, "opaque") | field(values, QA60, "cirrus")
    return np.where(hidden == 1, CLOUD, CLEAR).astype(np.uint8)


def udm2_classes(planes: np.ndarray) -> np.ndarray:
    """Classes (H, W) of a UDM2 array (8, H, W): heavy haze and cloud, shadow; light haze stays clear.

    Pixels that no class claims and whose old UDM says blackfill are no data.
    """
    named = dict(zip(UDM2, planes, strict=True))
    classes = np.where(named["shadow"] == 1, SHADOW, CLEAR)
    classes = np.where((named["heavy_haze"] == 1) | (named["cloud"] == 1), CLOUD, classes)
    unclaimed = ~(planes[:6] > 0).any(axis=0)
    return np.where(unclaimed & ((named["unusable"].astype(np.int64) & 1) == 1), NO_DATA, classes).astype(np.uint8)


def udm_classes(values: np.ndarray) -> np.ndarray:
    """Classes of the old one-band UDM: bit 0 blackfill, bit 1 cloud."""
    bits = values.astype(np.int64)
    return np.where(bits & 1, NO_DATA, np.where(bits & 2, CLOUD, CLEAR)).astype(np.uint8)


def classi_classes(planes: np.ndarray) -> np.ndarray:
    """Classes (H, W) of Sentinel-2's MSK_CLASSI (3, H, W): opaque cloud, cirrus, snow."""
    return np.where((planes[0] == 1) | (planes[1] == 1), CLOUD, CLEAR).astype(np.uint8)
