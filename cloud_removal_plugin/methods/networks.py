"""Three tiny networks that learn, on the scene itself, what the Gaussian leaves.

Two hidden layers of 64 SiLU units each, 128 where a small scene leaves the time. Inputs are standardised; that is
folded into the first layer, and the first layer into the Gaussian's matrices, so that filled dates never have to be
written down for a whole window.
Network k never sees simulated gap k. They are so small that plain matrix products train them in a second or two;
no deep-learning library would be faster.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from .cores import on_cores

UNITS, WIDE_UNITS = 64, 128
BATCH = 512
STEPS, WIDE_STEPS = (300, 500), (1_000, 3_000)
"""Training steps below and from :data:`MANY` samples on; those of wide networks, which gain 0.1 to 0.6 dB."""
MANY, FEW = 8_000, 4_000
"""Samples of a network; with less than the second number wide ones say too little of how wrong they are."""
RATE = 3e-3
DECAY = 1e-2
CLIP = 6.0
"""Targets, in standard deviations of the Gaussian's residual, are clipped here."""
_WARM = 0.3


@dataclass
class Network:
    """One trained network in terms of raw inputs.

    Attributes:
        w1: float32 (64, I), b1 (64,). w2: (64, 64), b2. w3: (C, 64), b3; the output is in reflectance.
    """

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Correction (C, n) of the Gaussian from inputs (I, n)."""
        return self.after_first(self.w1 @ inputs + self.b1[:, None])

    def after_first(self, hidden: np.ndarray) -> np.ndarray:
        """Correction (C, n) from the first layer's sums (64, n), which are overwritten."""
        hidden = self.w2 @ silu(hidden)
        hidden += self.b2[:, None]
        out = self.w3 @ silu(hidden)
        out += self.b3[:, None]
        return out


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x), in place."""
    gate = np.negative(x)
    np.minimum(gate, np.float32(80), out=gate)
    np.exp(gate, out=gate)
    gate += np.float32(1)
    x /= gate
    return x


def train(
    inputs: np.ndarray,
    residual: np.ndarray,
    blind: list[np.ndarray],
    seed: tuple[int, ...],
    pool: Executor | None = None,
    check: Callable[[], None] | None = None,
    thorough: bool = False,
) -> list[Network]:
    """Trains one network for each set of samples.

    Args:
        inputs: float32 (I, n), raw.
        residual: float32 (C, n), true minus Gaussian reflectance.
        blind: for each network, the samples (indices) that it may see.
        seed: of every random choice.
        pool: trains networks side by side.
        check: called between steps; raises to stop.
        thorough: train wide networks for longer, unless there are less than :data:`FEW` samples for one.

    Returns:
        The networks.
    """
    mean = inputs.mean(axis=1, dtype=np.float64)
    scale = np.maximum(inputs.std(axis=1, dtype=np.float64), 1e-5)
    size = np.maximum(residual.std(axis=1, dtype=np.float64), 1e-6)
    x = ((inputs - mean[:, None].astype(np.float32)) / scale[:, None].astype(np.float32)).T.copy()
    np.clip(x, -12, 12, out=x)
    y = np.clip(residual / size[:, None], -CLIP, CLIP).T.astype(np.float32).copy()

    wide = thorough and min(map(len, blind)) >= FEW
    units, steps = (WIDE_UNITS, WIDE_STEPS) if wide else (UNITS, STEPS)

    def one(number: int) -> Network:
        rows = blind[number]
        rng = np.random.default_rng([*seed, 100 + number])
        w1, b1, w2, b2, w3, b3 = _optimise(x, y, rows, rng, check, units, steps[len(rows) >= MANY])
        w1 = (w1 / scale[:, None]).T
        raw = (w1, b1 - w1 @ mean, w2.T, b2, w3.T * size[:, None], b3 * size)
        return Network(*(np.ascontiguousarray(a, np.float32) for a in raw))

    return on_cores(one, range(len(blind)), pool)


def _layout(inputs: int, units: int, outputs: int) -> list[tuple[int, ...]]:
    """Shapes of all parameters."""
    return [(inputs, units), (units,), (units, units), (units,), (units, outputs), (outputs,)]


def _views(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Parts of a flat vector as the parameters."""
    out, start = [], 0
    for shape in shapes:
        stop = start + int(np.prod(shape))
        out.append(flat[start:stop].reshape(shape))
        start = stop
    return out


