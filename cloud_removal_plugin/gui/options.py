"""The plugin's page in Settings > Options: which Python does the work, where weights lie.

Imported with the desktop only.
"""

from __future__ import annotations

from pathlib import Path

from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QFormLayout, QLabel

from . import settings
from .text import tr

ICON = str(Path(__file__).parent / "icon.svg")


class OptionsPage(QgsOptionsPageWidget):
    """Two rows: the interpreter, and the folder of the networks' weights."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._interpreter = QgsFileWidget(self)
        self._interpreter.setStorageMode(QgsFileWidget.StorageMode.GetFile)
        self._interpreter.setFilePath(settings.interpreter() or "")
        hint = QLabel(
            tr(
                "The Python that has rasterio, scipy and (recommended) torch; it is a process of its own. Leave it "
                "empty to use that of QGIS where it has them. The environment variable CLOUD_REMOVAL_PYTHON overrides "
                "this. "
                "The algorithm 'Check installation' says what is found."
            )
        )
        hint.setWordWrap(True)
        layout = QFormLayout(self)
        layout.addRow(tr("Python interpreter"), self._interpreter)
        layout.addRow(hint)
        self._weights = QgsFileWidget(self)
        self._weights.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self._weights.setFilePath(settings.chosen_weights_folder())
        layout.addRow(tr("Folder of network weights"), self._weights)
        where = QLabel(
            tr(
                "Where 'Import weights' puts the weights of published networks. Leave it empty for a folder among your "
                "own data. The environment variable CLOUD_REMOVAL_WEIGHTS overrides this."
            )
        )
        where.setWordWrap(True)
        layout.addRow(where)

    def apply(self) -> None:
        """Called by the options dialog when the analyst accepts it."""
        settings.set_interpreter(self._interpreter.filePath())
        settings.set_weights_folder(self._weights.filePath())


class OptionsPageFactory(QgsOptionsWidgetFactory):
    """Makes the page whenever the options dialog opens."""

    def __init__(self) -> None:
        super().__init__()
        self.setTitle("Cloud Removal")
        self.setIcon(QIcon(ICON))

    def icon(self) -> QIcon:
        """Picture beside the page's title."""
        return QIcon(ICON)

    def createWidget(self, parent=None) -> OptionsPage:
        """A new page for one options dialog."""
        return OptionsPage(parent)
