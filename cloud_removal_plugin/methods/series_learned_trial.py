"""A network over windows of dates: what it makes of them, where windows pass over, and how wrong it is on this series.

The error is measured as for single images (:mod:`learned_trial`): the clouds of some dates are moved over their clear
pixels, the network restores these from the series without them, and what comes out is compared with what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..observation import HIDDEN_FROM, Observation
from .inpainting import distance
from .learned_trial import moved_over, parts_of
from .learned_window import Runner
from .series_sliding import Sliding, settle, starts_of
from .sigma import SigmaModel, fit_sigma, log_size, overall

ENOUGH = 4000
"""Pixels after which nothing more is tried."""
MOST = 40_000
"""Pixels that the error model is fitted on."""
MOST_WINDOWS = 2
LEAST = 50
APART = 3
"""Moved clouds are put on every third date at a time, so that the series stays about as clear as it is."""
NEVER_DAYS = 400.0
"""Stands for the time since a pixel was seen where no date shows it."""

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Found:
    """What the trial showed.

    Attributes:
        sigma: the error model in units of a date's own error; None where it could not be tried.
        rmse: each date's error in reflectance; that of all dates together where a date could not be tried.
    """

    sigma: SigmaModel | None
    rmse: dict[int, float]


def predicted(
    runner: Runner, obs: Observation, window: range, mine: Sequence[int], gap: np.ndarray, pool: Executor | None,
    context: int = 0,
) -> np.ndarray:  # fmt: skip
    """What the network makes of some dates.

    Args:
        runner: with all dates of the series. obs: likewise.
        window: the dates that the network sees. mine: those of them that are wanted.
        gap: bool (H, W), what is wanted. context: as in :meth:`Runner.restore`.

    Returns:
        float32 (dates, C, H, W) reflectance, NaN where nothing was computed.
    """
    part = replace(
        runner,
        order=tuple(window),
        radar_of=tuple(runner.radar_of[date] for date in window) if runner.radar_of else (),
        keep=tuple(date - window.start for date in mine),
    )
    made, _ = part.restore(obs, gap, pool, context)
    return made.reshape(len(mine), -1, *gap.shape)


def schedule(runner: Runner, samples: Sequence[Observation], length: int, pool: Executor | None) -> Sliding:
    """Cut a series into windows of dates, by what the samples of a region show."""
    frames, bands = samples[0].shape[0], list(runner.bands)
    hidden = [_hidden(obs, bands) for obs in samples]
    pixels = sum(part[0].size for part in hidden)
    coverage = (sum(part.sum(axis=(1, 2)) for part in hidden) / pixels).tolist()
    pieces = []
    for number, obs in enumerate(samples):
        for inner, outer in parts_of(runner, obs):
            count = int(hidden[number][:, inner[0], inner[1]].sum())
            pieces.append((-count, number, inner[0].start, inner[1].start, inner, outer))
    chosen = [(samples[entry[1]], entry[4], entry[5]) for entry in sorted(pieces, key=lambda e: e[:4])[:MOST_WINDOWS]]

    def predict(window: range) -> np.ndarray:
        found = []
        for obs, inner, outer in chosen:
            part = obs.cut(*outer)
            wanted = np.zeros(part.cloud.shape[1:], bool)
            wanted[_inside(inner, outer)] = True
            found.append(predicted(runner, part, window, list(window), wanted, pool)[:, :, wanted])
        return np.concatenate(found, axis=-1)

    return settle(frames, length, starts_of(frames, length, coverage), predict)


def _hidden(obs: Observation, bands: list[int]) -> np.ndarray:
    """bool (T, H, W): what the network does not see."""
    return ~(obs.cloud < HIDDEN_FROM) | ~np.isfinite(obs.optical[:, bands].sum(axis=1))


def _inside(inner: Slices, outer: Slices) -> Slices:
    """Where ``inner`` lies in a part cut by ``outer``."""
    rows, cols = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return rows, cols


def trial(
    runner: Runner, sliding: Sliding, samples: Sequence[Observation], dates: Sequence[int], seed: tuple[int, ...],
    pool: Executor | None,
) -> Found:  # fmt: skip
    """Restore moved clouds in one or two windows of the network, and fit the error model on them."""
    errors: dict[int, list[np.ndarray]] = {}
    columns: list[tuple[np.ndarray, list[np.ndarray], int]] = []
    count = 0
    for obs, hidden in _pieces(runner, samples, dates, np.random.default_rng([*seed, 53])):
        for first in range(APART):
            for date, wrong, found in _tried(runner, sliding, obs, hidden, list(hidden)[first::APART], pool):
                errors.setdefault(date, []).append(wrong)
                columns.append((wrong, found, date))
                count += wrong.shape[1]
        if count >= ENOUGH:
            break
    if count < LEAST:
        return Found(None, {})
    known = {date: np.concatenate(parts, axis=1) for date, parts in errors.items()}
    whole = overall(np.concatenate(list(known.values()), axis=1))
    own = {date: max(overall(wrong), 1e-6) for date, wrong in known.items() if wrong.shape[1] >= LEAST}
    rmse = {date: own.get(date, whole) for date in dates}
    return Found(_model(columns, count, rmse), rmse)


def _model(columns: list[tuple[np.ndarray, list[np.ndarray], int]], count: int, rmse: dict[int, float]) -> SigmaModel:
    """The error model of all dates together, each in units of its own error."""
    step = -(-count // MOST)
    errors = np.concatenate([wrong[:, ::step] / np.float32(rmse[date]) for wrong, _, date in columns], axis=1)
    features = [
        np.concatenate([part[..., ::step] for part in parts], axis=-1)
        for parts in zip(*(found for _, found, _ in columns), strict=True)
    ]
    fold = np.concatenate([np.full(wrong[:, ::step].shape[1], date) for wrong, _, date in columns])
    if len(np.unique(fold)) < APART:  # stripes of pixels where there are too few dates
        fold = np.arange(len(fold)) * 9 // len(fold) % APART
    return fit_sigma(features, errors, fold)


def _pieces(
    runner: Runner, samples: Sequence[Observation], dates: Sequence[int], rng: np.random.Generator
) -> list[tuple[Observation, dict[int, np.ndarray]]]:
    """The windows of the network in which moved clouds hide most, and the moved clouds (h, w) of each date there."""
    found = []
    for number, obs in enumerate(samples):
        seen = obs.seen()
        moved = {date: moved_over(obs.cloud[date] >= HIDDEN_FROM, seen[date], rng)[0] for date in dates}
        for inner, outer in parts_of(runner, obs):
            count = sum(int(mask[inner].sum()) for mask in moved.values())
            if count:
                found.append((count, number, inner, outer, moved))
    best = sorted(found, key=lambda entry: (-entry[0], entry[1], entry[2][0].start, entry[2][1].start))[:MOST_WINDOWS]
    out = []
    for _, number, inner, outer, moved in best:
        masks = {}
        for date, mask in moved.items():
            own = np.zeros_like(mask)
            own[inner] = mask[inner]
            if own.any():
                masks[date] = own[outer]
        out.append((samples[number].cut(*outer), masks))
    return out


def _tried(
    runner: Runner, sliding: Sliding, obs: Observation, hidden: dict[int, np.ndarray], dates: Sequence[int],
    pool: Executor | None,
) -> list[tuple[int, np.ndarray, list[np.ndarray]]]:  # fmt: skip
    """Date, errors (C, n) and features of what moved clouds hid on ``dates`` of one window."""
    cloud = obs.cloud.copy()
    for date in dates:
        cloud[date] = np.where(hidden[date], np.float32(1), cloud[date])
    covered = replace(obs, cloud=cloud)
    seen, bands, out = covered.seen(), list(runner.restored), []
    for window, mine in sliding.shares(sorted(dates)):
        gap = np.any([hidden[date] for date in mine], axis=0)
        made = predicted(runner, covered, window, mine, gap, pool)
        for place, date in enumerate(mine):
            where = hidden[date] & np.isfinite(made[place]).all(axis=0)
            if where.any():
                wrong = made[place][:, where] - obs.optical[date][bands][:, where]
                out.append((date, wrong, _features(covered, date, made[place], where, seen, bands)))
    return out


def sigma_at(
    found: Found, obs: Observation, date: int, made: np.ndarray, where: np.ndarray, seen: np.ndarray,
    bands: Sequence[int],
) -> np.ndarray:  # fmt: skip
    """Standard deviation (C, n) of what a network made of one date at ``where``; arguments as of the features.

    NaN where the error is unknown.
    """
    if found.sigma is None or date not in found.rmse:
        return np.full((len(bands), int(where.sum())), np.nan, np.float32)
    features = _features(obs, date, made, where, seen, list(bands))
    return found.sigma.predict(features, int(where.sum())) * np.float32(found.rmse[date])


def _features(
    obs: Observation, date: int, made: np.ndarray, where: np.ndarray, seen: np.ndarray, bands: list[int]
) -> list[np.ndarray]:
    """Features of the error model, each (n,).

    Args:
        made: (C, H, W), restored. where: bool (H, W). seen: bool (T, H, W), what each date shows.
        bands: those that were restored.

    Returns:
        How far the restored value is from what the nearest date shows, its mean, how far the nearest clear pixel of the
        date is, and how many days the nearest date.
    """
    values, days = _nearest(obs, date, where, seen, bands)
    restored = made[:, where]
    change = np.nan_to_num(restored - values).mean(axis=0)
    far = distance(seen[date] & ~where)[where]
    return [log_size(change), restored.mean(axis=0), np.log1p(far), np.log1p(days)]


def _nearest(
    obs: Observation, date: int, where: np.ndarray, seen: np.ndarray, bands: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """What the nearest other date that sees a pixel shows (C, n), NaN where none does, and how many days away it is."""
    places = np.flatnonzero(where)
    values = np.full((len(bands), len(places)), np.nan, np.float32)
    days = np.full(len(places), NEVER_DAYS, np.float32)
    apart = np.abs(np.asarray(obs.days, np.float64) - obs.days[date])
    left = np.arange(len(places))
    for other in np.argsort(apart, kind="stable"):
        if other == date or not len(left):
            continue
        shown = seen[other].ravel()[places[left]]
        mine = left[shown]
        values[:, mine] = obs.optical[other].reshape(obs.shape[1], -1)[bands][:, places[mine]]
        days[mine] = apart[other]
        left = left[~shown]
    return values, days
