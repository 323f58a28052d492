"""Translation with the plugin's one context."""

from __future__ import annotations

from qgis.PyQt.QtCore import QCoreApplication

CONTEXT = "CloudRemoval"


def tr(text: str) -> str:
    """``text`` in the language of QGIS; call with literal strings and fill in values with ``format`` afterwards."""
    return QCoreApplication.translate(CONTEXT, text)
