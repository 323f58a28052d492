"""Where a layer's pixels lie on the scene's grid: on the very same pixels, or to be warped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform_bounds

from ..errors import GridError
from .crs import grid_of
from .grid import Grid
from .info import RasterInfo
from .windows import Window

SNAP = 0.01
"""Pixels may be off by this share of a pixel and still count as the same (rounding of written geotransforms)."""

FINER = 1.5
"""Sources finer than the scene by this factor are averaged; interpolation would alias them."""


@dataclass(frozen=True)
class Placement:
    """How a layer is brought onto the scene's grid.

    Attributes:
        same: whether its pixels are the scene's pixels, so that reading is all there is to do.
        row, col: the scene's upper left pixel in the layer (``same`` only; may be negative).
        ratio: pixel size of the scene divided by that of the layer (> 1: the layer is finer).
    """

    same: bool
    row: int = 0
    col: int = 0
    ratio: float = 1.0

    def source(self, window: Window) -> Window:
        """A scene window in the layer's pixels."""
        return Window(window.row + self.row, window.col + self.col, window.height, window.width)

    def covered(self, window: Window, shape: tuple[int, int]) -> Window:
        """The part of a scene window that the layer's pixels, ``shape`` of them, cover; in scene pixels."""
        source = self.source(window).clip(*shape)
        return Window(source.row - self.row, source.col - self.col, source.height, source.width)

    def resampling(self, kind: str) -> Resampling:
        """How values ("values"), classes ("classes") or smooth probabilities ("smooth") are warped."""
        if kind == "classes":
            return Resampling.nearest
        if self.ratio >= FINER:
            return Resampling.average
        # cubic keeps the sharpness of a layer of like resolution; for a coarser one it would only overshoot
        return Resampling.cubic if kind == "values" and self.ratio > 1 / FINER else Resampling.bilinear

    def warp_scale(self) -> dict[str, str]:
        """Options that fix the width of the warper's filter.

        GDAL otherwise derives it from the window that is read, rounded to pixels, so that (3.7 and later) windows of
        one layer would not fit together.
        """
        scale = "1" if 0.95 < self.ratio < 1.05 else repr(1 / self.ratio)
        return {"XSCALE": scale, "YSCALE": scale}


def same_crs(first: str, second: str) -> bool:
    """Whether two WKT texts mean one CRS."""
    if first == second:
        return True
    if not first or not second:
        return False
    a, b = CRS.from_wkt(first), CRS.from_wkt(second)
    if a == b:
        return True
    try:
        codes = a.to_epsg(), b.to_epsg()
    except (CRSError, RasterioError):
        return False
    return codes[0] is not None and codes[0] == codes[1]


def place(info: RasterInfo, grid: Grid) -> Placement:
    """Bring a layer and the scene's grid together.

    Raises:
        GridError: one has a CRS and the other has none, no georeference and another size, or no overlap.
    """
    if bool(info.crs_wkt) != bool(grid.crs_wkt):
        has, lacks = ("the layer", "the input") if info.crs_wkt else ("the input", "the layer")
        raise GridError(
            f"Layer '{info.name}' cannot be placed on the input layer: {has} has a coordinate reference system and "
            f"{lacks} has none. "
            "Assign one to both (Raster > Projections > Assign Projection)."
        )
    if not grid.crs_wkt:
        return _pixel_grid(info, grid)
    if same_crs(info.crs_wkt, grid.crs_wkt):
        shift = _shift(info, grid)
        if shift is not None:
            placement = Placement(True, *shift)
            _check_touch(info, grid, placement)
            return placement
    bounds = _bounds_on(info, grid)
    if not _overlap(bounds, grid.bounds):
        raise _no_overlap(info.name, "the input layer")
    # bounds are compared rather than pixel sizes in metres: they hold for any pair of CRS
    own = abs((bounds[2] - bounds[0]) * (bounds[3] - bounds[1])) / (info.width * info.height)
    target = abs(grid.transform[0] * grid.transform[4])
    return Placement(False, ratio=float((target / own) ** 0.5))


