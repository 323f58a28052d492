"""What the members would have made of the simulated gaps: the one loop behind weights, sigma and expected error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from .context import context
from .cores import on_cores
from .estimate import Estimates, Head, evaluate, teach
from .frame import Frame, Plan, ring
from .gaussian import NOISES, ROUNDS, START_NOISE, BlockGaussian, fit_gaussian
from .inpainting import distance
from .kriging import krige, teachers
from .local_correction import component_head
from .members import local_ridge, network_rest
from .membrane import harmonic
from .networks import Network, train
from .sampling import Sample

TRAINING = (40_000, 100_000)
"""Training pixels of the networks: usually, and in small scenes."""
SMALL = 500**2
"""Pixels up to which networks are wide and train for longer and the local correction has more terms: it takes
seconds anyway."""
STACK_SAMPLES = 12_000
WARM_ROUNDS = 3
"""EM rounds of the models that start from the region's: a simulated gap's target is not in their samples, and what
the start knows of it (through filled dates of other pixels) is gone after that."""
NONE = -2
"""The fold that no pixel belongs to."""
COMPONENTS = 6
"""Components on which residuals of more than eight bands are continued."""


@dataclass
class FoldPart:
    """One simulated gap in one frame.

    Attributes:
        frame, number: where, and which gap.
        hidden: bool lattice (h, w), the simulated gap. known: lattice of what stays clear. rim: lattice.
        places: int (2, n), rows and columns on the lattice: the gap up to ``core``, its rim up to ``edge``, others
            that teach kriging. pixels: (n,), their flat indices in the frame.
        estimates: at these pixels.
        members: float32 (C, n) by name, at these pixels.
        surroundings: context (J, n), empty without networks.
    """

    frame: int
    number: int
    hidden: np.ndarray
    known: np.ndarray
    rim: np.ndarray
    places: np.ndarray
    pixels: np.ndarray
    core: int
    edge: int
    estimates: Estimates | None = None
    members: dict[str, np.ndarray] = field(default_factory=dict)
    surroundings: np.ndarray | None = None


def fit_gaussians(sample: Sample, plan: Plan, pool: Executor | None) -> tuple[BlockGaussian, list[BlockGaussian]]:
    """The region's Gaussian and one for each simulated gap that never saw it; noise by the first gap."""
    numbers = [k for k in range(3) if (sample.fold == k).sum() >= 10]
    start = None

    def fit(task: tuple[int, float, int]) -> BlockGaussian:
        number, noise, rounds = task
        return fit_gaussian(*sample.blind(number), plan.sizes, noise, rounds, start)

    if not numbers:
        return fit((NONE, NOISES[2], ROUNDS)), []
    first = fit((NONE, START_NOISE, ROUNDS))
    start = (first.mean, first.cov)
    tried = fit((numbers[0], START_NOISE, WARM_ROUNDS))
    rows = np.flatnonzero(sample.fold == numbers[0])
    noise = min(NOISES, key=lambda noise: _score(tried.with_noise(noise), sample, rows))
    others = [(k, noise, WARM_ROUNDS) for k in numbers[1:]]
    if noise == START_NOISE:
        return first, [tried, *on_cores(fit, others, pool)]
    again = [(NONE, noise, WARM_ROUNDS), (numbers[0], noise, WARM_ROUNDS)]
    whole, *blind = on_cores(fit, [*again, *others], pool)
    return whole, blind


def _score(model: BlockGaussian, sample: Sample, rows: np.ndarray) -> float:
    """Mean squared error of the target at samples that the model has not seen."""
    bands = model.sizes[-1]
    total = 0.0
    blind = sample.codes[rows] & ~sample.target
    for pattern in np.unique(blind):
        where = rows[blind == pattern]
        given = model.conditional(int(pattern))
        found = given.fill[-bands:] @ sample.values[np.ix_(given.rows, where)] + given.offset[-bands:, None]
        total += float(np.square(found - sample.values[-bands:, where]).sum())
    return total


