"""Loose band files: one single-band raster a band, told apart by the band's name in the file's name.

So come the assets of STAC catalogues in both namings (``B04.tif`` of the Planetary Computer, ``red.tif`` of
earth-search), the raw exports of EO Browser (``..._Sentinel-2_L2A_B04_(Raw).tiff``) and what was copied out of a SAFE.
The trap: catalogues differ in whether the +1000 of processing baseline 04.00 is still inside the numbers, and some say
wrongly which; so metadata and pixels are asked, and a contradiction is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, time, timezone
from pathlib import PurePosixPath

import numpy as np

from ..bands import ROLE_NAMES, role
from . import offsets
from .bandnames import COMMON, NOT_REFLECTANCE, S30
from .calibration import DARK_QUANTILE, DN_SCALE
from .container import Container
from .dates import find_date
from .delivery import Delivery, Plane, QualityLayer
from .info import RasterInfo, describe
from .products import declared_offset, identify
from .sample import sample
from .stacitem import Item, find_item
from .sun import sun_of

_STEM = re.compile(r"^(?P<key>.*?)(?:^|[_.\- ])(?P<band>[A-Za-z]+\d{0,2}[Aa]?)(?:[_-]\d{2}m)?(?:_\(Raw\))?$")
_NUMBERED = re.compile(r"^[Bb]0?(\d{1,2})([Aa]?)$")
_QUALITY = {"scl": "scl", "cld": "percent", "cldprb": "percent", "clp": "byte_probability", "fmask": "fmask"}
_RASTER = re.compile(r"\.(?:tiff?|jp2)$", re.IGNORECASE)
LEAST_BANDS = 2
EIGHT_BIT, SIXTEEN_BIT = 255.0, 65535.0


def read_band_files(container: Container, taken: frozenset[str] = frozenset()) -> list[Delivery]:
    """Every group of loose band files in a container.

    Args:
        taken: files that belong to products already recognised.

    Raises:
        InputError: a file cannot be opened or read.
    """
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for name in container.names:
        path = PurePosixPath(name)
        match = _STEM.match(path.stem) if _RASTER.search(name) and name not in taken else None
        band = band_of(match["band"]) if match else ""
        if match and band:
            folder = "" if str(path.parent) == "." else str(path.parent)
            groups.setdefault((folder, match["key"]), {})[band] = name
    made = [_delivery(container, folder, key, files) for (folder, key), files in sorted(groups.items())]
    return [delivery for delivery in made if delivery is not None]


def band_of(text: str) -> str:
    """ "B8A", "B2", a role or a quality layer's name; '' where the text names none."""
    match = _NUMBERED.match(text)
    if match:
        number = match[1].lstrip("0") + match[2].upper()
        return f"B{number}" if number in S30 else ""
    lower = text.lower()
    if lower in _QUALITY:
        return lower
    return COMMON.get(lower, "") if lower not in NOT_REFLECTANCE else ""


def _delivery(container: Container, folder: str, key: str, files: dict[str, str]) -> Delivery | None:
    item = find_item(container, folder)
    named = {band: name for band, name in files.items() if band not in _QUALITY}
    if len(named) < LEAST_BANDS:
        return None
    infos = {band: describe(container.gdal(name)) for band, name in named.items()}
    infos = {band: info for band, info in infos.items() if info.count == 1 or info.alpha == info.count == 2}
    roles = {band: S30[band[1:]] if _NUMBERED.match(band) else band for band in infos}
    infos = {band: infos[band] for band in sorted(infos, key=lambda band: _place(roles[band]))}
    if len(infos) < LEAST_BANDS:
        return None
    first = next(iter(infos.values()))
    words = f"{container.name}_{folder}_{key}_{item.name if item else ''}"
    sensor, why = _sensor(container, folder, key, item, first, set(infos), "scl" in files)
    when = _when(container, folder, key, item, first)
    scale, offset, doubts = _calibration(list(infos.values()), [roles[band] for band in infos], sensor, item, when)
    planes = tuple(_plane(roles[band], band, info, scale, offset) for band, info in infos.items())
    quality = tuple(QualityLayer(_QUALITY[band], container.gdal(files[band])) for band in _QUALITY if band in files)
    return Delivery(
        product="Sentinel-2 bands" if sensor == "sentinel2" else "Band files",
        name=(item.name if item else "") or key.strip("_-. ") or PurePosixPath(folder or container.root).name,
        path=container.root, sensor=sensor, level=_level(container, folder, key, item, set(infos), quality),
        platform=item.platform if item else "", tile=_tile(words),
        baseline=item.baseline if item else "", when=when, planes=planes,
        quality=quality, sun=item.sun if item and item.sun.azimuth is not None else sun_of(first), why=why,
        doubts=doubts,
    )  # fmt: skip


def _place(name: str) -> int:
    return ROLE_NAMES.index(name) if name in ROLE_NAMES else len(ROLE_NAMES)


def _plane(name: str, band: str, info: RasterInfo, scale: float, offset: float) -> Plane:
    known = role(name)
    centre, width = (known.centre_nm, known.width_nm) if known else (0.0, 0.0)
    integer = np.dtype(info.dtype).kind in "iu"
    saturated = 65535.0 if info.dtype == "uint16" else None
    return Plane(name, band, info.path, 1, scale, offset, 0.0 if integer else None, saturated, centre, width)


