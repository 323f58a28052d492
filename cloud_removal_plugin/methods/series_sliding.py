"""Which window of dates restores which date of a series that is longer than a network was trained for.

U-TILISE's published scheme (Stucker et al. 2023, https://github.com/prs-eth/U-TILISE): windows of as many dates as in
training, each half a window further, started at clear dates where one is near; two windows pass over at the date on
which they agree best. There both choices are made for the patch at hand; here they are made once for a region, so that
windows in space join without seams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sliding:
    """Windows of dates, and from which date on each of them counts.

    Attributes:
        frames: dates of the series.
        length: dates of one window.
        starts: first date of each window.
        switches: date from which on each window replaces those before it.
    """

    frames: int
    length: int
    starts: tuple[int, ...]
    switches: tuple[int, ...]

    def window(self, number: int) -> range:
        """The dates that a window sees."""
        start = self.starts[number]
        return range(start, min(start + self.length, self.frames))

    def owners(self) -> np.ndarray:
        """int (frames,): the window that restores each date."""
        owner = np.zeros(self.frames, int)
        for number, switch in enumerate(self.switches):
            owner[switch : self.starts[number] + self.length] = number
        return owner

    def shares(self, dates: Sequence[int]) -> list[tuple[range, list[int]]]:
        """The windows that are needed for ``dates``, and which of these each of them restores."""
        owner = self.owners()
        found = [(self.window(n), [date for date in dates if owner[date] == n]) for n in range(len(self.starts))]
        return [(window, mine) for window, mine in found if mine]


def starts_of(frames: int, length: int, coverage: Sequence[float]) -> tuple[int, ...]:
    """First dates of all windows.

    Args:
        frames: dates of the series. length: of one window.
        coverage: hidden share of every date.
    """
    from ..models.utilise import next_window

    starts = [0]
    while starts[-1] + length < frames:
        starts.append(next_window(starts[-1], frames, length, coverage))
    return tuple(starts)


def settle(frames: int, length: int, starts: tuple[int, ...], predict: Callable[[range], np.ndarray]) -> Sliding:
    """Find the dates at which windows pass over: the first one on which both differ least.

    Args:
        frames, length, starts: as above.
        predict: what a window of dates becomes at some pixels, float32 (dates, C, n).
    """
    switches = [0]
    if len(starts) == 1:
        return Sliding(frames, length, starts, (0,))
    stored: dict[int, np.ndarray] = {}
    for number, start in enumerate(starts):
        new = predict(range(start, min(start + length, frames)))
        first = 0
        if number:
            both = range(start, min(starts[number - 1] + length, frames))
            apart = [np.abs(stored[date] - new[date - start]).mean(dtype=np.float64) for date in both]
            first = int(np.argmin(apart))
            switches.append(start + first)
        stored |= {start + place: new[place] for place in range(first, len(new))}
        later = starts[number + 1] if number + 1 < len(starts) else frames
        stored = {date: values for date, values in stored.items() if date >= later}
    return Sliding(frames, length, starts, tuple(switches))
