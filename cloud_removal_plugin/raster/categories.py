"""Class codes (land cover) on the scene's grid: warped by the nearest pixel, never mixed."""

from __future__ import annotations

import numpy as np
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RioWindow

from ..errors import InputError
from .align import place
from .grid import Grid
from .info import RasterInfo, read_error
from .opened import OpenRaster
from .sample import coarse
from .windows import Window

UNKNOWN = -1
"""Code of pixels without a class."""

MOST_CLASSES = 64


class CategoryReader(OpenRaster):
    """Codes of the first band of a raster on the scene's grid; one GDAL handle.

    Attributes:
        info: the raster. same_grid: whether its pixels are the scene's.
    """

    def __init__(self, info: RasterInfo, grid: Grid) -> None:
        """Open the raster.

        Raises:
            GridError: it cannot be placed on the grid.
            InputError: its numbers are not codes.
        """
        self.info = info
        self._refuse_measurements()
        self._placement = place(info, grid)
        self._shape = grid.shape
        self.same_grid = self._placement.same
        self._open(info.path)
        if not self.same_grid:
            # the warper needs a number for "nothing here" that is no code
            self._warped = WarpedVRT(
                self._dataset, src_crs=info.crs_wkt, crs=grid.crs_wkt, transform=Affine(*grid.transform),
                width=grid.width, height=grid.height, resampling=Resampling.nearest, dtype="float64",
                nodata=float(UNKNOWN), src_nodata=info.nodata[0],
            )  # fmt: skip

    def _refuse_measurements(self) -> None:
        values = coarse(self.info, (1,))[0]
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if values.dtype.kind == "f" and (values != np.round(values)).any():
            raise InputError(
                f"Layer '{self.info.name}' holds numbers with decimals, not classes. Give a raster of class codes "
                "(such as ESA WorldCover)."
            )
        if len(np.unique(values)) > MOST_CLASSES:
            raise InputError(
                f"Layer '{self.info.name}' holds more than {MOST_CLASSES} different numbers: measurements rather than "
                "classes. Give a raster of class codes (such as ESA WorldCover)."
            )

    def read(self, window: Window) -> np.ndarray:
        """Codes of a window inside the scene: int32 (H, W), :data:`UNKNOWN` where there is none.

        Raises:
            InputError: the pixels cannot be read.
        """
        out = np.full((window.height, window.width), UNKNOWN, np.int32)
        inside = window.clip(*self._shape)
        if self.same_grid:
            inside = self._placement.covered(inside, self.info.shape)
            source = self._placement.source(inside)
        else:
            source = inside
        if not source.pixels:
            return out
        try:
            place = RioWindow(source.col, source.row, source.width, source.height)
            values = (self._warped or self._dataset).read(1, window=place)
        except (RasterioError, OSError) as error:
            raise read_error(self.info, error) from error
        known = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        if self.info.nodata[0] is not None:
            known &= values != self.info.nodata[0]
        out[inside.slices(window)][known] = values[known]
        return out
