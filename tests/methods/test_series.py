"""Methods for whole series: what they restore, how they compare with dates by themselves, and strange series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.methods import harmonic, registry, series, visible, whittaker
from cloud_removal_plugin.methods.series_block import BlockFrame, block_dates, make_plan
from cloud_removal_plugin.methods.series_gaussian import SeriesGaussian, estimate
from cloud_removal_plugin.methods.series_protocol import turned_to
from cloud_removal_plugin.observation import Observation


def made_series(dates: int = 8, bands: int = 4, edge: int = 72, seed: int = 0, radar: bool = False) -> tuple:
    """Fields whose spectra follow a few seasons, one disc of cloud a date; the observation and its truth."""
    rng = np.random.default_rng(seed)
    fields = rng.integers(0, 12, (-(-edge // 8), -(-edge // 8))).repeat(8, 0).repeat(8, 1)[:edge, :edge]
    days = np.sort(rng.choice(180, dates, replace=False)).astype(float)
    days -= days[0]
    courses = 0.1 + 0.3 * rng.random((12, bands, 1)) * (1 + 0.5 * np.sin(days / 40 + 6 * rng.random((12, bands, 1))))
    texture = 0.01 * rng.standard_normal((1, bands, edge, edge))
    truth = np.moveaxis(courses[fields], (0, 1, 2, 3), (2, 3, 1, 0)) + texture
    truth = (truth + 0.002 * rng.standard_normal(truth.shape)).astype(np.float32)
    rows, cols = np.mgrid[:edge, :edge]
    cloud = np.zeros((dates, edge, edge), np.float32)
    for date in range(dates):
        row, col = rng.uniform(0.2, 0.8, 2) * edge
        cloud[date] = (rows - row) ** 2 + (cols - col) ** 2 < (edge * rng.uniform(0.15, 0.28)) ** 2
    optical = np.where(cloud[:, None] > 0, np.float32(0.8), truth)
    stack = None
    if radar:
        stack = (-12 + 5 * truth[:, :2] + 0.3 * rng.standard_normal((dates, 2, edge, edge))).astype(np.float32)
    names = ("blue", "green", "red", "nir", "swir16", "swir22")[:bands]
    obs = Observation(optical, cloud, days, names, radar=stack, radar_days=days if radar else np.zeros(0))
    return obs, truth


def restored(obs: Observation, method: str, dates: list[int] | None = None) -> dict[int, np.ndarray]:
    wanted = dates if dates is not None else [t for t in range(obs.shape[0]) if (obs.cloud[t] >= 0.5).any()]
    fitted = series.create(method).fit([obs], wanted, seed=(0, 0, 0))
    return {t: result.reflectance for t, result in fitted.restore(obs, wanted)}


def decibels(found: dict[int, np.ndarray], obs: Observation, truth: np.ndarray) -> float:
    errors = [np.square(found[t] - truth[t])[:, obs.cloud[t] > 0].mean() for t in found]
    return float(-10 * np.log10(np.mean(errors)))


@pytest.mark.parametrize("method", series.names())
def test_every_method_restores_every_hidden_pixel(method: str) -> None:
    obs, truth = made_series(6, 3, 48)
    found = restored(obs, method)
    assert sorted(found) == list(range(6))
    for date, image in found.items():
        assert np.isfinite(image[:, obs.cloud[date] > 0]).all()
        assert np.abs(image - truth[date])[:, obs.cloud[date] > 0].mean() < 0.15


def test_the_ensemble_beats_curves_in_time_and_keeps_up_with_dates_by_themselves() -> None:
    obs, truth = made_series(8, 4, 72)
    scores = {m: decibels(restored(obs, m), obs, truth) for m in ("interpolation", "harmonic", "whittaker", "fast")}
    assert scores["fast"] > max(scores["interpolation"], scores["harmonic"], scores["whittaker"]) + 3
    alone = {}
    for date in range(8):
        turned = turned_to(obs, date)
        alone[date] = registry.create("fast").fit([turned], seed=(0, 0, 0)).restore(turned).reflectance
    assert scores["fast"] > decibels(alone, obs, truth) - 0.5


def test_sigma_covers_nine_tenths() -> None:
    obs, truth = made_series(8, 4, 72)
    fitted = series.create("fast").fit([obs], list(range(8)), seed=(0, 0, 0))
    inside = [
        np.abs(r.reflectance - truth[t])[:, obs.cloud[t] > 0] <= 1.645 * r.sigma[:, obs.cloud[t] > 0]
        for t, r in fitted.restore(obs, list(range(8)))
    ]
    assert 0.8 < np.concatenate([part.ravel() for part in inside]).mean() < 0.97


def test_leaving_a_date_out_by_the_precision_is_conditioning_on_the_others() -> None:
    obs, _ = made_series(5, 3, 16)
    plan = make_plan([obs], [1, 3], [0, 1, 2, 3, 4])
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((15, 15))
    model = SeriesGaussian(plan, rng.random(15), mixing @ mixing.T / 15 + 0.1 * np.eye(15), 1e-4, rng.random((4, 15)))
    clear = replace(obs, cloud=np.zeros_like(obs.cloud))
    pixels = np.arange(20)
    found = estimate(BlockFrame(clear, plan), model, [pixels, pixels])[1]
    others = np.r_[0:9, 12:15]
    x = clear.optical.reshape(15, -1)[:, pixels].astype(float)
    observed = model.cov[np.ix_(others, others)] + 1e-4 * np.eye(12)
    given = np.linalg.solve(observed, x[others] - model.mean[others, None])
    expected = model.mean[9:12, None] + model.cov[9:12][:, others] @ given
    np.testing.assert_allclose(found.gauss, expected, atol=2e-4)
    filled = x.copy()
    filled[9:12] = expected
    np.testing.assert_allclose(found.components, model.axes @ (filled - model.mean[:, None]), atol=2e-3)


def test_long_series_are_cut_into_blocks_of_near_dates() -> None:
    days = np.arange(40) * 5.0
    shares = np.where(np.arange(40) % 3, 0.7, 0.0)
    wanted = [t for t in range(40) if shares[t]]
    blocks = block_dates(days, shares, wanted)
    assert sorted(t for restored_dates, _ in blocks for t in restored_dates) == wanted
    for mine, every in blocks:
        assert set(mine) <= set(every)
        assert len(every) <= 14
        assert not any(shares[t] == 0 for t in every)
        assert max(abs(days[t] - np.mean(days[mine])) for t in every) < 100


def test_a_date_that_shows_nothing_is_estimated_from_its_neighbours() -> None:
    obs, truth = made_series(6, 3, 48)
    obs.cloud[3] = 1
    found = restored(obs, "fast")
    assert np.isfinite(found[3]).all()
    assert np.abs(found[3] - truth[3]).mean() < 0.12


def test_radar_that_covers_half_and_dates_of_one_day() -> None:
    obs, truth = made_series(5, 3, 48, radar=True)
    obs.radar[..., 24:] = np.nan
    days = obs.days.copy()
    days[3] = days[2]
    found = restored(replace(obs, days=days), "auto")
    assert all(np.isfinite(found[t][:, obs.cloud[t] > 0]).all() for t in found)
    assert decibels(found, obs, truth) > 18


@pytest.mark.parametrize("dates", [1, 2])
def test_one_and_two_dates(dates: int) -> None:
    obs, _ = made_series(2, 3, 48)
    obs = replace(obs, optical=obs.optical[:dates], cloud=obs.cloud[:dates], days=obs.days[:dates])
    found = restored(obs, "auto")
    assert all(np.isfinite(found[t][:, obs.cloud[t] > 0]).all() for t in range(dates))


def test_results_do_not_depend_on_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    obs, _ = made_series(5, 3, 48)
    fits = []
    for workers in (None, ThreadPoolExecutor(3)):
        fitted = series.create("auto").fit([obs], [0, 2], seed=(0, 0, 0), pool=workers)
        fits.append({t: r.reflectance for t, r in fitted.restore(obs, [0, 2], pool=workers)})
    for date in (0, 2):
        np.testing.assert_array_equal(fits[0][date], fits[1][date])


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InputError, match="no method 'magic'"):
        series.create("magic")


def test_harmonic_finds_a_yearly_wave_and_whittaker_a_smooth_curve() -> None:
    days = np.arange(0, 365, 12.0)
    course = (0.3 + 0.1 * np.sin(2 * np.pi * days / 365.25))[:, None, None].repeat(5, 2).astype(np.float32)
    seen = np.random.default_rng(1).random((len(days), 5)) > 0.3
    noise = np.where(seen[:, None], course, np.float32(9))
    np.testing.assert_allclose(harmonic.curve(noise, seen, days, 1e-4), course, atol=0.01)
    np.testing.assert_allclose(whittaker.curve(noise, seen, days, 0.01)[2:-2], course[2:-2], atol=0.01)


def test_whittaker_solves_the_whole_system() -> None:
    rng = np.random.default_rng(2)
    days = np.cumsum(rng.integers(1, 20, 9)).astype(float)
    values, seen = rng.random((9, 2, 3)).astype(np.float32), rng.random((9, 3)) > 0.3
    found = whittaker.curve(values, seen, days, 2.0)
    for pixel in range(3):
        weight = np.diag(seen[:, pixel].astype(float))
        system = weight + 2.0 * whittaker.penalty(days) + 2.0 * whittaker.LEAST * np.eye(9)
        expected = np.linalg.solve(system, weight @ values[:, :, pixel])
        np.testing.assert_allclose(found[:, :, pixel], expected, atol=1e-5)


@pytest.mark.parametrize("curve", [harmonic.curve, whittaker.curve])
@pytest.mark.parametrize("dates", [1, 2, 3])
def test_curves_take_short_series_and_pixels_never_seen(curve, dates: int) -> None:
    values = np.full((dates, 2, 2), 0.4, np.float32)
    seen = np.ones((dates, 2), bool)
    seen[:, 1] = False
    found = curve(values, seen, np.arange(dates) * 7.0, 0.1)
    np.testing.assert_allclose(found[:, :, 0], 0.4, atol=1e-3)
    assert np.isnan(found[:, :, 1]).all()


def test_visible_frames_at_the_ends() -> None:
    images = np.arange(3, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 1, 2), np.float32)
    hidden = np.array([[[True, False]], [[False, True]], [[True, True]]])
    assert np.isnan(visible.fill_last(images, hidden)[0, 0, 0, 0])
    assert visible.fill_next(images, hidden)[0, 0, 0, 0] == 1
    assert np.isnan(visible.fill_next(images, hidden)[2, 0, 0, 0])
    assert visible.fill_linear(images, hidden, np.array([0.0, 5, 9]))[2, 0, 0].tolist() == [1, 0]
