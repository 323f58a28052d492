"""The published score detectors written out once more: other sizes, holes, the moisture test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, signal

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import score


def ramp(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 at ``start``, 1 at ``end``."""
    return (values - start) / (end - start)


def index(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Normalised difference; a sum of zero counts as 0.001."""
    total = first + second
    return (first - second) / np.where(total == 0, 0.001, total)


def written_out(dn: np.ndarray, variant: score.Variant) -> tuple[np.ndarray, np.ndarray]:
    """Score and shadow of digital numbers (13, H, W), float64 throughout."""
    dn = np.where(np.isnan(dn), np.nanmean(dn), dn)
    reflectance = (np.clip(dn, 0, 10000) if variant.clip else dn) / 10000
    b1, b2, b3, b4, b8, b10, b11 = reflectance[[0, 1, 2, 3, 7, 10, 11]]
    tests = [ramp(b2, 0.1, 0.5), ramp(b1, 0.1, 0.3), ramp(b1 + b10, *variant.haze), ramp(b2 + b3 + b4, 0.2, 0.8)]
    tests += [ramp(index(b8, b11), -0.1, 0.1)] if variant.moisture else []
    least = np.min([np.ones_like(b1), *tests, ramp(index(b3, b11), 0.8, 0.6)], axis=0)
    closed = ndimage.grey_closing(least, size=(5, 5))
    smooth = np.clip(signal.convolve2d(closed, np.full((7, 7), 1 / 49), mode="same"), 1e-5, 1)
    dark = (b8 + b11) / 2
    limits = [part.min() + share * (part.mean() - part.min()) for part, share in ((dark, 3 / 4), (b2, 5 / 6))]
    return smooth, signal.medfilt2d(((dark < limits[0]) & (b2 < limits[1])).astype(float), 5) > 0


@pytest.mark.parametrize(
    "variant", [score.DSEN2CR, score.TOOLBOX, score.MOISTURE, score.Variant((0.15, 0.2), False, True)]
)
@pytest.mark.parametrize("size", [(33, 41), (9, 7)])
def test_detectors_as_written_out(variant: score.Variant, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    dn = rng.gamma(2, 1500, (13, *size))
    dn[:, :2] = 0
    dn[2, 5, 5] = dn[7, :, 3] = np.nan
    planes = score.prepare((dn / 10000).astype(np.float32), SENTINEL2_L1C, variant)
    smooth, shadow = written_out(dn, variant)
    np.testing.assert_allclose(score.cloud_score(planes, variant), smooth, rtol=0, atol=5e-6)
    assert (score.shadow_mask(planes) != shadow).mean() < 0.005
