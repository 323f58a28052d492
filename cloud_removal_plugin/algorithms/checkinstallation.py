"""``checkinstallation``: what the plugin finds on this computer, and the cure for what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterFileDestination,
)

from .base import CloudRemovalAlgorithm


class CheckInstallation(CloudRemovalAlgorithm):
    """Reports the installation; changes nothing."""

    OUTPUT_HTML_FILE = "OUTPUT_HTML_FILE"
    REPORT = "REPORT"
    PROBLEMS = "PROBLEMS"

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterFileDestination(
                self.OUTPUT_HTML_FILE, self.tr("Report"), self.tr("HTML files (*.html)"), None, True, True
            )
        )
        self.addOutput(QgsProcessingOutputString(self.REPORT, self.tr("Report as text")))
        self.addOutput(QgsProcessingOutputNumber(self.PROBLEMS, self.tr("Number of problems")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "checkinstallation"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Check installation (cloud removal)")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("cloud,install,diagnose,dependencies,torch,gpu,cuda,version,help").split(",")

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Look, then write the report; returns {} on cancel."""
        from . import installation, report  # not when QGIS starts

        feedback.setProgressText(self.tr("Looking at QGIS"))
        items = installation.qgis_side()
        feedback.setProgress(20)
        feedback.setProgressText(self.tr("Asking the Python that does the work"))
        items += installation.worker_side(feedback.isCanceled)
        if feedback.isCanceled():
            return {}
        items += installation.plugin_side()
        text = report.as_text(items)
        for line in text.splitlines():
            feedback.pushInfo(line)
        results = {self.REPORT: text, self.PROBLEMS: report.problems(items)}
        path = self.parameterAsFileOutput(parameters, self.OUTPUT_HTML_FILE, context)
        if path:
            self._write(path, report.as_html(self.tr("Cloud Removal: installation"), items))
            results[self.OUTPUT_HTML_FILE] = path
        feedback.setProgress(100)
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
