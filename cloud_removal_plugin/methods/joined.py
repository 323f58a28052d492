"""METHOD=auto: the scene ensemble, joined by every published network whose weights are there and that helps here.

A network is expensive, so it is judged first, on a few windows in which the scene's own clouds were moved over clear
pixels; the scene ensemble is fitted once more without those pixels, so that both face them blind. Only networks that
lower the error run over the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import CloudRemovalError, DependencyError, InputError
from ..models.records import RECORDS
from ..observation import Observation, Restoration
from ..weights.folder import find, weights_folder
from . import joined_trial as judging
from .ensemble import SceneEnsemble
from .evidence import Evidence
from .facts import SceneFacts
from .joined_trial import Failed
from .learned import NETWORKS, Learned, of_dates
from .learned_window import Runner
from .protocol import Fitted, Needs, Report

BASE, LIGHT = "auto", "fast"
"""The scene ensembles that the networks join: with small networks trained on the scene, and without."""

BEARABLE_PX = 50_000_000
"""Hidden pixels up to which small networks are trained on the scene; with them a scene takes about 60 % longer."""


@dataclass(frozen=True)
class FittedJoined:
    """The scene ensemble and the networks that help (see :class:`Fitted`).

    Attributes:
        base: the scene ensemble.
        runners: by the name of the network; their ``order`` counts the observation's dates as fitted on.
        weights: float32 (G, C), in the order of ``runners``; the rest is the ensemble's.
        scale: float32 (C,), what the networks make of the ensemble's sigma.
        failed: sentences about networks that died on the way; they take no further part.
    """

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    base: Fitted
    runners: dict[str, Runner]
    weights: np.ndarray
    scale: np.ndarray
    said: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the log."""
        return (*self.base.notes, *self.said, *self.failed.values())

    @property
    def evidence(self) -> Evidence | None:
        """What the simulated gaps showed of the ensemble's own members."""
        return getattr(self.base, "evidence", None)

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap of one window of the region."""
        found = self.base.restore(of_dates(obs, self.dates_used, self.base.dates_used), pool=pool)
        gap = obs.gap()
        if not gap.any():
            return found
        mine = of_dates(obs, self.dates_used, None)
        change = np.zeros_like(found.reflectance[:, gap])
        touched = np.zeros(change.shape, bool)
        for (name, runner), weights in zip(self.runners.items(), self.weights, strict=True):
            mean = self._estimate(name, runner, mine, gap, pool)
            if mean is None:
                continue
            bands = list(runner.restored)
            step = mean[:, gap] - found.reflectance[bands][:, gap]
            known = np.isfinite(step)
            change[bands] += np.where(known, weights[bands, None] * step, 0)
            touched[bands] |= known & (weights[bands, None] > 0)
        reflectance = found.reflectance.copy()
        reflectance[:, gap] += change
        sigma = None if found.sigma is None else found.sigma.copy()
        if sigma is not None:
            sigma[:, gap] *= np.where(touched, self.scale[:, None], 1)
        return Restoration(reflectance, sigma)

    def _estimate(
        self, name: str, runner: Runner, obs: Observation, gap: np.ndarray, pool: Executor | None
    ) -> np.ndarray | None:
        """The network's bands (K, H, W); None once it has failed."""
        if name in self.failed:
            return None
        here = replace(runner, order=tuple(self.dates_used.index(date) for date in runner.order))
        try:
            mean, _ = here.restore(obs, gap, pool, self.needs.halo if runner.shape else 0)
        except Failed as error:
            title = runner.record.title
            self.failed[name] = f"{title} failed in the middle ({_short(error)}) and was left out from there on."
            return None
        return mean


class JoinedEnsemble:
    """METHOD=auto before it has seen a scene.

    Args:
        folder: of the weights; None = the analyst's.
        memory_mb: what the job may use in MiB; 0 = a default.
        choice: names of networks to take, or, with a minus before them, to leave out; "none" = no network, "" = all.

    Raises:
        InputError: ``choice`` names no network.
    """

    name = "auto"

    def __init__(self, folder: Path | None = None, memory_mb: int = 0, choice: str = "") -> None:
        self._folder = folder or weights_folder()
        self._memory_mb = memory_mb
        self._wanted, self._named = chosen(choice)
        self._guests: dict[str, Learned] = {}
        self._said: list[str] = []
        self._light = False

    def judge_cost(self, hidden: int) -> str:
        """Whether small networks are trained on the scene (see :class:`Economical`)."""
        self._light = hidden > BEARABLE_PX
        much, most = f"{hidden / 1e6:.3g} million pixels are hidden", f"{BEARABLE_PX / 1e6:.0f} million"
        if self._light:
            return f"auto works as 'fast': {much}, and beyond {most} networks trained on the scene would take too long."
        return f"auto trains small networks on the scene: {much}, and up to {most} the time is bearable."

    def prepare(self, facts: SceneFacts) -> None:
        """Finds the networks that can take part (see :class:`Particular`).

        Raises:
            InputError, DependencyError: a network that the analyst named cannot; others are left out in silence.
        """
        self._guests, self._said = {}, []
        for name in self._wanted:
            guest = Learned(name, self._folder, self._memory_mb)
            try:
                if not self._named and find(name, self._folder) is None:
                    continue
                guest.prepare(facts)
            except (InputError, DependencyError) as error:
                if self._named:
                    raise
                self._said.append(f"A network with weights was left out. {error}")
                continue
            self._guests[name] = guest

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
        again = {"seed": seed, "device": device, "pool": pool, "cancelled": cancelled}
        kind = LIGHT if self._light else BASE
        scene = SceneEnsemble(kind)
        if not self._guests:
            base = scene.fit(samples, report=report, **again)
            return base if not self._said else _with_notes(base, self._said)
        half = None if report is None else (lambda share, phase: report(0.5 * share, phase))
        base = scene.fit(samples, report=half, **again)
        said = list(self._said)
        runners: dict[str, Runner] = {}
        for name, guest in self._guests.items():
            try:
                runners[name], notes = guest.runner(samples, device, pool, cancelled)
                said += notes
            except (CloudRemovalError, *Failed) as error:
                said.append(f"{RECORDS[name].title} was left out: {_short(error)}.")
        if report is not None:
            report(0.5, "Trying the published networks")
        widest = max(runners.values(), key=lambda runner: runner.lattice.edge / runner.ratio, default=None)
        gaps = judging.hide(widest, samples, seed) if widest is not None else None
        if gaps is None or sum(int(hidden.sum()) for hidden in gaps.hidden) < judging.LEAST:
            said.append("Too few pixels are clear to judge the published networks here; none takes part.")
            return _with_notes(base, said)
        blind = SceneEnsemble(kind).fit(gaps.samples, **again)
        return _joined(base, blind, runners, gaps, samples, pool, said)


