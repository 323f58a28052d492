"""``removecloudsseries`` in QGIS: its job, its layers with their time ranges, and what it refuses."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
from qgis.core import QgsApplication, QgsProcessingFeedback, QgsRasterLayer
from qgis.PyQt.QtCore import QDate, QDateTime, QTime

from cloud_removal_plugin.algorithms import removecloudsseries, running
from cloud_removal_plugin.clouds import detect
from cloud_removal_plugin.engine import launch, series_outputs, series_settings
from cloud_removal_plugin.engine.job import Result
from cloud_removal_plugin.gui import styling
from cloud_removal_plugin.gui.temporal import dated_style
from cloud_removal_plugin.methods import series
from tests.qgis.conftest import FakeEngine, write_tif
from tests.raster.zarr_files import make_store


class SeriesEngine(FakeEngine):
    """Answers a series with two dated rasters."""

    def __init__(self, rasters: tuple[str, str]) -> None:
        super().__init__()
        self.rasters = rasters

    def run_job(self, job, report, cancelled, log, interpreter=None):
        self.jobs.append(job)
        days = (("2018-06-25", "2018-07-04"), ("2018-07-05", "2018-07-14"))
        lines = ["\t".join((path, *span)) for path, span in zip(self.rasters, days, strict=True)]
        return Result(
            output=job.output, cloud_share=0.3, restored_share=0.3, method_used="fake", report="\n".join(lines)
        )


@pytest.fixture
def series_engine(monkeypatch, cloudy, other) -> SeriesEngine:
    fake = SeriesEngine((other, cloudy))
    monkeypatch.setattr(running, "launch", fake)
    return fake


def run(parameters: dict, context, feedback) -> dict:
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:removecloudsseries")
    results, fine = made.run(parameters, context, feedback, {}, False)
    assert fine
    return results


def test_the_job_and_the_loaded_dates(provider, series_engine, context, feedback, cloudy, other, tmp_path) -> None:
    given = {
        "INPUTS": [cloudy, other], "RADAR_SERIES": [other], "OUTPUT": str(tmp_path / "out"), "METHOD": "whittaker",
        "OUTPUT_DATES": "every 5 days", "COMPOSITE": "best_pixel", "BANDS_PER_DATE": 4, "SEED": 7,
        "DETECTOR": "rules",
    }  # fmt: skip
    results = run(given, context, feedback)
    job = series_engine.jobs[-1]
    settings = series_settings.SeriesSettings.from_json(job.settings)
    assert (job.kind, job.method, job.seed) == ("series", "whittaker", 7)
    assert [Path(path).name for path in job.products] == ["S2_20180705.tif", "S2_20180625.tif"]
    assert (settings.output_dates, settings.composite, settings.bands_per_date) == ("every 5 days", "best_pixel", 4)
    assert settings.detector == "rules"
    assert [Path(path).name for path in settings.radar] == ["S2_20180625.tif"]
    assert results["OUTPUT_LAYERS"] == [other, cloudy]
    assert set(context.layersToLoadOnCompletion()) == {cloudy, other}


def test_nothing_is_loaded_where_it_is_not_wanted(provider, series_engine, context, feedback, cloudy, tmp_path) -> None:
    given = {"INPUTS": [cloudy], "OUTPUT": str(tmp_path / "out"), "LOAD": False}
    results = run(given, context, feedback)
    assert not context.layersToLoadOnCompletion()
    assert results["OUTPUT_STACK"].endswith("stack.vrt")
    assert results["EXPECTED_RMSE"] is None


def test_a_loaded_date_stands_for_its_days(provider, cloudy) -> None:
    layer = QgsRasterLayer(cloudy, "date")
    look = styling.Look.of(layer)
    dated_style(look.apply, [datetime.date(2018, 7, 5), datetime.date(2018, 7, 14)])(layer)
    found = layer.temporalProperties()
    assert found.isActive()
    assert found.fixedTemporalRange().begin() == QDateTime(QDate(2018, 7, 5), QTime(0, 0))
    assert found.fixedTemporalRange().end() == QDateTime(QDate(2018, 7, 14), QTime(23, 59, 59))
    unknown = QgsRasterLayer(cloudy, "no date")
    dated_style(look.apply, [])(unknown)
    assert not unknown.temporalProperties().isActive()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"INPUTS": []}, "No raster was given"),
        ({"INPUTS": ["/nowhere/x.tif"]}, "cannot be opened"),
        ({"EXTENT": "0,1,0,1 [EPSG:32633]"}, "does not meet"),
    ],
)
def test_what_cannot_run_is_said(provider, context, cloudy, tmp_path, changes, sentence) -> None:
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:removecloudsseries")
    fine, text = made.checkParameterValues({"INPUTS": [cloudy], "OUTPUT": str(tmp_path / "out"), **changes}, context)
    assert not fine
    assert sentence in text


def test_what_the_dialog_lists_is_what_the_engine_knows() -> None:
    assert (*series.names(), *series.networks()) == removecloudsseries.METHODS
    assert removecloudsseries.DETECTORS == detect.METHODS
    assert removecloudsseries.COMPOSITES == series_settings.COMPOSITES
    assert removecloudsseries.STACK == series_outputs.STACK_NAME


def test_a_real_run(provider, context, cloudy, other, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLOUD_REMOVAL_RUN", "inprocess")
    hidden = np.zeros((1, 30, 40), np.uint8)
    hidden[0, 5:9, 5:9] = 1
    masks = [write_tif(tmp_path / "MASK_20180705.tif", hidden), write_tif(tmp_path / "MASK_20180625.tif", 0 * hidden)]
    given = {
        "INPUTS": [cloudy, other], "OUTPUT": str(tmp_path / "out"), "METHOD": "interpolation", "LOAD": False,
        "CLOUD_MASKS": masks,
    }  # fmt: skip
    results = run(given, context, QgsProcessingFeedback(False))
    assert len(results["OUTPUT_LAYERS"]) == 2
    assert results["CLOUD_SHARE"] == pytest.approx(16 / 2400)


def test_a_cube_alone(provider, series_engine, context, feedback, tmp_path) -> None:
    """A Zarr store is a folder, which no raster layer can be: it comes by CUBES, with an extent in its own CRS."""
    store = make_store(tmp_path / "cube.zarr")
    box = "300000,300200,4699800,4700000 [EPSG:32633]"
    results = run({"CUBES": [str(store)], "OUTPUT": str(tmp_path / "out"), "EXTENT": box}, context, feedback)
    job = series_engine.jobs[-1]
    assert job.products == (str(store),)
    assert job.extent == (300000, 4699800, 300200, 4700000)
    assert "33N" in series_settings.SeriesSettings.from_json(job.settings).extent_crs
    assert results["OUTPUT_STACK"].endswith("stack.vrt")
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:removecloudsseries")
    fine, text = made.checkParameterValues({"CUBES": ["/nowhere/x.zarr"], "OUTPUT": str(tmp_path / "o")}, context)
    assert not fine
    assert "does not exist" in text


def test_a_network_in_a_real_worker(provider, context, cloudy, other, tmp_path, monkeypatch) -> None:
    """METHOD=utilise from the dialog's parameters to the folder, in a process of its own."""
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    rasterio = pytest.importorskip("rasterio")
    from tests.methods.networks import store

    store("utilise_earthnet2021", tmp_path / "weights")
    monkeypatch.setenv("CLOUD_REMOVAL_WEIGHTS", str(tmp_path / "weights"))
    hidden = np.zeros((1, 30, 40), np.uint8)
    hidden[0, 5:15, 5:15] = 1
    masks = [write_tif(tmp_path / "MASK_20180705.tif", hidden), write_tif(tmp_path / "MASK_20180625.tif", 0 * hidden)]
    given = {
        "INPUTS": [cloudy, other], "OUTPUT": str(tmp_path / "out"), "METHOD": "utilise", "LOAD": False,
        "CLOUD_MASKS": masks,
    }  # fmt: skip
    try:
        results = run(given, context, QgsProcessingFeedback(False))
    finally:
        launch.shutdown()
    assert results["METHOD_USED"].startswith("U-TILISE, EarthNet2021 (weights abababab)")
    assert results["RESTORED_SHARE"] == pytest.approx(100 / 2400)
    with rasterio.open(cloudy) as source, rasterio.open(tmp_path / "out" / "restored_20180705.tif") as made:
        before, after = source.read(), made.read()
    np.testing.assert_array_equal(after[:, hidden[0] == 0], before[:, hidden[0] == 0])
    assert (after[:, 5:15, 5:15] != before[:, 5:15, 5:15]).any()
