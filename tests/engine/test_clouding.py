"""Simulated clouds over a file: everything that is told of it is kept."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.errors import CloudRemovalError


def pixels(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture
def clear(make_series):
    """A cloudless layer of uint16, with nodata in a corner."""
    series = make_series(cloud=np.zeros((96, 80), bool), nodata=0)
    with rasterio.open(series.target, "r+") as file:
        stack = file.read()
        stack[:, :10, :10] = 0
        file.write(stack)
        file.update_tags(SUN_AZIMUTH="140", SUN_ELEVATION="35")
    return series


def job(series, tmp_path, **changes) -> Job:
    return Job(
        "simulate", str(series.target), str(tmp_path / "cloudy.tif"), clouds=str(tmp_path / "mask.tif"), size_m=200.0,
        **changes,
    )  # fmt: skip


def test_clouds_over_a_file(clear, do, tmp_path) -> None:
    result = do(job(clear, tmp_path, cover=0.4, seed=7))
    before, after, mask = pixels(clear.target), pixels(result.output), pixels(result.clouds)[0]
    assert set(np.unique(mask)) == {0, 1, 2, 255}
    assert (mask == 255).sum() == 100
    np.testing.assert_array_equal(after[:, (mask == 0) | (mask == 255)], before[:, (mask == 0) | (mask == 255)])
    assert after[:, mask == 1].mean() > before[:, mask == 1].mean() + 1500
    assert (mask == 1).sum() / (mask != 255).sum() == pytest.approx(0.4, abs=0.05)
    assert result.cloud_share == pytest.approx(np.isin(mask, (1, 2)).sum() / (mask != 255).sum())
    with rasterio.open(clear.target) as one, rasterio.open(result.output) as other:
        for key in ("crs", "transform", "dtype", "nodata", "count"):
            assert one.profile[key] == other.profile[key]
        assert one.descriptions == other.descriptions
    assert any("azimuth 140 and elevation 35" in text for _, text in do.log)


def test_holes_that_a_mask_band_tells_stay_holes(clear, do, tmp_path) -> None:
    valid = np.ones((96, 80), bool)
    valid[:, 60:] = False
    with rasterio.open(clear.target, "r+") as file:
        file.nodata = None
        file.write_mask(valid)
    result = do(job(clear, tmp_path, cover=0.4, seed=7))
    with rasterio.open(result.output) as file:
        np.testing.assert_array_equal(file.dataset_mask() > 0, valid)
    assert (pixels(result.clouds)[0][~valid] == 255).all()


def test_the_real_mask_nearest_to_the_cover_is_laid_over(clear, do, write_image, tmp_path) -> None:
    masks = []
    for rows in (20, 60):
        mask = np.zeros((96, 80), np.uint8)
        mask[:rows] = 1
        masks.append(str(write_image(mask, f"mask_{rows}.tif")))
    result = do(job(clear, tmp_path, donor_masks=tuple(masks), cover=0.6, reflectance_scale=1e-4))
    mask, after = pixels(result.clouds)[0], pixels(result.output)
    assert (mask[10:60] == 1).all()
    assert (mask[60:] == 0).all()
    assert (after[:, mask == 1] == 10_000).all()


@pytest.mark.parametrize(
    ("change", "words"), [({"cover": 1.5}, "'cover'"), ({"haze": -1.0}, "'haze'"), ({"clouds": "x.png"}, "GeoTIFF")]
)
def test_nonsense_is_refused(clear, do, tmp_path, change, words) -> None:
    with pytest.raises(CloudRemovalError, match=words):
        do(Job(**{**job(clear, tmp_path).__dict__, **change}))
    assert not (tmp_path / "cloudy.tif").exists()
