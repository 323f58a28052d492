"""Runs one job and shows it in QGIS: progress, phases with the time left, log, cancel, errors as sentences."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from qgis.core import QgsProcessingException, QgsProcessingFeedback

from ..engine import launch
from ..engine.job import Job, Result
from ..errors import Cancelled, CloudRemovalError
from ..gui import settings
from ..gui.text import tr

UPDATE_S = 0.1
"""Least time between two moves of the progress bar: more would only keep the desktop busy."""
TIME_LEFT_S = 10.0
"""Least time between two lines that say how long it will still take."""


class Reporter:
    """Hands the engine's reports to a QGIS feedback; the bar never goes back.

    Args:
        feedback: of the run; in a model it covers this step alone.
        clock: seconds, monotonic.
    """

    def __init__(self, feedback: QgsProcessingFeedback, clock: Callable[[], float] = time.monotonic) -> None:
        self._feedback, self._clock = feedback, clock
        self._start = clock()
        self._best = 0.0
        self._phase = ""
        self._moved_at = self._spoke_at = self._start - TIME_LEFT_S
        self._warned: set[str] = set()

    def report(self, fraction: float, phase: str) -> None:
        """Progress of the whole job, 0..1, and what is being done."""
        now = self._clock()
        new_phase = bool(phase) and phase != self._phase
        if not new_phase and fraction < 1 and now - self._moved_at < UPDATE_S:
            return
        if fraction > self._best:
            self._best = min(fraction, 1.0)
            self._feedback.setProgress(100 * self._best)
        self._moved_at = now
        left = self._time_left(now)
        if new_phase or (left and now - self._spoke_at >= TIME_LEFT_S):
            self._phase = phase or self._phase
            self._spoke_at = now
            self._feedback.setProgressText(f"{self._phase} ({left})" if left else self._phase)

    def log(self, level: str, text: str) -> None:
        """A line for the log; a warning is shown once."""
        if level != "warning":
            self._feedback.pushInfo(text)
        elif text not in self._warned:
            self._warned.add(text)
            self._feedback.pushWarning(text)

    def _time_left(self, now: float) -> str:
        """'' while there is too little to judge by."""
        elapsed = now - self._start
        if elapsed < 3 or not 0.02 <= self._best < 1:
            return ""
        seconds = elapsed * (1 - self._best) / self._best
        if seconds < 90:
            return tr("about {n} s left").format(n=max(5, round(seconds / 5) * 5))
        return tr("about {n} min left").format(n=round(seconds / 60))


def dependency_problem() -> str:
    """Why no run could start on this computer, '' = one could. Looks at files alone, so it is cheap enough for a menu.

    What the interpreter has is only known once it runs; the engine then names every missing package at once.
    """
    if os.environ.get("CLOUD_REMOVAL_RUN") == "inprocess":
        return ""
    try:
        launch.interpreters.find(settings.interpreter())
    except CloudRemovalError as error:
        return str(error)
    return ""


def run(job: Job, feedback: QgsProcessingFeedback) -> Result | None:
    """Do the job; None = the analyst cancelled.

    Raises:
        QgsProcessingException: with the engine's sentence.
    """
    reporter = Reporter(feedback)
    try:
        result = launch.run_job(
            job, reporter.report, feedback.isCanceled, reporter.log, interpreter=settings.interpreter()
        )
    except Cancelled:
        feedback.pushInfo(tr("Cancelled; nothing was written."))
        return None
    except CloudRemovalError as error:
        raise QgsProcessingException(str(error)) from error
    for sentence in result.warnings:
        reporter.log("warning", sentence)
    return result
