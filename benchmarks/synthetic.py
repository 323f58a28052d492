"""Rasters made by code for timing: real pixels are not needed there, real sizes and real entropy are.

A tile of fields with seasonal change, mixed pixels and sensor noise is mirrored over the scene, so that a large scene
costs little to make and compresses like a real one. Masks hide blobs of several sizes.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy import ndimage

TILE = 512
BANDS = 13
DATES = 6
_NAMES = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
_PIXELS = (6, 1, 1, 1, 2, 2, 2, 1, 2, 6, 6, 2, 2)
"""Native pixel of each band in units of 10 m."""
_FIRST_DAY = dt.date(2018, 5, 1)
_STEP_DAYS = 15
_UTM = "EPSG:32633"


@dataclass(frozen=True)
class Stack:
    """Paths of a synthetic series, target first, with a mask for each date."""

    rasters: tuple[Path, ...]
    masks: tuple[Path, ...]

    @property
    def dates(self) -> str:
        """The DATES text."""
        return ";".join(str(_FIRST_DAY + dt.timedelta(_STEP_DAYS * _when(k))) for k in range(len(self.rasters)))


def _when(index: int) -> int:
    """Place in time of the file with this index: the target (0) stands in the middle of the series."""
    middle = DATES // 2
    return middle if index == 0 else index - 1 if index <= middle else index


def tiles(dates: int = DATES, bands: int = BANDS, edge: int = TILE, seed: int = 0) -> np.ndarray:
    """uint16 (dates, bands, edge, edge), reflectance x 10000, in order of time."""
    rng = np.random.default_rng(seed)
    fields = ndimage.zoom(rng.integers(0, 24, (edge // 16, edge // 16)), 16, order=0)
    texture = ndimage.gaussian_filter(rng.standard_normal((edge, edge)), 2)
    texture /= texture.std()
    spectra = rng.uniform(0.03, 0.35, (24, bands))
    phase, swing = rng.uniform(0, 2 * np.pi, 24), rng.uniform(0.1, 0.5, 24)
    out = np.empty((dates, bands, edge, edge), np.uint16)
    for t in range(dates):
        season = 1 + swing * np.sin(phase + 2 * np.pi * t * _STEP_DAYS / 365)
        for b in range(bands):
            value = (spectra[:, b] * season)[fields] * (1 + 0.06 * texture)
            value += rng.normal(0, 0.003, value.shape)
            out[t, b] = np.clip(_native(value, _PIXELS[b % BANDS]) * 10000, 1, 10000)
    return out


def _native(value: np.ndarray, factor: int) -> np.ndarray:
    """A band as a sensor with ``factor`` times larger pixels sees it, resampled to the common grid as products are."""
    if factor == 1:
        return value
    small = ndimage.zoom(ndimage.uniform_filter(value, factor), 1 / factor, order=1, grid_mode=True, mode="reflect")
    zoom = (value.shape[0] / small.shape[0], value.shape[1] / small.shape[1])
    return ndimage.zoom(small, zoom, order=1, grid_mode=True, mode="nearest")


def cloud(height: int, width: int, share: float, seed: int) -> np.ndarray:
    """uint8 (H, W), 1 on about ``share`` of the pixels, in blobs."""
    rng = np.random.default_rng(seed)
    coarse = 16
    shape = (-(-height // coarse) + 1, -(-width // coarse) + 1)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 6) * 6 + ndimage.gaussian_filter(
        rng.standard_normal(shape), 2
    )
    fine = ndimage.zoom(field, coarse, order=1)[:height, :width]
    return (fine > np.quantile(fine, 1 - share)).astype(np.uint8)


def _mirrored(tile: np.ndarray, row: int, col: int, size: int) -> np.ndarray:
    """The part of the mirrored plane that starts at (row, col), (bands, size, size) or less."""
    rows = np.arange(row, row + size) % (2 * TILE)
    cols = np.arange(col, col + size) % (2 * TILE)
    rows, cols = np.where(rows < TILE, rows, 2 * TILE - 1 - rows), np.where(cols < TILE, cols, 2 * TILE - 1 - cols)
    return tile[:, rows][:, :, cols]


def profile(size: int, bands: int, dtype: str = "uint16", nodata: float | None = 0) -> dict:
    """Creation options of every benchmark raster: tiles of 256, deflate 1 with predictor 2."""
    return {
        "driver": "GTiff", "width": size, "height": size, "count": bands, "dtype": dtype, "nodata": nodata,
        "crs": _UTM, "transform": from_origin(500000, 4600000, 10, 10), "tiled": True, "blockxsize": 256,
        "blockysize": 256, "compress": "deflate", "zlevel": 1, "predictor": 2, "interleave": "band",
    }  # fmt: skip


def write_stack(
    folder: Path, size: int, target_mask: np.ndarray | None = None, dates: int = DATES, bands: int = BANDS
) -> Stack:
    """Write a series of ``dates`` rasters of ``size`` squared; the target is half cloudy unless a mask is given."""
    folder.mkdir(exist_ok=True)
    content = tiles(dates, bands)
    rasters, masks = [], []
    for index in range(dates):
        mask = cloud(size, size, 0.5 if index == 0 else 0.3, seed=index)
        if index == 0 and target_mask is not None:
            mask = target_mask
        rasters.append(folder / f"S2_{_FIRST_DAY + dt.timedelta(_STEP_DAYS * _when(index)):%Y%m%d}.tif")
        masks.append(folder / f"mask_{index}.tif")
        with rasterio.open(rasters[-1], "w", **profile(size, bands)) as data:
            data.descriptions = _NAMES[:bands]
            for row in range(0, size, TILE):
                for col in range(0, size, TILE):
                    part = _mirrored(content[_when(index)], row, col, TILE)[:, : size - row, : size - col].copy()
                    hidden = mask[row : row + TILE, col : col + TILE] > 0
                    part[:, hidden] = np.minimum(part[:, hidden] + 5000, 10000)
                    data.write(part, window=((row, row + part.shape[1]), (col, col + part.shape[2])))
        write_mask(masks[-1], mask)
    return Stack(tuple(rasters), tuple(masks))


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a uint8 mask on the grid of the benchmark rasters."""
    with rasterio.open(path, "w", **profile(mask.shape[0], 1, "uint8", None)) as data:
        data.write(mask, 1)


