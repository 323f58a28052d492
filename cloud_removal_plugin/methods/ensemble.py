"""The scene ensemble: what a scene's own clear pixels teach, stacked on simulated gaps.

Members: Gaussian over the best dates (with local correction in ``fast``), three tiny networks (``auto``), linear
interpolation, inpainting; weights that sum to one per band; one membrane on the stacked residual; sigma from the
same simulated gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Cancelled, InputError
from ..observation import Observation, Restoration
from .context import axes
from .dates import choose
from .estimate import Estimates, Head
from .folds import lattice_step, simulate
from .frame import Frame, make_plan, ring
from .inpainting import REACH, distance
from .interpolation import scene_mean
from .local_correction import component_head
from .members import MARGIN, JointNetworks, SceneModel, estimate
from .membrane import spread
from .protocol import Needs, Report
from .sigma import SigmaModel, fit_sigma, log_size
from .stack import stack_weights
from .trial import (
    EM_SAMPLES,
    Trial,
    draw_sample,
    estimate_parts,
    fit_gaussians,
    fold_parts,
    principal,
    run_trial,
    train_networks,
)

MEMBERS = {
    "auto": ("gaussian", "networks", "interpolation", "inpainting"),
    "fast": ("gaussian", "interpolation", "inpainting"),
    "gaussian": ("gaussian",),
    "scene_networks": ("networks",),
}
LEAST_CLEAR = 100
"""Clear pixels of the target below which it counts as covered."""
LEAST_FOR_NETWORKS = 200


@dataclass(frozen=True)
class FittedEnsemble:
    """A fitted region (see :class:`Fitted`).

    Attributes:
        model: what estimates the members. weights: float32 (M, C). basis: axes (K, C) of the membrane.
    """

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    notes: tuple[str, ...]
    names: tuple[str, ...]
    model: SceneModel
    weights: np.ndarray
    basis: np.ndarray
    sigma: SigmaModel | None

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap of one window of the region."""
        model = self.model
        frame = Frame(obs, model.plan)
        shape = (model.plan.bands, *frame.shape)
        out, sigma = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        rim = ring(frame.gap, frame.clear)
        inside, edge = np.flatnonzero(frame.gap), np.flatnonzero(rim)
        if not len(inside):
            return Restoration(out, sigma)
        found, members = estimate(frame, np.concatenate((inside, edge)), model, pool)
        stacked = self._stacked(members, model.mean)
        count = len(inside)
        planes = np.zeros((len(self.basis) + 1, *frame.shape), np.float32)
        planes[:-1, rim] = self.basis @ (frame.target[:, edge] - stacked[:, count:])
        planes[-1, rim] = frame.target[:, edge].mean(axis=0)
        continued = spread(planes, rim, pool)[:, frame.gap]
        correction = self.basis.T @ continued[:-1]
        result = np.clip(stacked[:, :count] + correction, model.low[:, None], model.high[:, None])
        out.reshape(len(out), -1)[:, inside] = result
        if self.sigma is not None:
            members = {name: values[:, :count] for name, values in members.items()}
            found = Estimates(*(getattr(found, n)[..., :count] for n in Estimates.__dataclass_fields__))
            laplace = continued[-1] if len(edge) else np.full(count, model.mean.mean(), np.float32)
            far = distance(frame.clear)[frame.gap]
            features = sigma_features(members, result, correction, found, laplace, far)
            sigma.reshape(len(out), -1)[:, inside] = self.sigma.predict(features, count)
        return Restoration(out, sigma)

    def _stacked(self, members: dict[str, np.ndarray], mean: np.ndarray) -> np.ndarray:
        """Weighted sum (C, n) of the members before the membrane."""
        total = None
        for name, weight in zip(self.names, self.weights, strict=True):
            part = weight[:, None] * (members[name] if name in members else mean[:, None])
            total = part if total is None else total + part
        return total


def sigma_features(
    members: dict[str, np.ndarray],
    result: np.ndarray,
    correction: np.ndarray,
    found: Estimates | Trial,
    laplace: np.ndarray,
    far: np.ndarray,
) -> list[np.ndarray]:
    """Features of the error model, each (n,) or (C, n).

    Args:
        members: (C, n) before the membrane. result: (C, n). correction: (C, n), the membrane's.
        found: change between the dates, deviation, ages.
        laplace: (n,), mean reflectance continued from the rim. far: (n,), pixels to the nearest clear one.
    """
    first = members.get("networks", members["gaussian"])
    brightness = result.mean(axis=0)
    return [
        log_size(first - members["gaussian"]) if "networks" in members else log_size(members["gaussian"] - result),
        log_size(correction),
        log_size(first - members["interpolation"]),
        log_size(brightness - laplace),
        np.log(found.deviation),
        np.log1p(far),
        log_size(found.change),
        np.log1p(found.age[0]),
        np.log1p(found.age[1]),
        brightness,
    ]


