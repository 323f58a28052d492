"""The published detectors over scenes: in windows or whole, with holes, on other pixel sizes, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import detect, published, s2cloudless, score, toolbox
from cloud_removal_plugin.clouds.morphology import dilate
from cloud_removal_plugin.errors import InputError
from tests.clouds.test_detect import run

needs_model = pytest.mark.skipif(s2cloudless.model_path() is None, reason="the package s2cloudless is not installed")


def scene(size: int = 150, seed: int = 3) -> np.ndarray:
    """Top-of-atmosphere reflectance (13, H, W) that goes smoothly from ground to bright cloud, with dark places."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size] / size
    waves = np.sin(9 * rows) * np.cos(7 * cols) + 0.5 * np.sin(23 * cols + 5 * rows)
    cloud = np.clip(waves, 0, 1)[None]
    ground = np.linspace(0.12, 0.3, 13)[:, None, None] * (1 - 0.6 * np.clip(-waves, 0, 1))
    top = np.full((13, 1, 1), 0.6)
    ground[10] = 0.002
    top[10] = 0.1
    return (ground + cloud * (top - ground) + rng.normal(0, 0.002, ground.shape)).astype(np.float32)


def whole(method: str, optical: np.ndarray, dilation: int = 0) -> np.ndarray:
    """Classes of a scene without holes, from the array functions."""
    if method == "sen12mscrts":
        return toolbox.cloud_map(optical, SENTINEL2_L1C, "s2cloudless_mask").astype(np.uint8)
    variant = published.SCORES[method]
    planes = score.prepare(optical, SENTINEL2_L1C, variant)
    cloud = score.cloud_score(planes, variant) >= score.THRESHOLD
    shadow = score.shadow_mask(planes) & ~cloud
    return np.where(dilate(cloud, dilation), 1, np.where(dilate(shadow, dilation), 2, 0)).astype(np.uint8)


@pytest.mark.parametrize(
    "method", ["dsen2cr", "cloud_cloudshadow", "uncrtaints", pytest.param("sen12mscrts", marks=needs_model)]
)
def test_windows_do_not_show(method: str) -> None:
    optical = scene(80 if method == "sen12mscrts" else 150)
    classes, probability, notes = run(optical[None], SENTINEL2_L1C, "L1C", method=method, core=32, pixel_m=10.0)
    np.testing.assert_array_equal(classes[0], whole(method, optical))
    assert (classes == 1).any()
    assert (classes == 0).any()
    assert bool((classes == 2).any()) == (method != "sen12mscrts")
    assert any("shadow" in note for note in notes) == (method == "sen12mscrts")
    assert np.isfinite(probability).all()
    assert probability.max() <= 1


def test_variants_differ_as_published() -> None:
    """DSen2-CR's limits call more cloud than the toolbox', and the moisture test takes some of that away."""
    optical = scene()
    cloud = {name: (whole(name, optical) == 1).mean() for name in published.SCORES}
    assert cloud["dsen2cr"] > cloud["cloud_cloudshadow"] > cloud["uncrtaints"] > 0


def test_moisture_test_counts() -> None:
    """Ground that is brighter in SWIR than in NIR is no cloud under the moisture test, whatever its brightness."""
    optical = np.full((13, 40, 40), 0.6, np.float32)
    optical[11] = 0.9
    planes = score.prepare(optical, SENTINEL2_L1C, score.MOISTURE)
    dry, plain = score.cloud_score(planes, score.MOISTURE), score.cloud_score(planes, score.TOOLBOX)
    assert plain[20, 20] > score.THRESHOLD > dry[20, 20]
    planes["swir16"] = np.full((40, 40), 0.45, np.float32)  # index 0.14: beyond the ramp
    wet = score.cloud_score(planes, score.MOISTURE)
    np.testing.assert_allclose(wet, score.cloud_score(planes, score.TOOLBOX))


def test_zero_sums_are_not_divided_by() -> None:
    planes = {name: np.zeros((9, 9), np.float32) for name in score.BANDS}
    assert (score.cloud_score(planes, score.MOISTURE) == np.float32(score.LEAST_SCORE)).all()


def test_holes_stay_holes_and_change_little() -> None:
    optical = scene()
    optical[:, 40:60, 50:90] = np.nan
    classes, probability, _ = run(optical[None], SENTINEL2_L1C, "L1C", method="dsen2cr", core=64, pixel_m=10.0)
    hole = np.isnan(optical[0])
    assert ((classes[0] == 255) == hole).all()
    assert (np.isnan(probability[0]) == hole).all()
    assert set(np.unique(classes[0][~hole])) == {0, 1, 2}


def test_growth_and_threshold_are_the_analysts() -> None:
    optical = scene()
    grown, _, _ = run(optical[None], SENTINEL2_L1C, "L1C", method="dsen2cr", dilate=3, core=64, pixel_m=10.0)
    np.testing.assert_array_equal(grown[0], whole("dsen2cr", optical, dilation=3))
    strict, _, _ = run(optical[None], SENTINEL2_L1C, "L1C", method="dsen2cr", threshold=0.9, pixel_m=10.0)
    assert (strict == 1).sum() < (grown == 1).sum()


@needs_model
def test_toolbox_radii_follow_the_pixel() -> None:
    """Radii are metres: on pixels of 20 m the disks have half as many."""
    detector = published.create("sen12mscrts", 20.0, None, None)
    assert detector.halo == 8
    optical = scene(60)
    bands = [SENTINEL2_L1C.index(b) for b in s2cloudless.BANDS]
    cloud, _, _ = detector.classify(optical[bands], np.s_[:, :], map)
    prob = s2cloudless.probability(np.clip(optical, 0, 1), SENTINEL2_L1C)
    np.testing.assert_array_equal(cloud, s2cloudless.mask(prob, 0.4, 2, 1))


@needs_model
def test_patch_of_zeros_is_cloudy_only_for_uncrtaints() -> None:
    zeros = np.zeros((13, 16, 16), np.float32)
    assert toolbox.cloud_map(zeros, SENTINEL2_L1C, "s2cloudless_mask", zero_is_cloudy=True).all()
    assert not toolbox.cloud_map(zeros, SENTINEL2_L1C, "s2cloudless_mask").any()
    assert toolbox.cloud_map(zeros, SENTINEL2_L1C, "none").all()


@pytest.mark.parametrize("method", published.METHODS[:4])
def test_other_layers_are_refused(method: str) -> None:
    with pytest.raises(InputError, match=r"lacks .*cirrus.*Choose 'auto'"):
        run(scene(20)[None, [1, 2, 3, 7]], ("blue", "green", "red", "nir"), "", method=method)
    with pytest.raises(InputError, match="Level-2A"):
        run(scene(20)[None], SENTINEL2_L1C, "L2A", method=method)


def test_every_method_can_be_chosen() -> None:
    assert set(published.METHODS) < set(detect.METHODS)
