"""``preparesentinel2``: products as a hub delivers them, to one stack that every other algorithm reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterString,
)

from ..engine.job import Job
from ..gui import styling
from ..gui.natural import style_natural
from . import checks, inputs, layers, products, running
from .base import CloudRemovalAlgorithm

NUMBERS = ("applied", "recorded")


class PrepareSentinel2(CloudRemovalAlgorithm):
    """Makes a stack of a SAFE folder, and of other products."""

    INPUT = products.INPUT
    FILES = products.FILES
    BANDS = "BANDS"
    DATE = "DATE"
    EXTENT = "EXTENT"
    OFFSET = "OFFSET"
    REFLECTANCE_OFFSET = "REFLECTANCE_OFFSET"
    PIXEL = "PIXEL"
    OUTPUT = "OUTPUT"
    CLOUDS = "CLOUDS"
    SECONDS = "SECONDS"
    PRODUCT = "PRODUCT"

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        real = QgsProcessingParameterNumber.Type.Double
        text, raster = QgsProcessingParameterString, QgsProcessingParameterRasterDestination
        self.add(products.folder_parameter(self.tr("SAFE folder, or a folder of products")))
        self.add(products.files_parameter(self.tr("Zip files or metadata files")))
        self.add(text(self.BANDS, self.tr("Bands (empty = all)"), optional=True))
        self.add(text(self.DATE, self.tr("Date, where there are several"), optional=True))
        self.add(QgsProcessingParameterExtent(self.EXTENT, self.tr("Extent"), optional=True))
        self.add(
            QgsProcessingParameterEnum(
                self.OFFSET, self.tr("Offset"), list(NUMBERS), defaultValue="applied", usesStaticStrings=True
            ),
            advanced=True,
        )
        typed = self.tr("Offset to reflectance (empty = the product's)")
        self.add(QgsProcessingParameterNumber(self.REFLECTANCE_OFFSET, typed, real, optional=True), advanced=True)
        pixel = self.tr("Pixel size (m, 0 = automatic)")
        self.add(QgsProcessingParameterNumber(self.PIXEL, pixel, real, 0, False, 0, 10_000), advanced=True)
        self.add(raster(self.OUTPUT, self.tr("Stack")))
        self.add(raster(self.CLOUDS, self.tr("Clouds of the product"), optional=True, createByDefault=False))
        self.addOutput(QgsProcessingOutputNumber(self.SECONDS, self.tr("Seconds")))
        self.addOutput(QgsProcessingOutputString(self.PRODUCT, self.tr("Product found")))

    def name(self) -> str:
        """Id in models and scripts: never changes."""
        return "preparesentinel2"

    def displayName(self) -> str:
        """Name in the toolbox."""
        return self.tr("Prepare Sentinel-2 (and other products)")

    def tags(self) -> list[str]:
        """What people type into the search field."""
        return self.tr("sentinel,safe,l1c,l2a,jp2,zip,stack,bands,hls,landsat,planet,import,offset,baseline").split(",")

    def canExecute(self) -> tuple[bool, str]:
        """Asked by the toolbox before it opens the dialog."""
        missing = running.dependency_problem()
        return not missing, missing

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """One sentence on what keeps these parameters from running."""
        given = products.paths(self, parameters, context)
        nothing = self.tr("No product was given. Choose a folder (INPUT), or zip files (FILES).")
        outputs = [layers.destination(parameters, key, context) for key in (self.OUTPUT, self.CLOUDS)]
        return (
            running.dependency_problem()
            or products.problem(given, nothing=nothing)
            or checks.outputs_problem(outputs, given)
        )

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Build the job but for its outputs."""
        super().prepareAlgorithm(parameters, context, feedback)
        extent = self.parameterAsExtent(parameters, self.EXTENT, context)
        crs = self.parameterAsExtentCrs(parameters, self.EXTENT, context)
        whole = extent.isNull() or extent.isEmpty()
        settings = {
            "bands": self.parameterAsString(parameters, self.BANDS, context),
            "date": self.parameterAsString(parameters, self.DATE, context),
            "numbers": self.parameterAsEnumString(parameters, self.OFFSET, context),
            "pixel": self.parameterAsDouble(parameters, self.PIXEL, context),
            "extent_crs": crs.toWkt() if crs.isValid() and not whole else "",
        }
        box = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
        self._job = Job(
            kind="prepare",
            input="",
            output="pending.tif",
            products=tuple(products.paths(self, parameters, context)),
            extent=None if whole else box,
            settings=json.dumps(settings),
            reflectance_offset=inputs.number(self, parameters, self.REFLECTANCE_OFFSET, context),
        )
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the job; returns {} on cancel."""
        job = replace(
            self._job,
            output=self.parameterAsOutputLayer(parameters, self.OUTPUT, context),
            clouds=self.parameterAsOutputLayer(parameters, self.CLOUDS, context),
        )
        result = running.run(job, feedback)
        if result is None:
            return {}
        styling.attach(context, result.output, style_natural, main=True)
        styling.attach(context, result.clouds, styling.style_classes)
        files = {self.OUTPUT: result.output, self.CLOUDS: result.clouds}
        return {
            **{key: path for key, path in files.items() if path},
            self.SECONDS: result.seconds,
            self.PRODUCT: result.method_used,
        }
