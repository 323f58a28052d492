"""Names of files that are being written, so that whoever outlives a writer can sweep up after it.

Standard library only: the launcher inside QGIS uses it when it had to kill a worker.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import shutil
import zlib
from collections.abc import Iterable

SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL keeps beside a raster; it describes the old pixels and goes when they are replaced."""

LONGEST_NAME = 200
"""Bytes of a name that still leave room for what is added while the file is being written."""

_numbers = itertools.count(1)


def part_path(target: str) -> str:
    """A hidden sibling of ``target`` for this process to write to, another one at every call."""
    folder, name = os.path.split(os.path.abspath(target))
    return os.path.join(folder, f".{_short(name)}.{os.getpid()}-{next(_numbers)}.part.tif")


def _short(name: str) -> str:
    """The name, or a number for one to which nothing can be added: file systems take 255 bytes."""
    stored = os.fsencode(name)
    return name if len(stored) <= LONGEST_NAME else f"{zlib.crc32(stored):08x}"


def scratch_prefix() -> str:
    """Start of the name of a temporary folder that this process makes beside a target; it ends with ".part"."""
    return f".cloud-removal-{os.getpid()}-"


def sweep(targets: Iterable[str], pid: int) -> list[str]:
    """Delete what process ``pid`` left unfinished beside its targets; returns the paths deleted."""
    swept = []
    for target in targets:
        folder, name = os.path.split(os.path.abspath(target))
        pattern = os.path.join(glob.escape(folder), f".{glob.escape(_short(name))}.{pid}-*.part.tif*")
        for path in glob.glob(pattern):
            discard(path)
            swept.append(path)
        for path in glob.glob(os.path.join(glob.escape(folder), f".cloud-removal-{pid}-*.part")):
            shutil.rmtree(path, ignore_errors=True)
            swept.append(path)
    return swept


def discard(path: str) -> None:
    """Delete a file where it exists and can be deleted."""
    with contextlib.suppress(OSError):
        os.remove(path)
