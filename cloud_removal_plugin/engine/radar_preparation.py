"""A radar preparation job: rasters of many dates become one stack in dB on the target's grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..raster.container import open_container
from ..raster.crs import grid_of
from ..raster.dates import date_of, find_date
from ..raster.grid import Grid
from ..raster.info import describe
from ..raster.orbits import ASCENDING, DESCENDING
from ..raster.radar_series import UNITS, Pass, RadarSeries, open_infos, polarised
from ..raster.speckle import HALO_PX, LOOKS, quegan, refined_lee
from ..raster.windows import Window, cores
from ..raster.writer import RasterWriter
from .job import Job, Result
from .progress import Cancel, Log, Progress, Report

SPECKLE: tuple[str, ...] = ("none", "refined_lee", "quegan")
ORBITS: tuple[str, ...] = ("both", ASCENDING, DESCENDING)
PICKS: tuple[str, ...] = ("nearest", "all")
_WRITING = "Preparing radar"
_RASTER = (".tif", ".tiff", ".img", ".vrt", ".jp2")
_CORES = (1024, 512, 256)
FEW_FOR_QUEGAN = 3
"""With fewer acquisitions of one orbit, the multi-temporal filter has little to average."""


@dataclass(frozen=True)
class RadarSettings:
    """What an analyst asks of a radar stack.

    Attributes:
        unit: one of :data:`raster.radar_series.UNITS`.
        speckle: one of :data:`SPECKLE`.
        looks: equivalent number of looks, for 'refined_lee'.
        orbit: one of :data:`ORBITS`.
        pick: one of :data:`PICKS`: the acquisition nearest to the date, one of each orbit; or all.
        date: '' = that of the target.
    """

    unit: str = "auto"
    speckle: str = "none"
    looks: float = LOOKS
    orbit: str = "both"
    pick: str = "nearest"
    date: str = ""

    @classmethod
    def from_json(cls, text: str) -> RadarSettings:
        """Read the settings of a job.

        Raises:
            InputError: not JSON, an unknown key, a wrong type or value.
        """
        try:
            raw = json.loads(text or "{}")
            if not isinstance(raw, dict) or set(raw) - {item.name for item in fields(cls)}:
                raise ValueError(f"expected an object of {', '.join(item.name for item in fields(cls))}")
            made = cls(**raw)
            choices = ((made.unit, UNITS), (made.speckle, SPECKLE), (made.orbit, ORBITS), (made.pick, PICKS))
            wrong = [f"'{value}' is none of {', '.join(known)}" for value, known in choices if value not in known]
            if wrong or not isinstance(made.looks, (int, float)) or not 0.1 <= made.looks <= 1000:
                raise ValueError(wrong[0] if wrong else "'looks' must be a number from 0.1 to 1000")
        except ValueError as error:
            raise InputError(f"The settings of the job are not usable ({error}).") from error
        return made

    def to_json(self) -> str:
        """The settings as JSON."""
        return json.dumps(asdict(self))


def prepare_radar(
    job: Job, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log
) -> Result:
    """Write the stack: VV and VH of each acquisition chosen, in dB.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    settings = RadarSettings.from_json(job.settings)
    progress = Progress(report, cancelled, {_WRITING: 1.0})
    infos = open_infos(radar_files(job.products))
    target = describe(job.input) if job.input else infos[0]
    grid = grid_of(target)
    day = _wanted_day(settings, date_of(target) if job.input else None)
    with ExitStack() as stack:
        series = stack.enter_context(RadarSeries(infos, grid, settings.unit))
        for note in series.notes:
            log("info", note)
        warnings = list(series.warnings)
        chosen = choose(series.passes, settings, day, warnings)
        log("info", f"Taken: {', '.join(_label(one) for one in chosen)}, of {len(series.passes)} acquisitions.")
        out = stack.enter_context(_writer(job, grid, chosen, series, settings))
        if _stream(series, chosen, out, settings, progress, budget_mb, threads):
            more = "" if settings.unit == "auto" else f" whose numbers are {settings.unit}, as UNIT says, or UNIT auto"
            raise InputError(f"The radar rasters hold no data on the target. Choose rasters of the same place{more}.")
    for sentence in warnings:
        log("warning", sentence)
    return Result(output=job.output, method_used=", ".join(_label(one) for one in chosen))


