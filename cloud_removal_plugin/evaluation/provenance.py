"""What is needed to run something again: versions, and fingerprints of the files that went in."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("numpy", "scipy", "rasterio", "torch", "lightgbm", "s2cloudless", "matplotlib", "jinja2")
WHOLE_BYTES = 256 << 20
END_BYTES = 16 << 20
_STEP = 1 << 20


def plugin_version() -> str:
    """From metadata.txt, which lies in the package or, in a checkout, beside it; '' where it is missing."""
    package = Path(__file__).resolve().parents[1]
    for card in (package / "metadata.txt", package.parent / "metadata.txt"):
        if card.is_file():
            lines = card.read_text(encoding="utf-8").splitlines()
            return next((line.partition("=")[2] for line in lines if line.startswith("version=")), "")
    return ""


def versions(more: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Names and versions of the plugin, Python, the system, the libraries that are there, and ``more``."""
    found = [
        ("Cloud Removal", plugin_version()),
        ("Python", platform.python_version()),
        ("System", f"{platform.system()} {platform.release()} ({platform.machine()})"),
        *more,
    ]
    for name in PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append((name, "not installed"))
    return found


def fingerprint(path: str) -> str:
    """SHA-256 of a file; of its size and its two ends where it is large; a word where there is no such file."""
    if not os.path.isfile(path):
        return "not a file"
    size, digest = os.path.getsize(path), hashlib.sha256()
    with open(path, "rb") as file:
        if size <= WHOLE_BYTES:
            while part := file.read(_STEP):
                digest.update(part)
            return digest.hexdigest()
        digest.update(str(size).encode())
        digest.update(file.read(END_BYTES))
        file.seek(-END_BYTES, os.SEEK_END)
        digest.update(file.read(END_BYTES))
    return f"{digest.hexdigest()} (of its size, first and last {END_BYTES >> 20} MiB)"
