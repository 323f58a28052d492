"""Dates that most samples hide: their regression on the others is learned in a few rounds, and stays a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_removal_plugin.methods import gaussian
from cloud_removal_plugin.methods.gaussian import fit_gaussian
from cloud_removal_plugin.methods.sampling import Sample
from cloud_removal_plugin.methods.series_networks import train_shared

SIZES = (3, 3, 3)


def a_world(hidden: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Three dates of three bands from four causes; the last date is hidden in most samples, the first in some."""
    rng = np.random.default_rng(seed)
    causes = rng.standard_normal((4, 3_000))
    values = 0.3 + 0.05 * rng.standard_normal((9, 4)) @ causes + 0.002 * rng.standard_normal((9, 3_000))
    codes = np.full(3_000, 0b111, np.uint16)
    codes[rng.random(3_000) < hidden] &= 0b011
    codes[rng.random(3_000) < 0.2] &= 0b110
    return values.astype(np.float32), codes


def error_of(model, values: np.ndarray, codes: np.ndarray) -> float:
    """RMSE of the last date where it is hidden and the others are seen."""
    where = codes == 0b011
    given = model.conditional(0b011)
    found = given.fill[-3:] @ values[given.rows][:, where] + given.offset[-3:, None]
    return float(np.sqrt(np.square(found - values[-3:, where]).mean()))


def test_a_date_that_few_samples_see_is_learned_in_six_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    values, codes = a_world(hidden=0.9)
    converged = error_of(fit_gaussian(values, codes, SIZES, 1e-6, 200), values, codes)
    few_rounds = error_of(fit_gaussian(values, codes, SIZES, 1e-6, 6), values, codes)
    assert few_rounds < 1.1 * converged
    monkeypatch.setattr(gaussian, "relearn", lambda *given: None)
    assert error_of(fit_gaussian(values, codes, SIZES, 1e-6, 6), values, codes) > 1.3 * converged


def test_it_stays_a_covariance_whatever_is_seen() -> None:
    for hidden in (0.0, 0.5, 0.997, 1.0):
        values, codes = a_world(hidden)
        model = fit_gaussian(values, codes, SIZES, 1e-6, 4)
        assert np.isfinite(model.mean).all()
        assert np.allclose(model.cov, model.cov.T, atol=1e-12)
        assert np.linalg.eigvalsh(model.cov)[0] > -1e-9


def test_a_date_whose_samples_all_lie_in_one_simulated_gap_gets_a_silent_network() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.standard_normal((5, 300)).astype(np.float32) for _ in range(2)]
    residuals = [0.01 * table[:2] for table in tables]
    folds = [rng.integers(0, 3, 300), np.zeros(300, int)]
    networks = train_shared(list(tables), residuals, folds, (0, 1, 2), 3, (0,))
    assert not networks[0][1](tables[1]).any()
    assert networks[1][1](tables[1]).any()
    assert networks[0][0](tables[0]).any()
    # filled dates (the first three inputs) enter all dates of a trunk alike
    assert (networks[1][0].w1[:, :3] == networks[1][1].w1[:, :3]).all()
    assert (networks[1][0].w1[:, 3:] != networks[1][1].w1[:, 3:]).any()


def test_a_blind_model_sees_pixels_of_its_simulated_gap_without_their_target() -> None:
    target = np.uint16(0b100)
    codes = np.array([0b111, 0b101, 0b100, 0b111, 0b011, 0b110], np.uint16)
    fold = np.array([0, 0, 0, 1, -1, -1], np.int8)
    sample = Sample(np.arange(6, dtype=np.float32)[None].repeat(3, 0), codes, fold, target)
    values, seen = sample.blind(0)
    assert dict(zip(values[0].tolist(), seen.tolist(), strict=True)) == {
        3.0: 0b111, 5.0: 0b110, 0.0: 0b011, 1.0: 0b001, 4.0: 0b011,
    }  # fmt: skip
    values, seen = sample.blind(-2)
    assert sorted(values[0].tolist()) == [0, 1, 2, 3, 4, 5]
    assert (seen[np.argsort(values[0])] == codes).all()
