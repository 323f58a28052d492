"""What a Zarr store says of itself, and its arrays as virtual rasters that GDAL's Zarr driver reads.

A store is a folder or a zip file of JSON texts and chunks (Zarr versions 2 and 3; dimension names and CF attributes as
xarray writes them). The texts tell everything but numbers; GDAL decodes the chunks. GDAL's driver knows neither CF grid
mappings nor rasters of more than two dimensions, so each variable becomes a virtual raster (VRT) with one band a
date and the place that the texts tell. Version 3 as it was agreed on is read by recent drivers only (3.10 does not): a
folder of it is shown to them as one of version 2, by links to the chunks.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from ..errors import InputError
from .container import Container
from .crs import units
from .grid import Grid
from .info import describe, opened
from .stack import VirtualBand, write_vrt

UNEVEN = 1e-3
"""Share of a pixel by which coordinates may be off an even grid."""


@dataclass(frozen=True)
class Array:
    """One array of a store: its place in it, its shape, the names of its dimensions, its attributes."""

    key: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    attributes: Mapping[str, Any]
    fill: float | None
    text: Mapping[str, Any]


@dataclass(frozen=True)
class Store:
    """A store: where it lies ('' = the container itself), its version, its own attributes, and its arrays by key."""

    container: Container
    root: str
    version: int
    attributes: Mapping[str, Any]
    arrays: Mapping[str, Array]

    @property
    def path(self) -> str:
        """What GDAL opens, without the driver's prefix."""
        return self.container.gdal(self.root).rstrip("/")

    @property
    def name(self) -> str:
        """For messages."""
        return PurePosixPath(self.root or self.container.root).name


def roots(container: Container) -> list[str]:
    """Folders of a container that are stores, '' = itself; groups inside a store are no stores of their own."""
    marks = (".zmetadata", ".zgroup", "zarr.json")
    found = sorted({str(PurePosixPath(n).parent) for n in container.names if PurePosixPath(n).name in marks})
    found = ["" if folder == "." else folder for folder in found]
    return [f for f in found if not any(o != f and (not o or f.startswith(f"{o}/")) for o in found)]


def read_store(container: Container, root: str) -> Store:
    """The texts of a store.

    Raises:
        InputError: they cannot be read.
    """
    prefix = f"{root}/" if root else ""
    names = {name.removeprefix(prefix) for name in container.names if name.startswith(prefix)}
    third = "zarr.json" in names

    def text(name: str) -> dict[str, Any]:
        try:
            found = json.loads(container.text(prefix + name)) if name in names else {}
            if not isinstance(found, dict):
                raise ValueError("no object")
        except ValueError as error:
            label = PurePosixPath(root or container.root).name
            raise InputError(
                f"'{name}' of the Zarr store '{label}' cannot be read ({error}). Fetch or export it again."
            ) from error
        return found

    if third:
        keys = [n.removesuffix("/zarr.json") for n in names if n.endswith("/zarr.json")]
        texts = {key: text(f"{key}/zarr.json") for key in sorted(keys)}
        arrays = {key: _third(key, found) for key, found in texts.items() if found.get("node_type") == "array"}
        return Store(container, root, 3, text("zarr.json").get("attributes", {}), arrays)
    keys = sorted(n.removesuffix("/.zarray") for n in names if n.endswith("/.zarray"))
    arrays = {key: _second(key, text(f"{key}/.zarray"), text(f"{key}/.zattrs")) for key in keys}
    return Store(container, root, 2, text(".zattrs"), arrays)


def _second(key: str, text: dict[str, Any], attributes: dict[str, Any]) -> Array:
    dims = tuple(str(name) for name in attributes.get("_ARRAY_DIMENSIONS", ()))
    return Array(key, tuple(text.get("shape", ())), dims, attributes, _fill(text, attributes), text)


def _third(key: str, text: dict[str, Any]) -> Array:
    attributes = text.get("attributes", {})
    dims = tuple(str(name) for name in text.get("dimension_names") or ())
    return Array(key, tuple(text.get("shape", ())), dims, attributes, _fill({}, attributes), text)


