"""Simulated gaps over a whole series: what members, weights, networks and the announced error are judged by.

Three cloud-shaped sets of pixels are hidden in turn, the same on every date; model k never saw the pixels of set k.
For each date the others stay as they are, so one pass gives the simulated gap of all dates of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from ..observation import Observation
from .context import context
from .folds import simulate
from .frame import places, ring
from .inpainting import distance
from .interpolation import after_share, ages, neighbours
from .kriging import FINE, krige, teachers
from .local_correction import LocalRidge
from .membrane import spread
from .patterns import groups
from .series_block import BlockFrame, BlockPlan, view
from .series_gaussian import DateEstimates, SeriesGaussian, estimate
from .trial import principal

LATTICE_PIXELS = 120_000
"""The fit looks at every s-th row and column, so that no more pixels than about these are looked at."""
JUDGED = 4_000
"""Pixels of a date on which weights and error model are fitted."""
THIN = 2


@dataclass
class Part:
    """One simulated gap on one date in one frame.

    Attributes:
        frame, number, date: which frame, gap, restored date (position in ``plan.restored``).
        hidden, known, rim: bool lattices (h, w).
        found: at the gap's pixels up to ``core``, its rim's up to ``edge``, and at others that teach kriging.
        places: int (2, n), rows and columns of these pixels on the lattice.
        members: float32 (C, n) by name. truth: float32 (C, n). surroundings: (J, n).
        change (C, n), age (2, n): of the interpolation.
    """

    frame: int
    number: int
    date: int
    hidden: np.ndarray
    known: np.ndarray
    rim: np.ndarray
    core: int
    edge: int
    found: DateEstimates
    places: np.ndarray
    truth: np.ndarray
    members: dict[str, np.ndarray] = field(default_factory=dict)
    surroundings: np.ndarray | None = None
    change: np.ndarray | None = None
    age: np.ndarray | None = None


def lattice_step(samples: Sequence[Observation]) -> int:
    """Every how many rows and columns the fit looks at the samples."""
    pixels = sum(obs.shape[2] * obs.shape[3] for obs in samples)
    return max(1, int(np.ceil(np.sqrt(pixels / LATTICE_PIXELS) - 0.15)))


def draw_folds(frames: Sequence[BlockFrame], plan: BlockPlan, step: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Three simulated gaps in the form of the block's own, int8 lattices (h, w), -1 outside."""
    gaps, clears = [], []
    for frame in frames:
        restored = list(plan.restored)
        hidden = frame.gap[restored].reshape(-1, *frame.shape)[:, ::step, ::step]
        shares = hidden.mean(axis=(1, 2))
        gaps.append(hidden[int(np.argmin(np.abs(shares - 0.35)))])
        clears.append(frame.seen[restored].any(axis=0).reshape(frame.shape)[::step, ::step])
    return simulate(gaps, clears, rng)


def flat_places(lattice: np.ndarray, step: int, width: int) -> np.ndarray:
    """Flat indices in the frame of the True pixels of a lattice."""
    rows, cols = np.nonzero(lattice)
    return rows * step * width + cols * step


def simulated_parts(
    frames: Sequence[BlockFrame],
    folds: Sequence[np.ndarray],
    models: Sequence[SeriesGaussian],
    step: int,
    leading: int | None,
    pool: Executor | None,
    *,
    kriged: bool = False,
) -> list[Part]:
    """Gaussian and interpolation in every simulated gap of every restored date.

    ``leading``: components that the local correction squares and multiplies; without it where None. ``kriged``: look
    at what kriging learns from as well.
    """
    parts = []
    plan = models[0].plan
    for index, (frame, fold) in enumerate(zip(frames, folds, strict=True)):
        width = frame.shape[1]
        for number, model in enumerate(models):
            masks = [_masks(frame, fold, number, place, step, kriged) for place in plan.restored]
            lists = [[flat_places(mask, step, width) for mask in each[1:]] for each in masks]
            wanted = [np.unique(np.concatenate(each)) for each in lists]
            found = estimate(frame, model, wanted, pool)
            for date, (place, each, pixels) in enumerate(zip(plan.restored, masks, lists, strict=True)):
                core, rim, beyond, teaching = (np.searchsorted(wanted[date], part) for part in pixels)
                if not len(core):
                    continue
                both = found[date].at(np.concatenate((core, rim, beyond)))
                truth = np.take(frame.blocks[place], both.pixels, axis=1)
                at, edge = places(both.pixels, width) // step, len(core) + len(rim)
                part = Part(index, number, date, each[1], each[0], each[2], len(core), edge, both, at, truth)
                gauss = both.gauss
                if leading is not None and len(teaching):
                    taught = found[date].at(teaching)
                    density = 1 / (step * (THIN if step == 1 else 1)) ** 2
                    ridge = taught_ridge(frame, place, taught, density, leading)
                    gauss = gauss + corrected(ridge, frame, both)
                _interpolated(part, frame, plan, place)
                part.members["gaussian"] = gauss
                parts.append(part)
    return parts