def repeated(source: Path, path: Path, times: int, rows: int | None = None) -> Path:
    """A VRT that lays a square raster ``times`` x ``times`` side by side: any size for no disk and no time.

    With ``rows``, only the first so many rows of them hold the raster; the rest is 0.
    """
    with rasterio.open(source) as data:
        edge, crs, transform = data.width, data.crs.to_wkt(), data.transform.to_gdal()
        kinds = [(data.dtypes[i], data.nodatavals[i], data.descriptions[i]) for i in range(data.count)]
    names = {"uint16": "UInt16", "uint8": "Byte", "float32": "Float32"}
    lines = [f'<VRTDataset rasterXSize="{edge * times}" rasterYSize="{edge * times}">',
             f"<SRS>{escape(crs)}</SRS><GeoTransform>{', '.join(map(str, transform))}</GeoTransform>"]  # fmt: skip
    for band, (dtype, nodata, text) in enumerate(kinds, start=1):
        lines.append(f'<VRTRasterBand dataType="{names[dtype]}" band="{band}" blockXSize="256" blockYSize="256">')
        lines.append(f"<Description>{escape(text or '')}</Description>")
        if nodata is not None:
            lines.append(f"<NoDataValue>{nodata}</NoDataValue>")
        for row in range(times if rows is None else rows):
            for col in range(times):
                lines.append(
                    f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(str(source))}</SourceFilename>'
                    f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="{edge}" ySize="{edge}"/>'
                    f'<DstRect xOff="{col * edge}" yOff="{row * edge}" xSize="{edge}" ySize="{edge}"/></SimpleSource>'
                )
        lines.append("</VRTRasterBand>")
    path.write_text("\n".join([*lines, "</VRTDataset>"]))
    return path
