"""Reads Sentinel-1 backscatter in dB on the scene's grid.

Resampling averages power, so other grids are warped in linear power and turned to dB afterwards (averaging decibels
would be biased by speckle: about -2.5 dB for a single look).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window as RioWindow

from ..errors import InputError
from .align import place
from .bandnames import named
from .dates import date_of, find_date
from .grid import Grid
from .info import RasterInfo, castable, read_error
from .opened import OpenRaster
from .sample import sample
from .windows import Window

DB_LOWEST, DB_HIGHEST = -60.0, 40.0
"""Backscatter outside is no measurement (nodata of unknown value, border noise)."""

AMPLITUDE_DB = -83.0
"""dB = 20 log10(DN) - 83: the calibrated 16-bit encoding of openEO and WorldCereal composites."""

POWER_HIGHEST = 5.0
"""99 % quantile below which non-negative numbers are linear power."""

MOST_NUMBERS = 1 << 25
"""Source numbers (bands x pixels) that are held at once while warping; windows that need more are halved."""

MARGIN_PX = 4
"""Source pixels read beyond a window that is warped, so that windows agree at their borders."""


@dataclass(frozen=True)
class Unit:
    """How numbers become linear power: kind "db", "power" or "amplitude"; dB are ``dn * factor + offset``."""

    kind: str
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Acquisition:
    """File bands (from 1) of one acquisition, None where a polarisation is missing, and its date where known."""

    vv: int | None
    vh: int | None
    day: date | None = None


class RadarReader(OpenRaster):
    """VV and VH of every acquisition of a radar raster. One GDAL handle: not for several threads, see :meth:`reopen`.

    Attributes:
        info, grid: as given.
        acquisitions: bands and dates of each, R of them.
        unit: how the numbers are stored.
        notes: sentences for the log: unit, band order, dates.
    """

    def __init__(self, info: RasterInfo, grid: Grid, *, dates: Sequence[date] | None = None) -> None:
        """Open the raster and find out its unit and bands.

        Args:
            dates: the optical layers' dates, input first; given to the acquisitions in order where the raster itself
                has no dates and as many acquisitions.

        Raises:
            GridError: the raster cannot be placed on the grid.
            InputError: it is a picture, or its bands cannot be told apart, or it cannot be opened.
        """
        self.info, self.grid = info, grid
        self._dates = tuple(dates) if dates is not None else None
        self._placement = place(info, grid)
        self.same_grid = self._placement.same
        self.acquisitions, bands_note = _acquisitions(info)
        self.unit, unit_note = _unit(info, self._bands())
        self.acquisitions, dates_note = _dated(info, self.acquisitions, self._dates)
        self.notes = tuple(f"{info.name}: {note}" for note in (bands_note, unit_note, dates_note) if note)
        self._open(info.path)

    @property
    def count(self) -> int:
        """Number of acquisitions, R."""
        return len(self.acquisitions)

    def reopen(self) -> RadarReader:
        """An equal reader with a handle of its own, for another thread."""
        other = object.__new__(RadarReader)
        other.__dict__.update(self.__dict__)
        other._open(self.info.path)
        return other

    def days(self, target: date | None, optical_days: Sequence[float] = ()) -> np.ndarray:
        """Days of the acquisitions relative to the target, float64 (R,).

        Args:
            target: the target's date, None where it is not known.
            optical_days: the optical layers' days; taken over where dates are unknown and there are as many
                acquisitions.
        """
        known = [a.day for a in self.acquisitions]
        if target is not None and all(d is not None for d in known):
            return np.array([(d - target).days for d in known if d is not None], dtype=np.float64)
        if len(optical_days) == self.count:
            return np.asarray(optical_days, dtype=np.float64).copy()
        return np.zeros(self.count)

    def read(self, window: Window) -> np.ndarray:
        """Backscatter of a window; it may reach over the scene's edge, where there is no data.

        Returns:
            float32 (R, 2, H, W): VV and VH in dB, NaN = no data or no such polarisation.

        Raises:
            InputError: the pixels cannot be read.
        """
        out = np.full((self.count, 2, window.height, window.width), np.nan, np.float32)
        inside = window.clip(*self.grid.shape)
        if not inside.pixels:
            return out
        try:
            db, inside = self._same(inside) if self.same_grid else (self._on_grid(inside), inside)
        except (RasterioError, OSError) as error:
            raise read_error(self.info, error) from error
        if db is None:
            return out
        order = {band: i for i, band in enumerate(self._bands())}
        rows, cols = inside.slices(window)
        for number, acquisition in enumerate(self.acquisitions):
            for pol, band in enumerate((acquisition.vv, acquisition.vh)):
                if band is not None:
                    out[number, pol, rows, cols] = db[order[band]]
        return out

    def _bands(self) -> list[int]:
        return sorted({b for a in self.acquisitions for b in (a.vv, a.vh) if b is not None})

    def _same(self, inside: Window) -> tuple[np.ndarray | None, Window]:
        covered = self._placement.covered(inside, self.info.shape)
        if not covered.pixels:
            return None, inside
        return self._db(self._valid(self._placement.source(covered))), covered

    def _valid(self, source: Window) -> np.ndarray:
        """Numbers of the file in float32, NaN where there are none."""
        window = RioWindow(source.col, source.row, source.width, source.height)
        raw = self._dataset.read(self._bands(), window=window)
        values = raw.astype(np.float32)
        for plane, dn, band in zip(values, raw, self._bands(), strict=True):
            nodata = castable(self.info.nodata[band - 1], dn.dtype)
            if nodata is not None:
                plane[dn == nodata] = np.nan
        values[~np.isfinite(values)] = np.nan
        # exact zeros are fill in every product; in dB a lone 0 may be a measurement, all bands at once are not
        empty = (values == 0).all(axis=0)
        values[:, empty] = np.nan
        if self.info.has_mask:
            band = self.info.alpha
            mask = self._dataset.read(band, window=window) if band else self._dataset.read_masks(1, window=window)
            values[:, mask == 0] = np.nan
        return values

    def _power(self, values: np.ndarray) -> np.ndarray:
        """Linear power of file numbers, NaN where that is no backscatter."""
        if self.unit.kind == "db":
            return np.power(np.float32(10.0), self._db(values) / np.float32(10.0), dtype=np.float32)
        power = np.square(values) * np.float32(self.unit.factor) if self.unit.kind == "amplitude" else values
        return np.where(power > 0, power, np.float32(np.nan))

    def _db(self, values: np.ndarray) -> np.ndarray:
        """DB of file numbers, without a detour where they are dB already."""
        if self.unit.kind == "db":
            db = values if self.unit.factor == 1.0 else values * np.float32(self.unit.factor)
            if self.unit.offset:
                db = db + np.float32(self.unit.offset)
        else:
            db = _decibel(self._power(values))
        db[(db < DB_LOWEST) | (db > DB_HIGHEST)] = np.nan
        return db

    def _on_grid(self, inside: Window) -> np.ndarray:
        """DB (C, H, W) on the scene's grid, warped in linear power."""
        target = Affine(*self.grid.window_transform(inside.row, inside.col))
        out = np.full((len(self._bands()), inside.height, inside.width), np.nan, np.float32)
        source = self._source_window(inside)
        if not source.pixels:
            return out
        if source.pixels * len(out) > MOST_NUMBERS and max(inside.height, inside.width) > 1:
            for part in _halves(inside):
                out[(slice(None), *part.slices(inside))] = self._on_grid(part)
            return out
        a, _, c, _, e, f = self.info.transform
        own = Affine(a, 0.0, c + a * source.col, 0.0, e, f + e * source.row)
        reproject(
            self._power(self._valid(source)),
            out,
            src_transform=own,
            src_crs=CRS.from_wkt(self.info.crs_wkt),
            src_nodata=np.nan,
            dst_transform=target,
            dst_crs=CRS.from_wkt(self.grid.crs_wkt),
            dst_nodata=np.nan,
            resampling=self._placement.resampling("smooth"),
            num_threads=1,
            **self._placement.warp_scale(),
        )
        return _decibel(out)

    def _source_window(self, inside: Window) -> Window:
        """Pixels of the raster that a scene window needs, with a margin for the resampling."""
        a, _, c, _, e, f = self.grid.window_transform(inside.row, inside.col)
        xs, ys = sorted((c, c + a * inside.width)), sorted((f, f + e * inside.height))
        left, bottom, right, top = transform_bounds(
            CRS.from_wkt(self.grid.crs_wkt), CRS.from_wkt(self.info.crs_wkt), xs[0], ys[0], xs[1], ys[1], densify_pts=21
        )
        a, _, c, _, e, f = self.info.transform
        cols, rows = sorted(((left - c) / a, (right - c) / a)), sorted(((top - f) / e, (bottom - f) / e))
        margin = MARGIN_PX + int(np.ceil(self._placement.ratio))
        row0, col0 = int(np.floor(rows[0])) - margin, int(np.floor(cols[0])) - margin
        row1, col1 = int(np.ceil(rows[1])) + margin, int(np.ceil(cols[1])) + margin
        return Window(row0, col0, row1 - row0, col1 - col0).clip(*self.info.shape)