def chosen(choice: str) -> tuple[tuple[str, ...], bool]:
    """Networks that may take part, and whether the analyst named them.

    Raises:
        InputError: a word is no network.
    """
    words = choice.replace(",", " ").replace(";", " ").split()
    if words == ["none"]:
        return (), False
    unknown = [word for word in words if word.removeprefix("-") not in NETWORKS]
    if unknown:
        raise InputError(
            f"ENSEMBLE names '{unknown[0]}', which is no network. Use names from: {', '.join(NETWORKS)}; '-name' "
            "leaves one out, 'none' takes none."
        )
    named = tuple(word for word in words if not word.startswith("-"))
    left = {word[1:] for word in words if word.startswith("-")}
    return tuple(name for name in (named or NETWORKS) if name not in left), bool(named)


def _joined(
    base: Fitted,
    blind: Fitted,
    runners: dict[str, Runner],
    gaps: judging.Gaps,
    samples: Sequence[Observation],
    pool: Executor | None,
    said: list[str],
) -> Fitted:
    """Weighs the networks by the simulated gaps."""
    truth = judging.truth_of(gaps, samples)
    own, sigma = judging.of_ensemble(blind, gaps, pool)
    own = own - truth
    errors, took = {}, {}
    for name, runner in runners.items():
        try:
            values, took[name] = judging.of_network(runner, gaps, pool)
        except Failed as error:
            said.append(f"{runner.record.title} was left out: it failed on the first windows ({_short(error)}).")
            continue
        if np.isfinite(values[list(runner.restored)]).all():
            errors[name] = values - truth
        else:
            said.append(f"{runner.record.title} was left out: it gave no numbers for some pixels.")
    kept = list(errors)
    while kept:
        stack = np.stack([errors[name] for name in kept])
        weights = judging.weigh(own, stack)
        useless = [
            k for k, name in enumerate(kept) if weights[k, list(runners[name].restored)].mean() < judging.LEAST_WEIGHT
        ]
        if not useless and judging.worth_it(own, stack, judging.stripes_of(gaps)):
            break
        drop = min(useless or range(len(kept)), key=lambda k: weights[k].mean())
        kept.pop(drop)
    judged = own.shape[1]
    said += [
        f"{runners[name].record.title} does not lower the error here (tried on {judged} pixels, {took[name]:.0f} s), "
        "so it does not run over the scene."
        for name in errors
        if name not in kept
    ]
    if not kept:
        return _with_notes(base, said)
    after = judging.mixed(own, stack, weights)
    scale = judging.sigma_scale(after, sigma)
    lowered = float(np.sqrt(np.mean(np.square(after)) / max(np.mean(np.square(own)), 1e-12)))
    return _fitted(base, {name: runners[name] for name in kept}, weights, scale, lowered, said)


def _fitted(
    base: Fitted, runners: dict[str, Runner], weights: np.ndarray, scale: np.ndarray, lowered: float, said: list[str]
) -> FittedJoined:
    """The ensemble and the networks that are left, with what they make of the error."""
    rmse = None if base.expected_rmse is None else base.expected_rmse * min(lowered, 1.0)
    union = tuple(sorted({0, *base.dates_used, *(date for runner in runners.values() for date in runner.order)}))
    halo = max(base.needs.halo, *(runner.halo for runner in runners.values()))
    radar = base.needs.radar or any(runner.wants.radar for runner in runners.values())
    share = weights.mean(axis=1)
    parts = [f"{name} {value:.2f}" for name, value in zip(runners, share, strict=True)]
    summary = f"scene ensemble {1 - share.sum():.2f} ({base.summary}), {', '.join(parts)}"
    needs = replace(base.needs, halo=halo, radar=radar)
    return FittedJoined(needs, union, rmse, summary, base, runners, weights.astype(np.float32), scale, tuple(said))


def _with_notes(fitted: Fitted, said: Sequence[str]) -> Fitted:
    return replace(fitted, notes=(*fitted.notes, *said))


def _short(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
