"""What a job over a series asks beside its rasters, and which dates come of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta

from ..clouds.detect import METHODS
from ..errors import DateError, InputError
from ..raster.dates import find_date

COMPOSITES: tuple[str, ...] = ("medoid", "best_pixel")
"""How dates become one: the date nearest to all others in its spectrum, or the best observed date of each pixel."""

MOST_OUTPUTS = 1_000


@dataclass(frozen=True)
class SeriesSettings:
    """The settings of a job of kind 'series'.

    Attributes:
        radar: paths of Sentinel-1 rasters.
        masks: paths of masks: one for each raster in their order ('' = detect), or fewer, matched by their dates.
        bands_per_date: bands of a date in rasters that hold several dates; 0 = each raster is one date.
        output_dates: 'input', 'every N days', or dates separated by semicolons.
        target: 'all', 'composite', or one date.
        composite: one of :data:`COMPOSITES`.
        detector: what finds clouds on dates without a mask, one of ``clouds.detect.METHODS``.
        extent_crs: WKT or authority code of the job's extent, '' = that of the first raster.
    """

    radar: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    bands_per_date: int = 0
    output_dates: str = "input"
    target: str = "all"
    composite: str = COMPOSITES[0]
    detector: str = "auto"
    extent_crs: str = ""

    @classmethod
    def from_json(cls, text: str) -> SeriesSettings:
        """Read the settings of a job.

        Raises:
            InputError: not JSON, an unknown key, a wrong type or value.
        """
        try:
            raw = json.loads(text or "{}")
            kinds = {item.name: type(item.default) for item in fields(cls)}
            if not isinstance(raw, dict) or set(raw) - set(kinds):
                raise ValueError(f"expected an object of {', '.join(kinds)}")
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
            wrong = [key for key, value in values.items() if not isinstance(value, kinds[key])]
            if wrong:
                raise ValueError(f"{wrong[0]} cannot be {json.dumps(raw[wrong[0]])}")
        except ValueError as error:
            raise InputError(f"The settings of the job are not usable ({error}).") from error
        settings = cls(**values)
        if settings.composite not in COMPOSITES:
            raise InputError(f"There is no composite '{settings.composite}'. Use one of: {', '.join(COMPOSITES)}.")
        if settings.detector not in METHODS:
            raise InputError(f"Unknown detection method '{settings.detector}'. Choose one of {', '.join(METHODS)}.")
        if settings.bands_per_date < 0:
            raise InputError("BANDS_PER_DATE cannot be negative. Use 0 where each raster is one date.")
        return settings

    def to_json(self) -> str:
        """The settings as JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Wanted:
    """One raster that will be written.

    Attributes:
        date: of the raster, None where dates are not known.
        layer: index of the acquisition (in ascending order of dates) that it shows, None = between acquisitions.
    """

    date: date | None
    layer: int | None


def typed_dates(text: str, count: int) -> list[date]:
    """Dates that the analyst typed, in the order of the rasters (of the dates inside them); a day may come twice.

    Raises:
        DateError: unreadable, too few or too many.
    """
    parts = [part for part in re.split(r"[;,\s]+", text.strip()) if part]
    found = [_read(part, "DATES") for part in parts]
    if len(found) != count:
        raise DateError(
            f"DATES holds {len(found)} date{'s' if len(found) != 1 else ''} for {count} acquisitions. "
            "Give one for each, in their order, or leave it empty to read them from names and tags."
        )
    return found


def _read(text: str, where: str) -> date:
    found = find_date(text)
    if found is None:
        raise DateError(f"{where}: '{text}' is not a date. Write dates as 2018-07-05;2018-07-15.")
    return found


def wanted(settings: SeriesSettings, dates: Sequence[date] | None, count: int) -> list[Wanted]:
    """The rasters to write.

    Args:
        dates: of the acquisitions, ascending; None where they are not known. count: of acquisitions.

    Raises:
        DateError: dates are asked for where none are known, or lie outside the series.
        InputError: OUTPUT_DATES or TARGET cannot be read.
    """
    out = _output_dates(settings.output_dates.strip().lower() or "input", dates, count)
    target = settings.target.strip().lower() or "all"
    if target in ("all", "composite"):
        return out
    if find_date(target) is None:
        raise InputError(f"TARGET '{settings.target}' is not a date. Use all, composite, or a date such as 2018-07-05.")
    one = _listed([_read(target, "TARGET")], "TARGET", dates)
    return one


def _output_dates(text: str, dates: Sequence[date] | None, count: int) -> list[Wanted]:
    if text == "input":
        return [Wanted(dates[i] if dates else None, i) for i in range(count)]
    every = re.fullmatch(r"every\s+(\d+)\s+days?", text)
    if every:
        step = int(every[1])
        if not step:
            raise InputError("OUTPUT_DATES: every 0 days is not possible. Use a number of 1 or more.")
        if dates is None:
            raise _unknown("OUTPUT_DATES")
        many = (dates[-1] - dates[0]).days // step + 1
        if many > MOST_OUTPUTS:
            raise InputError(
                f"OUTPUT_DATES asks for {many} rasters; at most {MOST_OUTPUTS} are written. Use longer steps."
            )
        return _listed([dates[0] + timedelta(days=step * i) for i in range(many)], "OUTPUT_DATES", dates)
    if text.startswith("every"):
        raise InputError(f"OUTPUT_DATES '{text}' cannot be read. Use input, every 7 days, or dates such as 2018-07-05.")
    parts = [part for part in re.split(r"[;,\s]+", text) if part]
    if not any(find_date(part) for part in parts):
        raise InputError(f"OUTPUT_DATES '{text}' cannot be read. Use input, every 7 days, or dates such as 2018-07-05.")
    listed = [_read(part, "OUTPUT_DATES") for part in parts]
    return _listed(sorted(set(listed)), "OUTPUT_DATES", dates)


def _listed(listed: Sequence[date], where: str, dates: Sequence[date] | None) -> list[Wanted]:
    if dates is None:
        raise _unknown(where)
    for day in listed:
        if not dates[0] <= day <= dates[-1]:
            raise DateError(
                f"{where}: {day.isoformat()} lies outside the series, which goes from {dates[0].isoformat()} to "
                f"{dates[-1].isoformat()}. Choose dates inside it."
            )
    return [Wanted(day, dates.index(day) if day in dates else None) for day in listed]


def _unknown(where: str) -> DateError:
    return DateError(f"{where} needs the dates of the rasters, but they are in no name or tag. Type them into DATES.")
