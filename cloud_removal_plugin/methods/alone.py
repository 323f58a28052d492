"""METHOD=auto for a date that stands alone: the starter network joins what the scene teaches.

Without other dates the scene says little about its gap: its rim, and the radar. (Another date, however old, shows
fields and roads: beside one the network gained nothing, and cost up to 1.7 dB.) The starter network adds what the
ground under clouds is like elsewhere, and what thin clouds let through. Weights are found where the scene's own
clouds are moved over clear pixels, and pulled to a prior, since clear pixels beside clouds hide their haze from any
such trial. Where the gap lies farther from clear pixels than the trial reached, and where next to nothing is clear,
the network answers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..observation import Observation, Restoration
from .ensemble import SceneEnsemble
from .evidence import Evidence
from .facts import SceneFacts
from .inpainting import REACH, distance
from .joined import FittedJoined, JoinedEnsemble, chosen
from .learned_trial import moved
from .membrane import spread
from .protocol import Fitted, Needs, Report
from .sigma import SigmaModel, fit_sigma, overall
from .stack import STRENGTH
from .starter import LEAST_BANDS, NAME, StarterNetwork, knows, shipped

DECAY_PX = 15.0
"""Pixels over which the network is bent to what is seen beside the gap."""
PRIOR = 0.7
"""Weight of the network to which those of the trial are pulled, as hard as in the ensemble's own stack."""
UNTRIED, LEAST_CLEAR = 0.25, 0.02
"""Weight where clear pixels are too few for a trial, but more than this share of all; with fewer it is 1."""
LEAST, ENOUGH = 500, 6_000
"""Hidden pixels that a trial needs, and that it keeps."""
FINEST_M, COARSEST_M = 5.0, 40.0
"""Pixels of the places that it was trained on measure 10 and 20 m."""


