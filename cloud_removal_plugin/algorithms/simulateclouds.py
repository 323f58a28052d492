"""``simulateclouds``: a clear raster to a cloudy one whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from ..bands import SENSORS
from ..engine.job import Job
from ..gui import styling
from . import inputs, running
from .base import CloudRemovalAlgorithm


class SimulateClouds(CloudRemovalAlgorithm):
    """Lays clouds, haze and shadows over a clear raster."""

    INPUT = "INPUT"
    MASKS = "MASKS"
    COVER = "COVER"
    SIZE_M = "SIZE_M"
    HAZE = "HAZE"
    SEED = "SEED"
    SUN_AZIMUTH = "SUN_AZIMUTH"
    SUN_ELEVATION = "SUN_ELEVATION"
    SENSOR = "SENSOR"
    REFLECTANCE_SCALE = "REFLECTANCE_SCALE"
    REFLECTANCE_OFFSET = "REFLECTANCE_OFFSET"
    OUTPUT = "OUTPUT"
    MASK = "MASK"
    CLOUD_SHARE = "CLOUD_SHARE"
    SECONDS = "SECONDS"

    def __init__(self) -> None:
        super().__init__()
        self._inputs: inputs.Inputs | None = None
        self._job: Job | None = None

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        integer, real = QgsProcessingParameterNumber.Type.Integer, QgsProcessingParameterNumber.Type.Double
        number = QgsProcessingParameterNumber
        self.add(QgsProcessingParameterRasterLayer(self.INPUT, self.tr("Clear raster")))
        masks = self.tr("Real masks of other dates")
        self.add(
            QgsProcessingParameterMultipleLayers(self.MASKS, masks, QgsProcessing.SourceType.TypeRaster, optional=True)
        )
        self.add(number(self.COVER, self.tr("Share under clouds (0 to 1)"), real, 0.3, False, 0, 1))
        self.add(number(self.SIZE_M, self.tr("Typical size of a cloud (metres)"), real, 1500.0, False, 1))
        self.add(number(self.HAZE, self.tr("Haze round the clouds (0 to 1)"), real, 0.3, False, 0, 1))
        self.add(number(self.SEED, self.tr("Seed"), integer, 0, False, 0))
        sensor = self.tr("Sensor")
        knobs = (
            number(self.SUN_AZIMUTH, self.tr("Azimuth of the sun (degrees)"), real, None, True, 0, 360),
            number(self.SUN_ELEVATION, self.tr("Elevation of the sun (degrees)"), real, None, True, 0, 90),
            QgsProcessingParameterEnum(self.SENSOR, sensor, list(SENSORS), defaultValue="auto", usesStaticStrings=True),
            number(self.REFLECTANCE_SCALE, self.tr("Scale to reflectance"), real, optional=True),
            number(self.REFLECTANCE_OFFSET, self.tr("Offset to reflectance"), real, optional=True),
        )
        for knob in knobs:
            self.add(knob, advanced=True)
        self.add(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr("Cloudy raster")))
        self.add(
            QgsProcessingParameterRasterDestination(
                self.MASK, self.tr("Clouds and shadows"), optional=True, createByDefault=True
            )
        )
        self.addOutput(QgsProcessingOutputNumber(self.CLOUD_SHARE, self.tr("Share of cloud and shadow")))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, self.tr("Seconds")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "simulateclouds"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Simulate clouds")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("cloud,shadow,haze,simulate,synthetic,gap,mask,test,validate,accuracy").split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        return inputs.problem(self, parameters, context, outputs=(self.OUTPUT, self.MASK))

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Snapshot the layers and build the job but for its outputs."""
        super().prepareAlgorithm(parameters, context, feedback)
        self._inputs = inputs.read(self, parameters, context)
        self._job = Job(
            kind="simulate",
            input=self._inputs.target.path,
            output="pending.tif",
            donor_masks=self._inputs.paths(self.MASKS),
            cover=self.parameterAsDouble(parameters, self.COVER, context),
            size_m=self.parameterAsDouble(parameters, self.SIZE_M, context),
            haze=self.parameterAsDouble(parameters, self.HAZE, context),
            seed=self.parameterAsInt(parameters, self.SEED, context),
            sun_azimuth=inputs.number(self, parameters, self.SUN_AZIMUTH, context),
            sun_elevation=inputs.number(self, parameters, self.SUN_ELEVATION, context),
            sensor=self.parameterAsEnumString(parameters, self.SENSOR, context),
            reflectance_scale=inputs.number(self, parameters, self.REFLECTANCE_SCALE, context),
            reflectance_offset=inputs.number(self, parameters, self.REFLECTANCE_OFFSET, context),
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
            clouds=self.parameterAsOutputLayer(parameters, self.MASK, context),
        )
        result = running.run(job, feedback)
        if result is None:
            return {}
        styling.attach(context, result.output, self._inputs.look.apply, main=True)
        styling.attach(context, result.clouds, styling.style_classes)
        layers = {self.OUTPUT: result.output, self.MASK: result.clouds}
        return {
            **{key: path for key, path in layers.items() if path},
            self.CLOUD_SHARE: result.cloud_share,
            self.SECONDS: result.seconds,
        }
