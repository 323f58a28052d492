"""What is installed: looked up in QGIS, asked of the worker's Python, read from the plugin's folder."""

from __future__ import annotations

import json
import os
import platform
import subprocess  # nosec B404
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qgis.core import Qgis
from qgis.PyQt.QtCore import QT_VERSION_STR

from ..engine import launch
from ..errors import CloudRemovalError
from ..gui import settings
from ..gui.text import tr
from .base import PACKAGE, version
from .report import BAD, HINT, Item

PROBE = PACKAGE / "algorithms" / "probe_worker.py"
PATIENCE_S = 120.0
"""A cold disk takes a minute to give PyTorch."""
NEEDED = ("numpy", "scipy", "rasterio")
USEFUL = {
    "torch": "The published networks need it; without it every other method works.",
    "s2cloudless": "Its model finds clouds in Sentinel-2 L1C; without it rules do.",
    "lightgbm": "It runs the model of s2cloudless; without it rules find the clouds.",
    "matplotlib": "It draws the plots of the reports; without it REPORT cannot be written.",
    "jinja2": "It fills in the reports; without it REPORT cannot be written.",
}


def qgis_side() -> list[Item]:
    """QGIS, its Python and its libraries."""
    section = tr("QGIS")
    items = [
        Item(section, "QGIS", f"{Qgis.QGIS_VERSION}, Qt {QT_VERSION_STR}"),
        Item(section, "Python", f"{platform.python_version()}, {platform.platform()}"),
    ]
    try:
        from osgeo import gdal, osr
    except ImportError as error:
        cure = tr("Repair the QGIS installation: its Python package 'osgeo' cannot be imported.")
        return [*items, Item(section, "GDAL", str(error), HINT, cure)]
    proj = ".".join(str(part()) for part in (osr.GetPROJVersionMajor, osr.GetPROJVersionMinor, osr.GetPROJVersionMicro))
    folders = os.pathsep.join(osr.GetPROJSearchPaths())
    items.append(Item(section, "GDAL", gdal.VersionInfo("RELEASE_NAME")))
    return [*items, Item(section, "PROJ", f"{proj} ({folders})")]


def worker_side(cancelled: Callable[[], bool]) -> list[Item]:
    """The Python that does the work and what it has; [] on cancel."""
    section = tr("Worker")
    try:
        path = launch.interpreters.find(settings.interpreter())
    except CloudRemovalError as error:
        return [Item(section, "Python", tr("none"), BAD, str(error))]
    items = [Item(section, tr("Interpreter"), f"{path} ({_where()})")]
    try:
        answer = _ask(path, cancelled)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        cure = tr("Choose another Python under Settings, Options, Cloud Removal.")
        return [*items, Item(section, "Python", tr("does not answer ({reason})").format(reason=error), BAD, cure)]
    if answer is None:
        return []
    items.append(Item(section, "Python", f"{answer['python']}, {answer['platform']}"))
    items += [_package(section, path, name, found) for name, found in answer["packages"].items()]
    items += _algebra(section, path, answer.get("algebra", ""))
    kernel = _kernel(section, answer.get("kernel") or {})
    return items + _native(section, answer["native"]) + _devices(section, answer) + kernel


def plugin_side() -> list[Item]:
    """What ships with this release."""
    section = tr("Plugin")
    folder = Path(settings.weights_folder())
    files = sorted(path.name for path in folder.glob("*.safetensors")) if folder.is_dir() else []
    weights = (
        f"{folder}: {', '.join(files)}"
        if files
        else tr("none in {folder}, and none are needed: the methods learn from the scene").format(folder=folder)
    )
    return [
        Item(section, tr("Version"), version() or tr("unknown")),
        Item(section, tr("Weights of networks"), weights),
        Item(section, tr("Where jobs run"), _place()),
    ]


