"""A fitted block of a series in a window: its dates restored from one Gaussian, each with what it has of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ..observation import Observation, Restoration
from .ensemble import sigma_features
from .frame import places, ring
from .inpainting import distance
from .kriging import krige, teachers
from .members import teaching_pixels
from .membrane import spread
from .networks import Network
from .series_block import BlockFrame
from .series_corrections import Beside, Corrections
from .series_gaussian import DateEstimates, SeriesGaussian, estimate
from .series_lens import slots_of
from .series_trial import THIN, Judged, ages_at, corrected, interpolated, surroundings, taught_ridge
from .sigma import SigmaModel


@dataclass
class DateModel:
    """What one date has of its own.

    Attributes:
        names: members in the order of the weights. weights: float32 (M, C). basis: (K, C), axes of the membrane.
        low, high: float32 (C,), range of every estimate. sigma: None where there was too little to judge by.
        networks: of this date, empty without. guard: float32 (C,).
    """

    names: tuple[str, ...]
    weights: np.ndarray
    basis: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sigma: SigmaModel | None
    networks: tuple[Network, ...] = ()
    guard: np.ndarray | None = None

    def stacked(self, members: dict[str, np.ndarray]) -> np.ndarray:
        """Weighted sum (C, n) of members before the membrane."""
        return sum(w[:, None] * members[name] for name, w in zip(self.names, self.weights, strict=True))


@dataclass
class Block:
    """A fitted block: its Gaussian, its dates' own models, the spectral axes of the context.

    ``leading``: components that the local correction squares and multiplies, None without local correction.
    ``kriged``: what the members leave is carried into gaps by kriging, not by a membrane.
    """

    gaussian: SeriesGaussian
    models: dict[int, DateModel]
    axis: np.ndarray
    leading: int | None
    kriged: bool = False

    def restore(
        self, obs: Observation, dates: Sequence[int], pool: Executor | None
    ) -> Iterator[tuple[int, Restoration]]:
        """Restores those of ``dates`` that this block is for."""
        plan = self.gaussian.plan
        places = [place for place in plan.restored if plan.dates[place] in dates and place in self.models]
        if not places:
            return
        frame = BlockFrame(obs, plan)
        lists = {place: self._lists(frame, place) for place in places}
        empty = np.zeros(0, np.int64)
        wanted = [np.unique(np.concatenate(lists[p])) if p in lists else empty for p in plan.restored]
        networks = self._corrections(frame, lists, wanted, pool)
        lenses = networks.lenses() if networks else []
        found = dict(zip(plan.restored, estimate(frame, self.gaussian, wanted, pool, lenses), strict=True))
        self.gaussian.forget()

        def one(place: int) -> tuple[int, Restoration]:
            own = networks.values.pop(plan.restored.index(place)) if networks else None
            return plan.dates[place], self._date(frame, place, lists[place], found.pop(place), own)

        yield from map(one, places) if pool is None else pool.map(one, places)

    def _corrections(
        self, frame: BlockFrame, lists: dict[int, tuple[np.ndarray, ...]], wanted: Sequence[np.ndarray],
        pool: Executor | None,
    ) -> Corrections | None:  # fmt: skip
        """What the networks look at beside the filled dates, at gap and edge of each date; None without networks."""
        plan = self.gaussian.plan
        if not all(self.models[place].networks for place in lists):
            return None
        networks, beside, pixels = {}, {}, {}
        for place, (inside, edge, _) in lists.items():
            date, here = plan.restored.index(place), np.concatenate((inside, edge))
            networks[date], pixels[date] = self.models[place].networks, here
            beside[date] = Beside(
                ages_at(frame, plan, place, here), surroundings(frame, plan, place, self.axis, here, pool)
            )
        return Corrections(networks, self.gaussian, beside, slots_of(wanted, pixels))

    def _lists(self, frame: BlockFrame, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flat indices of one date: gap, edge (rim and what teaches kriging), what teaches the local correction."""
        gap = frame.gap[place].reshape(frame.shape)
        clear = frame.seen[place].reshape(frame.shape) & ~gap
        teaching = (
            teaching_pixels(gap, clear, THIN) if self.leading is not None and gap.any() else np.zeros(0, np.int64)
        )
        edge = ring(gap, clear)
        if self.kriged:
            edge |= teachers(gap, clear)
        return np.flatnonzero(gap), np.flatnonzero(edge), teaching

    def _date(
        self, frame: BlockFrame, place: int, lists: tuple[np.ndarray, np.ndarray, np.ndarray], found: DateEstimates,
        networks: np.ndarray | None,
    ) -> Restoration:  # fmt: skip
        """One date of one window; ``networks`` (C, n) is their correction at gap and edge."""
        plan, model = self.gaussian.plan, self.models[place]
        inside, edge, teaching = lists
        core = len(inside)
        both = found.at(np.searchsorted(found.pixels, np.concatenate((inside, edge))))
        members, change, age = self._members(frame, place, both, found, teaching, networks)
        stacked = model.stacked(members)
        clear = (frame.seen[place] & ~frame.gap[place]).reshape(frame.shape)
        rest = np.take(frame.blocks[place], edge, axis=1) - stacked[:, core:]
        correction, laplace = self._continued(frame, place, clear, rest, lists, both)
        result = np.clip(stacked[:, :core] + correction, model.low[:, None], model.high[:, None])
        shape = (plan.bands, *frame.shape)
        out = np.full((plan.bands, frame.size), np.nan, np.float32)
        out[:, inside] = result
        sigma = np.full_like(out, np.nan)
        if model.sigma is not None and core:
            judged = Judged(
                {}, result, correction, result, inside, distance(clear).ravel()[inside], laplace,
                change[:, :core], both.log_deviation[:, :core], age[:, :core],
            )  # fmt: skip
            features = error_features({name: values[:, :core] for name, values in members.items()}, judged)
            sigma[:, inside] = model.sigma.predict(features, core, judged.log_deviation)
        return Restoration(out.reshape(shape), sigma.reshape(shape))

    def _members(
        self, frame: BlockFrame, place: int, both: DateEstimates, found: DateEstimates, teaching: np.ndarray,
        networks: np.ndarray | None,
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:  # fmt: skip
        """Members (C, n) by name, the interpolation's change (C, n) and ages (2, n), at gap and edge."""
        plan, model = self.gaussian.plan, self.models[place]
        values, change, age = interpolated(frame, plan, place, both)
        members = {"gaussian": both.gauss, "interpolation": values}
        if self.leading is not None and len(teaching):
            taught = found.at(np.searchsorted(found.pixels, teaching))
            ridge = taught_ridge(frame, place, taught, 1 / THIN**2, self.leading)
            members["gaussian"] = both.gauss + corrected(ridge, frame, both)
        if networks is not None:
            members["networks"] = both.gauss + np.clip(networks, -model.guard[:, None], model.guard[:, None])
        for value in members.values():
            np.clip(value, model.low[:, None], model.high[:, None], out=value)
        return members, change, age

    def _continued(
        self, frame: BlockFrame, place: int, clear: np.ndarray, rest: np.ndarray,
        lists: tuple[np.ndarray, np.ndarray, np.ndarray], both: DateEstimates,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """What the stack leaves at the edge, ``rest``, carried into the gap (C, n); the rim's mean reflectance (n,)."""
        model, (inside, edge, _) = self.models[place], lists
        if not len(edge):
            level = np.full(len(inside), (model.low + model.high).mean() / 2, np.float32)
            return np.zeros((len(rest), len(inside)), np.float32), level
        axes = model.basis[:0] if self.kriged else model.basis
        planes = np.zeros((len(axes) + 1, frame.size), np.float32)
        planes[:-1, edge] = axes @ rest
        planes[-1, edge] = np.take(frame.blocks[place], edge, axis=1).mean(axis=0)
        rim = ring(frame.gap[place].reshape(frame.shape), clear)
        planes = spread(planes.reshape(-1, *frame.shape), rim).reshape(planes.shape)[:, inside]
        if not self.kriged:
            return axes.T @ planes[:-1], planes[-1]
        core, at, alike = len(inside), places(both.pixels, frame.shape[1]), both.components
        return krige(at[:, core:], rest, alike[:, core:], at[:, :core], alike[:, :core]), planes[-1]


def error_features(members: dict[str, np.ndarray], judged: Judged) -> list[np.ndarray]:
    """Features of the error model, those of a single date's ensemble."""
    return sigma_features(members, judged.result, judged.correction, judged, judged.laplace, judged.far)
