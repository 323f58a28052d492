"""A few pixels of a raster, enough to tell its units: never the whole file."""

from __future__ import annotations

import numpy as np
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RioWindow

from .info import RasterInfo, opened, read_error
from .windows import Window

SMALL_PX = 256 * 256
"""Rasters up to this size are read whole."""

DECODED_SHARE = 0.05
"""At most this share of a large raster's blocks is decoded: looking must not cost what reading costs."""

MOST_WINDOWS = 16
LEAST_WINDOWS = 4

WINDOW_PX = 128

FEW_PX = 500
"""With fewer valid pixels than this, the whole raster is looked at coarsely."""

COARSE_EDGE = 512


def sample_windows(info: RasterInfo) -> list[Window]:
    """Small windows spread over the raster; the whole raster where it is small.

    The number is chosen so that the blocks they fall into are a small share of the file.
    """
    height, width = info.shape
    if height * width <= SMALL_PX:
        return [Window(0, 0, height, width)]
    block = max(1, info.block_shape[0]) * max(1, info.block_shape[1])
    rows_of_blocks = max(1, WINDOW_PX // max(1, info.block_shape[0]))
    affordable = int(DECODED_SHARE * height * width / (block * rows_of_blocks))
    edge = int(np.sqrt(min(max(affordable, LEAST_WINDOWS), MOST_WINDOWS)))
    h, w = min(WINDOW_PX, height), min(WINDOW_PX, width)
    rows = [int((height - h) * (i + 0.5) / edge) for i in range(edge)]
    cols = [int((width - w) * (i + 0.5) / edge) for i in range(edge)]
    return [Window(r, c, h, w) for r in rows for c in cols]


def sample(info: RasterInfo, bands: tuple[int, ...], enough: int = FEW_PX) -> np.ndarray:
    """Sample pixels as the file holds them.

    Args:
        bands: file bands, from 1.
        enough: number of pixels with data below which the whole raster is looked at coarsely.

    Returns:
        (C, N) in the file's dtype. Pixels that are nodata, NaN or zero in every band are left out, so N may be 0.

    Raises:
        InputError: the pixels cannot be read.
    """
    with opened(info.path) as src:
        try:
            parts = [
                src.read(list(bands), window=RioWindow(w.col, w.row, w.width, w.height)).reshape(len(bands), -1)
                for w in sample_windows(info)
            ]
            values = _with_data(np.concatenate(parts, axis=1), info, bands)
            if values.shape[1] < enough and info.width * info.height > SMALL_PX:
                values = _with_data(_coarse(src, info, bands), info, bands)
        except (RasterioError, OSError) as error:
            raise read_error(info, error) from error
    return values


def coarse(info: RasterInfo, bands: tuple[int, ...], edge: int = COARSE_EDGE) -> np.ndarray:
    """Every n-th pixel of the raster (nearest), (C, N): classes are seen wherever they lie.

    Raises:
        InputError: the pixels cannot be read.
    """
    with opened(info.path) as src:
        try:
            return _coarse(src, info, bands, edge)
        except (RasterioError, OSError) as error:
            raise read_error(info, error) from error


def _coarse(src: DatasetReader, info: RasterInfo, bands: tuple[int, ...], edge: int = COARSE_EDGE) -> np.ndarray:
    shape = (len(bands), min(info.height, edge), min(info.width, edge))
    return src.read(list(bands), out_shape=shape).reshape(len(bands), -1)


def _with_data(values: np.ndarray, info: RasterInfo, bands: tuple[int, ...]) -> np.ndarray:
    """Columns (pixels) with a measurement in at least one band, and none at a nodata value or not finite."""
    keep = (values != 0).any(axis=0)
    for row, band in zip(values, bands, strict=True):
        nodata = info.nodata[band - 1]
        if nodata is not None and nodata != 0 and np.isfinite(nodata):
            keep &= row != nodata
        if row.dtype.kind == "f":
            keep &= np.isfinite(row)
    return values[:, keep]
