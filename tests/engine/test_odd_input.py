"""Layers that hold little: constant images, bands and dates without a number, masks that select nothing or no data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.transform import from_origin

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.errors import CloudRemovalError

SHAPE = (96, 80)


def pixels(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture
def changed(write_image):
    """``changed(path, change, name)``: the raster with its numbers changed, its bands' names kept."""

    def make(path, change, name: str, **profile):
        with rasterio.open(path) as file:
            numbers, names = file.read(), file.descriptions
        made = write_image(change(numbers), name, **profile)
        with rasterio.open(made, "r+") as file:
            file.descriptions = names
        return made

    return make


@pytest.mark.parametrize("method", ["fast", "interpolation", "inpainting", "gaussian"])
@pytest.mark.parametrize("which", ["target", "others", "all"])
def test_constant_images(method: str, which: str, make_series, make_job, do, changed) -> None:
    """No variance to learn from, no similarity: the gap gets the constant, or at least something sane."""
    series = make_series()

    def flat(path, level):
        return changed(path, lambda numbers: np.full_like(numbers, level), path.name)

    if which != "others":
        target = changed(series.target, lambda n: np.where(series.cloud, n, 1500).astype(n.dtype), series.target.name)
        series = replace(series, target=target)
    if which != "target":
        series = replace(series, others=tuple(flat(path, 1500) for path in series.others))
    result = do(make_job(series, method=method))
    found = pixels(result.output)[:, series.cloud]
    if which != "others":
        # interpolation in time alone believes the other dates
        assert np.abs(found.astype(float) - 1500).max() < (2500 if which == "target" else 30)
    sigma = pixels(result.uncertainty)
    assert (sigma[:, series.cloud] > 0).all()
    assert (sigma[:, ~series.cloud] == 0).all()


def test_the_report_of_a_constant_scene(make_series, make_job, do, changed, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    series = make_series()
    paths = [changed(path, lambda n: np.full_like(n, 1500), path.name) for path in (series.target, *series.others)]
    series = replace(series, target=paths[0], others=tuple(paths[1:]))
    result = do(make_job(series, page=str(tmp_path / "report.html")))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert result.page
    assert ">nan<" not in page.lower()


@pytest.mark.parametrize("method", ["fast", "interpolation", "inpainting"])
def test_a_band_of_another_date_without_a_number(method: str, make_series, make_job, do, changed) -> None:
    series = make_series()

    def hollow(numbers):
        out = numbers.astype(np.float32)
        out[2] = np.nan
        return out / 10_000

    float_target = changed(series.target, lambda n: (n / 10_000).astype(np.float32), series.target.name)
    others = tuple(changed(path, lambda n: (n / 10_000).astype(np.float32), path.name) for path in series.others[1:])
    first = changed(series.others[0], hollow, series.others[0].name)
    result = do(make_job(replace(series, target=float_target, others=(first, *others)), method=method))
    error = np.abs(pixels(result.output) - series.truth / 10_000)[:, series.cloud]
    assert np.isfinite(error).all()
    assert error.mean() < (0.005 if method != "inpainting" else 0.05)


def test_a_band_of_the_target_without_a_number_does_not_spoil_the_others(make_series, make_job, do, changed) -> None:
    series = make_series()

    def hollow(numbers):
        out = (numbers / 10_000).astype(np.float32)
        out[2] = np.nan
        return out

    target = changed(series.target, hollow, series.target.name)
    others = tuple(changed(path, lambda n: (n / 10_000).astype(np.float32), path.name) for path in series.others)
    result = do(make_job(replace(series, target=target, others=others)))
    assert any("holds no number in red" in warning for warning in result.warnings)
    out = pixels(result.output)
    kept = [0, 1, 3]
    np.testing.assert_array_equal(out[kept][:, ~series.cloud], pixels(target)[kept][:, ~series.cloud])
    assert np.abs(out[kept] - series.truth[kept] / 10_000)[:, series.cloud].mean() < 0.03


def test_another_date_without_any_number_is_passed_over(make_series, make_job, do, changed) -> None:
    series = make_series()
    empty = changed(series.others[0], np.zeros_like, "S2_2024-06-02.tif", nodata=0)
    result = do(make_job(replace(series, others=(empty, *series.others[1:])), other_masks=()))
    assert np.abs(pixels(result.output).astype(float) - series.truth)[:, series.cloud].mean() < 60


def test_another_grid_is_warped_and_said(make_series, make_job, do, write_image, changed) -> None:
    series = make_series()

    def coarse(numbers):
        return numbers.reshape(4, 48, 2, 40, 2).mean(axis=(2, 4)).astype(np.uint16)

    other = changed(series.others[0], coarse, "S2_2024-06-02.tif", transform=from_origin(600_000, 5_650_000, 20, 20))
    result = do(make_job(replace(series, others=(other, *series.others[1:])), other_masks=()))
    assert any("S2_2024-06-02.tif: warped to the input's grid" in text for _, text in do.log)
    assert np.abs(pixels(result.output).astype(float) - series.truth)[:, series.cloud].mean() < 60


def test_a_date_that_lies_beside_the_gap(make_series, make_job, do, changed) -> None:
    """The other date covers the clear half of the scene alone, nothing of the gap, which is filled from its rim."""
    series = make_series(cloud=np.arange(80)[None] < 20 + np.zeros((96, 1)))
    half = changed(
        series.others[0], lambda n: n[:, :, 40:], "S2_2024-06-02.tif", transform=from_origin(600_400, 5_650_000, 10, 10)
    )
    result = do(make_job(replace(series, others=(half,)), other_masks=()))
    assert result.restored_share == result.cloud_share
    assert np.isfinite(pixels(result.uncertainty)[:, series.cloud]).all()


def test_a_mask_without_a_number_is_refused_by_its_name(make_series, make_job, do, write_image, tmp_path) -> None:
    series = make_series()
    blank = write_image(np.full(SHAPE, np.nan, np.float32), "blank.tif", nodata=float("nan"))
    with pytest.raises(CloudRemovalError, match=r"its mask blank\.tif, holds no data"):
        do(make_job(series, cloud_mask=str(blank)))
    assert not (tmp_path / "out.tif").exists()


def test_a_mask_that_selects_nothing_copies_the_layer(make_series, make_job, do, write_image) -> None:
    series = make_series()
    nothing = write_image(np.zeros(SHAPE, np.uint8), "nothing.tif")
    result = do(make_job(series, cloud_mask=str(nothing)))
    assert any("copied as it is" in warning for warning in result.warnings)
    np.testing.assert_array_equal(pixels(result.output), pixels(series.target))
    assert (pixels(result.uncertainty) == 0).all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_layer_without_georeference_has_the_pixels_of_its_sensor(do, write_image, tmp_path) -> None:
    """Clouds, shadows and margins in metres come out as on the same layer with its georeference."""
    rng = np.random.default_rng(3)
    image = (900 + 200 * rng.standard_normal((13, 160, 160))).astype(np.uint16)
    image[:, 40:90, 50:110] = 6_500
    nowhere = {"crs": None, "transform": Affine.identity()}
    layers = write_image(image, "S2_here.tif"), write_image(image, "S2_nowhere.tif", **nowhere)
    classes = []
    for layer in layers:
        out = str(tmp_path / f"clouds_{layer.stem}.tif")
        do(Job(kind="detect", input=str(layer), output=out, method="rules", sensor="sentinel2"))
        classes.append(pixels(out))
    assert (classes[0] == 1).any()
    np.testing.assert_array_equal(*classes)
    assert any("no georeference: its pixels are taken as 10 m" in text for _, text in do.log)
