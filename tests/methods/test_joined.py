"""Published networks as members of the ensemble: judged first, kept where they help, dropped where they fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.methods import joined, joined_trial, registry
from cloud_removal_plugin.methods.ensemble import SceneEnsemble
from cloud_removal_plugin.methods.joined import FittedJoined, JoinedEnsemble, chosen
from cloud_removal_plugin.methods.learned import _facts_of
from cloud_removal_plugin.methods.learned_window import Runner
from tests.methods.networks import store
from tests.methods.scenes import rmse, scene

SEED = (0, 0, 0)
NETWORK = "dsen2cr_nosar"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    store(NETWORK, folder)
    return folder


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ensemble without its own networks: what is tested here is the same with either."""
    monkeypatch.setattr(joined, "BASE", "fast")


@pytest.fixture(scope="module")
def plain(land):
    """The scene ensemble alone."""
    return SceneEnsemble("fast").fit([land[0]], seed=SEED)


@pytest.fixture(scope="module")
def land():
    """An observation with bright clouds in the target, and its truth."""
    obs, truth = scene((112, 120), seed=2, bands=SENTINEL2_L1C, days=np.array([0.0, -20.0, 45.0]))
    optical = obs.optical.copy()
    optical[0] = np.where(np.isfinite(optical[0]), optical[0], np.float32(0.8))
    return replace(obs, optical=optical), truth


def fit(obs, weights: Path | None, choice: str = ""):
    made = registry.create("auto", weights, 1024, choice)
    made.prepare(_facts_of(obs))
    return made.fit([obs], seed=SEED)


def tried(obs, weights: Path):
    """The fit, and everything that was said of it."""
    made = registry.create("auto", weights, 1024)
    made.prepare(_facts_of(obs))
    made.judge_cost(int(obs.gap().sum()))
    fitted = made.fit([obs], seed=SEED)
    return fitted, [*fitted.notes, *made.account()]


def plays(monkeypatch: pytest.MonkeyPatch, answer) -> list[int]:
    """Every network answers ``answer(obs, call number)`` (C, H, W); returns the pixels asked for in each call."""
    calls: list[int] = []

    def restore(self, obs, gap, pool, context=0):
        calls.append(int(gap.sum()))
        return np.where(gap, answer(obs, len(calls))[list(self.bands)], np.nan).astype(np.float32), None

    monkeypatch.setattr(Runner, "restore", restore)
    return calls


def test_without_weights_it_is_the_scene_ensemble_bit_for_bit(land, plain, tmp_path: Path) -> None:
    obs, _ = land
    mine, theirs = fit(obs, tmp_path).restore(obs), plain.restore(obs)
    gap = obs.gap()
    np.testing.assert_array_equal(mine.reflectance[:, gap], theirs.reflectance[:, gap])
    np.testing.assert_array_equal(mine.sigma[:, gap], theirs.sigma[:, gap])


def test_a_network_that_helps_gets_weight_and_lowers_error_and_sigma(land, plain, weights: Path, monkeypatch) -> None:
    obs, truth = land
    noise = np.random.default_rng(1).normal(0, 0.004, truth.shape)
    plays(monkeypatch, lambda seen, call: truth + noise)
    fitted = fit(obs, weights)
    assert isinstance(fitted, FittedJoined)
    assert fitted.weights.mean() > 0.4
    assert NETWORK in fitted.summary
    gap = obs.gap()
    mine, theirs = fitted.restore(obs), plain.restore(obs)
    assert rmse(mine.reflectance, truth, gap) < 0.8 * rmse(theirs.reflectance, truth, gap)
    assert fitted.expected_rmse < plain.expected_rmse
    inside = np.abs(mine.reflectance - truth)[:, gap] < 1.645 * mine.sigma[:, gap]
    assert 0.75 < inside.mean() < 0.99


@pytest.mark.parametrize("case", ["useless", "nan", "dies"])
def test_a_network_that_does_not_help_does_not_run_over_the_scene(
    case: str, land, plain, weights: Path, monkeypatch
) -> None:
    obs, truth = land

    def answer(seen, call):
        if case == "dies":
            raise RuntimeError("DefaultCPUAllocator: not enough memory\nmore lines")
        return np.full_like(truth, np.nan if case == "nan" else 0.5)

    calls = plays(monkeypatch, answer)
    fitted, said = tried(obs, weights)
    before = len(calls)
    words = {"useless": "lowers the error in 0 of them", "nan": "gave no numbers", "dies": "not enough memory"}
    assert any(words[case] in note for note in said)
    found = fitted.restore(obs)
    assert len(calls) == before
    assert sum(calls) < obs.gap().sum()
    np.testing.assert_array_equal(found.reflectance[:, obs.gap()], plain.restore(obs).reflectance[:, obs.gap()])


