"""What a coordinate reference system counts in, and the grid of a layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rasterio.crs import CRS

from .grid import Grid

if TYPE_CHECKING:
    from .info import RasterInfo


def units(crs_wkt: str) -> tuple[bool, float]:
    """(whether the CRS counts in degrees, metres per unit of any other CRS); no CRS counts as metres."""
    if not crs_wkt:
        return False, 1.0
    crs = CRS.from_wkt(crs_wkt)
    if crs.is_geographic:
        return True, 1.0
    return False, float(crs.units_factor[1])  # also of a local (engineering) CRS, which is not "projected"


def grid_of(info: RasterInfo) -> Grid:
    """The grid on which a layer lies."""
    degrees, metres = units(info.crs_wkt)
    return Grid(info.crs_wkt, info.transform, info.width, info.height, degrees, metres)


USUAL_M = {"landsat": 30.0, "hls": 30.0, "planet": 3.0}
"""Ground sampling distance of a sensor's products where a layer does not say it; others: Sentinel-2's 10 m."""


def on_ground(grid: Grid, sensor: str) -> tuple[Grid, list[str]]:
    """The grid with a usual size on the ground where the layer has no georeference at all, and a sentence about it.

    Without one a pixel would count as a metre, and all that is told in metres (how far shadows lie, how wide masks
    are grown, how large clouds are) would be ten times too small.
    """
    if grid.crs_wkt or abs(grid.transform[0]) != 1 or abs(grid.transform[4]) != 1:
        return grid, []
    metres = USUAL_M.get(sensor, 10.0)
    note = (
        f"The layer has no georeference: its pixels are taken as {metres:g} m, as is usual for this sensor. "
        "Sizes and distances in metres follow from that."
    )
    return replace(grid, metres_per_unit=metres), [note]
