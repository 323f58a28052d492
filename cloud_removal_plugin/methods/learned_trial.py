"""How well a network does on this scene: the scene's own clouds are moved over clear pixels and removed again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..observation import Observation
from .inpainting import distance
from .learned_tiles import spans
from .learned_window import Runner
from .sigma import SigmaModel, fit_sigma, log_size, overall

TRIES = 8
ENOUGH = 2000
"""Pixels after which no further window is tried: each costs as much as restoring it."""
MOST_WINDOWS = 2
LEAST = 50


@dataclass(frozen=True)
class Found:
    """What the trial showed: an error model and the root mean square error, None where it could not be tried."""

    sigma: SigmaModel | None
    rmse: float | None


def features(mean: np.ndarray, cloudy: np.ndarray, far: np.ndarray, deviation: np.ndarray | None) -> list[np.ndarray]:
    """Features of the error model, each (n,) or (C, n).

    Args:
        mean: (C, n) restored. cloudy: (C, n), the target as it was. far: (n,), pixels to the nearest clear one.
        deviation: (C, n), what the network itself says, or None.
    """
    change = np.nan_to_num(mean - cloudy).mean(axis=0)
    own = [] if deviation is None else [np.log(np.maximum(deviation, 1e-4))]
    return [log_size(change), mean.mean(axis=0), np.log1p(far), *own]


def trial(runner: Runner, samples: Sequence[Observation], seed: tuple[int, ...], pool: Executor | None) -> Found:
    """Restore simulated gaps in one or two windows of the network, and fit the error model on them."""
    rng = np.random.default_rng([*seed, 51])
    columns = []
    count = 0
    for obs, hidden, clouds in _windows(runner, samples, rng):
        piece = _tried(runner, obs, hidden, clouds, pool)
        if piece is None:
            continue
        columns.append(piece)
        count += piece[0].shape[1]
        if count >= ENOUGH:
            break
    if count < LEAST:
        return Found(None, None)
    errors = np.concatenate([errors for errors, _ in columns], axis=1)
    merged = [np.concatenate(parts, axis=-1) for parts in zip(*(found for _, found in columns), strict=True)]
    # every third stripe of pixels sets the scale, the others the shape
    fold = (np.arange(count) * 9 // count) % 3
    model = fit_sigma(merged, errors, fold)
    return Found(model, overall(errors))


@dataclass(frozen=True)
class Moved:
    """Clouds of a sample moved over its clear pixels, see :func:`moved`.

    Attributes:
        hidden: bool (H, W), the clear pixels that they hide.
        rows, cols: (H,) and (W,), row and column of the sample that each pixel's cloud has.
    """

    hidden: np.ndarray
    rows: np.ndarray
    cols: np.ndarray

    def clouds(self, obs: Observation, rows: slice = slice(None), cols: slice = slice(None)) -> np.ndarray:
        """The moved clouds (C, h, w) over a part of the sample."""
        return obs.optical[0][:, self.rows[rows][:, None], self.cols[cols]]


@dataclass(frozen=True)
class Place:
    """A window of a network in a sample.

    Attributes:
        sample: its number. inner: rows and columns that the window answers for. outer: what it reads.
        count: pixels that moved clouds hide in it.
    """

    sample: int
    inner: tuple[slice, slice]
    outer: tuple[slice, slice]
    count: int


def hidden_most(runner: Runner, samples: Sequence[Observation], clouds: Sequence[Moved], most: int) -> list[Place]:
    """Up to ``most`` windows of a network in which moved clouds hide most clear pixels, the best first."""
    found = []
    for number, (obs, moved_here) in enumerate(zip(samples, clouds, strict=True)):
        for inner, outer in parts_of(runner, obs):
            count = int(moved_here.hidden[inner].sum())
            if count:
                found.append(Place(number, inner, outer, count))
    return sorted(found, key=lambda p: (-p.count, p.sample, p.inner[0].start, p.inner[1].start))[:most]


def _windows(
    runner: Runner, samples: Sequence[Observation], rng: np.random.Generator
) -> list[tuple[Observation, np.ndarray, np.ndarray]]:
    """The windows of the network in which moved clouds hide most clear pixels.

    Returns:
        For each the part of the sample that the network reads, the simulated gap (h, w) in it, and the moved clouds
        (C, h, w).
    """
    clouds = [moved(obs, rng) for obs in samples]
    out = []
    for place in hidden_most(runner, samples, clouds, MOST_WINDOWS):
        obs, here = samples[place.sample], clouds[place.sample]
        mask = np.zeros_like(here.hidden)
        mask[place.inner] = here.hidden[place.inner]
        out.append((obs.cut(*place.outer), mask[place.outer], here.clouds(obs, *place.outer)))
    return out


def moved(obs: Observation, rng: np.random.Generator) -> Moved:
    """The gap mirrored and shifted so that it hides most clear pixels."""
    return Moved(*moved_over(obs.gap(), obs.seen()[0], rng))


def moved_over(
    gap: np.ndarray, seen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best of a few mirrored and shifted copies of a gap, given bool (H, W) like what is seen.

    Returns:
        bool (H, W) of clear pixels that it hides, and the row (H,) and the column (W,) that each one's cloud has.
    """
    clear = seen & ~gap
    height, width = gap.shape
    best = (np.zeros_like(gap), np.arange(height), np.arange(width))
    for _ in range(TRIES):
        rows = np.roll(np.arange(height)[:: (1, -1)[rng.integers(2)]], rng.integers(height))
        cols = np.roll(np.arange(width)[:: (1, -1)[rng.integers(2)]], rng.integers(width))
        hidden = gap[rows[:, None], cols] & clear
        if hidden.sum() > best[0].sum():
            best = (hidden, rows, cols)
    return best


