"""The folder that a series becomes: a GeoTIFF a date, one virtual stack of them all, moved into place when whole."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from ..errors import OutputError
from ..raster.info import RasterInfo, open_up
from ..raster.numbers import to_stored, unify_nodata
from ..raster.parts import SIDECARS, discard
from ..raster.products import SOURCE_TAG, handed_on
from ..raster.radiometry import Radiometry
from ..raster.stack import VirtualBand, write_vrt
from ..raster.target import failure
from ..raster.windows import Window
from ..raster.writer import RasterWriter
from .series_scene import SeriesScene
from .series_settings import Wanted
from .series_sigma import SigmaWriter

STACK_NAME = "stack.vrt"


@dataclass(frozen=True)
class Written:
    """A raster of the folder: its path, and the dates from which and until which it stands for the ground."""

    path: str
    begin: date | None
    end: date | None

    def line(self) -> str:
        """path, first and last day, separated by tabs."""
        days = [day.isoformat() if day else "" for day in (self.begin, self.end)]
        return "\t".join((self.path, *days))


def check_folder(path: str, inputs: Sequence[str]) -> None:
    """Refuse, before any work, a folder that nothing can be written to.

    Raises:
        OutputError: it is a file, cannot be made or written to, or holds a raster of the job under an output's name.
    """
    if not path:
        raise OutputError("The output has no folder. Choose where the restored dates are to be written.")
    folder = Path(path).resolve()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"Output '{path}' is a file. Choose a folder.")
    parent = folder if folder.is_dir() else folder.parent
    if not parent.is_dir():
        raise OutputError(
            f"Output '{folder.name}' cannot be made: the folder '{parent}' does not exist. Create it first."
        )
    probe = parent / f".cloud-removal-{os.getpid()}-probe.part"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise failure(folder.name, str(parent), error) from error
    for given in inputs:
        source = Path(given).resolve()
        if source.parent == folder and source.name.startswith(("restored_", "composite_", "sigma_", "stack.")):
            raise OutputError(f"'{source.name}' is read by the job and could be overwritten. Choose another folder.")


class DateWriter:
    """One GeoTIFF: an acquisition with its gaps filled, a date between acquisitions, or a composite.

    Args:
        scratch: folder in which it is written. name: of the file.
        scene: where the acquisitions come from. layer: the acquisition, None = none of them.
        tags: written besides those of the layer.
    """

    def __init__(self, scratch: Path, name: str, scene: SeriesScene, layer: int | None, tags: dict[str, str]) -> None:
        self._scene, self._layer = scene, layer
        index = layer if layer is not None else scene.reference
        like = scene.layers[index]
        self.info: RasterInfo = like.info
        self.radiometry: Radiometry = like.radiometry
        self.raw = layer is not None and scene.readers[layer].same_grid
        used = [band - 1 for band in self.radiometry.used_bands]
        self.masked = self.raw and self.info.mask_band
        self._places = sorted(scene.own[layer]) if layer is not None else list(range(scene.first_bands))
        self._bands = [scene.readers[index].band_at(place) for place in self._places]
        self._numbers = self.radiometry.of([self.radiometry.used_bands.index(band) for band in self._bands])
        self._free = _extremes(np.dtype(self.info.dtype)) if self.masked else []
        source = handed_on(self.info)
        own = {**(source if self.raw else {SOURCE_TAG: source[SOURCE_TAG]}), **tags}
        nodata = next((self.info.nodata[b] for b in used if self.info.nodata[b] is not None), None)
        floating = np.dtype(self.info.dtype).kind == "f"
        self.nodata = nodata if nodata is not None else (float("nan") if floating else 0)
        if self.raw:
            self.writer = RasterWriter(str(scratch / name), self.info, scene.grid, tags=own, mask=self.masked)
            self.nodata = self.writer.nodata
        else:
            self.writer = RasterWriter(
                str(scratch / name), self.info, scene.grid, count=len(self._places), nodata=self.nodata,
                descriptions=self.names, tags=own, colorinterp=[],
                scales=[self.info.scales[band - 1] for band in self._bands],
                offsets=[self.info.offsets[band - 1] for band in self._bands], band_tags=[{}] * len(self._places),
            )  # fmt: skip

    @property
    def names(self) -> list[str]:
        """Names of the bands written."""
        if self.raw:
            return [text or f"band {i}" for i, text in enumerate(self.info.descriptions, start=1)]
        return [self._scene.bands[place] for place in self._places]

    def source_band(self, number: int) -> int:
        """The band of the acquisition's file (from 1) whose units a band of this raster has."""
        return number if self.raw else self._bands[number - 1]

    def write(self, window: Window, reflectance: np.ndarray | None, gap: np.ndarray) -> None:
        """Write one window.

        Args:
            reflectance: float32 (C, H, W), gaps filled, NaN = unknown: all bands of the scene for an acquisition, those
                of the first raster otherwise; None where an acquisition on the scene's pixels has no gap.
            gap: bool (H, W), what was restored; all other pixels of an acquisition are written as they came.
        """
        if not self.raw:
            stored = to_stored(reflectance[self._places], self._numbers, self.info.dtype, self.nodata)
            self.writer.write(np.ascontiguousarray(stored), window)
            return
        reader = self._scene.readers[self._layer]
        raw, outside = reader.read_raw(window), reader.read_hidden(window)
        unify_nodata(raw, self.info, self.nodata)
        restored = reflectance[self._places] if gap.any() else None  # a copy: of the gap's windows alone, and once
        known = gap if restored is None else gap & np.isfinite(restored).all(axis=0)
        if known.any():
            stored = to_stored(restored[:, known], self._numbers, raw.dtype, self.nodata)
            for band, values in zip(self._bands, stored, strict=True):
                raw[band - 1][known] = values
            alpha = self.info.transparency(self.radiometry.used_bands)
            if alpha:
                open_up(raw[alpha - 1], known)
        self.writer.write(raw, window)
        if outside is not None:
            valid = ~outside | known
            self.writer.write_mask(valid, window)
            self._free = [number for number in self._free if not ((raw == number) & valid).any()]

    @property
    def hole(self) -> float | None:
        """What marks a hole where a mask band cannot: the nodata number, else one that no valid pixel has, or None."""
        return self.nodata if self.nodata is not None or not self._free else self._free[0]


