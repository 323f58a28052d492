"""One Gaussian over all dates of a block, and what it says of each date without looking at that date.

The joint Gaussian (see :mod:`gaussian`) is fitted once; from it follow all dates. Where a date is hidden, its
conditional mean restores it. Where it is seen, the model's error at that pixel is the leave-one-block-out residual:
with P the precision of what the pixel shows, r_t = inv(P_tt) (P (x - mean))_t (the block form of the leave-one-out
identity, e.g. Rue & Held 2005, "Gaussian Markov Random Fields", eq. 2.6). So one matrix per pattern gives every date
of it, which is what makes a series cheaper than its dates one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import lapack

from .cores import on_cores
from .estimate import BATCH, least_group
from .gaussian import NOISES, ROUNDS, START_NOISE, BlockGaussian, fit_gaussian, rows_of
from .local_correction import COMPONENTS
from .patterns import bits, encode, fold_rare, groups
from .series_block import BlockFrame, BlockPlan
from .series_lens import Lens, Told

EM_SAMPLES = 5_000
FOLD_ROUNDS = 2
"""EM rounds of the models that never see one simulated gap; they start from the whole model."""
MOST_PATTERNS = 256
"""Patterns of missing dates that the fit keeps apart; 64 lose 0.1 dB in very cloudy series."""
KEPT = 300
"""Matrices kept a model."""


@dataclass
class Sample:
    """Pixels for the fit: values (V, n), patterns (n,), simulated gap (n,)."""

    values: np.ndarray
    codes: np.ndarray
    fold: np.ndarray

    def blind(self, number: int, plan: BlockPlan) -> tuple[np.ndarray, np.ndarray]:
        """Values (V, n) and patterns (n,) for a model that must not know simulated gap ``number``.

        Its pixels stay as those of a true gap do: the dates that are restored are hidden there, the others are not.
        """
        mine = self.fold == number
        rows = np.concatenate((np.flatnonzero(~mine)[:EM_SAMPLES], np.flatnonzero(mine)))
        restored = np.uint16(sum(1 << place for place in plan.restored))
        codes = np.where(mine[rows], self.codes[rows] & ~restored, self.codes[rows])
        return self.values[:, rows[codes > 0]], codes[codes > 0]


@dataclass(frozen=True)
class PatternMatrices:
    """What one pattern needs.

    Attributes:
        rows: (o,) observed variables. blocks: blocks that the pattern sees.
        fill: float32 (V, o), all variables; identity at observed rows.
        matrix: float32 (K + R C, o): components, then each restored date's residual (seen) or estimate (hidden).
        leave: per restored date that is seen, float32 (K, C): what its own pixel adds to the components.
        log_deviation: float32 (R, C), log of the conditional standard deviation of each restored date.
    """

    rows: np.ndarray
    blocks: tuple[int, ...]
    fill: np.ndarray
    matrix: np.ndarray
    leave: dict[int, np.ndarray]
    log_deviation: np.ndarray


@dataclass
class SeriesGaussian:
    """A fitted block.

    Attributes:
        plan: dates and variables. mean: float64 (V,). cov: float64 (V, V). noise: variance of what is observed.
        axes: float64 (K, V), standardised principal components.
    """

    plan: BlockPlan
    mean: np.ndarray
    cov: np.ndarray
    noise: float
    axes: np.ndarray
    _kept: dict[int, PatternMatrices] = field(default_factory=dict, repr=False)

    def matrices(self, pattern: int) -> PatternMatrices:
        """Matrices of one pattern, cached."""
        found = self._kept.get(pattern)
        if found is None:
            found = _matrices(self, pattern)
            if len(self._kept) < KEPT:
                self._kept[pattern] = found
        return found

    def forget(self) -> None:
        """Drop the cached matrices: a series of many blocks would fill the memory with them."""
        self._kept.clear()


def _matrices(model: SeriesGaussian, pattern: int) -> PatternMatrices:
    plan, bands = model.plan, model.plan.bands
    blocks = tuple(bits(pattern, len(plan.sizes)))
    bounds = plan.bounds
    rows = rows_of(pattern, bounds)
    precision = _inverse(model.cov[np.ix_(rows, rows)], model.noise)
    gain = model.cov[:, rows] @ precision
    raw = gain.copy()
    gain[rows] = np.eye(len(rows))
    components = model.axes @ gain
    parts, leave, deviation = [components], {}, []
    for place in plan.restored:
        own = slice(bounds[place], bounds[place] + bands)
        if place in blocks:
            start = sum(plan.sizes[b] for b in blocks if b < place)
            mine = slice(start, start + bands)
            spread = np.linalg.inv(precision[mine, mine])
            parts.append(spread @ precision[mine])
            leave[place] = components[:, mine].astype(np.float32)
            variance = np.diag(spread) - model.noise
        else:
            parts.append(gain[own])
            variance = np.diag(model.cov)[own] - np.einsum("ij,ji->i", raw[own], model.cov[rows][:, own])
        deviation.append(np.log(np.maximum(variance, 0) + model.noise) / 2)
    matrix = np.concatenate(parts).astype(np.float32)
    return PatternMatrices(rows, blocks, gain.astype(np.float32), matrix, leave, np.array(deviation, np.float32))


def _inverse(covariance: np.ndarray, noise: float) -> np.ndarray:
    """Inverse of a covariance plus noise, by its Cholesky factor: half the time of a general inverse."""
    covariance[np.diag_indices(len(covariance))] += noise
    if not len(covariance):
        return covariance
    factor, failed = lapack.dpotrf(covariance, lower=1, clean=1)
    if failed:
        return np.linalg.inv(covariance)
    half, _ = lapack.dtrtri(factor, lower=1)
    return half.T @ half


@dataclass
class DateEstimates:
    """What the model says of one date at n pixels, without looking at the date there.

    Attributes:
        pixels: (n,) flat indices. gauss: float32 (C, n). components: float32 (K, n).
        log_deviation: float32 (C, n).
    """

    pixels: np.ndarray
    gauss: np.ndarray
    components: np.ndarray
    log_deviation: np.ndarray

    def at(self, places: np.ndarray | slice) -> DateEstimates:
        """Some of the pixels."""
        return DateEstimates(
            self.pixels[places], self.gauss[:, places], self.components[:, places], self.log_deviation[:, places]
        )


def estimate(
    frame: BlockFrame,
    model: SeriesGaussian,
    wanted: Sequence[np.ndarray],
    pool: Executor | None = None,
    lenses: Sequence[Lens] = (),
) -> list[DateEstimates]:
    """Estimates of every restored date at its own pixels.

    Args:
        frame: a window. model: of the region.
        wanted: per restored date, flat pixel indices without repetition.
        pool: spreads batches over cores.
        lenses: further functions of the filled dates, handed over batch by batch.
    """
    plan = model.plan
    bands, many = plan.bands, len(model.axes)
    places = np.full((len(wanted), frame.size), -1, np.int32)
    for row, pixels in zip(places, wanted, strict=True):
        row[pixels] = np.arange(len(pixels))
    pixels = np.flatnonzero((places >= 0).any(axis=0))
    out = [
        DateEstimates(
            mine, np.empty((bands, len(mine)), np.float32), np.empty((many, len(mine)), np.float32),
            np.empty((bands, len(mine)), np.float32),
        )
        for mine in wanted
    ]  # fmt: skip
    codes = fold_rare(encode(frame.seen[:, pixels]), plan.worth, least_group(len(model.mean)))
    bounds, mean = plan.bounds, model.mean.astype(np.float32)

    def one(member: tuple[int, np.ndarray]) -> None:
        pattern, where = member
        here = pixels[where]
        found = model.matrices(pattern)
        observed = [np.take(frame.blocks[b], here, axis=1) for b in found.blocks]
        x = np.concatenate(observed) if observed else np.zeros((0, len(here)), np.float32)
        x -= mean[found.rows, None]
        both = found.matrix @ x
        told = {}
        for row, place in enumerate(plan.restored):
            target = places[row, here]
            mine = np.flatnonzero(target >= 0)
            if not len(mine):
                continue
            target, part = target[mine], both[many + row * bands : many + (row + 1) * bands, mine]
            components, residual = both[:many, mine], None
            if place in found.leave:
                components, residual = components - found.leave[place] @ part, part
                part = np.take(frame.blocks[place], here[mine], axis=1) - part
            else:
                part = part + mean[bounds[place] : bounds[place] + bands, None]
            out[row].gauss[:, target] = part
            out[row].components[:, target] = components
            out[row].log_deviation[:, target] = found.log_deviation[row][:, None]
            told[row] = Told(mine, target, part, residual, slice(bounds[place], bounds[place] + bands))
        for lens in lenses:
            lens.look(found.fill, found.rows, x, told)

    on_cores(one, groups(codes, BATCH), pool)
    return out


def draw_sample(
    frames: Sequence[BlockFrame],
    folds: Sequence[np.ndarray],
    step: int,
    plan: BlockPlan,
    rng: np.random.Generator,
    most: int = EM_SAMPLES * 4 // 3,
) -> Sample:
    """Pixels of all frames, rarely seen dates favoured, that show at least two blocks.

    Args:
        frames: the windows. folds: int8 (h, w) each, on the lattice of every ``step``-th pixel.
    """
    dates = len(plan.dates)
    lattices = [np.flatnonzero(_lattice(frame.shape, step)) for frame in frames]
    seen = np.concatenate([frame.seen[:, pixels] for frame, pixels in zip(frames, lattices, strict=True)], axis=1)
    restored = list(plan.restored)
    rarity = 1.0 / np.maximum(seen[restored].mean(axis=1), 0.02)
    weight = (seen[restored] * rarity[:, None]).sum(axis=0) * (
        seen[:dates].sum(axis=0) + (seen[dates:]).sum(axis=0) > 1
    )
    usable = np.flatnonzero(weight > 0)
    if not len(usable):
        return Sample(np.zeros((sum(plan.sizes), 0), np.float32), np.zeros(0, np.uint16), np.zeros(0, np.int8))
    chance = rng.exponential(size=len(usable)) / weight[usable]
    chosen = usable[np.argsort(chance, kind="stable")[:most]]
    owner = np.repeat(np.arange(len(frames)), [len(p) for p in lattices])[chosen]
    pixel, fold = np.concatenate(lattices)[chosen], np.concatenate([f.ravel() for f in folds])[chosen]
    values = np.zeros((sum(plan.sizes), len(chosen)), np.float32)
    for number, frame in enumerate(frames):
        mine = np.flatnonzero(owner == number)
        values[:, mine] = frame.gather(pixel[mine])
    codes = encode(seen[:, chosen])
    return Sample(values, fold_rare(codes, plan.worth, max(4, len(chosen) // 1500), MOST_PATTERNS), fold)


def _lattice(shape: tuple[int, int], step: int) -> np.ndarray:
    out = np.zeros(shape, bool)
    out[::step, ::step] = True
    return out


def fit_models(sample: Sample, plan: BlockPlan, pool: Executor | None) -> tuple[SeriesGaussian, list[SeriesGaussian]]:
    """The region's model and one for each simulated gap, which never saw that gap's pixels on any date."""
    first = fit_gaussian(sample.values[:, :EM_SAMPLES], sample.codes[:EM_SAMPLES], plan.sizes, START_NOISE, ROUNDS)

    def fit_blind(number: int) -> BlockGaussian:
        seen, codes = sample.blind(number, plan)
        return fit_gaussian(seen, codes, plan.sizes, START_NOISE, FOLD_ROUNDS, (first.mean, first.cov))

    numbers = [k for k in range(3) if (sample.fold == k).sum() >= 10 and (sample.fold != k).sum() >= 10]
    blind = on_cores(fit_blind, numbers, pool)
    noise = _best_noise(blind[0], sample, numbers[0], plan) if blind else NOISES[2]
    return _finished(first, plan, noise), [_finished(model, plan, noise) for model in blind]


def _finished(model: BlockGaussian, plan: BlockPlan, noise: float) -> SeriesGaussian:
    values, vectors = np.linalg.eigh(model.cov)
    keep = min(COMPONENTS, len(values))
    axes = (vectors[:, ::-1][:, :keep] / np.sqrt(np.maximum(values[::-1][:keep], 1e-8))).T
    return SeriesGaussian(plan, model.mean, model.cov, noise, axes)


def _best_noise(model: BlockGaussian, sample: Sample, number: int, plan: BlockPlan) -> float:
    """The noise whose leave-one-date-out residuals are smallest at pixels that the model has not seen."""
    rows = np.flatnonzero(sample.fold == number)
    codes = sample.codes[rows]
    bounds, bands = plan.bounds, plan.bands
    scores = []
    for noise in NOISES:
        total, count = np.zeros(len(plan.dates)), np.zeros(len(plan.dates))
        for pattern, where in groups(codes, 1 << 30):
            blocks = bits(pattern, len(plan.sizes))
            seen = rows_of(pattern, bounds)
            precision = _inverse(model.cov[np.ix_(seen, seen)], noise)
            solved = precision @ (sample.values[np.ix_(seen, rows[where])] - model.mean[seen, None])
            start = 0
            for block in blocks:
                stop = start + plan.sizes[block]
                if block in plan.restored:
                    residual = np.linalg.solve(precision[start:stop, start:stop], solved[start:stop])
                    total[block] += float(np.square(residual[:bands]).sum())
                    count[block] += residual.shape[1]
                start = stop
        # the logarithm lets a date that its neighbours tell almost exactly count as much as one that nobody foresees
        scores.append(float(np.log(total[count > 0] / count[count > 0] + 1e-12).sum()))
    return NOISES[int(np.argmin(scores))]
