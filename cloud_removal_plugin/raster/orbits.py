"""Whether a radar raster was taken on the ascending or the descending part of the orbit.

The two look at the ground from opposite sides, so they are never mixed. Tags or the name tell; else the time of day
does: Sentinel-1 flies along the line of dawn and dusk and crosses places near 18 h local solar time ascending, near 6 h
descending.
"""

from __future__ import annotations

import re
from pathlib import Path

from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform

from .crs import grid_of
from .info import RasterInfo

ASCENDING, DESCENDING = "ascending", "descending"
DAWN_H, DUSK_H, WITHIN_H = 6.0, 18.0, 3.0
_WORD = re.compile(r"(?i)(?<![a-z])(asc(?:ending)?|des(?:c(?:ending)?)?)(?![a-z])")
_PRODUCT = re.compile(r"(?i)^S1[A-D]_(?:IW|EW|SM|S\d)_")
_TIME = re.compile(r"(?<!\d)\d{8}[Tt_](\d{2})(\d{2})(\d{2})(?!\d)")


def direction(info: RasterInfo) -> tuple[str, str]:
    """Direction and where it was found; '' and '' where nothing tells."""
    for key, value in info.tags.items():
        if re.search(r"(?i)orbit|(?<![a-z])pass(?![a-z])", key):
            match = _WORD.search(value)
            if match:
                return _named(match[1]), f"the tag {key}"
    match = _WORD.search(own_name(info))
    if match:
        return _named(match[1]), "its name"
    hour = _solar_hour(info)
    for name, middle in ((DESCENDING, DAWN_H), (ASCENDING, DUSK_H)):
        if hour is not None and abs(hour - middle) <= WITHIN_H:
            return name, f"its time ({hour:.0f} h local solar time)"
    return "", ""


def own_name(info: RasterInfo) -> str:
    """The raster's name; inside a product's folder (``iw-vv.rtc.tiff``) that of the product as well."""
    folders = [part for part in Path(info.path.replace('"', "")).parts[-5:-1] if _PRODUCT.search(part)]
    return " ".join([*folders, info.name])


def minute(info: RasterInfo) -> float | None:
    """Minutes of the day (UTC) from the first time stamp in the name, None without one."""
    match = _TIME.search(own_name(info))
    return int(match[1]) * 60 + int(match[2]) + int(match[3]) / 60 if match else None


def _named(word: str) -> str:
    return ASCENDING if word.lower().startswith("asc") else DESCENDING


def _solar_hour(info: RasterInfo) -> float | None:
    """Local solar time in hours, from the time stamp in the name and the raster's longitude."""
    now = minute(info)
    if now is None or not info.crs_wkt:
        return None
    xmin, ymin, xmax, ymax = grid_of(info).bounds
    try:
        lon = transform(CRS.from_wkt(info.crs_wkt), CRS.from_epsg(4326), [(xmin + xmax) / 2], [(ymin + ymax) / 2])[0][0]
    except (CRSError, RasterioError):
        return None
    return (now / 60 + lon / 15) % 24
