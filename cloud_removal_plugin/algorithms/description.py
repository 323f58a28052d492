"""Findings of ``describelayers`` as the lines of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..gui.text import tr
from .report import BAD, GOOD, HINT, Item


def items(found: list[dict[str, Any]]) -> list[Item]:
    """One section for each product and raster, and one for what could not be read.

    Args:
        found: what the job said, one entry for each path that was given.
    """
    lines: list[Item] = []
    for place in found:
        for product in place["products"]:
            lines += _product(product)
        for raster in place["rasters"]:
            lines += _raster(raster)
        for problem in place["problems"]:
            lines.append(Item(place["path"], tr("not read"), problem, BAD))
        if not (place["products"] or place["rasters"] or place["problems"]):
            nothing = tr("no product and no raster that is known")
            lines.append(Item(place["path"], tr("found"), nothing, HINT, tr("Choose the folder of a product.")))
    return lines


def _product(product: dict[str, Any]) -> list[Item]:
    section = product["name"]
    lines = [Item(section, tr("what"), product["product"])]
    facts = (
        (tr("place"), product["path"]),
        (tr("platform"), product["platform"]),
        (tr("time"), product["time"]),
        (tr("tile"), product["tile"]),
        (tr("relative orbit"), product["orbit"]),
        (tr("processing baseline"), product["baseline"]),
        (tr("sun"), _sun(product)),
        (tr("bands"), ", ".join(_band(band) for band in product["bands"])),
        (tr("units"), _units(product["bands"])),
        (tr("quality layers"), ", ".join(product["quality_layers"])),
    )
    lines += [Item(section, name, text) for name, text in facts if text]
    return lines + _reasons(section, product)


def _raster(raster: dict[str, Any]) -> list[Item]:
    section = Path(raster["path"]).name
    usable = raster["kind"] != "unknown"
    lines = [Item(section, tr("what"), raster["product"], GOOD if usable else BAD)]
    facts = ((tr("bands"), ", ".join(raster["bands"])), (tr("date"), raster["date"]), (tr("units"), raster["units"]))
    lines += [Item(section, name, text) for name, text in facts if text]
    return lines + _reasons(section, raster)


def _reasons(section: str, entry: dict[str, Any]) -> list[Item]:
    because = [Item(section, tr("because"), sentence) for sentence in entry["why"]]
    return because + [Item(section, tr("doubtful"), sentence, HINT) for sentence in entry["doubts"]]


def _band(band: dict[str, Any]) -> str:
    return band["name"] if band["name"] == band["role"] else f"{band['name']} ({band['role']})"


def _units(bands: list[dict[str, Any]]) -> str:
    pairs = {(band["scale"], band["offset"]) for band in bands}
    if len(pairs) != 1:
        return tr("each band has its own scale") if pairs else ""
    scale, offset = next(iter(pairs))
    return f"reflectance = DN x {scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}"


def _sun(product: dict[str, Any]) -> str:
    azimuth, elevation = product["sun_azimuth"], product["sun_elevation"]
    if azimuth is None or elevation is None:
        return ""
    return tr("azimuth {azimuth:.1f}, elevation {elevation:.1f} degrees").format(azimuth=azimuth, elevation=elevation)
