"""The scene ensemble: what a scene's own clear pixels teach, stacked on simulated gaps.

Members: Gaussian over the best dates (with local correction in ``fast``), three tiny networks (``auto``), linear
interpolation, inpainting; weights that sum to one per band; what the stack leaves at clear pixels carried into the
gap, by kriging or, in large regions, a membrane; sigma from the same simulated gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Cancelled, InputError
from ..observation import Observation, Restoration
from .context import axes
from .cores import on_cores
from .covered import fit_covered
from .dates import choose
from .estimate import Estimates, Head, arranged
from .evidence import Evidence, gather
from .folds import lattice_step, simulate
from .frame import Frame, Plan, make_plan, places, ring
from .inpainting import Inpainting, distance
from .kriging import COARSE, FINE, krige, teachers
from .less_seen import LEAST_GROWTH, LESS_SEEN, growth_in_gap
from .local_correction import component_head, leading_components
from .members import JointNetworks, SceneModel, WindowEstimator
from .membrane import spread
from .protocol import Fitted, Needs, Report
from .sampling import draw_sample
from .sigma import SigmaModel, fit_sigma, log_size, overall
from .stack import stack_weights, told
from .trial import (
    SMALL,
    Trial,
    estimate_parts,
    fit_gaussians,
    fold_parts,
    principal,
    run_trial,
    train_networks,
)
from .value_range import limits

MEMBERS = {
    "auto": ("gaussian", "networks", "interpolation", "inpainting"),
    "fast": ("gaussian", "interpolation", "inpainting"),
    "gaussian": ("gaussian",),
    "scene_networks": ("networks",),
}
LOCAL = ("auto", "fast")
"""Methods whose Gaussian is corrected locally."""
LEAST_FOR_NETWORKS = 200
CHUNK = 8_192
"""Pixels finished at a time, so that they stay in the cache."""
DOUBTFUL = 0.1
"""Mean doubt over the gap from which the error is widened."""


def least_clear(pixels: int) -> int:
    """Clear pixels of the target below which it counts as covered: 0.5 % of the samples, 60 to 2,500."""
    return int(np.clip(pixels // 200, 60, 2_500))


@dataclass(frozen=True)
class FittedEnsemble:
    """A fitted region (see :class:`Fitted`).

    Attributes:
        model: what estimates the members. weights: float32 (M, C). basis: axes (K, C) of the membrane.
        reach: pixels from clear ones up to which simulated gaps speak for the error.
        beyond: float32 (C,), what is known of the error far beyond it; None where the gap does not go there.
        evidence: what the simulated gaps showed, for the report.
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
    reach: float = np.inf
    beyond: np.ndarray | None = None
    evidence: Evidence | None = None

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap of one window of the region."""
        model = self.model
        frame = Frame(obs, model.plan)
        out, sigma = np.empty((2, model.plan.bands, *frame.shape), np.float32)  # nobody looks beside the gap
        if not frame.gap.any():
            return Restoration(out, sigma)
        rim = ring(frame.gap, frame.clear)
        known = rim | teachers(frame.gap, frame.clear) if model.kriging else rim
        variables = len(model.gaussian.mean)
        inside, edge = (arranged(frame, np.flatnonzero(mask), model.plan, variables) for mask in (frame.gap, known))
        members_at = WindowEstimator(frame, model, (inside, edge), pool)
        taught, at_clear = members_at(1)
        rest = np.take(frame.target, edge, axis=1) - self._stacked(at_clear)
        laplace, corrections = self._continued(frame, rim, edge, rest, pool)
        found, members = members_at(0)
        if model.kriging:
            known_at, wanted_at = (places(pixels, frame.shape[1]) for pixels in (edge, inside))
            kriged = krige(known_at, rest, taught.extra, wanted_at, found.extra, model.kriging, pool=pool)
        far = distance(frame.clear).ravel()
        flat_out, flat_sigma = out.reshape(len(out), -1), sigma.reshape(len(out), -1)

        def finish(start: int) -> None:
            part = slice(start, start + CHUNK)
            pixels = inside[part]
            chosen = {name: values[:, part] for name, values in members.items()}
            correction = kriged[:, part] if model.kriging else self.basis.T @ np.take(corrections, pixels, axis=1)
            result = self._stacked(chosen) + correction
            np.clip(result, model.low[:, None], model.high[:, None], out=result)
            flat_out[:, pixels] = result
            if self.sigma is not None:
                features = sigma_features(chosen, result, correction, found.at(part), laplace[pixels], far[pixels])
                flat_sigma[:, pixels] = self._deviation(features, far[pixels], found.log_deviation[:, part])
            else:
                flat_sigma[:, pixels] = np.nan

        on_cores(finish, range(0, len(inside), CHUNK), pool)
        return Restoration(out, sigma)

    def _continued(
        self, frame: Frame, rim: np.ndarray, edge: np.ndarray, rest: np.ndarray, pool: Executor | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Continued from the rim (H, W): mean reflectance (H * W,) and, unless kriged, the rest's axes (K, H * W)."""
        axes = np.zeros((0, len(rest)), np.float32) if self.model.kriging else self.basis
        planes = np.zeros((len(axes) + 1, frame.size), np.float32)
        if not len(edge):
            planes[-1] = self.model.mean.mean()
            return planes[-1], planes[:-1]
        planes[:-1, edge] = axes @ rest
        planes[-1, edge] = np.take(frame.target, edge, axis=1).mean(axis=0)
        planes = spread(planes.reshape(-1, *frame.shape), rim, pool).reshape(planes.shape)
        return planes[-1], planes[:-1]

    def _deviation(self, features: list[np.ndarray], far: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Standard deviations (C, n), widened where no simulated gap reaches; ``known``: the Gaussian's, its log."""
        deviation = self.sigma.predict(features, len(far), known)
        if self.beyond is not None:
            doubt = _doubt(far, self.reach)
            deviation = np.sqrt((1 - doubt) * deviation**2 + doubt * self.beyond[:, None] ** 2)
        return deviation

    def _stacked(self, members: dict[str, np.ndarray]) -> np.ndarray:
        """Weighted sum (C, n) of the members before the membrane."""
        total = None
        for name, weight in zip(self.names, self.weights, strict=True):
            part = weight[:, None] * (members[name] if name in members else self.model.mean[:, None])
            total = part if total is None else total + part
        return total


def _doubt(far: np.ndarray, reach: float) -> np.ndarray:
    """How little simulated gaps say of pixels (n,) this far from clear ones: 0 within reach, towards 1 beyond."""
    return (1 - np.minimum(reach / np.maximum(far, 1e-6), 1)).astype(np.float32)


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
        found.log_deviation,
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
    ) -> Fitted:
        """Learns the region (see :class:`Restorer`)."""
        if not samples:
            raise InputError("There is no window to fit the scene ensemble on.")
        progress = Progress(report, cancelled)
        progress(0.0, "Choosing dates")
        plan = make_plan(samples, choose(samples))
        if len(plan.sizes) == 1:
            note = "No other date and no radar helps here: the gap is filled from its own rim."
            alone = Inpainting().fit(samples, seed=seed, pool=pool)
            return replace(alone, notes=(note, *alone.notes))
        frames = [Frame(obs, plan) for obs in samples]
        if sum(int(frame.clear.sum()) for frame in frames) < least_clear(sum(frame.size for frame in frames)):
            return self._covered(samples, plan, seed, pool)
        step = lattice_step(samples)
        clears = [frame.clear[::step, ::step] for frame in frames]
        folds = simulate([frame.gap[::step, ::step] for frame in frames], clears, np.random.default_rng([*seed, 11]))
        return self._learn(frames, plan, folds, step, samples, seed, pool, progress)

    def _covered(
        self, samples: Sequence[Observation], plan: Plan, seed: tuple[int, ...], pool: Executor | None
    ) -> Fitted:
        """The target shows next to nothing: other dates stand in, or nothing does."""
        if plan.dates:
            return fit_covered(samples, plan, seed)
        alone = Inpainting().fit(samples, seed=seed, pool=pool)
        note = "The target shows too little to learn how it goes with the radar; add other dates of the place."
        return replace(alone, notes=(note, *alone.notes))

    def _learn(
        self,
        frames: list[Frame],
        plan: Plan,
        folds: list[np.ndarray],
        step: int,
        samples: Sequence[Observation],
        seed: tuple[int, ...],
        pool: Executor | None,
        progress: Progress,
    ) -> FittedEnsemble:
        """The recipe for a target that shows enough of itself."""
        names = MEMBERS[self.name]
        clear = sum(int(frame.clear[::step, ::step].sum()) for frame in frames)
        with_networks = "networks" in names and clear >= LEAST_FOR_NETWORKS and len(plan.sizes) > 1
        if "networks" in names and not with_networks:
            names = tuple(n for n in names if n != "networks") or ("gaussian",)
        small = sum(frame.size for frame in frames) <= SMALL
        # regions of several sample windows keep a membrane: kriging would take more time than the goals leave
        kriging = FINE if small else COARSE if with_networks and len(frames) == 1 else 0
        if kriging and len(names) > 1:
            names = tuple(n for n in names if n != "inpainting")  # kriging carries the rim into the gap by itself
        leading = leading_components(small=small, networks=with_networks) if self.name in LOCAL else None
        progress(0.05, "Fitting the Gaussian")
        sample = draw_sample(frames, folds, step, plan, np.random.default_rng([*seed, 21]))
        whole, models = fit_gaussians(sample, plan, pool)
        progress(0.4, "Simulating gaps")
        parts = fold_parts(frames, folds, step, kriged=kriging > 0)
        estimate_parts(
            parts, frames, models, plan, step, leading=leading, kriged=kriging > 0, fill=with_networks, pool=pool
        )
        low, high, mean = limits(frames, len(plan.days), step)
        model = SceneModel(
            plan,
            whole,
            Head(*component_head(whole)) if kriging or leading is not None else None,
            (),
            np.zeros((0, plan.bands), np.float32),
            np.zeros(plan.bands, np.float32),
            low,
            high,
            mean,
            np.sqrt(np.diag(whole.cov)[-plan.bands :]).astype(np.float32),
            leading=leading,
            kriging=kriging,
        )
        if with_networks:
            progress(0.5, "Training the networks")
            axis = axes(whole.cov[-plan.bands :, -plan.bands :])
            networks, guard = train_networks(parts, frames, folds, whole, plan, axis, step, seed, pool, progress.check)
            known = len(whole.mean)
            joint = JointNetworks(networks, known)
            head = joint.head.with_below(model.looked_at) if model.looked_at else joint.head
            model = replace(model, networks=networks, axis=axis, guard=guard, joint=joint, network_head=head)
        progress(0.8, "Weighing the members")
        every = ("gaussian", *(("networks",) if with_networks else ()), "interpolation", "inpainting")
        rng = np.random.default_rng([*seed, 31])
        trial = run_trial(parts, frames, every, (low, high, mean), step, rng, pool, kriging)
        fitted = self._weigh(trial, model, names)
        growth = growth_in_gap(frames, plan, whole, fitted.sigma, step) if fitted.sigma else 1.0
        if growth >= LEAST_GROWTH:
            fitted = replace(fitted, expected_rmse=fitted.expected_rmse * growth, notes=(LESS_SEEN,))
        return _with_doubt(fitted, trial, frames, samples, step, seed)

    def _weigh(self, trial: Trial, model: SceneModel, names: tuple[str, ...]) -> FittedEnsemble:
        """Weights, sigma and expected error from the simulated gaps."""
        rows = [trial.names.index(name) for name in names]
        errors = (trial.values - trial.truth)[rows]
        weights = stack_weights(errors, names)
        stacked = np.einsum("mc,mcn->cn", weights, errors).astype(np.float32)
        correction = np.einsum("mc,mcn->cn", weights, trial.corrections[rows]).astype(np.float32)
        basis = principal(np.einsum("mc,mcn->cn", weights, trial.rims[rows]))
        features = _trial_features(trial, trial.truth + stacked, correction)
        sigma = fit_sigma(features, stacked, trial.fold, trial.log_deviation) if stacked.shape[1] >= 50 else None
        rmse = overall(stacked) if sigma else None
        summary = ", ".join(told(names, weights.mean(axis=1)))
        announced = sigma.predict(features, stacked.shape[1], trial.log_deviation) if sigma else None
        mixed = dict(zip(names, weights, strict=True))
        alone = trial.values - trial.truth
        plain = trial.names.index("interpolation")  # a baseline: as anybody would make it, nothing carried from the rim
        alone[plain] -= trial.corrections[plain]
        evidence = gather(trial.names, alone, mixed, stacked, announced, trial.fold)
        return FittedEnsemble(
            Needs(0, model.plan.radar is not None, 1),
            (0, *model.plan.dates),
            rmse,
            summary,
            (),
            names,
            model,
            weights.astype(np.float32),
            basis,
            sigma,
            evidence=evidence,
        )


