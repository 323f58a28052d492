"""What every method for a whole series is to the engine: fitted on samples of a region, then it restores windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from ..observation import Observation, Restoration
from .protocol import Report


class FittedSeries(Protocol):
    """A method that has learned one region of a series.

    Attributes:
        halo: pixels round a window that its results depend on.
        expected_rmse: per date, reflectance, from simulated gaps; dates of unknown error are absent.
        summary: one line for the log. notes: sentences for the log.
    """

    halo: int
    expected_rmse: dict[int, float]
    summary: str
    notes: tuple[str, ...]

    def restore(
        self, obs: Observation, dates: Sequence[int], *, pool: Executor | None = None
    ) -> Iterator[tuple[int, Restoration]]:
        """Restores what is hidden on each of ``dates`` of a window.

        Args:
            obs: all dates of the series in ascending order; days are relative to the first.
            dates: indices of the dates that have something hidden, ascending.
        """
        ...


class SeriesRestorer(Protocol):
    """A restoration method for series before it has seen one."""

    name: str

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
    ) -> FittedSeries:
        """Learns one region.

        Args:
            samples: windows of the region with all dates. dates: those that will be restored, ascending.
            seed: integers on which every random choice depends. device: for networks. pool: spreads work over cores.
            report, cancelled: progress, and a question asked between steps.

        Raises:
            Cancelled: ``cancelled()`` said so. InputError: there is no window.
        """
        ...


@runtime_checkable
class Roomy(Protocol):
    """A method for series whose windows need more room than those of the ensemble.

    Attributes:
        title: what people call it.
        halo: pixels round a window. mib: MiB that it takes beside the windows.
    """

    title: str
    halo: int
    mib: float

    def settle(self, fits: Callable[[int, float], bool], workers: int = 1) -> None:
        """Choose ``halo`` and ``mib``; called before anything runs.

        Args:
            fits: whether the smallest window of the series with a halo fits the memory beside so many MiB.
            workers: threads of the job.
        """
        ...


def turned_to(obs: Observation, date: int, others: Sequence[int] | None = None) -> Observation:
    """The observation with ``date`` as its target (index 0), then ``others`` (all other dates where None)."""
    order = [date, *(others if others is not None else (t for t in range(obs.shape[0]) if t != date))]
    day = float(obs.days[date])
    return replace(
        obs,
        optical=obs.optical[order],
        cloud=obs.cloud[order],
        days=np.asarray(obs.days, np.float64)[order] - day,
        radar_days=np.asarray(obs.radar_days, np.float64) - day,
    )
