"""Weights that come with the plugin itself, each with its card."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = "weights/shipped"
"""Where the zip for the plugin site holds them, below the plugin's own folder (``tools/package.py``)."""
CHECKOUT = "weights"
"""Where a checkout holds them, beside the plugin's folder."""


def shipped_folder(package: Path = PACKAGE) -> Path | None:
    """The folder of the weights that came with the plugin; None where none came.

    Args:
        package: the plugin's own folder, installed or in a checkout.
    """
    installed, checkout = package / INSTALLED, package.parent / CHECKOUT
    if installed.is_dir():
        return installed
    # beside an installed plugin lie other plugins: only a checkout has its metadata there, too
    return checkout if (package.parent / "metadata.txt").is_file() and checkout.is_dir() else None
