"""Opens HDF5 (and netCDF-4, which is HDF5) with one sentence for whatever is wrong. No entry of such a file is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DependencyError, InputError


def open_hdf5(path: Path) -> Any:
    """The file, to be closed by ``with``.

    Raises:
        DependencyError: h5py is not installed.
        InputError: the file is missing or broken.
    """
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(f"Reading '{path.name}' needs the Python package h5py. Install python3-h5py.") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"The file '{path}' is missing or broken ({error}). Fetch it again.") from error


def values(group: Any, name: str, path: Path) -> np.ndarray:
    """An entry as stored.

    Raises:
        InputError: there is none of that name, or it cannot be read.
    """
    if name not in group:
        raise InputError(f"The file '{path}' lacks '{group.name.rstrip('/')}/{name}'; it has another layout.")
    try:
        return group[name][()]
    except (OSError, TypeError) as error:
        raise InputError(f"The entry '{name}' of '{path}' is broken ({error}). Fetch the file again.") from error


def plain(group: Any, name: str, path: Path) -> np.ndarray:
    """A netCDF variable in its unit, float32: ``_FillValue`` is NaN, then scale factor and offset (CF conventions 8.1).

    Raises:
        InputError: see :func:`values`.
    """
    stored, about = values(group, name, path), group[name].attrs
    numbers = np.asarray(stored, np.float32)
    for fill in ("_FillValue", "missing_value"):
        if fill in about:
            numbers[np.asarray(stored) == np.ravel(about[fill])[0]] = np.nan
    scale, offset = (float(np.ravel(about.get(key, default))[0]) for key, default in (
        ("scale_factor", 1.0), ("add_offset", 0.0)))  # fmt: skip
    return numbers * np.float32(scale) + np.float32(offset)


def text(value: Any) -> str:
    """A string of the file, whichever way it is stored."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
