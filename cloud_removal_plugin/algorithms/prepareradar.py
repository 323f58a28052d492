"""``prepareradar``: Sentinel-1 rasters of many dates, to one stack in dB on the target's grid."""

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
    QgsProcessingParameterString,
)

from ..engine.job import Job
from . import checks, layers, products, running
from .base import CloudRemovalAlgorithm

SPECKLE = ("none", "refined_lee", "quegan")
ORBITS = ("both", "ascending", "descending")
PICKS = ("nearest", "all")
UNITS = ("auto", "db", "power", "amplitude")
LOOKS = 4.4


class PrepareRadar(CloudRemovalAlgorithm):
    """Makes a radar stack for 'Remove clouds'."""

    INPUT = products.INPUT
    RADAR = "RADAR"
    TARGET = "TARGET"
    DATE = "DATE"
    PICK = "PICK"
    ORBIT = "ORBIT"
    SPECKLE = "SPECKLE"
    LOOKS = "LOOKS"
    UNITS = "UNITS"
    OUTPUT = "OUTPUT"
    SECONDS = "SECONDS"
    ACQUISITIONS = "ACQUISITIONS"

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        real = QgsProcessingParameterNumber.Type.Double
        raster = QgsProcessing.SourceType.TypeRaster

        def choice(key: str, title: str, options: tuple[str, ...]) -> QgsProcessingParameterEnum:
            return QgsProcessingParameterEnum(
                key, title, list(options), defaultValue=options[0], usesStaticStrings=True
            )

        self.add(QgsProcessingParameterMultipleLayers(self.RADAR, self.tr("Radar rasters"), raster, optional=True))
        self.add(products.folder_parameter(self.tr("Folder of radar rasters")))
        self.add(
            QgsProcessingParameterRasterLayer(self.TARGET, self.tr("Optical raster (grid and date)"), optional=True)
        )
        self.add(
            QgsProcessingParameterString(self.DATE, self.tr("Date (empty = of the optical raster)"), optional=True)
        )
        self.add(choice(self.PICK, self.tr("Acquisitions"), PICKS))
        self.add(choice(self.ORBIT, self.tr("Orbit"), ORBITS))
        self.add(choice(self.SPECKLE, self.tr("Speckle filter"), SPECKLE))
        looks = self.tr("Number of looks")
        self.add(QgsProcessingParameterNumber(self.LOOKS, looks, real, LOOKS, False, 0.1, 1000), advanced=True)
        self.add(choice(self.UNITS, self.tr("Units"), UNITS), advanced=True)
        self.add(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr("Radar stack (dB)")))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, self.tr("Seconds")))
        self.addOutput(QgsProcessingOutputString(self.ACQUISITIONS, self.tr("Acquisitions taken")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "prepareradar"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Prepare radar (Sentinel-1)")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("sentinel-1,sar,radar,grd,rtc,speckle,lee,quegan,decibel,db,vv,vh,backscatter,filter").split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        shown = layers.count(parameters, self.RADAR, context)
        nothing = "" if shown else self.tr("No radar was given. Choose rasters (RADAR) or a folder (INPUT).")
        given = products.paths(self, parameters, context)
        return (
            running.dependency_problem()
            or layers.unreadable(parameters, self.RADAR, self.tr("Radar rasters"), context)
            or layers.unreadable(parameters, self.TARGET, self.tr("Optical raster"), context)
            or products.problem(given, nothing=nothing)
            or checks.outputs_problem(
                [layers.destination(parameters, self.OUTPUT, context)],
                [*given, *self._shown(parameters, self.RADAR, context), *self._shown(parameters, self.TARGET, context)],
            )
        )

    def _shown(self, parameters: dict[str, Any], key: str, context: QgsProcessingContext) -> list[str]:
        """Paths of the layers under a parameter."""
        return [layers.snapshot(layer).path for layer in layers.rasters(self, parameters, key, context)]

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Note down the paths and build the job but for its output."""
        super().prepareAlgorithm(parameters, context, feedback)
        radar = [*self._shown(parameters, self.RADAR, context), *products.paths(self, parameters, context)]
        settings = {
            "unit": self.parameterAsEnumString(parameters, self.UNITS, context),
            "speckle": self.parameterAsEnumString(parameters, self.SPECKLE, context),
            "looks": self.parameterAsDouble(parameters, self.LOOKS, context),
            "orbit": self.parameterAsEnumString(parameters, self.ORBIT, context),
            "pick": self.parameterAsEnumString(parameters, self.PICK, context),
            "date": self.parameterAsString(parameters, self.DATE, context),
        }
        self._job = Job(
            kind="prepare_radar",
            input=next(iter(self._shown(parameters, self.TARGET, context)), ""),
            output="pending.tif",
            products=tuple(dict.fromkeys(radar)),
            settings=json.dumps(settings),
        )
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the job; returns {} on cancel."""
        job = replace(self._job, output=self.parameterAsOutputLayer(parameters, self.OUTPUT, context))
        result = running.run(job, feedback)
        if result is None:
            return {}
        return {self.OUTPUT: result.output, self.SECONDS: result.seconds, self.ACQUISITIONS: result.method_used}
