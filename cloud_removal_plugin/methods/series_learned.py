"""METHOD=utilise and clearvision of a series: a published network rebuilds all dates of a window at once.

The network sees ten dates at a time, as it was trained; how longer series are cut, :mod:`series_sliding` says. Bands
that it does not restore are filled by the series' own ``fast``. How wrong it is, moved clouds on the series itself say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.records import RECORDS, Record
from ..observation import HIDDEN_FROM, Observation, Restoration
from ..weights.folder import find, weights_folder
from ..weights.stored import Stored
from .facts import SceneFacts
from .learned import MOST_CLOUDY, check, mean_of, memory_for, nearest_radar, stored_of
from .learned_inputs import SERIES, Wants, wants
from .learned_tiles import Lattice
from .learned_window import Runner, halo_of, lattice_of, ratio_of, side_by_side, workers_of
from .protocol import Report
from .series_learned_trial import Found, predicted, schedule, sigma_at, trial
from .series_protocol import FittedSeries
from .series_sliding import Sliding

VARIANTS: dict[str, tuple[str, ...]] = {
    "utilise": ("utilise_sen12mscrts_s1", "utilise_sen12mscrts", "utilise_earthnet2021"),
    "clearvision": ("clearvision_removal",),
}
"""The networks behind each method; the first whose weights are there and which suits the series is taken."""

SHARE = 0.5
"""Share of the memory budget that a network's windows may take."""

TRAINED_ON = 5
"""Dates of the shortest series that both networks were trained on."""

STEP = 64
"""Halos are whole blocks of the series' windows."""


@dataclass(frozen=True)
class FittedSeriesLearned:
    """A network on one region of a series (see :class:`FittedSeries`).

    Attributes:
        runner: the network at work, with all dates. sliding: the windows of dates.
        found: the error model. rest: restores the bands that the network does not, None where there are none.
    """

    halo: int
    expected_rmse: dict[int, float]
    summary: str
    notes: tuple[str, ...]
    runner: Runner
    sliding: Sliding
    found: Found
    rest: FittedSeries | None

    def restore(
        self, obs: Observation, dates: Sequence[int], *, pool: Executor | None = None
    ) -> Iterator[tuple[int, Restoration]]:
        """Restores what is hidden on each of ``dates``, one window of dates after the other."""
        seen = obs.seen()
        context = self.halo if self.runner.shape else 0
        for window, mine in self.sliding.shares(dates):
            base = dict(self.rest.restore(obs, mine, pool=pool)) if self.rest is not None else {}
            gap = (obs.cloud[mine] >= HIDDEN_FROM).any(axis=0)
            made = predicted(self.runner, obs, window, mine, gap, pool, context)
            for place, date in enumerate(mine):
                yield date, self._joined(obs, date, made[place], base.get(date), seen)

    def _joined(
        self, obs: Observation, date: int, made: np.ndarray, base: Restoration | None, seen: np.ndarray
    ) -> Restoration:
        """One date: the network's bands (C', H, W) beside those that are filled otherwise."""
        bands, gap = list(self.runner.restored), obs.cloud[date] >= HIDDEN_FROM
        out = np.full(obs.shape[1:], np.nan, np.float32)
        sigma = np.full(obs.shape[1:], np.nan, np.float32)
        if base is not None:
            out[:] = base.reflectance
            if base.sigma is not None:
                sigma[:] = base.sigma
        out[bands] = np.where(gap, made, np.float32(np.nan))
        sigma[bands] = np.nan
        done = gap & np.isfinite(made).all(axis=0)
        if done.any():
            plane = np.full(made.shape, np.nan, np.float32)
            plane[:, done] = sigma_at(self.found, obs, date, made, done, seen, bands)
            sigma[bands] = plane
        return Restoration(out, sigma)


