"""What the plugin remembers about this computer; never about one run (those are parameters)."""

from __future__ import annotations

from qgis.core import QgsSettings

INTERPRETER_KEY = "cloud_removal/interpreter"
"""QgsSettings key: path of the Python that does the work; '' = find one. CLOUD_REMOVAL_PYTHON overrides it."""


def interpreter() -> str | None:
    """Path of the chosen Python interpreter, None where none was chosen. Read at run time, never at import."""
    return str(QgsSettings().value(INTERPRETER_KEY, "") or "").strip() or None


def set_interpreter(path: str) -> None:
    """Remember the Python interpreter that does the work; '' = find one."""
    QgsSettings().setValue(INTERPRETER_KEY, path.strip())
