"""Starts a training: in this process, or in several that share it, watched from here.

A graphics card's library may wait for a lost partner for hours, so the process that the analyst talks to is none of
those that train: it passes on what the leader reports, carries a cancel to all, and ends the others when one fails.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import errors
from ..errors import Cancelled, CloudRemovalError, WorkerError
from . import checkpoints
from .config import TrainingConfig, from_dict
from .loop import Log, Report, train
from .record import Outcome
from .shielding import shielded
from .team import device_of, join, started_by_torchrun, team_of

GRACE_S = 15.0
"""How long the others may go on when one process has failed: long enough to say why, and to clean up."""
POLL_S = 0.2
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def start(config: TrainingConfig, report: Report, cancelled: Callable[[], bool], log: Log) -> Outcome:
    """Trains on as many devices as the settings say.

    Raises:
        Cancelled, InputError, OutputError: see :meth:`.loop.Trainer.run`.
        WorkerError: one of several processes ended without a word.
    """
    if started_by_torchrun():
        team = team_of(config.device)
        try:
            return train(config, report, cancelled, log, team)[1]
        finally:
            team.leave()
    count = config.devices or (torch.cuda.device_count() if device_of(config.device) == "cuda" else 1)
    if count == 1:
        return train(config, report, cancelled, log)[1]
    return _Crew(config, count).run(report, cancelled, log)


class _Crew:
    """Several processes that train together, seen from the one that started them."""

    def __init__(self, config: TrainingConfig, count: int) -> None:
        self.config, self.count = config, count
        context = multiprocessing.get_context("spawn")
        self._told, self._stop = context.Queue(), context.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="cloud-removal-")
        meeting = (Path(self._folder.name) / "meeting").as_uri()
        shared = (count, config.to_dict(), meeting, self._told, self._stop)
        self._processes = [context.Process(target=_member, args=(rank, *shared)) for rank in range(count)]
        self._failures: list[tuple[int, str, str]] = []
        self._outcome: Outcome | None = None

    def run(self, report: Report, cancelled: Callable[[], bool], log: Log) -> Outcome:
        """Until all have ended."""
        log("info", f"{self.count} processes share the training.")
        deadline = float("inf")
        try:
            with _environment(), shielded():
                for process in self._processes:
                    process.start()
            while any(process.is_alive() for process in self._processes) and time.monotonic() < deadline:
                self._listen(report, log, POLL_S)
                if cancelled():
                    self._stop.set()
                if self._has_failed() and deadline == float("inf"):
                    deadline = time.monotonic() + GRACE_S
            self._listen(report, log, POLL_S)
        finally:
            self._end()
        return self._verdict()

    def _has_failed(self) -> bool:
        """Whether one has; a cancel is no failure, the leader may need long for its checkpoint then."""
        kinds = [kind for _, kind, _ in self._failures if kind != Cancelled.__name__]
        return bool(kinds) or any(process.exitcode for process in self._processes)

    def _listen(self, report: Report, log: Log, patience: float) -> None:
        """Takes what the processes have said so far."""
        while True:
            try:
                kind, *what = self._told.get(timeout=patience)
            except queue.Empty:
                return
            if kind == "report":
                report(*what)
            elif kind == "log":
                log(*what)
            elif kind == "outcome":
                self._outcome = what[0]
            else:
                self._failures.append((what[0], what[1], what[2]))
            patience = 0.01

    def _end(self) -> None:
        """No process, and no half-written file of one that had to be ended, stays."""
        for process in self._processes:
            if process.is_alive():
                process.terminate()
        for process in self._processes:
            if process.pid is not None:
                process.join(GRACE_S)
                if process.is_alive():
                    process.kill()
                    process.join()
        checkpoints.clear_parts(Path(self.config.output))
        self._folder.cleanup()

    def _verdict(self) -> Outcome:
        """What the training left, or the error that says most: ours before a library's, the leader's before others'."""
        if self._outcome is not None and not self._failures:
            return self._outcome
        known = sorted(self._failures, key=lambda failure: (not _is_ours(failure[1]), failure[0]))
        if not known:
            codes = ", ".join(str(process.exitcode) for process in self._processes)
            raise WorkerError(
                f"A process of the training ended without a word (exit codes {codes}), perhaps for want of memory. "
                "Lower batch or crop, and resume the training."
            )
        _, kind, text = known[0]
        if kind == Cancelled.__name__:
            raise Cancelled
        if _is_ours(kind):
            raise getattr(errors, kind)(text)
        raise WorkerError(f"A process of the training failed ({kind}: {text}). Resume from its last checkpoint.")


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What the processes inherit, where the analyst has set nothing else: gloo on this computer alone, and no warning
    that DDP searched for unused parameters in a network that has none."""
    wanted = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    if sys.platform in LOOPBACK:
        wanted["GLOO_SOCKET_IFNAME"] = LOOPBACK[sys.platform]
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _is_ours(kind: str) -> bool:
    found = getattr(errors, kind, None)
    return isinstance(found, type) and issubclass(found, (CloudRemovalError, Cancelled))


def _member(rank: int, count: int, values: Mapping[str, Any], meeting: str, told: Any, stop: Any) -> None:
    """One process of several; what it has to say goes through the queue."""
    os.dup2(2, 1)  # gloo prints, and the caller's standard output may be a protocol
    starter = multiprocessing.parent_process()

    def cancelled() -> bool:
        return stop.is_set() or (starter is not None and not starter.is_alive())

    try:
        config = from_dict(values)
        if not config.threads:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
        team = join(rank, count, rank, config.device, meeting)
        try:
            _, outcome = train(
                config,
                lambda *what: told.put(("report", *what)),
                cancelled,
                lambda *what: told.put(("log", *what)),
                team,
            )
            if team.leads:
                told.put(("outcome", outcome))
        except Cancelled:  # of all at the same step
            told.put(("failure", rank, Cancelled.__name__, ""))
        team.leave()
    except Exception as error:  # all of it is told to the process that started this one
        told.put(("failure", rank, type(error).__name__, str(error)))
        _hurry_away(told)


def _hurry_away(told: Any) -> None:
    """Ends at once when the queue is out: a library may hold a process that leaves its partners for hours."""
    with contextlib.suppress(OSError, ValueError):
        told.close()
        told.join_thread()
    os._exit(0)