def _sensor(
    container: Container, folder: str, key: str, item: Item | None, first: RasterInfo, bands: set[str], scl: bool
) -> tuple[str, tuple[str, ...]]:
    text = " ".join([container.name, folder, key, *((item.name, item.collection, item.platform) if item else ())])
    if item and re.search(r"(?i)sentinel-?2", f"{item.collection} {item.platform}"):
        return "sentinel2", (f"the STAC item '{item.name}' beside the files says so",)
    if re.search(r"(?i)sentinel-?2|(?<![a-z0-9])s2[abc]?(?:_|-|$)|(?<![a-z0-9])T?\d{2}[A-Z]{3}_20\d{6}", text):
        return "sentinel2", ("its name is that of a Sentinel-2 product, and each file is called after a band",)
    if {"B8A", "B11", "rededge2", "rededge3"} & bands or {"B5", "B6", "B7"} <= bands:
        return "sentinel2", ("its files are called after Sentinel-2's bands",)
    product = identify(first)
    if product.sensor == "generic" and scl:
        return "sentinel2", ("each file is called after a band, and Sentinel-2's scene classes (SCL) lie beside them",)
    return product.sensor, ("each file is called after a band",)


def _calibration(
    infos: Sequence[RasterInfo], roles: Sequence[str], sensor: str, item: Item | None, when: datetime | None
) -> tuple[float, float, tuple[str, ...]]:
    """Scale and offset for all bands, and what an analyst should check."""
    own = [(info.scales[0], info.offsets[0]) for info in infos]
    scale, offset = max(own, key=own.count)
    dark, bright = _levels(infos, roles)
    if np.dtype(infos[0].dtype).kind == "f" and bright <= 2.0:
        return 1.0, 0.0, ()
    if infos[0].dtype == "uint8":
        return 1 / EIGHT_BIT, 0.0, ("8-bit files: a stretch for the eye (0..255 was taken as 0..1), not reflectance.",)
    if scale == 1.0 and bright > 25_000:
        doubt = "Numbers above 25,000: taken as a 16-bit export (65,535 = 1). Export 32-bit float instead."
        return 1 / SIXTEEN_BIT, 0.0, (doubt,)
    if sensor != "sentinel2":
        return (scale, offset, ()) if scale != 1.0 else (DN_SCALE, 0.0, ("The scale is not told; 1/10,000 was taken.",))
    unit = scale if 0 < scale < 0.1 else DN_SCALE
    declared, where = _declared(infos[0], item, offset / unit)
    decision = offsets.decide(dark, declared, where, when.date() if when else None)
    doubts = (decision.sentence,) if decision.check else ()
    if item and item.applied and dark is not None and _still_inside(item, dark):
        doubt = (
            f"The item says that its offset is applied already, but no band has pixels darker than {dark:.0f}; it was "
            "taken to be inside still. Look at dark water: reflectance there should be near 0."
        )
        return unit, -offsets.OFFSET_DN * unit, (doubt,)
    return unit, decision.offset * unit, doubts


def _still_inside(item: Item, dark: float) -> bool:
    recent = item.baseline[:2].isdigit() and 4 <= int(item.baseline[:2]) < 99
    return recent and offsets.DARKEST_WITH_OFFSET <= dark <= offsets.DARK_TARGET


def _declared(info: RasterInfo, item: Item | None, header_dn: float) -> tuple[float | None, str]:
    """Offset in DN that metadata declares: the item's word that it is applied, the files' header, the baseline."""
    if item and item.applied:
        return 0.0, "the item's word that the offset is applied"
    if header_dn == -offsets.OFFSET_DN:
        return header_dn, "the files' own band offset"
    if item and item.offsets and any(value for _, value in item.offsets):
        return round(min(value for _, value in item.offsets) / DN_SCALE), "the item's raster:bands"
    if item and item.baseline[:2].isdigit():
        major = int(item.baseline[:2])
        return (-offsets.OFFSET_DN if 4 <= major < 99 else 0.0), f"processing baseline {item.baseline}"
    return declared_offset(info)


def _levels(infos: Sequence[RasterInfo], roles: Sequence[str]) -> tuple[float | None, float]:
    """Lowest 0.1 % quantile over the bands that can be dark, None without data; highest 99 % quantile."""
    dark, bright = [], [0.0]
    for info, name in zip(infos, roles, strict=True):
        values = sample(info, (1,))[0]
        if values.size:
            low, high = np.quantile(values, (DARK_QUANTILE, 0.99), method="nearest")
            bright.append(float(high))
            if name != "coastal":
                dark.append(float(low))
    return (min(dark) if dark else None), max(bright)


def _level(
    container: Container, folder: str, key: str, item: Item | None, bands: set[str], quality: tuple[QualityLayer, ...]
) -> str:
    text = " ".join([container.name, folder, key, *((item.name, item.collection) if item else ())])
    if re.search(r"(?i)L2A", text) or any(layer.kind == "scl" for layer in quality):
        return "L2A"
    return "L1C" if re.search(r"(?i)L1C", text) or {"B10", "cirrus"} & bands else ""


def _tile(text: str) -> str:
    match = re.search(r"(?:^|[_/-])T?(\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2})(?:[_/-]|$)", text)
    return match[1] if match else ""


def _when(container: Container, folder: str, key: str, item: Item | None, first: RasterInfo) -> datetime | None:
    if item and item.when:
        return item.when
    stamp = re.search(r"(\d{8}T\d{6})", f"{key} {folder}")
    if stamp:
        return datetime.strptime(stamp[1], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
    day = find_date(key) or find_date(folder) or find_date(container.name)
    return datetime.combine(day, time(), timezone.utc) if day else None
