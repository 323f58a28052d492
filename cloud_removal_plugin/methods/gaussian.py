"""A Gaussian over all dates, the target and the radar, with missing dates by expectation-maximisation.

Every pixel is one draw of a vector: bands of each chosen date, radar features, bands of the target. Clouds hide
whole blocks of it. Mean and covariance follow by EM (Dempster, Laird, Rubin 1977; the E-step of a multivariate
normal with missing values: Little & Rubin, "Statistical analysis with missing data", ch. 11), with pixels of one
pattern of missing blocks handled together. The conditional mean then gives the target *and* the missing dates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .patterns import bits, groups
from .relearning import Completed, relearn

ROUNDS = 6
"""EM rounds: 2 lose up to 0.7 dB, 12 gain at most 0.2 dB."""
NOISES = (1e-6, 1e-5, 1e-4, 1e-3)
"""Variances (reflectance squared) tried as noise of what is observed."""
START_NOISE = 1e-5
"""The noise with which the others are judged; the best of them is then fitted with."""
CACHE = 600
"""Conditionals kept a model."""


@dataclass(frozen=True)
class Conditional:
    """All variables given those that one pattern sees: ``offset + fill @ observed``.

    Attributes:
        rows: (o,) variables that are observed.
        fill: float32 (V, o); identity at observed rows.
        offset: float32 (V,).
        log_deviation: float32 (C,), log of the target's conditional standard deviation.
    """

    rows: np.ndarray
    fill: np.ndarray
    offset: np.ndarray
    log_deviation: np.ndarray


def rows_of(pattern: int, bounds: np.ndarray) -> np.ndarray:
    """Variables (o,) that a pattern sees; ``bounds`` (B + 1,) holds the first of every block, and the end."""
    seen = [np.arange(bounds[b], bounds[b + 1]) for b in bits(pattern, len(bounds) - 1)]
    return np.concatenate(seen) if seen else np.zeros(0, int)


@dataclass
class BlockGaussian:
    """Mean and covariance of blocks of variables; the last block is the target.

    Attributes:
        mean: float64 (V,). cov: float64 (V, V). noise: variance added to what is observed.
        sizes: number of variables of each block, the target's last.
    """

    mean: np.ndarray
    cov: np.ndarray
    noise: float
    sizes: tuple[int, ...]
    _cache: dict[int, Conditional] = field(default_factory=dict, repr=False)

    @property
    def bounds(self) -> np.ndarray:
        """Start of every block, and the end."""
        return np.concatenate(([0], np.cumsum(self.sizes)))

    def with_noise(self, noise: float) -> BlockGaussian:
        """The same mean and covariance under another noise."""
        return BlockGaussian(self.mean, self.cov, noise, self.sizes)

    def rows(self, pattern: int) -> np.ndarray:
        """Variables that ``pattern`` sees."""
        return rows_of(pattern, self.bounds)

    def conditional(self, pattern: int) -> Conditional:
        """The conditional of one pattern, cached."""
        found = self._cache.get(pattern)
        if found is not None:
            return found
        rows = self.rows(pattern)
        observed = self.cov[np.ix_(rows, rows)] + self.noise * np.eye(len(rows))
        gain = np.linalg.solve(observed, self.cov[rows]).T if len(rows) else np.zeros((len(self.mean), 0))
        target = slice(len(self.mean) - self.sizes[-1], None)
        variance = np.diag(self.cov)[target] - np.einsum("ij,ji->i", gain[target], self.cov[rows][:, target])
        gain[rows] = np.eye(len(rows))
        offset = self.mean - gain @ self.mean[rows]
        log_deviation = np.log(np.maximum(variance, 0) + self.noise) / 2
        found = Conditional(rows, gain.astype(np.float32), offset.astype(np.float32), log_deviation.astype(np.float32))
        if len(self._cache) < CACHE:
            self._cache[pattern] = found
        return found


def fit_gaussian(
    values: np.ndarray,
    codes: np.ndarray,
    sizes: Sequence[int],
    noise: float,
    rounds: int = ROUNDS,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> BlockGaussian:
    """Fits mean and covariance; what each block owes to the others is learned anew in each round (:mod:`relearning`).

    Args:
        values: (V, n) reflectance and scaled radar; anything where a block is hidden.
        codes: uint16 (n,), patterns over all blocks, the target's bit included.
        sizes: variables of each block, the target's last.
        noise: variance added to the observed block.
        rounds: EM rounds.
        start: mean and covariance to start from; None: from the blocks that are seen.

    Returns:
        The model. Few samples are no error: the noise keeps the conditionals tame.
    """
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    parts = groups(codes, 1 << 30)
    stops = np.cumsum([len(where) for _, where in parts])
    groups_of = [
        _group(code, slice(stop - len(where), stop), bounds) for (code, where), stop in zip(parts, stops, strict=True)
    ]
    full = np.take(values, np.concatenate([where for _, where in parts]), axis=1).astype(np.float64)
    mean, cov = start if start is not None else _start(full, groups_of)
    shown = np.array([[block in group.blocks for group in groups_of] for block in range(len(sizes))])
    for _ in range(rounds):
        completed = _complete(full, groups_of, mean, cov, noise)
        mean, cov = completed.moments()
        relearn(mean, cov, bounds, completed, shown, noise)
    return BlockGaussian(mean, cov, noise, tuple(int(s) for s in sizes))


@dataclass(frozen=True)
class _Group:
    """Samples of one pattern: where they stand, the blocks that they see, observed and hidden variables."""

    where: slice
    blocks: frozenset[int]
    observed: np.ndarray
    hidden: np.ndarray


def _group(code: int, where: slice, bounds: np.ndarray) -> _Group:
    observed = rows_of(code, bounds)
    blocks = frozenset(bits(code, len(bounds) - 1))
    return _Group(where, blocks, observed, np.setdiff1d(np.arange(bounds[-1]), observed))


def _complete(
    full: np.ndarray, groups_of: Sequence[_Group], mean: np.ndarray, cov: np.ndarray, noise: float
) -> Completed:
    """Expectation: puts the conditional mean where a pattern hides something; sums and products of every pattern."""
    variables = len(mean)
    total, square = np.empty((len(groups_of), variables)), np.empty((len(groups_of), variables, variables))
    for index, group in enumerate(groups_of):
        o, m = group.observed, group.hidden
        x = full[:, group.where] - mean[:, None]
        gain = np.zeros((len(o), len(m)))
        if len(m) and len(o):
            gain = np.linalg.solve(cov[np.ix_(o, o)] + noise * np.eye(len(o)), cov[np.ix_(o, m)])
        x[m] = gain.T @ x[o]
        total[index] = x.sum(axis=1)
        np.matmul(x, x.T, out=square[index])
        square[index][np.ix_(m, m)] += x.shape[1] * (cov[np.ix_(m, m)] - cov[np.ix_(o, m)].T @ gain)
    count = np.array([float(group.where.stop - group.where.start) for group in groups_of])
    return Completed(count, total, square, mean)


def _start(full: np.ndarray, groups_of: Sequence[_Group]) -> tuple[np.ndarray, np.ndarray]:
    """Means of what is seen; covariance with hidden values at their mean and the seen variances on the diagonal."""
    known = np.zeros(full.shape, bool)
    for group in groups_of:
        known[group.observed, group.where] = True
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, full, 0).sum(axis=1) / count
    full -= mean[:, None]
    full[~known] = 0
    pairs = known.astype(np.float64)
    variance = (full**2).sum(axis=1) / count
    cov = full @ full.T / np.maximum(pairs @ pairs.T, 1)
    size = np.sqrt(np.maximum(variance, 1e-12))
    correlation = np.clip(cov / size[:, None] / size, -0.999, 0.999)
    np.fill_diagonal(correlation, 1.0)
    eigenvalues, vectors = np.linalg.eigh(correlation)
    if eigenvalues[0] < 1e-4:
        correlation = (vectors * np.maximum(eigenvalues, 1e-4)) @ vectors.T
    full += mean[:, None]
    return mean, correlation * size[:, None] * size
