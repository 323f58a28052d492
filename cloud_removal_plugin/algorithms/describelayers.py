"""``describelayers``: what layers, folders and archives are, why we think so, and what is doubtful."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
)

from ..engine.job import Job
from . import checks, layers, products, running
from .base import CloudRemovalAlgorithm


class DescribeLayers(CloudRemovalAlgorithm):
    """Says what was recognised; changes nothing."""

    INPUT = products.INPUT
    FILES = products.FILES
    LAYERS = "LAYERS"
    OUTPUT_HTML_FILE = "OUTPUT_HTML_FILE"
    OUTPUT_JSON_FILE = "OUTPUT_JSON_FILE"
    REPORT = "REPORT"
    PRODUCTS = "PRODUCTS"
    DOUBTS = "DOUBTS"

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        file = QgsProcessingParameterFileDestination
        raster = QgsProcessing.SourceType.TypeRaster
        self.add(products.folder_parameter(self.tr("Folder")))
        self.add(products.files_parameter(self.tr("Files or archives")))
        self.add(QgsProcessingParameterMultipleLayers(self.LAYERS, self.tr("Layers"), raster, optional=True))
        self.add(file(self.OUTPUT_HTML_FILE, self.tr("Report"), self.tr("HTML files (*.html)"), None, True, True))
        self.add(file(self.OUTPUT_JSON_FILE, self.tr("Findings"), self.tr("JSON files (*.json)"), None, True, False))
        self.addOutput(QgsProcessingOutputString(self.REPORT, self.tr("Report as text")))
        self.addOutput(QgsProcessingOutputNumber(self.PRODUCTS, self.tr("Number of products and rasters recognised")))
        self.addOutput(QgsProcessingOutputNumber(self.DOUBTS, self.tr("Number of doubts")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "describelayers"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Describe layers (cloud removal)")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("cloud,sensor,product,bands,reflectance,offset,scale,units,safe,stac,hls,landsat,what").split(
            ","
        )

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        files = (
            (layers.destination(parameters, self.OUTPUT_HTML_FILE, context), (".html", ".htm")),
            (layers.destination(parameters, self.OUTPUT_JSON_FILE, context), (".json",)),
        )
        given = products.paths(self, parameters, context)
        nothing = "" if layers.count(parameters, self.LAYERS, context) else self.tr(
            "Nothing was given. Choose a folder (INPUT), files (FILES) or layers (LAYERS)."
        )  # fmt: skip
        return (
            running.dependency_problem()
            or layers.unreadable(parameters, self.LAYERS, self.tr("Layers"), context)
            or products.problem(given, nothing=nothing)
            or checks.files_problem(files, given)
        )

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Note down the paths: layers must not be touched later."""
        super().prepareAlgorithm(parameters, context, feedback)
        shown = [layers.snapshot(layer).path for layer in layers.rasters(self, parameters, self.LAYERS, context)]
        given = products.paths(self, parameters, context)
        self._job = Job(kind="describe", input="", output="", products=tuple(dict.fromkeys([*given, *shown])))
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Look, then write the reports; returns {} on cancel."""
        from . import description, report  # not when QGIS starts

        result = running.run(self._job, feedback)
        if result is None:
            return {}
        found = json.loads(result.report)
        items = description.items(found)
        text = report.as_text(items)
        for line in text.splitlines():
            feedback.pushInfo(line)
        counted = sum(len(place["products"]) + len(place["rasters"]) for place in found)
        doubts = sum(item.state != report.GOOD for item in items)
        results = {self.REPORT: text, self.PRODUCTS: counted, self.DOUBTS: doubts}
        pages = {
            self.OUTPUT_HTML_FILE: lambda: report.as_html(self.tr("Cloud Removal: layers"), items),
            self.OUTPUT_JSON_FILE: lambda: json.dumps(found, indent=2, ensure_ascii=False) + "\n",
        }
        for key, page in pages.items():
            path = self.parameterAsFileOutput(parameters, key, context)
            if path:
                self._write(path, page())
                results[key] = path
        return results

    def _write(self, path: str, page: str) -> None:
        try:
            Path(path).write_text(page, encoding="utf-8")
        except OSError as error:
            raise QgsProcessingException(
                self.tr("The report cannot be written to '{path}' ({reason}). Choose another file.").format(
                    path=path, reason=error.strerror
                )
            ) from error
