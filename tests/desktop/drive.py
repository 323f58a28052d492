"""Drives the real QGIS desktop from inside (``qgis --code drive.py``): layers, dialog, Run, result on the map, picture.

What to do is a JSON file named by ``CLOUD_REMOVAL_DESKTOP``: ``target``, ``others``, ``radar``, ``parameters``,
``rgb`` (band numbers), ``stretch`` (two values), ``folder`` (where ``report.json`` and the pictures go). A step that
fails is reported, and QGIS is left with a status in every case.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from pathlib import Path

import processing
from qgis.core import (
    QgsApplication,
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsProject,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QApplication, QDockWidget
from qgis.utils import iface

PLAN = json.loads(Path(os.environ["CLOUD_REMOVAL_DESKTOP"]).read_text(encoding="utf-8"))
FOLDER = Path(PLAN["folder"])
TICK_MS = 50


class Drive:
    """The steps, one after the other, each from the event loop."""

    def __init__(self) -> None:
        self.report: dict = {"ok": False, "errors": []}
        self.gaps: list[float] = []
        self._last_tick = time.monotonic()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        self._step(self.load, 1500)

    def _step(self, action, wait_ms: int) -> None:
        def run() -> None:
            try:
                action()
            except Exception:
                self.report["errors"].append(traceback.format_exc())
                self.leave()

        QTimer.singleShot(wait_ms, run)

    def _tick(self) -> None:
        now = time.monotonic()
        self.gaps.append(now - self._last_tick)
        self._last_tick = now

    def load(self) -> None:
        """Layers on the canvas, the cloudy one in the analyst's colours."""
        window = iface.mainWindow()
        window.resize(1380, 860)
        for dock in window.findChildren(QDockWidget):
            if dock.objectName() not in ("Layers", "ProcessingToolbox"):
                dock.close()
        self.others = [QgsRasterLayer(path, Path(path).stem) for path in PLAN["others"]]
        self.target = QgsRasterLayer(PLAN["target"], Path(PLAN["target"]).stem)
        extra = [QgsRasterLayer(PLAN["radar"], "Sentinel-1")] if PLAN.get("radar") else []
        for layer in (*extra, *self.others, self.target):
            self._colour(layer)
            QgsProject.instance().addMapLayer(layer)
            node = QgsProject.instance().layerTreeRoot().findLayer(layer.id())
            node.setExpanded(layer is self.target)
            node.setItemVisibilityChecked(layer is self.target)
        self.radar = extra
        canvas = iface.mapCanvas()
        canvas.setExtent(canvas.mapSettings().layerExtentToOutputExtent(self.target, self.target.extent()))
        canvas.refresh()
        toolbox = window.findChild(QDockWidget, "ProcessingToolbox")
        self.report["toolbox"] = toolbox is not None
        self._step(self.open_dialog, 2500)

    def _colour(self, layer: QgsRasterLayer) -> None:
        if layer.bandCount() < max(PLAN["rgb"]) or layer.name() == "Sentinel-1":
            return
        source = layer.dataProvider()
        renderer = QgsMultiBandColorRenderer(source, *PLAN["rgb"])
        setters = (
            renderer.setRedContrastEnhancement, renderer.setGreenContrastEnhancement,
            renderer.setBlueContrastEnhancement,
        )  # fmt: skip
        for band, setter in zip(PLAN["rgb"], setters):
            stretch = QgsContrastEnhancement(source.dataType(band))
            stretch.setMinimumValue(PLAN["stretch"][0])
            stretch.setMaximumValue(PLAN["stretch"][1])
            stretch.setContrastEnhancementAlgorithm(
                QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
            )
            setter(stretch)
        layer.setRenderer(renderer)

    def open_dialog(self) -> None:
        """The algorithm's dialog as the toolbox opens it."""
        iface.mainWindow().grab().save(str(FOLDER / "before.png"))
        given = {
            "INPUT": self.target, "OTHER_DATES": [layer.id() for layer in self.others],
            "RADAR": self.radar[0] if self.radar else None, **PLAN["parameters"],
        }  # fmt: skip
        algorithm = QgsApplication.processingRegistry().algorithmById("cloudremoval:removeclouds")
        self.report["found"] = algorithm is not None
        self.dialog = processing.createAlgorithmDialog("cloudremoval:removeclouds", given)
        self.dialog.algorithmFinished.connect(self.finished)
        self.dialog.show()
        self._step(self.press_run, 1500)

    def press_run(self) -> None:
        """Run, in a background task; the clock watches how long the window stands still."""
        QApplication.primaryScreen().grabWindow(0).save(str(FOLDER / "dialog.png"))
        self._last_tick = time.monotonic()
        self._timer.start(TICK_MS)
        self.started = time.monotonic()
        self.dialog.runButton().click()
        self.report["runs_in_background"] = not self.dialog.runButton().isEnabled()
        self._step(self.while_running, 1200)

    def while_running(self) -> None:
        QApplication.primaryScreen().grabWindow(0).save(str(FOLDER / "running.png"))

    def finished(self, ok: bool, results: dict) -> None:
        """Called by the dialog; the layers are on the map a moment later."""
        self.report.update(run_ok=bool(ok), results=results, run_s=time.monotonic() - self.started)
        self._step(self.look, 3000)

    def look(self) -> None:
        """What is on the map now, and a picture of it."""
        self._timer.stop()
        self.report["longest_gap_s"] = max(self.gaps, default=0.0)
        QApplication.primaryScreen().grabWindow(0).save(str(FOLDER / "log.png"))
        self.dialog.close()
        known = {layer.id() for layer in (*self.others, self.target, *self.radar)}
        root = QgsProject.instance().layerTreeRoot()
        self.report["order"] = [node.name() for node in root.findLayers()]
        self.report["layers"] = {
            layer.name(): self._describe(layer)
            for layer in QgsProject.instance().mapLayers().values()
            if layer.id() not in known
        }
        self.report["crs"] = QgsProject.instance().crs().authid()
        iface.mapCanvas().refresh()
        self._step(self.picture, 2500)

    def _describe(self, layer: QgsRasterLayer) -> dict:
        renderer = layer.renderer()
        facts = {"renderer": renderer.type(), "visible": False}
        node = QgsProject.instance().layerTreeRoot().findLayer(layer.id())
        facts["visible"] = node.isVisible()
        facts["legend"] = [label for label, _ in renderer.legendSymbologyItems()]
        if isinstance(renderer, QgsMultiBandColorRenderer):
            facts["rgb"] = [renderer.redBand(), renderer.greenBand(), renderer.blueBand()]
            red = renderer.redContrastEnhancement()
            facts["stretch"] = [red.minimumValue(), red.maximumValue()]
        return facts

    def picture(self) -> None:
        iface.mainWindow().grab().save(str(FOLDER / "after.png"))
        root = QgsProject.instance().layerTreeRoot()
        for name, shown in (("Cloud-free raster", False), ("Uncertainty", True)):  # the result lies on top
            for layer in QgsProject.instance().mapLayersByName(name):
                root.findLayer(layer.id()).setItemVisibilityChecked(shown)
                root.findLayer(layer.id()).setExpanded(shown)
        self._step(self.second_picture, 2000)

    def second_picture(self) -> None:
        iface.mainWindow().grab().save(str(FOLDER / "uncertainty.png"))
        self.report["ok"] = True
        self.leave()

    def leave(self) -> None:
        """Write the report and end QGIS without questions."""
        (FOLDER / "report.json").write_text(json.dumps(self.report, indent=1, default=str), encoding="utf-8")
        QgsProject.instance().removeAllMapLayers()
        QgsProject.instance().setDirty(False)
        QTimer.singleShot(500, iface.actionExit().trigger)


drive = Drive()
drive.start()