@dataclass(frozen=True)
class FittedAlone:
    """What the scene teaches, and the starter network beside it (see :class:`Fitted`).

    Attributes:
        base: what the scene teaches. network: the starter network.
        weights: float32 (C,), of the network, within reach of clear pixels; the rest is the scene's.
        reach: pixels from clear ones up to which the trial speaks for the weights and the error.
        sigma: the error model within reach; None = unknown. beyond: float32 (C,), the error on left-out regions.
    """

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    notes: tuple[str, ...]
    base: Fitted
    network: StarterNetwork
    weights: np.ndarray
    reach: float
    sigma: SigmaModel | None
    beyond: np.ndarray

    @property
    def evidence(self) -> Evidence | None:
        """What the simulated gaps showed of the scene's own members."""
        return getattr(self.base, "evidence", None)

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap of one window of the region."""
        found = self.base.restore(obs, pool=pool)
        gap = obs.gap()
        if not gap.any():
            return found
        far = distance(obs.seen()[0] & ~gap)[gap]
        doubt = (1 - np.minimum(self.reach / np.maximum(far, 1e-6), 1)).astype(np.float32)
        own = estimate(self.network, obs, pool)[:, gap]
        base = found.reflectance[:, gap]
        share = np.where(np.isfinite(base), self.weights[:, None] + (1 - self.weights[:, None]) * doubt, 1)
        reflectance = found.reflectance.astype(np.float32, copy=True)
        reflectance[:, gap] = (1 - share) * np.where(np.isfinite(base), base, 0) + share * own
        sigma = np.full_like(reflectance, np.nan)
        deviation = np.broadcast_to(self.beyond[:, None], own.shape)
        if self.sigma is not None:
            near = self.sigma.predict([np.log1p(far)], len(far))
            deviation = np.sqrt((1 - doubt) * near**2 + doubt * deviation**2)
        sigma[:, gap] = deviation
        return Restoration(reflectance, sigma)


class AloneOrJoined:
    """METHOD=auto: published networks join as they do in :class:`JoinedEnsemble`; a date alone gets the starter.

    Args:
        folder, memory_mb, choice: as there; "-starter" leaves the starter network out.

    Raises:
        InputError: ``choice`` names no network.
    """

    name = "auto"

    def __init__(self, folder: Path | None = None, memory_mb: int = 0, choice: str = "") -> None:
        words = choice.replace(",", " ").replace(";", " ").split()
        others = [word for word in words if word.removeprefix("-") != NAME]
        self._wanted = f"-{NAME}" not in words and (NAME in words or not others or others[0].startswith("-"))
        self._joined = JoinedEnsemble(folder, memory_mb, " ".join(others) or ("none" if NAME in words else ""))
        self._folder = folder
        self._network: StarterNetwork | None = None
        self._said: list[str] = []
        chosen(" ".join(others))

    def judge_cost(self, hidden: int) -> str:
        """See :class:`Economical`."""
        return self._joined.judge_cost(hidden)

    def account(self) -> list[str]:
        """See :class:`Accountable`."""
        return self._joined.account()

    def prepare(self, facts: SceneFacts) -> None:
        """See :class:`Particular`."""
        self._joined.prepare(facts)

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
        base = self._joined.fit(samples, seed=seed, device=device, pool=pool, report=report, cancelled=cancelled)
        if not self._wanted or isinstance(base, FittedJoined) or not suits(samples):
            return base
        try:
            network = shipped(self._folder)
        except InputError as error:
            return replace(base, notes=(*base.notes, f"The starter network was left out. {error}"))
        return base if network is None else joined(base, network, samples, seed, pool)


def suits(samples: Sequence[Observation]) -> bool:
    """Whether the date stands alone, and shows bands and pixels of the kind that the starter network knows."""
    first = samples[0]
    fits = len(first.bands) >= LEAST_BANDS and knows(first.bands)
    return fits and FINEST_M <= first.pixel_m <= COARSEST_M and len(first.days) == 1


def joined(
    base: Fitted, network: StarterNetwork, samples: Sequence[Observation], seed: tuple[int, ...], pool: Executor | None
) -> Fitted:
    """Weighs the network against what the scene teaches; ``base`` itself where the gap is too small to try it."""
    beyond = network.rmse_of(samples[0].bands)
    blind, own, far, fold = _trial(network, samples, seed, pool)
    radar = base.needs.radar or samples[0].radar is not None
    shared = {
        "needs": replace(base.needs, halo=max(base.needs.halo, REACH), radar=radar, pixelwise=False),
        "dates_used": base.dates_used, "base": base, "network": network, "beyond": beyond,
    }  # fmt: skip
    if own.shape[1] < LEAST:
        return _untried(base, samples, shared)
    weights = weights_of(blind, own)
    after = blind + weights[:, None] * (own - blind)
    sigma = fit_sigma([np.log1p(far)], after, fold)
    reach = max(float(np.quantile(far, 0.98)), 8.0)
    deep = _deep(samples, reach)
    rmse = overall(np.sqrt((1 - deep) * np.mean(np.square(after), axis=1) + deep * beyond**2))
    share = float(weights.mean())
    note = "The starter network joins, for want of another date. It is small, and no published network's equal."
    return FittedAlone(
        expected_rmse=rmse, summary=f"scene {1 - share:.2f} ({base.summary}), starter network {share:.2f}",
        notes=(*base.notes, note), weights=weights, reach=reach, sigma=sigma, **shared,
    )  # fmt: skip


def _untried(base: Fitted, samples: Sequence[Observation], shared: dict[str, object]) -> Fitted:
    """No trial was possible: the gap is small, and the scene answers; or little is clear."""
    clear = sum(int((obs.seen()[0] & ~obs.gap()).sum()) for obs in samples)
    hidden = sum(int(obs.gap().sum()) for obs in samples)
    if clear > hidden:
        return base
    share = UNTRIED if clear > LEAST_CLEAR * (clear + hidden) else 1.0
    note = "Too little is clear to try the starter network here: its weight is fixed, its error that on other places."
    beyond = shared["beyond"]
    return FittedAlone(
        expected_rmse=overall(beyond), summary=f"scene {1 - share:.2f} ({base.summary}), starter network {share:.2f}",
        notes=(*base.notes, note), weights=np.full(len(beyond), share, np.float32), reach=np.inf, sigma=None, **shared,
    )  # fmt: skip


def weights_of(blind: np.ndarray, own: np.ndarray) -> np.ndarray:
    """float32 (C,), the network's weights: ridge regression pulled to :data:`PRIOR`, from 0 to 1.

    Args:
        blind, own: (C, n), errors of the scene and of the network in the trial.
    """
    error, change = blind.astype(np.float64), own.astype(np.float64) - blind
    least = np.minimum(np.mean(error**2, axis=1), np.mean(own.astype(np.float64) ** 2, axis=1))
    pull = STRENGTH * np.maximum(least, 1e-12)
    found = (pull * PRIOR - np.mean(change * error, axis=1)) / (np.mean(change**2, axis=1) + pull)
    return np.clip(found, 0, 1).astype(np.float32)


def _deep(samples: Sequence[Observation], reach: float) -> float:
    """Mean doubt over the gap."""
    far = np.concatenate([distance(obs.seen()[0] & ~obs.gap())[obs.gap()] for obs in samples])
    return float((1 - np.minimum(reach / np.maximum(far, 1e-6), 1)).mean()) if len(far) else 0.0


def _trial(
    network: StarterNetwork, samples: Sequence[Observation], seed: tuple[int, ...], pool: Executor | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Errors of scene and network (C, n), distances (n,) and stripes (n,) where clouds were moved over clear pixels."""
    rng = np.random.default_rng([*seed, 71])
    hidden, covered = [], []
    for obs in samples:
        here = moved(obs, rng)
        clouds = here.clouds(obs)
        mask = here.hidden
        optical, cloud = obs.optical.copy(), obs.cloud.copy()
        optical[0] = np.where(mask, clouds, optical[0])
        cloud[0] = np.where(mask, np.float32(1), cloud[0])
        hidden.append(mask)
        covered.append(replace(obs, optical=optical, cloud=cloud))
    total = sum(int(mask.sum()) for mask in hidden)
    bands = samples[0].shape[1]
    if total < LEAST:
        return np.zeros((bands, 0)), np.zeros((bands, 0)), np.zeros(0), np.zeros(0, int)
    scene = SceneEnsemble("fast").fit(covered, seed=seed, pool=pool)
    parts = []
    for obs, mask, whole in zip(covered, hidden, samples, strict=True):
        if not mask.any():
            continue
        places = np.flatnonzero(mask)
        keep = np.sort(rng.permutation(places)[: max(1, ENOUGH * len(places) // total)])
        truth = whole.optical[0].reshape(bands, -1)[:, keep]
        first = scene.restore(obs, pool=pool).reflectance.reshape(bands, -1)[:, keep] - truth
        second = estimate(network, obs, pool).reshape(bands, -1)[:, keep] - truth
        far = distance(obs.seen()[0] & ~obs.gap()).ravel()[keep]
        parts.append((first, second, far, (keep % mask.shape[1]) // 16 % 3))
    first, second, far, fold = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    known = np.isfinite(first).all(axis=0)  # with next to nothing clear the scene teaches nothing
    return first[:, known], second[:, known], far[known], fold[known]


def estimate(network: StarterNetwork, obs: Observation, pool: Executor | None = None) -> np.ndarray:
    """The network's image (C, H, W), bent to what is seen beside the gap."""
    gap = obs.gap()
    clear = obs.seen()[0] & ~gap
    found = network.restore(obs.optical[0], obs.bands, gap, _radar(obs))
    if not clear.any():
        return found
    difference = np.where(clear, obs.optical[0] - found, 0)
    fade = np.exp(-distance(clear) / np.float32(DECAY_PX))
    return np.maximum(found + fade * spread(difference, clear, pool), 0)


def _radar(obs: Observation) -> np.ndarray | None:
    """The acquisition nearest in time that holds both polarisations over most of the window; None without."""
    if obs.radar is None:
        return None
    order = np.argsort(np.abs(np.asarray(obs.radar_days, np.float64)), kind="stable")
    usable = (obs.radar[k] for k in order if np.isfinite(obs.radar[k]).mean(axis=(1, 2)).min() > 0.5)
    return next(usable, None)
