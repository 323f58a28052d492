"""METHOD=<a published network>: any network with imported weights as a restorer.

The network sees the scene in its own units, bands, dates and resolution; bands that it does not restore are filled by
``fast``. How large its error is, simulated clouds on the scene itself say (the scene's own clouds, moved over clear
pixels), since figures from elsewhere hold for other places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import ext
from ..errors import DependencyError, InputError
from ..models.records import RECORDS, Record
from ..observation import Observation, Restoration
from ..weights.folder import VARIABLE, find, others, weights_folder
from ..weights.known import of_network
from ..weights.stored import Stored
from .facts import SceneFacts
from .inpainting import distance
from .learned_inputs import RESTORERS_BY_MODULE, Wants
from .learned_members import Members, digests, wants_of
from .learned_trial import features, trial
from .learned_window import Runner, lattice_of, ratio_of, side_by_side, window_mb, workers_of
from .precision import settled, wanted
from .protocol import Fitted, Needs, Report
from .sigma import SigmaModel

NETWORKS: tuple[str, ...] = tuple(name for name, entry in RECORDS.items() if entry.module in RESTORERS_BY_MODULE)
"""The networks that restore an image by themselves."""

COARSEST, FINEST = 4.0, 1 / 8
"""Pixels may be this many times as large, or as small, as those that the network was trained on."""

SHARE = 0.5
"""Share of the memory budget that a network's windows may take; the rest is the scene's own windows."""

MOST_CLOUDY = 0.5
"""Clear Vision was not made for series of which more frames are cloudy."""


@dataclass(frozen=True)
class FittedLearned:
    """A network on one region (see :class:`Fitted`).

    Attributes:
        runner: the network at work; its ``order`` counts the observation's dates as fitted on.
        sigma: the error model from simulated clouds, None = unknown.
        rest: restores the bands that the network does not, None where there are none.
    """

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    notes: tuple[str, ...]
    runner: Runner
    sigma: SigmaModel | None
    rest: Fitted | None

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap of one window of the region."""
        gap = obs.gap()
        bands = list(self.runner.restored)
        shape = obs.shape[1:]
        if self.rest is not None:
            base = self.rest.restore(of_dates(obs, self.dates_used, self.rest.dates_used), pool=pool)
            out = base.reflectance.astype(np.float32, copy=True)
            sigma = np.full(shape, np.nan, np.float32) if base.sigma is None else base.sigma.copy()
        else:
            out, sigma = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        if not gap.any():
            return Restoration(out, sigma)
        mine = of_dates(obs, self.dates_used, None)
        runner = replace(self.runner, order=tuple(self.dates_used.index(date) for date in self.runner.order))
        mean, deviation = runner.restore(mine, gap, pool, self.needs.halo if runner.shape else 0)
        sigma[bands] = np.nan
        done = gap & np.isfinite(mean).all(axis=0)
        out[np.ix_(bands, *map(np.arange, gap.shape))] = np.where(gap, mean, np.nan)
        if self.sigma is not None and done.any():
            far = distance(_clear(mine, gap))[done]
            found = features(mean[:, done], mine.optical[0][bands][:, done], far, _at(deviation, done))
            plane = np.full((len(bands), *gap.shape), np.nan, np.float32)
            plane[:, done] = self.sigma.predict(found, int(done.sum()))
            sigma[bands] = plane
        elif deviation is not None:
            sigma[bands] = np.where(gap, deviation, np.nan)
        return Restoration(out, sigma)


