"""A folder, a zip or a tar archive of a product as one thing: names of files, texts in them, and what GDAL opens."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..errors import InputError

MOST_FILES = 20_000
"""A folder with more files is no product but a disk."""

LARGEST_TEXT = 64 << 20
"""Metadata is a few MiB; a larger member of an archive is not unpacked into memory."""

ARCHIVES = (".zip", ".tar")


@dataclass(frozen=True)
class Container:
    """Files below one root.

    Attributes:
        root: path of the folder or archive.
        names: relative paths of all files, '/' between the parts, sorted.
        prefix: what stands before a name so that GDAL opens it.
    """

    root: str
    names: tuple[str, ...]
    prefix: str
    load: Callable[[str], bytes]

    def text(self, name: str) -> str:
        """A text file, undecodable bytes replaced.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return self.load(name).decode("utf-8", errors="replace")
        except (OSError, KeyError, zipfile.BadZipFile, tarfile.TarError, RuntimeError, EOFError) as error:
            raise InputError(
                f"'{PurePosixPath(name).name}' in '{Path(self.root).name}' cannot be read ({error}). "
                "Fetch the product again."
            ) from error

    def gdal(self, name: str) -> str:
        """What GDAL opens."""
        return f"{self.prefix}{name}"

    def plain(self, name: str) -> str:
        """Path of a file on disk, '' inside an archive."""
        return "" if self.prefix.startswith("/vsi") else self.gdal(name)

    @cached_property
    def name(self) -> str:
        """Name of the folder or archive, for messages."""
        return Path(self.root).name or self.root


def open_container(path: str) -> Container:
    """List a folder or an archive; of a file, the folder that it lies in.

    Raises:
        InputError: it does not exist, is no archive although its name says so, or holds too much.
    """
    if os.path.isdir(path):
        return _folder(path)
    if not os.path.exists(path):
        raise InputError(f"'{path}' does not exist. Check the path; it may have been moved or deleted.")
    lower = path.lower()
    if lower.endswith((".tar.gz", ".tgz", ".tar.bz2")):
        raise InputError(f"'{Path(path).name}' is a compressed tar archive, which cannot be read in parts. Unpack it.")
    if lower.endswith(".zip"):
        return _zip(path)
    if lower.endswith(".tar"):
        return _tar(path)
    return _folder(os.path.dirname(os.path.abspath(path)))


def _folder(path: str) -> Container:
    root = os.path.abspath(path)
    names: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = _without_chunks(folders, files)
        relative = os.path.relpath(folder, root)
        names += [name if relative == "." else f"{relative}/{name}".replace(os.sep, "/") for name in sorted(files)]
        if len(names) > MOST_FILES:
            raise InputError(f"'{path}' holds more than {MOST_FILES} files. Choose the folder of one product.")
    return Container(root, tuple(names), root + "/", lambda name: _bounded(Path(root, name)))


def _without_chunks(folders: list[str], files: list[str]) -> list[str]:
    """Files of a folder; of an array of a Zarr store its texts alone, for its chunks may be a hundred thousand."""
    if ".zarray" in files:
        folders.clear()
        return [name for name in files if name.startswith(".z")]
    if "zarr.json" in files and "c" in folders:
        folders.remove("c")
        return ["zarr.json"]
    return files


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_TEXT)


def _zip(path: str) -> Container:
    root = os.path.abspath(path)
    try:
        with zipfile.ZipFile(root) as archive:
            names = tuple(sorted(item.filename for item in archive.infolist() if not item.is_dir()))
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"'{Path(path).name}' is not a whole zip file ({error}). Fetch it again.") from error

    def load(name: str) -> bytes:
        with zipfile.ZipFile(root) as archive, archive.open(name) as file:
            return file.read(LARGEST_TEXT)

    return Container(root, names, f"/vsizip/{root}/", load)


def _tar(path: str) -> Container:
    root = os.path.abspath(path)
    try:
        with tarfile.open(root) as archive:
            names = tuple(sorted(item.name for item in archive.getmembers() if item.isfile()))
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"'{Path(path).name}' is not a whole tar file ({error}). Fetch it again.") from error

    def load(name: str) -> bytes:
        with tarfile.open(root) as archive:
            file = archive.extractfile(name)
            return file.read(LARGEST_TEXT) if file else b""

    return Container(root, names, f"/vsitar/{root}/", load)
