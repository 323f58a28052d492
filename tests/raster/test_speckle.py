"""The speckle filters keep the mean, calm what is even, keep edges and change, and never invent data."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_removal_plugin.raster.speckle import quegan, refined_lee

LOOKS = 4.4


def speckled(truth: np.ndarray, seed: int = 0) -> np.ndarray:
    """Multi-look speckle: a gamma distribution of mean 1 and variance 1 / looks times the truth."""
    return (truth * np.random.default_rng(seed).gamma(LOOKS, 1 / LOOKS, truth.shape)).astype(np.float32)


def looks(values: np.ndarray) -> float:
    return float(values.mean() ** 2 / values.var())


def test_refined_lee_on_even_ground() -> None:
    out = refined_lee(speckled(np.full((200, 200), 0.1)), LOOKS)
    assert out.mean() == pytest.approx(0.1, rel=0.01)
    assert looks(out) > 5 * LOOKS


def test_refined_lee_keeps_edges() -> None:
    """A bright field beside a dark one: a box mean of 7 x 7 smears the edge over six pixels, this filter far less."""
    truth = np.full((120, 120), 0.05)
    truth[:, 60:] = 0.4
    image = speckled(truth)
    out = refined_lee(image, LOOKS)
    beside = np.s_[10:-10, 55:65]
    box = np.lib.stride_tricks.sliding_window_view(np.pad(image, 3, mode="symmetric"), (7, 7)).mean((2, 3))
    error = np.abs(out - truth)[beside].mean()
    assert error < 0.6 * np.abs(box - truth)[beside].mean()
    assert error < np.abs(image - truth)[beside].mean()


def test_refined_lee_without_speckle_leaves_texture() -> None:
    """Where variation is far more than speckle could be, the pixel keeps its own value."""
    rng = np.random.default_rng(1)
    image = rng.choice([0.01, 1.0], (60, 60), p=[0.9, 0.1]).astype(np.float32)
    np.testing.assert_allclose(refined_lee(image, 1000.0), image, rtol=0.02, atol=2e-3)


def test_quegan_averages_over_time_and_keeps_change() -> None:
    truth = np.full((8, 90, 90), 0.1)
    truth[5:, 30:60, 30:60] = 0.5  # from the sixth date on a bright field
    stack = np.stack([speckled(plane, seed) for seed, plane in enumerate(truth)])
    out = quegan(stack)
    inner = np.s_[:, 8:22, 8:82]
    assert looks(out[inner]) > 4 * LOOKS
    np.testing.assert_allclose(out[:, 5:25, 5:85].mean((1, 2)), 0.1, rtol=0.05)
    assert out[2, 40:50, 40:50].mean() == pytest.approx(0.1, rel=0.1)
    assert out[7, 40:50, 40:50].mean() == pytest.approx(0.5, rel=0.1)


def test_quegan_formula() -> None:
    """One date is its own local mean times its own ratio, which is itself."""
    one = speckled(np.full((1, 40, 40), 0.2))
    np.testing.assert_allclose(quegan(one), one, rtol=1e-5)
    two = np.stack([np.full((20, 20), 0.2), np.full((20, 20), 0.4)]).astype(np.float32)
    np.testing.assert_allclose(quegan(two), two, rtol=1e-6)


@pytest.mark.parametrize("filtered", [lambda x: refined_lee(x[0], LOOKS)[None], quegan])
def test_holes_stay_and_spread_nowhere(filtered) -> None:
    image = speckled(np.full((3, 50, 50), 0.1))
    image[:, 20:30, 20:30] = np.nan
    out = filtered(image)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(image[: len(out)]))
    assert np.nanmean(out) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("filtered", [lambda x: refined_lee(x[0], LOOKS)[None], quegan])
def test_windows_with_context_do_not_show(filtered) -> None:
    image = speckled(np.full((3, 64, 64), 0.1))
    whole = filtered(image)
    part = filtered(image[:, 17:40, 20:50])
    np.testing.assert_allclose(part[:, 3:-3, 3:-3], whole[:, 20:37, 23:47], rtol=1e-5)
