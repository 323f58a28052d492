"""Cubes of many dates: NetCDF files as openEO writes them, Zarr stores as xarray does; a variable for each band.

GDAL's classic NetCDF driver opens each variable as a raster with one band a date and tells the times in its metadata
(CF conventions 1.9: "days since 1990-01-01"); of Zarr stores :mod:`zarr_store` makes such rasters. So a date is a set
of planes like any other product, and no further library is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from ..bands import ROLE_NAMES, role
from ..errors import InputError
from . import offsets
from .bandfiles import band_of
from .bandnames import S30
from .calibration import DARK_QUANTILE, DN_SCALE
from .container import Container
from .delivery import Delivery, Plane, QualityLayer
from .info import RasterInfo, describe, opened
from .sample import sample
from .zarr_store import Array, Store, as_raster, coordinate, read_store, roots

LEAST_BANDS = 2
_UNIT_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_SINCE = re.compile(
    r"(second|minute|hour|day)s? since (\d{4}-\d{1,2}-\d{1,2})(?:[T ](\d{1,2}:\d{2}:\d{2}))?", re.IGNORECASE
)


@dataclass(frozen=True)
class _Cube:
    """A cube in plain words: rasters of its variables by their names, one band a date, and the dates.

    ``sources`` says where variables lie whose rasters are virtual.
    """

    product: str
    path: str
    rasters: dict[str, str]
    times: list[datetime]
    sources: dict[str, str] = field(default_factory=dict)


def read_cubes(container: Container) -> list[Delivery]:
    """One delivery for every date of every cube.

    Raises:
        InputError: a cube cannot be opened, or does not tell where its pixels lie or when they were taken.
    """
    found: list[Delivery] = []
    for name in container.names:
        path = container.plain(name)
        if path and name.lower().endswith(".nc"):
            found += _netcdf(path)
    for root in roots(container):
        found += _zarr(read_store(container, root))
    return found


def _optical(variables: Iterable[str]) -> dict[str, str]:
    """Variables called after bands, and the bands."""
    return {key: band for key in variables if (band := band_of(_short(key))) and band not in ("scl", "fmask")}


def _scene_classes(variables: Iterable[str]) -> str:
    """The variable with Sen2Cor's scene classes, '' = none."""
    return next((key for key in variables if _short(key).lower() == "scl"), "")


def _netcdf(path: str) -> list[Delivery]:
    variables = _variables(path)
    optical, scl = _optical(variables), _scene_classes(variables)
    if len(optical) < LEAST_BANDS:
        return []
    rasters = {key: f'NETCDF:"{path}":{key}' for key in (*optical, *([scl] if scl else []))}
    first, name = describe(rasters[next(iter(optical))]), Path(path).name
    if not first.crs_wkt or (first.transform[:2] == (1.0, 0.0) and first.transform[4] in (1.0, -1.0)):
        raise InputError(
            f"The cube '{name}' does not tell where its pixels lie (its x and y need the standard names "
            "projection_x_coordinate and projection_y_coordinate, and a grid mapping). Export it again."
        )
    return _deliveries(_Cube("NetCDF cube", path, rasters, _times(first, name)))


def _zarr(store: Store) -> list[Delivery]:
    """The dates of a Zarr store whose variables have the dimensions time, y, x.

    Raises:
        InputError: it holds bands, but not so that they can be read.
    """
    optical, scl = _optical(store.arrays), _scene_classes(store.arrays)
    path = store.container.root if not store.root else store.path
    if len(optical) < LEAST_BANDS:
        if any(len(array.shape) == 4 and "band" in " ".join(array.dims) for array in store.arrays.values()):
            raise InputError(
                f"The Zarr store '{store.name}' keeps its bands along a dimension. Export it with a variable for each "
                "band (xarray: cube.to_dataset(dim='band').to_zarr(...))."
            )
        return []
    first = store.arrays[next(iter(optical))]
    times = _zarr_times(store, first)
    alike = {key for key in (*optical, scl) if key and store.arrays[key].shape == first.shape}
    if left_out := set(optical) - alike:
        raise InputError(
            f"The variables of the Zarr store '{store.name}' differ in size ({', '.join(sorted(left_out))} from "
            f"{first.key}). Bring them to one grid first."
        )
    rasters = {key: as_raster(store, store.arrays[key]) for key in (*optical, scl) if key in alike}
    sources = {key: f'ZARR:"{store.path}":/{key}' for key in rasters}
    return _deliveries(_Cube("Zarr cube", path, rasters, times, sources))


