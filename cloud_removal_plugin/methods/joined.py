"""METHOD=auto: the scene ensemble, joined by every published network whose weights are there and that helps here.

A network is expensive, so it is judged first, on a few windows in which the scene's own clouds were moved over clear
pixels; the scene ensemble is fitted once more without those pixels, so that both face them blind. Only networks that
lower the error run over the scene.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import CloudRemovalError, DependencyError, InputError
from ..models.records import RECORDS
from ..observation import Observation, Restoration
from ..weights.folder import find, weights_folder
from . import joined_trial as judging
from .ensemble import SceneEnsemble
from .evidence import Evidence, with_networks
from .facts import SceneFacts
from .joined_sigma import FOLDS, JoinedSigma, add, fit_joined, rooted, spread_of
from .joined_trial import Failed
from .joined_verdicts import Verdicts
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
        sigma: what the networks make of the ensemble's sigma; None = nothing.
        failed: sentences about networks that died on the way, by name, shared by all regions; they take no further
            part.
        evidence: what simulated gaps showed of the ensemble's members and the networks.
    """

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    base: Fitted
    runners: dict[str, Runner]
    weights: np.ndarray
    sigma: JoinedSigma | None
    said: tuple[str, ...]
    failed: dict[str, str]
    evidence: Evidence | None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the log."""
        return (*self.base.notes, *self.said, *self.failed.values())

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap of one window of the region."""
        found = self.base.restore(of_dates(obs, self.dates_used, self.base.dates_used), pool=pool)
        gap = obs.gap()
        if not gap.any():
            return found
        mine = of_dates(obs, self.dates_used, None)
        base = found.reflectance[:, gap]
        moments = np.zeros((2, *base.shape), np.float32)
        touched = np.zeros(base.shape, bool)
        own = []
        for (name, runner), weights in zip(self.runners.items(), self.weights, strict=True):
            values = self._estimate(name, runner, mine, gap, pool)
            step = values[0] - base
            known = np.isfinite(step)
            add(moments, np.where(known, step, 0), weights)
            touched |= known & (weights[:, None] > 0)
            if runner.wants.variance:
                own.append(values[1])
        reflectance = found.reflectance.copy()
        reflectance[:, gap] = base + moments[0]
        sigma = None if found.sigma is None else found.sigma.copy()
        if sigma is not None and self.sigma is not None:
            before = sigma[:, gap]
            sigma[:, gap] = np.where(touched, self.sigma.predict(before, rooted(moments), own), before)
        return Restoration(reflectance, sigma)

    def _estimate(
        self, name: str, runner: Runner, obs: Observation, gap: np.ndarray, pool: Executor | None
    ) -> np.ndarray:
        """The network's reflectance and deviation in the gap (2, C, n); NaN where it says nothing, or has failed."""
        out = np.full((2, obs.shape[1], int(gap.sum())), np.nan, np.float32)
        if name in self.failed:
            return out
        here = replace(runner, order=tuple(self.dates_used.index(date) for date in runner.order))
        try:
            mean, deviation = here.restore(obs, gap, pool, self.needs.halo if runner.shape else 0)
        except Failed as error:
            title = runner.record.title
            self.failed[name] = f"{title} failed in the middle ({_short(error)}) and was left out from there on."
            return out
        bands = list(runner.restored)
        out[0, bands] = mean[:, gap]
        if deviation is not None:
            out[1, bands] = deviation[:, gap]
        return out


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
        self._light, self._hidden = False, 0
        self._verdicts = Verdicts()

    def judge_cost(self, hidden: int) -> str:
        """Whether small networks are trained on the scene (see :class:`Economical`)."""
        self._light, self._hidden = hidden > BEARABLE_PX, hidden
        much, most = f"{hidden / 1e6:.3g} million pixels are hidden", f"{BEARABLE_PX / 1e6:.0f} million"
        if self._light:
            return f"auto works as 'fast': {much}, and beyond {most} networks trained on the scene would take too long."
        return f"auto trains small networks on the scene: {much}, and up to {most} the time is bearable."

    def prepare(self, facts: SceneFacts) -> None:
        """Finds the networks that can take part (see :class:`Particular`).

        Raises:
            InputError, DependencyError: a network that the analyst named cannot; others are left out in silence.
        """
        self._guests, self._said, self._verdicts = {}, [], Verdicts()
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
        due = [name for name in self._guests if self._verdicts.due(name)]
        if not due:
            self._verdicts.spared += bool(self._guests)
            base = scene.fit(samples, report=report, **again)
            return base if not self._said else _with_notes(base, self._said)
        half = None if report is None else (lambda share, phase: report(0.5 * share, phase))
        base = scene.fit(samples, report=half, **again)
        said = list(self._said)
        runners = self._runners(due, samples, device, pool, cancelled, said)
        if report is not None:
            report(0.5, "Trying the published networks")
        gaps = judging.hide(widest(runners.values()), samples, seed) if runners else None
        if gaps is None or gaps.count < judging.LEAST:
            said.append("Too few pixels are clear to judge the published networks here; none takes part.")
            return _with_notes(base, said)
        since = time.perf_counter()
        blind = SceneEnsemble(kind).fit(gaps.samples, **again)
        self._verdicts.count_blind(time.perf_counter() - since)
        return self._joined(base, blind, runners, gaps, samples, pool, said)

    def account(self) -> list[str]:
        """What was saved by trying networks first (see :class:`Accountable`)."""
        return self._verdicts.account({name: RECORDS[name].title for name in self._guests}, self._hidden)

    def _runners(
        self, due: Sequence[str], samples: Sequence[Observation], device: str, pool: Executor | None,
        cancelled: Callable[[], bool] | None, said: list[str],
    ) -> dict[str, Runner]:  # fmt: skip
        """The networks that this region tries; ``said`` gains what there is to say of them."""
        runners: dict[str, Runner] = {}
        for name in due:
            try:
                runners[name], notes = self._guests[name].runner(samples, device, pool, cancelled)
                said += notes
            except (CloudRemovalError, *Failed) as error:
                said.append(f"{RECORDS[name].title} was left out: {_short(error)}.")
        return runners

    def _joined(
        self, base: Fitted, blind: Fitted, runners: dict[str, Runner], gaps: judging.Gaps,
        samples: Sequence[Observation], pool: Executor | None, said: list[str],
    ) -> Fitted:  # fmt: skip
        """Weighs the networks by the simulated gaps."""
        truth = judging.truth_of(gaps, samples)
        values, sigma = judging.of_ensemble(blind, gaps, pool)
        tried = self._tried(runners, gaps, pool, said)
        trial = judging.Trial(
            values - truth, sigma, {name: found.values - truth for name, found in tried.items()},
            {name: found.deviation for name, found in tried.items() if found.deviation is not None},
            judging.stripes_of(gaps),
        )  # fmt: skip
        kept = judging.select(trial, {name: runner.restored for name, runner in runners.items()})
        for name, found in tried.items():
            self._verdicts.record(name, name in kept, found.seconds, gaps.count)
        if not kept:
            return _with_notes(base, said)
        return _fitted(base, {name: runners[name] for name in kept}, trial, said, self._verdicts.failed)

    def _tried(
        self, runners: dict[str, Runner], gaps: judging.Gaps, pool: Executor | None, said: list[str]
    ) -> dict[str, judging.Tried]:
        """What the networks make of the hidden pixels, without those that fail on them."""
        out = {}
        for name, runner in runners.items():
            try:
                found = judging.of_network(runner, gaps, pool)
            except Failed as error:
                sentence = f"{runner.record.title} was left out: it failed on the first windows ({_short(error)})."
                self._verdicts.failed[name] = sentence
                said.append(sentence)
                continue
            if np.isfinite(found.values[list(runner.restored)]).all():
                out[name] = found
            else:
                self._verdicts.record(name, False, found.seconds, gaps.count)
                said.append(f"{runner.record.title} was left out: it gave no numbers for some pixels.")
        return out


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


