"""What a date that most samples hide owes to the others, learned from the samples that see it.

In expectation-maximisation a sample that hides a date votes for what the model believed of that date before. Where two
thirds of the samples hide it, a third of the error goes in a round, and what six rounds leave of a wrong start costs up
to 5 dB. So after each round the date's regression on the other blocks is learned anew with the hidden samples weighed
down. That is a conditional maximisation (Meng and Rubin 1993, "Maximum likelihood estimation via the ECM algorithm",
Biometrika 80) of p(date | others); p(others) stays as all samples say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PRIOR = 0.25
"""Hidden samples count together as this many samples a variable: what tames a date that few samples see."""


@dataclass
class Completed:
    """Completed samples of a round.

    Attributes:
        full: float64 (V, n). noise: variance of what is observed.
        mean: (V,), cov: (V, V), before any date is learned anew.
    """

    full: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    noise: float
    total: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.mean = self.mean.copy()
        self.total = self.cov * self.full.shape[1]


def relearn(
    mean: np.ndarray, cov: np.ndarray, own: slice, completed: Completed, shows: np.ndarray, unknown: np.ndarray
) -> None:
    """Replaces one block's dependence on the others, in place.

    Args:
        mean: float64 (V,). cov: float64 (V, V); stays a covariance.
        own: variables of the block.
        completed: all samples of the round.
        shows: indices of the samples that see the block. Where all or none do, nothing is to be done.
        unknown: (V, V), what is left unknown of these samples, summed.
    """
    variables, count = completed.full.shape
    left = count - len(shows)
    if not left or len(shows) < 2:
        return
    weight = min(1.0, PRIOR * variables / left)
    seen = completed.full[:, shows] - completed.mean[:, None]
    inner = seen @ seen.T + unknown
    number = len(shows) + weight * left
    # deviations from the mean of all samples sum to zero: what the seen ones lack, the hidden ones hold
    shift = (1 - weight) * seen.sum(axis=1) / number
    moment = (inner + weight * (completed.total - inner)) / number - shift[:, None] * shift
    rest = np.r_[0 : own.start, own.stop : variables]
    among = moment[np.ix_(rest, rest)] + completed.noise * np.eye(len(rest))
    cross = moment[rest, own]
    slope = np.linalg.solve(among, cross)
    residual = moment[own, own] - slope.T @ cross - cross.T @ slope + slope.T @ among @ slope
    mean[own] += shift[own] - slope.T @ (shift[rest] + completed.mean[rest] - mean[rest])
    joint = cov[np.ix_(rest, rest)] @ slope
    cov[rest, own], cov[own, rest] = joint, joint.T
    cov[own, own] = residual + slope.T @ joint