def fold_parts(
    frames: Sequence[Frame], folds: Sequence[np.ndarray], step: int, *, kriged: bool = False
) -> list[FoldPart]:
    """The simulated gaps of every frame with their rims, and with what kriging learns from."""
    parts = []
    for index, (frame, fold) in enumerate(zip(frames, folds, strict=True)):
        clear = frame.clear[::step, ::step]
        for number in range(3):
            hidden = fold == number
            if not hidden.any():
                continue
            known = clear & ~hidden
            rim = ring(hidden, known)
            beyond = teachers(hidden, known) & ~rim if kriged else np.zeros_like(rim)
            places = np.concatenate([np.nonzero(part) for part in (hidden, rim, beyond)], axis=1)
            pixels = places[0] * step * frame.shape[1] + places[1] * step
            core = int(hidden.sum())
            parts.append(FoldPart(index, number, hidden, known, rim, places, pixels, core, core + int(rim.sum())))
    return parts


def estimate_parts(
    parts: Sequence[FoldPart],
    frames: Sequence[Frame],
    models: Sequence[BlockGaussian],
    plan: Plan,
    step: int,
    *,
    leading: int | None,
    kriged: bool,
    fill: bool,
    pool: Executor | None,
) -> None:
    """Fills in Gaussian and interpolation of every simulated gap by the model that never saw it.

    ``leading``: components that the local correction squares and multiplies; without it where None.
    """
    looked_at = kriged or leading is not None
    heads = [Head(*component_head(model)) if looked_at else None for model in models]
    for part in parts:
        frame, number = frames[part.frame], min(part.number, len(models) - 1)
        pixels, model, head = part.pixels, models[number], heads[number]
        part.estimates = evaluate(frame, pixels, model, plan, head=head, fill=fill, pool=pool)
        gauss = part.estimates.gauss
        if leading is not None:
            thin = 2 if step == 1 else 1
            rows, cols = np.nonzero(part.known[::thin, ::thin])
            clear = rows * thin * step * frame.shape[1] + cols * thin * step
            taught = teach(frame, clear, model, plan, head, pool)
            ridge = local_ridge(frame, clear, taught, 1 / (thin * step) ** 2, leading, pool)
            rows, cols = pixels // frame.shape[1], pixels % frame.shape[1]
            gauss = gauss + ridge.predict(rows, cols, part.estimates.extra, pool)
        part.members = {"interpolation": part.estimates.interp, "gaussian": gauss}


def train_networks(
    parts: Sequence[FoldPart],
    frames: Sequence[Frame],
    folds: Sequence[np.ndarray],
    whole: BlockGaussian,
    plan: Plan,
    axis: np.ndarray,
    step: int,
    seed: tuple[int, ...],
    pool: Executor | None,
    check: Callable[[], None] | None,
) -> tuple[tuple[Network, ...], np.ndarray]:
    """Trains the three networks and adds them as a member to every part.

    Returns:
        The networks and the guard (C,): how far they may leave the Gaussian.
    """
    rng = np.random.default_rng([*seed, 41])
    clear = sum(int(frame.clear[::step, ::step].sum()) for frame in frames)
    small = sum(frame.size for frame in frames) <= SMALL
    share = min(1.0, TRAINING[small] / max(clear, 1))
    tables, residuals, owners = [], [], []
    for index, frame in enumerate(frames):
        mine = [part for part in parts if part.frame == index]
        rest = _rest_pixels(frame, folds[index], step, share, rng)
        wanted = np.concatenate([*(part.pixels for part in mine), rest])
        around = context(frame, plan, axis, wanted, pool)
        start = 0
        for part in mine:
            part.surroundings = around[:, start : start + len(part.pixels)]
            start += len(part.pixels)
            keep = np.sort(rng.permutation(part.core)[: int(np.ceil(share * part.core))])
            tables.append(network_inputs(part.estimates, part.surroundings, keep))
            residuals.append(frame.target[:, part.pixels[keep]] - part.estimates.gauss[:, keep])
            owners.append(np.full(len(keep), part.number))
        if len(rest):
            found = evaluate(frame, rest, whole, plan, fill=True, pool=pool)
            tables.append(network_inputs(found, around[:, start:], slice(None)))
            residuals.append(frame.target[:, rest] - found.gauss)
            owners.append(np.full(len(rest), -1))
    inputs, residual, owner = np.concatenate(tables, 1), np.concatenate(residuals, 1), np.concatenate(owners)
    blind = [np.flatnonzero(owner != k) for k in range(3)]
    networks = tuple(train(inputs, residual, blind, seed, pool, check, thorough=small))
    corrections = {}
    for index, part in enumerate(parts):
        inputs = network_inputs(part.estimates, part.surroundings, slice(None))
        corrections[index] = networks[part.number](inputs)
    core = [np.abs(corrections[i][:, : part.core]) for i, part in enumerate(parts)]
    guard = np.quantile(np.concatenate(core, axis=1), 0.99, axis=1).astype(np.float32)
    for index, part in enumerate(parts):
        limited = np.clip(corrections[index], -guard[:, None], guard[:, None])
        part.members["networks"] = part.estimates.gauss + limited
    return networks, guard


