"""A target that shows (next to) nothing: what its neighbours in time let expect of it.

There is no clear pixel to learn the target from, so the other dates stand in for it. How much two dates differ
as a function of the days between them (a variogram in time with a yearly term) is learned on the pixels that
both see; ordinary kriging (Matheron 1963) then weighs the dates that see a pixel. Leaving out each date in turn
and predicting it from the others shows how wrong that is, and calibrates sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

from ..observation import Observation, Restoration
from .estimate import BATCH
from .folds import lattice_step
from .frame import Frame, Plan, ring
from .interpolation import ages, neighbours, scene_mean
from .membrane import spread
from .patterns import bits, encode, groups
from .protocol import Needs
from .sigma import SigmaModel, fit_sigma, overall

SAMPLES = 6_000
RANGES = (8.0, 20.0, 50.0, 120.0, 300.0)
"""Correlation lengths in days that are tried."""
YEAR = 365.25
TIED = 0.02
"""The rim is trusted where the target shows at least this share of what it hides."""


@dataclass(frozen=True)
class Variogram:
    """Half the mean squared difference of two acquisitions, relative to the variance over time.

    gamma(d) = nugget + sill (1 - exp(-d / reach)) + season (1 - cos(2 pi d / year)) / 2
    """

    nugget: float
    sill: float
    reach: float
    season: float

    def __call__(self, lag: np.ndarray) -> np.ndarray:
        """gamma at lags in days; 0 at the same acquisition is up to the caller."""
        lag = np.abs(np.asarray(lag, np.float64))
        swing = (1 - np.cos(2 * np.pi * lag / YEAR)) / 2
        return self.nugget + self.sill * (1 - np.exp(-lag / self.reach)) + self.season * swing


def fit_variogram(values: np.ndarray, seen: np.ndarray, days: np.ndarray) -> Variogram:
    """Fits the variogram to all pairs of dates.

    Args:
        values: (D, C, n) reflectance. seen: bool (D, n). days: (D,).

    Returns:
        The best of a few correlation lengths, non-negative least squares for the rest.
    """
    lags, halves, weights = [], [], []
    for i in range(len(days)):
        for j in range(i):
            both = seen[i] & seen[j]
            if both.sum() < 10:
                continue
            lags.append(abs(days[i] - days[j]))
            halves.append(np.square(values[i][:, both] - values[j][:, both], dtype=np.float64).mean() / 2)
            weights.append(np.sqrt(both.sum()) / (1 + lags[-1] / 60))
    if not lags:
        return Variogram(0.1, 1.0, 50.0, 0.0)
    lag, half, weight = np.array(lags), np.array(halves), np.array(weights)
    half = half / max(half.mean(), 1e-12)
    best = None
    for reach in RANGES:
        shape = np.stack((np.ones_like(lag), 1 - np.exp(-lag / reach), (1 - np.cos(2 * np.pi * lag / YEAR)) / 2), 1)
        found, error = nnls(shape * weight[:, None], half * weight)
        if best is None or error < best[0] - 1e-9:
            best = (error, Variogram(max(found[0], 0.02), max(found[1], 0.02), reach, found[2]))
    return best[1]


def krige(days: np.ndarray, day: float, model: Variogram) -> tuple[np.ndarray, float]:
    """Ordinary kriging weights (d,), summing to one, and the kriging variance relative to the variogram's unit."""
    count = len(days)
    gamma = model(days[:, None] - days)
    np.fill_diagonal(gamma, 0.0)
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = gamma
    system[count, :count] = system[:count, count] = 1
    right = np.append(model(days - day), 1.0)
    solution = np.linalg.lstsq(system, right, rcond=1e-10)[0]
    return solution[:count], float(max(solution @ right, 1e-6))


