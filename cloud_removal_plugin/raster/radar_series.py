"""Radar rasters of many dates as one series on one grid: polarisations paired, orbits kept apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from ..errors import InputError
from .dates import date_of
from .grid import Grid
from .info import RasterInfo, describe
from .orbits import direction, minute, own_name
from .radar import RadarReader, Unit
from .windows import Window

UNITS: tuple[str, ...] = ("auto", "db", "power", "amplitude")
FRAME_MINUTES = 3.0
"""Frames of one pass, about 25 s each, follow each other; the next pass over a place is 12 hours away."""
_POLARISATION = re.compile(r"(?i)(?<![a-z])(vv|vh|hh|hv)(?![a-z])")
_CALIBRATION = re.compile(r"(?i)(sigma|gamma|beta)[-_ ]?(0|nought|naught)")


@dataclass(frozen=True)
class Pass:
    """One acquisition of the series.

    Attributes:
        name: for messages.
        day: None where not known.
        direction: "ascending", "descending" or "" where not known.
        sources: (number of the reader, number of the acquisition in it); two where VV and VH are files of their own.
    """

    name: str
    day: date | None
    direction: str
    sources: tuple[tuple[int, int], ...]


class RadarSeries:
    """Several radar rasters on one grid; a context manager.

    Attributes:
        passes: by date, those without last.
        notes, warnings: sentences about units, pairing and orbits.
        calibration: "sigma0", "gamma0", "beta0" or "" as the names tell.
    """

    def __init__(self, infos: Sequence[RasterInfo], grid: Grid, unit: str = "auto") -> None:
        """Open all rasters.

        Raises:
            InputError, GridError: one cannot be used, in a sentence that names it.
        """
        self.grid = grid
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._stack = ExitStack()
        self._readers: list[RadarReader] = []
        try:
            for info in infos:
                self._readers.append(self._stack.enter_context(self._opened(info, unit)))
        except BaseException:
            self._stack.close()
            raise
        self.passes = self._passes()
        self.calibration = self._calibration()

    def _opened(self, info: RasterInfo, unit: str) -> RadarReader:
        _refuse_raw(info)
        reader = RadarReader(info, self.grid)
        notes = reader.notes
        if unit not in ("auto", reader.unit.kind):  # else what was found of such numbers holds: hundredths of a dB
            reader.unit = Unit(unit)
            notes = (*(note for note in notes if "turned to dB" not in note and "taken as" not in note),)
            notes += (f"{info.name}: read as {unit}, as chosen.",)
        guessed = [note for note in notes if "taken as amplitude" in note or "If it is amplitude" in note]
        self.warnings += guessed
        self.notes += [note for note in notes if note not in guessed]
        return reader

    def __enter__(self) -> RadarSeries:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, passes: Sequence[Pass], window: Window) -> np.ndarray:
        """dB of some passes on a window: float32 (R, 2, H, W), VV and VH, NaN = no data.

        Raises:
            InputError: pixels cannot be read.
        """
        out = np.full((len(passes), 2, window.height, window.width), np.nan, np.float32)
        for number, reader in enumerate(self._readers):
            wanted = [(i, part) for i, one in enumerate(passes) for own, part in one.sources if own == number]
            if wanted:
                found = reader.read(window)
                for index, part in wanted:
                    np.copyto(out[index], found[part], where=np.isnan(out[index]))
        return out

    def _passes(self) -> list[Pass]:
        """Acquisitions, with the files of one polarisation joined by folder, name and date."""
        joined: dict[tuple[str, date | None], list[tuple[int, int]]] = {}
        for number, reader in enumerate(self._readers):
            for part, one in enumerate(reader.acquisitions):
                key = f"{reader.info.path}{part}"
                if reader.count == 1:
                    key = _POLARISATION.sub("", f"{Path(reader.info.path).parent.name}/{own_name(reader.info)}")
                joined.setdefault((key, self._day(reader, part)), []).append((number, part))
                if one.vv is None and one.vh is None:
                    raise InputError(f"Radar layer '{reader.info.name}' holds no VV and no VH band.")
        made = self._frames_joined([self._pass(day, sources) for (_, day), sources in joined.items()])
        return sorted(made, key=lambda one: (one.day is None, one.day or date.min, one.direction, one.name))

    def _frames_joined(self, made: list[Pass]) -> list[Pass]:
        """Frames that follow each other on one orbit are one acquisition; of where they overlap, the first counts."""
        out: list[Pass] = []
        frames: list[float | None] = []
        for one in sorted(made, key=lambda each: each.name):
            now = minute(self._readers[one.sources[0][0]].info)
            near = [
                place
                for place, (other, then) in enumerate(zip(out, frames, strict=True))
                if now is not None and then is not None and abs(now - then) <= FRAME_MINUTES
                and (other.day, other.direction) == (one.day, one.direction)
            ]  # fmt: skip
            if near:
                out[near[0]] = replace(out[near[0]], sources=(*out[near[0]].sources, *one.sources))
                self.notes.append(f"{one.name}: put together with {out[near[0]].name}, of the same pass.")
            else:
                out.append(one)
                frames.append(now)
        return out

    def _day(self, reader: RadarReader, part: int) -> date | None:
        return reader.acquisitions[part].day or (date_of(reader.info) if reader.count == 1 else None)

    def _pass(self, day: date | None, sources: list[tuple[int, int]]) -> Pass:
        info = self._readers[sources[0][0]].info
        found, where = direction(info)
        said = f"{info.name}: {found or 'orbit direction not known'}{f', by {where}' if where else ''}."
        if said not in self.notes:
            self.notes.append(said)
        return Pass(info.name, day, found, tuple(sources))

    def _calibration(self) -> str:
        """What the names say the backscatter is; mixed ones are told."""
        found = set()
        for reader in self._readers:
            words = " ".join([reader.info.name, *reader.info.descriptions, *reader.info.tags.values()])
            match = _CALIBRATION.search(words)
            rtc = "gamma0" if re.search(r"(?i)(?<![a-z])rtc(?![a-z])", words) else ""
            found.add(f"{match[1].lower()}0" if match else rtc)
        if len(found) > 1:
            names = ", ".join(sorted(name or "not told" for name in found))
            self.warnings.append(
                f"The radar rasters are of different calibrations ({names}): levels differ by 1 to 2 dB."
            )
        return next(iter(found)) if len(found) == 1 else ""


def _refuse_raw(info: RasterInfo) -> None:
    """A GRD measurement as it was downloaded lies in radar geometry and holds uncalibrated numbers.

    Raises:
        InputError: the raster is one.
    """
    if info.points and not info.crs_wkt:
        raise InputError(
            f"Radar layer '{info.name}' is a GRD measurement in radar geometry, uncalibrated. Calibrate and "
            "terrain-correct it first (SNAP, ASF HyP3), or fetch an RTC product."
        )


def polarised(text: str) -> bool:
    """Whether a name tells a polarisation (VV, VH, HH, HV)."""
    return bool(_POLARISATION.search(text))


def open_infos(paths: Sequence[str]) -> list[RasterInfo]:
    """Describe the radar rasters, each once.

    Raises:
        InputError: one cannot be opened.
    """
    return [describe(path) for path in dict.fromkeys(paths)]
