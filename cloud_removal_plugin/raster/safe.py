"""Sentinel-2 products as ESA delivers them: SAFE folders, L1C and L2A, of every processing baseline.

The layout is that of the Sentinel-2 Products Specification Document: ``MTD_MSIL1C.xml`` (or ``MTD_MSIL2A.xml``) beside
``GRANULE/<granule>/IMG_DATA``, with ``MTD_TL.xml`` and ``QI_DATA`` in each granule. Products before December 2016 hold
several granules and longer names. How numbers become reflectance stands there too: (DN + offset) / quantification; the
offset came with baseline 04.00.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import PurePosixPath

from ..bands import SENTINEL2_NAMES, role
from ..errors import InputError
from . import leaves
from .container import Container
from .delivery import Delivery, Plane, QualityLayer
from .sun import Sun

BAND_IDS: tuple[str, ...] = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip
"""Names by the number that metadata calls ``band_id``; L2A counts all thirteen as well."""

METADATA = re.compile(r"(?:^|/)(?:MTD_MSIL(?:1C|2A)|S2._[A-Z]+_MTD_SAFL(?:1C|2A)_[^/]*)\.xml$")
_GRANULE = re.compile(r"^(.*?GRANULE/[^/]+)/")
_BAND = re.compile(r"_(B\d{2}|B8A)(?:_(\d{2})m)?\.jp2$")
_TILE = re.compile(r"(?:^|_)T(\d{2}[A-Z]{3})(?:_|$)")
_SATURATED = 65535.0
_OFFSET_FROM = 4
"""Processing baseline (major number) from which numbers hold an offset."""

_TEST_BASELINE = 99


def roots(container: Container) -> list[str]:
    """Paths of the product metadata files, one a SAFE product."""
    return [name for name in container.names if METADATA.search(name)]


def read_safe(container: Container, metadata: str) -> list[Delivery]:
    """One delivery for every granule of a product.

    Args:
        container: holds the product.
        metadata: name of its metadata file, from :func:`roots`.

    Raises:
        InputError: the metadata is cut, or the product holds no image.
    """
    text = container.text(metadata)
    base = metadata[: -len(PurePosixPath(metadata).name)]
    level = "L2A" if re.search(r"(?:MSI|SAF)L2A", PurePosixPath(metadata).name) else "L1C"
    name = leaves.first(text, "PRODUCT_URI_2A", "PRODUCT_URI", "PRODUCT_URI_1C") or _folder_name(container, base)
    if not name.endswith(".SAFE") and _folder_name(container, base).endswith(".SAFE"):
        name = _folder_name(container, base)
    files = [entry for entry in container.names if entry.startswith(base)]
    granules = sorted({match[1] for entry in files if (match := _GRANULE.match(entry))})
    if not granules:
        raise InputError(f"The Sentinel-2 product '{name}' holds no GRANULE folder with images. Fetch it again.")
    offsets = _offsets(text, level, name)
    return [_granule(container, granule, files, text, level, name, offsets) for granule in granules]


def _folder_name(container: Container, base: str) -> str:
    return PurePosixPath(base.rstrip("/")).name if base else container.name


def _offsets(text: str, level: str, name: str) -> tuple[float, dict[str, float], tuple[str, ...]]:
    """Quantification, offset in DN of each band, and doubts.

    Raises:
        InputError: the metadata ends before the quantification.
    """
    tags = "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"
    quantification = leaves.number(text, *tags)
    if not quantification:
        raise InputError(
            f"The metadata of the Sentinel-2 product '{name}' lacks its QUANTIFICATION_VALUE; the file is cut. "
            "Fetch the product again."
        )
    tag = "BOA_ADD_OFFSET" if level == "L2A" else "RADIO_ADD_OFFSET"
    offsets = {}
    for attributes, inner in leaves.blocks(text, tag):
        number = attributes.get("band_id", "")
        if number.isdigit() and int(number) < len(BAND_IDS):
            offsets[BAND_IDS[int(number)]] = float(inner)
    major = _major(baseline_of(text, name))
    doubts: tuple[str, ...] = ()
    if not offsets and major is not None and _OFFSET_FROM <= major < _TEST_BASELINE:
        offsets = dict.fromkeys(BAND_IDS, -1000.0)
        doubts = (
            f"The metadata names baseline {baseline_of(text, name)} but no {tag}; -1000 was assumed, as that baseline "
            "has it.",
        )
    return quantification, offsets, doubts


def baseline_of(text: str, name: str) -> str:
    """Processing baseline like "05.11", from the metadata, else from the product's name; '' where neither says it."""
    found = leaves.first(text, "PROCESSING_BASELINE")
    if found:
        return found
    match = re.search(r"_N(\d{2})(\d{2})_", name)
    return f"{match[1]}.{match[2]}" if match else ""


def _major(baseline: str) -> int | None:
    head = baseline.split(".")[0]
    return int(head) if head.isdigit() else None


