"""The scene ensemble for a whole series: blocks of neighbouring dates share one Gaussian and one set of networks.

Per date remain what a date has of its own: the local correction, the weights of the members, the membrane, sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..observation import Observation, Restoration
from .context import axes
from .covered import FittedCovered, fit_covered
from .dates import seen_coarse
from .ensemble import LOCAL, MEMBERS, Progress, least_clear
from .frame import make_plan as make_single_plan
from .inpainting import Inpainting
from .local_correction import TILE, leading_components
from .networks import Network
from .protocol import Fitted, Report
from .series_block import BlockFrame, BlockPlan, block_dates, make_plan
from .series_corrections import add_networks
from .series_gaussian import SeriesGaussian, draw_sample, fit_models
from .series_protocol import FittedSeries, turned_to
from .series_trial import (
    Part,
    add_surroundings,
    draw_folds,
    judge,
    lattice_step,
    simulated_parts,
)
from .series_window import Block, DateModel, error_features
from .sigma import fit_sigma, overall
from .stack import stack_weights, told
from .trial import SMALL
from .value_range import MARGIN

HALO = TILE
"""Tiles of the local correction that touch a window lie within this; farther rims hardly matter inside."""
NEAREST = 12
"""Dates from which a date that shows nothing of itself is estimated."""


@dataclass(frozen=True)
class Covered:
    """A date that a model of its own restores from ``others`` (indices into the series)."""

    fitted: Fitted
    others: tuple[int, ...]


@dataclass
class FittedSeriesEnsemble:
    """A fitted region of a series (see :class:`FittedSeries`); ``single`` holds the dates that stand alone."""

    halo: int
    expected_rmse: dict[int, float]
    summary: str
    notes: tuple[str, ...]
    blocks: list[Block]
    single: dict[int, Covered]

    def restore(
        self, obs: Observation, dates: Sequence[int], *, pool: Executor | None = None
    ) -> Iterator[tuple[int, Restoration]]:
        """Restores what is hidden on each of ``dates``, block by block."""
        for block in self.blocks:
            yield from block.restore(obs, dates, pool)
        for date, covered in self.single.items():
            if date in dates:
                yield date, covered.fitted.restore(turned_to(obs, date, covered.others), pool=pool)


class SeriesEnsemble:
    """METHOD=auto, fast, gaussian and scene_networks of a series."""

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
    ) -> FittedSeries:
        """Learns a region (see :class:`SeriesRestorer`)."""
        if not samples:
            raise InputError("There is no window to fit the series on.")
        progress = Progress(report, cancelled)
        shares, clear = visibility(samples)
        pixels = sum(obs.shape[2] * obs.shape[3] for obs in samples)
        learned = [t for t in dates if clear[t] >= least_clear(pixels)]
        out = FittedSeriesEnsemble(HALO, {}, "", (), [], {})
        covered = [t for t in dates if t not in learned]
        groups = block_dates(np.asarray(samples[0].days, np.float64), shares, learned)
        for number, (restored, every) in enumerate(groups):
            progress(number / max(len(groups), 1), "Learning from clear pixels")
            plan = make_plan(samples, restored, every)
            if len(plan.sizes) == 1:
                self._alone(out, samples, restored, seed, pool)
                continue
            block, errors = self._block(samples, plan, (*seed, number), pool, progress)
            out.blocks.append(block)
            out.expected_rmse.update(errors)
            left = [t for t in restored if plan.dates.index(t) not in block.models]
            covered += left
        self._covered(out, samples, sorted(covered), shares, seed, pool)
        return replace(out, summary=_summary(out))

    def _alone(
        self, out: FittedSeriesEnsemble, samples: Sequence[Observation], dates: Sequence[int], seed: tuple[int, ...],
        pool: Executor | None,
    ) -> None:  # fmt: skip
        """Dates that nothing else helps with: filled from the rim of their gaps."""
        for date in dates:
            fitted = Inpainting().fit([turned_to(obs, date, ()) for obs in samples], seed=(*seed, date), pool=pool)
            out.single[date] = Covered(fitted, ())
            if fitted.expected_rmse is not None:
                out.expected_rmse[date] = fitted.expected_rmse

    def _covered(
        self, out: FittedSeriesEnsemble, samples: Sequence[Observation], dates: Sequence[int], shares: np.ndarray,
        seed: tuple[int, ...], pool: Executor | None,
    ) -> None:  # fmt: skip
        """Dates that show next to nothing of themselves: kriged in time from those that show most nearby."""
        days = np.asarray(samples[0].days, np.float64)
        shared: FittedCovered | None = None
        for date in sorted(dates, key=lambda t: (abs(t - len(days) // 2), t)):
            worth = shares / (np.abs(days - days[date]) + 5.0)
            worth[date] = 0
            others = sorted(sorted(np.flatnonzero(worth), key=lambda t: (-worth[t], t))[:NEAREST])
            if not others:
                self._alone(out, samples, [date], seed, pool)
                continue
            if shared is None:
                # how dates differ with the days between them, and how wrong that is, is the series' own: learned once
                turned = [turned_to(obs, date, others) for obs in samples]
                shared = fit_covered(turned, make_single_plan(turned, range(1, len(others) + 1)), (*seed, date))
            plan = replace(shared.plan, dates=tuple(range(1, len(others) + 1)), days=days[others] - days[date])
            own = replace(shared, plan=replace(plan, radar=None, completions={}), _weights={})
            out.single[date] = Covered(own, tuple(int(t) for t in others))
        near = sum(bool(out.single[date].others) for date in dates)
        if near:
            many = "One date shows" if near == 1 else f"{near} dates show"
            be = "is" if near == 1 else "are"
            out.notes = (f"{many} too little to learn from and {be} estimated from the dates around.",)

    def _block(
        self, samples: Sequence[Observation], plan: BlockPlan, seed: tuple[int, ...], pool: Executor | None,
        progress: Progress,
    ) -> tuple[Block, dict[int, float]]:  # fmt: skip
        """Fits one block; dates without a simulated gap to judge by are left out of its models."""
        frames = [BlockFrame(obs, plan) for obs in samples]
        step = lattice_step(samples)
        folds = draw_folds(frames, plan, step, np.random.default_rng([*seed, 11]))
        sample = draw_sample(frames, folds, step, plan, np.random.default_rng([*seed, 21]))
        names = MEMBERS[self.name]
        # many dates: each has to be cheap, also where the region is small
        leading = leading_components(small=False, networks="networks" in names) if self.name in LOCAL else None
        kriged = sum(frame.size for frame in frames) <= SMALL
        block = Block(None, {}, np.zeros((0, plan.bands), np.float32), leading, kriged)  # type: ignore[arg-type]
        if sample.values.shape[1] < 60:
            return block, {}
        whole, models = fit_models(sample, plan, pool)
        block.gaussian = whole
        progress.check()
        if not models:
            return block, {}
        parts = simulated_parts(frames, folds, models, step, leading, pool, kriged=kriged)
        networks, guard = [], None
        rows = sorted({part.date for part in parts})
        if "networks" in names and len(rows) == len(plan.restored):
            block.axis = axes(_spectral_cov(whole))
            add_surroundings(parts, frames, plan, block.axis, pool)
            networks, guard = add_networks(parts, frames, models, seed, pool, progress.check)
        errors = {}
        for date in rows:
            place = plan.restored[date]
            mine = [part for part in parts if part.date == date]
            own = tuple(net[date] for net in networks)
            model, rmse = self._date_model(
                mine, frames, place, own, None if guard is None else guard[date], step, (*seed, date), pool, kriged
            )
            block.models[place] = model
            if rmse is not None:
                errors[plan.dates[place]] = rmse
        return block, errors

    def _date_model(
        self, parts: list[Part], frames: Sequence[BlockFrame], place: int, networks: tuple[Network, ...],
        guard: np.ndarray | None, step: int, seed: tuple[int, ...], pool: Executor | None, kriged: bool,
    ) -> tuple[DateModel, float | None]:  # fmt: skip
        """Weights, sigma and expected error of one date."""
        low, high = limits(frames, place, step)
        names = tuple(n for n in MEMBERS[self.name] if n in parts[0].members) or ("gaussian",)
        errors = np.stack(
            [
                np.concatenate(
                    [(np.clip(p.members[n], low[:, None], high[:, None]) - p.truth)[:, : p.core] for p in parts], axis=1
                )
                for n in names
            ]
        )
        weights = stack_weights(errors, names).astype(np.float32)
        model = DateModel(names, weights, np.eye(len(low), dtype=np.float32), low, high, None, networks, guard)
        rng = np.random.default_rng([*seed, 31])
        judged, model.basis = judge(parts, model.stacked, (low, high), step, rng, pool, kriged=kriged)
        error = judged.result - judged.truth
        if error.shape[1] < 50:
            return model, None
        model.sigma = fit_sigma(error_features(judged.members, judged), error, judged.fold, judged.log_deviation)
        return model, overall(error)


def _spectral_cov(model: SeriesGaussian) -> np.ndarray:
    """Mean covariance (C, C) of the bands over the restored dates."""
    plan = model.plan
    starts = [plan.bounds[place] for place in plan.restored]
    return np.mean([model.cov[s : s + plan.bands, s : s + plan.bands] for s in starts], axis=0)


def visibility(samples: Sequence[Observation]) -> tuple[np.ndarray, np.ndarray]:
    """Share of the samples that each date shows, float64 (T,), and its number of clear pixels (T,)."""
    pixels = sum(obs.shape[2] * obs.shape[3] for obs in samples)
    step = max(1, int(np.sqrt(pixels / 40_000)))
    seen = np.concatenate([seen_coarse(obs, step).reshape(obs.shape[0], -1) for obs in samples], axis=1)
    share = seen.mean(axis=1)
    return share, share * pixels


def limits(frames: Sequence[BlockFrame], place: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Range (C,) of a date's clear pixels, widened by 30 %; few pixels borrow from the other dates."""
    bands = len(frames[0].blocks[place])
    spectra = [frame.blocks[place][:, frame.seen[place]][:, :: step * step] for frame in frames]
    own = np.concatenate(spectra, axis=1)
    low, high = own.min(axis=1), own.max(axis=1)
    if own.shape[1] * step**2 < 2_500:
        dates = len(frames[0].gap)
        other = [f.blocks[d][:, f.seen[d]][:, :: 7 * step] for f in frames for d in range(dates)]
        every = np.concatenate(other, axis=1)
        low = np.minimum(low, np.quantile(every, 0.002, axis=1))
        high = np.maximum(high, np.quantile(every, 0.998, axis=1))
    margin = MARGIN * (high - low)
    return (low - margin).astype(np.float32).reshape(bands), (high + margin).astype(np.float32).reshape(bands)


def _summary(fitted: FittedSeriesEnsemble) -> str:
    """Mean weights of the members over the dates, and how many dates each kind of model restores."""
    models = [model for block in fitted.blocks for model in block.models.values()]
    totals: dict[str, float] = {}
    for model in models:
        for name, weight in zip(model.names, model.weights.mean(axis=1), strict=True):
            totals[name] = totals.get(name, 0.0) + float(weight) / len(models)
    parts = told(totals, totals.values())
    near = sum(bool(each.others) for each in fitted.single.values())
    for many, source in ((near, "from the dates around"), (len(fitted.single) - near, "from their rims")):
        if many:
            parts.append(f"{many} date{'s' if many > 1 else ''} {source}")
    return ", ".join(parts)
