"""An evaluation from files to figures: exact, whatever the window, and honest about what is missing."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cloud_removal_plugin.engine import judging
from cloud_removal_plugin.engine.series_sigma import OLD_CONTENT, OLDEST_CONTENT, SIGMA_CONTENT, SUFFIX
from cloud_removal_plugin.errors import CloudRemovalError
from cloud_removal_plugin.evaluation import formulas, published
from cloud_removal_plugin.evaluation.conventions import NAMES


@pytest.fixture
def pair(reference, disc, write):
    """Reference, and a layer that is off by noise inside the disc; as files and as the numbers in them."""
    rng = np.random.default_rng(9)
    wrong = (reference + np.where(disc, rng.normal(0.01, 0.02, reference.shape), 0)).astype(np.float32)
    paths = write(wrong, "restored.tif"), write(reference, "reference.tif")
    stored = [
        np.round(part * 10_000).astype(np.uint16).astype(np.float32) * np.float32(1e-4) for part in (wrong, reference)
    ]
    return (*paths, *stored)


@pytest.mark.parametrize("name", NAMES)
def test_windows_do_not_change_the_measures_of_any_paper(name, pair, judge, monkeypatch) -> None:
    path, truth_path, estimate, truth = pair
    found = []
    for core in (1024, 32):
        monkeypatch.setattr(judging, "_core", lambda *_, core=core: core)
        monkeypatch.setattr("cloud_removal_plugin.raster.windows.cores.__defaults__", (1024, 8))
        found.append(judge(path, truth_path, metrics_as=name))
    for measure in ("mae", "rmse", "psnr", "ssim", "sam"):
        assert getattr(found[0], measure) == pytest.approx(getattr(found[1], measure), rel=1e-9)
    batch = estimate[None], truth[None]
    colours = [2, 1, 0]
    expected = {
        "dsen2cr": lambda: _named(
            published.dsen2cr(*(5 * p for p in batch), 5 * batch[1], np.zeros((1, *truth.shape[1:]))),
            psnr="cloud_psnr", ssim="cloud_ssim", sam="cloud_mean_sam",
        ),
        "glfcr": lambda: published.glfcr(estimate, truth),
        "uncrtaints": lambda: _named(
            published.uncrtaints(estimate, truth), mae="MAE", rmse="RMSE", psnr="PSNR", ssim="SSIM", sam="SAM"
        ),
        "sen12mscrts": lambda: _named(
            published.sen12mscrts(estimate, truth, np.ones(truth.shape[1:], bool)),
            mae="MAE", rmse="RMSE", psnr="PSNR", ssim="SSIM", sam="SAM",
        ),
        "crsystem": lambda: _named(
            published.crsystem(estimate[colours], truth[colours]), mae="l1", psnr="psnr", ssim="ssim"
        ),
        "utilise": lambda: published.utilise(*batch, np.zeros((1, *truth.shape[1:]), bool), split=False),
        "field": lambda: {"mae": formulas.mae(formulas.errors(estimate, truth))},
    }[name]()  # fmt: skip
    checked = [measure for measure in ("mae", "rmse", "psnr", "ssim", "sam") if measure in expected]
    assert checked
    for measure in checked:
        assert getattr(found[0], measure) == pytest.approx(expected[measure], rel=1e-6), measure


def _named(values: dict[str, float], **names: str) -> dict[str, float]:
    return {ours: values[theirs] for ours, theirs in names.items()}


def test_parts_add_up_to_the_whole(pair, reference, disc, write, judge, tmp_path) -> None:
    restored, truth = pair[:2]
    classes = np.where(disc, 1, 0).astype(np.uint8)
    classes[60:, :][disc[60:, :]] = 2
    mask = write(classes[None], "mask.tif", "uint8", names=())
    cover = np.full((1, 96, 120), 40, np.uint8)
    cover[:, :, 60:] = 10
    figures = tmp_path / "figures.json"
    result = judge(
        restored, truth, cloud_mask=mask, land_cover=write(cover, "cover.tif", "uint8", names=()), figures=figures
    )
    found = json.loads(figures.read_text())
    assert found["mae"] == pytest.approx(result.mae)
    parts = found["layers"][0]["parts"]
    assert parts["state"]["kept"]["mae"] == 0
    for split in ("state", "class"):
        values = [part["values"] for part in parts[split].values()]
        assert sum(values) == found["values"]
        whole = sum(part["mae"] * part["values"] for part in parts[split].values()) / sum(values)
        assert whole == pytest.approx(found["mae"])
    restored_values = parts["state"]["restored"]["values"]
    assert restored_values == 4 * disc.sum()
    assert sum(part["values"] for part in parts["distance to clear"].values()) == restored_values
    assert sum(part["values"] for part in parts["land cover"].values()) == restored_values
    assert set(parts["land cover"]) == {"10 tree cover", "40 cropland"}
    assert parts["class"]["shadow"]["values"] == 4 * (classes == 2).sum()
    near = parts["distance to clear"]["0-20 m"]["values"]
    assert 0 < near < restored_values / 4
    assert set(found["layers"][0]["bands"]) == {"blue", "green", "red", "nir"}


def test_what_was_restored_is_seen_from_the_cloudy_layer(pair, reference, disc, write, judge, tmp_path) -> None:
    cloudy = np.where(disc, np.float32(0.8), pair[2])
    figures = tmp_path / "figures.csv"
    judge(pair[0], pair[1], cloudy=write(cloudy, "cloudy.tif"), figures=figures)
    rows = list(csv.DictReader(figures.read_text().splitlines()))
    part = {(row["split"], row["part"], row["band"]): row for row in rows}
    assert int(part["state", "restored", "all"]["values"]) == 4 * disc.sum()
    assert float(part["state", "kept", "all"]["mae"]) == 0
    assert float(part["state", "restored", "nir"]["mae"]) > 0.01


def test_several_layers_are_ranked(pair, reference, disc, write, judge, tmp_path) -> None:
    worse = write(np.where(disc, reference + 0.1, reference), "worse.tif")
    figures = tmp_path / "figures.json"
    result = judge([worse, pair[0]], pair[1], figures=figures)
    found = json.loads(figures.read_text())
    assert [layer["name"] for layer in found["layers"]] == ["worse", "restored"]
    assert result.mae == pytest.approx(found["layers"][0]["mae"])
    first, second = found["ranks"]
    assert first["mean_rank"] > second["mean_rank"]
    assert found["ranks"][1]["rmse"] == 1


def test_an_honest_uncertainty_covers_what_it_should(reference, disc, write, judge, tmp_path) -> None:
    rng = np.random.default_rng(6)
    sigma = np.where(disc, rng.uniform(0.01, 0.03, reference.shape), 0).astype(np.float32)
    restored = write((reference + rng.normal(0, 1, sigma.shape) * sigma).astype(np.float32), "restored.tif", "float32")
    truth = write(reference, "reference.tif", "float32")
    figures = tmp_path / "figures.json"
    judge(restored, truth, sigma=write(sigma, "sigma.tif", "float32"), figures=figures)
    found = json.loads(figures.read_text())["uncertainty"]
    assert found["values"] == 4 * disc.sum()
    for level, share in found["coverage"].items():
        assert share == pytest.approx(float(level) / 100, abs=0.02)
    assert found["uce"] < 0.002
    assert len(found["discard_curve_rmse"]) == 20
    assert found["parts"]


@pytest.mark.parametrize(
    ("content", "unit", "order"),
    [("", 10_000, 1), (SIGMA_CONTENT, 10_000, 1), (OLD_CONTENT, 1, 1), (OLD_CONTENT, 1, -1), (OLDEST_CONTENT, 1, -1)],
)
def test_the_uncertainty_of_a_series_counts_in_its_own_units(
    reference, disc, write, judge, tmp_path, content: str, unit: float, order: int
) -> None:
    """In the numbers of the restored raster; earlier ones in reflectance, in the order of the first raster's bands."""
    rng = np.random.default_rng(6)
    levels = np.array([0.005, 0.01, 0.02, 0.04], np.float32)[:, None, None]
    sigma = np.where(disc, levels, 0).astype(np.float32) + np.zeros_like(reference)
    restored = write(reference + rng.normal(0, 1, sigma.shape) * sigma, "restored.tif")
    announced = write(sigma[::order] * unit, "sigma.tif", "float32")
    with rasterio.open(announced, "r+") as file:
        file.descriptions = [name + SUFFIX for name in ("blue", "green", "red", "nir")[::order]]
        file.update_tags(CONTENT=content)
    figures = tmp_path / "figures.json"
    judge(restored, write(reference, "reference.tif"), sigma=announced, figures=figures)
    found = json.loads(figures.read_text())["uncertainty"]
    assert found["coverage"]["50"] == pytest.approx(0.5, abs=0.02)
    assert found["coverage"]["90"] == pytest.approx(0.9, abs=0.02)


