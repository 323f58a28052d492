"""Tiny networks that several dates train together: one trunk, and for every date its own offsets and its own output.

The recipe is that of :mod:`networks` (two layers of 96 SiLU units, 128 in small scenes, Huber loss, AdamW, one cycle).
What dates of a block have in common (how spectra and surroundings bend the Gaussian's error) is learned once; that
costs little more than the networks of one date. The filled dates reach the first layer in the same way whichever date
is restored, so one matrix product a pixel serves all dates of a trunk. Network k never sees simulated gap k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from .cores import on_cores
from .networks import CLIP, DECAY, FEW, MANY, WIDE_UNITS, Network, _cycle

UNITS = 96
BATCH = 512
"""Samples of a step, of all dates together."""
LEAST_OF_DATE, MOST_OF_DATE = 48, 192
TOGETHER = 6
"""Dates that share a trunk; fourteen in one lost 0.2 dB."""
STEPS, WIDE_STEPS = (300, 450), (900, 2_000)
"""Training steps below and from :data:`networks.MANY` samples a date on; those of wide networks."""
LONGEST = 12.0
"""Standardised inputs are clipped here."""


@dataclass
class _Task:
    """Standardised samples of one date: x (n, I), y (n, C), fold (n,)."""

    x: np.ndarray
    y: np.ndarray
    fold: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    size: np.ndarray


def trunks(dates: int) -> list[np.ndarray]:
    """Dates (positions among those that have samples) that share a trunk."""
    return np.array_split(np.arange(dates), -(-dates // TOGETHER))


def train_shared(
    tables: list[np.ndarray],
    residuals: Sequence[np.ndarray],
    folds: Sequence[np.ndarray],
    numbers: Sequence[int],
    filled: int,
    seed: tuple[int, ...],
    pool: Executor | None = None,
    check: Callable[[], None] | None = None,
    thorough: bool = False,
) -> list[list[Network]]:
    """Trains one network for each simulated gap, for all dates at once.

    Args:
        tables: float32 (I, n) inputs of each date; emptied. residuals: float32 (C, n), true minus Gaussian reflectance.
        folds: (n,) simulated gap of each sample. numbers: the simulated gaps.
        filled: so many inputs, the first ones, are filled dates; they enter the dates of a trunk by the same weights.
        seed: of every random choice. pool: trains side by side. check: raises to stop.
        thorough: train wide networks for longer, unless a trunk has less than :data:`networks.FEW` samples a date.

    Returns:
        For each of ``numbers``, the networks of the dates in terms of raw inputs.
    """
    groups = []
    for part in trunks(len(tables)):
        inputs = [tables[i] for i in part]
        for i in part:
            tables[i] = np.zeros((0, 0), np.float32)
        groups.append(_standardised(inputs, [residuals[i] for i in part], [folds[i] for i in part], filled))

    def one(job: tuple[int, int]) -> list[Network]:
        number, group = job
        return _trunk(groups[group], number, (*seed, 100 + number, group), check, thorough)

    jobs = [(number, group) for number in numbers for group in range(len(groups))]
    found = dict(zip(jobs, on_cores(one, jobs, pool), strict=True))
    return [[net for group in range(len(groups)) for net in found[number, group]] for number in numbers]


def _trunk(
    tasks: list[_Task], number: int, seed: tuple[int, ...], check: Callable[[], None] | None, thorough: bool
) -> list[Network]:
    """The networks of one trunk's dates that may not see one simulated gap."""
    shown = [date for date, task in enumerate(tasks) if (task.fold != number).any()]
    # decided by all samples, so that the networks of all gaps are of one width
    samples = sum(len(task.fold) for task in tasks) / len(tasks)
    units, steps = (WIDE_UNITS, WIDE_STEPS) if thorough and samples >= FEW else (UNITS, STEPS)
    out = [_silent(task, units) for task in tasks]
    if shown:
        some = [tasks[date] for date in shown]
        parts = _optimise(some, number, np.random.default_rng(seed), check, units, steps[samples >= MANY])
        for place, date in enumerate(shown):
            out[date] = _raw(tasks[date], parts, place)
    return out


def _standardised(
    tables: list[np.ndarray], residuals: Sequence[np.ndarray], folds: Sequence[np.ndarray], filled: int
) -> list[_Task]:
    """The dates of a trunk; what they share (the first ``filled`` inputs) by one mean and scale."""
    count = sum(table.shape[1] for table in tables)
    middle = sum(table[:filled].sum(axis=1, dtype=np.float64) for table in tables) / count
    square = sum(np.square(table[:filled] - middle[:, None]).sum(axis=1) for table in tables) / count
    tasks = []
    for number, (residual, fold) in enumerate(zip(residuals, folds, strict=True)):
        table, tables[number] = tables[number], np.zeros((0, 0), np.float32)
        mean, scale = table.mean(axis=1, dtype=np.float64), table.std(axis=1, dtype=np.float64)
        mean[:filled], scale[:filled] = middle, np.sqrt(square)
        scale = np.maximum(scale, 1e-5)
        size = np.maximum(residual.std(axis=1, dtype=np.float64), 1e-6)
        x = ((table - mean[:, None].astype(np.float32)) / scale[:, None].astype(np.float32)).T
        y = np.clip(residual / size[:, None], -CLIP, CLIP).T.astype(np.float32)
        x = np.ascontiguousarray(np.clip(x, -LONGEST, LONGEST))
        tasks.append(_Task(x, np.ascontiguousarray(y), fold, mean, scale, size))
    return tasks