def _trial_features(trial: Trial, result: np.ndarray, correction: np.ndarray) -> list[np.ndarray]:
    """Features of the error model in the simulated gaps, as :func:`sigma_features` makes them."""
    members = {name: trial.values[i] - trial.corrections[i] for i, name in enumerate(trial.names)}
    return sigma_features(members, result, correction, trial, trial.laplace, trial.far)


def _with_doubt(
    fitted: FittedEnsemble,
    trial: Trial,
    frames: Sequence[Frame],
    samples: Sequence[Observation],
    step: int,
    seed: tuple[int, ...],
) -> FittedEnsemble:
    """Widens the error where the gap reaches much farther from clear pixels than any simulated gap could."""
    if fitted.sigma is None or not trial.far.size:
        return fitted
    reach = max(float(np.quantile(trial.far, 0.98)), 8.0)
    far = np.concatenate([distance(f.clear[::step, ::step])[f.gap[::step, ::step]] * step for f in frames])
    doubt = float(_doubt(far, reach).mean()) if far.size else 0.0
    if doubt < DOUBTFUL:
        return fitted
    plan = fitted.model.plan
    other = fit_covered(samples, plan, seed) if plan.dates else None
    if other is None or other.expected_bands is None:
        alone = fitted.model.spread
        note = "Most of the gap lies far from clear pixels, where nothing shows how large the error is."
        return replace(fitted, reach=reach, beyond=alone, expected_rmse=None, notes=(*fitted.notes, note))
    beyond = np.maximum(other.expected_bands, fitted.sigma.rmse).astype(np.float32)
    rmse = overall(np.sqrt((1 - doubt) * fitted.sigma.rmse**2 + doubt * beyond**2))
    note = "Much of the gap lies far from clear pixels; the error there is judged from the differences between dates."
    return replace(fitted, reach=reach, beyond=beyond, expected_rmse=rmse, notes=(*fitted.notes, note))


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