def network_inputs(estimates: Estimates, surroundings: np.ndarray, keep: np.ndarray | slice) -> np.ndarray:
    """Inputs (I, n) of the networks: filled dates and radar, Gaussian, ages, context."""
    return np.concatenate(
        (estimates.fill[:, keep], estimates.gauss[:, keep], network_rest(estimates, surroundings)[:, keep])
    )


def _rest_pixels(frame: Frame, fold: np.ndarray, step: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Some clear pixels outside all simulated gaps, flat indices."""
    rows, cols = np.nonzero(frame.clear[::step, ::step] & (fold < 0))
    keep = np.sort(rng.permutation(len(rows))[: int(np.ceil(share * len(rows)))])
    return rows[keep] * step * frame.shape[1] + cols[keep] * step


@dataclass
class Trial:
    """Members in the simulated gaps, membranes included, at up to 12,000 pixels.

    Attributes:
        names: M members.
        values: float32 (M, C, n). corrections: (M, C, n), what membranes or kriging added.
        truth: float32 (C, n). fold: (n,). far: float32 (n,) pixels to the nearest clear one.
        laplace: float32 (n,), mean reflectance continued from the rim.
        change, log_deviation (C, n) and age (2, n), dated (n,): as in :class:`Estimates`.
        rims: (M, C, r), residuals (true minus member) at some rim pixels.
    """

    names: tuple[str, ...]
    values: np.ndarray
    corrections: np.ndarray
    truth: np.ndarray
    fold: np.ndarray
    far: np.ndarray
    laplace: np.ndarray
    change: np.ndarray
    log_deviation: np.ndarray
    age: np.ndarray
    dated: np.ndarray
    rims: np.ndarray


def run_trial(
    parts: Sequence[FoldPart],
    frames: Sequence[Frame],
    names: tuple[str, ...],
    limits: tuple[np.ndarray, np.ndarray, np.ndarray],
    step: int,
    rng: np.random.Generator,
    pool: Executor | None,
    kriging: int = 0,
) -> Trial:
    """Adds each member's own membrane, or kriging, and collects what the weights and sigma are fitted on.

    Args:
        parts: with members filled in.
        frames: the windows.
        names: members that take part; "inpainting" starts from the mean.
        limits: low, high (C,) of every member, and the mean (C,).
        step: of the lattice.
        rng: chooses pixels.
        pool: spreads simulated gaps over cores.
        kriging: edge of the blocks by which kriging carries on what members leave at clear pixels, 0 for membranes;
            "inpainting" keeps its membrane.
    """
    bounds = tuple(v[:, None].astype(np.float32) for v in limits)
    total = sum(part.core for part in parts)
    kept = []
    for part in parts:
        most = int(np.ceil(STACK_SAMPLES * part.core / max(total, STACK_SAMPLES)))
        kept.append(np.sort(rng.permutation(part.core)[:most]))

    def one(index: int) -> tuple[np.ndarray, ...]:
        return _tried(parts[index], frames[parts[index].frame], names, bounds, step, kept[index], kriging)

    found = on_cores(one, range(len(parts)), pool)
    return Trial(names, *(np.concatenate(column, axis=-1) for column in zip(*found, strict=True)))


def _tried(
    part: FoldPart,
    frame: Frame,
    names: tuple[str, ...],
    limits: tuple[np.ndarray, ...],
    step: int,
    keep: np.ndarray,
    kriging: int,
) -> tuple[np.ndarray, ...]:
    """The arrays of a :class:`Trial`, in their order, for one simulated gap at the pixels ``keep`` of its core."""
    low, high, mean = limits
    start = np.broadcast_to(mean, (len(mean), len(part.pixels)))
    base = np.stack([np.clip(part.members.get(name, start), low, high) for name in names])
    truth = frame.target[:, part.pixels]
    rest = truth[None] - base
    by_membrane = [i for i, name in enumerate(names) if not kriging or name == "inpainting"]
    correction = np.empty((len(names), len(truth), len(keep)), np.float32)
    correction[by_membrane] = continued(rest[by_membrane, :, : part.edge], part)[:, :, keep]
    if kriging:
        others = [i for i in range(len(names)) if i not in by_membrane]
        correction[others] = kriged_rest(rest[others], part, keep, step, kriging)
    values = np.clip(base[:, :, keep] + correction, low, high)
    e = part.estimates
    return (
        values,
        correction,
        truth[:, keep],
        np.full(len(keep), part.number),
        distance(part.known)[part.hidden][keep] * step,
        values[names.index("inpainting")].mean(axis=0),
        e.change[:, keep],
        e.log_deviation[:, keep],
        e.age[:, keep],
        e.dated[keep],
        rest[:, :, part.core : part.edge][:, :, ::3],
    )


def kriged_rest(rest: np.ndarray, part: FoldPart, keep: np.ndarray, step: int, block: int) -> np.ndarray:
    """Rests (M, C, n) at all pixels of a part, carried to the pixels ``keep`` of its core by kriging: (M, C, k)."""
    many, bands, _ = rest.shape
    known = slice(part.core, None)
    flat = rest[:, :, known].reshape(many * bands, -1)
    alike = part.estimates.extra
    edge = max(block // step, 1)
    found = krige(part.places[:, known], flat, alike[:, known], part.places[:, keep], alike[:, keep], edge, step)
    return found.reshape(many, bands, -1)


def continued(residual: np.ndarray, part: FoldPart) -> np.ndarray:
    """Residuals (M, C, n) at gap and rim continued from the rim into the gap: (M, C, core)."""
    many, bands, _ = residual.shape
    rim = residual[:, :, part.core :]
    if not rim.shape[-1]:
        return np.zeros((many, bands, part.core), np.float32)
    bases = [principal(r) for r in rim]
    planes = np.zeros((sum(len(b) for b in bases), *part.hidden.shape), np.float32)
    planes[:, part.rim] = np.concatenate([b @ r for b, r in zip(bases, rim, strict=True)])
    inside = harmonic(planes, part.rim)[:, part.hidden]
    out, start = [], 0
    for basis in bases:
        out.append(basis.T @ inside[start : start + len(basis)])
        start += len(basis)
    return np.stack(out)


def principal(residual: np.ndarray) -> np.ndarray:
    """Orthonormal axes (K, C) that hold most of residuals (C, n); all of them up to eight bands."""
    bands = len(residual)
    if bands <= 8:
        return np.eye(bands, dtype=np.float32)
    _, vectors = np.linalg.eigh((residual @ residual.T).astype(np.float64))
    return np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS].T.astype(np.float32))
