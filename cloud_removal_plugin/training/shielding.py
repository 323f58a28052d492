"""The processes that a training starts: none hears Ctrl-C, and none outlives it.

Ctrl-C in a terminal reaches all of them, and only the one that can stop in order may act on it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C: Python leaves an ignored SIGINT ignored after a start.

    Signals belong to the main thread; another one starts processes that do hear it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent(_: int = 0) -> None:
    """Ends this process as soon as the one that started it is gone, however that ended.

    PyTorch's readers look for their parent too, but one that was still starting when its parent was killed takes the
    system's first process for it, and waits for ever.
    """
    starter = multiprocessing.parent_process()
    if starter is not None:
        threading.Thread(target=_leave_after, args=(starter.sentinel,), daemon=True).start()


def _leave_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
