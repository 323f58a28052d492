"""PyQGIS with our provider, small rasters, and an engine that answers at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("qgis.core", reason="PyQGIS is not installed")

from osgeo import gdal, osr
from qgis.core import QgsApplication, QgsProcessingContext, QgsProcessingFeedback, QgsProject

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cloud_removal_plugin"

gdal.UseExceptions()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs QGIS."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.qgis)


def write_tif(path: Path, array: np.ndarray, epsg: int = 32633, nodata: float | None = None) -> str:
    """Write (bands, rows, columns) as a GeoTIFF of 10 m pixels (0.001 degrees for EPSG 4326); returns the path."""
    kinds = {"uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "int16": gdal.GDT_Int16, "float32": gdal.GDT_Float32}
    bands, rows, columns = array.shape
    file = gdal.GetDriverByName("GTiff").Create(str(path), columns, rows, bands, kinds[array.dtype.name])
    if epsg:
        crs = osr.SpatialReference()
        crs.ImportFromEPSG(epsg)
        file.SetProjection(crs.ExportToWkt())
    size = 0.001 if epsg == 4326 else 10.0
    origin = (12.0, 42.0) if epsg == 4326 else (300_000.0, 4_650_000.0)
    file.SetGeoTransform((origin[0], size, 0, origin[1], 0, -size))
    for index, plane in enumerate(array, 1):
        band = file.GetRasterBand(index)
        band.WriteArray(plane)
        if nodata is not None:
            band.SetNoDataValue(nodata)
    file = None
    return str(path)


@dataclass
class FakeEngine:
    """Stands in for ``engine.launch``: writes plausible rasters at once and remembers what it was asked."""

    jobs: list = field(default_factory=list)
    chosen: list = field(default_factory=list)
    behave: Callable | None = None

    def run_job(self, job, report, cancelled, log, interpreter=None):
        from cloud_removal_plugin.engine.job import Result

        self.jobs.append(job)
        self.chosen.append(interpreter)
        if self.behave is not None:
            self.behave(job, report, cancelled, log)
        report(0.5, "restoring")
        log("info", "fake engine")
        source = gdal.Open(job.input)
        cells = source.ReadAsArray().reshape(source.RasterCount, source.RasterYSize, source.RasterXSize)
        classes = np.zeros((1, *cells.shape[1:]), np.uint8)
        classes[0, :4, :4], classes[0, 4:6, :4] = 1, 2
        if job.kind == "detect":
            write_tif(Path(job.output), classes, nodata=255)
            if job.probability:
                write_tif(Path(job.probability), (classes == 1).astype(np.float32))
        else:
            write_tif(Path(job.output), cells + np.uint16(1))
            if job.uncertainty:
                write_tif(Path(job.uncertainty), (classes > 0) * np.full(cells.shape, 40, np.float32))
            if job.clouds:
                write_tif(Path(job.clouds), classes, nodata=255)
            if job.attention:
                write_tif(Path(job.attention), (classes == 1).astype(np.float32))
        report(1.0, "done")
        return Result(
            output=job.output, uncertainty=job.uncertainty, clouds=job.clouds, probability=job.probability,
            attention=job.attention,
            cloud_share=0.25, restored_share=0.25, expected_rmse=None, seconds=0.1, method_used="fake",
            warnings=("A sentence to read.",),
        )  # fmt: skip

    @property
    def interpreters(self):
        from cloud_removal_plugin.engine import interpreter

        return interpreter

    def shutdown(self) -> None:
        """Nothing to end."""


class Feedback(QgsProcessingFeedback):
    """Remembers what a run said."""

    def __init__(self) -> None:
        super().__init__(False)
        self.infos: list[str] = []
        self.warnings: list[str] = []
        self.phases: list[str] = []
        self.errors: list[str] = []

    def pushInfo(self, info: str) -> None:
        self.infos.append(info)

    def pushWarning(self, warning: str) -> None:
        self.warnings.append(warning)

    def setProgressText(self, text: str) -> None:
        self.phases.append(text)

    def reportError(self, error: str, fatalError: bool = False) -> None:
        self.errors.append(error)


@pytest.fixture(scope="session", autouse=True)
def plugin_card() -> None:
    """QGIS reads metadata.txt in the plugin's folder; in a checkout that is a link to the one at the top."""
    link = PACKAGE / "metadata.txt"
    if not link.exists():
        link.symlink_to(Path("..") / "metadata.txt")


