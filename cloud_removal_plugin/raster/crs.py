"""What a coordinate reference system counts in, and the grid of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rasterio.crs import CRS

from .grid import Grid

if TYPE_CHECKING:
    from .info import RasterInfo


def units(crs_wkt: str) -> tuple[bool, float]:
    """(whether the CRS counts in degrees, metres per unit of a projected CRS); no CRS counts as metres."""
    if not crs_wkt:
        return False, 1.0
    crs = CRS.from_wkt(crs_wkt)
    if crs.is_geographic:
        return True, 1.0
    return False, float(crs.linear_units_factor[1])


def grid_of(info: RasterInfo) -> Grid:
    """The grid on which a layer lies."""
    degrees, metres = units(info.crs_wkt)
    return Grid(info.crs_wkt, info.transform, info.width, info.height, degrees, metres)