def test_a_network_that_dies_on_the_way_is_dropped_and_the_run_goes_on(land, weights: Path, monkeypatch) -> None:
    obs, truth = land
    calls = plays(monkeypatch, lambda seen, call: truth)
    fitted = fit(obs, weights)
    judged = len(calls)

    def answer(seen, call):
        raise MemoryError("no memory left")

    plays(monkeypatch, answer)
    found = fitted.restore(obs)
    assert judged > 0
    assert np.isfinite(found.reflectance[:, obs.gap()]).all()
    assert any("failed in the middle (no memory left)" in note for note in fitted.notes)


def test_a_real_network_with_random_weights_changes_nothing(land, weights: Path) -> None:
    obs, _ = land
    _, said = tried(obs, weights)
    assert any("in 1 region" in note and "lowers the error in 0 of them. Not running it" in note for note in said)


def test_every_date_reaches_the_network_it_was_chosen_for(land, weights: Path, monkeypatch) -> None:
    """The engine hands over the dates in use only; a network's own dates are among them."""
    obs, truth = land
    plays(monkeypatch, lambda seen, call: truth)
    fitted = fit(obs, weights)
    keep = list(fitted.dates_used)
    less = replace(obs, optical=obs.optical[keep], cloud=obs.cloud[keep], days=obs.days[keep])
    gap = obs.gap()
    np.testing.assert_array_equal(fitted.restore(less).reflectance[:, gap], fitted.restore(obs).reflectance[:, gap])


def test_names_that_the_analyst_gives(land, weights: Path, tmp_path: Path) -> None:
    obs, _ = land
    assert chosen("none") == ((), False)
    assert chosen(" glfcr; dsen2cr ") == (("glfcr", "dsen2cr"), True)
    assert "glfcr" not in chosen("-glfcr")[0]
    with pytest.raises(InputError, match="'resnet50', which is no network"):
        JoinedEnsemble(weights, 0, "resnet50")
    with pytest.raises(InputError, match="weights of DSen2-CR"):
        fit(obs, tmp_path, NETWORK)
    assert not isinstance(fit(obs, weights, "none"), FittedJoined)


def test_networks_are_trained_on_the_scene_while_the_cost_is_bearable(land, monkeypatch) -> None:
    monkeypatch.setattr(joined, "BASE", "auto")
    obs, _ = land
    for hidden, words, member in ((4_000_000, "4 million pixels", True), (60_000_000, "as 'fast': 60 million", False)):
        made = registry.create("auto", None, 1024, "none")
        assert words in made.judge_cost(hidden)
        assert ("networks" in made.fit([obs], seed=SEED).summary) == member


def test_a_target_without_numbers_under_its_clouds_is_judged_all_the_same(land, weights: Path, monkeypatch) -> None:
    """Products that come masked: the networks see nothing in the gap, and nothing where they are tried."""
    obs, truth = land
    optical = obs.optical.copy()
    optical[0][:, obs.gap()] = np.nan
    noise = np.random.default_rng(1).normal(0, 0.004, truth.shape)
    seen = []

    def answer(part, call):
        seen.append(bool(np.isnan(part.optical[0][:, part.gap()]).all()))
        return truth + noise

    plays(monkeypatch, answer)
    fitted, said = tried(replace(obs, optical=optical), weights)
    assert not any("Too few pixels" in note for note in said)
    assert isinstance(fitted, FittedJoined)
    assert all(seen)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.floats(0.1, 3.0))
def test_weights_are_shares(seed: int, networks: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 0.02, (4, 300))
    others = size * rng.normal(0, 0.02, (networks, 4, 300))
    others[0, 1] = np.nan
    found = joined_trial.weigh(base, others)
    assert (found >= 0).all()
    assert (found.sum(axis=0) <= 1 + 1e-9).all()
    assert found[0, 1] == 0
    after = joined_trial.mixed(base, others, found)
    assert np.square(after).mean() <= np.square(base).mean() + 1e-12
