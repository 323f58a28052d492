"""A job over small scenes, end to end without QGIS: what must hold whatever the method."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.enums import MaskFlags

from cloud_removal_plugin.engine.plan import core_px, plan, sample_windows, survey
from cloud_removal_plugin.errors import Cancelled, CloudRemovalError
from cloud_removal_plugin.raster.windows import Window

METHODS = ("auto", "fast", "gaussian", "scene_networks", "interpolation", "inpainting")


def pixels(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize("method", METHODS)
def test_restores_hidden_pixels_and_keeps_clear_ones_bit_for_bit(method, make_series, make_job, do, tmp_path):
    series = make_series()
    if method in ("auto", "scene_networks"):
        pytest.importorskip("torch")

    result = do(make_job(series, method=method))

    out, came = pixels(result.output), pixels(series.target)
    assert (out[:, ~series.cloud] == came[:, ~series.cloud]).all()
    error = np.abs(out.astype(float) - series.truth)[:, series.cloud].mean()
    baseline = 40 if method != "inpainting" else 400
    assert error < baseline, f"{method}: mean error {error:.0f} DN"
    sigma = pixels(result.uncertainty)
    assert (sigma[:, ~series.cloud] == 0).all()
    assert (sigma[:, series.cloud] > 0).all()
    assert (pixels(result.clouds)[0] == series.cloud).all()
    assert result.cloud_share == result.restored_share == series.cloud.mean()
    assert result.expected_rmse is not None
    assert 0 < result.expected_rmse < 0.1
    assert sorted(do.fractions) == do.fractions
    assert list(tmp_path.glob(".*")) == []


def test_output_keeps_everything_that_is_told_of_the_input(make_series, make_job, do):
    series = make_series(nodata=0)
    with rasterio.open(series.target, "r+") as file:
        file.scales, file.offsets = (0.0001,) * 4, (0.0,) * 4
        file.update_tags(PRODUCT="made up")
        before = file.profile, file.descriptions, file.scales, file.tags()["PRODUCT"], file.colorinterp

    result = do(make_job(series))

    with rasterio.open(result.output) as file:
        after = file.profile, file.descriptions, file.scales, file.tags()["PRODUCT"], file.colorinterp
    for key in ("crs", "transform", "width", "height", "count", "dtype", "nodata"):
        assert after[0][key] == before[0][key]
    assert after[1:] == before[1:]
    with rasterio.open(result.uncertainty) as file:
        assert file.crs == before[0]["crs"]
        assert file.transform == before[0]["transform"]


def test_same_seed_gives_the_same_bits_whatever_the_threads(make_series, make_job, do, monkeypatch):
    pytest.importorskip("torch")
    series, results = make_series(), []
    for threads in (1, 3):
        monkeypatch.setattr("cloud_removal_plugin.engine.threads.pool_size", lambda threads=threads: threads)
        results.append(pixels(do(make_job(series, method="auto")).output))
    assert (results[0] == results[1]).all()


def test_extent_cuts_the_grid_to_whole_pixels(make_series, make_job, do):
    series = make_series()
    result = do(make_job(series, extent=(600_104.0, 5_649_300.0, 600_596.0, 5_649_800.0)))
    with rasterio.open(result.output) as file:
        assert (file.width, file.height) == (50, 50)
        assert file.transform.c == 600_100
        kept = ~series.cloud[20:70, 10:60]
        assert (file.read()[:, kept] == series.truth[:, 20:70, 10:60][:, kept]).all()


def test_nothing_hidden_is_copied_and_said(make_series, make_job, do):
    series = make_series(cloud=np.zeros((96, 80), bool))
    result = do(make_job(series))
    assert (pixels(result.output) == pixels(series.target)).all()
    assert "copied as it is" in result.warnings[0]
    assert result.cloud_share == 0
    assert (pixels(result.uncertainty) == 0).all()


def test_everything_hidden_is_estimated_from_the_other_dates(make_series, make_job, do):
    series = make_series(cloud=np.ones((96, 80), bool))
    result = do(make_job(series))
    assert result.restored_share == 1
    assert np.abs(pixels(result.output).astype(float) - series.truth).mean() < 60
    assert any("hidden everywhere" in warning for warning in result.warnings)


def test_everything_hidden_and_no_other_date_is_refused(make_series, make_job, do, tmp_path):
    series = make_series(cloud=np.ones((96, 80), bool))
    with pytest.raises(CloudRemovalError, match="Add other dates"):
        do(make_job(series, other_dates=(), other_masks=()))
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 13)])
@pytest.mark.parametrize("method", ["fast", "interpolation", "inpainting"])
def test_tiny_rasters(shape, method, make_series, make_job, do):
    cloud = np.zeros(shape, bool)
    cloud[shape[0] // 2, shape[1] // 2] = True
    result = do(make_job(make_series(shape, cloud=cloud), method=method))
    out = pixels(result.output)
    assert out.shape[1:] == shape
    assert (out[:, cloud] != 8000).all()


def test_one_date_alone_is_inpainted_with_a_warning(make_series, make_job, do):
    series = make_series()
    result = do(make_job(series, other_dates=(), other_masks=(), method="auto"))
    assert result.restored_share == result.cloud_share
    assert any("without other dates" in warning for warning in result.warnings)
    sigma = pixels(result.uncertainty)
    assert (sigma[:, series.cloud] > 0).all()


@pytest.mark.parametrize("after", [1, 3, 6])
def test_cancel_leaves_nothing(after, make_series, make_job, do, tmp_path):
    series = make_series()
    job = make_job(series)
    before = sorted(path.name for path in tmp_path.iterdir())
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        do(job, cancelled=lambda: next(asked) >= after)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_nan_and_infinite_pixels_come_back_as_they_were(make_series, make_job, do, write_image):
    series = make_series()
    values = (pixels(series.target) / 10000).astype(np.float32)
    values[:, 3, 4], values[:, 5, 6], values[:, 7, 8] = np.nan, np.inf, -np.inf
    path = write_image(values, "S2_2024-06-11.tif")
    result = do(make_job(replace(series, target=path)))
    out = pixels(result.output)
    assert np.isnan(out[:, 3, 4]).all()
    assert (out[:, 5, 6] == np.inf).all()
    assert np.isfinite(out[:, series.cloud]).all()


def test_a_mask_band_survives_and_gains_what_was_restored(make_series, make_job, do):
    series = make_series()
    outside = np.zeros((96, 80), bool)
    outside[:, 70:] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(series.target, "r+") as file:
        file.write_mask(~outside)
    result = do(make_job(series))
    with rasterio.open(result.output) as file:
        valid = file.dataset_mask() > 0
        assert MaskFlags.per_dataset in file.mask_flag_enums[0]
        np.testing.assert_array_equal(file.read()[:, ~series.cloud], pixels(series.target)[:, ~series.cloud])
    np.testing.assert_array_equal(valid, ~outside | series.cloud)
    assert np.isnan(pixels(result.uncertainty)[:, outside & ~series.cloud]).all()


def test_what_lies_beyond_a_regions_reach_changes_nothing(make_series, make_job, do, monkeypatch):
    monkeypatch.setattr("cloud_removal_plugin.engine.plan.REGION_EDGE_PX", 256)
    monkeypatch.setattr("cloud_removal_plugin.engine.plan.WHOLE_REGION_PX", 256 * 256)
    shape = (256, 768)
    cloud = np.zeros(shape, bool)
    cloud[60:120, 40:100] = cloud[100:180, 600:700] = True
    series = make_series(shape, bands=3, cloud=cloud)
    first = pixels(do(make_job(series)).output)
    with rasterio.open(series.others[0], "r+") as file:
        changed = file.read()
        changed[:, :, 512:] = changed[:, ::-1, 512:]
        file.write(changed)
    second = pixels(do(make_job(series)).output)
    assert (first[:, :, :256] == second[:, :, :256]).all()
    assert (first[:, :, 512:] != second[:, :, 512:]).any()


def test_regions_windows_and_samples_cover_the_scene():
    cloud = np.zeros((2300, 2500), np.uint8)
    cloud[200:900, 300:1200] = 1
    found = survey(2300, 2500, lambda w: cloud[w.slices()], lambda *_: None)
    assert int(found.gap.sum()) == int(cloud.sum())
    assert int(found.gap.sum() + found.clear.sum()) == cloud.size
    plans = plan(2300, 2500, found, core_px(8000, 7, 13))
    covered = np.zeros(cloud.shape, int)
    for part in plans:
        for window, gap in part.windows:
            covered[window.slices()] += 1
            assert gap or not cloud[window.slices()].any()
    assert (covered == 1).all()
    samples = sample_windows(Window(0, 0, 2048, 2048), found)
    assert len(samples) == 4
    assert any(0 < cloud[window.slices()].mean() < 1 for window in samples)
    light = plan(2300, 2500, found, 1024, 256)[0].samples
    assert len(light) == 4
    assert {window[2:] for window in light} == {(256, 256)}


def test_a_window_reaches_beyond_its_core_only_where_a_gap_does():
    cloud = np.zeros((2048, 2048), np.uint8)
    cloud[100:200, 1000:1050] = 1  # over the right edge of the first window
    cloud[1030:1040, 1300:1310] = 1  # below the second
    cloud[1024, 1024] = 1  # the corner, which all four share
    found = survey(*cloud.shape, lambda w: cloud[w.slices()], lambda *_: None)
    (part,) = plan(*cloud.shape, found, 1024)
    assert part.beyond[0] == Window(0, 0, 1088, 1088)
    assert part.beyond[1] == Window(0, 1024, 1088, 1024)
    assert part.beyond[2] == Window(1024, 0, 1024, 1088)
    assert part.beyond[3] == Window(1024, 1024, 1024, 1024)
    cloud[:1024] = cloud[1024] = 0
    found = survey(*cloud.shape, lambda w: cloud[w.slices()], lambda *_: None)
    (part,) = plan(*cloud.shape, found, 1024)
    assert part.beyond[2] == Window(1024, 0, 1024, 1024)


def test_gaps_that_lie_together_are_the_sample_with_their_surroundings():
    cloud = np.zeros((2300, 4500), np.uint8)
    cloud[1100:1400, 2700:2900] = 1
    region = Window(0, 2048, 2048, 2048)
    found = survey(*cloud.shape, lambda w: cloud[w.slices()], lambda *_: None)
    assert sample_windows(region, found) == (Window(1024, 2560, 512, 512),)
    cloud[1024:1536, 2560:3072] = 1
    found = survey(*cloud.shape, lambda w: cloud[w.slices()], lambda *_: None)
    assert len(sample_windows(region, found)) == 4  # next to nothing is clear there


def test_gdal_keeps_blocks_that_windows_ask_for_again(make_series, make_job, do, monkeypatch):
    """rasterio takes GDAL's cache in bytes: a number meant as megabytes would leave room for not one block."""
    from cloud_removal_plugin.engine import restoration

    seen, before = [], rasterio.env.get_gdal_config("GDAL_CACHEMAX")
    survey_itself = restoration.survey

    def looking(*given):
        seen.append(rasterio.env.get_gdal_config("GDAL_CACHEMAX"))
        return survey_itself(*given)

    monkeypatch.setattr(restoration, "survey", looking)
    do(make_job(make_series(), method="interpolation", memory_mb=2048))
    assert seen == [256 * 2**20]
    assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == before
