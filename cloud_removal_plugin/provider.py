"""The Processing provider ``cloudremoval``: lists the algorithms, always all of them."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.base import version
from .algorithms.checkinstallation import CheckInstallation
from .algorithms.describelayers import DescribeLayers
from .algorithms.detectclouds import DetectClouds
from .algorithms.evaluaterestoration import EvaluateRestoration
from .algorithms.importweights import ImportWeights
from .algorithms.listmodels import ListModels
from .algorithms.prepareradar import PrepareRadar
from .algorithms.preparesentinel2 import PrepareSentinel2
from .algorithms.removeclouds import RemoveClouds
from .algorithms.removecloudsseries import RemoveCloudsSeries
from .algorithms.simulateclouds import SimulateClouds
from .algorithms.trainmodel import TrainModel

ALGORITHMS = (
    RemoveClouds,
    RemoveCloudsSeries,
    DetectClouds,
    EvaluateRestoration,
    SimulateClouds,
    DescribeLayers,
    PrepareSentinel2,
    PrepareRadar,
    CheckInstallation,
    ImportWeights,
    ListModels,
    TrainModel,
)
RASTER_EXTENSIONS = ["tif", "tiff"]
"""What the engine writes; QGIS refuses others before a run."""


class CloudRemovalProvider(QgsProcessingProvider):
    """Registers every algorithm, whatever is installed: models must find them and be told what is missing."""

    def loadAlgorithms(self) -> None:
        """Called by QGIS when the provider is registered or refreshed."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def id(self) -> str:
        """Part of every stored model and script: never changes."""
        return "cloudremoval"

    def name(self) -> str:
        """A name of its own, the same in all languages."""
        return "Cloud Removal"

    def versionInfo(self) -> str:
        """Shown in reports of qgis_process."""
        return version()

    def icon(self) -> QIcon:
        """Shown in the toolbox."""
        return QIcon(self.svgIconPath())

    def svgIconPath(self) -> str:
        """Path of the provider's icon."""
        return str(Path(__file__).parent / "gui" / "icon.svg")

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Results are GeoTIFF files."""
        return list(RASTER_EXTENSIONS)

    def supportsNonFileBasedOutput(self) -> bool:
        """Results are files."""
        return False
