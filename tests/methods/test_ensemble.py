"""The scene ensemble: better than interpolation, honest, deterministic, and never at a loss."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from cloud_removal_plugin.errors import Cancelled, InputError
from cloud_removal_plugin.methods import registry
from cloud_removal_plugin.methods.protocol import Fitted, Restorer
from cloud_removal_plugin.observation import Observation
from tests.methods.scenes import rmse, scene

SEED = (7, 0, 0)


@pytest.mark.parametrize("name", registry.names())
def test_every_method_restores_the_gap_with_sigma_and_expected_error(name: str) -> None:
    obs, truth = scene()
    restorer = registry.create(name)
    assert isinstance(restorer, Restorer)
    fitted = restorer.fit([obs], seed=SEED)
    assert isinstance(fitted, Fitted)
    assert fitted.dates_used[0] == 0
    found = fitted.restore(obs)
    gap = obs.gap()
    assert found.reflectance.shape == truth.shape
    assert np.isfinite(found.reflectance[:, gap]).all()
    sigma = found.sigma[:, gap]
    assert (sigma[np.isfinite(sigma)] > 0).all()
    assert np.isfinite(sigma).mean() > 0.9
    error = rmse(found.reflectance, truth, gap)
    assert 0.4 < fitted.expected_rmse / error < 2.5
    covered = (np.abs(found.reflectance - truth)[:, gap] <= 1.645 * sigma).mean()
    assert covered > 0.75


def test_ensembles_beat_interpolation() -> None:
    obs, truth = scene(seed=3)
    gap = obs.gap()
    errors = {
        name: rmse(registry.create(name).fit([obs], seed=SEED).restore(obs).reflectance, truth, gap)
        for name in ("auto", "fast", "gaussian", "interpolation")
    }
    assert errors["auto"] < 0.7 * errors["interpolation"]
    assert errors["fast"] < 0.7 * errors["interpolation"]
    assert errors["gaussian"] < 0.8 * errors["interpolation"]


@pytest.mark.parametrize("name", ["auto", "fast", "interpolation", "inpainting"])
def test_the_number_of_threads_changes_nothing(name: str) -> None:
    obs, _ = scene(seed=1, radar=3)
    restorer = registry.create(name)
    alone = restorer.fit([obs], seed=SEED).restore(obs)
    with ThreadPoolExecutor(3) as pool:
        fitted = restorer.fit([obs], seed=SEED, pool=pool)
        together = fitted.restore(obs, pool=pool)
    gap = obs.gap()
    np.testing.assert_array_equal(alone.reflectance[:, gap], together.reflectance[:, gap])
    np.testing.assert_array_equal(alone.sigma[:, gap], together.sigma[:, gap])


def test_reduced_observations_give_the_same() -> None:
    days = np.array([0.0, -400.0, -10.0, 15.0, -35.0, 40.0])
    obs, _ = scene(days=days)
    cloud = obs.cloud.copy()
    cloud[1] = 1
    obs = replace(obs, cloud=cloud)
    fitted = registry.create("fast").fit([obs], seed=SEED)
    assert 1 not in fitted.dates_used
    used = list(fitted.dates_used)
    reduced = replace(obs, optical=obs.optical[used], cloud=obs.cloud[used], days=obs.days[used])
    gap = obs.gap()
    np.testing.assert_array_equal(fitted.restore(obs).reflectance[:, gap], fitted.restore(reduced).reflectance[:, gap])


def test_several_sample_windows_make_one_fit() -> None:
    obs, truth = scene((96, 96))
    windows = [window(obs, row, col, 48) for row in (0, 48) for col in (0, 48)]
    fitted = registry.create("fast").fit(windows, seed=SEED)
    gap = obs.gap()
    whole = registry.create("fast").fit([obs], seed=SEED)
    error = rmse(fitted.restore(obs).reflectance, truth, gap)
    assert error < 1.3 * rmse(whole.restore(obs).reflectance, truth, gap)


def test_pixels_under_the_gap_are_never_looked_at() -> None:
    obs, _ = scene(seed=5)
    hidden = obs.optical.copy()
    hidden[np.broadcast_to(obs.cloud[:, None] >= 0.5, hidden.shape)] = 0.9
    for name in ("auto", "fast", "interpolation", "inpainting"):
        restorer = registry.create(name)
        first = restorer.fit([obs], seed=SEED).restore(obs).reflectance
        bright = replace(obs, optical=hidden)
        second = restorer.fit([bright], seed=SEED).restore(bright).reflectance
        np.testing.assert_array_equal(first[:, obs.gap()], second[:, obs.gap()])


def test_a_covered_target_is_restored_from_the_other_dates() -> None:
    obs, truth = scene()
    cloud = obs.cloud.copy()
    cloud[0] = 1
    covered = replace(obs, cloud=cloud, optical=np.where(np.arange(5)[:, None, None, None] == 0, np.nan, obs.optical))
    fitted = registry.create("auto").fit([covered], seed=SEED)
    found = fitted.restore(covered)
    seen = covered.seen().any(axis=0)
    assert np.isfinite(found.reflectance).all()
    assert (found.sigma[:, seen] > 0).all()
    assert fitted.expected_rmse > 0
    assert fitted.notes
    assert rmse(found.reflectance, truth, seen) < 2.5 * fitted.expected_rmse


def test_one_date_alone_and_one_date_with_radar() -> None:
    obs, truth = scene(radar=4)
    alone = first_date(obs, radar=False)
    inpainted = registry.create("auto").fit([alone], seed=SEED)
    assert inpainted.notes
    blind = rmse(inpainted.restore(alone).reflectance, truth, obs.gap())
    with_radar = first_date(obs, radar=True)
    fitted = registry.create("fast").fit([with_radar], seed=SEED)
    assert fitted.needs.radar
    assert rmse(fitted.restore(with_radar).reflectance, truth, obs.gap()) < blind


def test_two_dates_of_which_the_other_is_years_away() -> None:
    obs, truth = scene(days=np.array([0.0, -1500.0]))
    fitted = registry.create("auto").fit([obs], seed=SEED)
    found = fitted.restore(obs)
    assert np.isfinite(found.reflectance[:, obs.gap()]).all()
    assert rmse(found.reflectance, truth, obs.gap()) < 0.1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 13), (40, 1)])
@pytest.mark.parametrize("name", registry.names())
def test_tiny_windows(name: str, shape: tuple[int, int]) -> None:
    big, _ = scene((72, 80), bands=("red", "green", "blue"))
    obs = Observation(
        big.optical[..., : shape[0], : shape[1]], big.cloud[:, : shape[0], : shape[1]].copy(), big.days, big.bands
    )
    obs.cloud[0, 0, 0] = 1
    known = obs.seen().any(axis=0)
    found = registry.create(name).fit([obs], seed=SEED).restore(obs)
    assert found.reflectance.shape == (3, *shape)
    if name != "inpainting" or obs.seen()[0].any():
        assert np.isfinite(found.reflectance[:, obs.gap() & known]).all()


@pytest.mark.parametrize("name", registry.names())
def test_nothing_known_at_all_is_no_crash(name: str) -> None:
    obs, _ = scene((20, 20))
    dark = replace(obs, optical=np.full_like(obs.optical, np.nan))
    fitted = registry.create(name).fit([dark], seed=SEED)
    assert fitted.expected_rmse is None
    fitted.restore(dark)


@pytest.mark.parametrize("name", ["auto", "fast", "interpolation", "inpainting"])
def test_no_gap_and_infinite_pixels(name: str) -> None:
    obs, _ = scene((40, 40))
    clear = replace(obs, cloud=np.where(np.arange(5)[:, None, None] == 0, np.float32(0), obs.cloud))
    registry.create(name).fit([clear], seed=SEED).restore(clear)
    wild = obs.optical.copy()
    wild[1, :, 3:6] = np.inf
    wild[0, 1, 8:9] = -np.inf
    found = registry.create(name).fit([replace(obs, optical=wild)], seed=SEED).restore(replace(obs, optical=wild))
    assert np.isfinite(found.reflectance[:, obs.gap()]).all()


def test_a_date_without_some_bands_still_helps() -> None:
    obs, truth = scene()
    optical = obs.optical.copy()
    optical[1, 3] = np.nan
    fitted = registry.create("fast").fit([replace(obs, optical=optical)], seed=SEED)
    assert 1 in fitted.dates_used
    found = fitted.restore(replace(obs, optical=optical))
    assert rmse(found.reflectance, truth, obs.gap()) < 0.02


def test_cancel_and_no_windows() -> None:
    obs, _ = scene((40, 40))
    with pytest.raises(Cancelled):
        registry.create("auto").fit([obs], seed=SEED, cancelled=lambda: True)
    for name in registry.names():
        with pytest.raises(InputError):
            registry.create(name).fit([], seed=SEED)
    with pytest.raises(InputError, match="no restoration method"):
        registry.create("magic")


def window(obs: Observation, row: int, col: int, size: int) -> Observation:
    """A square part of an observation."""
    place = (..., slice(row, row + size), slice(col, col + size))
    return replace(obs, optical=obs.optical[place], cloud=obs.cloud[place], row=row, col=col)


def first_date(obs: Observation, radar: bool) -> Observation:
    """The target date, with or without its radar."""
    alone = replace(obs, optical=obs.optical[:1], cloud=obs.cloud[:1], days=obs.days[:1])
    return alone if radar else replace(alone, radar=None, radar_days=np.zeros(0))