def check_together(first: RasterInfo, others: Iterable[RasterInfo]) -> None:
    """Check that all layers can be brought onto the grid of the first, before any work is done.

    Raises:
        GridError: naming both layers, or one that only ground control points place.
    """
    others = list(others)
    for info in (first, *others):
        if info.points and not info.georeferenced:
            raise GridError(
                f"Layer '{info.name}' lies on no grid: ground control points alone tell where it is. Warp it first "
                "(Raster > Projections > Warp)."
            )
    grid = grid_of(first)
    for info in others:
        if bool(info.crs_wkt) != bool(first.crs_wkt):
            has, lacks = (info, first) if info.crs_wkt else (first, info)
            raise GridError(
                f"Layer '{has.name}' has a coordinate reference system and layer '{lacks.name}' has none. "
                "Assign one to both (Raster > Projections > Assign Projection)."
            )
        if not first.crs_wkt and info.shape != first.shape and not (info.georeferenced and first.georeferenced):
            raise _other_size(info, first.name, first.shape)
        try:
            place(info, grid)
        except GridError as error:
            raise GridError(str(error).replace("the input layer", f"layer '{first.name}'")) from error


def _pixel_grid(info: RasterInfo, grid: Grid) -> Placement:
    """Layers without a CRS: by transform where both have one, else by size."""
    shift = _shift(info, grid)
    whole = grid.transform[2] == 0 and grid.transform[5] == 0
    if shift is not None and (info.georeferenced or not whole or info.shape == grid.shape):
        placement = Placement(True, *shift)
        _check_touch(info, grid, placement)
        return placement
    if info.shape == grid.shape:
        return Placement(True, 0, 0)
    raise _other_size(info, "the input layer", grid.shape)


def _other_size(info: RasterInfo, name: str, shape: tuple[int, int]) -> GridError:
    other = name if name.startswith("the ") else f"layer '{name}'"
    return GridError(
        f"Layer '{info.name}' is {info.width} x {info.height} pixels and {other} {shape[1]} x {shape[0]}, and "
        "without a georeference nothing says how they fit. Georeference both, or give layers of the same size."
    )


def _shift(info: RasterInfo, grid: Grid) -> tuple[int, int] | None:
    """Row and column of the grid's upper left pixel in the layer, or None where the pixels don't coincide."""
    a, _, c, _, e, f = info.transform
    ga, _, gc, _, ge, gf = grid.transform
    # the drift over the whole scene counts, not the difference of one pixel
    if abs(ga - a) * grid.width > SNAP * abs(a) or abs(ge - e) * grid.height > SNAP * abs(e):
        return None
    col, row = (gc - c) / a, (gf - f) / e
    if abs(col - round(col)) > SNAP or abs(row - round(row)) > SNAP:
        return None
    return round(row), round(col)


def _check_touch(info: RasterInfo, grid: Grid, placement: Placement) -> None:
    if not placement.source(Window(0, 0, *grid.shape)).clip(*info.shape).pixels:
        raise _no_overlap(info.name, "the input layer")


def _bounds_on(info: RasterInfo, grid: Grid) -> tuple[float, float, float, float]:
    """The layer's bounds in the grid's CRS."""
    try:
        return transform_bounds(
            CRS.from_wkt(info.crs_wkt), CRS.from_wkt(grid.crs_wkt), *grid_of(info).bounds, densify_pts=21
        )
    except (CRSError, RasterioError) as error:
        raise GridError(
            f"Layer '{info.name}' cannot be transformed to the coordinate reference system of the input layer. "
            "Check the layer's coordinate reference system."
        ) from error


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def _no_overlap(name: str, other: str) -> GridError:
    return GridError(f"Layer '{name}' does not overlap {other}. Choose layers of the same place.")
