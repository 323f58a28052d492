"""``listmodels``: the published networks, what they need, and whether their weights are here."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterFileDestination,
)

from ..engine.job import Job
from ..gui import settings
from . import running
from .base import CloudRemovalAlgorithm


class ListModels(CloudRemovalAlgorithm):
    """Reports the networks; changes nothing."""

    OUTPUT_HTML_FILE = "OUTPUT_HTML_FILE"
    REPORT = "REPORT"
    WITH_WEIGHTS = "WITH_WEIGHTS"

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterFileDestination(
                self.OUTPUT_HTML_FILE, self.tr("Table"), self.tr("HTML files (*.html)"), None, True, True
            )
        )
        self.addOutput(QgsProcessingOutputString(self.REPORT, self.tr("Table as text")))
        self.addOutput(QgsProcessingOutputNumber(self.WITH_WEIGHTS, self.tr("Networks with weights")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "listmodels"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("List networks for cloud removal")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("cloud,model,network,weights,checkpoint,licence,deep learning,dsen2cr,utilise").split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        return running.dependency_problem()

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Look, then write the table; returns {} on cancel."""
        page = self.parameterAsFileOutput(parameters, self.OUTPUT_HTML_FILE, context)
        job = Job(kind="models", input="", output=page, weights=settings.weights_folder())
        result = running.run(job, feedback)
        if result is None:
            return {}
        results: dict[str, Any] = {self.REPORT: result.report, self.WITH_WEIGHTS: int(result.method_used)}
        return {**results, self.OUTPUT_HTML_FILE: page} if page else results
