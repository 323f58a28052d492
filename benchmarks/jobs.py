"""Jobs over synthetic stacks, and how a benchmark line is printed."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.synthetic import Stack


def as_worker(module: str) -> None:
    """Start this benchmark again in the environment of the plugin's worker process (one thread a call, heap kept)."""
    from cloud_removal_plugin.engine.interpreter import clean_environment

    if os.environ.get(_MARK):
        return
    environment = {**clean_environment(python=sys.executable), _MARK: "1"}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)  # nosec B606: ourselves


_MARK = "CLOUD_REMOVAL_BENCHMARK"


def restore_job(stack: Stack, output: Path, method: str, **more: object):  # type: ignore[no-untyped-def]
    """A restoration of the first raster with all masks given."""
    from cloud_removal_plugin.engine.job import Job

    return Job(
        kind="restore", input=str(stack.rasters[0]), output=str(output), other_dates=tuple(map(str, stack.rasters[1:])),
        cloud_mask=str(stack.masks[0]), other_masks=tuple(map(str, stack.masks[1:])), method=method, dates=stack.dates,
        sensor="sentinel2", dilate=0, **more,
    )  # fmt: skip


def detect_job(stack: Stack, output: Path, **more: object):  # type: ignore[no-untyped-def]
    """Detection of clouds on every raster of the stack."""
    from cloud_removal_plugin.engine.job import Job

    return Job(
        kind="detect", input=str(stack.rasters[0]), output=str(output), other_dates=tuple(map(str, stack.rasters[1:])),
        method="auto", dates=stack.dates, sensor="sentinel2", **more,
    )  # fmt: skip


def run_quietly(job):  # type: ignore[no-untyped-def]
    """Run a job in this process without a word."""
    from cloud_removal_plugin.engine.run import run

    return run(job, lambda share, phase: None, lambda: False, lambda level, text: None)


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, CPU seconds of all threads of this process) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def rounds(actions: dict[str, Callable[[], object]], count: int) -> dict[str, tuple[float, float]]:
    """Median (wall, CPU) of every action; the actions take turns, so that a busy machine meets all of them alike."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for _ in range(count):
        for name, action in actions.items():
            times[name].append(timed(action))
    return {name: tuple(statistics.median(part) for part in zip(*found)) for name, found in times.items()}


def line(name: str, value: float, goal: str, met: bool, note: str = "") -> str:
    """One row of a benchmark table."""
    return f"| {name} | {value:.2f} | {goal} | {'met' if met else 'MISSED'} | {note} |"


HEAD = "| measure | value | goal | | note |\n| --- | --- | --- | --- | --- |"
