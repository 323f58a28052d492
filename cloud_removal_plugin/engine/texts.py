"""Writes a text file whole or not at all."""

from __future__ import annotations

import os

from ..raster.parts import discard, part_path
from ..raster.target import failure


def write_whole(path: str, text: str) -> None:
    """Write beside the target, then move into place.

    Raises:
        OutputError: the disk is full or refuses.
    """
    part = part_path(path)
    folder, name = os.path.split(os.path.abspath(path))
    try:
        with open(part, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        discard(part)
        raise failure(name, folder, error) from error