def radar_files(paths: Sequence[str]) -> list[str]:
    """Rasters among the paths, and in the folders and archives among them.

    Raises:
        InputError: a folder holds none.
    """
    found: list[str] = []
    for path in paths:
        if Path(path).is_dir() or path.lower().endswith((".zip", ".tar")):
            container = open_container(path)
            inside = _backscatter([container.gdal(name) for name in container.names if name.lower().endswith(_RASTER)])
            if not inside:
                raise InputError(f"'{Path(path).name}' holds no raster. Choose the folder of the radar rasters.")
            found += inside
        else:
            found.append(path)
    return found


def _backscatter(paths: list[str]) -> list[str]:
    """Of a folder, the rasters that name a polarisation; products bring elevation and incidence angles along."""
    named = [path for path in paths if _names_polarisation(path)]
    return named or paths


def _names_polarisation(path: str) -> bool:
    if polarised(Path(path).stem):
        return True
    return any(polarised(text) for text in describe(path).descriptions)


def _wanted_day(settings: RadarSettings, own: date | None) -> date | None:
    if not settings.date:
        return own
    day = find_date(settings.date)
    if day is None:
        raise InputError(f"DATE '{settings.date}' is not a date. Write it as 2024-06-10.")
    return day


def choose(passes: Sequence[Pass], settings: RadarSettings, day: date | None, warnings: list[str]) -> list[Pass]:
    """The passes that are written: all, or of each orbit the nearest in time.

    Args:
        passes: of the series.
        settings: orbit and pick.
        day: the target's date.
        warnings: receives what the analyst should know.

    Raises:
        InputError: no pass of the wanted orbit, or the nearest cannot be told.
    """
    wanted = [one for one in passes if settings.orbit in ("both", one.direction)]
    if not wanted:
        known = sorted({one.direction or "not known" for one in passes})
        raise InputError(f"No {settings.orbit} acquisition was found; those there are {', '.join(known)}.")
    if settings.pick == "all":
        return wanted
    if len(wanted) > 1 and (day is None or any(one.day is None for one in wanted)):
        what = "the target has no date" if day is None else "a radar raster has no date in its name or tags"
        raise InputError(f"The nearest date cannot be picked: {what}. Choose a DATE, or take all acquisitions.")
    nearest: dict[str, Pass] = {}
    for one in wanted:
        best = nearest.get(one.direction)
        if best is None or _distance(one, day) < _distance(best, day):
            nearest[one.direction] = one
    far = [one for one in nearest.values() if _distance(one, day) > 15]
    warnings += [f"The nearest {_label(one)} is {_distance(one, day)} days from {day}." for one in far]
    return [nearest[name] for name in sorted(nearest)]


def _distance(one: Pass, day: date | None) -> int:
    return abs((one.day - day).days) if one.day and day else 0


def _label(one: Pass) -> str:
    return " ".join(part for part in (one.day.isoformat() if one.day else one.name, one.direction) if part)


def _writer(job: Job, grid: Grid, chosen: Sequence[Pass], series: RadarSeries, settings: RadarSettings) -> RasterWriter:
    like = describe(job.input or radar_files(job.products)[0])
    names = [f"{pol} {_label(one)}" for one in chosen for pol in ("VV", "VH")]
    band_tags = [
        {
            key: value
            for key, value in (("DATE", one.day.isoformat() if one.day else ""), ("ORBIT", one.direction))
            if value
        }
        for one in chosen
        for _ in range(2)
    ]
    directions = {one.direction for one in chosen}
    tags = {
        "UNITS": "dB",
        "CALIBRATION": series.calibration,
        "SPECKLE_FILTER": settings.speckle,
        "ORBIT_DIRECTION": next(iter(directions)) if len(directions) == 1 else "",
        "ACQUISITION_DATE": chosen[0].day.isoformat() if len(chosen) == 1 and chosen[0].day else "",
        "CLOUD_REMOVAL": "prepared",
    }
    return RasterWriter(
        job.output, like, grid, dtype="float32", count=len(names), nodata=float("nan"), descriptions=names,
        scales=[1.0] * len(names), offsets=[0.0] * len(names), tags={k: v for k, v in tags.items() if v},
        band_tags=band_tags, colorinterp=["undefined"] * len(names), forbid=job.inputs,
    )  # fmt: skip


