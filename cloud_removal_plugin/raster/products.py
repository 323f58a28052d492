"""Which sensor and product a raster comes from: file names, metadata and band names say it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .bandnames import BY_COUNT, band_token
from .dates import date_of
from .info import RasterInfo

_HLS = re.compile(r"(?i)(?<![a-z0-9])HLS[._\-]?([SL]30)?")
_LANDSAT = re.compile(r"(?i)(?<![a-z0-9])L([COTEM])0?([4-9])(?:_L([12])|(?![a-z0-9]))|landsat")
_MODIS = re.compile(r"(?i)(?<![a-z0-9])(?:M[OY]D09|MCD43A4|VNP09)|sur_refl_b0\d")
_NEWER_LANDSAT = re.compile(r"(?i)\bST_B10\b|\bB1[01]\b|QA_AEROSOL")
_OLDER_LANDSAT = re.compile(r"(?i)\bST_B6\b|\bB6_VCID|ATMOS_OPACITY|SR_CLOUD_QA")
_PLANET = re.compile(r"(?i)analyticms|psscene|superdove|(?<![a-z])planet")
_SENTINEL2 = re.compile(
    r"(?i)sentinel[-_ ]?2|(?<![a-z0-9])s2[abcd]?(?:_msi|l[12][ac]|hand|[_\-.]|$)"
    r"|(?<![a-z0-9])T\d{2}[A-Z]{3}_\d{8}T\d{6}"
)
_L1C = re.compile(r"(?i)MSIL1C|S2MSI1C|(?<![a-z0-9])(?:S2)?L1C(?![a-z0-9])|COPERNICUS/S2(?:_HARMONIZED)?(?![_A-Z])")
_L2A = re.compile(r"(?i)MSIL2A|S2MSI2A|(?<![a-z0-9])(?:S2)?L2A(?![a-z0-9])|S2_SR|sentinel-2-(?:c1-)?l2a")
_BASELINE_NAME = re.compile(r"(?i)MSIL[12][AC]_\d{8}T\d{6}_N(\d{2})(\d{2})_")
_PLATFORM_KEYS = (
    "spacecraft",
    "satellite",
    "platform",
    "mission",
    "product",
    "sensor",
    "collection",
    "instrument",
    "constellation",
)


@dataclass(frozen=True)
class Product:
    """Where a raster comes from.

    Attributes:
        sensor: "sentinel2", "landsat", "hls", "planet" or "generic".
        table: how band numbers are meant (key of :data:`bandnames.TABLES`), or "".
        level: "L1C" or "L2A" for Sentinel-2 where known, else "".
        evidence: what gave the sensor away, for the log.
        doubt: a sentence about what the analyst should check, "" where nothing is open.
    """

    sensor: str
    table: str = ""
    level: str = ""
    evidence: str = ""
    doubt: str = ""


SOURCE_TAG = "SOURCE_PRODUCT"
"""In what is made of a raster: its name, with the product's folders."""


def source_text(info: RasterInfo) -> str:
    """File name, product folders above it, and the tags that name a product."""
    named = [v for k, v in info.tags.items() if any(word in k.lower() for word in _PLATFORM_KEYS)]
    return " | ".join([*_names(info), *named])


def _names(info: RasterInfo) -> list[str]:
    parts = Path(info.path.replace('"', "")).parts
    above = [p for p in parts[-6:-1] if re.search(r"(?i)\.SAFE|^HLS\.|^L[COTEM]0\d_|_3B_|PSScene|^S2[ABCD]_", p)]
    return [*parts[-1:], *above]


def handed_on(info: RasterInfo) -> dict[str, str]:
    """Tags of a raster with what else its name tells: a copy may be called anything and is of the same product and day.

    Band numbers mean different things in different products, so a copy whose product is forgotten is misread.
    """
    day = date_of(info)
    own = {SOURCE_TAG: " ".join(_names(info)), **({"ACQUISITION_DATE": day.isoformat()} if day else {})}
    known = {key.lower() for key in info.tags}
    return {**info.tags, **{key: value for key, value in own.items() if key.lower() not in known}}


def identify(info: RasterInfo, sensor: str = "auto") -> Product:
    """The product of a raster.

    Args:
        sensor: what the analyst chose; "auto" looks for it.
    """
    text = source_text(info)
    tokens = [band_token(d) for d in info.descriptions]
    found, evidence = (sensor, "chosen") if sensor != "auto" else _sensor(info, text, tokens)
    if found == "hls":
        return Product(found, _hls_table(info, text), "", evidence)
    if found == "landsat":
        table = _landsat_table(info, text, tokens)
        return Product(found, table or "L89", "", evidence, "" if table or not any(tokens) else _WHICH_LANDSAT)
    if found == "sentinel2":
        return Product(found, "sentinel2", _level(info, text, tokens), evidence)
    return Product(found, "MODIS" if evidence == _IS_MODIS else "", "", evidence)


_IS_MODIS = "MODIS or VIIRS by its name or bands"
_WHICH_LANDSAT = (
    "Nothing says of which Landsat it is; the band numbers are taken as those of Landsat 8 and 9, where B4 is red and "
    "B5 near infrared (of Landsat 4 to 7: B3 and B4). If that is wrong, write LT05 or LE07 into the file's name, as "
    "LT05_190031_20040501."
)