def _at(values: np.ndarray | None, where: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[:, where]


def _clear(obs: Observation, gap: np.ndarray) -> np.ndarray:
    return obs.seen()[0] & ~gap


def of_dates(obs: Observation, union: tuple[int, ...], wanted: tuple[int, ...] | None) -> Observation:
    """An observation of all dates, or of ``union``, reduced to ``union`` or to those of ``wanted``."""
    there = tuple(range(obs.shape[0])) if obs.shape[0] != len(union) else union
    keep = [there.index(date) for date in (union if wanted is None else wanted)]
    if keep == list(range(obs.shape[0])):
        return obs
    return replace(obs, optical=obs.optical[keep], cloud=obs.cloud[keep], days=np.asarray(obs.days)[keep])


class Learned:
    """A published network before it has seen a scene.

    Args:
        name: one of :data:`NETWORKS`.
        folder: of the weights; None = the analyst's.
        memory_mb: what the job may use in MiB; 0 = 4096.
    """

    rest_method = "fast"
    """What fills the bands that the network does not restore."""

    def __init__(self, name: str, folder: Path | None = None, memory_mb: int = 0) -> None:
        self.name = name
        self._record = RECORDS[name]
        self._folder = folder or weights_folder()
        self._memory_mb = (memory_mb or 4096) * SHARE
        self._facts: SceneFacts | None = None
        self._stored: Stored | None = None
        self._members: tuple[Stored, ...] = ()
        self._networks: dict[str, Any] = {}

    def prepare(self, facts: SceneFacts) -> None:
        """Refuse a scene that lacks what the network needs (see :class:`Particular`)."""
        self._stored = stored_of(self._record, self._folder)
        self._members = (self._stored, *others(self.name, self._folder, self._stored))
        check(self._record, wants_of(self._record, self._members), facts)
        self._facts = facts

    def fit(
        self,
        samples: Sequence[Observation],
        *,
        seed: tuple[int, ...],
        device: str = "cpu",
        pool: Executor | None = None,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FittedLearned:
        """Chooses dates and measures the error on simulated clouds (see :class:`Restorer`); trains nothing."""
        if not samples:
            raise InputError(f"There is no window to fit {self._record.title} on.")
        if self._facts is None:
            self.prepare(_facts_of(samples[0]))
        runner, notes = self.runner(samples, device, pool, cancelled)
        rest, more = self._rest(samples, runner, seed, device, pool, cancelled)
        found = trial(runner, samples, seed, pool)
        if found.sigma is None:
            notes.append(
                f"The error of {self._record.title} on this scene is unknown: too few pixels are clear to try it."
            )
        union = tuple(sorted({0, *runner.order, *(rest.dates_used if rest else ())}))
        rmse = together(found.rmse, len(runner.restored), rest, samples[0].shape[1])
        halo = max(runner.halo, rest.needs.halo if rest else 0)
        needs = Needs(halo, runner.wants.radar, runner.wants.dates[0], self._record.bands)
        summary = f"{self._record.title} (weights {digests(self._members)}), windows of {runner.lattice.edge} px"
        return FittedLearned(needs, union, rmse, summary, (*notes, *more), runner, found.sigma, rest)

    def runner(
        self,
        samples: Sequence[Observation],
        device: str,
        pool: Executor | None,
        cancelled: Callable[[], bool] | None,
    ) -> tuple[Runner, list[str]]:
        """The network with all that the region decides."""
        record, facts, first = self._record, self._facts, samples[0]
        needed = wants_of(record, self._members)
        order, notes = _order(samples, needed, record)
        notes += _kernel_notes(record, device, cancelled)
        ratio = ratio_of(facts.pixel_m, record)
        workers = workers_of(pool, device)
        memory = memory_for(device, self._memory_mb)
        workers = workers if side_by_side(record, len(order), memory, workers) else 1
        lattice = lattice_of(record, len(order), memory, workers, device)
        taken = workers * window_mb(record, lattice.edge, len(order), device)
        if taken > memory:
            notes.append(
                f"{record.title} takes about {taken:.0f} MB for a window of {lattice.edge} px, its smallest; the "
                f"budget leaves {memory:.0f} MB. Raise MEMORY_MB if the job runs out of memory."
            )
        if ratio != 1:
            notes.append(
                f"{record.title} works at {record.gsd_m:g} m: the layer's pixels of {facts.pixel_m:.3g} m are "
                "resampled for it, and its result back."
            )
        radar_of = nearest_radar(samples, [float(first.days[date]) for date in order], record) if needed.radar else ()
        runner = Runner(
            network=self._network(device), record=record, config=self._stored.config, wants=needed, device=device,
            lattice=lattice, ratio=ratio, shape=facts.shape, order=order, radar_of=radar_of,
            bands=tuple(first.bands.index(role) for role in needed.bands),
            fill=mean_of([obs.optical[0] for obs in samples], 0.1),
            radar_fill=mean_of([obs.radar[list(radar_of)] for obs in samples], -15.0) if needed.radar else 0.0,
            target_date=facts.target_date, cancelled=cancelled, parallel=workers > 1,
        )  # fmt: skip
        half, said = wanted(device)
        runner, decided = settled(runner, samples, half)
        return runner, [*notes, *filter(None, (said, decided))]

    def _rest(
        self, samples: Sequence[Observation], runner: Runner, seed: tuple[int, ...], device: str, pool: Executor | None,
        cancelled: Callable[[], bool] | None,
    ) -> tuple[Fitted | None, list[str]]:  # fmt: skip
        """What fills the bands that the network does not restore."""
        left = [name for index, name in enumerate(samples[0].bands) if index not in runner.restored]
        if not left:
            return None, []
        from .ensemble import SceneEnsemble

        method = self.rest_method
        fitted = SceneEnsemble(method).fit(samples, seed=seed, device=device, pool=pool, cancelled=cancelled)
        note = f"{self._record.title} does not restore {', '.join(left)}; these bands are filled by '{method}'."
        return fitted, [note, *fitted.notes]

    def _network(self, device: str) -> Any:
        if device not in self._networks:
            from ..models.conversion import load

            parts = [(load(stored).to(device), stored.config) for stored in self._members]
            self._networks[device] = parts[0][0] if len(parts) == 1 else Members(tuple(parts))
        return self._networks[device]


def stored_of(record: Record, folder: Path) -> Stored:
    """The weights, or a sentence that says where to get them.

    Raises:
        InputError: they are not there, or damaged.
        DependencyError: the worker has no torch or safetensors.
    """
    for package in ("torch", "safetensors"):
        if not _importable(package):
            raise DependencyError(
                f"{record.title} needs the Python package {package}, which the Python that runs the job lacks. Install "
                "it there, or choose another METHOD."
            )
    stored = find(record.name, folder)
    if stored is not None:
        return stored
    published = of_network(record.name)
    where = f"{published[0].file} from {published[0].address}" if published else f"the weights from {record.weights}"
    note = f" ({published[0].note})" if published and published[0].note else ""
    raise InputError(
        f"The weights of {record.title} are not in '{folder}'. Get {where}{note} and import the file with 'Import "
        f"weights of a network', or name another folder in the options or in {VARIABLE}."
    )


def _importable(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def check(record: Record, needed: Wants, facts: SceneFacts) -> None:
    """Raises InputError with everything that the scene lacks."""
    lacks = []
    missing = [role for role in needed.bands if role not in facts.bands]
    if missing:
        level = " (a Level-1C product has it)" if "cirrus" in missing else ""
        lacks.append(f"the band{'s' if len(missing) > 1 else ''} {', '.join(missing)}{level}")
    if needed.radar and facts.radar != "VV VH":
        lacks.append("a radar layer with VV and VH (RADAR)" + (f", not {facts.radar} alone" if facts.radar else ""))
    least = needed.dates[0]
    if facts.dates < least:
        lacks.append(f"{least} dates, this one and {least - 1} more (OTHER_DATES)")
    if needed.calendar and facts.target_date is None:
        lacks.append("the acquisition dates (DATES)")
    if lacks:
        raise InputError(f"{record.title} needs {'; '.join(lacks)}. Add what is missing, or choose another METHOD.")
    ratio = facts.pixel_m / record.gsd_m
    if not FINEST <= ratio <= COARSEST:
        raise InputError(
            f"{record.title} was trained on pixels of {record.gsd_m:g} m; those of the layer measure "
            f"{facts.pixel_m:.3g} m, which is too far from that. Choose another METHOD."
        )


def _facts_of(obs: Observation) -> SceneFacts:
    """What an observation by itself tells of its scene."""
    radar = ""
    if obs.radar is not None:
        radar = " ".join(
            name for name, plane in zip(("VV", "VH"), np.moveaxis(obs.radar, 1, 0)) if np.isfinite(plane).any()
        )
    return SceneFacts(obs.bands, obs.shape[0], None, radar, obs.pixel_m)


def _kernel_notes(record: Record, device: str, cancelled: Callable[[], bool] | None) -> list[str]:
    """Has the compiled kernel ready before the windows start; says so where a network that gains must do without."""
    if device != "cpu" or record.module in ("uncrtaints", "utilise"):
        return []
    found = ext.load(cancelled=cancelled or (lambda: False))
    return [] if found.compiled else [found.sentence]


def _order(samples: Sequence[Observation], needed: Wants, record: Record) -> tuple[tuple[int, ...], list[str]]:
    """The target and the dates that tell most of its gap, in the order of time; and what to say about them."""
    days = np.asarray(samples[0].days, np.float64)
    many = min(needed.dates[1], len(days))
    gap = [obs.gap() for obs in samples]
    total = max(sum(int(part.sum()) for part in gap), 1)
    share = sum((obs.seen() & part).sum(axis=(1, 2)) for obs, part in zip(samples, gap, strict=True)) / total
    ranked = sorted(range(1, len(days)), key=lambda date: ((abs(days[date]) + 5) / max(share[date], 0.05), date))
    order = tuple(sorted((0, *ranked[: many - 1]), key=lambda date: (days[date], date)))
    notes = []
    if len(order) < len(days):
        used = f"{len(order)} of the {len(days)} dates" if len(order) > 1 else "the cloudy image alone, no other date"
        notes.append(f"{record.title} looks at {used}.")
    if record.module == "clearvision_removal":
        cloudy = sum(any((~obs.seen()[date]).mean() > 0.001 for obs in samples) for date in order)
        if cloudy > MOST_CLOUDY * len(order):
            notes.append(
                f"{record.title} was made for series with clouds in at most half of the frames; here {cloudy} of "
                f"{len(order)} have some."
            )
    return order, notes


def nearest_radar(samples: Sequence[Observation], days: Sequence[float], record: Record) -> tuple[int, ...]:
    """For each frame the acquisition of the radar nearest in time that holds data in both polarisations.

    Raises:
        InputError: none does.
    """
    known = np.array([np.isfinite(obs.radar).mean(axis=(2, 3)).min(axis=1) for obs in samples if obs.radar is not None])
    usable = np.flatnonzero(known.max(axis=0) > 0) if known.size else []
    if not len(usable):
        raise InputError(f"The radar layer holds no VV and VH where the clouds are, and {record.title} needs both.")
    radar_days = np.asarray(samples[0].radar_days, np.float64)
    return tuple(int(min(usable, key=lambda r: (abs(radar_days[r] - day), r))) for day in days)


def mean_of(parts: Sequence[np.ndarray], otherwise: float) -> float:
    """Mean of all numbers that are there."""
    sums = [(float(np.nansum(part, dtype=np.float64)), int(np.isfinite(part).sum())) for part in parts]
    count = sum(number for _, number in sums)
    return sum(value for value, _ in sums) / count if count else otherwise


def memory_for(device: str, budget_mb: float) -> float:
    """MiB for the network's windows."""
    if device == "cpu":
        return budget_mb
    import torch

    return 0.8 * torch.cuda.mem_get_info()[0] / 2**20


def together(rmse: float | None, bands: int, rest: Fitted | None, all_bands: int) -> float | None:
    """Expected error over all bands."""
    if rest is None or rmse is None:
        return rmse
    if rest.expected_rmse is None:
        return None
    return float(np.sqrt((rmse**2 * bands + rest.expected_rmse**2 * (all_bands - bands)) / all_bands))