def parts_of(runner: Runner, obs: Observation) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Windows of the network inside a sample: what each answers for, and what it reads, in pixels of the sample."""
    ratio, axes = runner.ratio, []
    for origin, size in ((obs.row, obs.shape[2]), (obs.col, obs.shape[3])):
        low, high = int(np.ceil(origin * ratio)), int((origin + size) * ratio)
        margin = runner.halo
        found = []
        for span in spans(runner.lattice, high, low, high):
            first, last = (int(np.clip(np.round(at / ratio) - origin, 0, size)) for at in (span.low, span.high))
            if last > first:
                outer = slice(max(0, first - margin), min(size, last + margin))
                found.append((slice(first, last), outer))
        axes.append(found)
    return [((row[0], col[0]), (row[1], col[1])) for row in axes[0] for col in axes[1]]


def _tried(
    runner: Runner, obs: Observation, hidden: np.ndarray, clouds: np.ndarray, pool: Executor | None
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Errors (C, n) and features of one window whose clear pixels ``hidden`` were covered by ``clouds`` (C, h, w).

    The clouds are NaN where the target holds no numbers under them; then the network sees none here either.
    """
    if not hidden.any():
        return None
    bands = list(runner.restored)
    truth = obs.optical[0][bands][:, hidden]
    optical, cloud = obs.optical.copy(), obs.cloud.copy()
    optical[0] = np.where(hidden, clouds, optical[0])
    cloud[0] = np.where(hidden, np.float32(1), cloud[0])
    known = _known(obs) & ~hidden
    mean, deviation = runner.restore(replace(obs, optical=optical, cloud=cloud), hidden, pool)
    done = np.isfinite(mean[:, hidden]).all(axis=0)
    if not done.any():
        return None
    far = distance(known)[hidden][done]
    own = None if deviation is None else deviation[:, hidden][:, done]
    found = features(mean[:, hidden][:, done], clouds[bands][:, hidden][:, done], far, own)
    return mean[:, hidden][:, done] - truth[:, done], found


def _known(obs: Observation) -> np.ndarray:
    """bool (h, w): where the target is seen."""
    return obs.seen()[0] & ~obs.gap()
