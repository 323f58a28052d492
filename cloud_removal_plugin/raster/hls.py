"""Granules of Harmonized Landsat Sentinel-2 (HLS v2.0): one GeoTIFF a band, named by the product, with Fmask.

Source: HLS v2.0 user guide (LP DAAC): int16, reflectance x 10,000, fill -9999, 30 m. Band numbers are the sensor's own,
so B05 is red edge in S30 and near infrared in L30; B10 and B11 of L30 are thermal.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

from ..bands import role
from ..errors import InputError
from .bandnames import L30, S30
from .container import Container
from .delivery import Delivery, Plane, QualityLayer
from .info import describe
from .sun import Sun, sun_of

_FILE = re.compile(
    r"(?P<key>HLS\.(?P<kind>[SL]30)\.T(?P<tile>\d{2}[A-Z]{3})\.(?P<stamp>\d{7}T\d{6})\.v\d+\.\d+)\.(?P<band>\w+)\.tiff?$",
    re.IGNORECASE,
)
SCALE, FILL = 1e-4, -9999.0
EXPECTED = {
    "S30": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"),
    "L30": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B09"),
}


def read_hls(container: Container) -> list[Delivery]:
    """Every granule in a container, in the order of their names."""
    groups: dict[str, dict[str, tuple[str, re.Match[str]]]] = {}
    for name in container.names:
        match = _FILE.search(name)
        if match and match["band"].upper() in (*EXPECTED[match["kind"].upper()], "B10", "B11", "FMASK"):
            groups.setdefault(match["key"], {})[match["band"].upper()] = (name, match)
    return [_granule(container, key, files) for key, files in sorted(groups.items())]


def _granule(container: Container, key: str, files: dict[str, tuple[str, re.Match[str]]]) -> Delivery:
    match = next(iter(files.values()))[1]
    kind = match["kind"].upper()
    table = S30 if kind == "S30" else L30
    paths = {band: container.gdal(name) for band, (name, _) in files.items()}
    planes = tuple(
        _plane(table[_short(band)], band, paths[band])
        for band in EXPECTED[kind]
        if band in paths and _short(band) in table
    )
    quality = (QualityLayer("fmask", paths["FMASK"]),) if "FMASK" in paths else ()
    doubts = () if quality else ("It has no Fmask layer, so clouds have to be detected.",)
    return Delivery(
        product=f"HLS {kind} v2.0", name=key, path=container.root, sensor="hls", level="L2A" if kind == "S30" else "L2",
        platform="Sentinel-2" if kind == "S30" else "Landsat 8/9", tile=match["tile"].upper(),
        when=datetime.strptime(match["stamp"], "%Y%jT%H%M%S").replace(tzinfo=timezone.utc), planes=planes,
        expected=EXPECTED[kind], quality=quality, sun=_sun(planes), doubts=doubts,
        why=(f"its files are named like those of an HLS {kind} granule",),
    )  # fmt: skip


def _short(band: str) -> str:
    return band[1:].lstrip("0")


def _plane(name: str, band: str, path: str) -> Plane:
    known = role(name)
    centre, width = (known.centre_nm, known.width_nm) if known else (0.0, 0.0)
    return Plane(name, band, path, 1, SCALE, 0.0, FILL, None, centre, width)


def _sun(planes: tuple[Plane, ...]) -> Sun:
    """From the tags of the first band; a file that cannot be opened is reported when it is read."""
    try:
        return sun_of(describe(planes[0].path)) if planes else Sun()
    except InputError:
        return Sun()