def _stream(
    series: RadarSeries,
    chosen: Sequence[Pass],
    out: RasterWriter,
    settings: RadarSettings,
    progress: Progress,
    budget_mb: int,
    threads: Executor,
) -> bool:
    """Write all windows; whether there was no data at all."""
    used = _needed(series.passes, chosen, settings)
    if settings.speckle == "quegan":
        for name in sorted({one.direction for one in chosen}):
            count = sum(one.direction == name for one in used)
            if count < FEW_FOR_QUEGAN:
                of = f"of the {name} orbit" if name else "whose orbit no name or tag tells"
                raise InputError(
                    f"The multi-temporal filter has {count} acquisition{'s' * (count != 1)} {of}; it needs "
                    f"{FEW_FOR_QUEGAN}. Give more dates, or choose another SPECKLE filter."
                )
    empty = True
    halo = HALO_PX if settings.speckle != "none" else 0
    windows = cores(Window(0, 0, *series.grid.shape), _core(len(used), budget_mb))
    for index, window in enumerate(windows):
        progress.step(_WRITING, index / len(windows))
        wide = window.pad(halo, halo, halo, halo).clip(*series.grid.shape)
        db = series.read(used, wide)
        found = _filtered(db, used, chosen, settings, threads)[(..., *window.slices(wide))]
        empty = empty and bool(np.isnan(found).all())
        out.write(np.ascontiguousarray(found.reshape(-1, window.height, window.width)), window)
    progress.step(_WRITING, 1.0)
    return empty


def _needed(passes: Sequence[Pass], chosen: Sequence[Pass], settings: RadarSettings) -> list[Pass]:
    """What is read: the chosen ones, and for the multi-temporal filter all of their orbits."""
    if settings.speckle != "quegan":
        return list(chosen)
    directions = {one.direction for one in chosen}
    return [one for one in passes if one.direction in directions]


def _core(count: int, budget_mb: int) -> int:
    """Edge of the windows for which ``count`` acquisitions and their filter fit (float64 means and ratios)."""
    for edge in _CORES:
        if count * 2 * edge * edge * 40 <= (budget_mb << 20) // 2:
            return edge
    return _CORES[-1]


def _filtered(
    db: np.ndarray, used: Sequence[Pass], chosen: Sequence[Pass], settings: RadarSettings, threads: Executor
) -> np.ndarray:
    """float32 (chosen, 2, H, W) in dB, filtered in linear power."""
    places = [list(used).index(one) for one in chosen]
    if settings.speckle == "none":
        return db[places]
    power = np.power(np.float32(10), db / np.float32(10))
    if settings.speckle == "refined_lee":
        planes = power[places].reshape(-1, *power.shape[-2:])
        smooth = np.stack(list(threads.map(lambda plane: refined_lee(plane, settings.looks), planes)))
    else:
        groups = [[i for i, one in enumerate(used) if one.direction == name] for name in {o.direction for o in used}]
        tasks = [(group, pol) for group in groups for pol in range(2)]
        for (group, pol), done in zip(
            tasks, threads.map(lambda task: quegan(power[task[0], task[1]]), tasks), strict=True
        ):
            power[group, pol] = done
        smooth = power[places]
    positive = np.where(smooth > 0, smooth, np.nan)
    return (10 * np.log10(positive)).astype(np.float32).reshape(len(chosen), 2, *power.shape[-2:])
