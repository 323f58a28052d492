"""How sure the scene ensemble and published networks are together.

The mixture's standard deviation is the ensemble's own times a factor, which a log-linear model tells from how far the
members lie apart (the spread of the mixture: the epistemic part of the law of total variance) and from the deviation
that a network announces itself (the aleatoric part). The model is fitted and scaled on the windows where clear pixels
were hidden, so neither needs to be calibrated anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .sigma import FLOOR, SigmaModel, fit_sigma, log_size

LEAST = 200
"""Pixels below which nothing is fitted."""
MOST = 12_000
"""Pixels that the model is fitted on; more tell no more."""
LEAST_FACTOR = 0.1
"""The ensemble's deviation is lowered no further than to this share."""
FOLDS = 3
_LEAST_DEVIATION = 1e-4


@dataclass(frozen=True)
class JoinedSigma:
    """The factor on the ensemble's standard deviation.

    Attributes:
        model: of error over the ensemble's deviation.
    """

    model: SigmaModel

    def predict(self, sigma: np.ndarray, spread: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        """Standard deviations float32 (C, n) of the mixture; NaN where ``sigma`` is.

        Args:
            sigma, spread, own: as :func:`features`.
        """
        factor = self.model.predict(features(sigma, spread, own), sigma.shape[1])
        return np.maximum(sigma * np.maximum(factor, np.float32(LEAST_FACTOR)), np.float32(FLOOR))


def features(sigma: np.ndarray, spread: np.ndarray, own: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Features of the model, each (C, n).

    Args:
        sigma: (C, n), the ensemble's standard deviation. spread: (C, n), of the members round the mixture.
        own: for each network that announces one its standard deviation (C, n), NaN = none in that band or pixel.
    """
    there = np.log(np.maximum(sigma, np.float32(FLOOR)))
    announced = [np.where(np.isfinite(d), np.log(np.maximum(d, np.float32(_LEAST_DEVIATION))), there) for d in own]
    return [there, log_size(spread), *announced]


def spread_of(steps: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Standard deviation (C, n) of the members round their mixture.

    Args:
        steps: for each network its distance (C, n) from the ensemble; NaN = it says nothing there.
        weights: (G, C), of the networks; the rest is the ensemble's, whose own distance is zero.
    """
    moments = [np.zeros_like(steps[0]) for _ in range(2)]
    for step, weight in zip(steps, weights, strict=True):
        add(moments, np.nan_to_num(step), weight)
    return rooted(moments)


def add(moments: Sequence[np.ndarray], step: np.ndarray, weight: np.ndarray) -> None:
    """Count a network's distance (C, n) from the ensemble into first and second moment (C, n), by its weight (C,)."""
    part = weight[:, None].astype(np.float32) * step
    moments[0][...] += part
    moments[1][...] += part * step


def rooted(moments: Sequence[np.ndarray]) -> np.ndarray:
    """Standard deviation (C, n) from first and second moment."""
    return np.sqrt(np.maximum(moments[1] - np.square(moments[0]), 0))


def fit_joined(
    errors: np.ndarray, sigma: np.ndarray, spread: np.ndarray, own: Sequence[np.ndarray], stripes: np.ndarray
) -> JoinedSigma | None:
    """Fit the factor where clear pixels were hidden.

    Args:
        errors: (C, n) of the mixture, every pixel's by weights that were fitted without its stripe.
        sigma, spread, own: as :func:`features`.
        stripes: (n,), number of the stripe of each pixel; neighbours err alike, so stripes are the folds.

    Returns:
        None where the ensemble announces too little to build on.
    """
    known = np.flatnonzero((np.isfinite(sigma) & (sigma > 0)).all(axis=0))
    if len(known) < LEAST:
        return None
    known = known[:: max(1, -(-len(known) // MOST))]
    part = sigma[:, known]
    found = features(part, spread[:, known], [deviation[:, known] for deviation in own])
    return JoinedSigma(fit_sigma(found, errors[:, known] / part, stripes[known] % FOLDS))
