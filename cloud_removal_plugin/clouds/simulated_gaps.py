"""Gaps simulated over a series as U-TILISE was trained with, and the frames that are too cloudy to be a truth.

Source: Stucker, Sainte Fare Garnot, Schindler (2023), "U-TILISE: A Sequence-to-Sequence Model for Cloud Removal in
Optical Satellite Time Series", IEEE TGRS 61, section on data preparation, and the settings of the released models.
Masks are 1 (or True) where a frame is hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

OCCLUDED_FROM = 0.9
"""A simulated mask that hides more than this share of a frame hides all of it."""

CLOUDY_PERCENT = 1.0
"""Cloud probability in percent above which a pixel counts as possibly cloudy."""


class Draws(Protocol):
    """The two random choices that the sampling makes; :class:`numpy.random.Generator` offers both."""

    def integers(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high - 1``."""
        ...

    def choice(self, a: Sequence[int], size: int, replace: bool) -> np.ndarray:
        """``size`` of the numbers ``a``."""
        ...


@dataclass(frozen=True)
class MaskedFrames:
    """Which frames of a sequence get a simulated mask.

    Attributes:
        masked: frame numbers, in the order in which they were drawn.
        full: those of them that are marked to be hidden altogether.
    """

    masked: tuple[int, ...]
    full: tuple[int, ...]


def impaired(frames: np.ndarray, masks: np.ndarray, percent: np.ndarray | None, strong: bool = False) -> np.ndarray:
    """Frames that are too cloudy, or too empty, to serve as a truth.

    With M the share of masked pixels and P the share of pixels whose cloud probability exceeds 1 %, both in percent: a
    frame is impaired if it holds no number, or M >= 40, or P > 1 and M > 10, or P > 4 and M > 8 (3.5 if ``strong``).
    Without probabilities: no number, or M >= 5.

    Args:
        frames: (T, C, H, W), NaN = no data. masks: (T, 1, H, W).
        percent: (T, 1, H, W), cloud probability 0..100, or None.
        strong: the stricter filter (SEN12MS-CR-TS).

    Returns:
        bool (T,).
    """
    empty = np.isnan(frames).reshape(len(frames), -1).all(axis=1)
    masked = _percent(np.asarray(masks) > 0)
    if percent is None:
        return empty | (masked >= 5)
    cloudy = _percent(np.asarray(percent) > CLOUDY_PERCENT)
    limit = 3.5 if strong else 8.0
    return empty | (masked >= 40) | ((cloudy > 1) & (masked > 10)) | ((cloudy > 4) & (masked > limit))


def _percent(flags: np.ndarray) -> np.ndarray:
    """Share of True in every frame, in percent, float64 (T,)."""
    flat = flags.reshape(len(flags), -1)
    return 100.0 * flat.sum(axis=1) / flat.shape[1]


def choose_frames(
    frames: int,
    rng: Draws,
    *,
    ratio: float = 0.5,
    full_ratio: float = 0.0,
    spared: Sequence[int] | None = (0,),
    fixed: bool = False,
) -> MaskedFrames:
    """Draw the frames of a sequence that are to be masked.

    Args:
        frames: length n of the sequence.
        rng: where the draws come from: first the number (unless ``fixed``), then the frames, then the full ones.
        ratio: share of n to mask, rounded up.
        full_ratio: share of n, rounded up, to be marked as wholly hidden among the masked ones.
        spared: frames that are never masked; negative numbers count from the end.
        fixed: False replaces n by a whole number that is drawn from 1..n.

    Raises:
        ValueError: a ratio outside 0..1, or no frame.
    """
    if frames < 1 or not 0 <= ratio <= 1 or not 0 <= full_ratio <= 1:
        raise ValueError(f"Cannot mask {ratio} and {full_ratio} of {frames} frames.")
    never = {frame % frames for frame in spared or ()}
    candidates = [frame for frame in range(frames) if frame not in never]
    counted = frames if fixed else int(rng.integers(1, frames + 1))
    many = min(math.ceil(ratio * counted), len(candidates))
    masked = [int(frame) for frame in rng.choice(candidates, many, replace=False)] if many else []
    whole = min(math.ceil(full_ratio * counted), many)
    full = [int(frame) for frame in rng.choice(masked, whole, replace=False)] if whole else []
    return MaskedFrames(tuple(masked), tuple(full))


def overlay(
    existing: np.ndarray, simulated: Mapping[int, np.ndarray], occluded_from: float | None = OCCLUDED_FROM
) -> np.ndarray:
    """Add simulated masks to those that a sequence has (their union).

    Args:
        existing: (T, 1, H, W). simulated: masks (1, H, W) by frame number.
        occluded_from: a simulated mask that hides more than this share hides the whole frame; None or 0 = never.

    Returns:
        bool (T, 1, H, W).
    """
    out = np.asarray(existing) > 0
    for frame, mask in simulated.items():
        hidden = np.asarray(mask) > 0
        whole = bool(occluded_from) and hidden.mean() > occluded_from
        out[frame] |= True if whole else hidden
    return out


def dilated(masks: np.ndarray, times: int = 1) -> np.ndarray:
    """Masks (T, 1, H, W) grown by a 3 x 3 cross, ``times`` over; bool."""
    cross = ndimage.generate_binary_structure(2, 1)[None, None]
    hidden = np.asarray(masks) > 0
    return ndimage.binary_dilation(hidden, cross, iterations=times) if times > 0 else hidden


def filled(frames: np.ndarray, masks: np.ndarray, value: float = 1.0) -> np.ndarray:
    """Frames (T, C, H, W) with a constant where the masks (T, 1, H, W) hide them (1, as the networks are fed)."""
    return np.where(np.asarray(masks) > 0, frames.dtype.type(value), frames)


def filled_with_mean(frames: np.ndarray, masks: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Frames with each channel's mean over the observed pixels of the valid frames where they are hidden.

    Args:
        frames: (T, C, H, W). masks: (T, 1, H, W). valid: (T,), non-zero = counts.
    """
    hidden = np.asarray(masks)[:, 0] > 0
    used = ~hidden & (np.asarray(valid) > 0)[:, None, None]
    means = np.array([channel[used].mean(dtype=np.float64) for channel in np.moveaxis(frames, 1, 0)])
    return np.where(hidden[:, None], means.astype(frames.dtype)[:, None, None], frames)


def filled_with_noise(frames: np.ndarray, masks: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Frames with noise added where they are hidden; the sum is not clipped.

    Args:
        frames: (T, C, H, W). masks: (T, 1, H, W). noise: like ``frames``, drawn from N(0, 0.5); clipped to 0..1 here.
    """
    return np.where(np.asarray(masks) > 0, frames + np.clip(noise, 0, 1), frames)
