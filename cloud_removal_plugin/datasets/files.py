"""Files of data sets: found once and remembered, checked for truncation, read, and complained about in one sentence."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from ..errors import InputError, first_line
from ..raster.classes import NO_DATA
from .truncation import is_whole

SCAN_VERSION = 1
NAMED = 5
"""How many files of each kind an error names; the others are counted."""
PROBLEM_ACTIONS = ("raise", "skip")
DATA_SUFFIXES = (".tif", ".tiff", ".npy", ".npz", ".nc")


def natural_key(name: str) -> tuple[object, ...]:
    """Sorts ``patch_2`` before ``patch_10``."""
    return tuple(int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name))


@dataclass
class Problems:
    """What is wrong with a data set, gathered while it is scanned.

    Attributes:
        missing: files that should be there.
        truncated: files that end before their data do, or are no files of their kind.
        extra: data files whose names do not fit the layout.
    """

    missing: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Files with a problem."""
        return len(self.missing) + len(self.truncated) + len(self.extra)

    def settle(self, action: str, what: str, root: Path, fitting: int = 1) -> int:
        """Raises the one error that names them, or returns their number.

        Args:
            action: ``raise`` or ``skip``.
            what: the data set, for the sentence.
            root: its folder.
            fitting: how many files have names of its layout; with none it is another data set.

        Raises:
            InputError: there are problems and they are not to be skipped.
            ValueError: an unknown action.
        """
        if action not in PROBLEM_ACTIONS:
            raise ValueError(f"on_problem must be one of {', '.join(PROBLEM_ACTIONS)}, not '{action}'.")
        if self.extra and not fitting and action == "raise":
            raise InputError(
                f"'{root}' has another layout than {what}: none of its {len(self.extra)} data files fits "
                f"({_some(self.extra)}). Choose the folder right above the data set's own folders, or another reader."
            )
        if self.count and action == "raise":
            parts = [
                f"{len(files)} {kind} ({_some(files)})"
                for kind, files in (("missing", self.missing), ("truncated", self.truncated), ("extra", self.extra))
                if files
            ]
            raise InputError(
                f"{what} in '{root}' is not whole: {'; '.join(parts)}. Complete it, or leave the affected samples out "
                "with on_problem='skip' (in QGIS SKIP_INCOMPLETE)."
            )
        return self.count


def _some(files: list[str]) -> str:
    named = ", ".join(sorted(files, key=natural_key)[:NAMED])
    return named + (f" and {len(files) - NAMED} more" if len(files) > NAMED else "")


@dataclass(frozen=True)
class Scan:
    """The data files below a folder.

    Attributes:
        files: paths relative to the root, '/' between parts, in natural order.
        truncated: those of them that are not whole.
        cached: whether the list was remembered.
    """

    files: tuple[str, ...]
    truncated: frozenset[str]
    cached: bool


def scan(root: Path, cache: Path | None = None) -> Scan:
    """Every data file below ``root``, remembered between calls.

    The list is taken from the cache as long as no folder below the root has changed; files that were found truncated
    are looked at again each time, as a download that goes on does not change its folder.

    Args:
        root: folder of the data set.
        cache: folder of the remembered lists; None for the user's cache.

    Raises:
        InputError: the root is no folder.
    """
    if not root.is_dir():
        raise InputError(f"The data set folder '{root}' does not exist; choose the folder that holds its files.")
    note = _note_of(root, cache)
    known = _remembered(note, root)
    if known is not None:
        truncated = frozenset(name for name in known["truncated"] if not is_whole(root / name))
        return Scan(tuple(known["files"]), truncated, True)
    folders: dict[str, int] = {}
    try:
        files = sorted(_walk(root, "", folders), key=natural_key)
    except OSError as error:
        raise InputError(
            f"The data set folder '{root}' cannot be looked through ({error}). Look at its rights and links."
        ) from error
    truncated = frozenset(name for name in files if not is_whole(root / name))
    _remember(note, {"version": SCAN_VERSION, "folders": folders, "files": files, "truncated": sorted(truncated)})
    return Scan(tuple(files), truncated, False)


def _walk(root: Path, inside: str, folders: dict[str, int]) -> Iterator[str]:
    folder = root / inside
    folders[inside] = folder.stat().st_mtime_ns
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and _is_above(Path(entry.path)):
                continue
            if entry.is_dir():
                yield from _walk(root, name, folders)
            elif entry.name.lower().endswith(DATA_SUFFIXES):
                yield name


