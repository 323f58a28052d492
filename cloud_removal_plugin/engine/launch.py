"""Runs a job for QGIS: in a worker process, or in this one. Standard library only: QGIS imports it at start.

A worker stays warm for a few minutes after its job. One job runs at a time: a job takes all cores and half of the
free memory.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from .. import errors
from ..errors import Cancelled, CloudRemovalError, DependencyError, WorkerError
from ..raster import parts
from . import interpreter as interpreters
from .child import Child, command
from .job import Job, Result

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]
Log = Callable[[str, str], None]

MODE_VARIABLE = "CLOUD_REMOVAL_RUN"
"""'inprocess' = run in the caller's process."""

POLL_S = 0.1
CANCEL_S = 1.3
"""How long a worker may take to answer a cancel before it is killed; with that, the analyst waits less than 2 s."""

HELLO_S = 180.0
"""How long an interpreter may take to start (a cold network disk, a virus scanner)."""

_turn = threading.Lock()
_pool_lock = threading.Lock()
_idle: list[Child] = []
_busy: list[Child] = []


def run_job(job: Job, report: Report, cancelled: Cancel, log: Log, interpreter: str | None = None) -> Result:
    """Do a job where the environment says: in a worker process, or here with ``CLOUD_REMOVAL_RUN=inprocess``.

    Args:
        job: what to do.
        report: receives (fraction 0..1, phase).
        cancelled: asked ten times a second.
        log: receives ('info' or 'warning', sentence).
        interpreter: the analyst's choice of Python; None = QGIS' own.

    Raises:
        CloudRemovalError: a sentence for the analyst; nothing was written.
        Cancelled: within 2 s of the analyst's cancel; nothing was written.
    """
    job = _absolute(job)
    _wait_turn(report, cancelled)
    try:
        if os.environ.get(MODE_VARIABLE, "").strip().lower() == "inprocess":
            return _run_here(job, report, cancelled, log)
        python = interpreters.find(interpreter)
        return _run_there(job, python, report, cancelled, log)
    finally:
        _turn.release()


def shutdown() -> None:
    """End all workers; QGIS calls it when the plugin is unloaded."""
    with _pool_lock:
        children = [*_idle, *_busy]
        _idle.clear()
        _busy.clear()
    for child in children:
        child.close()


def _absolute(job: Job) -> Job:
    """The job with full paths: the worker's current folder is another one."""
    outputs = {name: os.path.abspath(getattr(job, name)) for name in _OUTPUTS if getattr(job, name)}
    inputs = {name: _full(getattr(job, name)) for name in ("input", "radar", "cloud_mask", "weights", *_JUDGED)}
    lists = {name: tuple(_full(path) for path in getattr(job, name)) for name in _LISTS}
    return replace(job, **outputs, **inputs, **lists)


_OUTPUTS = ("output", "uncertainty", "clouds", "probability", "attention", "page", "figures")
_JUDGED = ("cloudy", "sigma", "land_cover")
_LISTS = ("other_dates", "other_masks", "restored", "donor_masks", "products")


def _full(path: str) -> str:
    """A path, or one inside a name (``/vsizip/a.zip``, ``NETCDF:"a.nc":ndvi``), made whole; others stay as they are."""
    if not path or os.path.exists(path):
        return os.path.abspath(path) if path else path
    archive = _ARCHIVE.match(path)
    if archive:
        parts = archive[2].split("/")
        there = any(os.path.isfile("/".join(parts[: n + 1])) for n in range(len(parts)))
        return archive[1] + os.path.abspath(archive[2]) if there else path
    return "".join(os.path.abspath(part) if os.path.isfile(part) else part for part in _NAME_PARTS.split(path))


_ARCHIVE = re.compile(r"((?:/vsi[a-z0-9_]+/)+)([^/{].*)")
"""GDAL's way into an archive by a path that starts in the current folder."""
_NAME_PARTS = re.compile(r"([:\"])")


def _wait_turn(report: Report, cancelled: Cancel) -> None:
    if _turn.acquire(blocking=False):
        return
    report(0.0, "Waiting for another cloud removal job to finish")
    while not _turn.acquire(timeout=POLL_S):
        if cancelled():
            raise Cancelled


def _run_here(job: Job, report: Report, cancelled: Cancel, log: Log) -> Result:
    try:
        from .run import run
    except ImportError as error:
        raise DependencyError(
            f"The Python of QGIS lacks a library that the job needs ({error}). Install it, or unset {MODE_VARIABLE} so "
            "that the job runs in a process of its own."
        ) from error
    return run(job, report, cancelled, log)


