"""The plugin object that QGIS makes: registers the provider, adds menu and options page, and takes all back."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsApplication

from .engine import launch
from .provider import CloudRemovalProvider

MENU = "&Cloud Removal"
ICON = str(Path(__file__).parent / "gui" / "icon.svg")


class CloudRemovalPlugin:
    """Life of the plugin inside QGIS.

    Args:
        iface: the desktop's interface; None in ``qgis_process``, where :meth:`initGui` is never called.
    """

    def __init__(self, iface) -> None:
        self._iface = iface
        self._provider: CloudRemovalProvider | None = None
        self._actions: list = []
        self._options = None

    def initProcessing(self) -> None:
        """Register the algorithms; ``qgis_process`` calls this and nothing else."""
        if self._provider is None:
            self._provider = CloudRemovalProvider()
            QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Register the algorithms and add what the desktop shows."""
        self.initProcessing()
        if self._iface is None:
            return
        from qgis.PyQt.QtGui import QIcon

        from .gui.options import OptionsPageFactory
        from .gui.text import tr

        try:
            from qgis.PyQt.QtGui import QAction
        except ImportError:  # Qt 5 has it among the widgets
            from qgis.PyQt.QtWidgets import QAction

        window = self._iface.mainWindow()
        for title, algorithm in ((tr("Remove clouds…"), "removeclouds"), (tr("Detect clouds…"), "detectclouds"),
                                 (tr("Check installation…"), "checkinstallation")):  # fmt: skip
            action = QAction(QIcon(ICON), title, window)
            action.triggered.connect(lambda _checked=False, name=algorithm: _open_dialog(name))
            self._iface.addPluginToRasterMenu(MENU, action)
            self._actions.append(action)
        self._options = OptionsPageFactory()
        self._iface.registerOptionsWidgetFactory(self._options)

    def unload(self) -> None:
        """Take everything back, whatever part of it was made, and end the worker process."""
        for action in self._actions:
            self._iface.removePluginRasterMenu(MENU, action)
            action.deleteLater()
        self._actions.clear()
        if self._options is not None:
            self._iface.unregisterOptionsWidgetFactory(self._options)
            self._options = None
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
        launch.shutdown()


def _open_dialog(name: str) -> None:
    """Open Processing's own dialog of one of our algorithms."""
    import processing

    processing.execAlgorithmDialog(f"cloudremoval:{name}")
