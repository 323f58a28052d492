"""The made-up scene: seeded, plausible, georeferenced; and the demo's own arithmetic."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
import rasterio

from demo import own, picture, process, scene, scores
from demo.__main__ import _numbers
from demo.phenology import materials, sun
from demo.spectra import BAND_NAMES


def test_the_same_seed_draws_the_same_scene() -> None:
    first, second, other = (scene.simulate((40, 56), seed=seed, days=scene.DAYS[1:3], target=1) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.optical, second.optical)
    np.testing.assert_array_equal(first.radar, second.radar)
    assert not np.array_equal(first.optical, other.optical)


def test_shapes_and_ranges(small_scene: scene.Scene) -> None:
    assert small_scene.optical.shape == (4, 13, 96, 128)
    assert small_scene.radar.shape == (4, 2, 96, 128)
    assert small_scene.optical.min() >= -0.01
    assert small_scene.optical.max() < 1.3
    assert -35 < np.median(small_scene.radar[:, 1]) < np.median(small_scene.radar[:, 0]) < 0


def test_truth_is_the_target_where_nothing_hides_it(small_scene: scene.Scene) -> None:
    clear = small_scene.classes[small_scene.target] == 0
    difference = np.abs(small_scene.optical[small_scene.target] - small_scene.truth)
    assert np.median(difference[:, clear]) < 0.01
    assert difference[:, clear].max() < 0.12


def test_clouds_are_bright_and_shadows_dark(small_scene: scene.Scene) -> None:
    target = small_scene.target
    change = small_scene.optical[target] - small_scene.truth
    blue, nir = BAND_NAMES.index("B2"), BAND_NAMES.index("B8")
    assert change[blue][small_scene.classes[target] == 1].mean() > 0.1
    assert change[nir][small_scene.classes[target] == 2].mean() < -0.02


def test_fields_follow_their_calendar() -> None:
    red, nir = BAND_NAMES.index("B4"), BAND_NAMES.index("B8")
    drawn = scene.simulate((96, 96), seed=1, days=tuple(scene.Day(d.date, 0, 0, 0, 0.2) for d in scene.DAYS), target=0)
    ndvi = (drawn.optical[:, nir] - drawn.optical[:, red]) / (drawn.optical[:, nir] + drawn.optical[:, red])
    assert np.ptp(ndvi.mean(axis=(1, 2))) > 0.03
    assert (np.ptp(ndvi, axis=0) > 0.4).mean() > 0.05, "some fields must turn green or be harvested"
    assert not drawn.classes.any()


def test_materials_sum_to_one() -> None:
    from demo.land import build

    ground = build(np.random.default_rng(0), (64, 80))
    mowing = np.full((2, ground.crop.size), 150.0)
    for month in (4, 6, 9):
        shares = materials(ground, dt.date(2024, month, 10), mowing)
        np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-5)
        assert shares.min() >= 0


def test_sun_is_higher_in_june() -> None:
    assert 25 < sun(dt.date(2024, 6, 20))[0] < sun(dt.date(2024, 3, 20))[0] < 65


def test_files_are_georeferenced_and_named(small_scene: scene.Scene, small_scene_files: scene.SceneFiles) -> None:
    with rasterio.open(small_scene_files.optical[1]) as file:
        assert file.crs.to_epsg() == 32632
        assert file.res == (10.0, 10.0)
        assert file.descriptions == BAND_NAMES
        assert file.dtypes[0] == "uint16"
        assert str(small_scene.dates[1]) in file.name
        np.testing.assert_allclose(file.read() * 1e-4, small_scene.optical[1], atol=1e-4)
    with rasterio.open(small_scene_files.radar) as file:
        assert file.count == 8
        assert file.descriptions[:2] == ("VV 2024-05-04", "VH 2024-05-04")


def test_interpolation_is_exact_on_a_line_and_ignores_the_target() -> None:
    days = [0.0, 4.0, 10.0, 20.0]
    series = np.stack([np.full((2, 3, 3), 0.1 + 0.01 * day, np.float32) for day in days])
    series[1] = 9.0
    hidden = np.zeros((4, 3, 3), bool)
    hidden[2, 0, 0] = True
    hidden[0, 1, 1] = True
    hidden[:, 2, 2] = True
    line = scores.interpolate_in_time(series, hidden, days, 1)
    assert line[0, 0, 1] == pytest.approx(0.14, abs=1e-6)
    assert line[0, 0, 0] == pytest.approx(0.14, abs=1e-6)
    assert line[0, 1, 1] == pytest.approx(0.2, abs=1e-6)
    assert np.isnan(line[:, 2, 2]).all()


def test_scores_and_coverage_of_known_noise() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((2, 100, 100))
    estimate = rng.normal(0, 0.01, truth.shape)
    everywhere = np.ones((100, 100), bool)
    score = scores.Score.of(estimate, truth, everywhere)
    assert score.psnr == pytest.approx(40.0, abs=0.2)
    assert score.mae == pytest.approx(0.01 * np.sqrt(2 / np.pi), rel=0.03)
    assert scores.coverage(estimate, np.full_like(truth, 0.01), truth, everywhere) == pytest.approx(0.9, abs=0.01)
    assert np.isnan(scores.coverage(estimate, np.full_like(truth, np.nan), truth, everywhere))


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("S2L1C_2018-07-05.tif", dt.date(2018, 7, 5)),
        ("S2A_MSIL1C_20180705T100031_N0206.tif", dt.date(2018, 7, 5)),
        ("HLS.S30.T15SXC.2023184T165849.tif", dt.date(2023, 7, 3)),
        ("scene.tif", None),
    ],
)
def test_date_in_name(name: str, date: dt.date | None) -> None:
    assert own.date_in(name) == date


def test_own_folder_takes_the_cloudiest_that_can_be_restored(small_scene: scene.Scene, tmp_path) -> None:
    files = scene.write(small_scene, tmp_path)
    found = own.find(tmp_path)
    assert found.dates[0] == small_scene.dates[small_scene.target]
    assert found.optical[0] == files.optical[small_scene.target]
    assert list(found.dates[1:]) == sorted(found.dates[1:])
    assert found.radar == files.radar
    assert not found.masks


def test_own_folder_without_images_says_so(tmp_path) -> None:
    with pytest.raises(ValueError, match="holds 0 GeoTIFFs"):
        own.find(tmp_path)


def test_results_are_read_from_the_text_output() -> None:
    lines = [
        "Inputs",
        "",
        "INPUT:\ta.tif",
        "0...10...",
        "Results",
        "-------",
        "",
        "METHOD_USED:\tauto",
        "OUTPUT:\tb.tif",
    ]
    assert process.parse_results(lines) == {"METHOD_USED": "auto", "OUTPUT": "b.tif"}
    assert process.parse_results(["an error"]) == {}


def test_picture_is_small_and_opens(small_scene: scene.Scene, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from PIL import Image

    rgb = small_scene.truth[[3, 2, 1]]
    hidden = small_scene.classes[small_scene.target] > 0
    low, high = picture.stretch(rgb, ~hidden)
    panels = [
        picture.Panel("Truth", "clear", picture.colours(rgb, low, high)),
        picture.Panel("Uncertainty", "one", np.where(hidden, 0.01, np.nan), 0.02),
    ]
    picture.draw(tmp_path / "a.png", panels, hidden, "Heading", "Caption")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 400


def test_the_log_is_passed_on_without_the_list_of_inputs(tmp_path, monkeypatch) -> None:
    lines = [
        "Inputs",
        "INPUT:\ta.tif",
        "OTHER_DATES:\t",
        "Finding clouds",
        "Results",
        "OUTPUT:\tb.tif",
        "CLOUD_SHARE:\t0.5",
    ]
    program = tmp_path / "qgis_process"
    program.write_text("#!/bin/sh\n" + "".join(f"printf '%s\\n' '{line}'\n" for line in lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path))
    said: list[str] = []
    assert process.run_algorithm("cloudremoval:any", [], said.append) == {"OUTPUT": "b.tif", "CLOUD_SHARE": "0.5"}
    assert said == ["Finding clouds"]


def test_shares_and_errors_are_told_with_the_digits_that_mean_something(capsys) -> None:
    _numbers({"METHOD_USED": "fast", "CLOUD_SHARE": "0.5816211700439453", "EXPECTED_RMSE": "None"}, 20.2)
    said = capsys.readouterr().out
    assert "58.2%" in said
    assert "None" not in said
    assert "5816" not in said