def _fill(text: dict[str, Any], attributes: dict[str, Any]) -> float | None:
    """The number that means "no data"; version 3 keeps it apart from what unwritten chunks hold."""
    for value in (attributes.get("_FillValue"), text.get("fill_value")):
        if value == "NaN":
            return float("nan")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None


def coordinate(store: Store, key: str) -> np.ndarray:
    """The numbers of an array of one dimension.

    Raises:
        InputError: they cannot be read.
    """
    with opened(f'ZARR:"{_readable(store)}":/{key}') as source:
        return source.read(1).ravel()


def crs_of(store: Store, array: Array) -> str:
    """WKT of the CRS that an array or its store names, '' = none."""
    mapping = store.arrays.get(str(array.attributes.get("grid_mapping", "")))
    named = [mapping] if mapping else [one for one in store.arrays.values() if "crs_wkt" in one.attributes]
    own = array.attributes.get("_CRS", {})
    candidates = [
        *(one.attributes.get(key) for one in named for key in ("crs_wkt", "spatial_ref")),
        *(own.get(key) for key in ("wkt", "projjson") if isinstance(own, dict)),
        *(store.attributes.get(key) for key in ("crs", "proj:code", "proj:epsg", "crs_wkt", "spatial_ref")),
    ]
    for value in candidates:
        try:
            if value:
                return CRS.from_user_input(value).to_wkt()
        except (CRSError, ValueError, TypeError):
            continue  # another place may tell it
    return ""


def grid_of(store: Store, array: Array) -> Grid:
    """Where the last two dimensions of an array lie.

    Raises:
        InputError: no CRS, no coordinates, or uneven ones.
    """
    wkt = crs_of(store, array)
    rows, cols = array.dims[-2:] if len(array.dims) > 1 else ("", "")
    if not wkt or rows not in store.arrays or cols not in store.arrays:
        raise InputError(
            f"The Zarr store '{store.name}' does not tell where its pixels lie (coordinates y and x, and a grid "
            "mapping with 'crs_wkt', as rioxarray writes them). Export it again."
        )
    (y, dy), (x, dx) = (_even(store, key) for key in (rows, cols))
    degrees, metres = units(wkt)
    return Grid(wkt, (dx, 0.0, x - dx / 2, 0.0, dy, y - dy / 2), array.shape[-1], array.shape[-2], degrees, metres)


def _even(store: Store, key: str) -> tuple[float, float]:
    """First coordinate and step."""
    values = coordinate(store, key).astype(np.float64)
    step = float((values[-1] - values[0]) / max(len(values) - 1, 1))
    apart = np.abs(values - values[0] - step * np.arange(len(values))).max()
    if not step or apart > UNEVEN * abs(step):
        raise InputError(
            f"The coordinates '{key}' of the Zarr store '{store.name}' are no even grid of at least two pixels. "
            "Resample it."
        )
    return float(values[0]), step


def as_raster(store: Store, array: Array) -> str:
    """A virtual raster of an array (dates, y, x), one band a date; returns its path.

    Raises:
        InputError: GDAL cannot open the array, or nothing tells where it lies.
        OutputError: no room for temporary files.
    """
    readable = _readable(store)
    parts = [f'ZARR:"{readable}":/{array.key}:{number}' for number in range(array.shape[0])]
    info = describe(parts[0])
    scale = float(array.attributes.get("scale_factor", 1.0))
    offset = float(array.attributes.get("add_offset", 0.0))
    bands = [VirtualBand(part, 1, info.dtype, "", array.fill, scale, offset) for part in parts]
    path = _folder_for(store) / f"{array.key.replace('/', '_')}.vrt"
    write_vrt(path, grid_of(store, array), bands, {}, relative=False)
    return str(path)


