"""The members of the ensemble at lists of pixels, before any membrane."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from .context import context
from .estimate import Estimates, Head, Places, Taught, arranged, evaluate, teach
from .frame import Frame, Plan
from .gaussian import BlockGaussian
from .interpolation import ages as months
from .interpolation import neighbours
from .local_correction import TILE, LocalRidge
from .networks import Network

THIN = 2
"""The local correction learns on every second clear pixel in both directions."""


@dataclass(frozen=True)
class SceneModel:
    """Everything that was learned to estimate pixels.

    Attributes:
        plan: dates, bands, radar.
        gaussian: the joint model.
        looked_at: head of the components that the local correction and kriging look at, None without either.
        networks: trained networks, empty without.
        axis: spectral axes of the context.
        guard: float32 (C,), the networks may leave the Gaussian by no more.
        low, high: float32 (C,), range of every member.
        mean, spread: float32 (C,), the target's mean, from which inpainting starts, and standard deviation.
        joint: the networks as one. network_head: their first layers, with ``looked_at`` below.
        leading: components that the local correction squares and multiplies, None without local correction.
        kriging: edge in pixels of the blocks by which kriging carries into gaps what the members leave; a membrane
            does it where 0.
    """

    plan: Plan
    gaussian: BlockGaussian
    looked_at: Head | None
    networks: tuple[Network, ...]
    axis: np.ndarray
    guard: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    joint: JointNetworks | None = None
    network_head: Head | None = None
    leading: int | None = None
    kriging: int = 0


class JointNetworks:
    """Several networks as one: their first layers stacked and split into a head and what the head can't know.

    Both hidden layers are halved, because x * sigmoid(x) = h + h * tanh(h) with h = x / 2: half the time of the usual
    form, which divides by one plus an exponential.
    """

    def __init__(self, networks: tuple[Network, ...], known: int) -> None:
        half = np.float32(0.5)
        first = half * np.concatenate([net.w1 for net in networks])
        self.head = Head(np.ascontiguousarray(first[:, :known]), half * np.concatenate([net.b1 for net in networks]))
        self.rest = np.ascontiguousarray(first[:, known:])
        self.second = [half * net.w2 for net in networks]
        self.offset = half * np.concatenate([net.b2 for net in networks])[:, None]
        self.last = np.concatenate([net.w3 for net in networks], axis=1) / np.float32(len(networks))
        self.constant = np.mean([net.b3 for net in networks], axis=0)[:, None].astype(np.float32)

    def correction(self, hidden: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Mean correction (C, n) from the head's output (64 k, n) and the other inputs (J, n)."""
        first = self.rest @ rest
        first += hidden
        second = np.empty_like(first)
        _silu_of_half(first, second)
        width = len(first) // len(self.second)
        for number, matrix in enumerate(self.second):
            part = slice(number * width, (number + 1) * width)
            np.matmul(matrix, first[part], out=second[part])
        second += self.offset
        out = self.last @ _silu_of_half(second, first)
        out += self.constant
        return out


