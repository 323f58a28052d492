"""Methods that look at one pixel's course in time alone: linear interpolation, harmonic regression, Whittaker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ..errors import Cancelled, InputError
from ..observation import HIDDEN_FROM, Observation, Restoration
from . import harmonic, whittaker
from .cores import on_cores
from .protocol import Report
from .sigma import overall
from .visible import fill_linear

Curve = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]
"""Takes values (T, C, n), seen (T, n), days (T,) and a strength; returns (T, C, n)."""

SAMPLES = 4_000
"""Pixels on which strengths are tried and errors measured."""
WITHHELD = 0.15
"""Share of their observations that is withheld for that."""
CHUNK = 4_096


def linear(values: np.ndarray, seen: np.ndarray, days: np.ndarray, _strength: float) -> np.ndarray:
    """Linear interpolation between the nearest dates that see a pixel, copies at the ends."""
    clean = np.where(seen[:, None], values, np.float32(0))[..., None]
    filled = fill_linear(clean, ~seen[..., None], days)[..., 0]
    return filled


CURVES: dict[str, tuple[Curve, tuple[float, ...]]] = {
    "interpolation": (linear, (0.0,)),
    "harmonic": (harmonic.curve, harmonic.STRENGTHS),
    "whittaker": (whittaker.curve, whittaker.STRENGTHS),
}
"""Each with the strengths that are tried."""


@dataclass(frozen=True)
class FittedCurve:
    """A curve with the strength that withheld values liked best (see :class:`FittedSeries`).

    Attributes:
        rmse: float32 (T, C), of withheld values; NaN where none was withheld.
    """

    halo: int
    expected_rmse: dict[int, float]
    summary: str
    notes: tuple[str, ...]
    curve: Curve
    strength: float
    rmse: np.ndarray

    def restore(
        self, obs: Observation, dates: Sequence[int], *, pool: Executor | None = None
    ) -> Iterator[tuple[int, Restoration]]:
        """Restores what is hidden; pixels that are never seen stay NaN."""
        many, bands, height, width = obs.shape
        gap = (obs.cloud >= HIDDEN_FROM).reshape(many, -1)
        seen = obs.seen().reshape(many, -1)
        flat = obs.optical.reshape(many, bands, -1)
        pixels = np.flatnonzero(gap[list(dates)].any(axis=0))
        found = {date: np.full((bands, height * width), np.nan, np.float32) for date in dates}
        days = np.asarray(obs.days, np.float64)

        def part(start: int) -> None:
            here = pixels[start : start + CHUNK]
            course = self.curve(flat[:, :, here], seen[:, here], days, self.strength)
            for date in dates:
                mine = gap[date, here]
                found[date][:, here[mine]] = course[date][:, mine]

        on_cores(part, range(0, len(pixels), CHUNK), pool)
        for date in dates:
            image = found.pop(date).reshape(bands, height, width)
            sigma = np.where(np.isfinite(image), self.rmse[date][:, None, None], np.float32(np.nan))
            yield date, Restoration(image, sigma.astype(np.float32))


class SeriesCurve:
    """METHOD=interpolation, harmonic and whittaker of a series."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(
        self,
        samples: Sequence[Observation],
        dates: Sequence[int],
        *,
        seed: tuple[int, ...],
        device: str = "cpu",
        pool: Executor | None = None,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FittedCurve:
        """Tries the strengths on withheld observations (see :class:`SeriesRestorer`)."""
        if not samples:
            raise InputError("There is no window to fit the series on.")
        curve, strengths = CURVES[self.name]
        values, seen = _drawn(samples, np.random.default_rng([*seed, 61]))
        rng = np.random.default_rng([*seed, 62])
        held = seen & (rng.random(seen.shape) < WITHHELD) & (seen.sum(axis=0) > 1)
        days = np.asarray(samples[0].days, np.float64)
        best: tuple[float, float, np.ndarray] | None = None
        for strength in strengths:
            if cancelled is not None and cancelled():
                raise Cancelled
            error = curve(values, seen & ~held, days, strength) - values
            squared = np.where(held[:, None] & np.isfinite(error), error, np.nan) ** 2
            total = float(np.nanmean(squared)) if np.isfinite(squared).any() else 0.0
            if best is None or total < best[0]:
                best = (total, strength, squared)
        _, strength, squared = best
        rmse = _rmse(squared)
        expected = {date: overall(rmse[date]) for date in dates if np.isfinite(rmse[date]).all()}
        summary = f"{self.name} 1.00" if len(strengths) == 1 else f"{self.name} 1.00, strength {strength:g}"
        return FittedCurve(0, expected, summary, (), curve, strength, rmse)


def _rmse(squared: np.ndarray) -> np.ndarray:
    """float32 (T, C) from squared errors (T, C, n); dates with few withheld values take the mean of all."""
    known = np.isfinite(squared)
    count = known.sum(axis=2)
    total = np.where(known, squared, 0)
    every = np.sqrt(total.sum(axis=(0, 2)) / np.maximum(count.sum(axis=0), 1))
    own = np.sqrt(total.sum(axis=2) / np.maximum(count, 1))
    out = np.where(count >= 30, own, every)
    return np.where(count.sum(axis=0) >= 30, out, np.nan).astype(np.float32)


def _drawn(samples: Sequence[Observation], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values (T, C, n) and visibility (T, n) of random pixels of all samples."""
    values, seen = [], []
    for obs in samples:
        many, bands, height, width = obs.shape
        pixels = np.sort(rng.permutation(height * width)[: max(1, SAMPLES // len(samples))])
        values.append(obs.optical.reshape(many, bands, -1)[:, :, pixels])
        seen.append(obs.seen().reshape(many, -1)[:, pixels])
    return np.concatenate(values, axis=2), np.concatenate(seen, axis=1)
