"""Landsat Collection 2 products: one GeoTIFF a band beside QA_PIXEL and the MTL text, Level 2 and Level 1.

Source: USGS Landsat Collection 2 Level-2 Science Product Guide: surface reflectance = DN x 0.0000275 - 0.2, fill 0;
top-of-atmosphere reflectance = (DN x 0.00002 - 0.1) / sin(sun elevation).
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

from ..bands import role
from .bandnames import LANDSAT_89, LANDSAT_457
from .calibration import LANDSAT_L1, LANDSAT_L2
from .container import Container
from .delivery import Delivery, Plane, QualityLayer
from .sun import Sun

_FILE = re.compile(
    r"(?P<key>L(?P<letter>[COTEM])0(?P<number>[4-9])_L(?P<level>[12])\w{2}_(?P<path>\d{6})_(?P<day>\d{8})_\d{8}_02_"
    r"(?:T1|T2|RT))_(?P<band>SR_B\d|B\d{1,2}|QA_PIXEL|MTL)\.(?:tiff?|txt)$",
    re.IGNORECASE,
)
WAVELENGTHS_89 = {
    "coastal": (443.0, 15.0), "blue": (482.6, 59.0), "green": (561.3, 57.0), "red": (654.6, 37.0),
    "nir08": (864.6, 27.0), "swir16": (1609.1, 84.0), "swir22": (2201.2, 186.0), "cirrus": (1373.5, 19.0),
}  # fmt: skip
"""Centre and width in nm of Landsat 8 (its successor differs by less than 1 nm)."""


def read_landsat(container: Container) -> list[Delivery]:
    """Every Collection 2 product in a container, in the order of their names."""
    groups: dict[str, dict[str, tuple[str, re.Match[str]]]] = {}
    for name in container.names:
        match = _FILE.search(name)
        if match:
            groups.setdefault(match["key"], {})[match["band"].upper()] = (name, match)
    return [_product(container, key, files) for key, files in sorted(groups.items())]


def _product(container: Container, key: str, files: dict[str, tuple[str, re.Match[str]]]) -> Delivery:
    match = next(iter(files.values()))[1]
    level, newer = match["level"], match["number"] in "89"
    table = dict(LANDSAT_89 if newer else LANDSAT_457)
    if newer and level == "1":
        table["9"] = "cirrus"
    text = container.text(files["MTL"][0]) if "MTL" in files else ""
    sun = Sun(_number(text, "SUN_AZIMUTH"), _number(text, "SUN_ELEVATION"))
    (scale, offset), doubts = _calibration(level, sun)
    prefix = "SR_B" if level == "2" else "B"
    planes = tuple(
        _plane(name, f"{prefix}{number}", container.gdal(files[f"{prefix}{number}"][0]), scale, offset, newer)
        for number, name in table.items()
        if f"{prefix}{number}" in files
    )
    if not text:
        doubts = (*doubts, "It has no MTL text, so the sun's angles are not known.")
    quality = (QualityLayer("qa_pixel", container.gdal(files["QA_PIXEL"][0])),) if "QA_PIXEL" in files else ()
    return Delivery(
        product=f"Landsat {match['number']} Collection 2 Level {level}", name=key, path=container.root,
        sensor="landsat", level=f"L{level}", platform=f"Landsat {match['number']}", tile=match["path"],
        when=_when(text, match["day"]), planes=planes, expected=tuple(f"{prefix}{number}" for number in table),
        quality=quality, sun=sun, why=("its files are named like those of a Landsat Collection 2 product",),
        doubts=doubts,
    )  # fmt: skip


def _calibration(level: str, sun: Sun) -> tuple[tuple[float, float], tuple[str, ...]]:
    if level == "2":
        return LANDSAT_L2, ()
    if sun.elevation is None or sun.elevation <= 0:
        return LANDSAT_L1, (
            "Level 1 without the sun's elevation: reflectance is too low by the sine of it. Add the MTL text.",
        )
    high = math.sin(math.radians(sun.elevation))
    return (LANDSAT_L1[0] / high, LANDSAT_L1[1] / high), ()


def _plane(name: str, band: str, path: str, scale: float, offset: float, newer: bool) -> Plane:
    known = role(name)
    nm = WAVELENGTHS_89.get(name) if newer else None
    centre, width = nm or ((known.centre_nm, known.width_nm) if known else (0.0, 0.0))
    return Plane(name, band, path, 1, scale, offset, 0.0, 65535.0, centre, width)


def _number(text: str, key: str) -> float | None:
    match = re.search(rf"\b{key}\s*=\s*(-?\d+(?:\.\d+)?)", text)
    return float(match[1]) if match else None


def _when(text: str, day: str) -> datetime:
    time = re.search(r"\bSCENE_CENTER_TIME\s*=\s*\"?(\d{2}:\d{2}:\d{2})", text)
    stamp = f"{day}T{time[1] if time else '00:00:00'}"
    return datetime.strptime(stamp, "%Y%m%dT%H:%M:%S").replace(tzinfo=timezone.utc)