def _raw(task: _Task, parts: list[np.ndarray], date: int) -> Network:
    """The network of one date with the standardisation folded in."""
    w1, b1, w2, b2, w3, b3 = parts
    first = (w1 / task.scale[:, None]).T
    raw = (first, b1[date] - first @ task.mean, w2.T, b2, w3[date].T * task.size[:, None], b3[date] * task.size)
    return Network(*(np.ascontiguousarray(part, np.float32) for part in raw))


def _silent(task: _Task, units: int) -> Network:
    """What stands for a network where a date shows all it has in the simulated gap that must stay unseen."""
    inputs, bands = len(task.scale), len(task.size)
    shapes = ((units, inputs), (units,), (units, units), (units,), (bands, units), (bands,))
    return Network(*(np.zeros(shape, np.float32) for shape in shapes))


class _Batches:
    """Random samples of every date in turn, (R, b) indices, without those of one simulated gap."""

    def __init__(self, tasks: Sequence[_Task], number: int, rng: np.random.Generator) -> None:
        self._rows = [np.flatnonzero(task.fold != number) for task in tasks]
        self._order = [np.zeros(0, np.int64) for _ in tasks]
        self._rng = rng
        self.size = min(max(LEAST_OF_DATE, BATCH // len(tasks)), MOST_OF_DATE)

    def next(self) -> list[np.ndarray]:
        """Indices (b,) of each date; few samples come again within a batch."""
        out = []
        for date, rows in enumerate(self._rows):
            while len(self._order[date]) < self.size:
                self._order[date] = np.concatenate((self._order[date], rows[self._rng.permutation(len(rows))]))
            out.append(self._order[date][: self.size])
            self._order[date] = self._order[date][self.size :]
        return out


def _optimise(
    tasks: Sequence[_Task], number: int, rng: np.random.Generator, check: Callable[[], None] | None,
    units: int, steps: int,
) -> list[np.ndarray]:  # fmt: skip
    """AdamW (Loshchilov and Hutter 2019), one-cycle rate (Smith and Topin 2018), on the mean of the dates' losses."""
    inputs, bands, dates = tasks[0].x.shape[1], tasks[0].y.shape[1], len(tasks)
    shapes = [(inputs, units), (dates, units), (units, units), (units,), (dates, units, bands), (dates, bands)]
    flat = np.zeros(sum(int(np.prod(shape)) for shape in shapes), np.float32)
    slope = np.zeros_like(flat)
    parameters, slopes = _views(flat, shapes), _views(slope, shapes)
    for weight in parameters[::2]:
        bound = 1 / np.sqrt(weight.shape[-2])
        weight[...] = rng.uniform(-bound, bound, weight.shape)
    batches = _Batches(tasks, number, rng)
    first, second = np.zeros_like(flat), np.zeros_like(flat)
    kept = 1.0
    for step in range(steps):
        if check is not None and step % 20 == 0:
            check()
        rows = batches.next()
        x = np.stack([task.x[index] for task, index in zip(tasks, rows, strict=True)])
        y = np.stack([task.y[index] for task, index in zip(tasks, rows, strict=True)])
        _gradient(x, y, parameters, slopes)
        rate, momentum = _cycle(step / max(steps - 1, 1))
        kept *= momentum
        first += np.float32(1 - momentum) * (slope - first)
        second += np.float32(0.001) * (slope * slope - second)
        flat *= np.float32(1 - rate * DECAY)
        size = np.sqrt(second / np.float32(1 - 0.999 ** (step + 1)))
        size += np.float32(1e-8)
        flat -= np.float32(rate / (1 - kept)) * first / size
    return parameters


def _views(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Parts of a flat vector as arrays."""
    stops = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(flat, stops[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _gradient(x: np.ndarray, y: np.ndarray, parameters: list[np.ndarray], slopes: list[np.ndarray]) -> None:
    """Gradient of the mean Huber loss (delta 1) of x (R, b, I) and y (R, b, C), written into ``slopes``."""
    w1, b1, w2, b2, w3, b3 = parameters
    dates, batch, inputs = x.shape
    flat = x.reshape(-1, inputs)
    z1 = (flat @ w1).reshape(dates, batch, -1) + b1[:, None]
    g1 = 1 / (1 + np.exp(-np.maximum(z1, np.float32(-80))))
    h1 = (z1 * g1).reshape(dates * batch, -1)
    z2 = h1 @ w2 + b2
    g2 = 1 / (1 + np.exp(-np.maximum(z2, np.float32(-80))))
    h2 = (z2 * g2).reshape(dates, batch, -1)
    d3 = np.clip(h2 @ w3 + b3[:, None] - y, -1, 1)
    d3 *= np.float32(1 / d3.size)
    np.matmul(h2.transpose(0, 2, 1), d3, out=slopes[4])
    d3.sum(axis=1, out=slopes[5])
    d2 = (d3 @ w3.transpose(0, 2, 1)).reshape(dates * batch, -1)
    h2 = h2.reshape(dates * batch, -1)
    d2 *= g2 + h2 * (1 - g2)
    np.matmul(h1.T, d2, out=slopes[2])
    d2.sum(axis=0, out=slopes[3])
    d1 = (d2 @ w2.T).reshape(dates, batch, -1)
    h1 = h1.reshape(dates, batch, -1)
    d1 *= g1 + h1 * (1 - g1)
    np.matmul(flat.T, d1.reshape(dates * batch, -1), out=slopes[0])
    d1.sum(axis=1, out=slopes[1])
