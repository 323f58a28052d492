"""How large the error of a restored pixel is: a log-linear model, scaled to what simulated gaps show.

sigma of a band = that band's RMSE in the simulated gaps x exp(w . f), with a few features f of the pixel
(how far members disagree, distance to clear pixels, ages of the dates used ...). It is fitted on the first
simulated gaps; one factor then makes the central 90 % interval hold 90 % of the last one (split conformal
prediction: Lei et al. 2018, "Distribution-free predictive inference for regression").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FLOOR = 2e-4
"""Least standard deviation in reflectance: two steps of the usual 1/10000 quantisation."""
NORMAL_90 = 1.645
"""Half width of the central 90 % interval of a normal distribution with sigma 1."""
_SMALL = 1e-3
_MEAN_LOG_NORMAL = -0.635
"""E[log |z|] of a standard normal z."""


def log_size(values: np.ndarray) -> np.ndarray:
    """log(|values| + 0.001), the form in which differences in reflectance enter as features."""
    return np.log(np.abs(values) + np.float32(_SMALL))


@dataclass(frozen=True)
class SigmaModel:
    """Standard deviation of a restoration from features.

    Attributes:
        rmse: float64 (C,), of the simulated gaps.
        weights: float64 (F + 1,), the constant last.
        low, high: float64 (F,), range of each feature in the fit; beyond it the feature is held.
        factor: conformal scale.
    """

    rmse: np.ndarray
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray
    factor: float

    def predict(self, features: Sequence[np.ndarray], count: int) -> np.ndarray:
        """Standard deviations.

        Args:
            features: as in :func:`fit_sigma`.
            count: number of pixels n.

        Returns:
            float32 (C, n), reflectance.
        """
        log = np.full((len(self.rmse), count), self.weights[-1], np.float32)
        for weight, low, high, feature in zip(self.weights, self.low, self.high, features):
            log += np.float32(weight) * np.clip(feature, np.float32(low), np.float32(high))
        np.clip(log, -3.5, 3.5, out=log)
        out = np.exp(log, out=log)
        out *= (self.rmse * self.factor)[:, None].astype(np.float32)
        return np.maximum(out, np.float32(FLOOR), out=out)


def fit_sigma(features: Sequence[np.ndarray], errors: np.ndarray, fold: np.ndarray) -> SigmaModel:
    """Fits the model on simulated gaps.

    Args:
        features: F arrays, each (n,) or (C, n).
        errors: (C, n), restored minus true reflectance.
        fold: (n,), number of the simulated gap of each pixel; the highest one sets the scale where there are
            several.

    Returns:
        The model. With fewer than 50 pixels it is a constant.
    """
    count = errors.shape[1]
    rmse = np.sqrt(np.mean(np.square(errors, dtype=np.float64), axis=1)) + 1e-6
    last = fold == fold.max() if count else np.zeros(0, bool)
    first = ~last if (~last).sum() >= 50 and last.sum() >= 50 else np.ones(count, bool)
    if first.all():
        last = first
    if count < 50:
        return SigmaModel(rmse, np.zeros(len(features) + 1), *np.zeros((2, len(features))), 1.0)
    columns = features or [np.zeros(count, np.float32)]
    table = np.stack([np.broadcast_to(f, errors.shape)[:, first] for f in columns])
    table = table.reshape(len(table), -1).astype(np.float64)
    low, high = np.quantile(table, (0.005, 0.995), axis=1)
    table = np.clip(table, low[:, None], high[:, None])
    target = np.log(np.maximum(np.abs(errors[:, first]) / rmse[:, None], 0.02)).ravel() - _MEAN_LOG_NORMAL
    centre, scale = table.mean(axis=1), table.std(axis=1) + 1e-9
    table = (table - centre[:, None]) / scale[:, None]
    gram = table @ table.T / table.shape[1] + 1e-2 * np.eye(len(table))
    slope = np.linalg.solve(gram, table @ (target - target.mean()) / table.shape[1]) / scale
    weights = np.append(slope, target.mean() - slope @ centre)
    if not features:
        weights, low, high = np.zeros(1), np.zeros(0), np.zeros(0)
    plain = SigmaModel(rmse, weights, low, high, 1.0)
    sigma = plain.predict([f[..., last] for f in features], int(last.sum()))
    factor = float(np.quantile(np.abs(errors[:, last]) / sigma, 0.9) / NORMAL_90)
    return SigmaModel(rmse, weights, low, high, float(np.clip(factor, 0.05, 20.0)))