class SceneEnsemble:
    """METHOD=auto, fast, gaussian and scene_networks: the same loop with other members."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(
        self,
        samples: Sequence[Observation],
        *,
        seed: tuple[int, ...],
        device: str = "cpu",
        pool: Executor | None = None,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FittedEnsemble:
        """Learns the region (see :class:`Restorer`)."""
        if not samples:
            raise InputError("There is no window to fit the scene ensemble on.")
        progress = Progress(report, cancelled)
        progress(0.0, "Choosing dates")
        plan = make_plan(samples, choose(samples))
        frames = [Frame(obs, plan) for obs in samples]
        step = lattice_step(samples)
        clears = [frame.clear[::step, ::step] for frame in frames]
        folds = simulate([frame.gap[::step, ::step] for frame in frames], clears, np.random.default_rng([*seed, 11]))
        return self._learn(frames, plan, folds, step, samples, seed, pool, progress)

    def _learn(self, frames, plan, folds, step, samples, seed, pool, progress) -> FittedEnsemble:
        names = MEMBERS[self.name]
        clear = sum(int(frame.clear[::step, ::step].sum()) for frame in frames)
        with_networks = "networks" in names and clear >= LEAST_FOR_NETWORKS and len(plan.sizes) > 1
        if "networks" in names and not with_networks:
            names = tuple(n for n in names if n != "networks") or ("gaussian",)
        local = self.name == "fast"
        progress(0.05, "Fitting the Gaussian")
        sample = draw_sample(frames, folds, step, EM_SAMPLES * 4 // 3, plan, np.random.default_rng([*seed, 21]))
        whole, models = fit_gaussians(sample, plan, pool)
        progress(0.4, "Simulating gaps")
        parts = fold_parts(frames, folds, step)
        estimate_parts(parts, frames, models, plan, step, local=local, fill=with_networks, pool=pool)
        low, high, mean = limits(frames, step)
        model = SceneModel(
            plan, whole, Head(*component_head(whole)) if local else None, (), np.zeros((0, plan.bands), np.float32),
            np.zeros(plan.bands, np.float32), low, high, mean,
        )
        if with_networks:
            progress(0.5, "Training the networks")
            axis = axes(whole.cov[-plan.bands :, -plan.bands :])
            networks, guard = train_networks(
                parts, frames, folds, whole, plan, axis, step, seed, pool, progress.check
            )
            known = len(whole.mean)
            model = replace(model, networks=networks, axis=axis, guard=guard, joint=JointNetworks(networks, known))
        progress(0.8, "Weighing the members")
        every = ("gaussian", *(("networks",) if with_networks else ()), "interpolation", "inpainting")
        trial = run_trial(parts, frames, every, (low, high, mean), step, np.random.default_rng([*seed, 31]), pool)
        return self._weigh(trial, model, names)

    def _weigh(self, trial: Trial, model: SceneModel, names: tuple[str, ...]) -> FittedEnsemble:
        """Weights, sigma and expected error from the simulated gaps."""
        rows = [trial.names.index(name) for name in names]
        errors = (trial.values - trial.truth)[rows]
        weights = stack_weights(errors, names)
        stacked = np.einsum("mc,mcn->cn", weights, errors).astype(np.float32)
        correction = np.einsum("mc,mcn->cn", weights, trial.corrections[rows]).astype(np.float32)
        basis = principal(np.einsum("mc,mcn->cn", weights, trial.rims[rows]))
        features = _trial_features(trial, trial.truth + stacked, correction)
        sigma = fit_sigma(features, stacked, trial.fold) if stacked.shape[1] >= 50 else None
        rmse = float(np.sqrt(np.mean(np.square(stacked, dtype=np.float64), axis=1)).mean()) if sigma else None
        summary = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, weights.mean(axis=1), strict=True))
        return FittedEnsemble(
            Needs(REACH // 2, model.plan.radar is not None, 1), (0, *model.plan.dates), rmse, summary, (), names, model,
            weights.astype(np.float32), basis, sigma,
        )


def _trial_features(trial: Trial, result: np.ndarray, correction: np.ndarray) -> list[np.ndarray]:
    """Features of the error model in the simulated gaps, as :func:`sigma_features` makes them."""
    members = {name: trial.values[i] - trial.corrections[i] for i, name in enumerate(trial.names)}
    laplace = trial.values[trial.names.index("inpainting")].mean(axis=0)
    return sigma_features(members, result, correction, trial, laplace, trial.far)


class Progress:
    """Reports phases and answers a cancel."""

    def __init__(self, report: Report | None, cancelled: Callable[[], bool] | None) -> None:
        self.report, self.cancelled = report, cancelled

    def __call__(self, share: float, phase: str) -> None:
        """Reports a phase; raises Cancelled if asked to stop."""
        self.check()
        if self.report is not None:
            self.report(share, phase)

    def check(self) -> None:
        """Raises Cancelled if asked to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled


def limits(frames: Sequence[Frame], step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Range (C,), widened by 30 %, and mean (C,) of the target's clear pixels."""
    spectra = np.concatenate([frame.target.reshape(-1, *frame.shape)[:, ::step, ::step][:, frame.clear[::step, ::step]] for frame in frames], axis=1)
    low, high = spectra.min(axis=1), spectra.max(axis=1)
    margin = MARGIN * (high - low)
    return low - margin, high + margin, spectra.mean(axis=1)
