"""The algorithms that take products: their jobs, what they refuse, their reports, and one real run of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsMultiBandColorRenderer,
    QgsProcessingException,
    QgsProject,
    QgsRasterLayer,
)

from cloud_removal_plugin.algorithms import description, report
from cloud_removal_plugin.clouds.detect import METHODS
from cloud_removal_plugin.engine import preparing, radar_preparation
from cloud_removal_plugin.engine.radar_preparation import RadarSettings
from cloud_removal_plugin.gui.natural import style_natural
from tests.raster.product_trees import make_hls, make_safe


def run(name: str, parameters: dict, context, feedback) -> tuple[dict, bool]:
    made = QgsApplication.processingRegistry().createAlgorithmById(f"cloudremoval:{name}")
    return made.run(parameters, context, feedback, {}, False)


def sentence(name: str, parameters: dict, context) -> str:
    made = QgsApplication.processingRegistry().createAlgorithmById(f"cloudremoval:{name}")
    fine, text = made.checkParameterValues(parameters, context)
    assert not fine
    return text


class Stop(Exception):
    """Ends a run as soon as its job is known."""


def asked(engine, name: str, parameters: dict, context, feedback):
    """The job that an algorithm hands to the engine."""

    def stop(*_: object) -> None:
        raise Stop

    engine.behave = stop
    with pytest.raises((Stop, QgsProcessingException)):
        run(name, parameters, context, feedback)
    return engine.jobs[-1]


def test_the_job_says_what_was_chosen(provider, engine, context, feedback, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "one.zip").write_bytes(b"PK")
    job = asked(
        engine,
        "preparesentinel2",
        {
            "INPUT": str(tmp_path / "in"), "FILES": [str(tmp_path / "one.zip")], "BANDS": "B02,B03",
            "OFFSET": "recorded", "DATE": "2024-06-10", "PIXEL": 20, "EXTENT": "12.0,12.1,42.0,42.1 [EPSG:4326]",
            "OUTPUT": str(tmp_path / "out.tif"), "CLOUDS": str(tmp_path / "clouds.tif"),
        },
        context,
        feedback,
    )  # fmt: skip
    assert (job.kind, job.products) == ("prepare", (str(tmp_path / "in"), str(tmp_path / "one.zip")))
    assert (job.output, job.clouds) == (str(tmp_path / "out.tif"), str(tmp_path / "clouds.tif"))
    assert job.extent == pytest.approx((12.0, 42.0, 12.1, 42.1))
    settings = json.loads(job.settings)
    assert "4326" in settings.pop("extent_crs")
    assert settings == {"bands": "B02,B03", "date": "2024-06-10", "numbers": "recorded", "pixel": 20.0}


def test_the_job_without_choices(provider, engine, context, feedback, tmp_path: Path) -> None:
    job = asked(engine, "preparesentinel2", {"INPUT": str(tmp_path), "OUTPUT": "TEMPORARY_OUTPUT"}, context, feedback)
    assert (job.extent, job.clouds) == (None, "")
    assert json.loads(job.settings) == {"bands": "", "date": "", "numbers": "applied", "pixel": 0.0, "extent_crs": ""}


def test_the_radar_job_says_what_was_chosen(provider, engine, context, feedback, cloudy, other, tmp_path: Path) -> None:
    choices = {"PICK": "all", "ORBIT": "descending", "SPECKLE": "quegan", "LOOKS": 9, "UNITS": "power"}
    given = {
        "RADAR": [other],
        "INPUT": str(tmp_path),
        "TARGET": cloudy,
        "DATE": "2024-06-10",
        "OUTPUT": "TEMPORARY_OUTPUT",
    }
    job = asked(engine, "prepareradar", {**given, **choices}, context, feedback)
    assert (job.kind, job.input, job.products) == ("prepare_radar", cloudy, (other, str(tmp_path)))
    assert json.loads(job.settings) == {
        "unit": "power", "speckle": "quegan", "looks": 9.0, "orbit": "descending", "pick": "all", "date": "2024-06-10",
    }  # fmt: skip
    plain = asked(engine, "prepareradar", {"RADAR": [other], "OUTPUT": "TEMPORARY_OUTPUT"}, context, feedback)
    assert plain.input == ""
    settings = RadarSettings.from_json(plain.settings)
    assert settings == RadarSettings()


def test_detection_joins_a_mask_and_grows_in_metres(provider, engine, context, feedback, cloudy, other) -> None:
    given = {"INPUT": cloudy, "CLOUD_MASK": other, "DILATE_M": 60, "OUTPUT": "TEMPORARY_OUTPUT"}
    job = asked(engine, "detectclouds", given, context, feedback)
    assert (job.kind, job.cloud_mask, json.loads(job.settings)) == ("detect", other, {"dilate_m": 60.0})
    plain = asked(engine, "detectclouds", {"INPUT": cloudy, "OUTPUT": "TEMPORARY_OUTPUT"}, context, feedback)
    assert (plain.cloud_mask, plain.settings) == ("", "")


def test_choices_of_the_radar_are_the_engines(provider) -> None:
    """The lists stand in the algorithm again, because QGIS must not import the engine's; they must not drift apart."""
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:prepareradar")
    wanted = {
        "SPECKLE": radar_preparation.SPECKLE, "ORBIT": radar_preparation.ORBITS, "PICK": radar_preparation.PICKS,
        "UNITS": radar_preparation.UNITS,
    }  # fmt: skip
    for key, options in wanted.items():
        assert tuple(made.parameterDefinition(key).options()) == options
    offsets = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:preparesentinel2")
    assert tuple(offsets.parameterDefinition("OFFSET").options()) == preparing.NUMBERS
    detect = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:detectclouds")
    assert tuple(detect.parameterDefinition("METHOD").options()) == METHODS


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("preparesentinel2", {"OUTPUT": "out.tif"}, "No product was given"),
        ("preparesentinel2", {"INPUT": "/nowhere/at/all", "OUTPUT": "out.tif"}, "does not exist"),
        ("preparesentinel2", {"INPUT": ".", "OUTPUT": "out.png"}, "not a GeoTIFF|not supported|extension"),
        ("prepareradar", {"OUTPUT": "out.tif"}, "No radar was given"),
        ("describelayers", {}, "Nothing was given"),
        ("describelayers", {"FILES": ["/nowhere.zip"]}, "does not exist"),
        ("describelayers", {"LAYERS": ["/nowhere.tif"]}, "cannot be opened"),
        ("describelayers", {"INPUT": ".", "OUTPUT_JSON_FILE": "report.txt"}, "unknown ending"),
    ],
)
def test_refused_in_a_sentence(provider, context, name: str, parameters: dict, text: str) -> None:
    import re

    assert re.search(text, sentence(name, parameters, context))


