"""A whole raster in few pixels, for pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RioWindow

from .align import place
from .grid import Grid
from .info import RasterInfo, castable, opened, read_error
from .radiometry import Radiometry
from .reader import OpticalReader
from .sample import read_bands
from .windows import Window


def small_shape(grid: Grid, edge: int) -> tuple[int, int]:
    """Rows and columns of a picture of the grid whose longer side has at most ``edge`` pixels."""
    factor = max(1.0, max(grid.shape) / edge)
    return max(1, round(grid.height / factor)), max(1, round(grid.width / factor))


def coarse_grid(grid: Grid, edge: int) -> Grid:
    """The same ground in pixels so large that :func:`small_shape` of them cover it."""
    height, width = small_shape(grid, edge)
    if (height, width) == grid.shape:
        return grid
    a, _, c, _, e, f = grid.transform
    transform = (a * grid.width / width, 0.0, c, 0.0, e * grid.height / height, f)
    return replace(grid, transform=transform, width=width, height=height)


def thumbnail(info: RasterInfo, radiometry: Radiometry, grid: Grid, bands: tuple[str, ...], edge: int) -> np.ndarray:
    """Reflectance of some bands over the grid, averaged down to ``edge`` pixels.

    Args:
        bands: roles, of which the raster has at least one.

    Returns:
        float32 (C, h, w), NaN = no data.

    Raises:
        InputError: the pixels cannot be read.
    """
    shape = small_shape(grid, edge)
    placement = place(info, grid)
    own = dict(zip(radiometry.bands, radiometry.used_bands, strict=True))
    source = placement.source(Window(0, 0, *grid.shape)) if placement.same else Window(0, 0, 0, 0)
    inside = source.clip(*info.shape) == source
    if not (placement.same and inside and all(band in own for band in bands)):
        with OpticalReader(info, radiometry, coarse_grid(grid, edge), bands) as reader:
            return reader.read(Window(0, 0, *shape))
    files = [own[band] for band in bands]
    numbers = _decimated(info, files, source, shape, Resampling.average)
    pairs = np.array([radiometry.pair(radiometry.used_bands.index(band)) for band in files], np.float32)
    out = numbers * pairs[:, 0, None, None] + pairs[:, 1, None, None]
    for plane, dn, band in zip(out, numbers, files, strict=True):
        nodata = castable(radiometry.nodata[radiometry.used_bands.index(band)], np.dtype(np.float32))
        if nodata is not None and nodata == nodata:
            plane[dn == nodata] = np.nan
    if radiometry.zero_is_nodata:
        out[:, (numbers == 0).all(axis=0)] = np.nan
    return out


def small_codes(info: RasterInfo, grid: Grid, edge: int) -> np.ndarray:
    """Codes of the first band of a raster that lies on the grid, (h, w), the nearest of each."""
    source = place(info, grid).source(Window(0, 0, *grid.shape))
    return _decimated(info, [1], source, small_shape(grid, edge), Resampling.nearest)[0]


def _decimated(
    info: RasterInfo, bands: list[int], source: Window, shape: tuple[int, int], how: Resampling
) -> np.ndarray:
    """float32 (C, h, w) in the file's numbers."""
    window = RioWindow(source.col, source.row, source.width, source.height)
    with opened(info.path) as src:
        try:
            found = read_bands(src, bands, shape, window=window, resampling=how)
        except (RasterioError, OSError) as error:
            raise read_error(info, error) from error
    return found.astype(np.float32)