def test_the_error_raster_is_the_difference(pair, judge, tmp_path) -> None:
    out = tmp_path / "error.tif"
    judge(pair[0], pair[1], output=out)
    with rasterio.open(out) as file:
        np.testing.assert_allclose(file.read(), pair[2] - pair[3], atol=1e-6)
        assert file.descriptions[0] == "blue error (reflectance)"


def test_another_grid_is_warped_with_a_warning(pair, reference, write, judge) -> None:
    coarse = reference.reshape(4, 48, 2, 60, 2).mean(axis=(2, 4))
    path = write(coarse, "coarse.tif", transform=from_origin(600_000, 5_650_000, 20, 20))
    result = judge(pair[0], path)
    assert any("another grid" in warning for warning in result.warnings)
    assert result.mae > 0


def test_nothing_in_common_is_refused(reference, write, judge) -> None:
    left, right = reference.copy(), reference.copy()
    left[:, :, 60:], right[:, :, :60] = np.nan, np.nan
    with pytest.raises(CloudRemovalError, match="no pixel in common"):
        judge(write(left, "left.tif", nodata=0), write(right, "right.tif", nodata=0))
    far = write(reference, "far.tif", transform=from_origin(700_000, 5_650_000, 10, 10))
    with pytest.raises(CloudRemovalError, match="does not overlap"):
        judge(write(reference, "a.tif"), far)


