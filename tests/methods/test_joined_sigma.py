"""How sure the ensemble and networks are together, and what regions remember of networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from cloud_removal_plugin import models
from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.methods import joined, joined_sigma, registry
from cloud_removal_plugin.methods.ensemble import SceneEnsemble
from cloud_removal_plugin.methods.joined_verdicts import MOST_PASSED, PATIENCE, Verdicts
from cloud_removal_plugin.methods.learned import _facts_of
from cloud_removal_plugin.methods.learned_window import Runner
from cloud_removal_plugin.methods.protocol import Fitted
from tests.methods.networks import SMALL, store
from tests.methods.scenes import scene

SEED = (0, 0, 0)
NAME = "uncrtaints_mono"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """UnCRtainTS without radar and with a variance for every band."""
    folder = tmp_path_factory.mktemp("weights")
    config = {"input_dim": 13, "out_conv": (26,)}
    network = models.create(NAME, **SMALL[NAME], **config)
    store(NAME, folder, network, **config)
    return folder


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "BASE", "fast")


@pytest.fixture(scope="module")
def land():
    obs, truth = scene((144, 160), seed=2, bands=SENTINEL2_L1C, days=np.array([0.0, -20.0, 45.0]))
    optical = obs.optical.copy()
    optical[0] = np.where(np.isfinite(optical[0]), optical[0], np.float32(0.8))
    return replace(obs, optical=optical), truth


def rough(shape: tuple[int, int]) -> np.ndarray:
    """bool (H, W): squares of 12 pixels in which the network is bad."""
    rows, cols = np.indices(shape) // 12
    return (rows + cols) % 2 == 0


def joined_on(land, weights: Path, monkeypatch, *, announces: bool) -> Fitted:
    """auto with a network whose error is 0.003 on half of the squares and 0.03 on the others.

    Its deviation is four times as large as its error (``announces``), or says nothing.
    """
    obs, truth = land
    noise = np.random.default_rng(1).normal(0, 1, truth.shape) * np.where(rough(truth.shape[1:]), 0.03, 0.003)
    told = 4 * np.broadcast_to(np.where(rough(truth.shape[1:]), 0.03, 0.003), truth.shape).astype(np.float32)

    def restore(self, seen, gap, pool, context=0):
        assert self.wants.variance
        return np.where(gap, truth + noise, np.nan).astype(np.float32), told

    monkeypatch.setattr(Runner, "restore", restore)
    if not announces:
        told = np.full_like(told, 0.05)
    made = registry.create("auto", weights, 1024, NAME)
    made.prepare(_facts_of(obs))
    return made.fit([obs], seed=SEED)


def covered(fitted: Fitted, land) -> tuple[float, float, np.ndarray]:
    """Coverage of the 90 % interval where the network is good and where it is bad, and sigma (C, H, W)."""
    obs, truth = land
    found, gap = fitted.restore(obs), obs.gap()
    with np.errstate(invalid="ignore"):  # beside the gap
        inside = np.abs(found.reflectance - truth) < 1.645 * np.where(gap, found.sigma, 0)
    bad = rough(gap.shape)
    return float(inside[:, gap & ~bad].mean()), float(inside[:, gap & bad].mean()), found.sigma


def test_a_networks_own_variance_is_calibrated_and_tells_where_it_is_bad(land, weights: Path, monkeypatch) -> None:
    obs, _ = land
    fitted = joined_on(land, weights, monkeypatch, announces=True)
    assert fitted.weights.mean() > 0.2
    good, bad, sigma = covered(fitted, land)
    assert 0.82 < good < 0.97, "it announced four times too much"
    assert 0.82 < bad < 0.97
    gap = obs.gap()
    places = rough(gap.shape)
    assert sigma[:, gap & places].mean() > 1.25 * sigma[:, gap & ~places].mean()


def test_the_announced_variance_adds_to_what_the_spread_tells(land, weights: Path, monkeypatch) -> None:
    """By the likelihood of the truth, a proper score of a deviation."""
    obs, truth = land
    gap, scores = obs.gap(), []
    for announces in (True, False):
        found = joined_on(land, weights, monkeypatch, announces=announces).restore(obs)
        error, sigma = (found.reflectance - truth)[:, gap], found.sigma[:, gap]
        scores.append(float(np.mean(np.log(sigma) + np.square(error / sigma) / 2)))
    assert scores[0] < scores[1] - 0.01


def test_the_report_knows_the_networks(land, weights: Path, monkeypatch) -> None:
    fitted = joined_on(land, weights, monkeypatch, announces=True)
    evidence = fitted.evidence
    assert evidence.members[-1] == NAME
    np.testing.assert_allclose(evidence.weights.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(evidence.weights[-1], fitted.weights[0])
    own = SceneEnsemble("fast").fit([land[0]], seed=SEED).evidence
    np.testing.assert_array_equal(evidence.rmse[:-1], own.rmse)
    assert (evidence.mixture_rmse.mean() < own.mixture_rmse.mean()).all()
    assert evidence.sigma.shape == evidence.error.shape
    assert np.isfinite(evidence.sigma).all()


def test_spread_is_that_of_the_mixture() -> None:
    """By hand: the variance of the members' means round the mixture's, by their weights."""
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 0.02, (2, 4, 50)).astype(np.float32)
    shares = rng.uniform(0, 0.5, (2, 4))
    every = np.concatenate((np.zeros((1, 4, 50)), steps))
    rest = np.concatenate((1 - shares.sum(axis=0, keepdims=True), shares))[:, :, None]
    mean = (rest * every).sum(axis=0)
    wanted = np.sqrt((rest * (every - mean) ** 2).sum(axis=0))
    np.testing.assert_allclose(joined_sigma.spread_of(list(steps), shares), wanted, atol=1e-6)
    steps[1] = np.nan
    alone = joined_sigma.spread_of(list(steps), shares)
    np.testing.assert_allclose(alone, joined_sigma.spread_of(list(steps[:1]), shares[:1]), atol=1e-7)


def test_far_from_everything_it_stays_as_unsure_as_the_ensemble_is() -> None:
    """Beyond what was tried the factor is held, the ensemble's own deviation is not."""
    rng = np.random.default_rng(4)
    sigma = rng.uniform(0.005, 0.02, (3, 900)).astype(np.float32)
    errors = (sigma * rng.normal(0, 0.5, sigma.shape)).astype(np.float32)
    spread = np.full_like(sigma, 0.004)
    model = joined_sigma.fit_joined(errors, sigma, spread, [], np.arange(900) // 16)
    near, far = (model.predict(np.full((3, 1), value, np.float32), spread[:, :1], []) for value in (0.02, 0.2))
    np.testing.assert_allclose(far / near, 10, rtol=0.02)
    unknown = model.predict(np.full((3, 1), np.nan, np.float32), spread[:, :1], [])
    assert np.isnan(unknown).all()
    assert joined_sigma.fit_joined(errors, np.full_like(sigma, np.nan), spread, [], np.arange(900)) is None


def test_a_useless_network_is_passed_over_more_and_more_but_never_dropped() -> None:
    verdicts = Verdicts()
    asked = []
    for _ in range(40):
        asked.append(verdicts.due("glfcr"))
        if asked[-1]:
            verdicts.record("glfcr", False, 12.0, 1000)
    tries = np.flatnonzero(asked)
    assert list(tries[:PATIENCE]) == list(range(PATIENCE))
    waits = np.diff(tries) - 1
    assert list(waits[PATIENCE - 1 :][:5]) == [1, 2, 4, MOST_PASSED, MOST_PASSED]
    (sentence,) = verdicts.account({"glfcr": "GLF-CR"}, hidden=600_000)
    assert sentence == (
        f"GLF-CR was tried in {len(tries)} regions on {1000 * len(tries)} pixels in {12 * len(tries)} s; it lowers the "
        f"error in 0 of them, and {40 - len(tries)} regions passed it over. Not running it elsewhere saved about 2 h."
    )


def test_weight_somewhere_ends_the_waiting() -> None:
    verdicts = Verdicts()
    for _ in range(PATIENCE):
        assert verdicts.due("glfcr")
        verdicts.record("glfcr", False, 1.0, 1000)
    assert not verdicts.due("glfcr")
    assert verdicts.due("glfcr")
    verdicts.record("glfcr", True, 1.0, 1000)
    assert all(verdicts.due("glfcr") for _ in range(PATIENCE))


def test_regions_of_one_run_share_what_they_learned(land, weights: Path, monkeypatch) -> None:
    """A network that helps nowhere: neither it nor the second fit of the ensemble costs the later regions anything."""
    obs, _ = land
    calls = []

    def restore(self, seen, gap, pool, context=0):
        calls.append(1)
        return np.where(gap, np.float32(0.5), np.nan).repeat(13).reshape(*gap.shape, 13).transpose(2, 0, 1), None

    monkeypatch.setattr(Runner, "restore", restore)
    made = registry.create("auto", weights, 1024)
    made.prepare(_facts_of(obs))
    assert made.account() == []
    spent = []
    for region in range(PATIENCE + 2):
        before = len(calls)
        made.fit([obs], seed=(0, region, 0))
        spent.append(len(calls) > before)
    assert spent == [True] * PATIENCE + [False, True]
    said = made.account()
    assert said[0].startswith("UnCRtainTS, one date was tried in 4 regions on ")
    assert "it lowers the error in 0 of them, and 1 region passed it over." in said[0]
    assert said[1].startswith("1 region tried no network and fitted the ensemble once instead of twice")
    made.prepare(_facts_of(obs))
    assert made.account() == [], "another run starts anew"


def test_a_network_that_died_is_not_tried_in_the_next_region(land, weights: Path, monkeypatch) -> None:
    obs, _ = land
    calls = []

    def restore(self, seen, gap, pool, context=0):
        calls.append(1)
        raise MemoryError("no memory left")

    monkeypatch.setattr(Runner, "restore", restore)
    made = registry.create("auto", weights, 1024)
    made.prepare(_facts_of(obs))
    for region in range(3):
        made.fit([obs], seed=(0, region, 0))
    assert len(calls) == 1
