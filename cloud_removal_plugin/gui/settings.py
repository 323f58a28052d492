"""What the plugin remembers about this computer; never about one run (those are parameters)."""

from __future__ import annotations

import os

from qgis.core import QgsSettings

from ..weights.folder import weights_folder as find_weights_folder

INTERPRETER_KEY = "cloud_removal/interpreter"
"""QgsSettings key: path of the Python that does the work; '' = find one. CLOUD_REMOVAL_PYTHON overrides it."""

WEIGHTS_KEY = "cloud_removal/weights"
"""QgsSettings key: folder of the networks' weights; '' = in the person's data folder.
CLOUD_REMOVAL_WEIGHTS overrides it."""


def interpreter() -> str | None:
    """Path of the chosen Python interpreter, None where none was chosen. Read at run time, never at import."""
    return str(QgsSettings().value(INTERPRETER_KEY, "") or "").strip() or None


def set_interpreter(path: str) -> None:
    """Remember the Python interpreter that does the work; '' = find one."""
    QgsSettings().setValue(INTERPRETER_KEY, path.strip())


def chosen_weights_folder() -> str:
    """Folder of the networks' weights as chosen in the options, '' = none was chosen."""
    return str(QgsSettings().value(WEIGHTS_KEY, "") or "").strip()


def weights_folder() -> str:
    """Full path of the folder of the networks' weights: environment, option, or the person's data folder."""
    return os.path.abspath(find_weights_folder(chosen_weights_folder()))


def set_weights_folder(path: str) -> None:
    """Remember the folder of the networks' weights; '' = in the person's data folder."""
    QgsSettings().setValue(WEIGHTS_KEY, path.strip())