@cache
def _scratch() -> Path:
    """A folder for virtual rasters, until this process ends."""
    path = tempfile.mkdtemp(prefix="cloud-removal-cubes-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def _folder_for(store: Store) -> Path:
    stem = store.name.removesuffix(".zip").removesuffix(".zarr")
    folder = _scratch() / hashlib.sha256(store.path.encode()).hexdigest()[:12] / stem
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _readable(store: Store) -> str:
    """Path of the store for GDAL, or of a view of it that this GDAL reads.

    Raises:
        InputError: this GDAL cannot read it.
    """
    if store.version == 2:
        return store.path
    texts: dict[str, dict[str, Any] | str] = {}
    reason = "it is a zip file" if store.path.startswith("/vsi") else ""
    if not reason:
        texts = {key: _as_second(array) for key, array in store.arrays.items()}
        reason = next((text for text in texts.values() if isinstance(text, str)), "")
    if reason and _opens(store):
        return store.path
    if reason:
        raise InputError(
            f"The Zarr store '{store.name}' is of version 3, and {reason}, which GDAL {rasterio.__gdal_version__} "
            "cannot read. Unpack it if it is a zip file; else export it as version 2 (xarray: zarr_format=2) or as "
            "NetCDF."
        )
    view = _folder_for(store) / "as_version_2.zarr"
    view.mkdir(exist_ok=True)
    (view / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
    for key, text in texts.items():
        _show(Path(store.path) / key / "c", view / key, store.arrays[key], text)
    return str(view)


def _opens(store: Store) -> bool:
    """Whether this GDAL reads the store itself: its arrays of one dimension, which say where and when."""
    keys = [key for key, array in store.arrays.items() if len(array.shape) == 1]
    try:
        for key in keys:
            with opened(f'ZARR:"{store.path}":/{key}') as source:
                source.read(1)
    except (InputError, RasterioError):
        return False
    return bool(keys)


def _show(chunks: Path, target: Path, array: Array, text: dict[str, Any] | str) -> None:
    """One array of a view: its text, and links to its chunks."""
    target.mkdir(parents=True, exist_ok=True)
    (target / ".zarray").write_text(json.dumps(text), encoding="utf-8")
    (target / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": array.dims}), encoding="utf-8")
    for chunk in chunks.iterdir() if chunks.is_dir() else ():
        link = target / chunk.name
        if not link.is_symlink():
            os.symlink(chunk.resolve(), link, target_is_directory=chunk.is_dir())


def _as_second(array: Array) -> dict[str, Any] | str:
    """The text of an array of version 3 as version 2 has it, or why it has no such."""
    text = array.text
    codecs = [(c.get("name"), c.get("configuration", {})) for c in text.get("codecs", ())]
    grid, keys = text.get("chunk_grid", {}), text.get("chunk_key_encoding", {})
    plain = [(name, own) for name, own in codecs if name not in ("bytes", "crc32c")]
    separator = keys.get("configuration", {}).get("separator", "/")
    if not array.shape:  # grid mappings hold no pixels
        plain, grid = [], {"name": "regular", "configuration": {"chunk_shape": []}}
    if any(name == "crc32c" for name, _ in codecs) or len(plain) > 1 or (plain and plain[0][0] not in _CODECS):
        return f"'{array.key}' is encoded with {', '.join(name for name, _ in codecs)}"
    if grid.get("name") != "regular" or keys.get("name") != "default" or separator != "/":
        return f"the chunks of '{array.key}' have names or shapes of another kind"
    dtype = np.dtype(str(text.get("data_type", "float32"))) if str(text.get("data_type")) in _DTYPES else None
    if dtype is None:
        return f"'{array.key}' holds {text.get('data_type')}"
    big = any(name == "bytes" and own.get("endian") == "big" for name, own in codecs)
    return {
        "zarr_format": 2, "shape": list(array.shape), "chunks": list(grid["configuration"]["chunk_shape"]),
        "dtype": dtype.newbyteorder(">" if big else "<").str, "order": "C", "filters": None, "dimension_separator": "/",
        "fill_value": text.get("fill_value", 0), "compressor": _CODECS[plain[0][0]](plain[0][1]) if plain else None,
    }  # fmt: skip


_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
_CODECS: dict[str, Any] = {
    "gzip": lambda own: {"id": "gzip", "level": own.get("level", 5)},
    "zstd": lambda own: {"id": "zstd", "level": own.get("level", 0)},
    "blosc": lambda own: {
        "id": "blosc", "cname": own.get("cname", "lz4"), "clevel": own.get("clevel", 5),
        "blocksize": own.get("blocksize", 0), "shuffle": _SHUFFLES.get(own.get("shuffle", "shuffle"), 1),
    },
}  # fmt: skip
"""Codecs of version 3 by their name, as compressors of version 2."""
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
