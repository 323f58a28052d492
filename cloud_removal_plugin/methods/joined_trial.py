"""What published networks would add to the scene ensemble, judged where its own clouds are moved over clear pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..observation import Observation
from .learned import of_dates
from .learned_trial import moved, parts_of
from .learned_window import Runner
from .protocol import Fitted
from .sigma import NORMAL_90

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

SCALES = (0.2, 1.5)
"""Range of what a network may make of the ensemble's sigma."""

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


def hide(runner: Runner, samples: Sequence[Observation], seed: tuple[int, ...]) -> Gaps:
    """Moves clouds over clear pixels of some windows of a network, the ones where they hide most."""
    rng = np.random.default_rng([*seed, 61])
    every = [moved(obs, rng) for obs in samples]
    found = []
    for number, obs in enumerate(samples):
        for (rows, cols), _ in parts_of(runner, obs):
            count = int(every[number][0][rows, cols].sum())
            if count:
                found.append((-count, number, rows.start, cols.start, Area(number, rows, cols)))
    areas: list[Area] = []
    total = 0
    for entry in sorted(found, key=lambda entry: entry[:4])[:MOST_WINDOWS]:
        areas.append(entry[4])
        total -= entry[0]
        if total >= ENOUGH:
            break
    hidden, out = [], []
    for number, (obs, (mask, rows, cols)) in enumerate(zip(samples, every, strict=True)):
        chosen = np.zeros_like(mask)
        for area in areas:
            if area.sample == number:
                chosen[area.rows, area.cols] = mask[area.rows, area.cols]
        clouds = obs.optical[0][:, rows[:, None], cols]
        chosen &= np.isfinite(clouds).all(axis=0)
        optical, cloud = obs.optical.copy(), obs.cloud.copy()
        optical[0] = np.where(chosen, clouds, optical[0])
        cloud[0] = np.where(chosen, np.float32(1), cloud[0])
        hidden.append(chosen)
        out.append(replace(obs, optical=optical, cloud=cloud))
    return Gaps(tuple(out), tuple(hidden), tuple(areas))


def truth_of(gaps: Gaps, samples: Sequence[Observation]) -> np.ndarray:
    """Float32 (C, n): what the hidden pixels were."""
    return _gathered(gaps, lambda area: samples[area.sample].optical[0])


def stripes_of(gaps: Gaps) -> np.ndarray:
    """Bool (n,): pixels of every other stripe."""
    planes = []
    for area in gaps.areas:
        obs = gaps.samples[area.sample]
        cols = (obs.col + np.arange(obs.shape[3])) // STRIPE_PX % 2 == 0
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


def of_network(runner: Runner, gaps: Gaps, pool: Executor | None) -> tuple[np.ndarray, float]:
    """What a network makes of the hidden pixels, and how long it took.

    Returns:
        float32 (C, n), NaN in bands that it does not restore; and seconds.
    """
    since = time.perf_counter()

    def plane(area: Area) -> np.ndarray:
        obs = gaps.samples[area.sample]
        wanted = np.zeros_like(gaps.hidden[area.sample])
        wanted[area.rows, area.cols] = gaps.hidden[area.sample][area.rows, area.cols]
        mean, _ = runner.restore(obs, wanted, pool)
        out = np.full(obs.optical[0].shape, np.nan, np.float32)
        out[list(runner.restored)] = mean
        return out

    values = _gathered(gaps, plane)
    return values, time.perf_counter() - since


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


def sigma_scale(errors: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Factors (C,) that make the ensemble's sigma (C, n) hold 90 % of the errors (C, n); 1 where it says nothing."""
    known = np.isfinite(sigma) & (sigma > 0)
    out = np.ones(len(errors), np.float32)
    for band in range(len(errors)):
        if known[band].sum() >= LEAST:
            ratio = np.abs(errors[band, known[band]]) / sigma[band, known[band]]
            out[band] = np.clip(np.quantile(ratio, 0.9) / NORMAL_90, *SCALES)
    return out


def worth_it(base: np.ndarray, networks: np.ndarray, stripes: np.ndarray) -> bool:
    """Whether weights fitted on one half of the stripes lower the error on the other half, both ways round."""
    if min(stripes.sum(), (~stripes).sum()) < LEAST // 2:
        return False
    before = after = 0.0
    for fit in (stripes, ~stripes):
        weights = weigh(base[:, fit], networks[:, :, fit])
        check = ~fit
        before += float(np.square(base[:, check]).sum())
        after += float(np.square(mixed(base[:, check], networks[:, :, check], weights)).sum())
    return after < WORTH * before