def _silu_of_half(half: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """x * sigmoid(x) from x / 2, in place; ``scratch`` of the same shape is overwritten."""
    np.tanh(half, out=scratch)
    scratch += np.float32(1)
    half *= scratch
    return half


def network_rest(estimates: Estimates, surroundings: np.ndarray) -> np.ndarray:
    """Inputs of the networks that no head can give: ages and context, (2 + J, n)."""
    return np.concatenate((estimates.age, surroundings))


class WindowEstimator:
    """All members at lists of pixels of one window.

    Args:
        frame: the window.
        model: of the region.
        lists: flat pixel indices, each list arranged by pattern.
        pool: spreads batches over cores.
    """

    def __init__(self, frame: Frame, model: SceneModel, lists: Sequence[np.ndarray], pool: Executor | None) -> None:
        self.frame, self.model, self.pool = frame, model, pool
        self.ridge: LocalRidge | None = None
        self.around: list[np.ndarray] = []
        if model.joint is not None:
            together = context(frame, model.plan, model.axis, np.concatenate(lists), pool)
            stops = np.cumsum([len(part) for part in lists])
            self.around = np.split(together, stops[:-1], axis=1)
        if model.leading is not None:
            self.ridge = self._taught()
        self.lists = lists

    def _taught(self) -> LocalRidge:
        """The local correction learned on the window's clear pixels."""
        frame, model = self.frame, self.model
        teachers = arranged(frame, teaching_pixels(frame.gap, frame.clear, THIN), model.plan, len(model.gaussian.mean))
        found = teach(frame, teachers, model.gaussian, model.plan, model.looked_at, self.pool)
        return local_ridge(frame, teachers, found, 1 / THIN**2, model.leading, self.pool)

    def __call__(self, number: int) -> tuple[Estimates, dict[str, np.ndarray]]:
        """Estimates of one list, ``extra`` holding components, and float32 (C, n) by member before any membrane."""
        frame, model, pixels = self.frame, self.model, self.lists[number]
        plan, width = model.plan, self.frame.shape[1]
        if model.joint is not None:
            found, components = self._with_networks(pixels, self.around[number])
            members = {"interpolation": found.interp, "gaussian": found.gauss, "networks": found.extra}
            found.extra = components
        else:
            found = evaluate(frame, pixels, model.gaussian, plan, head=model.looked_at, pool=self.pool)
            members = {"interpolation": found.interp, "gaussian": found.gauss}
        if self.ridge is not None:
            corrected = self.ridge.predict(pixels // width, pixels % width, found.extra, self.pool)
            corrected += found.gauss
            members["gaussian"] = corrected
        for values in members.values():
            np.clip(values, model.low[:, None], model.high[:, None], out=values)
        return found, members

    def _with_networks(self, pixels: np.ndarray, around: np.ndarray) -> tuple[Estimates, np.ndarray]:
        """Gaussian, networks and components (K, n) in one pass."""
        model = self.model
        hidden_units = len(model.joint.head.constant)
        components = np.empty((len(model.network_head.constant) - hidden_units, len(pixels)), np.float32)
        ages = pixel_ages(self.frame, pixels, model.plan)
        limit = model.guard[:, None]

        def finish(where: Places, gauss: np.ndarray, both: np.ndarray) -> np.ndarray:
            rest = np.concatenate((ages[:, where], around[:, where]))
            components[:, where] = both[hidden_units:]
            return gauss + np.clip(model.joint.correction(both[:hidden_units], rest), -limit, limit)

        found = evaluate(
            self.frame, pixels, model.gaussian, model.plan, head=model.network_head, finish=finish, pool=self.pool
        )
        return found, components


def pixel_ages(frame: Frame, pixels: np.ndarray, plan: Plan) -> np.ndarray:
    """Months to the earlier and the later date that see each pixel, float32 (2, n)."""
    dates = len(plan.days)
    if not dates:
        return np.full((2, len(pixels)), 24.0, np.float32)
    return months(*neighbours(frame.seen[:dates, pixels], plan.days), plan.days)


def local_ridge(
    frame: Frame, teachers: np.ndarray, found: Taught, density: float, leading: int, pool: Executor | None
) -> LocalRidge:
    """The local correction from what the Gaussian leaves at clear pixels; ``found.extra`` holds components."""
    width = frame.shape[1]
    residual = np.take(frame.target, teachers, axis=1) - found.gauss
    rows, cols = teachers // width, teachers % width
    return LocalRidge(frame.shape, rows, cols, found.extra, residual, density, leading, pool)


def teaching_pixels(gap: np.ndarray, clear: np.ndarray, step: int) -> np.ndarray:
    """Flat indices of every ``step``-th clear pixel in both directions whose tiles touch the gap."""
    half = TILE // 2
    height, width = gap.shape
    down = np.logical_or.reduceat(gap, np.arange(0, height, half), axis=0)
    touched = np.pad(np.logical_or.reduceat(down, np.arange(0, width, half), axis=1), 1)
    down = touched[:-2] | touched[1:-1] | touched[2:]
    coarse = down[:, :-2] | down[:, 1:-1] | down[:, 2:]
    rows, cols = np.nonzero(clear[::step, ::step])
    rows, cols = rows * step, cols * step
    keep = coarse[rows // half, cols // half]
    return rows[keep] * width + cols[keep]