def test_a_constant_band_has_no_similarity(pair, reference, write, judge, tmp_path) -> None:
    flat = reference.copy()
    flat[1] = 0.08
    figures = tmp_path / "figures.json"
    result = judge(pair[0], write(flat, "flat.tif"), figures=figures)
    found = json.loads(figures.read_text())
    assert any("constant in green" in warning for warning in result.warnings)
    assert found["layers"][0]["bands"]["green"]["ssim"] is None
    assert found["layers"][0]["bands"]["red"]["ssim"] is not None
    every = np.full_like(reference, 0.1)
    assert judge(pair[0], write(every, "grey.tif")).ssim is None


def test_an_empty_band_is_left_out_with_a_sentence(reference, write, judge, tmp_path) -> None:
    hollow = reference.copy()
    hollow[2] = np.nan
    figures = tmp_path / "figures.json"
    result = judge(
        write(hollow, "hollow.tif", "float32"), write(reference, "reference.tif", "float32"), figures=figures
    )
    assert any("No pixel holds data in red" in warning for warning in result.warnings)
    assert result.mae == 0
    assert result.psnr is None or result.psnr > 100
    assert json.loads(figures.read_text())["layers"][0]["bands"]["red"]["mae"] is None


def test_a_mask_that_selects_nothing_says_so(pair, write, judge) -> None:
    mask = write(np.zeros((1, 96, 120), np.uint8), "mask.tif", "uint8", names=())
    result = judge(pair[0], pair[1], cloud_mask=mask)
    assert any("the mask selects none" in warning for warning in result.warnings)
    assert result.mae > 0


def test_layers_that_say_nothing_are_named(pair, write, judge, tmp_path) -> None:
    empty = write(np.zeros((1, 96, 120), np.uint8), "cover.tif", "uint8", names=(), nodata=0)
    none = write(np.zeros((4, 96, 120), np.uint16), "sigma.tif")
    figures = tmp_path / "figures.json"
    result = judge(pair[0], pair[1], land_cover=empty, sigma=none, figures=figures)
    assert any("UNCERTAINTY holds no number above 0" in warning for warning in result.warnings)
    assert any("LAND_COVER holds no class" in warning for warning in result.warnings)
    assert any("No pixel with data counts as restored" in warning for warning in result.warnings)
    found = json.loads(figures.read_text())
    assert found["uncertainty"] is None
    assert "land cover" not in found["layers"][0]["parts"]


def test_one_band_has_no_angle(pair, reference, write, judge, tmp_path) -> None:
    """An angle between numbers is 0, or 180 degrees where one is negative: no measure of anything."""
    paths = [write(part[:1], name, names=("blue",)) for part, name in ((pair[2], "one.tif"), (reference, "other.tif"))]
    figures = tmp_path / "figures.json"
    result = judge(*paths, figures=figures, page=tmp_path / "report.html")
    assert result.sam is None
    assert result.mae is not None
    assert json.loads(figures.read_text())["layers"][0]["sam"] is None


def test_measurements_are_no_land_cover(pair, write, reference, judge) -> None:
    with pytest.raises(CloudRemovalError, match="not classes"):
        judge(pair[0], pair[1], land_cover=write(reference[:1], "land.tif", "float32", names=()))


def test_a_cancel_leaves_nothing(pair, tmp_path) -> None:
    from cloud_removal_plugin.engine.job import Job
    from cloud_removal_plugin.engine.run import run
    from cloud_removal_plugin.errors import Cancelled

    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    before = set(tmp_path.iterdir())
    names = {"output": "error.tif", "figures": "figures.json", "page": "report.html"}
    job = Job("evaluate", str(pair[1]), restored=(str(pair[0]),), **{k: str(tmp_path / v) for k, v in names.items()})
    with pytest.raises(Cancelled):
        run(job, lambda *_: None, cancelled, lambda *_: None)
    assert set(tmp_path.iterdir()) == before
