"""Measures of the papers against their definitions written out pixel by pixel, on random images.

Plain loops in Python from formulas; windows, masks, gaps and negative values included.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from cloud_removal_plugin.evaluation import published
from cloud_removal_plugin.evaluation.calibration import uce_auce
from cloud_removal_plugin.evaluation.similarity import CENTRED, INSIDE, OFF_CENTRE, SMALL, SMALL_CLAMPED, Similarity

SHAPE = (3, 13, 15)


@pytest.fixture(params=[0, 1])
def pair(request) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and truth; some values are negative, some above 1."""
    rng = np.random.default_rng(request.param)
    truth = rng.uniform(-0.05, 0.6, SHAPE)
    return truth + rng.normal(0, 0.3, SHAPE), truth


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(9).random(SHAPE[1:]) < 0.4


def every(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(np.ndindex(*shape))


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def ssim_map(a: np.ndarray, b: np.ndarray, edge: int, centre: float, padded: bool) -> list[float]:
    """Local values of one band, the window's sums written out; zeros beyond the edge, or no window there."""
    taps = [math.exp(-((i - centre) ** 2) / (2 * 1.5**2)) for i in range(edge)]
    taps = [tap / sum(taps) for tap in taps]
    half, (rows, cols) = edge // 2, a.shape
    found = []
    for row, col in every(a.shape):
        is_inside = half <= row < rows - half and half <= col < cols - half
        if not (padded or is_inside):
            continue
        sums = dict.fromkeys(("a", "b", "aa", "bb", "ab"), 0.0)
        for i, j in every((edge, edge)):
            y, x = row + i - half, col + j - half
            if 0 <= y < rows and 0 <= x < cols:
                weight, p, q = taps[i] * taps[j], a[y, x], b[y, x]
                for name, value in zip(sums, (p, q, p * p, q * q, p * q)):
                    sums[name] += weight * value
        variance_a, variance_b = sums["aa"] - sums["a"] ** 2, sums["bb"] - sums["b"] ** 2
        common = sums["ab"] - sums["a"] * sums["b"]
        top = (2 * sums["a"] * sums["b"] + 1e-4) * (2 * common + 9e-4)
        found.append(top / ((sums["a"] ** 2 + sums["b"] ** 2 + 1e-4) * (variance_a + variance_b + 9e-4)))
    return found


def ssim(a: np.ndarray, b: np.ndarray, edge: int, centre: float, padded: bool = True) -> float:
    return mean([value for one, other in zip(a, b) for value in ssim_map(one, other, edge, centre, padded)])


def angle(a: np.ndarray, b: np.ndarray) -> float:
    dot, first, second = (math.fsum(p * q for p, q in zip(x, y)) for x, y in ((a, b), (a, a), (b, b)))
    return math.acos(max(-1.0, min(1.0, dot / math.sqrt(first * second))))


def angles(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> list[float]:
    return [angle(a[:, r, c], b[:, r, c]) for r, c in every(SHAPE[1:]) if where is None or where[r, c]]


def apart(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> list[float]:
    return [a[i] - b[i] for i in every(a.shape) if where is None or where[i[-2:]]]


def root(errors: list[float]) -> float:
    return math.sqrt(mean([e * e for e in errors])) if errors else math.nan


def size(errors: list[float]) -> float:
    return mean([abs(e) for e in errors])


def same(found: dict[str, float], expected: dict[str, float]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-7, abs=1e-9, nan_ok=True), name


def test_glfcr(pair, mask) -> None:
    estimate, truth = pair
    within = [e * e for e in apart(estimate, truth, mask)]
    same(
        published.glfcr(estimate, truth, mask),
        {
            "psnr": 20 * math.log10(1 / root(apart(estimate, truth))),
            "ssim": ssim(estimate, truth, 11, 5.5),
            "psnr_masked": 20 * math.log10(1 / math.sqrt(math.fsum(within) / (mask.sum() * 3))),
        },
    )


def test_uncrtaints(pair) -> None:
    estimate, truth = pair
    variance = np.random.default_rng(2).uniform(0.01, 0.2, SHAPE)
    errors = apart(estimate, truth)
    same(
        published.uncrtaints(estimate, truth, variance),
        {
            "RMSE": root(errors), "MAE": size(errors), "PSNR": 20 * math.log10(1 / root(errors)),
            "SAM": math.degrees(mean(angles(estimate, truth))), "SSIM": ssim(estimate, truth, 11, 5),
            "error": mean([-e for e in errors]), "mean ae": size(errors), "mean se": root(errors) ** 2,
            "mean var": mean(list(variance.ravel())),
        },
    )  # fmt: skip


def test_sen12mscrts(pair, mask) -> None:
    estimate, truth = pair
    errors, cloudy, clear = (apart(estimate, truth, where) for where in (None, mask, ~mask))
    same(
        published.sen12mscrts(estimate, truth, mask),
        {
            "RMSE": root(errors), "MAE": size(errors), "RMSE_cloudy": root(cloudy), "MAE_cloudy": size(cloudy),
            "RMSE_cloudfree": root(clear), "MAE_cloudfree": size(clear), "PSNR": 20 * math.log10(1 / root(errors)),
            "SAM": mean(angles(estimate, truth)), "SSIM": ssim(estimate, truth, 11, 5),
        },
    )  # fmt: skip


def test_crsystem(pair) -> None:
    estimate, truth = (part.clip(-0.9, 0.9) for part in pair)
    assert estimate.min() < 0
    errors = apart(estimate, truth)
    expected = {"ssim": ssim(estimate, truth, 5, 2), "psnr": 10 * math.log10(4 / root(errors) ** 2), "l1": size(errors)}
    same(published.crsystem(estimate, truth), expected)


def test_dsen2cr(pair, mask) -> None:
    """On the scale of the network, reflectance x 5; the sample's DN x 2000 have a peak of 10,000."""
    estimate, truth = (5 * part for part in pair)
    cloudy = truth + np.random.default_rng(5).normal(0, 1, SHAPE)
    errors, kept = apart(estimate, truth), apart(estimate, cloudy)
    weight = [float(mask[i[-2:]]) for i in every(SHAPE)]
    carl = mean([(1 - w) * abs(k) + w * abs(e) for w, k, e in zip(weight, kept, errors)]) + size(errors)
    expected = {
        "carl_error": carl,
        "cloud_mean_absolute_error": size(errors),
        "cloud_mean_squared_error": root(errors) ** 2,
        "cloud_root_mean_squared_error": root(errors),
        "cloud_bandwise_root_mean_squared_error": mean([root(apart(a, b)) for a, b in zip(estimate, truth)]),
        "cloud_ssim": ssim(estimate / 5, truth / 5, 11, 5, padded=False),
        "cloud_mean_sam": mean(angles(estimate, truth)),
        "cloud_mean_sam_covered": mean(angles(estimate, truth, mask)),
        "cloud_mean_sam_clear": mean(angles(estimate, cloudy, ~mask)),
        "cloud_psnr": 20 * math.log10(10_000 / (2000 * root(errors))),
        "cloud_mean_absolute_error_covered": size(apart(estimate, truth, mask)),
        "cloud_mean_absolute_error_clear": size(apart(estimate, cloudy, ~mask)),
    }
    same(published.dsen2cr(estimate[None], truth[None], cloudy[None], mask[None].astype(float)), expected)


def test_utilise(pair, mask) -> None:
    """Two frames: one with a gap, one without; a spectrum of zeros has no angle."""
    estimate, truth = (np.stack((part, part[:, ::-1] * 0.9)) for part in pair)
    truth[1, :, 3, 4] = 0
    hidden = np.stack((mask, np.zeros_like(mask)))
    frames = [
        1 - 2 * mean([min(max(1 - value, 0.0), 1.0) / 2 for a, b in zip(*both) for value in ssim_map(a, b, 5, 2, True)])
        for both in zip(estimate, truth)
    ]
    expected = {
        "ssim": mean(frames),
        "ssim_images_occluded_input_pixels": frames[0],
        "ssim_images_observed_input_pixels": frames[1],
    }
    for name, chosen in (("", hidden | True), ("_occluded_input_pixels", hidden), ("_observed_input_pixels", ~hidden)):
        errors = [e for a, b, where in zip(estimate, truth, chosen) for e in apart(a, b, where)]
        known = [where & (a != 0).any(0) & (b != 0).any(0) for a, b, where in zip(estimate, truth, chosen)]
        turned = [v for a, b, where in zip(estimate, truth, known) for v in angles(a, b, where)]
        expected |= {
            f"mae{name}": size(errors), f"mse{name}": root(errors) ** 2, f"rmse{name}": root(errors),
            f"psnr{name}": 20 * math.log10(1 / root(errors)), f"sam{name}": math.degrees(mean(turned)),
        }  # fmt: skip
    same(published.utilise(estimate, truth, hidden), expected)


def test_calibration_bins() -> None:
    """19 bins of one width and one that holds the largest variance alone."""
    rng = np.random.default_rng(4)
    variance, error = rng.uniform(0, 0.3, 400), rng.normal(0, 0.4, 400)
    edges = [variance.min() + i * (variance.max() - variance.min()) / 19 for i in range(20)]
    bins: dict[int, list[int]] = {}
    for place, value in enumerate(variance):
        bins.setdefault(sum(value >= edge for edge in edges[1:]), []).append(place)
    gaps = {
        number: abs(math.sqrt(mean([error[i] ** 2 for i in members])) - math.sqrt(mean([variance[i] for i in members])))
        for number, members in bins.items()
    }
    uce = math.fsum(len(bins[number]) / 400 * gap for number, gap in gaps.items())
    assert uce_auce(variance, error) == pytest.approx((uce, mean(list(gaps.values()))), rel=1e-9)


@pytest.mark.parametrize("how", [CENTRED, INSIDE, OFF_CENTRE, SMALL, SMALL_CLAMPED])
def test_windows_that_meet_a_gap_do_not_count(pair, how: Similarity) -> None:
    """Where the published code has no word for gaps: what a window without them gives stays as it is."""
    estimate, truth = pair[0][0].copy(), pair[1][0]
    plain = how.local(estimate, truth)
    estimate[6, 7] = np.nan
    found = how.local(estimate, truth)
    half = how.size // 2
    for row, col in every(found.shape):
        meets = abs(row - 6) <= half and abs(col - 7) <= half
        assert math.isnan(found[row, col]) if meets else found[row, col] == pytest.approx(plain[row, col], nan_ok=True)
