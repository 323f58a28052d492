"""How large the error of a restored pixel is: a log-linear model, scaled to what simulated gaps show.

sigma of a band = that band's RMSE in the simulated gaps x exp(w . f), with a few features f of the pixel
(how far members disagree, distance to clear pixels, ages of the dates used ...). One factor makes the central
90 % interval hold 90 % of the simulated gaps, each judged by a model that was fitted without it (cross-conformal
prediction: Vovk 2015, "Cross-conformal predictors"). Beyond what simulated gaps show, sigma is held and not
extrapolated, but for one thing: simulated gaps lie where the target is clear, and there other dates may see more than
under its clouds. Where fewer or none of them see a pixel, the Gaussian itself tells by how much it knows less (its
conditional deviation), and sigma grows as that does.
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
_HELD = 0.95
"""Sigma grows no larger than this quantile of what the model says in the simulated gaps: in small scenes a handful of
pixels set the slope of the upper tail, which then overstated the largest sigmas severalfold."""
_SHOWN = 0.95
"""Quantile of the Gaussian's deviations in simulated gaps that still counts as usual."""
_RIDGE = 1e-2


def log_size(values: np.ndarray) -> np.ndarray:
    """log(|values| + 0.001), the form in which differences in reflectance enter as features."""
    return np.log(np.abs(values) + np.float32(_SMALL))


def overall(errors: np.ndarray) -> float:
    """Root mean square of errors (C, n), or of the bands' root mean squares (C,): what RMSE over all values is."""
    return float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


@dataclass(frozen=True)
class SigmaModel:
    """Standard deviation of a restoration from features.

    Attributes:
        rmse: float64 (C,), of the simulated gaps.
        weights: float64 (F + 1,), the constant last.
        low, high: float64 (F,), range of each feature in the fit; beyond it the feature is held.
        factor: conformal scale.
        most: largest log of sigma over RMSE, before the factor.
        shown: float (C,), log of the Gaussian's deviation that is usual in simulated gaps, beyond which errors grow as
            it does; None where no Gaussian estimates.
        grown: float (C,), by how much that raised the RMSE of the simulated gaps themselves.
    """

    rmse: np.ndarray
    weights: np.ndarray
    low: np.ndarray
    high: np.ndarray
    factor: float
    most: float = 3.5
    shown: np.ndarray | None = None
    grown: np.ndarray | float = 1.0

    def predict(self, features: Sequence[np.ndarray], count: int, deviation: np.ndarray | None = None) -> np.ndarray:
        """Standard deviations.

        Args:
            features, deviation: as in :func:`fit_sigma`.
            count: number of pixels n.

        Returns:
            float32 (C, n), reflectance.
        """
        log = np.full((len(self.rmse), count), self.weights[-1], np.float32)
        for weight, low, high, feature in zip(self.weights, self.low, self.high, features):
            part = np.clip(feature, np.float32(low), np.float32(high))
            part *= np.float32(weight)
            log += part
        np.clip(log, -3.5, np.float32(self.most), out=log)
        out = np.exp(log, out=log)
        out *= (self.rmse * self.factor)[:, None].astype(np.float32)
        out *= _growth(deviation, self.shown)
        return np.maximum(out, np.float32(FLOOR), out=out)

    def growth(self, deviation: np.ndarray) -> np.ndarray:
        """By how much errors are larger than with the usual deviation, (C, n) or (1, 1); as for the fit."""
        return _growth(deviation, self.shown)


def fit_sigma(
    features: Sequence[np.ndarray], errors: np.ndarray, fold: np.ndarray, deviation: np.ndarray | None = None
) -> SigmaModel:
    """Fits the model on simulated gaps.

    Args:
        features: F arrays, each (n,) or (C, n).
        errors: (C, n), restored minus true reflectance.
        fold: (n,), number of the simulated gap of each pixel.
        deviation: (C, n), log of the Gaussian's conditional deviation, where one estimates.

    Returns:
        The model. With fewer than 50 pixels it is a constant.
    """
    bands, count = errors.shape
    shown = np.quantile(deviation, _SHOWN, axis=1) if deviation is not None and count else None
    growth = _growth(deviation, shown)
    grown = np.sqrt(np.mean(np.square(growth, dtype=np.float64), axis=1)) if count else 1.0
    rmse = np.sqrt(np.mean(np.square(errors, dtype=np.float64), axis=1)) + 1e-6 if count else np.full(bands, FLOOR)
    if count < 50:
        return SigmaModel(
            rmse, np.zeros(len(features) + 1), *np.zeros((2, len(features))), 1.0, shown=shown, grown=grown
        )
    if not features:
        weights, logs = np.zeros(1), np.zeros((1, bands * count))
        low = high = np.zeros(0)
    else:
        weights, low, high, logs = _log_linear(features, errors / (rmse[:, None] * growth), fold)
    most = float(np.clip(np.quantile(logs, _HELD), -3.5, 3.5))
    blind = np.exp(np.clip(logs[-1], -3.5, most)).reshape(bands, count)
    factor = float(np.quantile(np.abs(errors) / (blind * rmse[:, None] * growth), 0.9) / NORMAL_90)
    return SigmaModel(rmse, weights, low, high, float(np.clip(factor, 0.05, 20.0)), most, shown, grown)


def _growth(deviation: np.ndarray | None, shown: np.ndarray | None) -> np.ndarray:
    """Log deviations (C, n) over the usual ones (C,) as factors, at least 1; a one (1, 1) where none is larger."""
    if deviation is None or shown is None or not deviation.size:
        return np.ones((1, 1), np.float32)
    over = deviation - shown[:, None].astype(np.float32)
    return np.exp(np.maximum(over, 0, out=over), out=over) if over.max() > 0 else np.ones((1, 1), np.float32)


def _log_linear(
    features: Sequence[np.ndarray], errors: np.ndarray, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ridge of log |errors| on the features.

    Returns:
        Weights (F + 1,), range of the features (F,) twice, and the logs (2, C * n) that the model of all folds and the
        models blind to each pixel's fold give.
    """
    table = np.stack([np.broadcast_to(f, errors.shape) for f in features])
    table = table.reshape(len(table), -1).astype(np.float64)
    low, high = np.quantile(table, (0.005, 0.995), axis=1)
    np.clip(table, low[:, None], high[:, None], out=table)
    centre, scale = table.mean(axis=1), table.std(axis=1) + 1e-9
    table = np.concatenate(((table - centre[:, None]) / scale[:, None], np.ones((1, table.shape[1]))))
    target = np.log(np.maximum(np.abs(errors), 0.02)).ravel() - _MEAN_LOG_NORMAL
    owner = np.tile(fold, len(errors))
    numbers = [k for k in np.unique(fold) if (fold == k).sum() >= 50]
    parts = [np.flatnonzero(owner == k) for k in numbers]
    sums = [_sums(table[:, part], target[part]) for part in parts]
    whole = _sums(table, target)
    slopes = _slopes(whole)
    logs = np.stack([slopes @ table] * 2)
    for part, (gram, right) in zip(parts, sums, strict=True):
        if len(numbers) > 1:
            logs[1, part] = _slopes((whole[0] - gram, whole[1] - right)) @ table[:, part]
    raw = slopes[:-1] / scale
    return np.append(raw, slopes[-1] - raw @ centre), low, high, logs


def _sums(table: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations of some pixels."""
    return table @ table.T, table @ target


def _slopes(sums: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Ridge solution; the constant (last) is free."""
    gram, right = sums
    penalty = np.full(len(gram), _RIDGE * gram[-1, -1])
    penalty[-1] = 0
    return np.linalg.solve(gram + np.diag(penalty), right)