def _granule(
    container: Container,
    granule: str,
    files: list[str],
    text: str,
    level: str,
    name: str,
    calibration: tuple[float, dict[str, float], tuple[str, ...]],
) -> Delivery:
    quantification, offsets, doubts = calibration
    own = [entry for entry in files if entry.startswith(granule + "/")]
    tile_text = next((container.text(entry) for entry in own if re.search(r"MTD_TL\.xml$|_MTD_L[12]._TL_", entry)), "")
    if not tile_text:
        doubts = (*doubts, "The granule has no MTD_TL.xml, so the sun's angles are not known.")
    order = sorted(_finest(own).items(), key=lambda item: BAND_IDS.index(item[0]))
    scale = 1 / quantification
    planes = [_plane(text, band, container.gdal(entry), scale, offsets.get(band, 0.0) * scale) for band, entry in order]
    expected = tuple(band for band in BAND_IDS if level == "L1C" or band != "B10")
    tile = _TILE.search(PurePosixPath(granule).name) or _TILE.search(name)
    orbit = re.search(r"_R(\d{3})_", name)
    return Delivery(
        product=f"Sentinel-2 {level} (SAFE)", name=name, path=_place(container, granule), sensor="sentinel2",
        level=level, platform=leaves.first(text, "SPACECRAFT_NAME"), tile=tile[1] if tile else "",
        baseline=baseline_of(text, name), orbit=orbit[1] if orbit else leaves.first(text, "SENSING_ORBIT_NUMBER"),
        when=_when(tile_text, text, name), planes=tuple(planes), expected=expected, quality=_quality(container, own),
        sun=_sun(tile_text), why=(f"its metadata file is that of a Sentinel-2 {level} product",), doubts=doubts,
    )  # fmt: skip


def _place(container: Container, granule: str) -> str:
    """Path of the product that a granule belongs to: its folder, or the archive."""
    base = granule.split("GRANULE/", 1)[0].rstrip("/")
    return container.plain(base) or container.root if base else container.root


def _plane(text: str, band: str, path: str, scale: float, offset: float) -> Plane:
    return Plane(SENTINEL2_NAMES[_short(band)], band, path, 1, scale, offset, 0.0, _SATURATED, *_wavelength(text, band))


def _short(band: str) -> str:
    """ "B02" to "B2", as :mod:`bands` calls it."""
    return "B" + band[1:].lstrip("0")


def _finest(files: list[str]) -> dict[str, str]:
    """The finest file of each band: L2A delivers coarser copies beside the native one."""
    found: dict[str, tuple[int, str]] = {}
    for entry in files:
        match = _BAND.search(entry)
        if match and "/IMG_DATA/" in entry and match[1] in BAND_IDS:
            candidate = (int(match[2] or 0), entry)
            found[match[1]] = min(candidate, found.get(match[1], candidate))
    return {band: entry for band, (_, entry) in found.items()}


def _wavelength(text: str, band: str) -> tuple[float, float]:
    """Centre and width in nm: the platform's centre where the metadata tells it, else that of the first satellite."""
    known = role(SENTINEL2_NAMES[_short(band)])
    width = known.width_nm if known else 0.0
    for attributes, inner in leaves.blocks(text, "Spectral_Information"):
        if attributes.get("physicalBand") == _short(band):
            centre = leaves.number(inner, "CENTRAL")
            if centre:
                return centre, width
    return (known.centre_nm if known else 0.0), width


def _when(tile_text: str, text: str, name: str) -> datetime | None:
    """Sensing time: of the datatake, so that all granules of a pass share it; else of the granule."""
    for found in (
        leaves.first(text, "DATATAKE_SENSING_START", "PRODUCT_START_TIME"),
        leaves.first(tile_text, "SENSING_TIME"),
    ):
        match = re.match(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})", found)
        if match:
            return datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
    stamp = re.search(r"_(\d{8}T\d{6})_", name)
    return datetime.strptime(stamp[1], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc) if stamp else None


def _sun(tile_text: str) -> Sun:
    inner = leaves.first(tile_text, "Mean_Sun_Angle")
    zenith = leaves.number(inner, "ZENITH_ANGLE")
    return Sun(leaves.number(inner, "AZIMUTH_ANGLE"), None if zenith is None else 90.0 - zenith)


def _quality(container: Container, files: list[str]) -> tuple[QualityLayer, ...]:
    """Scene classification, cloud probability, and the masks of the level-1 processor, old (GML) or new (raster)."""
    patterns = (
        (r"/IMG_DATA/.*_SCL(?:_20m)?\.jp2$", "scl", (1,)),
        (r"/IMG_DATA/.*_SCL_60m\.jp2$", "scl", (1,)),
        (r"/QI_DATA/(?:.*_)?MSK_CLASSI_B00\.jp2$", "classi", (1, 2, 3)),
        (r"/QI_DATA/(?:.*_)?MSK_CLDPRB_20m\.jp2$", "percent", (1,)),
        (r"/QI_DATA/(?:.*_)?MSK_CLDPRB_60m\.jp2$", "percent", (1,)),
    )
    found: list[QualityLayer] = []
    for pattern, kind, bands in patterns:
        match = next((entry for entry in files if re.search(pattern, entry)), None)
        if match and all(layer.kind != kind for layer in found):
            found.append(QualityLayer(kind, container.gdal(match), bands))
    gml = next((entry for entry in files if re.search(r"/QI_DATA/(?:.*_)?MSK_CLOUDS_.*B00.*\.gml$", entry)), None)
    if gml:
        found.append(QualityLayer("gml", container.text(gml)))
    return tuple(found)
