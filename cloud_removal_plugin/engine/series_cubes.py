"""Cubes among the inputs of a series: each date of a NetCDF file or a Zarr store becomes a raster of its own.

Zarr stores are read where they are, through virtual rasters. NetCDF files are copied once, in strips of all dates:
their chunks often hold all dates, which would be decoded again for each, and HDF5 reads on one thread alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.transform import Affine
from rasterio.windows import Window

from ..errors import InputError
from ..raster.crs import grid_of
from ..raster.delivery import Delivery
from ..raster.findings import look
from ..raster.info import describe, opened, read_error
from ..raster.stack import VirtualBand, write_vrt
from ..raster.target import failure

STRIP_BYTES = 64 << 20
"""Of all dates of a variable at a time."""

CUBES = re.compile(r"(?i)\.(nc|zarr|zarr\.zip)/?$")


@dataclass
class Inputs:
    """What a series is made of: a raster a date (or of several), the mask that comes with each ('' = none), notes."""

    paths: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_cube(path: str) -> bool:
    """Whether an input is a cube by itself (and not one of its variables)."""
    return bool(CUBES.search(path)) and Path(path).exists()


def expanded(products: Sequence[str], folder: Path) -> Inputs:
    """The rasters of a series, with the dates of cubes as virtual rasters.

    Args:
        products: rasters and cubes. folder: where virtual rasters are written.

    Raises:
        InputError: a cube holds no dates that can be read.
    """
    out = Inputs()
    for number, path in enumerate(products):
        if not is_cube(path):
            out.paths.append(path)
            out.masks.append("")
            continue
        found = look(path, singles=False)
        if not found.deliveries:
            raise InputError(
                found.problems[0]
                if found.problems
                else f"'{Path(path).name}' holds no variables called after bands over several dates. "
                "'Describe layers' says what is in it."
            )
        place = folder / f"cube{number}"
        place.mkdir()
        copies = _copied(found.deliveries, place) if path.lower().endswith(".nc") else {}
        for delivery in found.deliveries:
            raster, mask = _date(delivery, place, len(out.paths), copies)
            out.paths.append(raster)
            out.masks.append(mask)
        masked = ", with its scene classes (SCL) as masks" if found.deliveries[0].quality else ""
        bands = ", ".join(plane.name for plane in found.deliveries[0].planes)
        out.notes.append(f"{Path(path).name}: {len(found.deliveries)} dates of {bands}{masked}.")
        out.notes += [f"{Path(path).name}: {doubt}" for doubt in found.deliveries[0].doubts]
    return out


def _copied(deliveries: Sequence[Delivery], folder: Path) -> dict[tuple[str, int], str]:
    """Every variable's bands as rasters of their own, by variable and band.

    Raises:
        InputError: a variable cannot be read.
        OutputError: no room for the copies.
    """
    wanted: dict[str, list[int]] = {}
    for delivery in deliveries:
        layers = [(plane.path, plane.band) for plane in delivery.planes]
        layers += [(layer.path, layer.bands[0]) for layer in delivery.quality]
        for path, band in layers:
            wanted.setdefault(path, []).append(band)
    out: dict[tuple[str, int], str] = {}
    for variable, (path, bands) in enumerate(wanted.items()):
        names = {band: str(folder / f"v{variable}_{band}.tif") for band in bands}
        _copy(path, names)
        out |= {(path, band): name for band, name in names.items()}
    return out


def _copy(path: str, names: dict[int, str]) -> None:
    """The bands of a raster as files."""
    info = describe(path)
    profile = {
        "driver": "GTiff", "width": info.width, "height": info.height, "count": 1, "dtype": info.dtype,
        "crs": info.crs_wkt, "transform": Affine(*info.transform), "compress": "deflate", "zlevel": 1,
        "bigtiff": "IF_SAFER",
    }  # fmt: skip
    rows = max(1, STRIP_BYTES // (len(names) * info.width * np.dtype(info.dtype).itemsize))
    try:
        with opened(path) as source, ExitStack() as stack:
            profile["blockysize"] = min(rows, 64)
            files = [stack.enter_context(rasterio.open(name, "w", **profile)) for name in names.values()]
            step = max(rows // profile["blockysize"], 1) * profile["blockysize"]
            for top in range(0, info.height, step):
                window = Window(0, top, info.width, min(step, info.height - top))
                for file, values in zip(files, source.read(list(names), window=window), strict=True):
                    file.write(values, 1, window=window)
    except RasterioIOError as error:
        raise read_error(info, error) from error
    except OSError as error:
        raise failure(info.name, str(Path(next(iter(names.values()))).parent), error) from error


def _date(delivery: Delivery, folder: Path, number: int, copies: dict[tuple[str, int], str]) -> tuple[str, str]:
    """Virtual rasters of one date: its bands, and its scene classes ('' without)."""
    infos = [describe(plane.path) for plane in delivery.planes]
    grid = grid_of(infos[0])
    if any((info.shape, info.transform) != (infos[0].shape, infos[0].transform) for info in infos):
        raise InputError(
            f"The bands of '{Path(delivery.path).name}' lie on different grids. Prepare its dates one by one "
            "('Prepare Sentinel-2', DATE)."
        )
    when = delivery.when.date().isoformat() if delivery.when else ""
    stem = f"{when}_date{number + 1}"  # a cube's own name often holds the dates of its ends

    def place(path: str, band: int) -> tuple[str, int]:
        return (copies[path, band], 1) if copies else (path, band)

    bands = [
        VirtualBand(*place(p.path, p.band), info.dtypes[p.band - 1], p.name, p.nodata, p.scale, p.offset)
        for p, info in zip(delivery.planes, infos, strict=True)
    ]
    raster = folder / f"{stem}.vrt"
    write_vrt(raster, grid, bands, _tags(delivery, when), relative=False)
    if not delivery.quality:
        return str(raster), ""
    layer = delivery.quality[0]
    mask, info = folder / f"{stem}_SCL.vrt", describe(layer.path)
    classes = VirtualBand(*place(layer.path, layer.bands[0]), info.dtypes[layer.bands[0] - 1], "SCL")
    write_vrt(mask, grid_of(info), [classes], {}, relative=False)
    return str(raster), str(mask)


def _tags(delivery: Delivery, when: str) -> dict[str, str]:
    return {"ACQUISITION_DATE": when, **({"PROCESSING_LEVEL": delivery.level} if delivery.level else {})}
