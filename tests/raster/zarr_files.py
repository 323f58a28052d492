"""Small Zarr stores, written by hand: JSON texts and chunks, versions 2 and 3, as xarray lays them out."""

from __future__ import annotations

import gzip
import itertools
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

DAYS = (12000, 12005, 12010)
"""Days since 1990-01-01: 2022-11-09, 14 and 19."""


def write_array(
    folder: Path, values: np.ndarray, dims: tuple[str, ...], attributes: dict[str, Any], version: int,
    chunks: tuple[int, ...] | None = None, fill: float | None = None, codec: str = "gzip",
) -> None:  # fmt: skip
    """One array; version 2 with zlib, version 3 with gzip (or the codec that is named, its chunks as gzip)."""
    folder.mkdir(parents=True)
    chunks = chunks or values.shape
    text: dict[str, Any] = {"shape": values.shape, "zarr_format": version}
    if version == 2:
        text |= {
            "chunks": chunks, "dtype": values.dtype.str, "order": "C", "filters": None, "fill_value": fill,
            "compressor": {"id": "zlib", "level": 5}, "dimension_separator": ".",
        }  # fmt: skip
        (folder / ".zarray").write_text(json.dumps(text))
        (folder / ".zattrs").write_text(json.dumps({**attributes, "_ARRAY_DIMENSIONS": dims}))
    else:
        text |= {
            "node_type": "array", "data_type": str(values.dtype), "dimension_names": dims, "fill_value": 0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": codec, "configuration": {"level": 5}},
            ],
            "attributes": attributes | ({} if fill is None else {"_FillValue": fill}),
        }  # fmt: skip
        (folder / "zarr.json").write_text(json.dumps(text))
    for place in itertools.product(*(range(-(-n // size)) for n, size in zip(values.shape, chunks, strict=True))):
        part = values[tuple(slice(i * size, (i + 1) * size) for i, size in zip(place, chunks, strict=True))]
        whole = np.zeros(chunks, values.dtype)
        whole[tuple(slice(n) for n in part.shape)] = part
        name = ".".join(map(str, place)) if version == 2 else "/".join(("c", *map(str, place)))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pack = zlib.compress if version == 2 else gzip.compress
        (folder / (name or "0")).write_bytes(pack(whole.tobytes()))


def make_store(
    path: Path, version: int = 2, *, placed: bool = True, timed: bool = True, south_up: bool = False,
    planes: dict[str, np.ndarray] | None = None, days: tuple[int, ...] = DAYS, codec: str = "gzip",
) -> Path:  # fmt: skip
    """B02, B04, B8A and SCL of three dates on 30 x 24 pixels of 10 m, values by date and band; one pixel is fill.

    Args:
        placed, timed: whether it tells where and when. south_up: whether y ascends.
        planes: other variables (dates, y, x) instead, for the dates ``days``.
    """
    if planes is None:
        planes = {b: _made(b, number) for number, b in enumerate(("B02", "B04", "B8A", "SCL"))}
    height, width = next(iter(planes.values())).shape[1:]
    path.mkdir(parents=True)
    group = {"zarr_format": version} | ({} if version == 2 else {"node_type": "group", "attributes": {}})
    (path / (".zgroup" if version == 2 else "zarr.json")).write_text(json.dumps(group))
    y = 4700000 - 10.0 * (np.arange(height) + 0.5)
    wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt() if placed else ""
    time = {"units": "days since 1990-01-01 00:00:00", "calendar": "proleptic_gregorian"} if timed else {}
    write_array(path / "t", np.array(days, np.int64), ("t",), time, version)
    write_array(path / "y", y[::-1] if south_up else y, ("y",), {}, version)
    write_array(path / "x", 300000 + 10.0 * (np.arange(width) + 0.5), ("x",), {}, version)
    write_array(path / "spatial_ref", np.zeros((), np.int64), (), {"crs_wkt": wkt} if placed else {}, version)
    for name, values in planes.items():
        values = values[:, ::-1] if south_up else values
        fill = 65535 if values.dtype == np.uint16 else None
        own = {"grid_mapping": "spatial_ref"}
        write_array(path / name, values, ("t", "y", "x"), own, version, (1, 16, 16), fill, codec)
    return path


def _made(band: str, number: int) -> np.ndarray:
    if band == "SCL":
        scl = np.full((3, 24, 30), 4, np.uint8)
        scl[1, 5:9, 5:9] = 9
        return scl
    values = np.stack([np.full((24, 30), 100 * (number + 3) + 10 * t, np.uint16) for t in range(3)])
    values[:, 0, 0] = 65535
    return values


def zipped(folder: Path, inside: bool = False) -> Path:
    """A store as a zip file beside it; ``inside``: the folder itself is in it."""
    target = folder.with_suffix(".zarr.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent if inside else folder))
    return target