def _run_there(job: Job, python: str, report: Report, cancelled: Cancel, log: Log) -> Result:
    while True:
        child = _lease(python)
        warm, keep = child.used, False
        try:
            _greet(child, cancelled, log)
            result = _converse(child, job, report, cancelled, log)
            keep = True
            return result
        except _GoneError as gone:
            # A warm worker may just have ended for having been idle: then the job has not begun.
            if not warm or gone.started:
                raise _obituary(child, gone.code) from None
        except (Cancelled, CloudRemovalError):
            keep = child.used
            raise
        finally:
            _give_back(child, keep and child.alive, job)


class _GoneError(Exception):
    """The worker ended in the middle of a conversation."""

    def __init__(self, code: int, started: bool) -> None:
        super().__init__(code)
        self.code, self.started = code, started


def _lease(python: str) -> Child:
    """A warm worker of that interpreter, or a new one; workers of other interpreters are ended."""
    with _pool_lock:
        found = next((child for child in _idle if child.python == python and child.alive), None)
        others = [child for child in _idle if child is not found]
        _idle.clear()
        if found:
            _busy.append(found)
    for child in others:
        child.close()
    if found:
        return found
    child = Child(python, command(python))
    with _pool_lock:
        _busy.append(child)
    return child


def _give_back(child: Child, keep: bool, job: Job) -> None:
    """Keep a worker warm, or end it and sweep up after it."""
    with _pool_lock:
        known = child in _busy  # False after shutdown()
        if known:
            _busy.remove(child)
        if keep and known:
            _idle.append(child)
            return
    child.kill()
    parts.sweep(job.outputs, child.pid)


def _greet(child: Child, cancelled: Cancel, log: Log) -> None:
    """Wait for a new worker's first line, and check that it can work."""
    until = time.monotonic() + HELLO_S
    while child.greeting is None:
        if cancelled():
            raise Cancelled
        message = child.receive(POLL_S) or {}
        if "exit" in message:
            raise _GoneError(message["exit"], started=False)
        if time.monotonic() > until:
            raise DependencyError(f"'{child.python}' does not answer like a Python interpreter. {interpreters.CURE}")
        child.greeting = message.get("hello")
    facts = child.greeting
    if facts["missing"]:
        raise DependencyError(
            f"The Python that runs the job ({child.python}) lacks {', '.join(facts['missing'])}. Install them there "
            f"(for example: {child.python} -m pip install {' '.join(facts['missing'])}). {interpreters.CURE}"
        )
    torch = "with PyTorch" if facts["torch"] else "without PyTorch (networks are not available)"
    state = "warm" if child.used else "new"
    log("info", f"Worker process {child.pid} ({state}): Python {facts['python']}, {child.python}, {torch}.")
    child.used = True


def _converse(child: Child, job: Job, report: Report, cancelled: Cancel, log: Log) -> Result:
    """Send the job and pass on what comes back, until it is done."""
    started = False
    if not child.send({"job": json.loads(job.to_json())}):
        raise _GoneError(0, started)
    give_up: float | None = None
    while True:
        message = child.receive(POLL_S) or {}
        if give_up is None and cancelled():
            child.send({"cancel": True})
            give_up = time.monotonic() + CANCEL_S
        started = started or bool(message and "exit" not in message)
        if "progress" in message:
            report(float(message["progress"]), str(message.get("phase", "")))
        elif "log" in message:
            log(str(message["log"]), str(message["text"]))
        elif "done" in message:
            return Result.from_json(json.dumps(message["done"]))
        elif "error" in message:
            raise _as_error(message["error"], log)
        elif "exit" in message:
            if give_up is not None:
                raise Cancelled
            raise _GoneError(message["exit"], started)
        if give_up is not None and time.monotonic() > give_up:
            child.kill()
            raise Cancelled


def _as_error(raw: dict[str, str], log: Log) -> Exception:
    """The error as it was raised in the worker."""
    for line in raw.get("trace", "").splitlines():
        log("info", line)
    kind = getattr(errors, raw["kind"], None)
    known = isinstance(kind, type) and issubclass(kind, (CloudRemovalError, Cancelled))
    return kind(raw["text"]) if known else WorkerError(raw["text"])  # type: ignore[misc]


def _obituary(child: Child, code: int) -> CloudRemovalError:
    """One sentence for a worker that died."""
    if code in (-int(getattr(signal, "SIGKILL", 9)), 137):
        return WorkerError(
            "The system ended the worker process, most likely because the computer ran out of memory. Lower MEMORY_MB, "
            "choose a smaller extent, or close other programs."
        )
    words = child.last_words
    last = f" Its last words: {' | '.join(words[-3:])}" if words else ""
    if child.greeting is None:
        return DependencyError(f"'{child.python}' cannot run the worker process. {interpreters.CURE}{last}")
    how = f"crashed (signal {-code})" if code < 0 else f"ended unexpectedly (exit code {code})"
    return WorkerError(f"The worker process {how}; nothing was written, and QGIS is not affected.{last}")
