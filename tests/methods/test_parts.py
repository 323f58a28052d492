"""The ensemble's parts on their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_removal_plugin.methods import covered, networks, patterns
from cloud_removal_plugin.methods.dates import choose
from cloud_removal_plugin.methods.folds import simulate
from cloud_removal_plugin.methods.frame import ring
from cloud_removal_plugin.methods.gaussian import fit_gaussian
from cloud_removal_plugin.methods.interpolation import interpolate
from cloud_removal_plugin.methods.local_correction import LocalRidge, terms
from cloud_removal_plugin.methods.membrane import harmonic
from cloud_removal_plugin.methods.radar import features, plan
from cloud_removal_plugin.methods.sigma import NORMAL_90, fit_sigma
from cloud_removal_plugin.methods.stack import stack_weights, told
from tests.methods.scenes import clouds, scene

SIZES = st.integers(1, 40)


@settings(max_examples=25, deadline=None)
@given(SIZES, SIZES, st.integers(0, 1000), st.floats(0.05, 1.0))
def test_membrane_keeps_what_is_known_and_stays_within_its_range(h: int, w: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((2, h, w)).astype(np.float32)
    known = rng.random((h, w)) < share
    out = harmonic(values, known)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[:, known], values[:, known])
    if known.any():
        low, high = values[:, known].min(axis=1), values[:, known].max(axis=1)
        assert (out >= low[:, None, None] - 1e-5).all()
        assert (out <= high[:, None, None] + 1e-5).all()
    else:
        assert not out.any()


def test_membrane_of_a_plane_is_the_plane() -> None:
    rows, cols = np.mgrid[:64, :64].astype(np.float32)
    plane = (0.01 * rows - 0.02 * cols)[None]
    known = np.ones((64, 64), bool)
    known[20:44, 16:40] = False
    assert np.abs(harmonic(plane, known) - plane).max() < 0.03


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 60), st.integers(2, 60), st.floats(0.0, 0.9))
def test_simulated_gaps_are_clear_and_fair(seed: int, h: int, w: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    gap = clouds((h, w), share, rng)
    (fold,) = simulate([gap], [~gap], np.random.default_rng(seed))
    assert fold.shape == (h, w)
    assert not (fold[gap] >= 0).any()
    if (~gap).sum() > 400:
        for number in range(3):
            assert (fold == number).sum() < 0.35 * (~gap).sum()
    again = simulate([gap], [~gap], np.random.default_rng(seed))[0]
    np.testing.assert_array_equal(fold, again)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 40))
def test_rare_patterns_only_forget(seed: int, blocks: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    seen = rng.random((blocks, 300)) < 0.6
    codes = patterns.encode(seen)
    folded = patterns.fold_rare(codes, rng.random(blocks), least)
    assert not (folded & ~codes).any()
    groups = patterns.groups(folded, 50)
    np.testing.assert_array_equal(np.sort(np.concatenate([where for _, where in groups])), np.arange(300))
    for code, where in groups:
        assert (folded[where] == code).all()


def test_gaussian_finds_missing_blocks_of_a_linear_world() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((2, 3000))
    values = (rng.standard_normal((9, 2)) @ hidden) * 0.1 + 0.3 + rng.normal(0, 0.002, (9, 3000))
    seen = rng.random((3, 3000)) < 0.7
    seen[2] = True
    codes = patterns.encode(seen)
    shown = np.where(np.repeat(seen, 3, axis=0), values, 0)
    model = fit_gaussian(shown, codes, (3, 3, 3), 1e-5)
    for pattern in (1, 2, 3):
        given_it = model.conditional(pattern)
        fill = given_it.fill @ values[given_it.rows].astype(np.float32) + given_it.offset[:, None]
        assert np.abs(fill - values).mean() < 0.02
        assert np.isfinite(given_it.log_deviation).all()
    nothing = model.conditional(0)
    np.testing.assert_allclose(nothing.offset, values.mean(axis=1), atol=0.03)


def test_networks_learn_a_curve() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 9000)).astype(np.float32)
    y = np.stack((0.05 * np.sin(2 * x[0]), 0.03 * x[1] * x[2])).astype(np.float32)
    (net,) = networks.train(x, y, [np.arange(8000)], (1,))
    left = y[:, 8000:] - net(x[:, 8000:])
    assert left.std() < 0.5 * y.std()
    (again,) = networks.train(x, y, [np.arange(8000)], (1,))
    np.testing.assert_array_equal(net.w1, again.w1)


def test_a_weight_that_rounds_to_nothing_has_no_sign() -> None:
    assert told(["a", "b", "c"], np.array([1.0, -0.004, -0.02])) == ["a 1.00", "b 0.00", "c -0.02"]


def test_stack_weights_sum_to_one_and_follow_the_better_member() -> None:
    rng = np.random.default_rng(0)
    errors = np.stack([rng.normal(0, s, (3, 5000)) for s in (0.01, 0.05, 0.2)])
    weights = stack_weights(errors, ("networks", "gaussian", "interpolation"))
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert (weights[0] > weights[1]).all()
    assert (np.abs(weights[2]) < 0.05).all()
    few = stack_weights(errors[:, :, :5], ("networks", "gaussian", "interpolation"))
    np.testing.assert_allclose(few[:, 0], (0.7, 0.3, 0.0))


def test_sigma_follows_the_error_and_covers_it() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(-1, 1, 9000).astype(np.float32)
    errors = (rng.standard_normal((2, 9000)) * np.exp(hard) * np.array([[0.01], [0.03]])).astype(np.float32)
    model = fit_sigma([hard], errors, np.arange(9000) % 3)
    sigma = model.predict([hard], 9000)
    assert 0.87 < (np.abs(errors) <= NORMAL_90 * sigma).mean() < 0.93
    easy = hard < -0.8
    assert 0.8 < (np.abs(errors[:, easy]) <= NORMAL_90 * sigma[:, easy]).mean() < 0.97


def test_interpolation_is_linear_in_time() -> None:
    days = np.array([-20.0, -5.0, 15.0, 30.0])
    rows = np.stack([np.full((2, 4), 0.1 + 0.001 * day, np.float32) for day in days])
    seen = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0], [1, 1, 1, 0]], bool)
    found, change, age = interpolate(rows, seen, days, np.arange(4))
    np.testing.assert_allclose(found[:, :2], 0.1, atol=1e-6)
    np.testing.assert_allclose(found[:, 2], 0.115, atol=1e-6)
    np.testing.assert_allclose(found[:, 3], 0.095, atol=1e-6)
    assert np.isnan(change[:, 2:]).all()
    np.testing.assert_allclose(age[:, 0], (5 / 30, 15 / 30))


def test_local_ridge_finds_what_differs_from_place_to_place() -> None:
    rng = np.random.default_rng(0)
    shape = (128, 160)
    rows, cols = (a.ravel() for a in np.mgrid[: shape[0], : shape[1]])
    components = rng.standard_normal((3, rows.size)).astype(np.float32)
    slope = np.where(cols < 80, 0.05, -0.05)
    residual = (slope * components[0])[None].astype(np.float32)
    ridge = LocalRidge(shape, rows[::2], cols[::2], components[:, ::2], residual[:, ::2], 0.5)
    found = ridge.predict(rows, cols, components)
    far = np.abs(cols - 80) > 40
    assert np.abs(found - residual)[:, far].mean() < 0.01


def test_local_ridge_bends_only_where_products_take_part() -> None:
    rng = np.random.default_rng(1)
    rows, cols = (a.ravel() for a in np.mgrid[:128, :128])
    components = rng.standard_normal((5, rows.size)).astype(np.float32)
    residual = (0.02 * components[0] * components[1] + 0.01 * (components[2] ** 2 - 1))[None].astype(np.float32)
    error = {}
    for leading in (0, 2, 3, 9):  # nine: more than there are
        ridge = LocalRidge((128, 128), rows[::2], cols[::2], components[:, ::2], residual[:, ::2], 0.5, leading)
        found = ridge.predict(rows[1::2], cols[1::2], components[:, 1::2])
        error[leading] = float(np.abs(found - residual[:, 1::2]).mean())
    assert error[3] < 0.5 * error[0]  # the ridge holds it back
    assert error[3] < error[2] < error[0]
    assert error[9] < 0.6 * error[0]


@pytest.mark.parametrize("leading", [0, 1, 4])
def test_terms_are_components_their_products_and_one(leading: int) -> None:
    components = np.random.default_rng(2).normal(0, 1, (4, 500)).astype(np.float32)
    components[0, 0] = 30.0
    found = terms(components, leading)
    bound = np.clip(components[:leading], -3, 3).astype(np.float64)
    squares = (bound**2 - 1) / np.sqrt(8)
    pairs = [bound[i] * bound[j] / 2 for i in range(leading) for j in range(i + 1, leading)]
    np.testing.assert_allclose(found, np.stack([*components, *squares, *pairs, np.ones(500)]), rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), SIZES, SIZES)
def test_ring_is_clear_and_near(seed: int, h: int, w: int) -> None:
    rng = np.random.default_rng(seed)
    gap = rng.random((h, w)) < 0.05
    clear = ~gap & (rng.random((h, w)) < 0.9)
    found = ring(gap, clear)
    slow = np.zeros_like(gap)
    for row, col in np.argwhere(gap):
        slow[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3] = True
    np.testing.assert_array_equal(found, slow & clear)


def test_kriging_weights_sum_to_one_and_favour_the_nearest() -> None:
    model = covered.Variogram(0.05, 1.0, 30.0, 0.2)
    weights, variance = covered.krige(np.array([-5.0, 40.0, 200.0]), 0.0, model)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > weights[1] > weights[2]
    assert variance > 0
    near, at_once = covered.krige(np.array([0.0]), 0.0, model)
    assert near == pytest.approx([1.0])
    assert at_once > 0


def test_dates_that_see_nothing_of_the_gap_are_left_out() -> None:
    obs, _ = scene(days=np.array([0.0, -1.0, -20.0, 30.0]))
    obs.cloud[1] = np.maximum(obs.cloud[1], obs.cloud[0])
    assert choose([obs]) == (2, 3)


def test_radar_features_by_what_is_there() -> None:
    obs, _ = scene(radar=5)
    rich = plan([obs], [-35.0, 40.0])
    found = features(obs.radar, rich)
    assert found.shape == (rich.count, *obs.shape[2:])
    assert np.isfinite(found).all()
    single = obs.radar[:1].copy()
    single[:, 1] = np.nan
    from dataclasses import replace

    poor = replace(obs, radar=single, radar_days=obs.radar_days[:1])
    small = plan([poor], [-35.0, 40.0])
    assert small.polarisations == (0,)
    assert features(single, small).shape[0] == small.count == 4
    assert plan([replace(obs, radar=None)], []) is None
    assert plan([replace(obs, radar=np.full_like(obs.radar, np.nan))], []) is None


def test_sigma_is_held_beyond_what_simulated_gaps_show() -> None:
    rng = np.random.default_rng(3)
    hard = rng.uniform(0, 2, 3000).astype(np.float32)
    errors = (np.exp(hard) * 0.01 * rng.standard_normal((2, 3000))).astype(np.float32)
    model = fit_sigma([hard], errors, np.arange(3000) % 3)
    inside, upper, beyond = (model.predict([np.full(5, value, np.float32)], 5) for value in (1.0, 1.95, 40.0))
    assert (upper > 1.5 * inside).all()
    np.testing.assert_array_equal(upper, beyond)
