"""A method for one image on every date of a series, each by itself: for methods that need no other date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from ..observation import Observation, Restoration
from .inpainting import REACH, Inpainting
from .protocol import Fitted, Report
from .series_protocol import turned_to


@dataclass(frozen=True)
class FittedEach:
    """One fitted method a date (see :class:`FittedSeries`)."""

    halo: int
    expected_rmse: dict[int, float]
    summary: str
    notes: tuple[str, ...]
    fitted: dict[int, Fitted]

    def restore(
        self, obs: Observation, dates: Sequence[int], *, pool: Executor | None = None
    ) -> Iterator[tuple[int, Restoration]]:
        """Restores each date from itself."""
        for date in dates:
            yield date, self.fitted[date].restore(turned_to(obs, date, ()), pool=pool)


class SeriesInpainting:
    """METHOD=inpainting of a series."""

    name = "inpainting"

    def fit(
        self,
        samples: Sequence[Observation],
        dates: Sequence[int],
        *,
        seed: tuple[int, ...],
        device: str = "cpu",
        pool: Executor | None = None,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FittedEach:
        """Measures the inpainting of every date (see :class:`SeriesRestorer`)."""
        fitted = {}
        for date in dates:
            alone = [turned_to(obs, date, ()) for obs in samples]
            fitted[date] = Inpainting().fit(alone, seed=(*seed, date), pool=pool, cancelled=cancelled)
        expected = {date: each.expected_rmse for date, each in fitted.items() if each.expected_rmse is not None}
        return FittedEach(REACH, expected, "inpainting 1.00", (), fitted)
