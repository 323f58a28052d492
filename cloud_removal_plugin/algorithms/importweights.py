"""``importweights``: a published checkpoint becomes weights that ``removeclouds`` can use."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
)

from ..engine.job import Job
from ..gui import settings
from ..weights.known import CHECKPOINTS
from . import running
from .base import CloudRemovalAlgorithm

NETWORKS = ("auto", *dict.fromkeys(entry.network for entry in CHECKPOINTS))


class FileOrFolder(QgsProcessingParameterFile):
    """A file as QGIS knows it, which may also be the folder of a training run; the engine looks at what it is."""

    def checkValueIsAcceptable(self, value: Any, context: QgsProcessingContext | None = None) -> bool:
        """Any path will do here."""
        return isinstance(value, str) and bool(value.strip())


class ImportWeights(CloudRemovalAlgorithm):
    """Recognises, checks and converts a checkpoint."""

    NETWORK = "NETWORK"
    CHECKPOINT = "CHECKPOINT"
    ADD = "ADD"
    OUTPUT_HTML_FILE = "OUTPUT_HTML_FILE"
    WEIGHTS = "WEIGHTS"
    NETWORK_FOUND = "NETWORK_FOUND"
    REPORT = "REPORT"

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self.add(
            QgsProcessingParameterEnum(
                self.NETWORK, self.tr("Network"), list(NETWORKS), defaultValue="auto", usesStaticStrings=True
            )
        )
        self.add(FileOrFolder(self.CHECKPOINT, self.tr("Checkpoint")))
        add = self.tr("Use together with the weights that are there (ensemble)")
        self.add(QgsProcessingParameterBoolean(self.ADD, add, False), advanced=True)
        self.add(
            QgsProcessingParameterFileDestination(
                self.OUTPUT_HTML_FILE, self.tr("Report"), self.tr("HTML files (*.html)"), None, True, False
            )
        )
        self.addOutput(QgsProcessingOutputFile(self.WEIGHTS, self.tr("Converted weights")))
        self.addOutput(QgsProcessingOutputString(self.NETWORK_FOUND, self.tr("Network that was found")))
        self.addOutput(QgsProcessingOutputString(self.REPORT, self.tr("Report as text")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "importweights"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Import weights of a network")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("cloud,weights,checkpoint,model,network,deep learning,pth,hdf5,safetensors,convert").split(",")

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
        """Import; returns {} on cancel."""
        checkpoint = self.parameterAsString(parameters, self.CHECKPOINT, context).strip()
        if not checkpoint:
            raise QgsProcessingException(self.tr("Choose the checkpoint file."))
        page = self.parameterAsFileOutput(parameters, self.OUTPUT_HTML_FILE, context)
        job = Job(
            kind="import",
            input=checkpoint,
            output=page,
            method=self.parameterAsEnumString(parameters, self.NETWORK, context),
            weights=settings.weights_folder(),
            settings='{"add": true}' if self.parameterAsBool(parameters, self.ADD, context) else "",
        )
        result = running.run(job, feedback)
        if result is None:
            return {}
        results = {self.WEIGHTS: result.output, self.NETWORK_FOUND: result.method_used, self.REPORT: result.report}
        return {**results, self.OUTPUT_HTML_FILE: page} if page else results
