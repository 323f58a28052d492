"""A worker process as its parent sees it: start, talk, stop. Standard library only: QGIS imports it."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess  # nosec B404
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ..errors import DependencyError
from .interpreter import CURE, clean_environment

PACKAGE = __name__.split(".")[0]
STDERR_LINES = 40
LINE_CHARACTERS = 500
TERMINATE_S = 0.2
_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv[1]); import importlib; "
    "sys.exit(importlib.import_module(sys.argv[2] + '.engine.worker').main())"
)


def command(python: str) -> list[str]:
    """How the worker is started.

    -I: no PYTHON* variables, no user packages, no current folder. The plugin's folder goes at the end of the path:
    beside it lie other plugins, which must not hide a library.
    """
    folder = str(Path(__file__).resolve().parents[2])
    return [python, "-I", "-X", "utf8", "-c", _BOOTSTRAP, folder, PACKAGE]


class Child:
    """A running worker.

    Attributes:
        python: interpreter it runs in.
        used: whether it has answered before (a warm worker may have ended by itself meanwhile).
        greeting: what it said of itself, None until it has.
    """

    def __init__(self, python: str, arguments: list[str]) -> None:
        """Start the process.

        Args:
            python: interpreter.
            arguments: the whole command.

        Raises:
            DependencyError: the system cannot start it.
        """
        self.python = python
        self.used = False
        self.greeting: dict[str, Any] | None = None
        self._arguments = arguments
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._stderr: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        self._started = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._failure: OSError | None = None
        threading.Thread(target=self._own, name="cloud-removal-worker", daemon=True).start()
        self._started.wait()
        if self._failure:
            raise DependencyError(
                f"The Python interpreter '{python}' cannot be started ({self._failure.strerror}). {CURE}"
            ) from self._failure

    def _own(self) -> None:
        """Start the process and read it to its end.

        Both in one thread: Linux ties a child's life to the *thread* that started it, and QGIS' task threads come
        and go while a worker stays warm.
        """
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        try:
            # never a shell: a list of arguments, and the interpreter is the analyst's choice
            process = subprocess.Popen(  # nosec B603
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=tempfile.gettempdir(),
                env=clean_environment(python=self.python),
                encoding="utf-8",
                errors="replace",
                start_new_session=os.name == "posix",
                creationflags=hidden,
            )
        except OSError as error:
            self._failure = error
            self._started.set()
            return
        self._process = process
        errors = threading.Thread(target=self._read_errors, args=(process.stderr,), daemon=True)
        errors.start()
        self._started.set()
        for line in process.stdout or ():
            self._receive(line)
        code = process.wait()
        errors.join(timeout=1)
        self._events.put({"exit": code})

    def _receive(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            self._stderr.append(line[:LINE_CHARACTERS].rstrip())
            return
        self._events.put(message)

    def _read_errors(self, stream: Any) -> None:
        for line in stream:
            self._stderr.append(line[:LINE_CHARACTERS].rstrip())

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def last_words(self) -> list[str]:
        """The last lines that it, or a library in it, printed."""
        return [line for line in self._stderr if line]

    def send(self, message: dict[str, Any]) -> bool:
        """Write one line; False where the process is gone."""
        try:
            stdin = self._process.stdin  # type: ignore[union-attr]
            stdin.write(json.dumps(message) + "\n")  # type: ignore[union-attr]
            stdin.flush()  # type: ignore[union-attr]
        except (OSError, ValueError, AttributeError):
            return False
        return True

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next message, ``{"exit": code}`` at the end; None where none came in time."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self, patience_s: float = 1.0) -> None:
        """Close its input, which ends it, and kill it where it does not."""
        self._close_input()
        if not self._wait(patience_s):
            self.kill()

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        self._signal(getattr(signal, "SIGTERM", None))
        if not self._wait(TERMINATE_S):
            self._signal(getattr(signal, "SIGKILL", None))
            self._wait(TERMINATE_S)
        self._close_input()

    def _close_input(self) -> None:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def _signal(self, number: Any) -> None:
        if not self.alive:
            return
        with contextlib.suppress(OSError):
            if sys.platform == "win32" or number is None:
                self._process.kill()  # type: ignore[union-attr]
            else:
                os.killpg(self.pid, number)  # its own session: the group is the worker and what it started

    def _wait(self, patience_s: float) -> bool:
        """Whether it has ended in time. Polls: the thread that owns the process is the one that waits for it."""
        until = time.monotonic() + patience_s
        while self.alive and time.monotonic() < until:
            time.sleep(0.02)
        return not self.alive
