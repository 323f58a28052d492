"""Where the cloud classes of every date wait between detection and restoration: temporary rasters of the grid."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window as RasterioWindow

from ..errors import OutputError
from .grid import Grid
from .windows import Window

CLEAR, CLOUD, SHADOW, NO_DATA = 0, 1, 2, 255
"""The codes of every class raster, also of the CLOUDS output."""


class ClassStore:
    """uint8 class rasters of several dates in one temporary folder; safe to use from several threads."""

    def __init__(self, folder: Path, grid: Grid) -> None:
        self._folder, self._grid = folder, grid
        self._files: dict[int, rasterio.io.DatasetWriter] = {}
        self._lock = threading.Lock()

    def _open(self, date: int) -> rasterio.io.DatasetWriter:
        if date not in self._files:
            height, width = self._grid.shape
            self._files[date] = rasterio.open(
                self._folder / f"classes_{date}.tif", "w+", driver="GTiff", width=width, height=height, count=1,
                dtype="uint8", tiled=True, blockxsize=256, blockysize=256, compress="deflate", zlevel=1,
                sparse_ok=True, bigtiff="if_safer",
                transform=rasterio.Affine(*self._grid.transform),
            )  # fmt: skip
        return self._files[date]

    def write(self, date: int, window: Window, classes: np.ndarray) -> None:
        """Store classes (H, W) of one date.

        Raises:
            OutputError: the temporary folder has no room left.
        """
        with self._lock:
            try:
                self._open(date).write(classes, 1, window=_rasterio_window(window))
            except (rasterio.errors.RasterioError, OSError) as error:
                raise OutputError(f"The temporary cloud masks cannot be written beside the output: {error}.") from error

    def read(self, date: int, window: Window) -> np.ndarray:
        """Classes (H, W) of one date; the window may reach over the edge, where there is no data."""
        inside = window.clip(*self._grid.shape)
        out = np.full((window.height, window.width), NO_DATA, np.uint8)
        if inside.pixels:
            with self._lock:
                out[inside.slices(window)] = self._open(date).read(1, window=_rasterio_window(inside))
        return out

    def close(self) -> None:
        """Close the files; the folder's owner deletes them."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.col, window.row, window.width, window.height)
