"""Where in time U-TILISE places the frames of a series (the positions of its temporal encoder)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

EPOCH = date(2015, 6, 23)
"""Launch of Sentinel-2A, day 0 of the strategy 'absolute'."""

STRATEGIES = ("day-of-year", "day-within-sequence", "absolute", "enumeration")
"""The released weights were trained with the first."""


def positions(dates: Sequence[date], strategy: str = "day-of-year") -> list[float]:
    """Positions of frames.

    Args:
        dates: acquisition dates of the optical frames.
        strategy: days since 1 January of the frame's own year (that day is 0), since the first frame, since
            :data:`EPOCH`, or the frame's number.

    Raises:
        ValueError: unknown strategy.
    """
    if strategy == "enumeration":
        return [float(number) for number in range(len(dates))]
    if strategy not in STRATEGIES:
        raise ValueError(f"There is no strategy '{strategy}' for positions; there are {', '.join(STRATEGIES)}.")
    start = {"day-within-sequence": dates[0] if dates else EPOCH, "absolute": EPOCH}.get(strategy)
    return [float((day - (start or date(day.year, 1, 1))).days) for day in dates]
