"""Weights of the members: they sum to one per band and are pulled to a prior.

Simulated gaps make fitted members look worse than they are at the true gap (less training data, single networks),
so the weights are not left to the gaps alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

PRIOR = {"interpolation": 0.0, "inpainting": 0.0, "gaussian": 0.3, "networks": 0.7}
STRENGTH = 1.0
"""Ridge to the prior, in units of the smallest member error variance."""


def prior(members: Sequence[str]) -> np.ndarray:
    """Prior weights (M,) of the members at hand, summing to one."""
    weights = np.array([PRIOR[m] for m in members])
    if weights.sum() > 0:
        return weights / weights.sum()
    return np.eye(len(members))[0]


def stack_weights(errors: np.ndarray, members: Sequence[str]) -> np.ndarray:
    """Fits the weights.

    Args:
        errors: (M, C, n), member minus truth in the simulated gaps.
        members: M names.

    Returns:
        float64 (M, C); the prior where n is below 30.
    """
    many, bands, count = errors.shape
    start = prior(members)
    if count < 30 or many == 1:
        return np.repeat(start[:, None], bands, axis=1)
    out = np.empty((many, bands))
    for band in range(bands):
        e = errors[:, band].astype(np.float64)
        gram = e @ e.T / count
        strength = STRENGTH * max(np.diag(gram).min(), 1e-12)
        system = np.zeros((many + 1, many + 1))
        system[:many, :many] = gram + strength * np.eye(many)
        system[many, :many] = system[:many, many] = 1
        out[:, band] = np.linalg.solve(system, np.append(strength * start, 1.0))[:many]
    return out


def told(names: Iterable[str], weights: Iterable[float]) -> list[str]:
    """'gaussian 0.30' for each member; what rounds to nothing has no sign."""
    return [f"{name} {round(float(weight), 2) + 0.0:.2f}" for name, weight in zip(names, weights, strict=True)]
