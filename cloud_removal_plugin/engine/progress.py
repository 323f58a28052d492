"""Progress of a job: phases with their share of the whole, never backwards, throttled."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import Cancelled

Report = Callable[[float, str], None]
Log = Callable[[str, str], None]
Cancel = Callable[[], bool]

LEAST_INTERVAL_S = 0.1


class Progress:
    """Turns steps of named phases into one fraction, and a cancel into an exception."""

    def __init__(self, report: Report, cancelled: Cancel, shares: dict[str, float]) -> None:
        """Args:
        report: receives (fraction 0..1, phase).
        cancelled: True as soon as the analyst cancels.
        shares: phase name to its expected part of the time, in order.
        """
        whole = sum(shares.values()) or 1.0
        self._report, self._cancelled = report, cancelled
        self._spans: dict[str, tuple[float, float]] = {}
        start = 0.0
        for phase, share in shares.items():
            self._spans[phase] = (start, share / whole)
            start += share / whole
        self._last, self._when = 0.0, 0.0

    def check(self) -> None:
        """Raises Cancelled if the analyst has cancelled."""
        if self._cancelled():
            raise Cancelled

    def asked(self) -> bool:
        """A ``cancelled`` for code that asks: never True, raises Cancelled instead."""
        self.check()
        return False

    def step(self, phase: str, fraction: float, text: str = "") -> None:
        """Say that ``phase`` is done by ``fraction``; raises Cancelled."""
        self.check()
        start, span = self._spans[phase]
        now = time.monotonic()
        value = max(self._last, min(start + span * min(max(fraction, 0.0), 1.0), 1.0))
        if value >= 1.0 or now - self._when >= LEAST_INTERVAL_S:
            self._last, self._when = value, now
            self._report(value, text or phase)

    def phase(self, phase: str) -> Callable[[float, str], None]:
        """A ``report(fraction, text)`` for the code that does one phase."""
        return lambda fraction, text="": self.step(phase, fraction, text)
