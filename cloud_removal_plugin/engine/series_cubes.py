"""Cubes among the inputs of a series: each date of a NetCDF file or a Zarr store becomes a virtual raster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..raster.crs import grid_of
from ..raster.delivery import Delivery
from ..raster.findings import look
from ..raster.info import RasterInfo, describe
from ..raster.stack import VirtualBand, write_vrt

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
        for delivery in found.deliveries:
            raster, mask = _date(delivery, place, len(out.paths))
            out.paths.append(raster)
            out.masks.append(mask)
        masked = ", with its scene classes (SCL) as masks" if found.deliveries[0].quality else ""
        bands = ", ".join(plane.name for plane in found.deliveries[0].planes)
        out.notes.append(f"{Path(path).name}: {len(found.deliveries)} dates of {bands}{masked}.")
        out.notes += [f"{Path(path).name}: {doubt}" for doubt in found.deliveries[0].doubts]
    return out


def _date(delivery: Delivery, folder: Path, number: int) -> tuple[str, str]:
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
    bands = [
        VirtualBand(p.path, p.band, info.dtypes[p.band - 1], p.name, p.nodata, p.scale, p.offset)
        for p, info in zip(delivery.planes, infos, strict=True)
    ]
    raster = folder / f"{stem}.vrt"
    write_vrt(raster, grid, bands, _tags(delivery, when), relative=False)
    if not delivery.quality:
        return str(raster), ""
    layer = delivery.quality[0]
    mask, info = folder / f"{stem}_SCL.vrt", describe(layer.path)
    write_vrt(mask, grid_of(info), [_classes(layer.path, layer.bands[0], info)], {}, relative=False)
    return str(raster), str(mask)


def _classes(path: str, band: int, info: RasterInfo) -> VirtualBand:
    return VirtualBand(path, band, info.dtypes[band - 1], "SCL")


def _tags(delivery: Delivery, when: str) -> dict[str, str]:
    return {"ACQUISITION_DATE": when, **({"PROCESSING_LEVEL": delivery.level} if delivery.level else {})}
