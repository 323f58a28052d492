"""Granules of one pass as one stack: reflectance and quality of several deliveries on one grid, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform_bounds

from ..errors import GridError, InputError
from . import cloud_polygons
from .align import place, same_crs
from .classes import NO_DATA
from .crs import grid_of
from .delivery import Delivery, Plane, QualityLayer
from .grid import Grid
from .info import RasterInfo, describe
from .masks import MaskKind, decode
from .planes import WarpedBands, WarpedPlane
from .radiometry import Radiometry
from .reader import OpticalReader
from .windows import Window

Extent = tuple[float, float, float, float]


def common_grid(deliveries: Sequence[Delivery], pixel: float = 0.0) -> Grid:
    """The grid that covers all deliveries, on the pixels of their finest band.

    Args:
        deliveries: of one sensor; their planes are the ones wanted.
        pixel: size in units of the CRS, 0 = that of the finest band.

    Raises:
        InputError: a file cannot be opened.
        GridError: the deliveries lie in different coordinate reference systems, or have none.
    """
    grids = [_finest(delivery) for delivery in deliveries]
    first = grids[0]
    for delivery, grid in zip(deliveries, grids, strict=True):
        if not same_crs(grid.crs_wkt, first.crs_wkt):
            raise GridError(
                f"{_called(deliveries[0])} and {_called(delivery)} lie in different coordinate reference systems "
                f"({_code(first)} and {_code(grid)}). Prepare each by itself; 'Remove clouds' warps layers together."
            )
    a, _, x, _, e, y = first.transform
    dx, dy = (pixel, -pixel) if pixel else (a, e)
    bounds = [grid.bounds for grid in grids]
    left, bottom = min(b[0] for b in bounds), min(b[1] for b in bounds)
    right, top = max(b[2] for b in bounds), max(b[3] for b in bounds)
    # whole pixels from the first granule's corner, so that its own pixels are the grid's
    left, top = x + np.floor((left - x) / dx + 1e-6) * dx, y + np.floor((top - y) / dy + 1e-6) * dy
    width, height = (int(np.ceil(size - 1e-6)) for size in ((right - left) / dx, (bottom - top) / dy))
    return replace(first, transform=(dx, 0.0, float(left), 0.0, dy, float(top)), width=width, height=height)


def _finest(delivery: Delivery) -> Grid:
    grids = [grid_of(describe(plane.path)) for plane in _one_each_size(delivery.planes)]
    if not grids[0].crs_wkt:
        raise GridError(f"{_called(delivery)} has no coordinate reference system. Fetch the product again.")
    return min(grids, key=lambda grid: abs(grid.transform[0]))


def _one_each_size(planes: Sequence[Plane]) -> Sequence[Plane]:
    """Planes to look at: files of many bands are one file."""
    return list({plane.path: plane for plane in planes}.values())


def _called(delivery: Delivery) -> str:
    return f"tile {delivery.tile}" if delivery.tile else f"'{delivery.name}'"


def _code(grid: Grid) -> str:
    try:
        return CRS.from_wkt(grid.crs_wkt).to_string()[:40]
    except (CRSError, RasterioError):
        return "unknown"


def cut(grid: Grid, extent: Extent, crs_wkt: str) -> Grid:
    """The part of a grid inside an extent in any CRS.

    Raises:
        GridError: the extent has no area, cannot be transformed, or does not meet the grid.
    """
    try:
        source, own = CRS.from_string(crs_wkt or grid.crs_wkt), CRS.from_wkt(grid.crs_wkt)
        target = extent if same_crs(source.to_wkt(), grid.crs_wkt) else transform_bounds(source, own, *extent)
    except (CRSError, RasterioError) as error:
        raise GridError("The extent cannot be brought into the product's coordinate reference system.") from error
    if not all(np.isfinite(target)):
        raise GridError("The extent does not meet the product. Choose one inside it.")
    return grid.crop(target)[0]


class Mosaic:
    """Reflectance of several deliveries on one grid; a context manager. The first that has data at a pixel counts."""

    def __init__(self, deliveries: Sequence[Delivery], grid: Grid) -> None:
        """Open every band that meets the grid.

        Raises:
            InputError, GridError: a file cannot be opened or placed.
        """
        self.grid, self.roles = grid, tuple(plane.role for plane in deliveries[0].planes)
        self._stack = ExitStack()
        self._parts: list[list[OpticalReader | WarpedPlane]] = []
        try:
            for delivery in deliveries:
                infos = [describe(plane.path) for plane in delivery.planes]
                if any(_meets(info, grid) for info in infos):
                    pairs = zip(infos, delivery.planes, strict=True)
                    self._parts.append([self._stack.enter_context(_reader(*pair, grid)) for pair in pairs])
        except BaseException:
            self._stack.close()
            raise
        if not self._parts:
            self._stack.close()
            raise GridError("The extent does not meet the product. Choose one inside it.")

    def __enter__(self) -> Mosaic:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, window: Window, pool: Executor) -> np.ndarray:
        """float32 (C, H, W) reflectance of a window, NaN = no data.

        Raises:
            InputError: pixels cannot be read.
        """
        out = np.full((len(self.roles), window.height, window.width), np.nan, np.float32)
        for readers in self._parts:
            empty = np.isnan(out).all(axis=0)
            if not empty.any():
                break
            planes = list(pool.map(lambda reader: reader.read(window)[0], readers))
            for plane, found in zip(out, planes, strict=True):
                np.copyto(plane, found, where=empty)
        return out


def _meets(info: RasterInfo, grid: Grid) -> bool:
    xmin, ymin, xmax, ymax = grid_of(info).bounds
    left, bottom, right, top = grid.bounds
    return min(xmax, right) > max(xmin, left) and min(ymax, top) > max(ymin, bottom)


def _reader(info: RasterInfo, plane: Plane, grid: Grid) -> OpticalReader | WarpedPlane:
    placement = place(info, grid)
    if not placement.same:
        return WarpedPlane(info, plane, grid, placement)
    nodata = plane.nodata if plane.nodata is not None else info.nodata[plane.band - 1]
    radiometry = Radiometry(
        sensor="generic", bands=(plane.role,), used_bands=(plane.band,), scale=plane.scale, offset=plane.offset,
        nodata=(nodata,), zero_is_nodata=False, saturated=plane.saturated, level="", layer=info.name,
    )  # fmt: skip
    return OpticalReader(info, radiometry, grid)


class QualityMosaic:
    """Quality layers of several deliveries on one grid; a context manager.

    Attributes:
        names: of the planes that :meth:`read` returns: "clouds" (classes 0 clear, 1 cloud, 2 shadow, 255 no data), then
            "SCL" and "cloud_probability" (per cent) where every delivery has them.
    """

    def __init__(self, deliveries: Sequence[Delivery], grid: Grid) -> None:
        """Open what meets the grid.

        Raises:
            InputError: a delivery has no quality layer, or a file cannot be opened.
        """
        for delivery in deliveries:
            if not delivery.quality:
                raise InputError(f"{_called(delivery)} comes without a quality layer. Leave the cloud layer away.")
        self.grid = grid
        kinds = [{layer.kind for layer in delivery.quality} for delivery in deliveries]
        self.names = ["clouds"]
        self._raw = [kind for kind in ("scl", "percent") if all(kind in own for own in kinds)]
        self.names += [{"scl": "SCL", "percent": "cloud_probability"}[kind] for kind in self._raw]
        self._stack = ExitStack()
        self._deliveries = deliveries
        self._open: dict[str, WarpedBands] = {}

    def __enter__(self) -> QualityMosaic:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, window: Window) -> np.ndarray:
        """uint8 (planes of :attr:`names`, H, W) of a window; 255 = no data.

        Raises:
            InputError: pixels cannot be read.
        """
        out = np.full((len(self.names), window.height, window.width), NO_DATA, np.uint8)
        for delivery in self._deliveries:
            empty = out[0] == NO_DATA
            if empty.any():
                found = [self._classes(delivery.quality[0], delivery, window)]
                by_kind = {layer.kind: layer for layer in delivery.quality}
                found += [self._numbers(by_kind[kind], window) for kind in self._raw]
                for plane, part in zip(out, found, strict=True):
                    np.copyto(plane, part, where=empty)
        return out

    def _classes(self, layer: QualityLayer, delivery: Delivery, window: Window) -> np.ndarray:
        if layer.kind == "gml":
            found = cloud_polygons.classes(cloud_polygons.polygons(layer.path), self.grid, window)
            found[~self._covered(delivery, window)] = NO_DATA
            return found
        values = self._values(layer, window)
        outside = np.isnan(values[0])
        found = decode(np.where(np.isnan(values), 0, values), MaskKind(layer.kind, layer.bands, None))
        found[outside] = NO_DATA
        return found

    def _values(self, layer: QualityLayer, window: Window) -> np.ndarray:
        """The layer's own numbers float32 (C, H, W), nearest neighbour, NaN outside."""
        if layer.path not in self._open:
            bands = WarpedBands(describe(layer.path), layer.bands, self.grid, Resampling.nearest)
            self._open[layer.path] = self._stack.enter_context(bands)
        return self._open[layer.path].read(window)

    def _covered(self, delivery: Delivery, window: Window) -> np.ndarray:
        """Bool (H, W): inside the granule's square, which polygons do not tell."""
        left, bottom, right, top = grid_of(describe(delivery.planes[0].path)).bounds
        a, _, x, _, e, y = self.grid.window_transform(window.row, window.col)
        xs, ys = x + a * (np.arange(window.width) + 0.5), y + e * (np.arange(window.height) + 0.5)
        return ((ys > bottom) & (ys < top))[:, None] & ((xs > left) & (xs < right))[None]

    def _numbers(self, layer: QualityLayer, window: Window) -> np.ndarray:
        """The same as uint8 (H, W), 255 outside."""
        values = self._values(layer, window)[0]
        return np.where(np.isnan(values), NO_DATA, values).astype(np.uint8)
