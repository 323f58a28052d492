"""What is known of a scene before anything of it is read, and methods that want to look at that first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class SceneFacts:
    """A scene in a few words.

    Attributes:
        bands: role names of the target's bands.
        dates: number of acquisitions, the target included.
        target_date: when the target was taken, None where dates are not known.
        radar: polarisations that are there: "", "VV", "VH" or "VV VH".
        pixel_m: ground sampling distance in metres.
        shape: rows and columns; None = not known.
    """

    bands: tuple[str, ...]
    dates: int
    target_date: date | None = None
    radar: str = ""
    pixel_m: float = 10.0
    shape: tuple[int, int] | None = None


@runtime_checkable
class Economical(Protocol):
    """A method that does less where much is hidden."""

    def judge_cost(self, hidden: int) -> str:
        """Decides what the number of hidden pixels allows; called before any fit.

        Returns:
            A sentence for the log: which, and why.
        """
        ...


@runtime_checkable
class Accountable(Protocol):
    """A method that spares work from one region to the next."""

    def account(self) -> list[str]:
        """Sentences for the log on what was spared; called after the last region."""
        ...


@runtime_checkable
class Particular(Protocol):
    """A method that not every scene suits."""

    def prepare(self, facts: SceneFacts) -> None:
        """Refuse a scene that lacks what the method needs; called before anything runs.

        Raises:
            InputError, DependencyError: what is missing, and what to do.
        """
        ...