def _extremes(dtype: np.dtype) -> list[float]:
    """Numbers that pixels with data seldom have, the likeliest to be free first."""
    if dtype.kind == "f":
        return [float("nan")]
    limits = np.iinfo(dtype)
    return list(dict.fromkeys((0, limits.max, limits.min)))


def names_of(wanted: Sequence[Wanted], prefix: str) -> list[str]:
    """A file name for each raster: its date, numbered where a day comes twice; its place where dates are unknown."""
    out: list[str] = []
    for number, each in enumerate(wanted, start=1):
        stem = f"{prefix}_{each.date:%Y%m%d}" if each.date else f"{prefix}_date{number:03d}"
        again = sum(name == f"{stem}.tif" or name.startswith(f"{stem}_") for name in out)
        out.append(f"{stem}.tif" if not again else f"{stem}_{again + 1}.tif")
    return out


def tags_of(each: Wanted) -> dict[str, str]:
    """What a raster says of its date."""
    if each.date is None:
        return {"CONTENT": "restored acquisition"}
    content = "restored acquisition" if each.layer is not None else "interpolated between restored acquisitions"
    return {
        "ACQUISITION_DATE": each.date.isoformat(),
        "TIFFTAG_DATETIME": f"{each.date:%Y:%m:%d} 00:00:00",
        "CONTENT": content,
    }


class SeriesOutputs:
    """All rasters of a series in the making; on an error or a cancel nothing is left. Use as a context manager."""

    def __init__(self, folder: str, scratch: Path, scene: SeriesScene) -> None:
        self._folder, self._scratch, self._scene = Path(folder).resolve(), scratch, scene
        self._stack = ExitStack()
        self.writers: list[DateWriter] = []
        self._names: list[str] = []
        self.written: list[Written] = []

    def add(self, name: str, layer: int | None, tags: dict[str, str]) -> DateWriter:
        """Open one more raster."""
        writer = DateWriter(self._scratch, name, self._scene, layer, tags)
        self._stack.enter_context(writer.writer)
        self.writers.append(writer)
        self._names.append(name)
        return writer

    def add_sigma(self, name: str, layer: int, tags: dict[str, str]) -> SigmaWriter:
        """Open a raster of an acquisition's standard deviations; it is no part of the stack."""
        return SigmaWriter(self._stack, self._scratch / name, self._scene, layer, tags)

    def __enter__(self) -> SeriesOutputs:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def move(self, spans: Sequence[tuple[date | None, date | None]]) -> list[Written]:
        """Write the stack and move everything into the folder; called when all rasters are closed.

        Args:
            spans: first and last day of each raster.
        """
        self._write_stack(spans)
        names = [*self._names, STACK_NAME]  # the scratch folder holds the clouds that were found as well
        beside = [name + ending for name in names for ending in SIDECARS]
        names += [name for name in beside if (self._scratch / name).exists()]
        try:
            self._folder.mkdir(exist_ok=True)
            for name in beside:
                discard(str(self._folder / name))  # of the rasters that were there
            for name in names:
                os.replace(self._scratch / name, self._folder / name)
        except OSError as error:
            if error.errno == errno.EXDEV:  # the folder is a mount of its own
                for name in names:
                    shutil.move(str(self._scratch / name), str(self._folder / name))
            else:
                raise failure(self._folder.name, str(self._folder.parent), error) from error
        return [
            Written(str(self._folder / name), *span) for name, span in zip(self._names, spans, strict=True)
        ]  # fmt: skip

    def _write_stack(self, spans: Sequence[tuple[date | None, date | None]]) -> None:
        """All dates x bands as one raster that holds no pixels of its own."""
        bands = []
        for name, writer, (begin, _) in zip(self._names, self.writers, spans, strict=True):
            info = writer.info
            when = begin.isoformat() if begin else Path(name).stem
            for number, text in enumerate(writer.names, start=1):
                band = writer.source_band(number)
                scale, offset = info.scales[band - 1], info.offsets[band - 1]
                dtype = writer.writer.dtype.name
                told = f"{when} {text}"
                masked = writer.masked and writer.hole is not None
                bands.append(VirtualBand(name, number, dtype, told, writer.hole, scale, offset, masked))
        tags = {"CONTENT": "restored dates in ascending order, all bands of a date together"}
        write_vrt(self._scratch / STACK_NAME, self._scene.grid, bands, tags, relative=True)


def spans_of(wanted: Sequence[Wanted]) -> list[tuple[date | None, date | None]]:
    """From each date until the day before the next, so that an animation shows the latest known ground."""
    days = sorted({each.date for each in wanted if each.date})
    typical = sorted((b - a).days for a, b in itertools.pairwise(days))
    last = typical[len(typical) // 2] if typical else 1
    out: list[tuple[date | None, date | None]] = []
    for each in wanted:
        later = next((day for day in days if each.date and day > each.date), None)
        end = (later or (each.date + timedelta(days=last))) - timedelta(days=1) if each.date else None
        out.append((each.date, max(end, each.date) if each.date and end else None))
    return out