def _optimise(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, rng: np.random.Generator, check: Callable[[], None] | None,
    units: int, steps: int,
) -> list[np.ndarray]:  # fmt: skip
    """AdamW (Loshchilov and Hutter 2019) with a one-cycle rate (Smith and Topin 2018) on the Huber loss."""
    shapes = _layout(x.shape[1], units, y.shape[1])
    flat = np.zeros(sum(int(np.prod(s)) for s in shapes), np.float32)
    parameters = _views(flat, shapes)
    for weight in parameters[::2]:
        bound = 1 / np.sqrt(weight.shape[0])
        weight[:] = rng.uniform(-bound, bound, weight.shape)
    slope = np.zeros_like(flat)
    slopes = _views(slope, shapes)
    first, second = np.zeros_like(flat), np.zeros_like(flat)
    order = np.zeros(0, np.int64)
    kept = np.float64(1)
    for step in range(steps):
        if check is not None and step % 20 == 0:
            check()
        if len(order) < min(BATCH, len(rows)):
            order = rows[rng.permutation(len(rows))]
        batch, order = order[:BATCH], order[BATCH:]
        _gradient(x[batch], y[batch], parameters, slopes)
        rate, momentum = _cycle(step / max(steps - 1, 1))
        kept *= momentum
        first += np.float32(1 - momentum) * (slope - first)
        second += np.float32(0.001) * (slope * slope - second)
        flat *= np.float32(1 - rate * DECAY)
        size = np.sqrt(second / np.float32(1 - 0.999 ** (step + 1)))
        size += np.float32(1e-8)
        flat -= np.float32(rate / (1 - kept)) * first / size
    return parameters


def _cycle(progress: float) -> tuple[float, float]:
    """Learning rate and first-moment decay at a share of the training."""
    if progress < _WARM:
        up = (1 - np.cos(np.pi * progress / _WARM)) / 2
        return RATE * (0.04 + 0.96 * up), 0.95 - 0.10 * up
    down = (1 + np.cos(np.pi * (progress - _WARM) / (1 - _WARM))) / 2
    return RATE * max(down, 1e-5), 0.95 - 0.10 * down


def _gradient(x: np.ndarray, y: np.ndarray, parameters: list[np.ndarray], slopes: list[np.ndarray]) -> None:
    """Gradient of the mean Huber loss (delta 1), written into ``slopes``."""
    w1, b1, w2, b2, w3, b3 = parameters
    z1 = x @ w1 + b1
    g1 = 1 / (1 + np.exp(-np.maximum(z1, np.float32(-80))))
    h1 = z1 * g1
    z2 = h1 @ w2 + b2
    g2 = 1 / (1 + np.exp(-np.maximum(z2, np.float32(-80))))
    h2 = z2 * g2
    d3 = np.clip(h2 @ w3 + b3 - y, -1, 1)
    d3 *= np.float32(1 / d3.size)
    np.matmul(h2.T, d3, out=slopes[4])
    d3.sum(axis=0, out=slopes[5])
    d2 = d3 @ w3.T
    d2 *= g2 + h2 * (1 - g2)
    np.matmul(h1.T, d2, out=slopes[2])
    d2.sum(axis=0, out=slopes[3])
    d1 = d2 @ w2.T
    d1 *= g1 + h1 * (1 - g1)
    np.matmul(x.T, d1, out=slopes[0])
    d1.sum(axis=0, out=slopes[1])