def _sensor(info: RasterInfo, text: str, tokens: list[str]) -> tuple[str, str]:
    """Sensor by name and metadata first, then by band names, then by the number of bands."""
    for pattern, sensor in ((_HLS, "hls"), (_LANDSAT, "landsat"), (_PLANET, "planet"), (_SENTINEL2, "sentinel2")):
        match = pattern.search(text)
        if match:
            return sensor, f"'{match[0].strip('._- ')}' in its name or metadata"
    lower = " ".join(info.descriptions).lower()
    if _MODIS.search(f"{info.name} {lower}"):
        return "generic", _IS_MODIS
    if "coastal_blue" in lower or "green_i" in lower:
        return "planet", "its band names"
    if re.search(r"\bsr_b\d", lower):
        return "landsat", "its band names"
    padded = any(re.search(r"(?i)(?:^|[^a-z0-9])b0[1-9]", d) for d in info.descriptions)
    if {"8A", "11", "12", "8"} & set(tokens) or padded:
        return "sentinel2", "its band names"
    if not any(tokens) and info.count in (13, 12, 10) and BY_COUNT.get(info.count):
        return "sentinel2", f"its {info.count} bands"
    return "generic", "nothing in its name, metadata or bands"


def _hls_table(info: RasterInfo, text: str) -> str:
    match = _HLS.search(text)
    if match and match[1]:
        return match[1].upper()
    return "L30" if re.search(r"(?i)\bL30\b|landsat", " ".join([text, *info.tags.values()])) else "S30"


def _landsat_table(info: RasterInfo, text: str, tokens: list[str]) -> str:
    """Which Landsat's band numbers, "" where neither name nor bands tell."""
    match = _LANDSAT.search(text)
    if match and match[2]:
        return "L89" if match[2] in "89" else "L457"
    numbered = re.search(
        r"(?i)(?:landsat[-_ ]?|(?<![a-z0-9])L[COTEM]0)([4-9])(?![0-9])", " ".join([text, *info.tags.values()])
    )
    if numbered:
        return "L89" if numbered[1] in "89" else "L457"
    names = " ".join(info.descriptions)
    if _OLDER_LANDSAT.search(names) or _NEWER_LANDSAT.search(names):
        return "L457" if _OLDER_LANDSAT.search(names) else "L89"
    if "6" in tokens:
        return "L89"  # thermal in the older ones, which Level 2 calls ST_B6
    # Landsat 4 to 7 deliver SR_B1..B5 and B7: six bands without a B6
    return "L457" if "1" in tokens and "7" in tokens else ""


def _level(info: RasterInfo, text: str, tokens: list[str]) -> str:
    """Processing level of a Sentinel-2 raster by its name; else by the cirrus band, which only L1C delivers."""
    everything = " ".join([text, *info.tags.values()])
    if _L2A.search(everything):
        return "L2A"
    if _L1C.search(everything) or "10" in tokens:
        return "L1C"
    if not any(tokens):
        return {13: "L1C", 12: "L2A"}.get(info.count, "")
    return "L2A" if info.count >= 12 else ""


def landsat_level(info: RasterInfo) -> str:
    """ "L2" (surface reflectance), "L1" (top of atmosphere) or "C1" (Collection 1 integers) of a Landsat raster."""
    text = source_text(info)
    match = _LANDSAT.search(text)
    if match and not match[3] and match[2] and re.search(r"(?i)(?:^| )B\d", " ".join(info.descriptions)):
        return "L1"  # Earth Engine's images are called LC08_190031_20140501 at any level; B4 is not SR_B4
    if re.search(r"_01_(T1|T2|RT)(_|\.|$)", text) or info.dtype == "int16":
        return "C1"
    return "L1" if match and match[3] == "1" else "L2"


def declared_offset(info: RasterInfo) -> tuple[float | None, str]:
    """The Sentinel-2 offset in DN that metadata declares, and where it stands; None where nothing is said.

    Sources: ``BOA_ADD_OFFSET`` / ``RADIO_ADD_OFFSET`` tags, the processing baseline (04.00 and later carry +1000,
    whatever the acquisition date), harmonised collections, and a GDAL band offset in DN.
    """
    for tags in (info.tags, *info.band_tags):
        for key, value in tags.items():
            if re.search(r"(?i)(BOA|RADIO)_?ADD_?OFFSET", key):
                number = re.search(r"-?\d+(?:\.\d+)?", value)
                if number:
                    return float(number[0]), f"the tag {key}"
    text = " ".join([source_text(info), *(v for k, v in info.tags.items() if "uri" in k.lower() or "id" in k.lower())])
    if re.search(r"(?i)harmoni[sz]ed", text):
        return 0.0, "the harmonised collection"
    if info.scales[0] == 1.0 and info.offsets[0] == -1000.0:
        return -1000.0, "the band offset"
    for key, value in info.tags.items():
        number = re.search(r"(\d{1,2})\.(\d{2})", value) if "baseline" in key.lower() else None
        if number:
            return _offset_of_baseline(int(number[1])), f"processing baseline {number[0]}"
    match = _BASELINE_NAME.search(" ".join([info.path, text]))
    if match:
        return _offset_of_baseline(int(match[1])), f"processing baseline {match[1]}.{match[2]}"
    return None, ""


def _offset_of_baseline(major: int) -> float:
    # 99.99 is ESA's baseline of test products; 04.00 (2022-01-25) brought the offset
    return -1000.0 if 4 <= major < 99 else 0.0
