"""Where the sun stood when a raster was taken, as its tags tell.

Products name the angles in their own way: ``SUN_AZIMUTH`` (Landsat, and our stacks), ``MEAN_SUN_ZENITH_ANGLE`` (HLS),
``MEAN_SOLAR_AZIMUTH_ANGLE`` (Earth Engine), ``view:sun_elevation`` (STAC); degrees in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .info import RasterInfo

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Sun:
    """Azimuth in degrees clockwise from north, and elevation above the horizon; None where not known."""

    azimuth: float | None = None
    elevation: float | None = None


def sun_of(info: RasterInfo) -> Sun:
    """The sun's place from the raster's tags; a number that cannot be such an angle is left out."""
    azimuth = _angle(info, "azimuth", 0.0, 360.0)
    elevation = _angle(info, "elevation", 0.0, 90.0)
    if elevation is None:
        zenith = _angle(info, "zenith", 0.0, 90.0)
        elevation = None if zenith is None else 90.0 - zenith
    return Sun(azimuth, elevation)


def tells_sun(key: str) -> bool:
    """Whether a tag of this name is about the sun."""
    return "sun" in key.lower() or "solar" in key.lower()


def suns_of(infos: Iterable[RasterInfo]) -> dict[str, list[float | None]]:
    """Where the sun stood on each date, as keywords of ``clouds.detect.detect_scene``; None where tags do not say."""
    suns = [sun_of(info) for info in infos]
    return {"sun_azimuth": [sun.azimuth for sun in suns], "sun_elevation": [sun.elevation for sun in suns]}


def _angle(info: RasterInfo, word: str, low: float, high: float) -> float | None:
    for key, value in info.tags.items():
        if word in key.lower() and tells_sun(key):
            number = _NUMBER.search(value)
            if number and low <= float(number[0]) <= high:
                return float(number[0])
    return None
