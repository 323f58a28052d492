"""Looks at a folder, an archive or a file and says what is in it: products of every kind that is known, and the rest.

Order matters: what a product's own metadata says goes before file names, file names before loose band files, those
before what a single raster's bands and numbers suggest. Each finding comes with what gave it away and what is doubtful.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CloudRemovalError
from .bandfiles import read_band_files
from .container import ARCHIVES, Container, open_container
from .crs import grid_of
from .cubes import read_cubes
from .dates import date_of
from .delivery import Delivery
from .hls import read_hls
from .info import RasterInfo, describe
from .landsat import read_landsat
from .masks import recognise_mask
from .planetscope import read_planet
from .products import identify, source_text
from .radar import RadarReader
from .radiometry import recognise
from .safe import read_safe, roots

MOST_RASTERS = 400
"""A folder's single rasters are looked at one by one, up to this many."""

_STANDS_FOR_MORE = re.compile(r"\.(xml|json|txt|html?|csv|zip|tar|tgz|tar\.(gz|bz2))$", re.IGNORECASE)
"""Metadata, which means the product that it lies in, and archives."""

_RASTER = re.compile(r"\.(?:tiff?|jp2|vrt|img|nc)$", re.IGNORECASE)
_MASK = re.compile(r"(?i)(?<![a-z])(mask|scl|fmask|qa_?pixel|qa_?60|udm2?|cloud|clouds|cldprb|msk_)(?![a-z])")
_RADAR = re.compile(r"(?i)(?<![a-z])(vv|vh|hh|hv|s1[abc]?|sentinel-?1|sigma0|gamma0|rtc)(?![a-z])")
_BESIDE_RADAR = re.compile(
    r"(?i)[_-](?:inc_?map(?:_ell)?|(?:local_)?inc(?:idence)?(?:_?angle)?|ls_?map|layover\w*|dem|area|rgb|mask|"
    r"number_of_looks)\.\w+$"
)
"""Maps that radar products bring along: angles, layover and shadow, elevation."""
_PARTS = re.compile(
    r"(?i)GRANULE/|\.SAFE/|_3B_"
    r"|HLS\.[SL]30\.T\w{5}\.\d{7}T\d{6}\.v\d+\.\d+\.(?:B\w{2}|Fmask|[SV][AZ]A)\."
    r"|_L[12]\w{2}_\d{6}_\d{8}_\d{8}_0[12]_\w{2}_(?:SR_|ST_|QA_|B\d|[SV][AZ]A|MTL|ANG|thumb|refl|VER|GCP)"
)
"""Files of products that have readers of their own; a stack that was made of them is none, whatever it is called."""
_OURS = "cloud_removal"
_EARTH_ENGINE = re.compile(
    r"(?i)^\d{8}T\d{6}_\d{8}T\d{6}_T\d{2}[A-Z]{3}|COPERNICUS[_/]S[12]|system:index|earth.?engine"
)
_SENTINEL_HUB = re.compile(r"(?i)sentinel-?hub|\d{4}-\d{2}-\d{2}-\d{2}[:_]\d{2}_.*Sentinel-[12]|^response\.tiff?$")


