"""Bands of a product on another grid: the source's window is read as it is, then warped in memory.

GDAL's warped datasets ask for the source in small strips, and a JPEG 2000 file decodes its tiles anew for each of them:
six to ten times the processor time of reading the window once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window as RioWindow

from .align import Placement, place
from .delivery import Plane
from .grid import Grid
from .info import RasterInfo, read_error
from .opened import OpenRaster
from .windows import Window

MOST_NUMBERS = 1 << 25
"""Source numbers that are held at once; windows that need more are halved."""

MARGIN_PX = 4
"""Source pixels read beyond a window, so that windows agree at their borders."""


class WarpedBands(OpenRaster):
    """Numbers of some bands of a raster on a grid; a context manager. One GDAL handle: for one thread at a time."""

    def __init__(
        self,
        info: RasterInfo,
        bands: tuple[int, ...],
        grid: Grid,
        resampling: Resampling,
        blank: Callable[[np.ndarray], np.ndarray] = lambda dn: np.zeros(dn.shape, bool),
    ) -> None:
        """Open the raster.

        Args:
            info: the raster; it has a CRS.
            bands: file bands, from 1.
            grid: where the numbers are wanted.
            resampling: how they are brought there.
            blank: tells of numbers (C, H, W) which of them are none.

        Raises:
            InputError: it cannot be opened.
        """
        self.info, self.grid = info, grid
        self._bands, self._resampling, self._blank = bands, resampling, blank
        self._open(info.path)

    def read(self, window: Window) -> np.ndarray:
        """float32 (C, H, W) numbers of a window, NaN where there are none.

        Raises:
            InputError: the pixels cannot be read.
        """
        return self._numbers(window)

    def _numbers(self, window: Window) -> np.ndarray:
        out = np.full((len(self._bands), window.height, window.width), np.nan, np.float32)
        source = self._source(window)
        if not source.pixels:
            return out
        if source.pixels * len(out) > MOST_NUMBERS and max(window.height, window.width) > 1:
            for part in _halves(window):
                out[(slice(None), *part.slices(window))] = self._numbers(part)
            return out
        a, _, c, _, e, f = self.info.transform
        try:
            place_of = RioWindow(source.col, source.row, source.width, source.height)
            raw = self._dataset.read(list(self._bands), window=place_of)
            values = np.where(self._blank(raw), np.float32(np.nan), raw.astype(np.float32))
            reproject(
                values,
                out,
                src_transform=Affine(a, 0.0, c + a * source.col, 0.0, e, f + e * source.row),
                src_crs=CRS.from_wkt(self.info.crs_wkt),
                src_nodata=np.nan,
                dst_transform=Affine(*self.grid.window_transform(window.row, window.col)),
                dst_crs=CRS.from_wkt(self.grid.crs_wkt),
                dst_nodata=np.nan,
                resampling=self._resampling,
                num_threads=1,
            )
        except (RasterioError, OSError) as error:
            raise read_error(self.info, error) from error
        return out

    def _source(self, window: Window) -> Window:
        """Pixels of the raster that a window needs, with a margin for the resampling."""
        a, _, c, _, e, f = self.grid.window_transform(window.row, window.col)
        xs, ys = sorted((c, c + a * window.width)), sorted((f, f + e * window.height))
        left, bottom, right, top = transform_bounds(
            CRS.from_wkt(self.grid.crs_wkt), CRS.from_wkt(self.info.crs_wkt), xs[0], ys[0], xs[1], ys[1], densify_pts=21
        )
        a, _, c, _, e, f = self.info.transform
        cols, rows = sorted(((left - c) / a, (right - c) / a)), sorted(((top - f) / e, (bottom - f) / e))
        row, col = int(np.floor(rows[0])) - MARGIN_PX, int(np.floor(cols[0])) - MARGIN_PX
        height, width = int(np.ceil(rows[1])) + MARGIN_PX - row, int(np.ceil(cols[1])) + MARGIN_PX - col
        return Window(row, col, height, width).clip(*self.info.shape)


def _halves(window: Window) -> tuple[Window, Window]:
    row, col, height, width = window
    if height >= width:
        return Window(row, col, height // 2, width), Window(row + height // 2, col, height - height // 2, width)
    return Window(row, col, height, width // 2), Window(row, col + width // 2, height, width - width // 2)


class WarpedPlane(WarpedBands):
    """Reflectance of one band of a delivery on another grid."""

    def __init__(self, info: RasterInfo, plane: Plane, grid: Grid, placement: Placement | None = None) -> None:
        """Open the band; see :class:`WarpedBands`."""
        nodata = plane.nodata if plane.nodata is not None else info.nodata[plane.band - 1]

        def blank(dn: np.ndarray) -> np.ndarray:
            none = np.zeros(dn.shape, bool) if nodata is None else dn == nodata
            return none if plane.saturated is None else none | (dn >= plane.saturated)

        placement = placement or place(info, grid)
        super().__init__(info, (plane.band,), grid, placement.resampling("values"), blank)
        self._scale, self._offset = np.float32(plane.scale), np.float32(plane.offset)

    def read(self, window: Window) -> np.ndarray:
        """float32 (1, H, W) reflectance, NaN = no data; see :meth:`WarpedBands.read`."""
        return self._numbers(window) * self._scale + self._offset
