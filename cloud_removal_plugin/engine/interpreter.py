"""Which Python does the work, and in which environment. Standard library only: QGIS imports it."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import DependencyError

VARIABLE = "CLOUD_REMOVAL_PYTHON"
"""Environment variable that names the worker's Python; it wins over the setting."""

CURE = f"Choose another Python in the plugin's options, or set the environment variable {VARIABLE}."

_DROPPED = re.compile(r"^(PYTHON|PROJ_|GDAL_|QGIS|QT_|PIP_|DYLD_|LD_LIBRARY|LD_PRELOAD|OMP_|OPENBLAS_|MKL_|MALLOC_)")
"""QGIS points these at its own libraries and data; in another interpreter they break GDAL, PROJ and NumPy."""

_FIXED = {
    "PYTHONIOENCODING": "utf-8",
    # Parallelism is over windows; a thread that waits must not spin on a core that another needs.
    "OMP_WAIT_POLICY": "passive",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # glibc: keep big blocks on the heap; its default maps, faults in and unmaps every array above 32 MB. With two
    # arenas instead of eight a core, threads share that heap: 1/3 of the page faults and 10 % less at the peak.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_ARENA_MAX": "2",
}

ALLOCATOR = {name: value for name, value in _FIXED.items() if name.startswith("MALLOC_")}
"""The part of it that a process cannot set for itself: the C library reads it as the process starts."""


def find(argument: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Path of the Python that does the work: the variable, else ``argument``, else QGIS' own.

    Args:
        argument: the analyst's setting; None or '' = none.
        environment: where :data:`VARIABLE` is looked up.

    Raises:
        DependencyError: what was chosen is not a Python interpreter, or none was found.
    """
    for chosen, where in ((environment.get(VARIABLE), f"the variable {VARIABLE}"), (argument, "the plugin's options")):
        if chosen:
            return _checked(os.path.expanduser(chosen), where)
    found = next((str(path) for path in own_candidates() if path.is_file()), "")
    if not found:
        raise DependencyError(f"No Python interpreter was found that could run the job beside QGIS. {CURE}")
    return found


def _checked(path: str, where: str) -> str:
    if os.path.isdir(path):
        inside = _in_folders([Path(path), Path(path, "bin"), Path(path, "Scripts")])
        path = next((str(found) for found in inside if found.is_file()), path)
    if not os.path.isfile(path):
        raise DependencyError(f"The Python interpreter '{path}' from {where} does not exist. {CURE}")
    # Starting a QGIS binary with our arguments would open another QGIS window.
    if "python" not in os.path.basename(path).lower():
        raise DependencyError(f"'{path}' from {where} is not a Python interpreter. {CURE}")
    # Not resolved: a venv's python is a link, and what it is called decides which packages it sees.
    return os.path.abspath(path)


def own_candidates() -> list[Path]:
    """Where the Python that runs this code may have its executable.

    Inside QGIS ``sys.executable`` is QGIS itself, or the first ``python3`` on PATH: it is never taken, only its folder.
    """
    folders = [Path(sys.prefix), Path(sys.prefix, "bin"), Path(sys.prefix, "Scripts")]
    folders.append(Path(sysconfig.get_config_var("BINDIR") or sys.prefix))
    folders += [Path(sys.base_prefix), Path(sys.base_prefix, "bin")]
    if sys.platform == "darwin" and sys.executable:
        folders.append(Path(sys.executable).parent / "bin")
    return _in_folders(folders)


def _in_folders(folders: Iterable[Path]) -> list[Path]:
    if os.name == "nt":
        names = ["python.exe", "python3.exe"]
    else:
        names = [f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3", "python"]
    return [folder / name for folder in dict.fromkeys(folders) for name in names]


def clean_environment(base: Mapping[str, str] = os.environ, python: str = "") -> dict[str, str]:
    """The environment of the worker: that of QGIS without what ties it to QGIS' libraries.

    Args:
        base: environment to start from; it is not changed.
        python: the interpreter; on Windows the DLL folders of its (conda) installation go on PATH.
    """
    clean = {name: value for name, value in base.items() if not _DROPPED.match(name.upper())}
    clean.update(_FIXED)
    library = os.path.join(os.path.dirname(python), "Library", "bin")
    if os.name == "nt" and os.path.isdir(library):
        clean["PATH"] = os.pathsep.join([os.path.dirname(python), library, clean.get("PATH", "")])
    return clean
