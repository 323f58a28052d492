"""Whether a data file ends where its header says: a look at a few bytes, no decoding.

Downloads of hundreds of gigabytes break off; a file that only fails in the third hour of a training is found here while
the folder is scanned.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_OFFSETS, _LENGTHS = (273, 324), (279, 325)


def is_whole(path: Path, kind: str = "") -> bool:
    """True unless the file is empty, of another kind than its suffix (or ``kind``) says, or shorter than its header."""
    try:
        with path.open("rb") as file:
            suffix = kind or path.suffix.lower()
            if suffix in (".tif", ".tiff"):
                return _whole_tiff(file)
            if suffix == ".npy":
                return _whole_npy(file, path)
            if suffix == ".npz":
                return zipfile.is_zipfile(file)
            if suffix in (".nc", ".hdf5", ".h5"):
                return _whole_hdf5(file, path)
            return path.stat().st_size > 0
    except (OSError, struct.error, ValueError, EOFError, MemoryError):
        return False


def _whole_npy(file: BinaryIO, path: Path) -> bool:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        return True
    return path.stat().st_size >= file.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _whole_hdf5(file: BinaryIO, path: Path) -> bool:
    """Whether the file reaches the end that its superblock names (HDF5 File Format Specification, section II.A).

    netCDF-4 is HDF5; of netCDF's older formats only the first letters are looked at.
    """
    head = file.read(64)
    if head[:3] == b"CDF":
        return True
    if head[:8] != b"\x89HDF\r\n\x1a\n":
        return False
    version = head[8]
    size = head[13] if version < 2 else head[9]
    # offsets: base address, then one more address, then the end of the file
    start = {0: 24, 1: 28}.get(version, 12) + 2 * size
    return path.stat().st_size >= int.from_bytes(head[start : start + size], "little")


def _whole_tiff(file: BinaryIO) -> bool:
    """The first directory's strips or tiles all end within the file (TIFF 6.0, section 2; BigTIFF)."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return False
    magic = struct.unpack(order + "H", head[2:4])[0]
    if magic not in (42, 43):
        return False
    big = magic == 43
    start = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    size = file.seek(0, 2)
    tags = _directory(file, order, big, start)
    offsets = next((tags[t] for t in _OFFSETS if t in tags), None)
    lengths = next((tags[t] for t in _LENGTHS if t in tags), None)
    if offsets is None or lengths is None or len(offsets) != len(lengths):
        return False
    return all(offset + length <= size for offset, length in zip(offsets, lengths, strict=True))


def _directory(file: BinaryIO, order: str, big: bool, start: int) -> dict[int, tuple[int, ...]]:
    """Offsets and lengths of the strips or tiles by tag."""
    entry_size, count_code, value_code = (20, "Q", "Q") if big else (12, "H", "I")
    file.seek(start)
    count = struct.unpack(order + count_code, file.read(struct.calcsize(count_code)))[0]
    entries = file.read(count * entry_size)
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(count):
        entry = entries[index * entry_size : (index + 1) * entry_size]
        tag, kind = struct.unpack(order + "HH", entry[:4])
        if tag not in _OFFSETS + _LENGTHS or kind not in _CODES:
            continue
        number = struct.unpack(order + value_code, entry[4 : 4 + struct.calcsize(value_code)])[0]
        field = entry[4 + struct.calcsize(value_code) :]
        length = number * _SIZES[kind]
        if length > len(field):
            file.seek(struct.unpack(order + value_code, field[: struct.calcsize(value_code)])[0])
            field = file.read(length)
        tags[tag] = struct.unpack(order + str(number) + _CODES[kind], field[:length])
    return tags
