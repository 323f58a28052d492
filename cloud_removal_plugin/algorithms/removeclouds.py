"""``removeclouds``: a cloudy raster, and what else there is, to a cloud-free one with its uncertainty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ..bands import SENSORS
from ..engine.job import AUTO_DILATE_PX, DEVICES, Job, Result
from ..gui import settings, styling
from . import checks, inputs, layers, running
from .base import CloudRemovalAlgorithm

METHODS = (
    "auto",
    "fast",
    "gaussian",
    "scene_networks",
    "interpolation",
    "inpainting",
    "dsen2cr",
    "dsen2cr_nosar",
    "glfcr",
    "uncrtaints_mono",
    "uncrtaints",
    "utilise_earthnet2021",
    "utilise_sen12mscrts",
    "utilise_sen12mscrts_s1",
    "clearvision_removal",
    "aligncr",
    "seq2point",
    "seq2point_nosar",
    "seq2point_pairwise",
    "baseline_resnet",
    "crsystem",
)
"""As the engine's registry has them; those behind ``inpainting`` need imported weights."""


ATTENTIVE = "crsystem"
"""The method whose network shows what it takes for cloud."""


class RemoveClouds(CloudRemovalAlgorithm):
    """Restores what clouds and shadows hide."""

    INPUT = "INPUT"
    OTHER_DATES = "OTHER_DATES"
    RADAR = "RADAR"
    CLOUD_MASK = "CLOUD_MASK"
    OTHER_MASKS = "OTHER_MASKS"
    METHOD = "METHOD"
    DATES = "DATES"
    EXTENT = "EXTENT"
    SENSOR = "SENSOR"
    REFLECTANCE_SCALE = "REFLECTANCE_SCALE"
    REFLECTANCE_OFFSET = "REFLECTANCE_OFFSET"
    DILATE = "DILATE"
    ENSEMBLE = "ENSEMBLE"
    DEVICE = "DEVICE"
    MEMORY_MB = "MEMORY_MB"
    SEED = "SEED"
    OUTPUT = "OUTPUT"
    UNCERTAINTY = "UNCERTAINTY"
    CLOUDS = "CLOUDS"
    ATTENTION = "ATTENTION"
    REPORT = "REPORT"
    CLOUD_SHARE = "CLOUD_SHARE"
    RESTORED_SHARE = "RESTORED_SHARE"
    EXPECTED_RMSE = "EXPECTED_RMSE"
    SECONDS = "SECONDS"
    METHOD_USED = "METHOD_USED"

    def __init__(self) -> None:
        super().__init__()
        self._inputs: inputs.Inputs | None = None
        self._job: Job | None = None

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self._add_inputs()
        self._add_expert_knobs()
        self.add(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr("Cloud-free raster")))
        self.add(
            QgsProcessingParameterRasterDestination(
                self.UNCERTAINTY, self.tr("Uncertainty"), optional=True, createByDefault=True
            )
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                self.CLOUDS, self.tr("Clouds and shadows"), optional=True, createByDefault=False
            )
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                self.ATTENTION, self.tr("Attention (method crsystem)"), optional=True, createByDefault=False
            )
        )
        page = self.tr("HTML files (*.html)")
        self.add(
            QgsProcessingParameterFileDestination(
                self.REPORT, self.tr("Report"), page, None, optional=True, createByDefault=False
            )
        )
        self.addOutput(QgsProcessingOutputNumber(self.CLOUD_SHARE, self.tr("Share of cloud and shadow")))
        self.addOutput(QgsProcessingOutputNumber(self.RESTORED_SHARE, self.tr("Share restored")))
        self.addOutput(QgsProcessingOutputNumber(self.EXPECTED_RMSE, self.tr("Expected error (reflectance)")))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, self.tr("Seconds")))
        self.addOutput(QgsProcessingOutputString(self.METHOD_USED, self.tr("Method used")))

    def _add_inputs(self) -> None:
        raster = QgsProcessing.SourceType.TypeRaster
        self.add(QgsProcessingParameterRasterLayer(self.INPUT, self.tr("Cloudy raster")))
        self.add(QgsProcessingParameterMultipleLayers(self.OTHER_DATES, self.tr("Other dates"), raster, optional=True))
        self.add(QgsProcessingParameterRasterLayer(self.RADAR, self.tr("Radar (Sentinel-1)"), optional=True))
        self.add(
            QgsProcessingParameterRasterLayer(self.CLOUD_MASK, self.tr("Mask of the cloudy raster"), optional=True)
        )
        self.add(
            QgsProcessingParameterMultipleLayers(
                self.OTHER_MASKS, self.tr("Masks of the other dates"), raster, optional=True
            )
        )
        self.add(
            QgsProcessingParameterEnum(
                self.METHOD, self.tr("Method"), list(METHODS), defaultValue="auto", usesStaticStrings=True
            )
        )
        self.add(
            QgsProcessingParameterString(self.DATES, self.tr("Acquisition dates (cloudy raster first)"), optional=True)
        )
        self.add(QgsProcessingParameterExtent(self.EXTENT, self.tr("Extent"), optional=True))

    def _add_expert_knobs(self) -> None:
        integer, real = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double
        number, choice, auto = QgsProcessingParameterNumber, QgsProcessingParameterEnum, AUTO_DILATE_PX
        knobs = (
            choice(self.SENSOR, self.tr("Sensor"), list(SENSORS), defaultValue="auto", usesStaticStrings=True),
            number(self.REFLECTANCE_SCALE, self.tr("Scale to reflectance"), real, optional=True),
            number(self.REFLECTANCE_OFFSET, self.tr("Offset to reflectance"), real, optional=True),
            number(self.DILATE, self.tr("Widen the mask (pixels, -1 = automatic)"), integer, auto, False, auto, 100),
            QgsProcessingParameterString(self.ENSEMBLE, self.tr("Networks of the ensemble"), optional=True),
            choice(self.DEVICE, self.tr("Device"), list(DEVICES), defaultValue="auto", usesStaticStrings=True),
            number(self.MEMORY_MB, self.tr("Memory (MiB, 0 = automatic)"), integer, 0, False, 0),
            number(self.SEED, self.tr("Seed"), integer, 0, False, 0),
        )
        for knob in knobs:
            self.add(knob, advanced=True)

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "removeclouds"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Remove clouds")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        words = self.tr("cloud,shadow,haze,gap fill,gap filling,restore,inpainting,sentinel,landsat,time series")
        return words.split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        method = self.parameterAsEnumString(parameters, self.METHOD, context)
        if layers.wanted(parameters, self.ATTENTION, context) and method != ATTENTIVE:
            return self.tr(
                "The attention is that of CR_system's network, and the method '{method}' has none. Choose the method "
                "crsystem, or leave Attention empty."
            ).format(method=method)
        rasters = (self.OUTPUT, self.UNCERTAINTY, self.CLOUDS, self.ATTENTION)
        page = (layers.destination(parameters, self.REPORT, context), (".html", ".htm"))
        return inputs.problem(self, parameters, context, outputs=rasters) or checks.files_problem([page], [])

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Snapshot the layers and build the job but for its outputs."""
        super().prepareAlgorithm(parameters, context, feedback)
        self._inputs = inputs.read(self, parameters, context)
        self._job = self._make_job(parameters, context)
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the job; returns {} on cancel."""
        self._inputs.log(feedback)
        job = replace(
            self._job,
            output=self.parameterAsOutputLayer(parameters, self.OUTPUT, context),
            uncertainty=self.parameterAsOutputLayer(parameters, self.UNCERTAINTY, context),
            clouds=self.parameterAsOutputLayer(parameters, self.CLOUDS, context),
            attention=self.parameterAsOutputLayer(parameters, self.ATTENTION, context),
            page=self.parameterAsFileOutput(parameters, self.REPORT, context),
        )
        result = running.run(job, feedback)
        if result is None:
            return {}
        look = self._inputs.look
        styling.attach(context, result.output, look.apply, main=True)
        styling.attach(context, result.uncertainty, styling.uncertainty_style(result.uncertainty, look.first_band))
        styling.attach(context, result.clouds, styling.style_classes)
        styling.attach(context, result.attention, styling.style_attention)
        return self._results(result)

    def _make_job(self, parameters: dict[str, Any], context: QgsProcessingContext) -> Job:
        """The job; its output is filled in by ``processAlgorithm``, where QGIS settles the paths."""
        given = self._inputs
        return Job(
            kind="restore",
            input=given.target.path,
            output="pending.tif",
            other_dates=given.paths(self.OTHER_DATES),
            radar=given.path(self.RADAR),
            cloud_mask=given.path(self.CLOUD_MASK),
            other_masks=given.paths(self.OTHER_MASKS),
            method=self.parameterAsEnumString(parameters, self.METHOD, context),
            dates=self.parameterAsString(parameters, self.DATES, context).strip(),
            extent=given.extent,
            sensor=self.parameterAsEnumString(parameters, self.SENSOR, context),
            reflectance_scale=inputs.number(self, parameters, self.REFLECTANCE_SCALE, context),
            reflectance_offset=inputs.number(self, parameters, self.REFLECTANCE_OFFSET, context),
            dilate=self.parameterAsInt(parameters, self.DILATE, context),
            ensemble=self.parameterAsString(parameters, self.ENSEMBLE, context).strip(),
            device=self.parameterAsEnumString(parameters, self.DEVICE, context),
            memory_mb=self.parameterAsInt(parameters, self.MEMORY_MB, context),
            seed=self.parameterAsInt(parameters, self.SEED, context),
            weights=settings.weights_folder(),
        )

    def _results(self, result: Result) -> dict[str, Any]:
        """Declared keys that were produced. An unknown error is None (null in JSON, NULL in models), never a number."""
        files = {
            self.OUTPUT: result.output,
            self.UNCERTAINTY: result.uncertainty,
            self.CLOUDS: result.clouds,
            self.ATTENTION: result.attention,
            self.REPORT: result.page,
        }
        return {
            **{key: path for key, path in files.items() if path},
            self.CLOUD_SHARE: result.cloud_share,
            self.RESTORED_SHARE: result.restored_share,
            self.EXPECTED_RMSE: result.expected_rmse,
            self.SECONDS: result.seconds,
            self.METHOD_USED: result.method_used,
        }
