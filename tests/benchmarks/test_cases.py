"""The cases that decibels are measured on: nothing withheld is visible, and the same pixels are scored every time."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmarks import cases, rasters, scores
from benchmarks.cases import Setting
from benchmarks.scenes import Series

FIRST = dt.date(2020, 1, 1)


def ramp_series(dates: int = 8, size: int = 40, step: int = 20) -> Series:
    """Reflectance that grows linearly in time, with a quarter of dates 2 and 5 under a real-looking mask."""
    rng = np.random.default_rng(3)
    base = rng.uniform(0.05, 0.2, (1, 4, size, size))
    optical = (base + 0.001 * step * np.arange(dates)[:, None, None, None]).astype(np.float32)
    clear = np.ones((dates, size, size), bool)
    clear[2, : size // 2, : size // 2] = False
    clear[5, size // 2 :, size // 3 :] = False
    radar = rng.normal(-12, 2, (3, 2, size, size)).astype(np.float32)
    return Series(
        name="ramp", optical=optical, clear=clear, dates=tuple(FIRST + dt.timedelta(step * t) for t in range(dates)),
        bands=("blue", "green", "red", "nir"), sensor="sentinel2", radar=radar,
        radar_dates=tuple(FIRST + dt.timedelta(50 * t) for t in range(3)), crs="EPSG:32633",
        transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 4600000.0),
    )  # fmt: skip


def test_withheld_pixels_are_not_visible_and_their_truth_is_known() -> None:
    for case in cases.cases(ramp_series(), Setting("", 6)):
        assert case.gap.any()
        assert not np.isfinite(case.observation.optical[0][:, case.gap]).any()
        assert (case.observation.cloud[0][case.gap] == 1).all()
        assert np.isfinite(case.truth[:, case.gap]).all()
        assert cases.DONOR_SHARE[0] <= case.gap.mean() <= cases.DONOR_SHARE[1]
        assert case.observation.days[0] == 0
        assert (case.observation.gap() >= case.gap).all()


def test_same_seed_gives_same_pixels_and_another_seed_others() -> None:
    first, again, other = (cases.cases(ramp_series(), Setting("", 4), seed=seed) for seed in (0, 0, 1))
    assert all((a.gap == b.gap).all() for a, b in zip(first, again, strict=True))
    assert any((a.gap != b.gap).any() for a, b in zip(first, other, strict=True))


def test_setting_keeps_near_dates_away_and_hands_radar_over_only_when_asked() -> None:
    plain = cases.cases(ramp_series(), Setting("", 3, apart=30))
    assert all((np.abs(c.observation.days[1:]) > 30).all() for c in plain)
    assert plain[0].observation.radar is None
    with_radar = cases.cases(ramp_series(), Setting("", 3, radar=True))[0]
    assert with_radar.observation.radar.shape == (3, 2, 40, 40)
    assert len(with_radar.observation.radar_days) == 3


def test_clear_series_gets_gaps_on_every_date() -> None:
    series = ramp_series()
    shape = np.zeros((30, 30), bool)
    shape[:12] = True
    for case in cases.cases(series, Setting("", 3, all_gapped=True), [shape]):
        hidden = case.observation.cloud >= 0.5
        assert hidden.any(axis=(1, 2)).all()
        assert not np.isfinite(case.observation.optical[:, 0][hidden]).any() or (~series.clear).any()


def test_baseline_is_exact_where_the_scene_changes_linearly() -> None:
    case = cases.cases(ramp_series(), Setting("", 8))[3]
    both_sides = (case.observation.days[1:] < 0).any() and (case.observation.days[1:] > 0).any()
    assert both_sides
    seen = case.observation.seen()[1:]
    sides = [seen[case.observation.days[1:] < 0].any(axis=0), seen[case.observation.days[1:] > 0].any(axis=0)]
    where = case.gap & sides[0] & sides[1]
    np.testing.assert_allclose(cases.linear(case.observation)[:, where], case.truth[:, where], atol=1e-6)


def test_missed_cloud_is_found_and_spoilt_dates_are_dropped() -> None:
    series = ramp_series()
    series.optical[4][:, 5:20, 5:30] += 0.3
    assert cases.missed_cloud(series, 4) > cases.SPOILT_SHARE
    assert cases.missed_cloud(series, 6) == 0
    assert not cases.mended(series).clear[4].any()


def test_files_of_a_case_hold_the_observation_and_not_the_truth(tmp_path: Path) -> None:
    case = cases.cases(ramp_series(), Setting("", 1, radar=True))[0]
    files = rasters.write(case, tmp_path)
    assert len(files.others) == len(files.masks) == len(case.dates) - 1
    assert files.dates.split(";")[0] == case.dates[0].isoformat()
    written = rasters.read_reflectance(files.target)
    assert (written[:, case.gap] > 0.5).all()
    kept = ~(case.observation.cloud[0] >= 0.5)
    np.testing.assert_allclose(written[:, kept], case.truth[:, kept], atol=0.5e-4 + 1e-6)
    with rasterio.open(files.cloud_mask) as data:
        assert ((data.read(1) > 0) == (case.observation.cloud[0] >= 0.5)).all()
    with rasterio.open(files.radar) as data:
        assert data.descriptions[1] == f"VH {case.radar_dates[0].isoformat()}"
        assert data.count == 6


def test_score_of_a_known_error() -> None:
    case = cases.cases(ramp_series(), Setting("", 1))[0]
    rng = np.random.default_rng(0)
    sigma = np.broadcast_to(np.linspace(0.005, 0.05, 1600).reshape(40, 40), case.truth.shape)
    found = scores.score(case, case.truth + sigma * rng.standard_normal(case.truth.shape), sigma)
    assert found.coverage == pytest.approx(0.9, abs=0.03)
    assert found.uce < 0.003
    assert found.psnr == pytest.approx(-20 * np.log10(found.rmse))
    blind = scores.score(case, np.full(case.truth.shape, np.nan))
    assert blind.unknown == 1
    assert np.isfinite(blind.psnr)


def test_real_scenes_give_every_set(data_root: Path) -> None:
    found = cases.load(data_root, ["FL30", "TZ30", "HLS"])
    assert {name: len(items) for name, items in found.items()} == {"FL30": 13, "TZ30": 15, "HLS": 10}
    assert found["TZ30"][0].observation.radar is not None
    assert all(22 < np.mean([cases.psnr(cases.linear(c.observation), c) for c in v]) < 38 for v in found.values())


def test_masks_are_continued_and_never_enlarged() -> None:
    """Single hidden pixels stay single pixels, however large the scene."""
    mask = np.zeros((20, 30), bool)
    mask[4, 4] = mask[11, 17] = True
    found = cases.turned(mask, (70, 90), np.random.default_rng(5))
    assert found.shape == (70, 90)
    assert found.sum() >= 12
    assert not (found[1:] & found[:-1]).any()
    assert not (found[:, 1:] & found[:, :-1]).any()


def test_cubes_of_another_site_make_sets_of_their_own(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "worldcereal_s1s2_ts"
    if not source.exists():
        pytest.skip("needs the scenes of worldcereal_s1s2_ts")
    assert cases.load_other_sites(data_root) == {}, "its two sites have sets of their own"
    for path in source.glob("*00002806639B424A*.nc"):
        (tmp_path / path.name.replace("00002806639B424A", "0000ABCDEF123456")).symlink_to(path)
    found = cases.load_other_sites(tmp_path)
    assert list(found) == ["123456", "123456-30"]
    every, apart = found["123456"][0], found["123456-30"][0]
    assert every.truth.shape == apart.truth.shape == (10, 64, 64)
    assert every.observation.radar is None
    assert apart.observation.radar is not None
    assert (np.abs(apart.observation.days[1:]) > 30).all()
