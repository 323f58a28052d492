"""What the error is where other dates see less of the gap than of the clear pixels that gaps are simulated on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .estimate import least_group
from .frame import Frame, Plan
from .gaussian import BlockGaussian
from .patterns import fold_rare
from .sigma import SigmaModel, overall

LEAST_GROWTH = 1.02
"""Growth of the expected error that is worth a word."""
LESS_SEEN = "Other dates show less of a part of the gap than of clear ground, or nothing; there it is less sure."
MOST_PATTERNS = 128
"""Patterns, the most frequent ones, that stand for the gap: each asks for a solve."""


def growth_in_gap(frames: Sequence[Frame], plan: Plan, gaussian: BlockGaussian, sigma: SigmaModel, step: int) -> float:
    """Root mean square error over the gap, by what sees its pixels, over that of the simulated gaps.

    Args:
        frames: windows of the region. step: of the lattice that is looked at.
        sigma: what simulated gaps showed; errors grow with the Gaussian's deviation.
    """
    codes = np.concatenate([frame.codes(_lattice(frame, step)) for frame in frames])
    folded = fold_rare(codes, plan.worth, least_group(len(gaussian.mean)))
    patterns, counts = np.unique(folded, return_counts=True)
    often = np.argsort(-counts, kind="stable")[:MOST_PATTERNS]
    if not len(often):
        return 1.0
    deviation = np.stack([gaussian.conditional(int(patterns[k])).log_deviation for k in often], axis=1)
    square = np.square(np.broadcast_to(sigma.growth(deviation), deviation.shape), dtype=np.float64)
    usual = sigma.rmse / sigma.grown
    return overall(usual * np.sqrt(np.average(square, axis=1, weights=counts[often]))) / overall(sigma.rmse)


def _lattice(frame: Frame, step: int) -> np.ndarray:
    """Flat indices of the gap's pixels on every ``step``-th row and column."""
    rows, cols = np.nonzero(frame.gap[::step, ::step])
    return rows * step * frame.shape[1] + cols * step