def _is_above(link: Path) -> bool:
    """Whether a link leads to a folder that it lies in: it would be walked for ever."""
    there = os.path.realpath(link)
    return os.path.isdir(there) and os.path.commonpath((there, os.path.realpath(link.parent))) == there


def _note_of(root: Path, cache: Path | None) -> Path:
    base = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloud-removal" / "scans"
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]
    return base / f"{name}.json"


def _remembered(note: Path, root: Path) -> dict | None:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        same = known["version"] == SCAN_VERSION and all(
            (root / inside).stat().st_mtime_ns == changed for inside, changed in known["folders"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return known if same else None


def _remember(note: Path, known: dict) -> None:
    """Writes the list beside its place and moves it there; a cache that cannot be written costs time only."""
    part = ""
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False, encoding="utf-8") as file:
            part = file.name
            json.dump(known, file)
        os.replace(part, note)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)


@dataclass(frozen=True)
class Place:
    """Where a raster lies: WKT ('' without georeference) and the six numbers of its transform."""

    crs: str
    transform: tuple[float, ...]
    bounds: tuple[float, float, float, float]


def read_raster(
    path: Path, bands: int | None = None, size: tuple[int, int] | None = None, stored: tuple[int, ...] | None = None
) -> np.ndarray:
    """All bands of a raster as stored, (C, H, W).

    Args:
        bands: how many it must have.
        size: (H, W) to resample to, nearest neighbour, while reading.
        stored: (H, W) that it must have.

    Raises:
        InputError: the file is missing, broken, or has another number of bands or another size.
    """
    try:
        with rasterio.open(path) as file:
            count, shape = file.count, file.shape
            values = file.read(out_shape=(count, *size) if size else None)
    except (RasterioError, OSError) as error:
        raise InputError(
            f"The file '{path}' is missing or broken ({first_line(error)}). Fetch it again, or leave its sample out."
        ) from error
    if stored is not None and shape != stored:
        raise InputError(
            f"The file '{path}' has {shape[1]} x {shape[0]} pixels where {stored[1]} x {stored[0]} are expected. Fetch "
            "it again, or leave its sample out."
        )
    if bands is not None and count != bands:
        raise InputError(
            f"The file '{path}' has {count} bands where the data set has {bands}; it belongs to another data set."
        )
    return values


def place_of(path: Path) -> Place:
    """Georeference of a raster.

    Raises:
        InputError: the file cannot be opened.
    """
    try:
        with rasterio.open(path) as file:
            crs = file.crs.to_wkt() if file.crs else ""
            return Place(crs, tuple(file.transform)[:6], tuple(file.bounds))
    except (RasterioError, OSError) as error:
        raise InputError(f"The file '{path}' is missing or broken ({first_line(error)}). Fetch it again.") from error


def read_array(path: Path) -> np.ndarray:
    """A NumPy file; never unpickles.

    Raises:
        InputError: the file is missing or broken.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"The file '{path}' is missing or broken ({error}). Fetch it again.") from error


def missing_of(root: Path, names: Iterable[str]) -> list[str]:
    """Those of the relative paths that do not exist below ``root``."""
    return [name for name in names if not (root / name).is_file()]


def write_raster(
    path: Path, planes: np.ndarray, crs: str = "", transform: tuple[float, ...] = (), names: Sequence[str] = ()
) -> None:
    """A GeoTIFF: float32 reflectance, NaN = no data; or uint8 classes, 255 = no data.

    Args:
        path: target.
        planes: (C, H, W); what is not uint8 is written as float32.
        crs, transform: where it lies; '' and () without.
        names: of the bands, () without.

    Raises:
        OSError: the disk says no.
    """
    is_classes = planes.dtype == np.uint8
    profile = {
        "driver": "GTiff", "count": planes.shape[0], "height": planes.shape[1], "width": planes.shape[2],
        "dtype": "uint8" if is_classes else "float32", "nodata": NO_DATA if is_classes else float("nan"),
        "compress": "deflate", "predictor": 2 if is_classes else 3,
    }  # fmt: skip
    place = {"crs": crs, "transform": rasterio.Affine(*transform)} if crs and transform else {}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(planes.astype(profile["dtype"]))
        for number, name in enumerate(names, start=1):
            file.set_band_description(number, name)
    if not is_whole(path, ".tif"):
        # GDAL writes the last blocks as it closes the file, and keeps to itself that they found no room
        raise OSError(errno.ENOSPC, "the file is cut off; the disk may be full")