def _ask(path: str, cancelled: Callable[[], bool]) -> dict[str, Any] | None:
    """The probe's answer, None on cancel.

    Raises:
        OSError, ValueError, subprocess.SubprocessError: the interpreter cannot be started, or says nothing sensible.
    """
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaints:
        # A list of arguments without a shell; the path was checked by interpreters.find.
        child = subprocess.Popen(  # nosec B603
            [path, "-E", "-s", str(PROBE)], stdin=subprocess.DEVNULL, stdout=told, stderr=complaints,
            env=launch.interpreters.clean_environment(python=path), cwd=tempfile.gettempdir(), creationflags=hidden,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + PATIENCE_S
            while child.poll() is None:
                if cancelled():
                    return None
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(path, PATIENCE_S)
                time.sleep(0.05)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        told.seek(0)
        complaints.seek(0)
        lines = told.read().decode("utf-8", "replace").strip().splitlines()
        if child.returncode != 0 or not lines:
            tail = complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise ValueError(tr("exit status {status} {last}").format(status=child.returncode, last=" ".join(tail)))
    return json.loads(lines[-1])


def _package(section: str, python: str, name: str, found: dict[str, str]) -> Item:
    if "version" in found:
        return Item(section, name, found["version"])
    install = tr("Install it for this Python: {python} -m pip install {name}").format(python=python, name=name)
    if name in NEEDED:
        cure = f"{install} ({tr('on Debian and Ubuntu')}: apt install python3-{name})"
        return Item(section, name, found["error"], BAD, cure)
    return Item(section, name, found["error"], HINT, f"{USEFUL[name]} {install}")


def _algebra(section: str, python: str, fault: str) -> list[Item]:
    if not fault:
        return []
    cure = tr("It is slow, and crashes the worker. Take a finished one: {line}").format(
        line=f"{python} -m pip install --force-reinstall --only-binary :all: numpy"
    )
    return [Item(section, "NumPy", tr(fault), BAD, cure)]


def _native(section: str, native: dict[str, str]) -> list[Item]:
    if not native:
        return []
    versions = f"GDAL {native.get('gdal', '?')}, PROJ {native.get('proj', '?')}"
    if native.get("crs") == "ok":
        return [Item(section, "GDAL / PROJ", versions)]
    cure = tr("PROJ does not find its data in this Python. Install rasterio anew, in an environment of its own.")
    return [Item(section, "GDAL / PROJ", f"{versions}; {native.get('crs')}", BAD, cure)]


def _kernel(section: str, kernel: dict[str, str]) -> list[Item]:
    name = tr("Compiled kernel")
    if not kernel:
        return [Item(section, name, tr("needs torch, as the published networks do"))]
    if kernel["state"] == "compiled":
        return [Item(section, name, kernel["text"])]
    if kernel["state"] == "buildable":
        return [
            Item(section, name, tr("not built yet; the first run of a published network builds it, in half a minute"))
        ]
    cure = tr("Published networks run without it, but take half as long again. On Debian and Ubuntu: {line}").format(
        line="apt install g++ ninja-build"
    )
    return [Item(section, name, kernel["missing"] or kernel["text"], HINT, cure)]


def _devices(section: str, answer: dict[str, Any]) -> list[Item]:
    devices = answer["devices"]
    if not devices:
        return [Item(section, tr("Devices"), tr("cpu, by numpy"))]
    if any(name.startswith("cuda") for name in devices):
        return [Item(section, tr("Devices"), "; ".join(devices))]
    return [Item(section, tr("Devices"), "; ".join(devices) + "; " + tr("no CUDA graphics card, none is needed"))]


def _where() -> str:
    """Who chose the interpreter."""
    if os.environ.get("CLOUD_REMOVAL_PYTHON"):
        return tr("from CLOUD_REMOVAL_PYTHON")
    return tr("from the options") if settings.interpreter() else tr("the Python of QGIS")


def _place() -> str:
    if os.environ.get("CLOUD_REMOVAL_RUN") == "inprocess":
        return tr("inside QGIS (CLOUD_REMOVAL_RUN=inprocess)")
    return tr("in a worker process")
