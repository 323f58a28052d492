"""Which band of a file plays which role: by name, else by wavelength, else by colour, else by count.

Band numbers mean different things in different products (B5 is red edge in Sentinel-2, NIR in Landsat 8, SWIR in
Landsat 5), so names are read with the product's own table. Tables: ESA, USGS, LP DAAC and Planet product guides.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..bands import ROLES, SENTINEL2_L1C, SENTINEL2_NAMES
from .info import RasterInfo

S30: dict[str, str] = {name[1:]: role for name, role in SENTINEL2_NAMES.items()}
L30 = {"1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir08", "6": "swir16", "7": "swir22", "9": "cirrus"}
LANDSAT_89 = {key: value for key, value in L30.items() if key != "9"}
LANDSAT_457 = {"1": "blue", "2": "green", "3": "red", "4": "nir08", "5": "swir16", "7": "swir22"}

MODIS = {"1": "red", "2": "nir08", "3": "blue", "4": "green", "6": "swir16", "7": "swir22"}

TABLES: dict[str, dict[str, str]] = {
    "sentinel2": S30,
    "S30": S30,
    "L30": L30,
    "L89": LANDSAT_89,
    "L457": LANDSAT_457,
    "generic": S30,
    "MODIS": MODIS,
}

COMMON: dict[str, str] = {
    "coastal": "coastal", "coastalaerosol": "coastal", "aerosol": "coastal", "aerosols": "coastal",
    "ultrablue": "coastal", "coastalblue": "coastal", "violet": "coastal",
    "blue": "blue", "green": "green", "red": "red", "greeni": "", "green1": "",
    "rededge": "rededge1", "rededge1": "rededge1", "rededge2": "rededge2", "rededge3": "rededge3",
    "rededge071": "rededge1", "rededge075": "rededge2", "rededge078": "rededge3",
    "re1": "rededge1", "re2": "rededge2", "re3": "rededge3", "vegetationrededge": "rededge1",
    "nir": "nir", "nearinfrared": "nir", "nir1": "nir", "nirbroad": "nir", "broadnir": "nir",
    "nir08": "nir08", "nir8a": "nir08", "nirnarrow": "nir08", "narrownir": "nir08", "nir2": "nir08",
    "rededge4": "nir08",
    "nir09": "nir09", "watervapour": "nir09", "watervapor": "nir09",
    "cirrus": "cirrus", "swircirrus": "cirrus",
    "swir1": "swir16", "swir16": "swir16", "swir22": "swir22", "swir2": "swir22",
}  # fmt: skip
"""Common names, lower case without separators (STAC ``eo:common_name``, earth-search keys, vendors' descriptions)."""

NOT_REFLECTANCE = frozenset({
    "scl", "aot", "wvp", "fmask", "qa", "qa10", "qa20", "qa60", "qapixel", "pixelqa", "radsat", "mask", "masks",
    "datamask", "cld", "cldprb", "clp", "clm", "snwprb", "snow", "cloud", "clouds", "probability", "sza", "vza",
    "saa", "vaa", "raa", "sunazimuthangles", "sunzenithangles", "viewazimuthmean", "viewzenithmean", "angle",
    "vv", "vh", "hh", "hv", "elevation", "dem", "slope", "aspect", "temperature", "precipitation", "alpha",
    "udm", "udm2", "tci", "ndvi", "ndwi", "evi", "doy", "thermal", "tir", "tirs", "st", "lwir", "pan",
    "panchromatic", "opacity", "confidence", "classi", "quality", "classes", "label", "labels",
})  # fmt: skip
"""Words in a band's name that say it is not a reflectance."""

NIR_IS_NARROW = ("landsat", "hls", "planet")
"""Sensors whose NIR band corresponds to Sentinel-2's B8A, not to B8."""

BY_COUNT: dict[int, tuple[str, ...]] = {
    13: SENTINEL2_L1C,
    12: tuple(r for r in SENTINEL2_L1C if r != "cirrus"),
    10: tuple(r for r in SENTINEL2_L1C if r not in ("coastal", "nir09", "cirrus")),
    6: ("blue", "green", "red", "nir", "swir16", "swir22"),
    4: ("blue", "green", "red", "nir"),
    3: ("red", "green", "blue"),
}
"""The usual stacks of unnamed bands."""

_SUPERDOVE = ("coastal", "blue", "band3", "green", "band5", "red", "rededge1", "nir08")

_TOKEN = re.compile(r"(?i)(?:^|[^a-z0-9])b0?(\d{1,2})(a?)(?:[^a-z0-9]|$)")
_LANDSAT_SR = re.compile(r"(?i)(?:^|[^a-z0-9])sr_?b(\d)(?:[^a-z0-9]|$)")


def band_token(text: str) -> str:
    """The band number in a name as ``8A`` or ``2`` (no leading zero); "" where the name holds none."""
    match = _TOKEN.search(text) or _LANDSAT_SR.search(text)
    if not match:
        return ""
    suffix = match[2].upper() if match.re is _TOKEN else ""
    return match[1] + suffix


def is_reflectance(info: RasterInfo, band: int, product: str) -> bool:
    """Whether a band (from 1), judged by its name and colour interpretation, holds reflectance."""
    text = info.descriptions[band - 1].lower()
    words = set(re.split(r"[^a-z0-9]+", text)) | {re.sub(r"[^a-z0-9]+", "", text)}
    if words & NOT_REFLECTANCE:
        # "B9 (water vapour, cirrus mask)" stays a band: a band number outweighs a word that is no product of its own
        return bool(band_token(text)) and not words & {"st", "qa", "thermal", "tirs", "tir", "pan", "panchromatic"}
    token = band_token(text)
    thermal = {"L30": ("10", "11"), "L89": ("8", "10", "11"), "L457": ("6", "8")}.get(product, ())
    return token not in thermal


def named(info: RasterInfo, band: int) -> bool:
    """Whether the name of a band (from 1) is that of a spectral band in any product."""
    return bool(_by_name(info.descriptions[band - 1], "generic", ""))


def unique(roles: list[str]) -> tuple[str, ...]:
    """Each role once; later bands of the same role, and bands of no role, are known by their number."""
    seen: set[str] = set()
    out = []
    for number, name in enumerate(roles, start=1):
        taken = not name or name in seen
        out.append(f"band{number}" if taken else name)
        seen.add(out[-1])
    return tuple(out)


def roles_of(info: RasterInfo, used: tuple[int, ...], sensor: str, product: str) -> tuple[tuple[str, ...], str]:
    """The role of each used band, and a sentence that says how it was found.

    Args:
        used: file bands (from 1) that hold reflectance.
        sensor: one of :data:`bands.SENSORS` but "auto".
        product: key of :data:`TABLES` that says how band numbers are meant, or "".

    Returns:
        Roles in the order of ``used``; ``bandN`` where the role is not known.
    """
    named = [_by_name(info.descriptions[b - 1], sensor, product) for b in used]
    if len(used) == 1 and info.count == 1 and not named[0]:
        named = [_by_name(Path(info.path).stem, sensor, product)]
    if _are_names(info, used, named):
        return unique(named), f"Bands matched by name: {_listing(unique(named))}."
    wavelengths = [info.wavelengths_nm[b - 1] for b in used]
    if any(w is not None for w in wavelengths):
        by_wave = _by_wavelength(wavelengths, sensor)
        if sum(bool(r) for r in by_wave) * 2 >= len(used):
            return unique(by_wave), f"Bands matched by wavelength: {_listing(unique(by_wave))}."
    colours = [c if c in ("red", "green", "blue") else "" for c in (info.colorinterp[b - 1] for b in used)]
    if set(colours) >= {"red", "green", "blue"}:
        if len(used) == 4 and colours.count("") == 1:
            colours[colours.index("")] = _nir(sensor)
        return unique(colours), f"Bands matched by colour interpretation: {_listing(unique(colours))}."
    return _by_count(len(used), sensor)


def _are_names(info: RasterInfo, used: tuple[int, ...], named: list[str]) -> bool:
    """Whether the matched names are names, and not a mere count (B1, B2, B3, B4 of a band list)."""
    found = sum(bool(r) for r in named)
    if not found or found * 2 < len(used):
        return False
    tokens = [band_token(info.descriptions[b - 1]) for b in used]
    counted = tokens == [str(i) for i in range(1, len(used) + 1)]
    padded = any(re.search(r"(?i)b0\d", info.descriptions[b - 1]) for b in used)
    # seven and more bands from B1 on are a product's own list; B1..B4 is also what exporters write for "band 1"
    return not counted or padded or len(used) >= 7 or any("sr_" in info.descriptions[b - 1].lower() for b in used)


def _nir(sensor: str) -> str:
    return "nir08" if sensor in NIR_IS_NARROW else "nir"


def _by_name(text: str, sensor: str, product: str) -> str:
    """Role by band number in the product's table, else by common name; "" where neither is in the text."""
    if not text:
        return ""
    token = band_token(text)
    if token and sensor != "planet":
        role = TABLES.get(product or sensor, S30).get(token, "")
        if role:
            return role
    key = re.sub(r"[^a-z0-9]+", "", text.lower())
    words = [w for w in re.split(r"[^a-z0-9]+", text.lower()) if w]
    for candidate in [key, *("".join(words[i : i + 2]) for i in range(len(words) - 1)), *words]:
        if candidate in COMMON:
            return _nir(sensor) if COMMON[candidate] == "nir" and candidate != "nirbroad" else COMMON[candidate]
    return ""


def _by_wavelength(wavelengths: list[float | None], sensor: str) -> list[str]:
    """Nearest role within half of the role's width or 20 nm, each role once, nearest pairs first."""
    pairs = sorted(
        (abs(nm - role.centre_nm), i, role.name)
        for i, nm in enumerate(wavelengths)
        if nm is not None
        for role in ROLES
        if abs(nm - role.centre_nm) <= max(role.width_nm / 2, 20.0)
    )
    found: dict[int, str] = {}
    for _, i, name in pairs:
        if i not in found and name not in found.values():
            found[i] = name
    return [found.get(i, "") for i in range(len(wavelengths))]


def _by_count(count: int, sensor: str) -> tuple[tuple[str, ...], str]:
    """The usual order of so many unnamed bands."""
    order: tuple[str, ...] | None = BY_COUNT.get(count)
    if sensor == "planet" and count == 8:
        order = _SUPERDOVE
    elif sensor in NIR_IS_NARROW and order and count != 3:
        order = tuple("nir08" if name == "nir" else name for name in order) if count <= 6 else None
    if sensor == "landsat" and count == 7:
        order = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")
    if order is None:
        numbered = tuple(f"band{i}" for i in range(1, count + 1))
        return (
            numbered,
            f"The {count} bands have no names, wavelengths or known count; they are matched by their number.",
        )
    return order, (
        f"The bands have no names; because there are {count}, they are taken as {_listing(order)}. "
        "If that is wrong, write band descriptions into the file."
    )


def _listing(roles: tuple[str, ...]) -> str:
    return ", ".join(roles)
