"""Bands with scales and offsets of their own: read, restored, written and judged each in its own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.series_settings import SeriesSettings
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.radiometry import recognise

SCALES, OFFSETS = (1e-4, 2e-4, 5e-5, 1e-4), (0.0, 0.0, 0.0, -0.1)


@pytest.fixture
def own_scales(make_series):
    """The small series of the engine's tests, its bands stored each in its own way; truth stays in 1/10,000."""
    series = make_series()
    for path in (series.target, *series.others):
        store(path)
    return series


def store(path: Path) -> None:
    with rasterio.open(path, "r+") as file:
        reflectance = file.read() * 1e-4
        parts = zip(reflectance, SCALES, OFFSETS, strict=True)
        file.write(np.stack([(plane - offset) / scale for plane, scale, offset in parts]).round().astype(np.uint16))
        file.scales, file.offsets = SCALES, OFFSETS


def reflectance(path: Path | str) -> np.ndarray:
    """By the scales that the file tells."""
    with rasterio.open(path) as file:
        return file.read() * np.array(file.scales)[:, None, None] + np.array(file.offsets)[:, None, None]


def test_they_are_recognised(own_scales) -> None:
    found = recognise(describe(str(own_scales.target)))
    assert found.pairs == tuple(zip(SCALES, OFFSETS, strict=True))
    assert any("scales and offsets of their own" in note for note in found.notes)
    assert not found.warnings
    assert "green: DN x 0.0002 + 0" in found.in_words()
    with rasterio.open(own_scales.target, "r+") as file:
        file.scales, file.offsets = (1.0, 1e-4, 1e-4, 1e-4), (0.0, 0.0, 0.0, 0.0)  # one was forgotten
    assert not recognise(describe(str(own_scales.target))).pairs
    with rasterio.open(own_scales.target, "r+") as file:
        file.scales = (1e-4, 2e-4, 1.0, 5.0)  # nothing reflects so much
    assert not recognise(describe(str(own_scales.target))).pairs


def test_a_date_is_restored_in_them(own_scales, tmp_path, make_job, do) -> None:
    job = make_job(own_scales, uncertainty=str(tmp_path / "sigma.tif"))
    do(job)
    kept, gap = ~own_scales.cloud, own_scales.cloud
    with rasterio.open(job.output) as after, rasterio.open(own_scales.target) as before:
        assert (after.scales, after.offsets) == (SCALES, OFFSETS)
        np.testing.assert_array_equal(after.read()[:, kept], before.read()[:, kept])
    error = reflectance(job.output) - own_scales.truth * 1e-4
    assert np.sqrt((error[:, gap] ** 2).mean(axis=1)).max() < 0.004
    with rasterio.open(job.uncertainty) as file:  # in the numbers of each band, as its scales say
        assert file.scales == SCALES
        sigma = file.read()[:, gap] * np.array(SCALES)[:, None]
    assert 0.8 < (np.abs(error[:, gap]) < 1.645 * sigma).mean() <= 1
    assert np.nanmax(sigma.mean(axis=1)) < 3 * np.nanmin(sigma.mean(axis=1))


@pytest.mark.parametrize("moved", [False, True])
def test_a_series_is_restored_in_them(moved: bool, own_scales, tmp_path, do) -> None:
    """On the first raster's pixels, and warped to them; the uncertainty is in the numbers of each band."""
    paths = [own_scales.target, *own_scales.others]
    masks = (str(own_scales.mask), *map(str, own_scales.clear_masks))
    if moved:
        with rasterio.open(paths[0], "r+") as file:
            file.transform = from_origin(600_003, 5_650_004, 10, 10)
        paths = [*paths[1:], paths[0]]
        masks = (*masks[1:], masks[0])
    settings = SeriesSettings(masks=masks).to_json()
    job = Job(
        "series", "", str(tmp_path / "out"), products=tuple(map(str, paths)), settings=settings, method="fast",
        uncertainty=str(tmp_path / "sigma"), dilate=2,
    )  # fmt: skip
    do(job)
    path = tmp_path / "out" / "restored_20240610.tif"
    inside = own_scales.cloud & np.roll(own_scales.cloud, 3, 0) & np.roll(own_scales.cloud, -3, 0)
    error = reflectance(path) - own_scales.truth * 1e-4
    assert np.sqrt((error[:, inside] ** 2).mean(axis=1)).max() < (0.02 if moved else 0.004)
    with rasterio.open(tmp_path / "sigma" / "sigma_20240610.tif") as file:
        assert file.scales == SCALES
    sigma = reflectance(tmp_path / "sigma" / "sigma_20240610.tif")[:, inside].mean(axis=1)
    assert sigma.max() < 4 * sigma.min()  # one noise in all bands, whatever their numbers
    with rasterio.open(tmp_path / "out" / "stack.vrt") as stack:
        assert set(zip(stack.scales, stack.offsets, strict=True)) == set(zip(SCALES, OFFSETS, strict=True))


def test_the_evaluation_reads_them(own_scales, make_job, tmp_path, do, write_image) -> None:
    job = make_job(own_scales)
    do(job)
    truth = write_image(own_scales.truth, "truth.tif")
    with rasterio.open(truth, "r+") as file:
        file.descriptions = ("blue", "green", "red", "nir")
    figures = tmp_path / "figures.json"
    do(Job("evaluate", str(truth), "", restored=(job.output,), cloud_mask=job.cloud_mask, figures=str(figures)))
    assert json.loads(figures.read_text())["mae"] < 0.002


def test_clouds_are_simulated_in_them(own_scales, tmp_path, do) -> None:
    path = own_scales.others[0]
    result = do(Job("simulate", str(path), str(tmp_path / "cloudy.tif"), clouds=str(tmp_path / "mask.tif"), cover=0.4))
    with rasterio.open(result.clouds) as file:
        cloud = file.read(1) == 1
    bright = reflectance(result.output)[:, cloud].mean(axis=1)
    assert (bright > 0.25).all()
    assert bright.max() < 1.5 * bright.min()
