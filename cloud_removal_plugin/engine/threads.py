"""One thread inside every numerical call, many calls at once: so that results don't depend on the machine's cores.

A matrix product or a sum that is split over threads adds in another order and differs in its last bits; 300 steps
of training make that visible. Parallelism is over windows and chunks of pixels instead, whose order is fixed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool_size() -> int:
    """Threads for a job: all cores in a worker; one core is left to the window where QGIS itself runs the job."""
    return max(1, cores() - 1 if "qgis.core" in sys.modules else cores())


@contextmanager
def single_threaded() -> Iterator[None]:
    """Limit BLAS and torch to one thread a call, and restore their settings afterwards."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        limits = None
    else:
        limits = threadpool_limits(limits=1)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(threads)
        if limits is not None:
            limits.restore_original_limits()


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for chunks of pixels; what is still waiting is dropped when the job fails or is cancelled."""
    executor = ThreadPoolExecutor(pool_size(), thread_name_prefix="cloud-removal")
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
