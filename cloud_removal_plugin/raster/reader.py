"""Reads one window of an optical raster as reflectance on the scene's grid.

Most layers of a series lie on the very pixels of the target. For them reading is one call and converting one pass over
each band while it is in the cache; only what a band's extremes betray (nodata, saturation, infinities) costs a second.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RioWindow

from ..errors import InputError
from .align import Placement, place
from .grid import Grid
from .info import RasterInfo, castable, read_error
from .opened import OpenRaster
from .radiometry import Radiometry
from .sample import coarse
from .windows import Window

WARP_TOLERANCE = 0.02
"""Error of the warper's approximation in source pixels (its default of an eighth is visible between dates)."""

LOOK_EDGE = 256
"""A raster that is warped and has no nodata tag is looked at in this many rows and columns for its fill value."""

LOOK_BANDS = 3

LIKE = {"nir": "nir08", "nir08": "nir"}
"""Roles that stand in for each other where a sensor has only one of them (B8 and B8A overlap)."""


class OpticalReader(OpenRaster):
    """Reflectance of one raster on the scene's grid. One GDAL handle: not for several threads, see :meth:`reopen`.

    Attributes:
        info, radiometry, grid: as given.
        bands: role of each plane that :meth:`read` returns.
        level: "L1C", "L2A" or "".
        same_grid: whether the raster's pixels are the scene's (no warp).
        places: planes that the raster fills, ascending; the others are NaN.
        missing: a sentence about those, '' where there are none. notes: sentences about missing bands and warping.
    """

    def __init__(
        self, info: RasterInfo, radiometry: Radiometry, grid: Grid, bands: Sequence[str] | None = None
    ) -> None:
        """Open the raster.

        Args:
            bands: roles wanted, in this order (the target's); None for the raster's own.

        Raises:
            GridError: the raster cannot be placed on the grid.
            InputError: it cannot be opened, or has none of the bands.
        """
        self.info, self.radiometry, self.grid = info, radiometry, grid
        self.bands: tuple[str, ...] = tuple(bands) if bands is not None else radiometry.bands
        self.level = radiometry.level
        self._placement = place(info, grid)
        self.same_grid = self._placement.same
        self._planes, self._files, self.notes, self.missing = _match(info, radiometry, self.bands)
        self.places: tuple[int, ...] = tuple(self._planes)
        self._scratch: np.ndarray | None = None
        self._lock = threading.Lock()  # a GDAL handle and the scratch array serve one thread at a time
        self._open(info.path)
        if not self.same_grid:
            self.notes += (f"{info.name}: warped to the input's grid ({self._resampling().name}).",)

    def reopen(self, bands: Sequence[str] | None = None) -> OpticalReader:
        """An equal reader with a handle of its own, for another thread; of some ``bands`` only where given."""
        return OpticalReader(self.info, self.radiometry, self.grid, self.bands if bands is None else bands)

    def place_of(self, band: int) -> int | None:
        """The plane of :meth:`read` that a band of the file (from 1) fills; None where it fills none."""
        return dict(zip(self._files, self._planes, strict=True)).get(band)

    def band_at(self, plane: int) -> int:
        """The band of the file (from 1) that fills a plane of :meth:`read`; a plane that none fills is a KeyError."""
        return dict(zip(self._planes, self._files, strict=True))[plane]

    def _resampling(self) -> Resampling:
        return self._placement.resampling("values")

    def read(self, window: Window, out: np.ndarray | None = None) -> np.ndarray:
        """Reflectance of a window; it may reach over the scene's edge, where there is no data.

        Args:
            out: float32 (C, H, W) to fill, or None for a new array.

        Returns:
            float32 (C, H, W), 1.0 = 100 %, NaN = no data.

        Raises:
            InputError: the pixels cannot be read.
        """
        out = self._empty(window, out)
        inside = self._inside(window)
        if inside.pixels:
            rows, cols = inside.slices(window)
            view = out[:, rows, cols]
            if view.shape != out.shape or len(self._files) < len(self.bands):
                out.fill(np.nan)
            try:
                with self._lock:
                    self._fill(view, inside)
            except (RasterioError, OSError) as error:
                raise read_error(self.info, error) from error
        else:
            out.fill(np.nan)
        return out

    def read_raw(self, window: Window) -> np.ndarray:
        """All bands of a window as the file holds them, (count, H, W) in the file's dtype: for copies bit for bit.

        Outside the raster the planes are nodata, or 0 where there is no such tag.

        Raises:
            InputError: the raster is not on the scene's pixels, or its pixels cannot be read.
        """
        if not self.same_grid:
            raise InputError(
                f"Layer '{self.info.name}' does not lie on the scene's pixels, so it cannot be copied unchanged."
            )
        try:
            with self._lock:
                return self._raw(window)
        except (RasterioError, OSError) as error:
            raise read_error(self.info, error) from error

    def read_hidden(self, window: Window) -> np.ndarray | None:
        """Bool (H, W), True where the file's mask band hides a pixel of its own; None where it has no such band.

        Raises:
            InputError: the mask cannot be read.
        """
        if not self.info.mask_band:
            return None
        hidden = np.ones((window.height, window.width), bool)
        inside = self._inside(window)
        if inside.pixels:
            try:
                with self._lock:
                    hidden[inside.slices(window)] = self._hidden(inside)
            except (RasterioError, OSError) as error:
                raise read_error(self.info, error) from error
        return hidden

    def read_with_raw(self, window: Window, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`read_raw` and :meth:`read` of one window for the price of one read (same grid only)."""
        raw = self.read_raw(window)
        out = self._empty(window, out)
        inside = self._inside(window)
        rows, cols = inside.slices(window)
        if inside != window or len(self._files) < len(self.bands):
            out.fill(np.nan)
        if inside.pixels:
            with self._lock:
                hidden = self._hidden(inside)
            self._convert([raw[b - 1, rows, cols] for b in self._files], out[:, rows, cols], hidden)
        return raw, out

    def _raw(self, window: Window) -> np.ndarray:
        inside = self._inside(window)
        every = list(range(1, self.info.count + 1))
        out = np.empty((len(every), window.height, window.width), self._dtype(every))
        if inside == window:
            return self._numbers(every, inside, out)
        for plane, nodata in zip(out, self.info.nodata, strict=True):
            plane.fill(castable(nodata, out.dtype) or 0)
        if inside.pixels:
            rows, cols = inside.slices(window)
            part = np.empty((len(every), inside.height, inside.width), out.dtype)
            out[:, rows, cols] = self._numbers(every, inside, part)
        return out

    def _dtype(self, bands: list[int]) -> np.dtype:
        return np.result_type(*(self.info.dtypes[b - 1] for b in bands))

    def _numbers(self, bands: list[int], inside: Window, out: np.ndarray) -> np.ndarray:
        """Bands of the file into ``out``, one call where they are of one dtype (rasterio refuses mixed ones)."""
        window = self._rio(inside)
        if len({self.info.dtypes[b - 1] for b in bands}) == 1:
            return self._dataset.read(bands, window=window, out=out)
        for plane, band in zip(out, bands, strict=True):
            plane[...] = self._dataset.read(band, window=window)
        return out

    def _empty(self, window: Window, out: np.ndarray | None) -> np.ndarray:
        shape = (len(self.bands), window.height, window.width)
        if out is None:
            return np.empty(shape, np.float32)
        if out.shape != shape or out.dtype != np.float32:
            raise ValueError(f"out must be float32 {shape}, not {out.dtype} {out.shape}")
        return out

    def _inside(self, window: Window) -> Window:
        """The part of a window that lies on the scene and, without a warp, on the raster; in scene pixels."""
        inside = window.clip(*self.grid.shape)
        if not self.same_grid or not inside.pixels:
            return inside
        return self._placement.covered(inside, self.info.shape)

    def _rio(self, inside: Window) -> RioWindow:
        source = self._placement.source(inside) if self.same_grid else inside
        return RioWindow(source.col, source.row, source.width, source.height)

    def _buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A reused array for raw numbers: fresh ones of this size cost page faults at every window."""
        size = int(np.prod(shape))
        if self._scratch is None or self._scratch.size < size or self._scratch.dtype != dtype:
            self._scratch = np.empty(size, dtype)
        return self._scratch[:size].reshape(shape)

    def _fill(self, view: np.ndarray, inside: Window) -> None:
        shape = (len(self._files), inside.height, inside.width)
        if self.same_grid:
            raw = self._buffer(shape, self._dtype(self._files))
            self._numbers(self._files, inside, raw)
            self._convert(raw, view, self._hidden(inside))
            return
        if self._warped is None:
            self._warped = _warp(self._dataset, self.info, self.radiometry, self.grid, self._placement)
        raw = self._buffer(shape, np.dtype(np.float32))
        self._warped.read(self._files, window=self._rio(inside), out=raw)
        empty = _all_zero(raw) if self.radiometry.zero_is_nodata else None
        for number, file_band, dn in zip(self._planes, self._files, raw, strict=True):
            _scaled(dn, view[number], self._pair(file_band))
            _drop_infinite(view[number])
            if self.radiometry.saturated:
                view[number][dn >= self.radiometry.saturated] = np.nan
        if empty is not None and empty.any():
            view[:, empty] = np.nan

    def _pair(self, band: int) -> tuple[float, float]:
        """Scale and offset of a band of the file (from 1)."""
        return self.radiometry.pair(self.radiometry.used_bands.index(band))

    def _hidden(self, inside: Window) -> np.ndarray | None:
        """Bool (H, W): pixels that the alpha band or the mask of the file hides; None where there is no mask."""
        alpha = self.info.transparency(self.radiometry.used_bands)
        if not (self.info.mask_band or alpha):
            return None
        window = self._rio(inside)
        if alpha is not None:
            mask = self._dataset.read(alpha, window=window)
        else:
            mask = self._dataset.read_masks(1, window=window)
        return mask == 0

    def _convert(self, raw: np.ndarray | list[np.ndarray], view: np.ndarray, hidden: np.ndarray | None) -> None:
        """Numbers of the file to reflectance, band by band while it is in the cache."""
        radiometry = self.radiometry
        for number, file_band, dn in zip(self._planes, self._files, raw, strict=True):
            plane = view[number]
            _scaled(dn, plane, self._pair(file_band))
            nodata = castable(radiometry.nodata[radiometry.used_bands.index(file_band)], dn.dtype)
            if nodata is not None and not (nodata == 0 and _zero_is_valid(radiometry, self.bands[number])):
                _blank(plane, dn, nodata)
            if dn.dtype == np.uint16 and radiometry.saturated and dn.max() >= radiometry.saturated:
                plane[dn >= radiometry.saturated] = np.nan
            if dn.dtype.kind == "f":
                _drop_infinite(plane)
        empty = _all_zero(raw) if radiometry.zero_is_nodata else None
        if empty is not None and empty.any():
            view[:, empty] = np.nan
        if hidden is not None and hidden.any():
            view[:, hidden] = np.nan


def _match(
    info: RasterInfo, radiometry: Radiometry, wanted: tuple[str, ...]
) -> tuple[list[int], list[int], tuple[str, ...], str]:
    """Planes of the result that the raster fills, the file band of each, sentences, and the one on what is missing."""
    own = dict(zip(radiometry.bands, radiometry.used_bands, strict=True))
    planes, files, missing, like = [], [], [], []
    for number, role in enumerate(wanted):
        source = role
        if role not in own and LIKE.get(role) in own and LIKE.get(role) not in wanted:
            source = LIKE[role]
            like.append(f"{source} for {role}")
        if source in own:
            planes.append(number)
            files.append(own[source])
        else:
            missing.append(role)
    if not planes:
        raise InputError(
            f"Layer '{info.name}' has none of the input layer's bands ({', '.join(wanted)}; it has "
            f"{', '.join(radiometry.bands)}). Choose a layer of a like sensor, or name the bands in the files."
        )
    notes = []
    if like:
        notes.append(f"{info.name}: {', '.join(like)}.")
    lacks = f"{info.name}: has no {', '.join(missing)}; these bands count as no data on this date." if missing else ""
    return planes, files, tuple([*notes, lacks] if lacks else notes), lacks


def _scaled(dn: np.ndarray, plane: np.ndarray, pair: tuple[float, float]) -> None:
    """Reflectance = DN * scale + offset, in float32; a cast and a product are faster than a product that casts."""
    np.copyto(plane, dn, casting="same_kind")
    scale, offset = pair
    if scale != 1.0:
        plane *= np.float32(scale)
    if offset:
        plane += np.float32(offset)


def _zero_is_valid(radiometry: Radiometry, role: str) -> bool:
    """Cirrus is truly 0 in clear air, so a 0 there is a hole only where the other bands are 0 as well."""
    return role == "cirrus" and radiometry.zero_is_nodata


def _blank(plane: np.ndarray, dn: np.ndarray, nodata: float | int) -> None:
    """NaN where the band holds its nodata value; NaN as a nodata value needs nothing."""
    if nodata != nodata:
        return
    holes = dn == nodata
    if holes.any():
        plane[holes] = np.nan


def _drop_infinite(plane: np.ndarray) -> None:
    """NaN for infinities; finite extremes (the usual case) prove that there is none."""
    if not (np.isfinite(plane.min(initial=0)) and np.isfinite(plane.max(initial=0))):
        plane[np.isinf(plane)] = np.nan


def _all_zero(raw: np.ndarray | list[np.ndarray]) -> np.ndarray | None:
    """Bool (H, W): pixels that are 0 in every band; None at once where the first band has no 0."""
    empty = raw[0] == 0
    if not empty.any():
        return None
    for dn in raw[1:]:
        empty &= dn == 0
    return empty


def _warp(
    dataset: DatasetReader, info: RasterInfo, radiometry: Radiometry, grid: Grid, placement: Placement
) -> WarpedVRT:
    """The raster on the scene's grid in float32 DN, NaN where it has no data.

    Nodata is named to the warper: a 0 or -9999 that is mixed into a neighbour is wrong and no longer recognisable.
    """
    options: dict[str, object] = {**placement.warp_scale()}
    alpha = info.transparency(radiometry.used_bands)
    if alpha is not None:
        options["src_alpha"] = alpha
    else:
        fill, everywhere = _fill_value(info, radiometry)
        if fill is not None:
            options["src_nodata"] = fill
            options["UNIFIED_SRC_NODATA"] = "YES" if everywhere else "NO"
    return WarpedVRT(
        dataset,
        crs=grid.crs_wkt,
        src_crs=info.crs_wkt,
        transform=Affine(*grid.transform),
        width=grid.width,
        height=grid.height,
        resampling=placement.resampling("values"),
        nodata=np.nan,
        dtype="float32",
        tolerance=WARP_TOLERANCE,
        **options,
    )


def _fill_value(info: RasterInfo, radiometry: Radiometry) -> tuple[float | None, bool]:
    """The number that means "no data" to the warper, and whether only a pixel with it in all bands is a hole.

    The warper takes one number, so where the file has no tag the raster is looked at coarsely for the one that it uses.
    """
    tag = next((v for v in radiometry.nodata if v is not None), None)
    if tag is not None:
        return tag, tag == 0 and radiometry.zero_is_nodata
    if info.mask_band:
        return None, False
    look = coarse(info, radiometry.used_bands[:LOOK_BANDS], LOOK_EDGE)
    candidates = [0.0] if radiometry.zero_is_nodata else []
    candidates += [radiometry.saturated] if radiometry.saturated is not None else []
    shares = {value: float((look == value).all(axis=0).mean()) for value in candidates}
    if look.dtype.kind == "f" and (np.isnan(look).any() or not any(shares.values())):
        return np.nan, False
    if not candidates:
        return None, False
    return max(candidates, key=lambda value: shares[value]), True
