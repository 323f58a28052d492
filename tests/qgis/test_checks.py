"""What is refused before a run, and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)


@pytest.fixture
def check(provider, context):
    """``check(name="removeclouds", **parameters)`` gives (fine, sentence)."""

    def run(name: str = "removeclouds", **parameters) -> tuple[bool, str]:
        made = QgsApplication.processingRegistry().createAlgorithmById(f"cloudremoval:{name}")
        given = {"OUTPUT": "TEMPORARY_OUTPUT", "METHOD": "auto", **parameters}
        return made.checkParameterValues(given, context)

    return run


def test_good_parameters_pass(check, cloudy: str, other: str) -> None:
    assert check(INPUT=cloudy) == (True, "")
    assert check(INPUT=cloudy, OTHER_DATES=[other], OTHER_MASKS=[other], DATES="2018-07-05; 20180625") == (True, "")
    assert check(INPUT=cloudy, OTHER_DATES=[other], DATES="2018-07-05T10:00:31Z,2018176") == (True, "")
    assert check(INPUT=cloudy, OTHER_DATES=other) == (True, "")
    assert check("detectclouds", INPUT=cloudy, OTHER_DATES=[other], THRESHOLD=0.4) == (True, "")


def test_missing_and_unreadable_rasters_are_named(check, cloudy: str, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(b"not a raster")
    fine, sentence = check(INPUT=str(tmp_path / "gone.tif"))
    assert not fine
    assert "gone.tif" in sentence
    assert "no such file" in sentence
    fine, sentence = check(INPUT=f"/vsizip/{tmp_path}/gone.zip/a.tif")
    assert not fine
    assert "has to be unpacked" in sentence
    fine, sentence = check(INPUT=cloudy, OTHER_DATES=[str(damaged)])
    assert not fine
    assert "damaged.tif" in sentence
    assert "Other dates" in sentence
    fine, sentence = check(INPUT=cloudy, RADAR=str(tmp_path / "radar.tif"))
    assert not fine
    assert "radar.tif" in sentence


def test_products_as_downloaded_are_told_what_makes_a_raster_of_them(check, cloudy: str, tmp_path: Path) -> None:
    archive = tmp_path / "S2A_MSIL2A_20240610T100031.zip"
    archive.write_bytes(b"PK\x05\x06" + bytes(18))
    for path in (tmp_path, archive):
        fine, sentence = check(INPUT=str(path))
        assert not fine
        assert "Prepare Sentinel-2" in sentence
    fine, sentence = check("removecloudsseries", INPUTS=[cloudy, str(archive)])
    assert not fine
    assert "Prepare Sentinel-2" in sentence


def test_vector_layers_are_refused(check, cloudy: str) -> None:
    fields = QgsVectorLayer("Polygon?crs=EPSG:32633", "fields", "memory")
    QgsProject.instance().addMapLayer(fields)
    fine, sentence = check(INPUT=cloudy, CLOUD_MASK=fields.id())
    assert not fine
    assert "not a raster" in sentence
    assert "Rasterize" in sentence


def test_a_netcdf_file_that_qgis_takes_for_a_mesh(check, cloudy: str, tmp_path: Path) -> None:
    from osgeo import gdal

    path = str(tmp_path / "cube.nc")
    gdal.Translate(path, cloudy, format="netCDF")
    fine, sentence = check(INPUT=path)
    if fine:
        pytest.skip("this QGIS opens the file as a raster")
    assert "takes it for a mesh" in sentence
    assert "series" in sentence


def test_layers_without_a_file_are_refused(check, cloudy: str) -> None:
    tiles = QgsRasterLayer("type=xyz&url=file:///nowhere/{z}/{x}/{y}.png", "web map", "wms")
    QgsProject.instance().addMapLayer(tiles)
    fine, sentence = check(INPUT=tiles.id())
    assert not fine
    assert "web map" in sentence
    assert "Save it as GeoTIFF" in sentence


def test_rasters_in_memory_are_refused(check, context) -> None:
    from osgeo import gdal

    scene = gdal.GetDriverByName("GTiff").Create("/vsimem/scene.tif", 4, 4, 1)
    del scene  # closes it
    layer = QgsRasterLayer("/vsimem/scene.tif", "scene")
    QgsProject.instance().addMapLayer(layer)
    fine, sentence = check(INPUT=layer.id())
    QgsProject.instance().clear()
    gdal.Unlink("/vsimem/scene.tif")
    assert not fine
    assert "in memory only" in sentence


@pytest.mark.parametrize(
    ("masks", "dates", "words"),
    [(1, 2, "masks (1) and the other dates (2) differ"), (1, 0, "masks (1) and the other dates (0) differ")],
)
def test_as_many_masks_as_dates(check, cloudy: str, make_image, masks: int, dates: int, words: str) -> None:
    plane = np.ones((4, 30, 40), np.uint16)
    others = [make_image(f"other{i}.tif", plane) for i in range(dates)]
    fine, sentence = check(INPUT=cloudy, OTHER_DATES=others, OTHER_MASKS=[cloudy] * masks)
    assert not fine
    assert words in sentence


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ("2018-07-05", "acquisition dates (1) and the rasters (2) differ"),
        ("2018-07-05;2018-06-25;2018-06-15", "acquisition dates (3) and the rasters (2) differ"),
        ("2018-07-05;summer", "'summer' in the acquisition dates is not a date"),
        ("2018-07-05;2018-02-30", "'2018-02-30'"),
        ("2018-07-05;20180705", "given twice"),
        ("2018-07-05;2018/7/5", "given twice"),
    ],
)
def test_dates_fit_the_layers(check, cloudy: str, other: str, dates: str, words: str) -> None:
    fine, sentence = check(INPUT=cloudy, OTHER_DATES=[other], DATES=dates)
    assert not fine
    assert words in sentence


@pytest.mark.parametrize(
    ("extent", "words"),
    [
        ("300100,300100,4649800,4649900 [EPSG:32633]", "no area"),
        ("0,0,0,0 [EPSG:32633]", "no area"),
        ("0,10,0,10 [EPSG:32633]", "does not meet the raster"),
    ],
)
def test_extent_has_an_area_inside(check, cloudy: str, extent: str, words: str) -> None:
    fine, sentence = check(INPUT=cloudy, EXTENT=extent)
    assert not fine
    assert words in sentence


def test_nothing_is_overwritten(check, cloudy: str, other: str, tmp_path: Path) -> None:
    assert "one of the inputs" in check(INPUT=cloudy, OUTPUT=cloudy)[1]
    assert "one of the inputs" in check(INPUT=cloudy, OTHER_DATES=[other], UNCERTAINTY=other)[1]
    same = str(tmp_path / "result.tif")
    assert "Two outputs have the same file" in check(INPUT=cloudy, OUTPUT=same, CLOUDS=same)[1]
    link = tmp_path / "link.tif"
    link.symlink_to(cloudy)
    assert "one of the inputs" in check(INPUT=cloudy, OUTPUT=str(link))[1]


@pytest.mark.parametrize("wanted", ["attention.tif", "TEMPORARY_OUTPUT"])
def test_only_crsystem_has_an_attention(check, cloudy: str, tmp_path: Path, wanted: str) -> None:
    path = wanted if wanted.isupper() else str(tmp_path / wanted)
    fine, sentence = check(INPUT=cloudy, ATTENTION=path, METHOD="glfcr")
    assert not fine
    assert "the method 'glfcr' has none" in sentence
    assert check(INPUT=cloudy, ATTENTION=path, METHOD="crsystem") == (True, "")
    assert check(INPUT=cloudy, ATTENTION=None) == (True, "")


def test_results_are_geotiff(check, cloudy: str, tmp_path: Path) -> None:
    fine, sentence = check(INPUT=cloudy, OUTPUT=str(tmp_path / "result.png"))
    assert not fine
    assert "result.png" in sentence
    assert ".tif" in sentence
    assert check(INPUT=cloudy, OUTPUT=str(tmp_path / "result.tif"))[0] is True


def test_a_raster_given_twice(check, cloudy: str, other: str) -> None:
    assert "is the cloudy raster and one of the other dates" in check(INPUT=cloudy, OTHER_DATES=[other, cloudy])[1]
    assert "twice among the other dates" in check(INPUT=cloudy, OTHER_DATES=[other, other])[1]


def test_wrong_choice_is_refused(check, cloudy: str) -> None:
    fine, sentence = check(INPUT=cloudy, METHOD="magic")
    assert not fine
    assert "METHOD" in sentence


def test_models_skip_the_check_so_the_run_repeats_it(provider, engine, context, feedback, cloudy: str) -> None:
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:removeclouds")
    parameters = {"INPUT": cloudy, "OUTPUT": "TEMPORARY_OUTPUT", "DATES": "2018-07-05;2018-06-25"}
    _, fine = made.run(parameters, context, feedback, {}, False)
    assert not fine
    assert "acquisition dates (2) and the rasters (1) differ" in feedback.errors[0]
    assert engine.jobs == []


def test_a_check_registers_nothing_for_loading(check, cloudy: str, context: QgsProcessingContext) -> None:
    check(INPUT=cloudy)
    assert context.layersToLoadOnCompletion() == {}


def test_options_may_be_given_by_the_number_that_the_help_lists(provider, context, check, cloudy: str) -> None:
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:removeclouds")
    for value, name in (("4", "interpolation"), (1, "fast"), ("gaussian", "gaussian"), (None, "auto")):
        assert check(INPUT=cloudy, METHOD=value) == (True, ""), value
        given = {} if value is None else {"METHOD": value}
        assert made.parameterAsEnumString(given, "METHOD", context) == name


def test_an_unknown_option_is_named_with_those_that_there_are(check, cloudy: str) -> None:
    for value in ("quick", "99", -1):
        fine, sentence = check(INPUT=cloudy, METHOD=value)
        assert not fine
        assert f"METHOD cannot be '{value}'. Choose one of: auto, fast, " in sentence
