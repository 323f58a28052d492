"""Dates that most samples hide: their regression on the others is learned in a few rounds, and stays a Gaussian."""

from __future__ import annotations

import numpy as np

from cloud_removal_plugin.methods.gaussian import fit_gaussian
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


def test_a_date_that_few_samples_see_is_learned_in_six_rounds() -> None:
    values, codes = a_world(hidden=0.9)
    converged = error_of(fit_gaussian(values, codes, SIZES, 1e-6, 400), values, codes)
    plain = error_of(fit_gaussian(values, codes, SIZES, 1e-6, 6), values, codes)
    relearned = error_of(fit_gaussian(values, codes, SIZES, 1e-6, 6, relearned=(2,)), values, codes)
    assert relearned < 1.1 * converged
    assert plain > 1.3 * converged


def test_it_stays_a_covariance_whatever_is_seen() -> None:
    for hidden in (0.0, 0.5, 0.997, 1.0):
        values, codes = a_world(hidden)
        model = fit_gaussian(values, codes, SIZES, 1e-6, 4, relearned=(0, 2))
        assert np.isfinite(model.mean).all()
        assert np.allclose(model.cov, model.cov.T, atol=1e-12)
        assert np.linalg.eigvalsh(model.cov)[0] > -1e-9


def test_where_every_sample_sees_the_date_nothing_changes() -> None:
    values, codes = a_world(hidden=0.0)
    plain, relearned = (fit_gaussian(values, codes, SIZES, 1e-6, 3, relearned=blocks) for blocks in ((), (2,)))
    assert np.array_equal(plain.cov, relearned.cov)


def test_a_date_whose_samples_all_lie_in_one_simulated_gap_gets_a_silent_network() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.standard_normal((5, 300)).astype(np.float32) for _ in range(2)]
    residuals = [0.01 * table[:2] for table in tables]
    folds = [rng.integers(0, 3, 300), np.zeros(300, int)]
    networks = train_shared(tables, residuals, folds, (0, 1, 2), (0,))
    assert not networks[0][1](tables[1]).any()
    assert networks[1][1](tables[1]).any() and networks[0][0](tables[0]).any()
