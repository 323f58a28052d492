"""``detectclouds``: an optical raster to cloud and shadow classes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterEnum,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from ..engine.job import AUTO_DILATE_PX, Job
from ..gui import settings, styling
from . import inputs, running
from .base import CloudRemovalAlgorithm

METHODS = ("auto", "s2cloudless", "rules", "dsen2cr", "sen12mscrts", "cloud_cloudshadow", "uncrtaints", "clearvision")


class DetectClouds(CloudRemovalAlgorithm):
    """Finds clouds and shadows."""

    INPUT = "INPUT"
    OTHER_DATES = "OTHER_DATES"
    METHOD = "METHOD"
    THRESHOLD = "THRESHOLD"
    DILATE = "DILATE"
    CLOUD_MASK = "CLOUD_MASK"
    DILATE_M = "DILATE_M"
    OUTPUT = "OUTPUT"
    PROBABILITY = "PROBABILITY"
    CLOUD_SHARE = "CLOUD_SHARE"
    SECONDS = "SECONDS"
    METHOD_USED = "METHOD_USED"

    def __init__(self) -> None:
        super().__init__()
        self._inputs: inputs.Inputs | None = None
        self._job: Job | None = None

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        integer, real = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double
        raster = QgsProcessing.SourceType.TypeRaster
        number = QgsProcessingParameterNumber
        self.add(QgsProcessingParameterRasterLayer(self.INPUT, self.tr("Raster")))
        self.add(QgsProcessingParameterMultipleLayers(self.OTHER_DATES, self.tr("Other dates"), raster, optional=True))
        self.add(
            QgsProcessingParameterEnum(
                self.METHOD, self.tr("Method"), list(METHODS), defaultValue="auto", usesStaticStrings=True
            )
        )
        self.add(number(self.THRESHOLD, self.tr("Cloud probability threshold (0 to 1)"), real, None, True, 0, 1))
        widen = self.tr("Widen clouds and shadows (pixels, -1 = automatic)")
        self.add(number(self.DILATE, widen, integer, AUTO_DILATE_PX, False, AUTO_DILATE_PX, 100))
        self.add(QgsProcessingParameterRasterLayer(self.CLOUD_MASK, self.tr("Mask to join"), optional=True))
        metres = self.tr("Widen clouds and shadows (m)")
        self.add(number(self.DILATE_M, metres, real, None, True, 0, 5000), advanced=True)
        self.add(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr("Clouds and shadows")))
        self.add(
            QgsProcessingParameterRasterDestination(
                self.PROBABILITY, self.tr("Cloud probability"), optional=True, createByDefault=False
            )
        )
        self.addOutput(QgsProcessingOutputNumber(self.CLOUD_SHARE, self.tr("Share of cloud and shadow")))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, self.tr("Seconds")))
        self.addOutput(QgsProcessingOutputString(self.METHOD_USED, self.tr("Method used")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "detectclouds"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Detect clouds")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("cloud,shadow,mask,cloud mask,s2cloudless,fmask,sentinel,landsat,quality").split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        return inputs.problem(self, parameters, context, outputs=(self.OUTPUT, self.PROBABILITY))

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Snapshot the layers and build the job but for its outputs."""
        super().prepareAlgorithm(parameters, context, feedback)
        self._inputs = inputs.read(self, parameters, context)
        metres = inputs.number(self, parameters, self.DILATE_M, context)
        self._job = Job(
            kind="detect",
            input=self._inputs.target.path,
            output="pending.tif",
            other_dates=self._inputs.paths(self.OTHER_DATES),
            method=self.parameterAsEnumString(parameters, self.METHOD, context),
            threshold=inputs.number(self, parameters, self.THRESHOLD, context),
            dilate=self.parameterAsInt(parameters, self.DILATE, context),
            weights=settings.weights_folder(),
            cloud_mask=self._inputs.path(self.CLOUD_MASK),
            settings="" if metres is None else json.dumps({"dilate_m": metres}),
        )
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the job; returns {} on cancel."""
        self._inputs.log(feedback)
        job = replace(
            self._job,
            output=self.parameterAsOutputLayer(parameters, self.OUTPUT, context),
            probability=self.parameterAsOutputLayer(parameters, self.PROBABILITY, context),
        )
        result = running.run(job, feedback)
        if result is None:
            return {}
        styling.attach(context, result.output, styling.style_classes, main=True)
        styling.attach(context, result.probability, styling.style_probability)
        layers = {self.OUTPUT: result.output, self.PROBABILITY: result.probability}
        return {
            **{key: path for key, path in layers.items() if path},
            self.CLOUD_SHARE: result.cloud_share,
            self.SECONDS: result.seconds,
            self.METHOD_USED: result.method_used,
        }