class SeriesLearned:
    """A published network before it has seen a series.

    Args:
        name: one of :data:`VARIANTS`.
        folder: of the weights; None = the analyst's.
        memory_mb: what the job may use in MiB; 0 = 4096.

    Attributes:
        halo: pixels round a window. mib: MiB that the network takes beside the windows. Both are known after
            ``prepare`` and ``settle``.
    """

    def __init__(self, name: str, folder: Path | None = None, memory_mb: int = 0) -> None:
        self.name = name
        self._folder = folder or weights_folder()
        self._memory_mb = (memory_mb or 4096) * SHARE
        self._record = RECORDS[VARIANTS[name][0]]
        self._facts: SceneFacts | None = None
        self._network: dict[str, Any] = {}
        self.halo, self.mib = STEP, 0.0
        self._most = self._memory_mb

    @property
    def title(self) -> str:
        """What people call the network."""
        return self._record.title

    def prepare(self, facts: SceneFacts) -> None:
        """Take the variant that suits the series, or refuse (see :class:`Particular`)."""
        self._record, self._stored, self._wants = _variant(self.name, self._folder, facts)
        self._facts = facts
        self.settle(lambda halo, mib: True)

    def settle(self, fits: Callable[[int, float], bool], workers: int = 1) -> None:
        """Choose windows of the network so that those of the series fit beside them (see :class:`Roomy`)."""
        memory = self._memory_mb
        while True:
            lattice, self.mib = self._windows(memory, workers)[::2]
            self.halo = -(-halo_of(lattice, ratio_of(self._facts.pixel_m, self._record)) // STEP) * STEP
            self._most, smaller = memory, self.mib - 1e-6
            if fits(self.halo, self.mib) or self._windows(smaller, workers)[2] >= self.mib:
                return
            memory = smaller

    def _windows(self, memory: float, workers: int, device: str = "cpu") -> tuple[Lattice, int, float]:
        """The network's windows, how many of them run at a time, and the MiB that they take."""
        many = workers if side_by_side(self._record, SERIES, memory, workers) else 1
        lattice = lattice_of(self._record, SERIES, memory, many, device)
        return lattice, many, many * self._record.memory_mb(lattice.edge, lattice.edge, SERIES)

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
    ) -> FittedSeriesLearned:
        """Cuts the series into windows of dates and measures the error (see :class:`SeriesRestorer`)."""
        if not samples:
            raise InputError(f"There is no window to fit {self.title} on.")
        if self._facts is None:
            self.prepare(_facts_of(samples[0]))
        runner, notes = self._runner(samples, device, pool, cancelled)
        sliding = schedule(runner, samples, SERIES, pool)
        found = trial(runner, sliding, samples, dates, seed, pool)
        if dates and found.sigma is None:
            notes.append(f"The error of {self.title} on this series is unknown: too few pixels are clear to try it.")
        rest, more = self._rest(samples, runner, dates, seed, device, pool, cancelled)
        expected = {date: found.rmse[date] for date in dates if date in found.rmse}
        if rest is not None:
            left = samples[0].shape[1] - len(runner.restored)
            expected = _together(expected, len(runner.restored), rest.expected_rmse, left)
        many = len(sliding.starts)
        summary = f"{self.title} (weights {self._stored.sha256[:8]}), windows of {runner.lattice.edge} px"
        if many > 1:
            notes.append(f"{self.title} sees {SERIES} dates at a time: {many} windows of dates pass over.")
        return FittedSeriesLearned(self.halo, expected, summary, (*notes, *more), runner, sliding, found, rest)

    def _runner(
        self, samples: Sequence[Observation], device: str, pool: Executor | None, cancelled: Callable[[], bool] | None
    ) -> tuple[Runner, list[str]]:
        """The network with all that the region decides."""
        record, facts, first = self._record, self._facts, samples[0]
        # the halo is settled, and with a network that sees its whole window it follows from the edge
        alike = device == "cpu" or record.window
        memory = self._most if alike else memory_for(device, self._memory_mb)
        workers = workers_of(pool, device)
        lattice, many, _ = self._windows(memory, workers, "cpu" if alike else device)
        if halo_of(lattice, ratio_of(facts.pixel_m, record)) > self.halo:
            lattice = replace(lattice, halo=record.halo)  # a card's larger windows, in those of the series as settled
        radar_of: tuple[int, ...] = ()
        if self._wants.radar:
            radar_of = nearest_radar(samples, [float(day) for day in first.days], record)
        ratio = ratio_of(facts.pixel_m, record)
        runner = Runner(
            network=self._loaded(device), record=record, config=self._stored.config, wants=self._wants, device=device,
            lattice=lattice, ratio=ratio, shape=facts.shape, order=tuple(range(len(first.days))), radar_of=radar_of,
            bands=tuple(first.bands.index(role) for role in self._wants.bands),
            fill=mean_of([obs.optical for obs in samples], 0.1),
            radar_fill=mean_of([obs.radar for obs in samples], -15.0) if self._wants.radar else 0.0,
            target_date=facts.target_date, cancelled=cancelled, parallel=many > 1,
        )  # fmt: skip
        return runner, self._notes(samples, ratio)

    def _notes(self, samples: Sequence[Observation], ratio: float) -> list[str]:
        """What is to be said of the series."""
        notes, record, dates = [], self._record, len(samples[0].days)
        if ratio != 1:
            notes.append(
                f"{record.title} works at {record.gsd_m:g} m: the rasters' pixels of {self._facts.pixel_m:.3g} m are "
                "resampled for it, and its result back."
            )
        if dates < TRAINED_ON:
            notes.append(f"{record.title} was trained on series of {TRAINED_ON} dates and more; here are {dates}.")
        if record.module == "clearvision_removal":
            cloudy = sum(any((~obs.seen()[date]).mean() > 0.001 for obs in samples) for date in range(dates))
            if cloudy > MOST_CLOUDY * dates:
                notes.append(
                    f"{record.title} was made for series with clouds in at most half of the frames; here {cloudy} of "
                    f"{dates} have some."
                )
        return notes

    def _rest(
        self, samples: Sequence[Observation], runner: Runner, dates: Sequence[int], seed: tuple[int, ...], device: str,
        pool: Executor | None, cancelled: Callable[[], bool] | None,
    ) -> tuple[FittedSeries | None, list[str]]:  # fmt: skip
        """What fills the bands that the network does not restore."""
        left = [name for index, name in enumerate(samples[0].bands) if index not in runner.restored]
        if not left or not dates:
            return None, []
        from .series_ensemble import SeriesEnsemble

        rest = SeriesEnsemble("fast")
        fitted = rest.fit(samples, dates, seed=seed, device=device, pool=pool, cancelled=cancelled)
        note = f"{self.title} does not restore {', '.join(left)}; these bands are filled by 'fast'."
        return fitted, [note, *fitted.notes]

    def _loaded(self, device: str) -> Any:
        if device not in self._network:
            from ..models.conversion import load

            self._network[device] = load(self._stored).to(device)
        return self._network[device]


