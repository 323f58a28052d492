"""Gaussian and interpolation at lists of pixels, grouped by what sees them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from .cores import on_cores
from .frame import Frame, Plan
from .gaussian import BlockGaussian
from .interpolation import after_share, ages, neighbours
from .patterns import bits, fold_rare, groups

BATCH = 8192
"""Pixels of one matrix product; small enough for the cache."""
JOB = 32_768
"""Pixels of one job of the pool."""

Places = np.ndarray | slice
"""Where pixels lie in a list: a slice where the list is arranged by pattern."""

Finish = Callable[[Places, np.ndarray, np.ndarray], np.ndarray]
"""Takes positions, the Gaussian's estimate (C, n) and the head's output (K, n); returns (C, n)."""


@dataclass
class Estimates:
    """What is known of n pixels.

    Attributes:
        gauss: float32 (C, n), the Gaussian's conditional mean.
        interp: float32 (C, n), linear in time; the Gaussian where no date sees the pixel.
        change: float32 (C, n), later minus earlier date, 0 where one is missing.
        log_deviation: float32 (C, n), log of the Gaussian's conditional standard deviation.
        age: float32 (2, n), months to the earlier and the later date.
        dated: bool (n,), some date sees the pixel.
        extra: float32 (K, n), the head's output, or what ``finish`` made of it (C, n); empty without a head.
        fill: float32 (V, n), all variables but the target, hidden ones filled; empty unless asked for.
    """

    gauss: np.ndarray
    interp: np.ndarray
    change: np.ndarray
    log_deviation: np.ndarray
    age: np.ndarray
    dated: np.ndarray
    extra: np.ndarray
    fill: np.ndarray

    def at(self, places: Places) -> Estimates:
        """The estimates of some of the pixels, or in another order."""
        return Estimates(
            self.gauss[:, places],
            self.interp[:, places],
            self.change[:, places],
            self.log_deviation[:, places],
            self.age[:, places],
            self.dated[places],
            self.extra[:, places],
            self.fill[:, places],
        )


@dataclass
class Taught:
    """The Gaussian's estimate (C, n) and the head's output (K, n), float32, at pixels that teach."""

    gauss: np.ndarray
    extra: np.ndarray


@dataclass
class Head:
    """A linear map of [filled variables; Gaussian's estimate], folded into each pattern's matrix.

    Attributes:
        matrix: float32 (K, V + C). constant: float32 (K,).
    """

    matrix: np.ndarray
    constant: np.ndarray
    _cache: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    def with_below(self, other: Head) -> Head:
        """Both heads as one, the other's output below this one's."""
        return Head(np.concatenate((self.matrix, other.matrix)), np.concatenate((self.constant, other.constant)))

    def folded(self, gaussian: BlockGaussian, pattern: int) -> tuple[np.ndarray, np.ndarray]:
        """Matrix (C + K, o) and offset (C + K,) that give estimate and head from what ``pattern`` observes."""
        found = self._cache.get(pattern)
        if found is None:
            given = gaussian.conditional(pattern)
            bands = gaussian.sizes[-1]
            matrix = np.concatenate((given.fill[-bands:], self.matrix @ given.fill))
            offset = np.concatenate((given.offset[-bands:], self.matrix @ given.offset + self.constant))
            found = (matrix, offset[:, None])
            if len(self._cache) < 600:
                self._cache[pattern] = found
        return found


def least_group(variables: int) -> int:
    """Pixels below which a pattern of its own costs more than it gives: a solve against a product."""
    return max(4, variables**2 // 300)


def evaluate(
    frame: Frame,
    pixels: np.ndarray,
    gaussian: BlockGaussian,
    plan: Plan,
    *,
    head: Head | None = None,
    finish: Finish | None = None,
    fill: bool = False,
    pool: Executor | None = None,
) -> Estimates:
    """Estimates at flat pixel indices of a frame.

    Args:
        frame, pixels: where.
        gaussian, plan: the region's model.
        head: a linear map whose output is wanted as well.
        finish: turns the head's output into reflectance, batch by batch.
        fill: also return all variables with hidden ones filled.
        pool: spreads batches over cores.

    Returns:
        The estimates, in the order of ``pixels``.
    """
    bands, count, variables = plan.bands, len(pixels), len(gaussian.mean) - plan.bands
    wide = 0 if head is None else (bands if finish else len(head.constant))
    out = Estimates(
        *(np.empty((bands, count), np.float32) for _ in range(4)),
        np.empty((2, count), np.float32),
        np.empty(count, bool),
        np.empty((wide, count), np.float32),
        np.empty((variables if fill else 0, count), np.float32),
    )
    codes = fold_rare(frame.codes(pixels), plan.worth, least_group(len(gaussian.mean)))
    if not (codes[1:] >= codes[:-1]).all():
        order = np.argsort(codes, kind="stable")
        moved = _moved(finish, order)
        found = evaluate(frame, pixels[order], gaussian, plan, head=head, finish=moved, fill=fill, pool=pool)
        back = np.empty_like(order)
        back[order] = np.arange(count)
        return found.at(back)
    head = head or Head(np.zeros((0, variables + bands), np.float32), np.zeros(0, np.float32))

    def job(members: list[tuple[int, slice]]) -> None:
        for pattern, where in members:
            _one_pattern(frame, pixels[where], where, pattern, gaussian, plan, head, finish, out)

    jobs = _pack([(code, slice(where[0], where[-1] + 1)) for code, where in groups(codes, BATCH)])
    on_cores(job, jobs, pool)
    return out


def teach(
    frame: Frame, pixels: np.ndarray, gaussian: BlockGaussian, plan: Plan, head: Head, pool: Executor | None = None
) -> Taught:
    """Gaussian and head at pixels from which the local correction is learned: :func:`evaluate` without the rest."""
    codes = fold_rare(frame.codes(pixels), plan.worth, least_group(len(gaussian.mean)))
    gauss = np.empty((plan.bands, len(pixels)), np.float32)
    extra = np.empty((len(head.constant), len(pixels)), np.float32)

    def job(group: tuple[int, np.ndarray]) -> None:
        pattern, where = group
        _, both = _linear(frame, pixels[where], pattern, gaussian, head)
        places: Places = slice(where[0], where[-1] + 1) if where[-1] - where[0] + 1 == len(where) else where
        gauss[:, places], extra[:, places] = both[: plan.bands], both[plan.bands :]

    on_cores(job, groups(codes, BATCH), pool)
    return Taught(gauss, extra)


def _moved(finish: Finish | None, order: np.ndarray) -> Finish | None:
    """``finish`` for a list that was brought into another order."""
    if finish is None:
        return None
    return lambda where, gauss, extra: finish(order[where], gauss, extra)


def arranged(frame: Frame, pixels: np.ndarray, plan: Plan, variables: int) -> np.ndarray:
    """Flat pixel indices ordered by pattern, as :func:`evaluate` works through them fastest."""
    codes = fold_rare(frame.codes(pixels), plan.worth, least_group(variables))
    return pixels[np.argsort(codes, kind="stable")]


def _pack(members: list[tuple[int, slice]]) -> list[list[tuple[int, slice]]]:
    """Consecutive groups bundled into jobs of about :data:`JOB` pixels."""
    jobs: list[list[tuple[int, slice]]] = []
    room = 0
    for member in members:
        if room <= 0:
            jobs.append([])
            room = JOB
        jobs[-1].append(member)
        room -= member[1].stop - member[1].start + 512
    return jobs


def _linear(
    frame: Frame, pixels: np.ndarray, pattern: int, gaussian: BlockGaussian, head: Head
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """What a pattern sees at some pixels, (C, n) by block; Gaussian and head's output (C + K, n) from it."""
    pieces = {b: np.take(frame.blocks[b], pixels, axis=1) for b in bits(pattern, len(frame.blocks))}
    observed = np.concatenate(list(pieces.values())) if pieces else np.zeros((0, len(pixels)), np.float32)
    matrix, offset = head.folded(gaussian, pattern)
    both = matrix @ observed
    both += offset
    return pieces, both


def _one_pattern(
    frame: Frame,
    pixels: np.ndarray,
    where: slice,
    pattern: int,
    gaussian: BlockGaussian,
    plan: Plan,
    head: Head,
    finish: Finish | None,
    out: Estimates,
) -> None:
    """Estimates of pixels that share a pattern, written to the places ``where`` of ``out``."""
    bands = plan.bands
    pieces, both = _linear(frame, pixels, pattern, gaussian, head)
    given = gaussian.conditional(pattern)
    gauss = both[:bands]
    out.gauss[:, where] = gauss
    out.log_deviation[:, where] = given.log_deviation[:, None]
    if len(out.extra):
        out.extra[:, where] = finish(where, gauss, both[bands:]) if finish else both[bands:]
    if len(out.fill):
        observed = np.concatenate(list(pieces.values())) if pieces else np.zeros((0, len(pixels)), np.float32)
        out.fill[:, where] = given.fill[:-bands] @ observed + given.offset[:-bands, None]
    dates = len(plan.days)
    view = np.array([[b in pieces] for b in range(dates)], bool).reshape(dates, 1)
    before, after = neighbours(view, plan.days) if dates else (np.array([-1]), np.array([-1]))
    first, second = int(before[0]), int(after[0])
    out.age[:, where] = ages(before, after, plan.days) if dates else 24.0
    out.dated[where] = first >= 0 or second >= 0
    if first >= 0 and second >= 0:
        step, middle = out.change[:, where], out.interp[:, where]
        np.subtract(pieces[second], pieces[first], out=step)
        np.multiply(step, after_share(before, after, plan.days)[0], out=middle)
        middle += pieces[first]
    else:
        out.change[:, where] = 0
        out.interp[:, where] = pieces[max(first, second)] if max(first, second) >= 0 else gauss
