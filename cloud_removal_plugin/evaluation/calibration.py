"""Whether an announced error is the error that is made.

UCE and AUCE as UnCRtainTS (Ebel et al. 2023, after Guo et al. 2017 and Laves et al. 2020) bins them; the discard curve
is the sparsification curve of the same code; coverage is the share of values inside central intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVELS: dict[float, float] = {0.5: 0.674490, 0.8: 1.281552, 0.9: 1.644854, 0.95: 1.959964}
"""Level of a central interval to its half width in standard deviations of a normal error."""

BINS = 20


def binned(
    variance: np.ndarray, error: np.ndarray, bins: int = BINS, absolute: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples binned by their variance.

    The edges are ``bins`` equally spaced values from the least to the largest variance, so that ``bins - 1`` bins have
    equal width and one more holds the largest variance alone.

    Args:
        variance: (N,). error: (N,), signed. absolute: mean absolute error and mean deviation instead of root means.

    Returns:
        Counts, measured and announced error of each bin that is not empty.
    """
    variance, error = np.asarray(variance, np.float64), np.asarray(error, np.float64)
    edges = np.linspace(variance.min(), variance.max(), bins)
    index = np.digitize(variance, edges[1:])
    counts = np.bincount(index, minlength=bins)
    used = counts > 0
    if absolute:
        sums = [np.bincount(index, part, minlength=bins) for part in (np.abs(error), np.sqrt(variance))]
        measured, announced = (part[used] / counts[used] for part in sums)
    else:
        sums = [np.bincount(index, part, minlength=bins) for part in (error**2, variance)]
        measured, announced = (np.sqrt(part[used] / counts[used]) for part in sums)
    return counts[used], measured, announced


def uce_auce(variance: np.ndarray, error: np.ndarray, bins: int = BINS, absolute: bool = False) -> tuple[float, float]:
    """(UCE, AUCE): difference of measured and announced error, weighted by the bins' shares, and without weights."""
    if not len(variance):
        return float("nan"), float("nan")
    counts, measured, announced = binned(variance, error, bins, absolute)
    gap = np.abs(measured - announced)
    return float((gap * counts).sum() / counts.sum()), float(gap.mean())


def uce_equal_counts(sigma: np.ndarray, error: np.ndarray, bins: int = 10) -> float:
    """UCE over bins that hold equally many values each, which a few large variances cannot empty."""
    if len(sigma) < bins:
        return float("nan")
    order = np.argsort(sigma, kind="stable")
    parts = np.array_split(order, bins)
    gaps = [abs(np.sqrt(np.mean(np.square(error[part]))) - np.mean(sigma[part])) for part in parts]
    return float(np.average(gaps, weights=[len(part) for part in parts]))


def discard_curve(variance: np.ndarray, square: np.ndarray, percent: int = 5) -> np.ndarray:
    """Mean square error of the most certain 5 %, 10 %, ... 100 % of the samples.

    Args:
        variance: (N,), what they are sorted by. square: (N,), their square error. percent: step.

    Returns:
        float64 (100 / percent,); NaN where a part is empty.
    """
    ranked = np.asarray(square, np.float64)[np.argsort(variance, kind="stable")]
    total = np.concatenate([[0.0], np.cumsum(ranked)])
    steps = np.arange(percent, 101, percent)
    counts = (len(ranked) * steps / 100).astype(int)
    return np.where(counts > 0, total[counts] / np.maximum(counts, 1), np.nan)


def coverage(sigma: np.ndarray, error: np.ndarray, widths: Sequence[float] = tuple(LEVELS.values())) -> np.ndarray:
    """Shares of values with ``|error| <= width * sigma``, one for each width."""
    size = np.abs(error)
    return np.array([float((size <= width * sigma).mean()) if size.size else np.nan for width in widths])


def total_variance(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Moments of an even mixture of ensemble members (law of total variance).

    Args:
        mean, variance: (K, ...), one of each member.

    Returns:
        Mean, aleatoric variance (mean of the members' variances), epistemic variance (variance of their means) and
        their sum, each (...).
    """
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    middle = mean.mean(axis=0)
    aleatoric = variance.mean(axis=0)
    epistemic = np.square(mean - middle).mean(axis=0)
    return middle, aleatoric, epistemic, aleatoric + epistemic