@pytest.fixture(scope="session")
def provider(qgis_app: QgsApplication, qgis_processing: None):
    """Our provider in QGIS' registry, which deletes it at the end; the fixture keeps its Python half alive."""
    from cloud_removal_plugin.provider import CloudRemovalProvider

    added = CloudRemovalProvider()
    QgsApplication.processingRegistry().addProvider(added)
    return added


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """Replaces the door to the engine."""
    from cloud_removal_plugin.algorithms import running

    fake = FakeEngine()
    monkeypatch.setattr(running, "launch", fake)
    return fake


@pytest.fixture
def feedback() -> Feedback:
    return Feedback()


@pytest.fixture
def context() -> Iterator[QgsProcessingContext]:
    made = QgsProcessingContext()
    made.setProject(QgsProject.instance())
    yield made
    # pytest lets go of the last test's fixtures after QGIS has ended: no layer may be left in them
    made.temporaryLayerStore().removeAllMapLayers()
    QgsProject.instance().clear()


@pytest.fixture
def cloudy(tmp_path: Path) -> str:
    """Path of a 4-band raster of 40 x 30 pixels, UInt16."""
    values = np.arange(4 * 30 * 40, dtype=np.uint16).reshape(4, 30, 40)
    return write_tif(tmp_path / "S2_20180705.tif", values)


@pytest.fixture
def other(tmp_path: Path) -> str:
    """Path of another date of the same place."""
    return write_tif(tmp_path / "S2_20180625.tif", np.full((4, 30, 40), 500, np.uint16))


@dataclass(frozen=True)
class QgisProcess:
    """Runs ``qgis_process`` in a profile of its own."""

    program: str
    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One run; arguments as in a shell, keywords are extra environment variables."""
        return subprocess.run(
            [self.program, *arguments], env={**self.environment, **environment}, capture_output=True, text=True,
            errors="replace", timeout=300, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture(scope="session")
def qgis_process(tmp_path_factory: pytest.TempPathFactory, plugin_card: None) -> QgisProcess:
    """``qgis_process`` with the plugin enabled; skips where it is not installed."""
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if program is None:
        pytest.skip("qgis_process is not installed")
    home = tmp_path_factory.mktemp("qgis")
    run = home / "run"
    run.mkdir(mode=0o700)
    ours = ROOT / ".venv" / "bin" / "python"
    dropped = ("PYTHONPATH", "PYTHONHOME", "CLOUD_REMOVAL_RUN")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {
        "QT_QPA_PLATFORM": "offscreen", "QGIS_CUSTOM_CONFIG_PATH": str(home), "QGIS_PLUGINPATH": str(ROOT),
        "XDG_RUNTIME_DIR": str(run), "OMP_WAIT_POLICY": "passive", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    if ours.exists():
        environment.setdefault("CLOUD_REMOVAL_PYTHON", str(ours))
    called = QgisProcess(program, environment)
    enabled = called("plugins", "enable", "cloud_removal_plugin")
    if enabled.returncode != 0:
        pytest.fail(f"the plugin cannot be enabled: {enabled.stdout}{enabled.stderr}")
    return called


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., str]:
    """``make_image(name, array, epsg=32633, nodata=None)`` writes (bands, rows, columns) and returns the path."""

    def make(name: str, array: np.ndarray, epsg: int = 32633, nodata: float | None = None) -> str:
        return write_tif(tmp_path / name, array, epsg, nodata)

    return make
