"""What a STAC item beside the files of a product says: date, platform, baseline, offset, where the sun stood.

Source: the STAC specification 1.0 with the extensions eo, raster, view, proj, and Sentinel-2's (``s2:``); the property
``earthsearch:boa_offset_applied`` is known to be wrong for some items, so pixels have the last word (:mod:`offsets`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..errors import InputError
from .container import Container
from .sun import Sun

_BASELINE = re.compile(r"_N(\d{2})(\d{2})_")


@dataclass(frozen=True)
class Item:
    """An item as far as it matters here; everything None or '' where the item does not say it.

    Attributes:
        name: its id.
        collection, platform: as written.
        when: UTC.
        baseline: "05.11".
        applied: whether the offset is said to be taken off the pixels.
        sun: in degrees.
        offsets: offset in reflectance by asset key, from ``raster:bands``.
    """

    name: str
    collection: str = ""
    platform: str = ""
    when: datetime | None = None
    baseline: str = ""
    applied: bool | None = None
    sun: Sun = field(default_factory=Sun)
    offsets: tuple[tuple[str, float], ...] = ()


def find_item(container: Container, folder: str) -> Item | None:
    """The STAC item in a folder of a container ('' = its root), None where there is none."""
    start = f"{folder}/" if folder else ""
    for name in container.names:
        inside = name.startswith(start) and "/" not in name[len(start) :]
        if inside and name.lower().endswith((".json", ".geojson")):
            item = _parsed(container, name)
            if item:
                return item
    return None


def _parsed(container: Container, name: str) -> Item | None:
    try:
        raw = json.loads(container.text(name))
    except (ValueError, InputError):
        return None
    if not isinstance(raw, dict) or raw.get("type") != "Feature" or not isinstance(raw.get("assets"), dict):
        return None
    properties = raw.get("properties") or {}
    baseline = str(properties.get("s2:processing_baseline") or properties.get("processing:baseline") or "")
    product = " ".join(
        str(properties.get(key, "")) for key in ("s2:product_uri", "s2:granule_id", "sentinel:product_id")
    )
    named = _BASELINE.search(f"_{raw.get('id', '')}_ {product}")
    applied = properties.get("earthsearch:boa_offset_applied")
    return Item(
        name=str(raw.get("id", "")),
        collection=str(raw.get("collection") or ""),
        platform=str(properties.get("platform") or ""),
        when=_when(properties),
        baseline=baseline or (f"{named[1]}.{named[2]}" if named else ""),
        applied=applied if isinstance(applied, bool) else None,
        sun=_sun(properties),
        offsets=tuple((key, offset) for key, asset in raw["assets"].items() if (offset := _offset(asset)) is not None),
    )


def _when(properties: dict[str, Any]) -> datetime | None:
    text = str(properties.get("datetime") or properties.get("start_datetime") or "")
    match = re.match(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}", text)
    return datetime.fromisoformat(match[0]).replace(tzinfo=timezone.utc) if match else None


def _sun(properties: dict[str, Any]) -> Sun:
    azimuth, elevation = (properties.get(f"view:sun_{word}") for word in ("azimuth", "elevation"))
    zenith = properties.get("s2:mean_solar_zenith")
    if elevation is None and isinstance(zenith, (int, float)):
        elevation = 90.0 - zenith
    azimuth = properties.get("s2:mean_solar_azimuth") if azimuth is None else azimuth
    return Sun(*(float(v) if isinstance(v, (int, float)) else None for v in (azimuth, elevation)))


def _offset(asset: Any) -> float | None:
    bands = asset.get("raster:bands") or asset.get("bands") if isinstance(asset, dict) else None
    if not isinstance(bands, list) or not bands or not isinstance(bands[0], dict):
        return None
    offset = bands[0].get("offset", bands[0].get("raster:offset"))
    return float(offset) if isinstance(offset, (int, float)) else None