def test_a_safe_folder_through_qgis_process(qgis_process, tmp_path: Path) -> None:
    """The real thing: worker process, stack and clouds on disk, read by QGIS' own GDAL."""
    root = make_safe(tmp_path / "hub")
    out, clouds = tmp_path / "stack.tif", tmp_path / "clouds.tif"
    done = qgis_process(
        "--json", "run", "cloudremoval:preparesentinel2", "--", f"INPUT={root}", "BANDS=B02,B03,B04,B08",
        f"OUTPUT={out}", f"CLOUDS={clouds}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["PRODUCT"] == "Sentinel-2 L2A (SAFE)"
    stack = gdal.Open(str(out))
    assert [stack.GetRasterBand(i).GetDescription() for i in range(1, 5)] == ["B02", "B03", "B04", "B08"]
    assert stack.GetRasterBand(1).GetScale() == 1e-4
    assert gdal.Open(str(clouds)).RasterCount == 3
    assert not list(tmp_path.glob(".*"))


def test_layers_described_through_qgis_process(qgis_process, tmp_path: Path) -> None:
    make_hls(tmp_path / "hub")
    (tmp_path / "hub" / "cut.zip").write_bytes(b"PK")
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    done = qgis_process(
        "--json", "run", "cloudremoval:describelayers", "--", f"INPUT={tmp_path / 'hub'}", f"OUTPUT_HTML_FILE={page}",
        f"OUTPUT_JSON_FILE={data}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert (results["PRODUCTS"], results["DOUBTS"]) == (1, 1)
    assert "HLS S30 v2.0" in results["REPORT"]
    assert "HLS S30 v2.0" in page.read_text()
    (place,) = json.loads(data.read_text())
    assert place["products"][0]["tile"] == "15SWD"
    assert "cut.zip" in place["problems"][0]


def test_report_lines_name_doubts() -> None:
    found = {
        "path": "/hub", "problems": ["'x.zip' is not a whole zip file."],
        "products": [
            {
                "product": "Sentinel-2 L2A (SAFE)", "name": "S2A", "path": "/hub/S2A", "platform": "Sentinel-2A",
                "time": "2024-06-10T10:00:31Z", "tile": "33TUG", "orbit": "122", "baseline": "05.11",
                "sun_azimuth": 143.25, "sun_elevation": None, "quality_layers": ["scl"], "why": ["its name"],
                "bands": [{"name": "B02", "role": "blue", "scale": 1e-4, "offset": -0.1}], "doubts": ["Look at it."],
            }
        ],
        "rasters": [
            {"path": "/hub/a.tif", "kind": "unknown", "product": "not readable", "bands": [], "date": "", "units": "",
             "why": [], "doubts": ["It is cut."]}
        ],
    }  # fmt: skip
    items = description.items([found, {"path": "/empty", "products": [], "rasters": [], "problems": []}])
    text = report.as_text(items)
    assert "B02 (blue)" in text
    assert "reflectance = DN x 0.0001 - 0.1" in text
    assert "[hint]    doubtful: Look at it." in text
    assert report.problems(items) == 2
    assert "no product and no raster" in text
    assert "sun" not in text  # half of the angles is no place in the sky


def test_natural_colours(provider, make_image) -> None:
    path = make_image("stack.tif", np.full((4, 20, 20), 900, np.uint16))
    source = gdal.Open(path, gdal.GA_Update)
    for number, name in enumerate(("B02", "B03", "B04", "B08"), start=1):
        source.GetRasterBand(number).SetDescription(name)
        source.GetRasterBand(number).SetScale(1e-4)
    source = None
    layer = QgsRasterLayer(path, "stack")
    style_natural(layer)
    renderer = layer.renderer()
    assert isinstance(renderer, QgsMultiBandColorRenderer)
    assert (renderer.redBand(), renderer.greenBand(), renderer.blueBand()) == (3, 2, 1)
    assert renderer.redContrastEnhancement().maximumValue() == pytest.approx(0.3)
    plain = QgsRasterLayer(make_image("plain.tif", np.full((1, 20, 20), 9, np.uint16)), "plain")
    before = type(plain.renderer())
    style_natural(plain)
    assert type(plain.renderer()) is before
    QgsProject.instance().clear()
