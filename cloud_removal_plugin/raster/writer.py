"""Writes a raster window by window, beside its target, and moves it into place when it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from ..errors import OutputError
from .grid import Grid
from .info import RasterInfo
from .numbers import Radiometry, to_stored, unify_nodata
from .parts import SIDECARS, discard, part_path
from .products import handed_on
from .target import LEAST_FREE_BYTES, check_target, failure, free_bytes
from .windows import Window

__all__ = ["Radiometry", "RasterWriter", "check_target", "default_codec", "to_stored", "unify_nodata"]

BLOCK_PX = 256
"""Tiles of the output; windows are multiples of them, so that each is compressed once."""

MAX_THREADS = 8
"""Compression threads; more only wait for the disk."""

_STALE_TAGS = ("STATISTICS_",)
"""Tags that are not copied: they describe the pixels of the input."""


@cache
def default_codec() -> str:
    """'zstd' where this GDAL has it (7 x faster than the usual deflate 6 at 8 % larger files), else 'deflate'."""
    try:
        with MemoryFile() as memory:
            profile = {"driver": "GTiff", "width": 1, "height": 1, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
            with memory.open(**profile, transform=Affine(1, 0, 0, 0, -1, 1), compress="zstd") as made:
                made.write(np.zeros((1, 1, 1), np.uint8))
            with memory.open() as made:
                return "zstd" if made.profile.get("compress") == "zstd" else "deflate"
    except RasterioError:
        return "deflate"


def _creation_options(
    dtype: np.dtype, count: int, colours: Sequence[str], codec: str, predictor: int | None
) -> dict[str, Any]:
    if predictor is None:
        predictor = 3 if dtype.kind == "f" else 1 if dtype.itemsize > 4 else 2
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rgb = list(colours[:3]) == ["red", "green", "blue"] and dtype.name in ("uint8", "uint16")
    return {
        "driver": "GTiff",
        "dtype": dtype.name,
        "count": count,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "interleave": "band",
        "compress": codec,
        "predictor": predictor,
        "zstd_level" if codec == "zstd" else "zlevel": 1,
        "num_threads": min(cores, MAX_THREADS),
        "bigtiff": "IF_SAFER",
        "photometric": "RGB" if rgb else "MINISBLACK",
    }


class RasterWriter:
    """A GeoTIFF in the making; a context manager.

    Leaving the ``with`` block normally moves the file to ``path`` in one step (an existing file is replaced);
    leaving it by any exception, a cancel included, deletes what was written. What is not given comes from
    ``like``: dtype, nodata, and, where the number of bands is the same, everything that is told of a band.
    """

    def __init__(
        self,
        path: str,
        like: RasterInfo,
        grid: Grid,
        *,
        dtype: str | None = None,
        count: int | None = None,
        nodata: float | str | None = "like",
        descriptions: Sequence[str | None] | None = None,
        scales: Sequence[float] | None = None,
        offsets: Sequence[float] | None = None,
        tags: Mapping[str, str] | None = None,
        band_tags: Sequence[Mapping[str, str]] | None = None,
        colorinterp: Sequence[str] | None = None,
        compress: str | None = None,
        predictor: int | None = None,
        mask: bool = False,
        forbid: Sequence[str] = (),
    ) -> None:
        """Check the target and open a temporary file beside it.

        Args:
            path: target, .tif or .tiff.
            like: the layer whose look and meaning the output keeps.
            grid: pixel grid of the output.
            dtype: NumPy name.
            count: number of bands.
            nodata: one value for all bands, None = none, "like" = that of ``like``.
            descriptions, scales, offsets, band_tags, colorinterp: one a band; empty = none.
            tags: of the dataset; None: those of ``like``, and what its name tells of product and day.
            compress: 'zstd', 'deflate' or 'none'; None = :func:`default_codec`.
            predictor: TIFF predictor; None = 2 for integers, 3 for floats.
            mask: whether :meth:`write_mask` will tell which pixels hold data, in a mask band inside the file.
            forbid: see :func:`check_target`.

        Raises:
            OutputError: see :func:`check_target`; also a disk that is too small.
        """
        check_target(path, forbid)
        self.path = os.path.abspath(path)
        self.grid = grid
        self.dtype = np.dtype(dtype or like.dtype)
        self.count = count or like.count
        self.nodata = next((v for v in like.nodata if v is not None), None) if nodata == "like" else nodata
        self._folder, self._name = os.path.split(self.path)
        self._part = part_path(self.path)
        kept = self.count == like.count
        colours = like.colorinterp if kept and colorinterp is None else colorinterp or ["undefined"] * self.count
        self._mask, self._sealed = mask, False
        self._check_space()
        options = _creation_options(self.dtype, self.count, colours, compress or default_codec(), predictor)
        self._dataset = self._create(options)
        try:
            self._label(
                like.descriptions if kept and descriptions is None else descriptions,
                like.scales if kept and scales is None else scales,
                like.offsets if kept and offsets is None else offsets,
                handed_on(like) if tags is None else tags,
                like.band_tags if kept and band_tags is None else band_tags,
                colours,
            )
        except BaseException:
            self.abandon()
            raise

    def _check_space(self) -> None:
        """Refuse what cannot fit at any compression that real scenes reach (classes compress far better)."""
        raw = self.grid.width * self.grid.height * self.count * self.dtype.itemsize
        need = raw // (50 if self.dtype.itemsize == 1 else 5) + LEAST_FREE_BYTES
        free = free_bytes(self._folder)
        if free < need:
            raise OutputError(
                f"The disk with '{self._folder}' has {free >> 20} MiB left, but '{self._name}' needs at least "
                f"{need >> 20} MiB. Free some space or choose another folder."
            )

    def _create(self, options: dict[str, Any]) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                return rasterio.open(
                    self._part,
                    "w",
                    width=self.grid.width,
                    height=self.grid.height,
                    crs=self.grid.crs_wkt or None,
                    transform=Affine(*self.grid.transform),
                    nodata=self.nodata,
                    **({k: v for k, v in options.items() if v != "none"}),
                )
        except (RasterioError, OSError, ValueError) as error:
            discard(self._part)
            raise failure(self._name, self._folder, error) from error

    def _label(self, descriptions: Any, scales: Any, offsets: Any, tags: Any, band_tags: Any, colours: Any) -> None:
        """Names, units and metadata; before the first pixel, as the file's header comes first."""
        dataset = self._dataset
        dataset.colorinterp = [ColorInterp[name] for name in colours]
        if descriptions:
            dataset.descriptions = tuple(text or None for text in descriptions)
        if scales and any(value != 1 for value in scales):
            dataset.scales = tuple(scales)
        if offsets and any(value != 0 for value in offsets):
            dataset.offsets = tuple(offsets)
        dataset.update_tags(**_keep(tags))
        for band, own in enumerate(band_tags or (), start=1):
            if _keep(own):
                dataset.update_tags(band, **_keep(own))

    def write(self, array: np.ndarray, window: Window, bands: Sequence[int] | None = None) -> None:
        """Write one window.

        Args:
            array: (C, H, W), or (H, W) for one band, in the writer's dtype.
            window: in pixels of the grid.
            bands: band numbers from 1; None = all.

        Raises:
            OutputError: the disk is full or refuses.
            ValueError: shape, dtype or window do not fit.
        """
        pixels = array[None] if array.ndim == 2 else array
        indexes = list(bands) if bands is not None else list(range(1, self.count + 1))
        if pixels.shape != (len(indexes), window.height, window.width) or pixels.dtype != self.dtype:
            raise ValueError(f"{pixels.dtype} {pixels.shape} does not fit {len(indexes)} bands of {window}.")
        if window.clip(self.grid.height, self.grid.width) != window:
            raise ValueError(f"{window} is not inside the output.")
        if free_bytes(self._folder) < LEAST_FREE_BYTES:
            raise failure(self._name, self._folder, OSError(errno.ENOSPC, "No space left on device"))
        place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            self._dataset.write(pixels, indexes=indexes, window=place)
        except (RasterioError, OSError) as error:
            raise failure(self._name, self._folder, error) from error

    def write_mask(self, valid: np.ndarray, window: Window) -> None:
        """Write which pixels (bool (H, W), True = data) of a window hold data; needs ``mask``.

        Raises:
            OutputError: the disk is full or refuses.
        """
        if not self._mask:
            raise ValueError("The writer was opened without a mask band.")
        place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                self._dataset.write_mask(valid, window=place)
        except (RasterioError, OSError) as error:
            raise failure(self._name, self._folder, error) from error

    def finish(self) -> None:
        """Close the file, check that it is whole, and move it to its target.

        Raises:
            OutputError: it is not whole, or the target cannot be replaced.
        """
        self.seal()
        try:
            os.replace(self._part, self.path)
        except OSError as error:
            self._fail(error)
        for ending in SIDECARS:
            discard(self.path + ending)
            if os.path.exists(self._part + ending):
                os.replace(self._part + ending, self.path + ending)

    def seal(self) -> None:
        """Close the file and check that it is whole; it stays beside its target. Twice is once.

        Raises:
            OutputError: it is not whole; it is deleted.
        """
        if self._sealed:
            return
        try:
            self._dataset.close()
            self._check_whole()
        except (RasterioError, OSError) as error:
            self._fail(error)
        except BaseException:
            self.abandon()
            raise
        self._sealed = True

    def _fail(self, error: BaseException) -> NoReturn:
        told = failure(self._name, self._folder, error)  # before what was written makes room on the disk again
        self.abandon()
        raise told from error

    def _check_whole(self) -> None:
        """GDAL flushes when it closes, and a failure there never reaches the caller: look at every block's place."""
        size = os.path.getsize(self._part)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(self._part) as made:
                rows, cols = -(-made.height // BLOCK_PX), -(-made.width // BLOCK_PX)
                whole = (made.height, made.width, made.count) == (*self.grid.shape, self.count)
                for band in range(1, made.count + 1):
                    for row in range(rows):
                        for col in range(cols):
                            whole = whole and _block_end(made, band, row, col) <= size
        if not whole:
            raise OSError("the file is incomplete")

    def abandon(self) -> None:
        """Close and delete what was written."""
        with contextlib.suppress(RasterioError, OSError):
            self._dataset.close()
        for ending in ("", *SIDECARS):
            discard(self._part + ending)

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()


def _keep(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(_STALE_TAGS)}


def _block_end(dataset: Any, band: int, row: int, col: int) -> float:
    """First byte behind a block; infinite where the block was never stored."""
    start = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
    size = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
    return int(start) + int(size) if start and size else float("inf")
