"""What values the target's pixels take: the bounds of every member, and the mean that inpainting starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .frame import Frame

MARGIN = 0.3
"""Members are clipped to the clear range of a band, widened by this share of it."""
FEW_CLEAR = 2_500


def limits(frames: Sequence[Frame], dates: int, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Range (C,), widened by 30 %, and mean (C,) of the target's clear pixels.

    Few clear pixels say little about the range; other dates widen it then.
    """
    spectra = _spectra([(frame.target, frame.clear.ravel()) for frame in frames], frames, step)
    low, high, mean = spectra.min(axis=1), spectra.max(axis=1), spectra.mean(axis=1)
    if dates and spectra.shape[1] * step**2 < FEW_CLEAR:
        other = _spectra([(f.blocks[d], f.seen[d]) for d in range(dates) for f in frames], frames * dates, step)
        if other.shape[1]:
            low = np.minimum(low, np.quantile(other, 0.002, axis=1))
            high = np.maximum(high, np.quantile(other, 0.998, axis=1))
    margin = MARGIN * (high - low)
    return (low - margin).astype(np.float32), (high + margin).astype(np.float32), mean


def _spectra(images: list[tuple[np.ndarray, np.ndarray]], frames: Sequence[Frame], step: int) -> np.ndarray:
    """Spectra (C, n) of the lattice pixels of images (C, H * W) where their masks (H * W,) are set."""
    out = []
    for (image, mask), frame in zip(images, frames, strict=True):
        lattice = np.zeros(frame.shape, bool)
        lattice[::step, ::step] = mask.reshape(frame.shape)[::step, ::step]
        out.append(np.take(image, np.flatnonzero(lattice), axis=1))
    return np.concatenate(out, axis=1)
