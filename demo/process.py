"""Runs an algorithm through ``qgis_process``, as anyone would from a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence

_RESULT = re.compile(r"^([A-Z][A-Z_0-9]*):\s*(.*)$")
_PROGRESS = re.compile(r"^(?:\.+|\d{1,3}\.\.)[\d.]*(?: - done\.)?")


class ProcessError(RuntimeError):
    """``qgis_process`` is missing or ended with an error."""


def run_algorithm(
    algorithm: str, parameters: Sequence[tuple[str, str]], echo: Callable[[str], None] | None = None
) -> dict[str, str]:
    """Runs one algorithm and waits for it.

    Args:
        algorithm: id, such as ``cloudremoval:removeclouds``.
        parameters: keys and values; a key given several times makes a list.
        echo: told every line of the log while it runs (not the progress numbers).

    Returns:
        The results by key, as text.

    Raises:
        ProcessError: qgis_process is not there, or the algorithm failed; the last lines of its log are in the text.
    """
    program = shutil.which("qgis_process")
    if program is None or "QGIS_CUSTOM_CONFIG_PATH" not in os.environ:
        raise ProcessError('Start the demo with "make demo", which sets up QGIS and a profile for it.')
    command = [program, "run", algorithm, "--", *(f"{key}={value}" for key, value in parameters)]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for raw in process.stdout or ():
            line = raw.rstrip()
            lines.append(line)
            said = _PROGRESS.sub("", line).strip("-").strip()
            if echo and said and "Results" not in lines and not re.match(r"[A-Z_]+:(\t|$)|Inputs$", said):
                echo(said)
    if process.returncode != 0:
        raise ProcessError(f"{algorithm} failed:\n" + "\n".join(lines[-12:]))
    return parse_results(lines)


def parse_results(lines: Sequence[str]) -> dict[str, str]:
    """Keys and values after the heading "Results" of qgis_process' text output."""
    if "Results" not in lines:
        return {}
    found = {}
    for line in lines[list(lines).index("Results") + 1 :]:
        match = _RESULT.match(line)
        if match:
            found[match.group(1)] = match.group(2).strip()
    return found
