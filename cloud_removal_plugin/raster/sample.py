"""A few pixels of a raster, enough to tell its units: never the whole file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

FILLS = (-9999, -32768)
"""Numbers that mark holes by custom, besides the least one of a type; none can be reflectance."""

COARSE_EDGE = 512

STRIP_PX = 1 << 22
"""Numbers that are decoded at a time when every n-th pixel is wanted."""


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
    rows, cols = (
        [_in_block(int((length - size) * (i + 0.5) / edge), size, block, length) for i in range(edge)]
        for length, size, block in zip((height, width), (h, w), info.block_shape, strict=True)
    )
    return [Window(r, c, h, w) for r in rows for c in cols]


def _in_block(start: int, size: int, block: int, length: int) -> int:
    """``start`` moved back until ``size`` pixels from it lie in one block, where a block holds so many."""
    over = start % block + size - block if block >= size else 0
    return start - max(over, 0)


def read_bands(
    src: DatasetReader, bands: Sequence[int], shape: tuple[int, int] | None = None, **how: Any
) -> np.ndarray:
    """Bands (from 1) of a file, (C, H, W), in the dtype that holds them all: rasterio refuses to mix dtypes.

    Args:
        shape: (rows, columns) that the window is brought to; None = its own.
        how: ``window`` and ``resampling`` of ``DatasetReader.read``.
    """
    if len({src.dtypes[band - 1] for band in bands}) == 1:
        return src.read(list(bands), out_shape=(len(bands), *shape) if shape else None, **how)
    return np.stack([src.read(band, out_shape=shape, **how) for band in bands])


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
                read_bands(src, bands, window=RioWindow(w.col, w.row, w.width, w.height)).reshape(len(bands), -1)
                for w in sample_windows(info)
            ]
            values = _with_data(np.concatenate(parts, axis=1), info, bands)
            if values.shape[1] < enough and info.width * info.height > SMALL_PX:
                values = _with_data(_coarse(src, info, bands), info, bands)
        except (RasterioError, OSError) as error:
            raise read_error(info, error) from error
    return values


def untagged_fill(values: np.ndarray, info: RasterInfo, bands: tuple[int, ...]) -> float | None:
    """What marks holes in a signed raster that does not say so: a number of :data:`FILLS` in every band of a pixel.

    Args:
        values: (C, N), from :func:`sample`.
    """
    if values.dtype.kind not in "if" or any(info.nodata[band - 1] is not None for band in bands):
        return None
    least = np.iinfo(values.dtype).min if values.dtype.kind == "i" else np.finfo(values.dtype).min
    return next((float(v) for v in (*FILLS, least) if v >= least and (values == v).all(axis=0).any()), None)


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
    """Every n-th pixel, (C, N); from overviews where the file has them.

    Without overviews the rows of blocks are read one after the other and thinned here: GDAL's own nearest
    resampling looks every pixel's block up again and takes a hundred times as long.
    """
    shape = (min(info.height, edge), min(info.width, edge))
    if shape == info.shape or all(src.overviews(band) for band in bands):
        return read_bands(src, bands, shape).reshape(len(bands), -1)
    rows, cols = (((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(shape, info.shape, strict=True))
    height = max(1, info.block_shape[0])
    together = height * max(1, STRIP_PX // (height * info.width * len(bands)))
    parts = []
    for strip in np.split(rows, np.flatnonzero(np.diff(rows // together)) + 1):
        window = RioWindow(0, int(strip[0]), info.width, int(strip[-1] - strip[0]) + 1)
        if height == 1 and len(strip) * 4 < window.height:  # rows that nobody asked for would be most of the work
            lines = [read_bands(src, bands, window=RioWindow(0, int(row), info.width, 1)) for row in strip]
            parts.append(np.concatenate(lines, axis=1)[:, :, cols])
        else:
            parts.append(read_bands(src, bands, window=window)[:, strip - strip[0]][:, :, cols])
    return np.concatenate(parts, axis=1).reshape(len(bands), -1)


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
