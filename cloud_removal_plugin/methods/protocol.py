"""What every restoration method is to the engine: it is fitted on samples of a region, then restores windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..observation import Observation, Restoration

Report = Callable[[float, str], None]
"""Takes a share of the work in 0..1 and the name of the phase."""


@dataclass(frozen=True)
class Needs:
    """What a fitted method wants to see of a window.

    Attributes:
        halo: pixels round a window and its fading border without which the result would be worse.
        pixelwise: True where a pixel's result depends on that pixel alone, so that windows of a region need not fade.
        radar: True where backscatter is used if there is any.
        dates: least number of dates, the target included.
        bands: role names without which the method cannot work.
    """

    halo: int = 0
    radar: bool = False
    dates: int = 1
    bands: tuple[str, ...] = ()
    pixelwise: bool = False


@runtime_checkable
class Fitted(Protocol):
    """A method that has learned one region.

    Attributes:
        needs: what ``restore`` wants to see.
        dates_used: ascending indices into the observation's dates (0 = target, always first) that ``restore``
            reads; it takes observations with all dates or reduced to these, in this order.
        expected_rmse: reflectance, over all values of all bands, from simulated gaps; None = unknown.
        summary: one line for the log, such as the weights of the members.
        notes: sentences for the log.
    """

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    notes: tuple[str, ...]

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores ``obs.gap()`` of one window of the fitted region."""
        ...


@runtime_checkable
class Restorer(Protocol):
    """A restoration method before it has seen a scene."""

    name: str

    def fit(
        self,
        samples: Sequence[Observation],
        *,
        seed: tuple[int, ...],
        device: str = "cpu",
        pool: Executor | None = None,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Fitted:
        """Learns one region from windows of it.

        Args:
            samples: windows of one region at full resolution, all with the same dates and bands.
            seed: integers on which every random choice depends, and nothing else.
            device: "cpu" or "cuda", for the networks.
            pool: spreads work over cores; the result does not depend on it.
            report, cancelled: progress, and a question asked between steps.

        Raises:
            Cancelled: ``cancelled()`` said so.
            InputError: there is no window.
        """
        ...
