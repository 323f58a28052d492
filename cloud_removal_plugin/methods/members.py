"""The members of the ensemble at lists of pixels, before any membrane."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from .context import context
from .estimate import Estimates, Finish, Head, evaluate
from .frame import Frame, Plan
from .gaussian import BlockGaussian
from .local_correction import TILE, LocalRidge
from .networks import Network, silu

MARGIN = 0.3
"""Members are clipped to the clear range of a band, widened by this share of it."""


@dataclass(frozen=True)
class SceneModel:
    """Everything that was learned to estimate pixels.

    Attributes:
        plan: dates, bands, radar.
        gaussian: the joint model.
        local: head of the local correction's components, or None without local correction.
        networks: trained networks, empty without.
        axis: spectral axes of the context.
        guard: float32 (C,), the networks may leave the Gaussian by no more.
        low, high: float32 (C,), range of every member.
        mean: float32 (C,), what inpainting starts from.
    """

    plan: Plan
    gaussian: BlockGaussian
    local: Head | None
    networks: tuple[Network, ...]
    axis: np.ndarray
    guard: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    joint: JointNetworks | None = None


class JointNetworks:
    """Several networks as one: their first layers stacked and split into a head and what the head can't know."""

    def __init__(self, networks: tuple[Network, ...], known: int) -> None:
        self.networks = networks
        first = np.concatenate([net.w1 for net in networks])
        self.head = Head(np.ascontiguousarray(first[:, :known]), np.concatenate([net.b1 for net in networks]))
        self.rest = np.ascontiguousarray(first[:, known:])
        self.last = np.concatenate([net.w3 for net in networks], axis=1) / np.float32(len(networks))
        self.constant = np.mean([net.b3 for net in networks], axis=0)[:, None].astype(np.float32)

    def correction(self, hidden: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Mean correction (C, n) from the head's output (64 k, n) and the other inputs (J, n)."""
        hidden = silu(hidden + self.rest @ rest)
        width = len(hidden) // len(self.networks)
        for number, net in enumerate(self.networks):
            part = hidden[number * width : (number + 1) * width]
            part[:] = net.w2 @ part
            part += net.b2[:, None]
        return self.last @ silu(hidden) + self.constant


def network_rest(estimates: Estimates, surroundings: np.ndarray) -> np.ndarray:
    """Inputs of the networks that no head can give: ages and context, (2 + J, n)."""
    return np.concatenate((estimates.age, surroundings))


def estimate(
    frame: Frame, pixels: np.ndarray, model: SceneModel, pool: Executor | None = None
) -> tuple[Estimates, dict[str, np.ndarray]]:
    """All members at the pixels of a window.

    Returns:
        The estimates, and float32 (C, n) by member: "interpolation", "gaussian" (locally corrected where the
        model says so) and "networks" where there are any.
    """
    if model.joint is not None:
        surroundings = context(frame, model.plan, model.axis, pixels, pool)
        found = _with_networks(frame, pixels, model, surroundings, pool)
        members = {"interpolation": found.interp, "gaussian": found.gauss, "networks": found.extra}
    elif model.local is not None:
        found, corrected = _with_local(frame, pixels, model, pool)
        members = {"interpolation": found.interp, "gaussian": corrected}
    else:
        found = evaluate(frame, pixels, model.gaussian, model.plan, pool=pool)
        members = {"interpolation": found.interp, "gaussian": found.gauss}
    for values in members.values():
        np.clip(values, model.low[:, None], model.high[:, None], out=values)
    return found, members


def _with_networks(
    frame: Frame, pixels: np.ndarray, model: SceneModel, surroundings: np.ndarray, pool: Executor | None
) -> Estimates:
    """Gaussian and networks in one pass."""
    joint = model.joint
    ages = pixel_ages(frame, pixels, model.plan)

    def finish(where: np.ndarray, gauss: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        rest = np.concatenate((ages[:, where], np.take(surroundings, where, axis=1)))
        correction = joint.correction(hidden, rest)
        return gauss + np.clip(correction, -model.guard[:, None], model.guard[:, None])

    done: Finish = finish
    return evaluate(frame, pixels, model.gaussian, model.plan, head=joint.head, finish=done, pool=pool)


def pixel_ages(frame: Frame, pixels: np.ndarray, plan: Plan) -> np.ndarray:
    """Months to the earlier and the later date that see each pixel, float32 (2, n)."""
    from .interpolation import ages, neighbours

    dates = len(plan.days)
    if not dates:
        return np.full((2, len(pixels)), 24.0, np.float32)
    return ages(*neighbours(frame.seen[:dates, pixels], plan.days), plan.days)


def _with_local(
    frame: Frame, pixels: np.ndarray, model: SceneModel, pool: Executor | None
) -> tuple[Estimates, np.ndarray]:
    """Gaussian at the pixels, and the same with the local correction learned on the window's clear pixels."""
    teachers = teaching_pixels(frame.gap, frame.clear, 2)
    both = np.concatenate((pixels, teachers))
    found = evaluate(frame, both, model.gaussian, model.plan, head=model.local, pool=pool)
    count = len(pixels)
    corrected = locally_corrected(frame, pixels, teachers, found, 0.25, pool)
    trimmed = Estimates(*(getattr(found, name)[..., :count] for name in Estimates.__dataclass_fields__))
    return trimmed, corrected


def locally_corrected(
    frame: Frame,
    pixels: np.ndarray,
    teachers: np.ndarray,
    found: Estimates,
    density: float,
    pool: Executor | None,
) -> np.ndarray:
    """The Gaussian (C, n) at ``pixels`` plus a ridge learned at ``teachers``; ``found`` holds both, in this order."""
    count, width = len(pixels), frame.shape[1]
    residual = frame.target[:, teachers] - found.gauss[:, count:]
    ridge = LocalRidge(frame.shape, teachers // width, teachers % width, found.extra[:, count:], residual, density)
    return found.gauss[:, :count] + ridge.predict(pixels // width, pixels % width, found.extra[:, :count], pool)


def teaching_pixels(gap: np.ndarray, clear: np.ndarray, step: int) -> np.ndarray:
    """Flat indices of every ``step``-th clear pixel in both directions whose tiles touch the gap."""
    half = TILE // 2
    height, width = gap.shape
    rows, cols = np.nonzero(gap)
    coarse = np.zeros((-(-height // half) + 2, -(-width // half) + 2), bool)
    for di in range(3):
        for dj in range(3):
            coarse[rows // half + di, cols // half + dj] = True
    lattice = np.zeros_like(clear)
    lattice[::step, ::step] = clear[::step, ::step]
    rows, cols = np.nonzero(lattice)
    keep = coarse[rows // half + 1, cols // half + 1]
    return rows[keep] * width + cols[keep]
