"""The command line: ``run job.json``, ``worker``, ``train``, ``predict`` and ``evaluate``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from .engine.interpreter import ALLOCATOR
from .engine.job import Job
from .errors import Cancelled, CloudRemovalError, InputError
from .training.commands import NAMES as TRAINING
from .training.commands import add_commands, run_command

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what batch systems send: both ask a command to stop; its exit status is then 128 + their number."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="cloud_removal_plugin", description="Remove clouds from satellite rasters.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do a job; prints its result as JSON")
    run.add_argument("job", help="a JSON file, or - for standard input")
    commands.add_parser("worker", help="serve jobs as JSON lines on standard input and output")
    add_commands(commands)
    chosen = parser.parse_args(arguments)
    if chosen.command == "worker":
        from .engine.worker import main as serve

        return serve()
    if chosen.command in TRAINING:
        return _until_interrupted(lambda stop: run_command(chosen, _report, stop.is_set, _log))
    return _until_interrupted(lambda stop: _run(chosen.job, stop))


def _run(source: str, stop: threading.Event) -> str:
    job = Job.from_json(_read(source))
    from .engine.run import run

    return run(job, _report, stop.is_set, _log).to_json()


def _until_interrupted(work: Callable[[threading.Event], str]) -> int:
    """Does the work, prints the line that it returns; the first signal asks it to stop, the second breaks it off."""
    stop, told = threading.Event(), [int(signal.SIGINT)]

    def interrupt(number: int, frame: object) -> None:
        told[0] = number
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, interrupt) for number in STOPPING}
    try:
        result = work(stop)
    except CloudRemovalError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (Cancelled, KeyboardInterrupt):
        print("\nCancelled. Nothing is half-written; a training keeps its last checkpoint.", file=sys.stderr)
        return 128 + told[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    print(file=sys.stderr)
    print(result)
    return 0


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The job file '{source}' cannot be read ({error}).") from error


def _report(fraction: float, phase: str) -> None:
    print(f"\r{100 * fraction:5.1f} %  {phase:<60.60}", end="", file=sys.stderr, flush=True)


def _log(level: str, text: str) -> None:
    print(f"\r{'' if level == 'info' else level + ': '}{text:<70}", file=sys.stderr)


def with_allocator() -> None:
    """Starts ``run`` again, once, with the worker's memory settings; those that the analyst has set are left alone.

    Same process, same standard input and output: nothing was read yet. Other C libraries don't know the settings.
    """
    if (
        not sys.platform.startswith("linux")
        or sys.argv[1:2] != ["run"]
        or all(name in os.environ for name in ALLOCATOR)
    ):
        return
    again = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, again, {**ALLOCATOR, **os.environ})  # nosec B606


if __name__ == "__main__":
    with_allocator()
    sys.exit(main())