@dataclass
class FittedCovered:
    """A region whose target is covered (see :class:`Fitted`)."""

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    notes: tuple[str, ...]
    plan: Plan
    variogram: Variogram
    sigma: SigmaModel | None
    fallback: np.ndarray
    expected_bands: np.ndarray | None = None
    _weights: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict, repr=False)

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap; pixels that no date sees get the scene's mean, with unknown sigma."""
        frame = Frame(obs, self.plan)
        out = np.full((self.plan.bands, frame.size), np.nan, np.float32)
        sigma = np.full_like(out, np.nan)
        rim = ring(frame.gap, frame.clear)
        inside, edge = np.flatnonzero(frame.gap), np.flatnonzero(rim)
        base, deviation = self.estimate(frame, np.concatenate((inside, edge)))
        out[:, inside] = base[:, : len(inside)]
        sigma[:, inside] = deviation[:, : len(inside)]
        if len(edge) and frame.clear.sum() >= TIED * frame.gap.sum():
            planes = np.zeros((self.plan.bands, *frame.shape), np.float32)
            planes[:, rim] = frame.target[:, edge] - base[:, len(inside) :]
            out[:, inside] += spread(planes, rim, pool)[:, frame.gap]
        shape = (self.plan.bands, *frame.shape)
        return Restoration(out.reshape(shape), sigma.reshape(shape))

    def estimate(self, frame: Frame, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kriged reflectance (C, n) and sigma (C, n) at flat pixel indices."""
        dates = len(self.plan.days)
        out = np.repeat(self.fallback[:, None], len(pixels), axis=1).astype(np.float32)
        sigma = np.full_like(out, np.nan)
        for pattern, where in groups(encode(frame.seen[:dates, pixels]), BATCH):
            chosen = bits(pattern, dates)
            if not chosen:
                continue
            weights, variance = self._krige(pattern, chosen)
            found = sum(
                np.float32(w) * np.take(frame.blocks[d], pixels[where], axis=1)
                for w, d in zip(weights, chosen, strict=True)
            )
            out[:, where] = found
            if self.sigma is not None:
                age = ages(*neighbours(frame.seen[:dates, pixels[where]], self.plan.days), self.plan.days)
                sigma[:, where] = self.sigma.predict(_features(np.full(len(where), variance), age), len(where))
        return out, sigma

    def _krige(self, pattern: int, chosen: list[int]) -> tuple[np.ndarray, float]:
        """Cached weights of one pattern."""
        if pattern not in self._weights:
            self._weights[pattern] = krige(self.plan.days[chosen], 0.0, self.variogram)
        return self._weights[pattern]


def _features(variance: np.ndarray, age: np.ndarray) -> list[np.ndarray]:
    """Features of the error model: kriging variance and the nearest date's age."""
    return [np.log(variance).astype(np.float32), np.log1p(np.minimum(age[0], age[1]))]


def fit_covered(samples: Sequence[Observation], plan: Plan, seed: tuple[int, ...]) -> FittedCovered:
    """Learns a region whose target shows next to nothing.

    Args:
        samples: windows of the region. plan: its dates, at least one. seed: of the pixels drawn.
    """
    frames = [Frame(obs, plan) for obs in samples]
    step = lattice_step(samples)
    rng = np.random.default_rng([*seed, 51])
    values, seen, gap = _draw(frames, step, len(plan.days), rng)
    variogram = fit_variogram(values, seen, plan.days)
    errors, features, fold = _leave_one_out(values, seen, plan.days, variogram)
    known = errors.shape[1] >= 50
    sigma = fit_sigma(features, errors, fold) if known else None
    notes = ["The target shows too little to learn from: restored from the other dates by kriging in time."]
    if not known:
        notes.append("With a single other date nothing shows how wrong that is; the error is unknown.")
    fitted = FittedCovered(
        Needs(32, False, 2),
        (0, *plan.dates),
        None,
        "kriging in time 1.00",
        tuple(notes),
        plan,
        variogram,
        sigma,
        scene_mean(samples),
    )
    if known:
        deviation = np.concatenate([fitted.estimate(f, p)[1] for f, p in zip(frames, gap, strict=True)], axis=1)
        deviation = deviation[:, np.isfinite(deviation).all(axis=0)]
        if deviation.shape[1]:
            fitted.expected_bands = np.sqrt(np.mean(deviation.astype(np.float64) ** 2, axis=1))
            fitted.expected_rmse = overall(fitted.expected_bands)
    return fitted


def _draw(
    frames: Sequence[Frame], step: int, dates: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Values (D, C, n) and visibility (D, n) of random pixels, and some gap pixels of every frame."""
    values, seen, gaps = [], [], []
    for frame in frames:
        lattice = np.zeros(frame.shape, bool)
        lattice[::step, ::step] = True
        places = np.flatnonzero(lattice)
        pixels = np.sort(rng.permutation(places)[: max(1, SAMPLES // len(frames))])
        values.append(np.stack([np.take(block, pixels, axis=1) for block in frame.blocks[:dates]]))
        seen.append(frame.seen[:dates, pixels])
        gaps.append(pixels[frame.gap.ravel()[pixels]])
    return np.concatenate(values, axis=2), np.concatenate(seen, axis=1), gaps


def _leave_one_out(
    values: np.ndarray, seen: np.ndarray, days: np.ndarray, variogram: Variogram
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Errors (C, n), features and fold (n,) of every date predicted from the others."""
    errors, variances, age, fold = [], [], [], []
    for date in range(len(days)):
        others = seen.copy()
        others[date] = False
        mine = np.flatnonzero(seen[date] & others.any(axis=0))
        for pattern, where in groups(encode(others[:, mine]), 1 << 30):
            chosen = bits(pattern, len(days))
            weights, variance = krige(days[chosen], float(days[date]), variogram)
            found = np.einsum("d,dcn->cn", weights, values[np.ix_(chosen, range(values.shape[1]), mine[where])])
            errors.append((found - values[date][:, mine[where]]).astype(np.float32))
            variances.append(np.full(len(where), variance))
            age.append(ages(*neighbours(others[:, mine[where]], days - days[date]), days - days[date]))
            fold.append(np.full(len(where), date % 3))
    if not errors:
        return np.zeros((values.shape[1], 0), np.float32), [], np.zeros(0, int)
    features = _features(np.concatenate(variances), np.concatenate(age, axis=1))
    return np.concatenate(errors, axis=1), features, np.concatenate(fold)