def _halves(window: Window) -> tuple[Window, Window]:
    """A window cut in two across its longer side."""
    row, col, height, width = window
    if height >= width:
        return Window(row, col, height // 2, width), Window(row + height // 2, col, height - height // 2, width)
    return Window(row, col, height, width // 2), Window(row, col + width // 2, height, width - width // 2)


def _decibel(power: np.ndarray) -> np.ndarray:
    """10 log10, NaN where the power is not positive (a side lobe of the resampling, or no data)."""
    out = np.full(power.shape, np.nan, np.float32)
    np.log10(power, out=out, where=power > 0)
    return out * np.float32(10.0)


def _polarisation(text: str) -> str:
    match = re.search(r"(?i)(?<![a-z])(vv|vh|hh|hv)(?![a-z])", text)
    return match[1].lower() if match else ""


def _acquisitions(info: RasterInfo) -> tuple[tuple[Acquisition, ...], str]:
    """Which band is which polarisation of which acquisition.

    Raises:
        InputError: the bands cannot be told apart.
    """
    pols = [_polarisation(text) for text in info.descriptions]
    if info.count == 1 and not pols[0]:
        pols[0] = _polarisation(info.name)
    if any(pols):
        co = [i + 1 for i, p in enumerate(pols) if p in ("vv", "hh")]
        cross = [i + 1 for i, p in enumerate(pols) if p in ("vh", "hv")]
        note = "polarisations by band name."
        if any(p in ("hh", "hv") for p in pols):
            note += " HH and HV stand in for VV and VH."
        return _paired(info, co, cross), note
    optical = [text for band, text in enumerate(info.descriptions, start=1) if named(info, band)]
    if sum(not re.fullmatch(r"(?i)(band[_ ]?)?b?\d+", text) or "0" in text for text in optical) > 1:
        raise InputError(
            f"Radar layer '{info.name}' has optical bands ({', '.join(optical[:4])}). Choose a Sentinel-1 raster, or "
            "leave it empty."
        )
    bands = [
        i for i in range(1, info.count + 1) if i != info.alpha and not re.search(r"(?i)angle", info.descriptions[i - 1])
    ]
    if len(bands) == 1:
        return (Acquisition(bands[0], None),), "one band without a name, taken as VV."
    if len(bands) == 3:
        bands = bands[:2]
    if len(bands) % 2:
        raise InputError(
            f"Radar layer '{info.name}' has {len(bands)} bands without names. Give VV, or VV and VH of each "
            "acquisition, or name the bands."
        )
    values = sample(info, tuple(bands)).astype(np.float64)
    pairs = list(zip(bands[::2], bands[1::2], strict=True))
    swapped = bool(values.shape[1]) and np.median(values[::2]) < np.median(values[1::2])
    note = f"{len(pairs)} x 2 bands without names; the darker band is taken as VH."
    return tuple(Acquisition(b, a) if swapped else Acquisition(a, b) for a, b in pairs), note


def _paired(info: RasterInfo, co: list[int], cross: list[int]) -> tuple[Acquisition, ...]:
    """Named bands paired by the date in their names or tags, else the k-th VV with the k-th VH."""
    days = {b: _band_date(info, b) for b in (*co, *cross)}
    dated = [days[b] for b in co], [days[b] for b in cross]
    if all(d is not None for d in days.values()) and all(len(set(d)) == len(d) for d in dated):
        vv, vh = {days[b]: b for b in co}, {days[b]: b for b in cross}
        every = sorted({*vv, *vh}, key=str)
        return tuple(Acquisition(vv.get(d), vh.get(d), d) for d in every)
    count = max(len(co), len(cross))
    if co and cross and len(co) != len(cross):
        raise InputError(
            f"Radar layer '{info.name}' has {len(co)} VV and {len(cross)} VH bands without dates, so they cannot be "
            "paired. Write the date into the band names ('VV 2018-07-05')."
        )
    return tuple(Acquisition(co[k] if co else None, cross[k] if cross else None) for k in range(count))


def _band_date(info: RasterInfo, band: int) -> date | None:
    found = find_date(info.descriptions[band - 1])
    if found:
        return found
    tags = {k.lower(): v for k, v in info.band_tags[band - 1].items()}
    return next((d for key in ("date", "datetime", "acquisition_date") if (d := find_date(tags.get(key, "")))), None)


def _dated(
    info: RasterInfo, acquisitions: tuple[Acquisition, ...], dates: Sequence[date] | None
) -> tuple[tuple[Acquisition, ...], str]:
    """Dates of the acquisitions: their own, the file's for one, else the optical layers' where the numbers agree."""
    count = len(acquisitions)
    if all(a.day is not None for a in acquisitions):
        return acquisitions, "dates from the band names or tags."
    if count == 1:
        day = date_of(info)
        if day is not None:
            return (Acquisition(acquisitions[0].vv, acquisitions[0].vh, day),), f"acquired on {day.isoformat()}."
        return acquisitions, "no date in its name or tags; taken as of the input's date."
    if dates is not None and len(dates) == count:
        given = tuple(Acquisition(a.vv, a.vh, d) for a, d in zip(acquisitions, dates, strict=True))
        return (
            given,
            f"{count} acquisitions without dates, as many as optical layers: given their dates in the same order.",
        )
    return acquisitions, f"{count} acquisitions without dates; write them into the band names ('VV 2018-07-05')."


def _unit(info: RasterInfo, bands: list[int]) -> tuple[Unit, str]:
    """dB, linear power or amplitude, by the numbers.

    Raises:
        InputError: an 8-bit picture.
    """
    dtype = np.dtype(info.dtypes[bands[0] - 1])
    scale, offset = info.scales[bands[0] - 1], info.offsets[bands[0] - 1]
    values = sample(info, tuple(bands)).astype(np.float64)
    values = values[(values != 0) & (np.abs(values) < 1e7)]
    told = float(np.median(values)) * scale + offset if values.size else np.nan
    if dtype.kind in "iu" and offset < 0 < scale and -35.0 <= told <= 2.0:
        note = f"dB stored as integers times {scale:g} - {-offset:g}, as the file says (median {told:.1f})."
        return Unit("db", scale, offset), note
    if dtype.itemsize == 1:
        raise InputError(
            f"Radar layer '{info.name}' is an 8-bit picture. Give calibrated backscatter in dB or linear power "
            "(float, VV and VH)."
        )
    if not values.size:
        return Unit("db"), "no pixel with data was found in a sample; taken as dB."
    values = values[values > -9000] if dtype.kind == "f" and (values > -9000).any() else values
    middle, high = float(np.median(values)), float(np.quantile(values, 0.99))
    if middle < -0.5 or (values < -1).any():
        for factor in dict.fromkeys((scale, 1.0, 0.1, 0.01, 1e-3, 1e-4)):
            if -35.0 <= middle * factor <= 2.0 and (factor == 1.0 or middle * factor < -2.0):
                stored = "" if factor == 1.0 else f" stored as integers times {factor:g}"
                return Unit("db", factor), f"dB{stored} (median about {middle * factor:.0f})."
        return Unit("db"), f"negative numbers (median {middle:.3g}): taken as dB."
    if high < POWER_HIGHEST:
        note = f"linear power (99 % quantile about {high:.1g}), turned to dB."
        if middle > 0.22:
            note += " If it is amplitude, dB will be half of what they should be."
        return Unit("power"), note
    return Unit("amplitude", 10.0 ** (AMPLITUDE_DB / 10.0)), (
        f"positive numbers up to {high:.4g}: taken as amplitude, dB = 20 log10(DN) - 83; the level may be off by a "
        "constant."
    )
