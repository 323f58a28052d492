"""What published networks would add to the scene ensemble, judged where its own clouds are moved over clear pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..observation import Observation
from .learned import of_dates
from .learned_trial import hidden_most, moved
from .learned_window import Runner
from .protocol import Fitted

ENOUGH = 2_000
"""Hidden pixels after which no further window is tried."""
MOST_WINDOWS = 3
LEAST = 200
"""Pixels below which nothing can be said of a network."""
STRIPE_PX = 16
"""Neighbouring pixels err alike: what is fitted and what checks lie in stripes this wide."""
WORTH = 0.99
"""The mean squared error must fall below this share for the networks to take part."""
LEAST_WEIGHT = 0.02
"""Mean weight below which a network is not worth its time."""
MARGIN_PX = 64
"""Surroundings that the scene ensemble sees of a judged window."""

Failed = (MemoryError, RuntimeError, ValueError, FloatingPointError)
"""What a network may die of without the run."""


@dataclass(frozen=True)
class Area:
    """One window in which clear pixels were hidden again.

    Attributes:
        sample: index of the sample.
        rows, cols: the window in it.
    """

    sample: int
    rows: slice
    cols: slice


@dataclass(frozen=True)
class Gaps:
    """Samples with simulated gaps in some windows.

    Attributes:
        samples: as given, but with the scene's own clouds moved over clear pixels of the areas.
        hidden: for each sample bool (H, W), those pixels.
        areas: the windows.
    """

    samples: tuple[Observation, ...]
    hidden: tuple[np.ndarray, ...]
    areas: tuple[Area, ...]

    @property
    def count(self) -> int:
        """How many pixels are hidden."""
        return sum(int(hidden.sum()) for hidden in self.hidden)


def hide(runner: Runner, samples: Sequence[Observation], seed: tuple[int, ...]) -> Gaps:
    """Moves clouds over clear pixels of some windows of a network, the ones where they hide most."""
    rng = np.random.default_rng([*seed, 61])
    every = [moved(obs, rng) for obs in samples]
    areas: list[Area] = []
    total = 0
    for place in hidden_most(runner, samples, every, MOST_WINDOWS):
        areas.append(Area(place.sample, *place.inner))
        total += place.count
        if total >= ENOUGH:
            break
    hidden, out = [], []
    for number, (obs, here) in enumerate(zip(samples, every, strict=True)):
        chosen = np.zeros_like(here.hidden)
        for area in areas:
            if area.sample == number:
                chosen[area.rows, area.cols] = here.hidden[area.rows, area.cols]
        optical, cloud = obs.optical.copy(), obs.cloud.copy()
        # a target that holds no numbers under its clouds shows the network none there, and none here
        optical[0] = np.where(chosen, here.clouds(obs), optical[0])
        cloud[0] = np.where(chosen, np.float32(1), cloud[0])
        hidden.append(chosen)
        out.append(replace(obs, optical=optical, cloud=cloud))
    return Gaps(tuple(out), tuple(hidden), tuple(areas))


def truth_of(gaps: Gaps, samples: Sequence[Observation]) -> np.ndarray:
    """Float32 (C, n): what the hidden pixels were."""
    return _gathered(gaps, lambda area: samples[area.sample].optical[0])


def stripes_of(gaps: Gaps) -> np.ndarray:
    """int (n,): number of the stripe that each pixel lies in."""
    planes = []
    for area in gaps.areas:
        obs = gaps.samples[area.sample]
        cols = (obs.col + np.arange(obs.shape[3])) // STRIPE_PX
        planes.append(np.broadcast_to(cols, obs.shape[2:])[_inside(gaps, area)])
    return np.concatenate(planes)


def of_ensemble(fitted: Fitted, gaps: Gaps, pool: Executor | None) -> tuple[np.ndarray, np.ndarray]:
    """The scene ensemble, which was fitted with these pixels hidden: reflectance and sigma, float32 (C, n) each."""

    def plane(area: Area) -> np.ndarray:
        obs = gaps.samples[area.sample]
        rows = slice(max(0, area.rows.start - MARGIN_PX), area.rows.stop + MARGIN_PX)
        cols = slice(max(0, area.cols.start - MARGIN_PX), area.cols.stop + MARGIN_PX)
        part = obs.cut(rows, cols)
        bands = obs.shape[1]
        out = np.full((2 * bands, *obs.shape[2:]), np.nan, np.float32)
        found = fitted.restore(of_dates(part, tuple(range(obs.shape[0])), fitted.dates_used), pool=pool)
        out[:bands, rows, cols] = found.reflectance
        if found.sigma is not None:
            out[bands:, rows, cols] = found.sigma
        return out

    both = _gathered(gaps, plane)
    return both[: len(both) // 2], both[len(both) // 2 :]


@dataclass(frozen=True)
class Tried:
    """What a network makes of the hidden pixels.

    Attributes:
        values: float32 (C, n), NaN in bands that it does not restore.
        deviation: float32 (C, n), the standard deviation that it announces; None where it announces none.
        seconds: how long it took.
    """

    values: np.ndarray
    deviation: np.ndarray | None
    seconds: float


def of_network(runner: Runner, gaps: Gaps, pool: Executor | None) -> Tried:
    """Has a network restore the hidden pixels."""
    since = time.perf_counter()

    def plane(area: Area) -> np.ndarray:
        obs = gaps.samples[area.sample]
        wanted = np.zeros_like(gaps.hidden[area.sample])
        wanted[area.rows, area.cols] = gaps.hidden[area.sample][area.rows, area.cols]
        mean, deviation = runner.restore(obs, wanted, pool)
        out = np.full((2, *obs.optical[0].shape), np.nan, np.float32)
        bands = list(runner.restored)
        out[0, bands] = mean
        if deviation is not None:
            out[1, bands] = deviation
        return out.reshape(-1, *out.shape[2:])

    values, deviation = np.split(_gathered(gaps, plane), 2)
    announced = deviation if runner.wants.variance else None
    return Tried(values, announced, time.perf_counter() - since)


def _gathered(gaps: Gaps, plane: Callable[[Area], np.ndarray]) -> np.ndarray:
    return np.concatenate([plane(area)[:, _inside(gaps, area)] for area in gaps.areas], axis=1)


def _inside(gaps: Gaps, area: Area) -> np.ndarray:
    """Bool (H, W): the hidden pixels of one area."""
    hidden = gaps.hidden[area.sample]
    out = np.zeros_like(hidden)
    out[area.rows, area.cols] = hidden[area.rows, area.cols]
    return out


def weigh(base: np.ndarray, networks: np.ndarray) -> np.ndarray:
    """Weights (G, C) of the networks; what is left to one is the ensemble's.

    Ridge regression of the ensemble's error on the differences, pulled to zero by the smallest error variance among
    the members (as the ensemble's own stack), never negative, never more than one together.

    Args:
        base: (C, n) errors of the ensemble. networks: (G, C, n) errors of the networks, NaN = band not restored.
    """
    many, bands, _ = networks.shape
    out = np.zeros((many, bands))
    for band in range(bands):
        there = np.flatnonzero(np.isfinite(networks[:, band]).all(axis=1))
        if not len(there):
            continue
        error = base[band].astype(np.float64)
        change = networks[there, band].astype(np.float64) - error
        variance = min(np.mean(error**2), *(np.mean(networks[there, band].astype(np.float64) ** 2, axis=1)))
        gram = change @ change.T / len(error) + max(variance, 1e-12) * np.eye(len(there))
        found = np.maximum(-np.linalg.solve(gram, change @ error / len(error)), 0.0)
        out[there, band] = found / max(found.sum(), 1.0)
    return out


def mixed(base: np.ndarray, networks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The ensemble (C, n) moved towards the networks (G, C, n) by their weights (G, C); NaN moves nothing."""
    change = np.where(np.isfinite(networks), networks - base, 0.0)
    return base + np.einsum("gc,gcn->cn", weights, change).astype(base.dtype)


def blindly_mixed(base: np.ndarray, networks: np.ndarray, stripes: np.ndarray, folds: int) -> np.ndarray:
    """Errors (C, n) of the mixture, every pixel's by weights that were fitted without its fold of stripes (n,)."""
    out = np.empty_like(base)
    for fold in range(folds):
        held = stripes % folds == fold
        weights = weigh(base[:, ~held], networks[:, :, ~held])
        out[:, held] = mixed(base[:, held], networks[:, :, held], weights)
    return out


def worth_it(base: np.ndarray, networks: np.ndarray, stripes: np.ndarray) -> bool:
    """Whether weights fitted on one half of the stripes (n,) lower the error on the other half, both ways round."""
    odd = int((stripes % 2).sum())
    if min(odd, len(stripes) - odd) < LEAST // 2:
        return False
    after = np.square(blindly_mixed(base, networks, stripes, 2)).sum(dtype=np.float64)
    return after < WORTH * np.square(base).sum(dtype=np.float64)


@dataclass(frozen=True)
class Trial:
    """What the hidden pixels showed, float32 (C, n) each.

    Attributes:
        base, sigma: error of the ensemble, and the standard deviation that it announced.
        errors: of the networks, by name; NaN = band not restored.
        deviations: that networks announced, by name; only of those that do.
        stripes: int (n,), see :func:`stripes_of`.
    """

    base: np.ndarray
    sigma: np.ndarray
    errors: dict[str, np.ndarray]
    deviations: dict[str, np.ndarray]
    stripes: np.ndarray

    def weights(self, names: Sequence[str]) -> np.ndarray:
        """Weights (G, C) of some networks together."""
        return weigh(self.base, self._stack(names))

    def blindly(self, names: Sequence[str], folds: int) -> np.ndarray:
        """Errors (C, n) of the mixture, see :func:`blindly_mixed`."""
        return blindly_mixed(self.base, self._stack(names), self.stripes, folds)

    def pays(self, names: Sequence[str]) -> bool:
        """Whether these networks lower the error, see :func:`worth_it`."""
        return worth_it(self.base, self._stack(names), self.stripes)

    def _stack(self, names: Sequence[str]) -> np.ndarray:
        return np.stack([self.errors[name] for name in names])


def select(trial: Trial, restored: Mapping[str, Sequence[int]]) -> list[str]:
    """The networks that have weight and together lower the error; the least useful leave first.

    Args:
        trial: of all of them. restored: the bands of each.
    """
    kept = list(trial.errors)
    while kept:
        weights = trial.weights(kept)
        useless = [k for k, name in enumerate(kept) if weights[k, list(restored[name])].mean() < LEAST_WEIGHT]
        if not useless and trial.pays(kept):
            break
        kept.pop(min(useless or range(len(kept)), key=lambda k: weights[k].mean()))
    return kept
