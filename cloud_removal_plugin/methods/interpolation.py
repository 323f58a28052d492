"""Linear interpolation in time between the nearest dates that see a pixel: the humblest member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..observation import Observation, Restoration
from .cores import on_cores
from .folds import lattice_step, simulate
from .protocol import Needs, Report
from .sigma import SigmaModel, fit_sigma, log_size, overall

MONTH = 30.0
"""Days by which ages are divided when they serve as features."""
OLDEST = 24.0
"""Ages in months are capped here: beyond two years older is not worse."""
CHUNK = 1 << 17
"""Pixels that are summed at a time: weights and one band stay in the cache."""
SAMPLES = 12_000


def neighbours(seen: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest date on or before the target and the nearest after it that see each pixel.

    Args:
        seen: bool (D, n).
        days: (D,), relative to the target.

    Returns:
        Two int16 (n,) of indices into D, -1 where there is none.
    """
    before = np.full(seen.shape[1], -1, np.int16)
    after = np.full(seen.shape[1], -1, np.int16)
    for date in sorted(range(len(days)), key=lambda d: -abs(days[d])):
        np.copyto(before if days[date] <= 0 else after, np.int16(date), where=seen[date])
    return before, after


def after_share(before: np.ndarray, after: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Weight (n,) of the later date in the interpolation; 0 or 1 where only one side sees the pixel."""
    age_before = np.where(before >= 0, np.abs(days)[before], np.inf)
    age_after = np.where(after >= 0, np.abs(days)[after], np.inf)
    both = (before >= 0) & (after >= 0)
    with np.errstate(invalid="ignore"):
        share = np.where(both, age_before / np.maximum(age_before + age_after, 1e-9), after >= 0)
    return share.astype(np.float32)


def ages(before: np.ndarray, after: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Ages of both neighbours in months, float32 (2, n); a missing side counts as the cap."""
    table = np.append(np.minimum(np.abs(days) / MONTH, OLDEST), OLDEST).astype(np.float32)  # index -1: none
    return np.stack([np.take(table, side, mode="wrap") for side in (before, after)])


class _Pairs:
    """How much each date counts for every pair of an earlier and a later date; a pair is a number, its code.

    Attributes:
        weights: float32 (D, (D + 1)^2) by code, of the interpolation. steps: the same of later minus earlier date.
        known, both: bool ((D + 1)^2,) by code, whether any date and whether both sides see the pixel.
    """

    def __init__(self, days: np.ndarray) -> None:
        count = len(days)
        self._base = np.uint16(count + 1)
        first, second = (part.ravel() - 1 for part in np.mgrid[: count + 1, : count + 1])
        later = after_share(first, second, np.asarray(days, np.float64))
        self.known, self.both = (first >= 0) | (second >= 0), (first >= 0) & (second >= 0)
        self.weights = np.zeros((count, len(first)), np.float32)
        self.steps = np.zeros((count, len(first)), np.float32)
        places = np.arange(len(first))
        for side, share, sign in ((first, 1 - later, -1), (second, later, 1)):
            there = side >= 0
            self.weights[side[there], places[there]] += share[there]
            self.steps[side[there], places[there]] += sign
        self.steps[:, ~self.both] = 0

    def code(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """uint16 (n,): (before + 1) * (D + 1) + after + 1."""
        code = (before + 1).view(np.uint16) * self._base
        code += (after + 1).view(np.uint16)
        return code


def interpolate(
    optical: np.ndarray, seen: np.ndarray, days: np.ndarray, pixels: np.ndarray, *, change: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolates the target at some pixels of a window: one weighted sum over the dates, block by block.

    Two of the weights are not zero. Summing over all dates all the same takes the bands in the order in which they lie
    in memory, which is several times faster than picking each pixel's two dates.

    Args:
        optical: float32 (D, C, H * W), the other dates.
        seen: bool (D, H * W).
        days: (D,).
        pixels: (n,) flat indices, ascending.
        change: whether the second result is wanted.

    Returns:
        float32 (C, n) estimate, NaN where no date sees the pixel; float32 (C, n) later minus earlier date
        (NaN where one side is missing; without ``change`` empty); float32 (2, n) ages in months.
    """
    bands, count = optical.shape[1], len(pixels)
    estimate = np.full((bands, count), np.nan, np.float32) if not len(days) else np.empty((bands, count), np.float32)
    step = np.full((bands, count if change else 0), np.nan, np.float32)
    if not len(days) or not count:
        return estimate, step, np.full((2, count), OLDEST, np.float32)
    age = np.empty((2, count), np.float32)
    pairs = _Pairs(days)
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        where = pixels[part]
        span = int(where[-1]) - int(where[0]) + 1
        dense = len(where) <= span <= 2 * len(where)
        lies = slice(int(where[0]), int(where[0]) + span) if dense else where
        inner = where - where[0] if dense and span > len(where) else slice(None)
        before, after = neighbours(seen[:, lies], days)
        code = pairs.code(before, after).astype(np.intp)  # as it is looked up: once, not for every date
        _weighted(optical, lies, code, pairs.weights, pairs.known, inner, estimate[:, part])
        if change:
            _weighted(optical, lies, code, pairs.steps, pairs.both, inner, step[:, part])
        age[:, part] = ages(before[inner], after[inner], days)
    return estimate, step, age


def _weighted(
    optical: np.ndarray,
    lies: slice | np.ndarray,
    code: np.ndarray,
    table: np.ndarray,
    known: np.ndarray,
    inner: slice | np.ndarray,
    out: np.ndarray,
) -> None:
    """Sums of dates, weighted by a table over codes, into ``out`` (C, n); NaN where ``known`` says so.

    Args:
        optical: (D, C, H * W). lies: where the block's pixels lie in it. code: (m,) of these.
        table: (D, codes). known: (codes,).
        inner: which of the block's pixels are wanted, n of m.
    """
    used = np.flatnonzero(np.bincount(code, minlength=table.shape[1]))
    dates = np.flatnonzero(table[:, used].any(axis=1))
    whole = isinstance(inner, slice)
    total = out if whole else np.empty((len(out), len(code)), np.float32)
    if not len(dates):
        total[:] = 0
    weights = [np.take(table[date], code, mode="clip") for date in dates]  # no code lies outside: no check needed
    images = [optical[d][:, lies] if isinstance(lies, slice) else np.take(optical[d], lies, axis=1) for d in dates]
    scratch, finite = np.empty(len(code), np.float32), True
    with np.errstate(invalid="ignore"):  # 0 x inf
        for row, *planes in zip(total, *images, strict=True):  # band by band: what is summed stays in the cache
            for number, (plane, weight) in enumerate(zip(planes, weights, strict=True)):
                np.multiply(plane, weight, out=scratch if number else row)
                if number:
                    row += scratch
            finite = finite and np.isfinite(row.max())  # the largest number is NaN if any is
        lost = np.zeros(0, int) if finite else np.flatnonzero(~np.isfinite(total.sum(axis=0)))
    if lost.size:  # hidden pixels without data: their weight is 0, but 0 x NaN is NaN
        places = np.arange(lies.start, lies.stop)[lost] if isinstance(lies, slice) else lies[lost]
        total[:, lost] = 0
        for date, weight in zip(dates, weights, strict=True):
            counts = weight[lost] != 0
            values = np.take(optical[date], places[counts], axis=1)
            total[:, lost[counts]] += values * weight[lost[counts]]
    if not known[used].all():
        total[:, ~known[code]] = np.nan
    if not whole:
        np.take(total, inner, axis=1, out=out)


@dataclass(frozen=True)
class FittedInterpolation:
    """Interpolation with the errors that simulated gaps showed; there is nothing else to fit."""

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    notes: tuple[str, ...]
    sigma: SigmaModel | None
    fallback: np.ndarray

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap; pixels that no date sees get the scene's mean, with unknown sigma."""
        _, bands, height, width = obs.shape
        seen = obs.seen()[1:].reshape(-1, height * width)
        flat = obs.optical[1:].reshape(-1, bands, height * width)
        days = np.asarray(obs.days[1:], np.float64)
        pixels = np.flatnonzero(obs.gap().ravel())
        out, sigma = np.empty((2, bands, height * width), np.float32)  # nobody looks beside the gap

        def part(chunk: np.ndarray) -> None:
            estimate, change, age = interpolate(flat, seen, days, chunk, change=self.sigma is not None)
            lost = np.isnan(estimate)
            deviation = np.float32(np.nan)
            if self.sigma is not None:
                deviation = self.sigma.predict(_features(change, age, estimate), len(chunk))
                deviation[lost] = np.nan
            sigma[:, chunk] = deviation
            np.copyto(estimate, self.fallback[:, None], where=lost)
            out[:, chunk] = estimate

        chunks = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
        on_cores(part, chunks, pool)
        shape = (bands, height, width)
        return Restoration(out.reshape(shape), sigma.reshape(shape))


def _features(change: np.ndarray, age: np.ndarray, estimate: np.ndarray) -> list[np.ndarray]:
    """Features of the error model: disagreement of both sides, its absence, ages, brightness."""
    alone = np.isnan(change)
    return [
        np.where(alone, np.float32(0), log_size(np.nan_to_num(change))),
        alone.astype(np.float32),
        np.log1p(age[0]),
        np.log1p(age[1]),
        np.log1p(np.minimum(age[0], age[1])),
        np.nan_to_num(estimate.mean(axis=0)),
    ]


class Interpolation:
    """METHOD=interpolation."""

    name = "interpolation"
    sample_px = 256
    """Edge of the windows that a large region's fit looks at: half of the usual, because pixels stand alone here and
    the region is read for nothing but the size of the errors."""

    def fit(
        self,
        samples: Sequence[Observation],
        *,
        seed: tuple[int, ...],
        device: str = "cpu",
        pool: Executor | None = None,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FittedInterpolation:
        """Measures the interpolation on clear pixels of the samples (see :class:`Restorer`)."""
        if not samples:
            raise InputError("There is no window to fit the interpolation on.")
        errors, features, fold = _trial(samples, seed)
        count = errors.shape[1]
        model = fit_sigma(features, errors, fold) if count >= 50 else None
        rmse = overall(errors) if count >= 50 else None
        notes = [] if model else ["Too few clear pixels to measure the interpolation's error; it is unknown."]
        fallback = scene_mean(samples)
        dates = tuple(range(samples[0].shape[0]))
        return FittedInterpolation(
            Needs(0, False, 2, pixelwise=True), dates, rmse, "linear in time 1.00", tuple(notes), model, fallback
        )


def scene_mean(samples: Sequence[Observation]) -> np.ndarray:
    """Mean reflectance (C,) of everything that was seen, the target where possible; NaN if nothing was."""
    bands = samples[0].shape[1]
    for dates in (slice(0, 1), slice(1, None)):
        total, count = np.zeros(bands), 0
        for obs in samples:
            seen = obs.seen()[dates]
            for image, mask in zip(obs.optical[dates], seen, strict=True):
                total += np.nansum(image[:, mask], axis=1, dtype=np.float64)
                count += int(mask.sum())
        if count:
            return (total / count).astype(np.float32)
    return np.full(bands, np.nan, np.float32)


def _trial(samples: Sequence[Observation], seed: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Errors (C, n), features and fold numbers (n,) of the interpolation on simulated gaps."""
    step = lattice_step(samples)
    folds = simulate(
        [obs.gap()[::step, ::step] for obs in samples],
        [(obs.seen()[0] & ~obs.gap())[::step, ::step] for obs in samples],
        np.random.default_rng([*seed, 11]),
    )
    rng = np.random.default_rng([*seed, 12])
    total = sum(int((fold >= 0).sum()) for fold in folds)
    pieces = []
    for obs, fold in zip(samples, folds, strict=True):
        _, bands, height, width = obs.shape
        chosen = np.argwhere(fold >= 0)
        if total > SAMPLES:
            keep = np.sort(rng.permutation(len(chosen))[: max(1, len(chosen) * SAMPLES // total)])
            chosen = chosen[keep]
        number = fold[tuple(chosen.T)]
        pixels = (chosen[:, 0] * step) * width + chosen[:, 1] * step
        flat = obs.optical.reshape(-1, bands, height * width)
        seen = obs.seen().reshape(-1, height * width)
        estimate, change, age = interpolate(flat[1:], seen[1:], np.asarray(obs.days[1:]), pixels)
        known = np.isfinite(estimate).all(axis=0)
        error = (estimate - flat[0][:, pixels])[:, known]
        pieces.append((error, _features(change[:, known], age[:, known], estimate[:, known]), number[known]))
    errors = np.concatenate([piece[0] for piece in pieces], axis=1)
    features = [np.concatenate(column, axis=-1) for column in zip(*(piece[1] for piece in pieces), strict=True)]
    return errors, features, np.concatenate([piece[2] for piece in pieces])
