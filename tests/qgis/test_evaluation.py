"""Evaluation and simulated clouds through QGIS, headless."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsApplication, QgsProcessingContext, QgsRasterLayer

from cloud_removal_plugin.algorithms.evaluaterestoration import METRICS
from cloud_removal_plugin.gui import styling

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layers(make_image) -> dict[str, str]:
    """A reference of 4 bands, 64 x 80 pixels, and two layers that are off by 50 and by 150 DN in a rectangle."""
    rng = np.random.default_rng(2)
    truth = (1500 + 400 * rng.normal(0, 1, (4, 8, 10)).repeat(8, 1).repeat(8, 2)).clip(100, 9000).astype(np.uint16)
    mask = np.zeros((1, 64, 80), np.uint8)
    mask[0, 8:40, 10:50] = 1
    made = {"truth": make_image("truth.tif", truth, nodata=0), "mask": make_image("mask.tif", mask)}
    for name, off in (("good", 50), ("bad", 150)):
        made[name] = make_image(f"{name}.tif", (truth + off * mask).astype(np.uint16), nodata=0)
    return made


def test_the_choices_are_the_conventions() -> None:
    conventions = pytest.importorskip("cloud_removal_plugin.evaluation.conventions")
    assert METRICS == conventions.NAMES


def test_two_layers_are_compared_headless(qgis_process, layers, tmp_path: Path) -> None:
    figures, error = tmp_path / "figures.json", tmp_path / "error.tif"
    done = qgis_process(
        "--json", "run", "cloudremoval:evaluaterestoration", "--", f"RESTORED={layers['good']}",
        f"RESTORED={layers['bad']}", f"REFERENCE={layers['truth']}", f"CLOUD_MASK={layers['mask']}",
        f"FIGURES={figures}", f"ERROR={error}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    share = 32 * 40 / (64 * 80)
    assert results["MAE"] == pytest.approx(0.005 * share, rel=1e-4)
    assert results["RMSE"] == pytest.approx(0.005 * share**0.5, rel=1e-4)
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert [layer["parts"]["state"]["restored"]["mae"] for layer in found["layers"]] == pytest.approx([0.005, 0.015])
    assert found["ranks"][0]["mean_rank"] < found["ranks"][1]["mean_rank"]
    assert error.is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"FIGURES": "figures.txt"}, "unknown ending"),
        ({"ERROR": "error.png"}, "GeoTIFF"),
        ({"REFERENCE": "nowhere.tif"}, "nowhere.tif"),
    ],
)
def test_bad_parameters_are_a_sentence(provider, layers, tmp_path: Path, change: dict, words: str) -> None:
    given = {"RESTORED": [layers["good"]], "REFERENCE": layers["truth"]}
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:evaluaterestoration")
    assert made.checkParameterValues(given, QgsProcessingContext()) == (True, "")
    given |= {key: str(tmp_path / value) for key, value in change.items()}
    fine, sentence = made.checkParameterValues(given, QgsProcessingContext())
    assert not fine
    assert words in sentence


def test_the_saved_model_measures_removal_on_a_clear_layer(qgis_process, layers, make_image, tmp_path: Path) -> None:
    """Simulated clouds, their removal, and figures: the way in which an analyst measures us on their own land."""
    model = ROOT / "cloud_removal_plugin/workflows/measure_cloud_removal.model3"
    other = (1.03 * gdal.Open(layers["truth"]).ReadAsArray()).astype(np.uint16)
    figures, cloudy = tmp_path / "figures.json", tmp_path / "cloudy.tif"
    done = qgis_process(
        "run", str(model), "--", f"clear={layers['truth']}", f"others={make_image('other.tif', other, nodata=0)}",
        "method=fast", "cover=0.3", "size=150", "seed=3", f"evaluate:figures={figures}", f"simulate:cloudy={cloudy}",
        f"evaluate:report={tmp_path / 'report.html'}", f"remove:restored={tmp_path / 'restored.tif'}",
        f"remove:uncertainty={tmp_path / 'sigma.tif'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))
    parts = found["layers"][0]["parts"]["state"]
    hidden = (gdal.Open(str(cloudy)).ReadAsArray() != gdal.Open(layers["truth"]).ReadAsArray()).any(axis=0)
    assert parts["restored"]["values"] >= 4 * hidden.sum() > 1000
    assert parts["kept"]["mae"] == 0
    assert parts["restored"]["mae"] < 0.025
    assert found["uncertainty"]["values"] == parts["restored"]["values"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def run(name: str, parameters: dict, context: QgsProcessingContext, feedback) -> None:
    """One run with the engine that answers at once."""
    made = QgsApplication.processingRegistry().createAlgorithmById(f"cloudremoval:{name}")
    assert made.run(parameters, context, feedback, {}, False)[1]


def test_the_report_of_a_removal_reaches_the_job(provider, engine, context, feedback, cloudy, tmp_path: Path) -> None:
    page = str(tmp_path / "report.html")
    run("removeclouds", {"INPUT": cloudy, "OUTPUT": "TEMPORARY_OUTPUT", "REPORT": page}, context, feedback)
    assert engine.jobs[0].page == page


def test_what_was_chosen_for_an_evaluation_reaches_the_job(
    provider, engine, context, feedback, layers, tmp_path: Path
) -> None:
    error = str(tmp_path / "error.tif")
    run(
        "evaluaterestoration",
        {
            "RESTORED": [layers["good"], layers["bad"]], "REFERENCE": layers["truth"], "CLOUDY": layers["bad"],
            "CLOUD_MASK": layers["mask"], "UNCERTAINTY": layers["good"], "LAND_COVER": layers["mask"],
            "METRICS_AS": "utilise", "SENSOR": "sentinel2", "REFLECTANCE_SCALE": 0.001, "MEMORY_MB": 700,
            "ERROR": error, "FIGURES": str(tmp_path / "f.csv"), "REPORT": str(tmp_path / "r.html"),
        },
        context,
        feedback,
    )  # fmt: skip
    (job,) = engine.jobs
    assert (job.kind, job.input, job.restored) == ("evaluate", layers["truth"], (layers["good"], layers["bad"]))
    assert (job.cloudy, job.cloud_mask) == (layers["bad"], layers["mask"])
    assert (job.sigma, job.land_cover) == (layers["good"], layers["mask"])
    assert (job.metrics_as, job.sensor, job.reflectance_scale, job.memory_mb) == ("utilise", "sentinel2", 0.001, 700)
    assert (job.output, job.figures, job.page) == (error, str(tmp_path / "f.csv"), str(tmp_path / "r.html"))


def test_what_was_chosen_for_simulated_clouds_reaches_the_job(provider, engine, context, feedback, layers) -> None:
    chosen = {"COVER": 0.6, "SIZE_M": 800, "HAZE": 0.1, "SEED": 4, "SUN_AZIMUTH": 100, "SUN_ELEVATION": 30}
    files = {"INPUT": layers["truth"], "MASKS": [layers["mask"]], "OUTPUT": "TEMPORARY_OUTPUT"}
    run("simulateclouds", {**files, **chosen}, context, feedback)
    (job,) = engine.jobs
    assert (job.kind, job.input, job.donor_masks) == ("simulate", layers["truth"], (layers["mask"],))
    assert (job.cover, job.size_m, job.haze, job.seed) == (0.6, 800, 0.1, 4)
    assert (job.sun_azimuth, job.sun_elevation) == (100, 30)


def test_errors_are_blue_and_red(provider, make_image) -> None:
    rng = np.random.default_rng(0)
    path = make_image("error.tif", rng.normal(0, 0.01, (2, 64, 80)).astype(np.float32))
    layer = QgsRasterLayer(path, "error")
    styling.error_style(path)(layer)
    low, high = layer.renderer().classificationMin(), layer.renderer().classificationMax()
    assert 0.01 < high < 0.05
    assert low == -high
    assert styling.error_style("") is None
