"""Measures where the answer is known without a computer."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_removal_plugin.evaluation import calibration, formulas, previews, published, similarity


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.05, 0.5, (4, 30, 26)).astype(np.float32)
    return (truth + rng.normal(0, 0.02, truth.shape)).astype(np.float32), truth


def test_a_constant_error_is_its_own_size() -> None:
    error = formulas.errors(np.full((2, 3, 3), 0.3), np.full((2, 3, 3), 0.1))
    assert formulas.mae(error) == pytest.approx(0.2)
    assert formulas.rmse(error) == pytest.approx(0.2)
    assert formulas.psnr(formulas.mse(error)) == pytest.approx(-20 * np.log10(0.2))
    assert np.isnan(formulas.mae(error[:0]))


def test_angle_between_bands_is_a_right_angle() -> None:
    spectra = np.array([[1.0, 0, 0], [0, 2.0, 0]]).T
    assert formulas.angles(spectra[:, :1], spectra[:, 1:])[0] == pytest.approx(np.pi / 2)
    assert np.isnan(formulas.angles(np.zeros((3, 1)), spectra[:, :1])[0])
    same = formulas.angles(spectra, 3 * spectra)
    np.testing.assert_allclose(same, 0, atol=1e-7)


@pytest.mark.parametrize("how", [similarity.CENTRED, similarity.INSIDE, similarity.OFF_CENTRE, similarity.SMALL])
def test_similarity_by_its_definition_at_one_pixel(pair, how) -> None:
    """The sum over the window, written out."""
    estimate, truth = (part[0].astype(np.float64) for part in pair)
    row, col, half = 14, 12, how.halo
    kernel = np.exp(-((np.arange(how.size) - how.centre) ** 2) / (2 * how.sigma**2))
    weights = np.outer(kernel, kernel) / kernel.sum() ** 2
    window = (slice(row - half, row + half + 1), slice(col - half, col + half + 1))
    a, b = estimate[window], truth[window]
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    spread_a, spread_b = (weights * a * a).sum() - mean_a**2, (weights * b * b).sum() - mean_b**2
    common = (weights * a * b).sum() - mean_a * mean_b
    expected = (2 * mean_a * mean_b + 1e-4) * (2 * common + 9e-4)
    expected /= (mean_a**2 + mean_b**2 + 1e-4) * (spread_a + spread_b + 9e-4)
    assert how.local(estimate, truth)[row, col] == pytest.approx(expected, rel=1e-9)


def test_similarity_leaves_windows_without_data_out(pair) -> None:
    estimate, truth = pair[0][0].copy(), pair[1][0]
    estimate[10, 10] = np.nan
    local = similarity.CENTRED.local(estimate, truth)
    assert np.isnan(local[5:16, 5:16]).all()
    assert np.isfinite(local).sum() == local.size - 121
    assert similarity.CENTRED.mean(truth[None], truth[None]) == pytest.approx(1)


def test_glfcr_calls_perfection_100_db(pair) -> None:
    assert published.glfcr(pair[1], pair[1])["psnr"] == 100


def test_crsystem_has_no_psnr_for_an_estimate_above_one(pair) -> None:
    estimate = pair[0][:3].copy()
    assert np.isfinite(published.crsystem(estimate, pair[1][:3])["psnr"])
    estimate[0, 0, 0] = 1.2
    assert np.isnan(published.crsystem(estimate, pair[1][:3])["psnr"])
    estimate[0, 0, 0] = -0.1
    error = formulas.mse(formulas.errors(estimate, pair[1][:3]))
    assert published.crsystem(estimate, pair[1][:3])["psnr"] == pytest.approx(formulas.psnr(error, 2.0))


def test_dsen2cr_measures_of_an_empty_part_are_zero(pair) -> None:
    estimate, truth = (5 * part[None] for part in pair)
    found = published.dsen2cr(estimate, truth, truth, np.zeros((1, 30, 26)))
    assert found["cloud_mean_absolute_error_covered"] == 0
    assert found["cloud_mean_sam_covered"] == 0
    assert found["cloud_mean_absolute_error_clear"] == pytest.approx(found["cloud_mean_absolute_error"])


def test_gradient_of_the_adaptive_loss_by_differences(pair) -> None:
    rng = np.random.default_rng(0)
    estimate, truth = (part[None, :, :3, :4].astype(np.float64) for part in pair)
    cloudy, mask = truth + rng.normal(0, 0.3, truth.shape), rng.integers(0, 2, (1, 3, 4)).astype(float)
    gradient = published.carl_gradient(estimate, truth, cloudy, mask)
    for place in np.ndindex(estimate.shape):
        moved = estimate.copy()
        moved[place] += 1e-7
        slope = (published.carl(moved, truth, cloudy, mask) - published.carl(estimate, truth, cloudy, mask)) / 1e-7
        assert slope == pytest.approx(gradient[place], abs=1e-6)


def test_an_honest_sigma_is_calibrated_and_a_proud_one_is_not() -> None:
    rng = np.random.default_rng(1)
    sigma = rng.uniform(0.005, 0.05, 100_000)
    error = rng.normal(0, sigma)
    honest = calibration.coverage(sigma, error)
    np.testing.assert_allclose(honest, list(calibration.LEVELS), atol=0.006)
    assert calibration.coverage(sigma / 3, error)[2] < 0.5
    assert calibration.uce_auce(sigma**2, error)[0] < 0.002
    assert calibration.uce_auce(sigma**2 / 9, error)[0] > 0.01
    assert calibration.uce_equal_counts(sigma, error) < 0.001
    curve = calibration.discard_curve(sigma**2, error**2)
    assert (np.diff(curve) > 0).mean() > 0.9
    assert curve[-1] == pytest.approx((error**2).mean())


def test_variances_add_up() -> None:
    rng = np.random.default_rng(2)
    mean, variance = rng.normal(size=(6, 3)), rng.uniform(0.1, 1, (6, 3))
    middle, aleatoric, epistemic, both = calibration.total_variance(mean, variance)
    np.testing.assert_allclose(both, (variance + mean**2).mean(axis=0) - middle**2)
    np.testing.assert_allclose(aleatoric + epistemic, both)


def test_previews_of_dull_images() -> None:
    assert not previews.rgb(np.full((3, 4, 4), 0.2)).any()
    image = previews.rgb(np.linspace(0, 1, 48).reshape(3, 4, 4))
    assert image.min() == 0
    assert image.max() == 255
    assert (previews.sar(np.full((2, 2, 2), -40.0)) == (0, 1, 0)).all()