def _masks(
    frame: BlockFrame, fold: np.ndarray, number: int, place: int, step: int, kriged: bool
) -> tuple[np.ndarray, ...]:
    """Lattices of one date: what stays known, the simulated gap, its rim, and the clear pixels that teach: kriging
    beyond the rim, and the local correction.
    """
    clear = frame.seen[place].reshape(frame.shape)[::step, ::step]
    hidden = (fold == number) & clear
    known = clear & ~hidden
    teach = np.zeros_like(known)
    thin = THIN if step == 1 else 1
    teach[::thin, ::thin] = known[::thin, ::thin]
    rim = ring(hidden, known)
    beyond = teachers(hidden, known) & ~rim if kriged else np.zeros_like(rim)
    return known, hidden, rim, beyond, teach


def taught_ridge(frame: BlockFrame, place: int, taught: DateEstimates, density: float, leading: int) -> LocalRidge:
    """The local correction of one date from what the Gaussian leaves at clear pixels."""
    width = frame.shape[1]
    residual = np.take(frame.blocks[place], taught.pixels, axis=1) - taught.gauss
    rows, cols = taught.pixels // width, taught.pixels % width
    return LocalRidge(frame.shape, rows, cols, taught.components, residual, density, leading)


def corrected(ridge: LocalRidge, frame: BlockFrame, found: DateEstimates) -> np.ndarray:
    """The local correction (C, n) at other pixels."""
    width = frame.shape[1]
    return ridge.predict(found.pixels // width, found.pixels % width, found.components)


def _interpolated(part: Part, frame: BlockFrame, plan: BlockPlan, place: int) -> None:
    part.members["interpolation"], part.change, part.age = interpolated(frame, plan, place, part.found)


def interpolated(
    frame: BlockFrame, plan: BlockPlan, place: int, found: DateEstimates
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear interpolation (the Gaussian where no date sees a pixel), change (C, n) and ages (2, n) of one date."""
    others = view(frame, plan, place)
    dates = len(plan.dates) - 1
    before, after = neighbours(others.seen[:dates, found.pixels], others.days)
    share = after_share(before, after, others.days)
    values, change = found.gauss.copy(), np.zeros_like(found.gauss)
    pair = before.astype(np.int32) * (dates + 1) + after
    for _, where in groups(pair, 1 << 30):
        first, second = int(before[where[0]]), int(after[where[0]])
        shown = [np.take(others.blocks[d], found.pixels[where], axis=1) for d in (first, second) if d >= 0]
        if len(shown) == 2:
            change[:, where] = shown[1] - shown[0]
            values[:, where] = shown[0] + share[where[0]] * change[:, where]
        elif shown:
            values[:, where] = shown[0]
    return values, change, ages(before, after, others.days)


def ages_at(frame: BlockFrame, plan: BlockPlan, place: int, pixels: np.ndarray) -> np.ndarray:
    """Months (2, n) to the earlier and the later date that see each pixel, from the date at ``place``."""
    others = view(frame, plan, place)
    return ages(*neighbours(others.seen[: len(plan.dates) - 1, pixels], others.days), others.days)


def add_surroundings(
    parts: Sequence[Part], frames: Sequence[BlockFrame], plan: BlockPlan, axis: np.ndarray, pool: Executor | None
) -> None:
    """Spatial context at the pixels of every part, once for each date and frame."""
    for index, frame in enumerate(frames):
        for date, place in enumerate(plan.restored):
            mine = [part for part in parts if part.frame == index and part.date == date]
            if not mine:
                continue
            around = surroundings(frame, plan, place, axis, np.concatenate([p.found.pixels for p in mine]), pool)
            stops = np.cumsum([len(part.found.pixels) for part in mine])
            for part, piece in zip(mine, np.split(around, stops[:-1], axis=1), strict=True):
                part.surroundings = piece


def surroundings(
    frame: BlockFrame, plan: BlockPlan, place: int, axis: np.ndarray, pixels: np.ndarray, pool: Executor | None
) -> np.ndarray:
    """Context (J, n) of one date from its neighbours in time."""
    others = view(frame, plan, place)
    return context(others, others, axis, pixels, pool)


@dataclass
class Judged:
    """The stacked members of one date in its simulated gaps, membrane or kriging included.

    Attributes:
        members: float32 (C, n) by name, before the membrane. result, correction, truth: (C, n).
        fold, far, laplace: (n,). change (C, n), log_deviation (C, n), age (2, n): as the error model reads them.
    """

    members: dict[str, np.ndarray]
    result: np.ndarray
    correction: np.ndarray
    truth: np.ndarray
    fold: np.ndarray
    far: np.ndarray
    laplace: np.ndarray
    change: np.ndarray
    log_deviation: np.ndarray
    age: np.ndarray


def judge(
    parts: Sequence[Part],
    stacked: Callable[[dict[str, np.ndarray]], np.ndarray],
    limits: tuple[np.ndarray, np.ndarray],
    step: int,
    rng: np.random.Generator,
    pool: Executor | None,
    *,
    kriged: bool = False,
) -> tuple[Judged, np.ndarray]:
    """Continues the residual of the stacked members at clear pixels into the simulated gaps of one date.

    Args:
        parts: of one date. stacked: weighs members. limits: low and high (C,) of every estimate.

    Returns:
        What came of it, and the axes (K, C) on which residuals are continued.
    """
    low, high = (limit[:, None] for limit in limits)
    total = sum(part.core for part in parts)
    base = [stacked({k: np.clip(v, low, high) for k, v in part.members.items()}) for part in parts]
    rims = [(part.truth - b)[:, part.core : part.edge] for part, b in zip(parts, base, strict=True)]
    joined = np.concatenate(rims, axis=1)
    basis = principal(joined) if joined.shape[1] else np.eye(len(low), dtype=np.float32)
    columns = []
    for part, values, rim in zip(parts, base, rims, strict=True):
        keep = np.sort(rng.permutation(part.core)[: int(np.ceil(JUDGED * part.core / max(total, JUDGED)))])
        inside = np.repeat(part.truth.mean(), len(keep)).astype(np.float32)[None]
        correction = np.zeros((len(values), len(keep)), np.float32)
        if rim.shape[1]:
            axes = basis[:0] if kriged else basis
            planes = np.zeros((len(axes) + 1, *part.hidden.shape), np.float32)
            planes[:-1, part.rim] = axes @ rim
            planes[-1, part.rim] = part.truth[:, part.core : part.edge].mean(axis=0)
            inside = spread(planes, part.rim, pool)[:, part.hidden][:, keep]
            correction = axes.T @ inside[:-1]
        if kriged:
            known, alike = slice(part.core, None), part.found.components
            correction = krige(
                part.places[:, known], (part.truth - values)[:, known], alike[:, known], part.places[:, keep],
                alike[:, keep], max(FINE // step, 1), step, pool,
            )  # fmt: skip
        far = distance(part.known)[part.hidden][keep] * step
        columns.append(
            (
                *(part.members[name][:, keep] for name in part.members),
                np.clip(values[:, keep] + correction, low, high),
                correction,
                part.truth[:, keep],
                np.full(len(keep), part.number),
                far,
                inside[-1],
                part.change[:, keep],
                part.found.log_deviation[:, keep],
                part.age[:, keep],
            )
        )
    names = list(parts[0].members)
    together = [np.concatenate(column, axis=-1) for column in zip(*columns, strict=True)]
    return Judged(dict(zip(names, together, strict=False)), *together[len(names) :]), basis