def _fitted(
    base: Fitted, runners: dict[str, Runner], trial: judging.Trial, said: list[str], failed: dict[str, str]
) -> FittedJoined:
    """The ensemble and the networks that are left, with what they make of the error."""
    weights = trial.weights(list(runners))
    after = trial.blindly(list(runners), FOLDS)
    stack = [trial.errors[name] - trial.base for name in runners]
    spread = spread_of(stack, weights)
    own = [trial.deviations[name] for name, runner in runners.items() if runner.wants.variance]
    sigma = fit_joined(after, trial.sigma, spread, own, trial.stripes)
    lowered = float(np.sqrt(np.mean(np.square(after)) / max(np.mean(np.square(trial.base)), 1e-12)))
    rmse = None if base.expected_rmse is None else base.expected_rmse * min(lowered, 1.0)
    union = tuple(sorted({0, *base.dates_used, *(date for runner in runners.values() for date in runner.order)}))
    halo = max(base.needs.halo, *(runner.halo for runner in runners.values()))
    radar = base.needs.radar or any(runner.wants.radar for runner in runners.values())
    share = weights.mean(axis=1)
    parts = [f"{name} {value:.2f}" for name, value in zip(runners, share, strict=True)]
    announced = trial.sigma if sigma is None else sigma.predict(trial.sigma, spread, own)
    evidence = with_networks(
        getattr(base, "evidence", None), trial.base, trial.errors, dict(zip(runners, weights, strict=True)), after,
        announced,
    )  # fmt: skip
    return FittedJoined(
        needs=replace(base.needs, halo=halo, radar=radar), dates_used=union, expected_rmse=rmse,
        summary=f"scene ensemble {1 - share.sum():.2f} ({base.summary}), {', '.join(parts)}",
        base=base, runners=runners, weights=weights.astype(np.float32), sigma=sigma, said=tuple(said), failed=failed,
        evidence=evidence,
    )  # fmt: skip


def widest(runners: Iterable[Runner]) -> Runner:
    """The network whose windows cover most of the scene."""
    return max(runners, key=lambda runner: runner.lattice.edge / runner.ratio)


def _with_notes(fitted: Fitted, said: Sequence[str]) -> Fitted:
    return replace(fitted, notes=(*fitted.notes, *said))


def _short(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
