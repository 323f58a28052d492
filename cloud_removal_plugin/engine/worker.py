"""The process that does the work: one job after the other, JSON lines on its pipes.

It reads ``{"job": {...}}`` and ``{"cancel": true}`` and answers ``{"hello": {...}}`` once, then for each job
``{"started": true}``, any number of ``{"progress": f, "phase": s}`` and ``{"log": level, "text": s}``, and at the end
``{"done": result}`` or ``{"error": {"kind": ..., "text": ..., "trace": ...}}``. It ends when its input closes (its
parent closed it, or is gone) and when nobody asked for anything for :data:`IDLE_S` seconds.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from ..errors import Cancelled, CloudRemovalError
from ..raster import parts
from .job import Job, Result

Run = Callable[[Job, Callable[[float, str], None], Callable[[], bool], Callable[[str, str], None]], Result]

IDLE_S = 300.0
"""A worker without a job stays this long, so that the next step of a model finds it warm."""

GRACE_S = 2.0
"""How long a job may take to clean up after its parent is gone."""

NEEDED = ("numpy", "scipy", "rasterio")
"""Without these no method runs."""

_PR_SET_PDEATHSIG = 1


class Worker:
    """Serves jobs from a pair of pipes."""

    def __init__(self, run: Run, requests: Any, replies: Any, idle_s: float = IDLE_S) -> None:
        """Args:
        run: does one job.
        requests, replies: text streams of lines.
        idle_s: seconds without a job after which :meth:`serve` returns.
        """
        self._run, self._requests, self._replies, self._idle_s = run, requests, replies, idle_s
        self._jobs: queue.Queue[str] = queue.Queue()
        self._cancel = threading.Event()
        self._lock = threading.Lock()
        self._busy: Job | None = None

    def serve(self) -> None:
        """Do jobs until idle for too long; the end of the input ends the process at once."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        while True:
            try:
                text = self._jobs.get(timeout=self._idle_s)
            except queue.Empty:
                return
            self._do(text)

    def send(self, message: dict[str, Any]) -> None:
        """Write one line; a parent that is gone is noticed by the end of the input, not here."""
        line = json.dumps(message) + "\n"
        with self._lock:
            try:
                self._replies.write(line)
                self._replies.flush()
            except (OSError, ValueError):
                self._cancel.set()

    def _listen(self) -> None:
        for line in self._requests:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "job" in message:
                self._cancel.clear()
                self._jobs.put(json.dumps(message["job"]))
            elif message.get("cancel"):
                self._cancel.set()
        self._leave()

    def _leave(self) -> None:
        """The parent is gone: let a running job clean up, but not for long, and end whatever the main thread does."""
        self._cancel.set()
        job, until = self._busy, time.monotonic() + GRACE_S
        while self._busy is not None and time.monotonic() < until:
            time.sleep(0.05)
        if job is not None:
            parts.sweep(job.outputs, os.getpid())
        os._exit(0)

    def _do(self, text: str) -> None:
        self.send({"started": True})
        try:
            job = Job.from_json(text)
            self._busy = job
            result = self._run(job, self._report, self._cancel.is_set, self._log)
            reply: dict[str, Any] = {"done": json.loads(result.to_json())}
        except BaseException as error:
            reply = {"error": describe_error(error)}
        finally:
            self._busy = None
        _tidy()
        self.send(reply)

    def _report(self, fraction: float, phase: str) -> None:
        self.send({"progress": float(fraction), "phase": phase})

    def _log(self, level: str, text: str) -> None:
        self.send({"log": level, "text": text})


def describe_error(error: BaseException) -> dict[str, str]:
    """What the parent needs to raise the same error; a trace only where it is our fault."""
    if isinstance(error, (Cancelled, CloudRemovalError)):
        return {"kind": type(error).__name__, "text": str(error), "trace": ""}
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        text = (
            "The job ran out of memory. Lower MEMORY_MB or the number of dates, choose a smaller extent, "
            "or close other programs."
        )
        return {"kind": "WorkerError", "text": text, "trace": ""}
    if isinstance(error, ImportError):
        text = f"The Python that runs the job ({sys.executable}) lacks a library: {error}."
        return {"kind": "DependencyError", "text": text, "trace": ""}
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text = (
        f"The job failed in a way that it should not ({type(error).__name__}: {error}). "
        "Please report this with the log of the run."
    )
    return {"kind": "WorkerError", "text": text, "trace": trace}


def _tidy() -> None:
    """Give memory back between jobs: a warm worker should not hold what only the last scene needed."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def hello() -> dict[str, Any]:
    """What this interpreter is and lacks; imports what every job needs, so that the first one finds it loaded."""
    missing = {}
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except Exception as error:
            missing[name] = f"{type(error).__name__}: {error}"
    torch = importlib.util.find_spec("torch") is not None
    return {"python": platform.python_version(), "executable": sys.executable, "missing": missing, "torch": torch}


def die_with_parent() -> None:
    """Linux: end ten seconds after the parent at the latest, whatever native code is running then.

    Usually the closed input ends the process first, and cleanly. The signal's handler is the C function ``alarm``
    itself, called with the number of the signal, which is therefore the number of seconds: no Python code has to run.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal.restype = ctypes.c_void_p
        libc.signal(int(signal.SIGUSR1), ctypes.cast(libc.alarm, ctypes.c_void_p))
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGUSR1), 0, 0, 0)
    except (OSError, AttributeError):
        return


def take_pipes() -> tuple[Any, Any]:
    """Keep the pipes for the protocol; what libraries print goes to stderr, and nobody else reads the input."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def main(run: Run | None = None, idle_s: float = IDLE_S) -> int:
    """Serve jobs on this process' pipes.

    Args:
        run: does one job; None = :func:`cloud_removal_plugin.engine.run.run`.
        idle_s: seconds without a job after which the process ends.
    """
    die_with_parent()
    requests, replies = take_pipes()
    worker = Worker(run or _run, requests, replies, idle_s)
    worker.send({"hello": hello()})
    worker.serve()
    return 0


def _run(job: Job, report: Any, cancelled: Any, log: Any) -> Result:
    from .run import run

    return run(job, report, cancelled, log)