def _variant(name: str, folder: Path, facts: SceneFacts) -> tuple[Record, Stored, Wants]:
    """The first variant whose weights are there and that suits the series.

    Raises:
        InputError: none; in the words of the one that comes nearest.
        DependencyError: torch or safetensors is missing.
    """
    there = [entry for entry in VARIANTS[name] if find(entry, folder) is not None]
    problems = []
    for entry in there or VARIANTS[name]:
        record = RECORDS[entry]
        stored = stored_of(record, folder) if there else None
        # a series may be as short or as long as it is; the network is fed in windows of dates
        needed = replace(wants(record, stored.config if stored else record.config), dates=(1, SERIES))
        try:
            check(record, needed, facts)
        except InputError as error:
            problems.append(error)
            continue
        if stored is None:
            stored = stored_of(record, folder)  # says where to get them
        return record, stored, needed
    if not there:
        stored_of(RECORDS[VARIANTS[name][-1]], folder)
    raise problems[-1]


def _facts_of(obs: Observation) -> SceneFacts:
    """What an observation by itself tells of its series."""
    radar = "VV VH" if obs.radar is not None and np.isfinite(obs.radar).any(axis=(0, 2, 3)).all() else ""
    return SceneFacts(obs.bands, obs.shape[0], None, radar, obs.pixel_m)


def _together(own: dict[int, float], bands: int, rest: dict[int, float], others: int) -> dict[int, float]:
    """Expected error of each date over all bands, where both parts are known."""
    both = [date for date in own if date in rest]
    return {
        date: float(np.sqrt((own[date] ** 2 * bands + rest[date] ** 2 * others) / (bands + others))) for date in both
    }
