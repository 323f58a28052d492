"""Linear interpolation in time between the nearest dates that see a pixel: the humblest member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..observation import Observation, Restoration
from .folds import lattice_step, simulate
from .protocol import Needs, Report
from .sigma import SigmaModel, fit_sigma, log_size

MONTH = 30.0
"""Days by which ages are divided when they serve as features."""
OLDEST = 24.0
"""Ages in months are capped here: beyond two years older is not worse."""
CHUNK = 1 << 16
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
        side = before if days[date] <= 0 else after
        side[seen[date]] = date
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
    out = np.full((2, len(before)), OLDEST, np.float32)
    for row, side in zip(out, (before, after), strict=True):
        row[side >= 0] = np.minimum(np.abs(days)[side[side >= 0]] / MONTH, OLDEST)
    return out


def interpolate(
    optical: np.ndarray, seen: np.ndarray, days: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolates the target at some pixels of a window.

    Args:
        optical: (D, C, H * W), the other dates.
        seen: bool (D, H * W).
        days: (D,).
        pixels: (n,) flat indices.

    Returns:
        float32 (C, n) estimate, NaN where no date sees the pixel; float32 (C, n) later minus earlier date
        (NaN where one side is missing); float32 (2, n) ages in months.
    """
    bands = optical.shape[1]
    estimate = np.full((bands, len(pixels)), np.nan, np.float32)
    change = np.full((bands, len(pixels)), np.nan, np.float32)
    if not len(days) or not len(pixels):
        return estimate, change, np.full((2, len(pixels)), OLDEST, np.float32)
    before, after = neighbours(seen[:, pixels], days)
    share = after_share(before, after, days)
    pair = before.astype(np.int32) * 256 + after
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(pair[order]) != 0])
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        rows = order[start:stop]
        first, second = int(before[rows[0]]), int(after[rows[0]])
        where = pixels[rows]
        if first < 0 and second < 0:
            continue
        if first >= 0 and second >= 0:
            low = np.take(optical[first], where, axis=1)
            step = np.take(optical[second], where, axis=1)
            step -= low
            change[:, rows] = step
            step *= share[rows[0]]
            step += low
            estimate[:, rows] = step
        else:
            estimate[:, rows] = np.take(optical[max(first, second)], where, axis=1)
    return estimate, change, ages(before, after, days)


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
        out = np.full((bands, height * width), np.nan, np.float32)
        sigma = np.full((bands, height * width), np.nan, np.float32)

        def part(chunk: np.ndarray) -> None:
            estimate, change, age = interpolate(flat, seen, days, chunk)
            lost = np.isnan(estimate)
            if self.sigma is not None:
                deviation = self.sigma.predict(_features(change, age, estimate), len(chunk))
                deviation[lost] = np.nan
                sigma[:, chunk] = deviation
            out[:, chunk] = np.where(lost, self.fallback[:, None], estimate)

        chunks = [pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK)]
        list(map(part, chunks) if pool is None else pool.map(part, chunks))
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
        rmse = float(np.sqrt(np.mean(np.square(errors, dtype=np.float64), axis=1)).mean()) if count >= 50 else None
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
