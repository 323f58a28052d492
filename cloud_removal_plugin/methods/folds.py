"""Simulated gaps: the true gap, turned, mirrored and shifted over clear pixels.

Three disjoint ones serve everything that has to be honest: noise level, networks, weights, uncertainty.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..observation import Observation

FOLDS = 3
SHARE = 0.25
"""Share of the clear pixels that each simulated gap hides."""
LATTICE_PIXELS = 150_000
"""The fit looks at every s-th row and column, so that no more pixels than about these are looked at; twice as many gain
nothing (-0.16 to +0.09 dB on mosaics, regions of 512 and 1024 px)."""
_TRIES = 16
_SPARSE = 0.002
"""A gap smaller than this share of the window says too little about the form of gaps; blobs are drawn then."""


def lattice_step(samples: Sequence[Observation]) -> int:
    """Every how many rows and columns the fit looks at the samples."""
    pixels = sum(obs.shape[2] * obs.shape[3] for obs in samples)
    return max(1, int(np.ceil(np.sqrt(pixels / LATTICE_PIXELS) - 0.15)))


def simulate(gaps: Sequence[np.ndarray], clears: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Lays disjoint simulated gaps over the clear pixels of each window.

    Args:
        gaps: bool (H, W) each, what is to be restored.
        clears: bool (H, W) each, where the target is seen.
        rng: source of chance.

    Returns:
        int8 (H, W) each: number of the simulated gap, -1 outside.
    """
    forms = [gap for gap in gaps if _SPARSE < gap.mean() < 0.995]
    out = []
    for gap, clear in zip(gaps, clears, strict=True):
        own = [gap] if _SPARSE < gap.mean() < 0.995 else forms
        out.append(_window_folds(own, clear, rng))
    return out


def _window_folds(forms: Sequence[np.ndarray], clear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The folds of one window."""
    fold = np.full(clear.shape, -1, np.int8)
    wanted = round(SHARE * float(clear.sum()))
    if wanted < 1:
        return fold
    for number in range(FOLDS):
        hidden = np.zeros(clear.shape, bool)
        for _ in range(_TRIES):
            missing = wanted - int(hidden.sum())
            if missing <= 0.1 * wanted:
                break
            form = forms[rng.integers(len(forms))] if forms else _blobs(clear.shape, rng)
            fresh = _turned(form, clear.shape, rng) & clear & (fold < 0) & ~hidden
            hidden |= _trimmed(fresh, int(1.1 * missing) + 1, rng)
        fold[hidden] = number
    return fold


def _turned(form: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """``form`` rotated, mirrored and shifted (around the edges), cut or tiled to ``shape``."""
    form = np.rot90(form, int(rng.integers(4)))
    if rng.integers(2):
        form = form[:, ::-1]
    height, width = shape
    reps = (-(-height // form.shape[0]), -(-width // form.shape[1]))
    form = np.tile(form, reps)
    form = np.roll(form, (int(rng.integers(form.shape[0])), int(rng.integers(form.shape[1]))), axis=(0, 1))
    return form[:height, :width]


def _trimmed(mask: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most about ``most`` pixels of ``mask``: what lies on one side of a random straight line."""
    if mask.sum() <= most:
        return mask
    angle = rng.uniform(0, 2 * np.pi)
    rows, cols = np.nonzero(mask)
    place = rows * np.sin(angle) + cols * np.cos(angle)
    keep = place <= np.partition(place, most - 1)[most - 1]
    out = np.zeros_like(mask)
    out[rows[keep], cols[keep]] = True
    return out


def _blobs(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Discs of cloud-like sizes for windows whose own gap has no form."""
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(6):
        radius = max(1.0, rng.uniform(0.03, 0.15) * max(shape))
        row, col = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        mask |= (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return mask
