"""Reading, restoring and writing at the same time, with bounded queues between them.

Memory depends on the window and on the length of the queues, never on the scene.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

QUEUE_WINDOWS = 1
"""Windows that wait to be written: enough to hide uneven windows, few enough to keep memory flat. Of windows that are
read, one is in hand and one is read or ready: they hold every date, and a third would only wait."""

_END = object()


@dataclass
class StageTimes:
    """Seconds that each stage worked (not waited); what a benchmark compares the whole with."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> None:
        """Add the time from ``since`` (``time.perf_counter``) until now."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - since


class _Stage:
    """A thread that hands its error to the thread that asks next."""

    def __init__(self) -> None:
        self.items: queue.Queue[Any] = queue.Queue(QUEUE_WINDOWS)
        self.error: BaseException | None = None
        self.stopped = threading.Event()

    def put(self, item: Any) -> bool:
        """Put an item unless the stage was stopped; True if it was put."""
        while not self.stopped.is_set():
            try:
                self.items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def get(self) -> Any:
        """The next item, or the end mark if the stage was stopped."""
        while not self.stopped.is_set():
            try:
                return self.items.get(timeout=0.1)
            except queue.Empty:
                continue
        return _END


def read_ahead(tasks: Iterable[Any], read: Callable[[Any], Any], times: StageTimes) -> Iterator[Any]:
    """Yield ``read(task)`` for every task, read by a thread that stays one step ahead.

    Raises:
        Exception: whatever ``read`` raised.
    """
    stage = _Stage()
    taken = threading.Semaphore(1)

    def work() -> None:
        try:
            for task in tasks:
                while not taken.acquire(timeout=0.1):
                    if stage.stopped.is_set():
                        return
                since = time.perf_counter()
                item = read(task)
                times.add("read", since)
                if not stage.put(item):
                    return
                item = None
        except BaseException as error:  # handed to the consumer, who raises it
            stage.error = error
        stage.put(_END)

    thread = threading.Thread(target=work, name="cloud-removal-read", daemon=True)
    thread.start()
    try:
        while (item := stage.get()) is not _END:
            taken.release()
            yield item
            item = None  # here and in ``work``: a window must not be kept while the next one is waited for
        if stage.error is not None:
            raise stage.error
    finally:
        stage.stopped.set()
        thread.join()


@contextmanager
def write_behind(write: Callable[[Any], None], times: StageTimes) -> Iterator[Callable[[Any], None]]:
    """A ``put(item)`` whose items a thread gives to ``write`` in order; leaving the context waits for the last.

    Raises:
        Exception: whatever ``write`` raised, at the next ``put`` or at the end.
    """
    stage = _Stage()

    def work() -> None:
        try:
            while (item := stage.get()) is not _END:
                since = time.perf_counter()
                write(item)
                times.add("write", since)
        except BaseException as error:  # handed to the producer, who raises it
            stage.error = error
            stage.stopped.set()

    def put(item: Any) -> None:
        if not stage.put(item) and stage.error is not None:
            raise stage.error

    thread = threading.Thread(target=work, name="cloud-removal-write", daemon=True)
    thread.start()
    try:
        yield put
        stage.put(_END)
    except BaseException:
        stage.stopped.set()
        thread.join()
        raise
    thread.join()
    if stage.error is not None:
        raise stage.error
