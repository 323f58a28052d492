"""When a raster was acquired: from its name, its tags, or what the analyst typed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from ..errors import DateError
from .info import RasterInfo

STEP_DAYS = 10.0
"""Step between layers whose dates are not known."""

FIRST_YEAR, LAST_YEAR = 1972, 2100
"""Landsat 1 to a horizon: eight digits outside are a number, not a date."""

_YMD = re.compile(r"(?<!\d)(\d{4})(\d{2})(\d{2})(?!\d)")
_SPLIT = re.compile(r"(?<!\d)(\d{4})([-_./: ])(\d{1,2})\2(\d{1,2})(?!\d)")
_JULIAN = re.compile(r"(?<!\d)(\d{4})(\d{3})(?!\d)")
_PRODUCT_FOLDER = re.compile(r"(?i)\.SAFE|^HLS\.|^L[COTEM]0\d_|_3B_|^S2[ABCD]_MSI|^S1[A-D]_(?:IW|EW|SM|S\d)_")
_DATE_FOLDER = re.compile(r"^\d{4}[-_.]?\d{2}[-_.]?\d{2}$")

TAG_KEYS = (
    "acquisition_date", "date_acquired", "acquisitiondatetime", "sensing_time", "datatake_1_datatake_sensing_start",
    "product_start_time", "start_datetime", "system:time_start", "acquired", "datetime", "date", "generation_time",
    "tifftag_datetime",
)  # fmt: skip
"""Tags that hold an acquisition date, the surest first; TIFFTAG_DATETIME is often only when the file was written."""


def _valid(year: int, month: int, day: int) -> date | None:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _candidates(text: str) -> Iterator[tuple[int, date]]:
    """Position and value of everything in a text that reads as a date."""
    for match in _YMD.finditer(text):
        found = _valid(int(match[1]), int(match[2]), int(match[3]))
        if found:
            yield match.start(), found
    for match in _SPLIT.finditer(text):
        found = _valid(int(match[1]), int(match[3]), int(match[4]))
        if found:
            yield match.start(), found
    for match in _JULIAN.finditer(text):
        year, day = int(match[1]), int(match[2])
        if FIRST_YEAR <= year <= LAST_YEAR and 1 <= day <= 366:
            found = date(year, 1, 1) + timedelta(days=day - 1)
            if found.year == year:
                yield match.start(), found


def find_date(text: str) -> date | None:
    """The first date in a text: ``YYYYMMDD``, ``YYYY-MM-DD`` (also with ``_ . / :``) or ``YYYYDDD``; None without one.

    Product names hold the acquisition before the processing date, so the first is the one that counts.
    """
    return min(_candidates(text), default=(0, None), key=lambda item: item[0])[1]


def date_of(info: RasterInfo) -> date | None:
    """Acquisition date from the file name, the product's folder, or tags; None where none is found."""
    parts = Path(info.path.replace('"', "")).parts
    found = find_date(Path(parts[-1]).stem if parts else "")
    if found:
        return found
    for folder in reversed(parts[:-1]):
        # a folder may be called after the day of a project, so only product folders and bare dates count
        if _PRODUCT_FOLDER.search(folder) or (folder == parts[-2] and _DATE_FOLDER.match(folder)):
            found = find_date(folder)
            if found:
                return found
    return _date_in_tags(info)


def _date_in_tags(info: RasterInfo) -> date | None:
    tags: dict[str, str] = {}
    for source in (*info.band_tags[:1], info.tags):
        tags.update({k.lower(): v for k, v in source.items()})
    for key in TAG_KEYS:
        value = tags.get(key, "").strip()
        found = _epoch(value) if key == "system:time_start" else find_date(value)
        if found:
            return found
    return None


def _epoch(value: str) -> date | None:
    """Earth Engine's milliseconds since 1970."""
    if not re.fullmatch(r"\d{10,14}(\.\d+)?", value):
        return find_date(value)
    return datetime.fromtimestamp(float(value) / 1000.0, tz=timezone.utc).date()


def parse_dates(text: str, n: int) -> list[date]:
    """Dates that the analyst typed, INPUT first.

    Args:
        text: ``2018-07-05;2018-06-25`` (semicolons, commas or blanks between; also ``YYYYMMDD`` and ``YYYYDDD``).
        n: number of layers.

    Raises:
        DateError: unreadable, too few or too many, or a date twice.
    """
    parts = [part for part in re.split(r"[;,\s]+", text.strip()) if part]
    found: list[date] = []
    for part in parts:
        value = find_date(part)
        if value is None or len(part) > len("YYYY-MM-DDThh:mm:ss.mmmZ"):
            raise DateError(
                f"DATES: '{part}' is not a date. Write dates as 2018-07-05;2018-06-25, the input layer's first."
            )
        found.append(value)
    if len(found) != n:
        raise DateError(
            f"DATES holds {len(found)} date{'s' if len(found) != 1 else ''} for {n} layer{'s' if n != 1 else ''}. "
            "Give one date for the input layer and one for each other layer, in their order."
        )
    twice = [d for d, count in Counter(found).items() if count > 1]
    if twice:
        raise DateError(f"DATES holds {twice[0].isoformat()} twice. Each layer needs a date of its own.")
    return found


def days_relative(dates: Sequence[date]) -> np.ndarray:
    """float64 (T,): days relative to the first date."""
    return np.array([(d - dates[0]).days for d in dates], dtype=np.float64)


def assign(infos: Sequence[RasterInfo], text: str) -> tuple[np.ndarray, list[date] | None, tuple[str, ...]]:
    """Days of all layers relative to the first (the input).

    Args:
        infos: input first, then the other dates in the order given.
        text: what the analyst typed as DATES, "" for nothing.

    Returns:
        days float64 (T,); the dates, or None where they are not known (then the days are equal steps in the order
        given); sentences for the log, of which those that start with "Warning" need the analyst's eye.

    Raises:
        DateError: typed dates that do not fit.
    """
    if text.strip():
        typed = parse_dates(text, len(infos))
        return days_relative(typed), typed, ("Dates as typed in DATES.",)
    found = [date_of(info) for info in infos]
    known = [d for d in found if d is not None]
    if len(known) == len(infos):
        return days_relative(known), known, _same_day(infos, known)
    if len(infos) == 1:
        return np.zeros(1), None, (f"{infos[0].name}: no acquisition date in its name or tags.",)
    missing = ", ".join(info.name for info, d in zip(infos, found, strict=True) if d is None)
    note = (
        f"Warning: no acquisition date was found in the name or tags of {missing}. The layers are taken "
        f"{STEP_DAYS:g} days apart, "
        "in the order given, the input first. Type DATES for a better result."
    )
    return STEP_DAYS * np.arange(len(infos), dtype=np.float64), None, (note,)


def _same_day(infos: Sequence[RasterInfo], dates: Sequence[date]) -> tuple[str, ...]:
    notes = ["Dates found in names or tags: " + ", ".join(d.isoformat() for d in dates) + "."]
    twins = [d for d, count in Counter(dates).items() if count > 1]
    for day in sorted(twins):
        names = ", ".join(info.name for info, d in zip(infos, dates, strict=True) if d == day)
        notes.append(f"{names} are of the same day ({day.isoformat()}).")
    return tuple(notes)