@dataclass(frozen=True)
class Single:
    """One raster that is no part of a product.

    Attributes:
        path: the file.
        kind: "optical", "radar", "map" (beside radar), "mask" or "unknown".
        product: what it is, for people.
        bands: names of its bands as they were understood.
        date: ISO, '' where not known.
        units: how its numbers are read, in a sentence.
        why, doubts: sentences.
    """

    path: str
    kind: str
    product: str
    bands: tuple[str, ...] = ()
    date: str = ""
    units: str = ""
    why: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What is in a place.

    Attributes:
        path: the folder, archive or file.
        deliveries: products, each with its bands.
        singles: rasters on their own.
        problems: sentences about what could not be read.
    """

    path: str
    deliveries: tuple[Delivery, ...] = ()
    singles: tuple[Single, ...] = ()
    problems: tuple[str, ...] = field(default=())


def look(path: str, *, singles: bool = True, cancelled: Callable[[], bool] = lambda: False) -> Findings:
    """Recognise everything below a path.

    Args:
        path: a folder, a zip or tar archive, a metadata file (its product is meant) or a raster.
        singles: whether rasters that are no part of a product are looked at.
        cancelled: asked between products; what was found until then is returned.

    Raises:
        InputError: the path does not exist or is a damaged archive.
    """
    if _is_lone_raster(path):
        return _lone(path, singles)
    container = open_container(_product_root(path))
    deliveries: list[Delivery] = []
    problems: list[str] = []
    for archive in _archives(container):
        try:
            inner = look(archive, singles=False, cancelled=cancelled)
            deliveries += inner.deliveries
            problems += inner.problems
        except CloudRemovalError as error:
            problems.append(str(error))
    for reader in _readers(container):
        if cancelled():
            break
        try:
            deliveries += reader()
        except CloudRemovalError as error:
            problems.append(str(error))
    taken = frozenset(
        p for d in deliveries for p in (d.path, *(b.path for b in d.planes), *(q.path for q in d.quality))
    )
    rest = [name for name in container.names if _loose(container, name, taken)] if singles else []
    found = [_single(container.gdal(name)) for name in rest[:MOST_RASTERS] if not cancelled()]
    if len(rest) > MOST_RASTERS:
        problems.append(f"There are {len(rest)} more rasters; the first {MOST_RASTERS} were looked at.")
    return Findings(os.path.abspath(path), tuple(deliveries), tuple(found), tuple(problems))


def _archives(container: Container) -> list[str]:
    """Archives that lie in a folder, as hubs deliver them."""
    return [path for name in container.names if name.lower().endswith(ARCHIVES) and (path := container.plain(name))]


def _readers(container: Container) -> list[Callable[[], list[Delivery]]]:
    """One function for each product's metadata, then for each kind of file names."""
    safes = [lambda name=name: read_safe(container, name) for name in roots(container)]
    inside = frozenset(name for name in container.names if "GRANULE/" in name or ".SAFE/" in name)
    return [
        *safes,
        lambda: read_hls(container),
        lambda: read_landsat(container),
        lambda: read_planet(container),
        lambda: read_cubes(container),
        lambda: read_band_files(container, inside | _named(container)),
    ]


def _named(container: Container) -> frozenset[str]:
    """Files whose names belong to a product with a reader of its own."""
    own = re.compile(r"(?i)HLS\.[SL]30\.|L[COTEM]0\d_L[12]\w{2}_|_3B_|(?:^|/)MSK_")
    return frozenset(name for name in container.names if own.search(name))


def _is_lone_raster(path: str) -> bool:
    """Whether a path is a raster meant by itself: a file outside a SAFE, no archive, and no metadata of a product."""
    other = _STANDS_FOR_MORE.search(path) and not _RASTER.search(path)
    return bool(os.path.isfile(path) and not other and ".SAFE" not in os.path.abspath(path))


def _product_root(path: str) -> str:
    """Of a file or folder inside a SAFE, the SAFE."""
    parts = Path(os.path.abspath(path)).parts
    for index, part in enumerate(parts):
        if part.upper().endswith(".SAFE"):
            return str(Path(*parts[: index + 1]))
    return path


def _lone(path: str, singles: bool) -> Findings:
    """A raster: the product that it is a file of, where its name says so; else itself."""
    container = open_container(path)
    for reader in (read_planet, read_hls, read_landsat, read_cubes):
        try:
            own = [delivery for delivery in reader(container) if _belongs(path, delivery)]
            if own:
                return Findings(os.path.abspath(path), tuple(own))
        except CloudRemovalError:
            continue  # another product of the folder is damaged; the raster itself is described below
    return Findings(os.path.abspath(path), (), (_single(path),) if singles else ())


def _belongs(path: str, delivery: Delivery) -> bool:
    """Whether a file is the product, or holds one of its bands."""
    own = os.path.abspath(path)
    return own == delivery.path or own in [plane.path for plane in delivery.planes]


