"""``evaluaterestoration``: restored rasters against a reference, to figures and a report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from ..bands import SENSORS
from ..engine.job import Job, Result
from ..gui import styling
from . import checks, inputs, layers, running
from .base import CloudRemovalAlgorithm

METRICS = ("field", "dsen2cr", "glfcr", "uncrtaints", "sen12mscrts", "crsystem", "utilise")


class EvaluateRestoration(CloudRemovalAlgorithm):
    """Measures how far restored rasters are from the truth."""

    RESTORED = "RESTORED"
    REFERENCE = "REFERENCE"
    CLOUDY = "CLOUDY"
    CLOUD_MASK = "CLOUD_MASK"
    UNCERTAINTY = "UNCERTAINTY"
    LAND_COVER = "LAND_COVER"
    METRICS_AS = "METRICS_AS"
    SENSOR = "SENSOR"
    REFLECTANCE_SCALE = "REFLECTANCE_SCALE"
    REFLECTANCE_OFFSET = "REFLECTANCE_OFFSET"
    MEMORY_MB = "MEMORY_MB"
    REPORT = "REPORT"
    FIGURES = "FIGURES"
    ERROR = "ERROR"
    MEASURES = ("MAE", "RMSE", "PSNR", "SSIM", "SAM")
    SECONDS = "SECONDS"

    def __init__(self) -> None:
        super().__init__()
        self._inputs: inputs.Inputs | None = None
        self._job: Job | None = None

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self._add_inputs()
        self._add_expert_knobs()
        file = QgsProcessingParameterFileDestination
        page = self.tr("HTML files (*.html)")
        self.add(file(self.REPORT, self.tr("Report"), page, None, optional=True, createByDefault=True))
        kinds = self.tr("JSON files (*.json);;CSV files (*.csv)")
        self.add(file(self.FIGURES, self.tr("Figures"), kinds, None, optional=True, createByDefault=True))
        self.add(
            QgsProcessingParameterRasterDestination(
                self.ERROR, self.tr("Error (reflectance)"), optional=True, createByDefault=False
            )
        )
        titles = (
            self.tr("Mean absolute error (reflectance)"),
            self.tr("Root mean square error (reflectance)"),
            self.tr("Peak signal-to-noise ratio (dB)"),
            self.tr("Structural similarity (0 to 1)"),
            self.tr("Spectral angle"),
        )
        for key, title in zip(self.MEASURES, titles):
            self.addOutput(QgsProcessingOutputNumber(key, title))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, self.tr("Seconds")))

    def _add_inputs(self) -> None:
        raster = QgsProcessingParameterRasterLayer
        self.add(
            QgsProcessingParameterMultipleLayers(
                self.RESTORED, self.tr("Restored rasters"), QgsProcessing.SourceType.TypeRaster
            )
        )
        self.add(raster(self.REFERENCE, self.tr("Reference (cloud-free truth)")))
        self.add(raster(self.CLOUDY, self.tr("Cloudy raster"), optional=True))
        self.add(raster(self.CLOUD_MASK, self.tr("Mask of the cloudy raster"), optional=True))
        self.add(raster(self.UNCERTAINTY, self.tr("Uncertainty of the first restored raster"), optional=True))
        self.add(raster(self.LAND_COVER, self.tr("Land cover"), optional=True))
        self.add(
            QgsProcessingParameterEnum(
                self.METRICS_AS, self.tr("Measure as"), list(METRICS), defaultValue="field", usesStaticStrings=True
            )
        )

    def _add_expert_knobs(self) -> None:
        integer, real = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double
        number, choice = QgsProcessingParameterNumber, QgsProcessingParameterEnum
        knobs = (
            choice(self.SENSOR, self.tr("Sensor"), list(SENSORS), defaultValue="auto", usesStaticStrings=True),
            number(self.REFLECTANCE_SCALE, self.tr("Scale to reflectance"), real, optional=True),
            number(self.REFLECTANCE_OFFSET, self.tr("Offset to reflectance"), real, optional=True),
            number(self.MEMORY_MB, self.tr("Memory (MiB, 0 = automatic)"), integer, 0, False, 0),
        )
        for knob in knobs:
            self.add(knob, advanced=True)

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "evaluaterestoration"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Evaluate restoration")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        words = self.tr("cloud,accuracy,error,metrics,psnr,ssim,sam,rmse,mae,calibration,compare,validate,report")
        return words.split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        found = inputs.problem(self, parameters, context, outputs=(self.ERROR,), main=self.REFERENCE)
        if found:
            return found
        if not layers.rasters(self, parameters, self.RESTORED, context):
            return self.tr("There is no restored raster to judge. Choose one or several (RESTORED).")
        given = [layer for key in inputs.raster_keys(self) for layer in layers.rasters(self, parameters, key, context)]
        files = (
            (layers.destination(parameters, self.REPORT, context), (".html", ".htm")),
            (layers.destination(parameters, self.FIGURES, context), (".json", ".csv")),
        )
        return checks.files_problem(files, [layers.snapshot(layer).path for layer in given])

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Snapshot the layers and build the job but for its outputs."""
        super().prepareAlgorithm(parameters, context, feedback)
        given = self._inputs = inputs.read(self, parameters, context, main=self.REFERENCE)
        self._job = Job(
            kind="evaluate",
            input=given.target.path,
            output="",
            restored=given.paths(self.RESTORED),
            cloudy=given.path(self.CLOUDY),
            cloud_mask=given.path(self.CLOUD_MASK),
            sigma=given.path(self.UNCERTAINTY),
            land_cover=given.path(self.LAND_COVER),
            metrics_as=self.parameterAsEnumString(parameters, self.METRICS_AS, context),
            sensor=self.parameterAsEnumString(parameters, self.SENSOR, context),
            reflectance_scale=inputs.number(self, parameters, self.REFLECTANCE_SCALE, context),
            reflectance_offset=inputs.number(self, parameters, self.REFLECTANCE_OFFSET, context),
            memory_mb=self.parameterAsInt(parameters, self.MEMORY_MB, context),
        )
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the job; returns {} on cancel."""
        self._inputs.log(feedback)
        job = replace(
            self._job,
            output=self.parameterAsOutputLayer(parameters, self.ERROR, context),
            page=self.parameterAsFileOutput(parameters, self.REPORT, context),
            figures=self.parameterAsFileOutput(parameters, self.FIGURES, context),
        )
        result = running.run(job, feedback)
        if result is None:
            return {}
        styling.attach(context, result.output, styling.error_style(result.output))
        return self._results(result)

    def _results(self, result: Result) -> dict[str, Any]:
        """Declared keys that were produced; a measure that is not known is None (null in JSON), never a number."""
        files = {self.REPORT: result.page, self.FIGURES: result.figures, self.ERROR: result.output}
        return {
            **{key: path for key, path in files.items() if path},
            **{key: getattr(result, key.lower()) for key in self.MEASURES},
            self.SECONDS: result.seconds,
        }
