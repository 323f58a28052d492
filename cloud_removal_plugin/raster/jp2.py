"""Whether a JPEG 2000 file is whole, from its box structure: a cut one may decode into grey without an error.

Source: ISO/IEC 15444-1, annexes A (the end-of-codestream marker) and I (boxes).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ..errors import InputError

_HEADER = struct.Struct(">I4s")
_LONG = struct.Struct(">Q")
_END = b"\xff\xd9"


def check_whole(path: str) -> None:
    """Look at the boxes of a JPEG 2000 file on disk; other formats and files inside archives pass.

    Raises:
        InputError: the file ends before its codestream does.
    """
    if not path.lower().endswith((".jp2", ".j2k")) or not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        while position + _HEADER.size <= size:
            file.seek(position)
            length, kind = _HEADER.unpack(file.read(_HEADER.size))
            if length == 1:
                length = _LONG.unpack(file.read(_LONG.size).ljust(_LONG.size, b"\0"))[0]
            end = size if length == 0 else position + length
            if kind == b"jp2c":
                file.seek(max(min(end, size) - len(_END), 0))
                if end <= size and file.read(len(_END)) == _END:
                    return
                break
            if end <= position:
                break
            position = end
    raise InputError(
        f"'{Path(path).name}' is cut: the file ends before its image does ({size:,} bytes). Fetch the product again."
    )