def _loose(container: Container, name: str, taken: frozenset[str]) -> bool:
    """Whether a file is a raster that no product claims (previews and products' own files are claimed)."""
    ours = container.gdal(name) in taken or _PARTS.search(name)
    return bool(_RASTER.search(name)) and not ours


def _single(path: str) -> Single:
    """One raster by its name, bands and numbers."""
    try:
        info = describe(path)
    except CloudRemovalError as error:
        return Single(path, "unknown", "not readable", doubts=(str(error),))
    words = " ".join([info.name, *info.descriptions])
    try:
        if _RADAR.search(words) and not re.search(r"(?i)S2|sentinel-?2", info.name):
            if _BESIDE_RADAR.search(info.name):
                return Single(path, "map", "map beside radar, no backscatter (angles, elevation)", date=_date(info))
            return _radar(info)
        if _MASK.search(words) and info.count <= 3:
            return _mask(info)
        return _optical(info)
    except CloudRemovalError as error:
        return Single(path, "unknown", "not usable as it is", _names(info), _date(info), doubts=(str(error),))


def _date(info: RasterInfo) -> str:
    found = date_of(info)
    return found.isoformat() if found else ""


def _names(info: RasterInfo) -> tuple[str, ...]:
    return tuple(text or f"band {number}" for number, text in enumerate(info.descriptions, start=1))


def _radar(info: RasterInfo) -> Single:
    with RadarReader(info, grid_of(info)) as reader:
        notes = [note.split(": ", 1)[-1] for note in reader.notes]
        bands = tuple(
            f"{name}{f' {found.day}' if found.day else ''}"
            for found in reader.acquisitions
            for name, band in (("VV", found.vv), ("VH", found.vh))
            if band
        )
        unit = reader.unit.kind
    doubts = tuple(note for note in notes if "taken as" in note or "may be" in note or "If it is" in note)
    return Single(info.path, "radar", "radar backscatter", bands, _date(info), unit, tuple(notes), doubts)


def _mask(info: RasterInfo) -> Single:
    kind = recognise_mask(info)
    return Single(
        info.path, "mask", f"mask ({kind.name})", _names(info), _date(info), "", (kind.note,) if kind.note else ()
    )


def _optical(info: RasterInfo) -> Single:
    found = recognise(info)
    product = identify(info)
    doubts = [sentence.split(": ", 1)[-1] for sentence in found.warnings]
    if not info.crs_wkt:
        doubts.append("It has no coordinate reference system.")
    if not _date(info):
        doubts.append("No acquisition date is in its name or tags.")
    why = tuple(note.split(": ", 1)[-1] for note in found.notes if note not in found.warnings)
    units = f"reflectance = {found.in_words()}"
    label = f"{_source(info)}{product.sensor} {found.level}".strip()
    return Single(info.path, "optical", label, found.bands, _date(info), units, why, tuple(doubts))


def _source(info: RasterInfo) -> str:
    """Who exported the raster, where its name, bands or tags tell."""
    text, names = source_text(info), set(info.descriptions)
    if any(key.startswith("CLOUD_REMOVAL") for key in info.tags):
        return "a stack of this plugin, "
    if _EARTH_ENGINE.search(info.name) or _EARTH_ENGINE.search(text) or names & {"QA60", "MSK_CLDPRB"}:
        return "Earth Engine export, "
    if _SENTINEL_HUB.search(info.name) or _SENTINEL_HUB.search(text):
        return "Sentinel Hub export, "
    # names without the leading zero are Earth Engine's way, but others write them, too
    unpadded = {"B2", "B3", "B4"} <= names and bool(names & {"B8A", "B11", "B5"})
    return "bands named as by Earth Engine, " if unpadded else ""


def sun_text(delivery: Delivery) -> str:
    """Where the sun stood, in words; '' where it is not known."""
    sun = delivery.sun
    if sun.azimuth is None or sun.elevation is None:
        return ""
    return f"azimuth {sun.azimuth:.1f}, elevation {sun.elevation:.1f} degrees"
