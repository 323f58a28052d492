"""What a date that many samples hide owes to the others, learned from the samples that see it.

In expectation-maximisation a sample that hides a date votes for what the model believed of that date before. Where two
thirds of the samples hide it, a third of the error goes in a round, and what six rounds leave of a wrong start costs up
to 5 dB. So after each round every date's regression on the others is learned anew with its hidden samples weighed
down. That is a conditional maximisation (Meng and Rubin 1993, "Maximum likelihood estimation via the ECM algorithm",
Biometrika 80) of p(date | others); p(others) stays as all samples say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PRIOR = 1.0
"""Hidden samples count together as this many samples a variable: what tames a date that few samples see."""


@dataclass(frozen=True)
class Completed:
    """Samples with what they hide filled in, summed by pattern.

    Attributes:
        count: (G,) samples. total: (G, V), sums of their deviations from ``origin`` (V,).
        square: (G, V, V), sums of products of these, with the covariance of what was filled in added.
    """

    count: np.ndarray
    total: np.ndarray
    square: np.ndarray
    origin: np.ndarray

    def moments(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., V) and covariance (..., V, V) with weights (..., G) of the patterns, all alike without."""
        weights = np.ones(len(self.count)) if weights is None else weights
        number = weights @ self.count
        shift = weights @ self.total / number[..., None]
        flat = weights @ self.square.reshape(len(self.count), -1)
        cov = flat.reshape(*shift.shape, -1) / number[..., None, None] - shift[..., :, None] * shift[..., None, :]
        return self.origin + shift, (cov + np.swapaxes(cov, -1, -2)) / 2


def relearn(
    mean: np.ndarray, cov: np.ndarray, bounds: np.ndarray, completed: Completed, shown: np.ndarray, noise: float
) -> None:
    """Replaces the dependence of every block on the others, in place; all that is changed stays a covariance.

    Args:
        mean: float64 (V,). cov: float64 (V, V).
        bounds: (B + 1,), first variable of every block, and the end.
        completed: the samples of this round.
        shown: bool (B, G), which block which pattern sees. Blocks that all or less than two samples see stay.
        noise: variance of what is observed.
    """
    seen = shown @ completed.count
    left = completed.count.sum() - seen
    blocks = np.flatnonzero((left > 0) & (seen > 1))
    if not len(blocks):
        return
    weight = np.minimum(1.0, PRIOR * len(mean) / left[blocks])
    means, covs = completed.moments(np.where(shown[blocks], 1.0, weight[:, None]))
    for block, centre, spread in zip(blocks, means, covs, strict=True):
        own = slice(bounds[block], bounds[block + 1])
        rest = np.r_[0 : own.start, own.stop : len(mean)]
        among = spread[np.ix_(rest, rest)] + noise * np.eye(len(rest))
        cross = spread[rest, own]
        slope = np.linalg.solve(among, cross)
        mean[own] = centre[own] + slope.T @ (mean[rest] - centre[rest])
        joint = cov[np.ix_(rest, rest)] @ slope
        cov[rest, own], cov[own, rest] = joint, joint.T
        # with slope = inv(among) cross, what the regression leaves is spread - cross' slope
        residual = spread[own, own] - cross.T @ slope
        cov[own, own] = (residual + residual.T) / 2 + slope.T @ joint