def _zarr_times(store: Store, array: Array) -> list[datetime]:
    """Time of every date.

    Raises:
        InputError: the first dimension is no time axis.
    """
    axis = store.arrays.get(array.dims[0]) if len(array.dims) == len(array.shape) == 3 else None
    unit = str(axis.attributes.get("units", "")) if axis else ""
    if axis is None or not _SINCE.search(unit):
        raise InputError(
            f"'{array.key}' of the Zarr store '{store.name}' does not have the dimensions time, y and x with a time "
            "axis in 'days since ...'. Export it in that order, with its dimension names."
        )
    return _since(unit, coordinate(store, axis.key).astype(float))


def _deliveries(cube: _Cube) -> list[Delivery]:
    """One delivery a date."""
    path, times = cube.path, cube.times
    optical, scl = _optical(cube.rasters), _scene_classes(cube.rasters)
    infos = {key: describe(cube.rasters[key]) for key in optical}
    variables = list(cube.rasters)
    sentinel2 = bool({"B8A", "B11", "B05", "rededge1", "B5"} & set(optical.values())) or "S2" in " ".join(variables)
    scale, offset, doubts = _calibration(list(infos.values()), sentinel2, times)
    roles = {key: S30[band[1:]] if re.match(r"B\d", band) else band for key, band in optical.items()}
    order = sorted(infos, key=lambda key: ROLE_NAMES.index(roles[key]) if roles[key] in ROLE_NAMES else 99)
    level = "L2A" if scl or re.search("L2A", " ".join(variables)) else ""

    def plane(key: str, number: int) -> Plane:
        known = role(roles[key])
        nm = (known.centre_nm, known.width_nm) if known else (0.0, 0.0)
        info = infos[key]
        label = optical[key] if len(optical[key]) > 2 or not optical[key].startswith("B") else f"B0{optical[key][1:]}"
        nodata, source = info.nodata[number - 1], cube.sources.get(key, "")
        return Plane(roles[key], label, info.path, number, scale, offset, nodata, None, *nm, source=source)

    return [
        Delivery(
            product=cube.product, name=f"{Path(path).name.split('.')[0]} {when.date().isoformat()}", path=path,
            sensor="sentinel2" if sentinel2 else "generic", level=level, when=when,
            planes=tuple(plane(key, number) for key in order), doubts=doubts,
            quality=(QualityLayer("scl", cube.rasters[scl], (number,)),) if scl else (),
            why=(f"variables called after bands, over {len(times)} dates",),
        )
        for number, when in enumerate(times, start=1)
    ]  # fmt: skip


def _variables(path: str) -> list[str]:
    with opened(path) as source:
        return [text.rsplit(":", 1)[-1] for text in source.subdatasets]


def _short(variable: str) -> str:
    """The band's part of a variable's name: "S2-L2A-B02" to "B02"."""
    return re.split(r"[-_ /]", variable)[-1]


def _times(info: RasterInfo, name: str) -> list[datetime]:
    """Time of every band.

    Raises:
        InputError: the cube has no time axis that can be read.
    """
    axis = next((key[11:] for key in info.band_tags[0] if key.startswith("NETCDF_DIM_")), "")
    match = _SINCE.search(info.tags.get(f"{axis}#units", ""))
    steps = [tags.get(f"NETCDF_DIM_{axis}", "") for tags in info.band_tags]
    if not axis or not match or not all(steps):
        raise InputError(f"The cube '{name}' has no time axis that can be read ('days since 1990-01-01' is expected).")
    return _since(match[0], [float(step) for step in steps])


def _since(unit: str, steps: Iterable[float]) -> list[datetime]:
    """Times counted in units like "days since 1990-01-01"."""
    match = _SINCE.search(unit)
    start = datetime.strptime(f"{match[2]} {match[3] or '00:00:00'}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return [start + timedelta(seconds=float(step) * _UNIT_S[match[1].lower()]) for step in steps]


def _calibration(
    infos: Sequence[RasterInfo], sentinel2: bool, times: Sequence[datetime]
) -> tuple[float, float, tuple[str, ...]]:
    """Scale and offset of all dates, and what to check; the darkest date tells whether +1000 is inside."""
    scale, offset = infos[0].scales[0], infos[0].offsets[0]
    dark, bright = [], [0.0]
    for info in infos:
        values = sample(info, tuple(range(1, min(info.count, 24) + 1)))
        values = values[values != 0] if values.size else values
        if values.size:
            low, high = np.quantile(values, (DARK_QUANTILE, 0.99), method="nearest")
            dark.append(float(low))
            bright.append(float(high))
    if np.dtype(infos[0].dtype).kind == "f" and max(bright) <= 2.0:
        return 1.0, 0.0, ()
    unit = scale if 0 < scale < 0.1 else DN_SCALE
    if not sentinel2:
        return unit, offset, ()
    declared = round(offset / unit) if offset else None
    decision = offsets.decide(min(dark, default=None), declared, "the variables' add_offset", max(times).date())
    return unit, decision.offset * unit, (decision.sentence,) if decision.check else ()
