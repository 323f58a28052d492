"""Command line: ``python -m cloud_removal_plugin run job.json`` and ``python -m cloud_removal_plugin worker``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from .engine.job import Job
from .errors import Cancelled, CloudRemovalError, InputError

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended (128 + SIGINT)."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="cloud_removal_plugin", description="Remove clouds from satellite rasters.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do a job; prints its result as JSON")
    run.add_argument("job", help="a JSON file, or - for standard input")
    commands.add_parser("worker", help="serve jobs as JSON lines on standard input and output")
    chosen = parser.parse_args(arguments)
    if chosen.command == "worker":
        from .engine.worker import main as serve

        return serve()
    return _run(chosen.job)


def _run(source: str) -> int:
    stop = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        job = Job.from_json(_read(source))
        from .engine.run import run

        result = run(job, _report, stop.is_set, _log)
    except CloudRemovalError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (Cancelled, KeyboardInterrupt):
        print("\nCancelled; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    print(file=sys.stderr)
    print(result.to_json())
    return 0


def _read(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The job file '{source}' cannot be read ({error}).") from error


def _report(fraction: float, phase: str) -> None:
    print(f"\r{100 * fraction:5.1f} %  {phase:<60.60}", end="", file=sys.stderr, flush=True)


def _log(level: str, text: str) -> None:
    print(f"\r{'' if level == 'info' else level + ': '}{text:<70}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
