"""What the networks of a block add to its Gaussian: learned in the simulated gaps, applied in windows.

Both happen while the Gaussian's estimates are made (:mod:`series_lens`), so that the filled dates that the networks
look at are never written down for more than the training pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from .members import JointNetworks
from .networks import Network
from .series_block import BlockFrame
from .series_gaussian import SeriesGaussian, estimate
from .series_lens import Lens
from .series_networks import train_shared, trunks
from .series_trial import Part
from .trial import SMALL

TRAINING = (12_000, 100_000)
"""Most training pixels of a date: usually, and in small scenes."""
OF_BLOCK = (120_000, 240_000)
"""Most training pixels of all dates of a block."""


@dataclass(frozen=True)
class Beside:
    """What the networks see of one date's pixels beside the filled dates: age (2, n), surroundings (J, n)."""

    age: np.ndarray
    surroundings: np.ndarray

    def table(self, gauss: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Inputs (C + 2 + J, m) at some of the pixels, with the Gaussian's estimate (C, m) there."""
        return np.concatenate((gauss, self.age[:, where], self.surroundings[:, where]))


class Corrections:
    """Corrections of the Gaussian at pixels of one frame, filled in while :func:`estimate` runs with :meth:`lenses`.

    Args:
        networks: by date (position in ``plan.restored``), the networks whose mean counts.
        model: the Gaussian of that pass.
        beside: by date. slots: by date, see :class:`Lens`.

    Attributes:
        values: by date, float32 (C, n), unlimited.
    """

    def __init__(
        self,
        networks: Mapping[int, Sequence[Network]],
        model: SeriesGaussian,
        beside: Mapping[int, Beside],
        slots: Mapping[int, np.ndarray],
    ) -> None:
        self._filled = len(model.mean)
        self._dates = len(model.plan.restored)
        self._joint = {date: JointNetworks(tuple(networks[date]), self._filled) for date in beside}
        self._constant = {
            date: (joint.head.constant + joint.head.matrix @ model.mean.astype(np.float32))[:, None]
            for date, joint in self._joint.items()
        }
        self._beside, self._slots = beside, slots
        bands = model.plan.bands
        self.values = {date: np.zeros((bands, each.age.shape[1]), np.float32) for date, each in beside.items()}

    def lenses(self) -> list[Lens]:
        """One for every trunk: its first layer, the same for all its dates."""
        out = []
        for trunk in trunks(self._dates):
            mine = {int(date): self._slots[int(date)] for date in trunk if int(date) in self._beside}
            if mine:
                out.append(Lens(_shared([self._joint[date].head.matrix for date in mine]), mine, self._take))
        return out

    def _take(self, date: int, slots: np.ndarray, first: np.ndarray, gauss: np.ndarray) -> None:
        rest = self._beside[date].table(gauss, slots)
        self.values[date][:, slots] = self._joint[date].correction(first + self._constant[date], rest)


def _shared(heads: Sequence[np.ndarray]) -> np.ndarray:
    """The first layer (K, V) of a trunk from those of its dates: the same, but empty for networks without a sample.

    Such networks add nothing whatever they see, so they may see what the others do.
    """
    out = heads[0].copy()
    for head in heads[1:]:
        empty = ~out.any(axis=1)
        out[empty] = head[empty]
    return out


def add_networks(
    parts: Sequence[Part],
    frames: Sequence[BlockFrame],
    models: Sequence[SeriesGaussian],
    seed: tuple[int, ...],
    pool: Executor | None,
    check: Callable[[], None] | None,
) -> tuple[list[list[Network]], np.ndarray]:
    """Trains the networks and adds them as a member to every part.

    Args:
        parts: with surroundings, of all restored dates. frames: the windows. models: one for each simulated gap.

    Returns:
        Networks by simulated gap and date, and the guard (R, C): how far they may leave the Gaussian.
    """
    # several samples stand for a larger region, where wide networks would cost too much in every window
    small = len(frames) == 1 and frames[0].size <= SMALL
    tables, residuals, folds = _training(parts, frames, models, small, np.random.default_rng([*seed, 41]), pool)
    numbers = list(range(len(models)))
    networks = train_shared(tables, residuals, folds, numbers, len(models[0].mean), seed, pool, check, small)
    found = {}
    for number, model in enumerate(models):
        for index, frame in enumerate(frames):
            mine = {part.date: part for part in parts if (part.frame, part.number) == (index, number)}
            beside = {date: Beside(part.age, part.surroundings) for date, part in mine.items()}
            slots = {date: np.arange(len(part.found.pixels)) for date, part in mine.items()}
            made = Corrections({date: [networks[number][date]] for date in mine}, model, beside, slots)
            estimate(frame, model, _wanted(mine, len(residuals), None), pool, made.lenses())
            found.update({(index, number, date): values for date, values in made.values.items()})
    guard = np.zeros((len(residuals), len(residuals[0])), np.float32)
    for date in range(len(guard)):
        mine = [(part, found[part.frame, part.number, date]) for part in parts if part.date == date]
        core = np.concatenate([np.abs(raw[:, : part.core]) for part, raw in mine], axis=1)
        guard[date] = np.quantile(core, 0.99, axis=1)
        limit = guard[date][:, None]
        for part, raw in mine:
            part.members["networks"] = part.found.gauss + np.clip(raw, -limit, limit)
    return networks, guard


def _wanted(mine: Mapping[int, Part], dates: int, keep: Mapping[int, np.ndarray] | None) -> list[np.ndarray]:
    """Pixels of each date's part, or some of them."""
    none = np.zeros(0, np.int64)
    chosen = {date: part.found.pixels if keep is None else part.found.pixels[keep[date]] for date, part in mine.items()}
    return [chosen.get(date, none) for date in range(dates)]


def _training(
    parts: Sequence[Part],
    frames: Sequence[BlockFrame],
    models: Sequence[SeriesGaussian],
    small: bool,
    rng: np.random.Generator,
    pool: Executor | None,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Inputs (I, n), residuals (C, n) and simulated gaps (n,) of each date's training pixels."""
    dates, filled = len(models[0].plan.restored), len(models[0].mean)
    most = min(TRAINING[small], OF_BLOCK[small] // dates)
    keep: dict[int, np.ndarray] = {}
    for date in range(dates):
        mine = [part for part in parts if part.date == date]
        share = most / max(sum(part.core for part in mine), most)
        for part in mine:
            keep[id(part)] = np.sort(rng.permutation(part.core)[: int(np.ceil(share * part.core))])
    tables, residuals, folds, starts = [], [], [], {}
    for date in range(dates):
        mine = [part for part in parts if part.date == date]
        stops = np.cumsum([len(keep[id(part)]) for part in mine])
        starts.update({id(part): stop - len(keep[id(part)]) for part, stop in zip(mine, stops, strict=True)})
        residuals.append(np.concatenate([(part.truth - part.found.gauss)[:, keep[id(part)]] for part in mine], axis=1))
        folds.append(np.repeat([part.number for part in mine], [len(keep[id(part)]) for part in mine]))
        rest = [Beside(p.age, p.surroundings).table(p.found.gauss[:, keep[id(p)]], keep[id(p)]) for p in mine]
        tables.append(np.empty((filled + len(rest[0]), stops[-1]), np.float32))
        np.concatenate(rest, axis=1, out=tables[-1][filled:])
    for number, model in enumerate(models):
        mean = model.mean.astype(np.float32)[:, None]

        def take(date: int, slots: np.ndarray, fill: np.ndarray, _: np.ndarray, mean: np.ndarray = mean) -> None:
            tables[date][:filled, slots] = fill + mean

        for index, frame in enumerate(frames):
            mine = {part.date: part for part in parts if (part.frame, part.number) == (index, number)}
            some = {date: keep[id(part)] for date, part in mine.items()}
            slots = {date: starts[id(part)] + np.arange(len(some[date])) for date, part in mine.items()}
            estimate(frame, model, _wanted(mine, dates, some), pool, [Lens(None, slots, take)])
    return tables, residuals, folds
