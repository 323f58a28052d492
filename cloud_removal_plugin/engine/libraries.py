"""Whether the interpreter's libraries are new enough for a job."""

from __future__ import annotations

import sys
from importlib import metadata

from ..errors import DependencyError

LEAST: dict[str, tuple[int, int]] = {"numpy": (1, 22), "rasterio": (1, 3)}
"""Oldest versions that do every job right; older ones lack arguments that are used, or read masks differently."""


def check_libraries() -> None:
    """Refuse to start with libraries that would fail in the middle.

    Raises:
        DependencyError: one is missing or too old.
    """
    for name, least in LEAST.items():
        wanted = ".".join(map(str, least))
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise DependencyError(f"{_here()} has no {name}; {_cure(name, wanted)}") from None
        if _numbers(version) < least:
            raise DependencyError(f"{_here()} has {name} {version}; {_cure(name, wanted)}")


def _here() -> str:
    return f"The Python that runs the job ({sys.executable or 'inside QGIS'})"


def _cure(name: str, wanted: str) -> str:
    return (
        f"{wanted} or later is needed. Choose an interpreter that has {name} {wanted} under Settings > Options > "
        "Cloud Removal (or in CLOUD_REMOVAL_PYTHON), and let the job run in the worker process (CLOUD_REMOVAL_RUN "
        "not set)."
    )


def _numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a version; (0, 0) where there are none."""
    parts = version.split(".")[:2]
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        return 0, 0
    return int(parts[0]), int(parts[1])
