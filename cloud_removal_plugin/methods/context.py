"""What surrounds a pixel: gradients and means of a few spectral components of the neighbouring dates."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
from scipy import ndimage

from .cores import on_cores
from .frame import Frame, Plan
from .membrane import harmonic

COMPONENTS = 4
PER_COMPONENT = 9
"""dx, dy and 3x3 difference on the earlier and the later date; 5x5 difference, 11x11 and 31x31 means."""


def axes(cov: np.ndarray) -> np.ndarray:
    """The first principal axes (K, C) of a band covariance (C, C), K <= 4."""
    _, vectors = np.linalg.eigh(cov)
    return np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS].T.astype(np.float32))


def context(frame: Frame, plan: Plan, axis: np.ndarray, pixels: np.ndarray, pool: Executor | None = None) -> np.ndarray:
    """Context features at flat pixel indices.

    Args:
        frame: the window.
        plan: the region's plan.
        axis: float32 (K, C), from :func:`axes`.
        pixels: (n,).
        pool: spreads components over cores.

    Returns:
        float32 (9 K, n).
    """
    dates = len(plan.days)
    if not dates:
        return np.zeros((PER_COMPONENT * len(axis), len(pixels)), np.float32)
    images = on_cores(lambda date: _projected(axis, frame.blocks[date]), range(dates), pool)
    order = sorted(range(dates), key=lambda d: -abs(plan.days[d]))
    before_age = np.full(frame.size, np.inf, np.float32)
    after_age = np.full(frame.size, np.inf, np.float32)
    for date in order:
        side = before_age if plan.days[date] <= 0 else after_age
        side[frame.seen[date]] = abs(plan.days[date])
    share = _share(before_age, after_age)
    unseen = np.isinf(before_age) & np.isinf(after_age)

    def component(number: int) -> np.ndarray:
        before, after = np.zeros(frame.size, np.float32), np.zeros(frame.size, np.float32)
        for date in order:
            side = before if plan.days[date] <= 0 else after
            np.copyto(side, images[date][number], where=frame.seen[date])
        np.copyto(before, after, where=np.isinf(before_age))
        np.copyto(after, before, where=np.isinf(after_age))
        if unseen.any():
            known = ~unseen.reshape(frame.shape)
            both = harmonic(np.stack((before, after)).reshape(2, *frame.shape), known)
            before, after = both.reshape(2, -1)
        middle = before + share * (after - before)
        return _features(*(image.reshape(frame.shape) for image in (before, after, middle)), pixels)

    return np.concatenate(on_cores(component, range(len(axis)), pool))


def _projected(axis: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Components (K, H * W) of an image; anything where it holds no data."""
    with np.errstate(invalid="ignore"):
        return axis @ image


def _share(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Weight of the later date where both see a pixel, 0 elsewhere (both images are the same there)."""
    with np.errstate(invalid="ignore"):
        share = before / np.maximum(before + after, 1e-6)
    return np.where(np.isfinite(share), share, 0).astype(np.float32)


def _features(before: np.ndarray, after: np.ndarray, middle: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Nine features (9, n) of one component."""
    out = []
    for image in (before, after):
        padded = np.pad(image, 1, mode="edge")
        out.append((padded[1:-1, 2:] - padded[1:-1, :-2]).ravel()[pixels])
        out.append((padded[2:, 1:-1] - padded[:-2, 1:-1]).ravel()[pixels])
        out.append((image - ndimage.uniform_filter(image, 3, mode="nearest")).ravel()[pixels])
    out.append((middle - ndimage.uniform_filter(middle, 5, mode="nearest")).ravel()[pixels])
    for size in (11, 31):
        out.append(ndimage.uniform_filter(middle, size, mode="nearest").ravel()[pixels])
    return np.stack(out)
