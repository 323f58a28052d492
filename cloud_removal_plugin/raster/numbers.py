"""Reflectance as the numbers of a file, and one number that marks the holes of all its bands."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .info import RasterInfo, castable


class Radiometry(Protocol):
    """How numbers in a file mean reflectance: ``reflectance = number * scale + offset``.

    ``pairs``, where there are any, are the scale and offset of each band.
    """

    scale: float
    offset: float


def to_stored(
    reflectance: np.ndarray, radiometry: Radiometry, dtype: str | np.dtype, nodata: float | None
) -> np.ndarray:
    """Turn reflectance into the numbers of a file.

    Args:
        reflectance: float array of any shape, NaN = no data; bands first where they have ``pairs``.
        radiometry: its ``scale`` and ``offset``, or ``pairs``.
        dtype: of the file. Integers are rounded half to even and clipped to their range.
        nodata: the file's nodata value; NaN becomes it (without one: 0 in integers, NaN in floats). Valid pixels
            that would equal it are moved by one unit.

    Returns:
        Array of the same shape in ``dtype``.
    """
    dtype = np.dtype(dtype)
    # float32 holds 16-bit numbers exactly; wider integers need float64.
    work = np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
    scale, offset = _numbers(radiometry, np.ndim(reflectance))
    numbers = np.subtract(reflectance, offset, dtype=work)
    numbers /= work(scale)
    missing = np.isnan(numbers)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        np.rint(numbers, out=numbers)
        np.copyto(numbers, 0, where=missing)
        # The float64 just below 2**63 is what a 64-bit maximum can be without overflow.
        top = limits.max if float(limits.max) == limits.max else np.nextafter(float(limits.max), 0)
        np.clip(numbers, limits.min, top, out=numbers)
    stored = numbers.astype(dtype, copy=False)
    if nodata is None or np.isnan(nodata):
        return stored
    value = _as_dtype(nodata, dtype)
    if value is None:
        return stored
    np.copyto(stored, _neighbour(value), where=stored == value)
    np.copyto(stored, value, where=missing)
    return stored


def _numbers(radiometry: Radiometry, axes: int) -> tuple[Any, Any]:
    """Scale and offset: numbers for all bands, or arrays with one for each along the first axis."""
    pairs = getattr(radiometry, "pairs", ())
    if not pairs:
        return radiometry.scale, radiometry.offset
    shape = (len(pairs), *[1] * (axes - 1))
    return tuple(np.array(part).reshape(shape) for part in zip(*pairs, strict=True))


def unify_nodata(raw: np.ndarray, info: RasterInfo, value: float | None) -> None:
    """Mark the holes of all bands by one number, in place: a GeoTIFF has one for all, a VRT one for each.

    Args:
        raw: (count, H, W) numbers of the file; bands without a nodata number of their own stay as they are.
        value: what marks holes afterwards; valid pixels that would equal it are moved by one unit.
    """
    for plane, own in zip(raw, info.nodata, strict=True):
        number = castable(own, raw.dtype)
        hole = None if value is None else _as_dtype(value, raw.dtype)
        if number is None or hole is None or number == hole or (number != number and hole != hole):
            continue
        holes = np.isnan(plane) if number != number else plane == number
        plane[plane == hole] = _neighbour(hole)
        plane[holes] = hole


def _as_dtype(value: float, dtype: np.dtype) -> Any | None:
    """``value`` as a number of ``dtype``, None where the dtype cannot hold it."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not np.isfinite(value) or value != int(value) or not limits.min <= value <= limits.max:
            return None
    return dtype.type(value)


def _neighbour(value: Any) -> Any:
    """The next number above ``value`` (below, at the top of the range)."""
    dtype = np.dtype(type(value))
    if dtype.kind == "f":
        return np.nextafter(value, dtype.type(np.inf))
    return dtype.type(int(value) - 1 if value == np.iinfo(dtype).max else int(value) + 1)
