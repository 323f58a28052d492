"""Filling a series from what each pixel showed last, next, or nearest in time: the baselines of U-TILISE.

Source: Stucker, Sainte Fare Garnot, Schindler (2023), IEEE TGRS 61, section on baselines. Observed pixels never change;
a pixel that is never seen stays NaN.
"""

from __future__ import annotations

import numpy as np


def last_visible(hidden: np.ndarray) -> np.ndarray:
    """Frame that showed each pixel last, itself included.

    Args:
        hidden: bool (T, H, W).

    Returns:
        float32 (T, H, W), NaN where no earlier frame did.
    """
    return _running(hidden, range(len(hidden)))


def next_visible(hidden: np.ndarray) -> np.ndarray:
    """Frame that shows each pixel next, itself included; float32 (T, H, W), NaN where no later frame does."""
    return _running(hidden, range(len(hidden) - 1, -1, -1))


def _running(hidden: np.ndarray, order: range) -> np.ndarray:
    """The frame seen most recently, going through the frames in ``order``."""
    out = np.full(hidden.shape, np.nan, np.float32)
    latest = np.full(hidden.shape[1:], np.nan, np.float32)
    for frame in order:
        latest = np.where(hidden[frame], latest, np.float32(frame))
        out[frame] = latest
    return out


def closest_visible(hidden: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Frame that shows each pixel nearest in time.

    Args:
        hidden: bool (T, H, W). days: (T,), ascending.

    Returns:
        float32 (T, H, W); of two equally near frames the earlier one, NaN where no frame shows the pixel.
    """
    before, after = last_visible(hidden), next_visible(hidden)
    to_before, to_after = _days_between(before, after, days)
    later = np.isnan(before) | (to_after < to_before)
    return np.where(later, after, before)


def _days_between(before: np.ndarray, after: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days back to ``before`` and on to ``after`` (T, H, W); infinite where there is no such frame."""
    days = np.asarray(days, np.float64)
    now = days[:, None, None]
    back = np.where(np.isnan(before), np.inf, now - days[np.nan_to_num(before).astype(np.intp)])
    forth = np.where(np.isnan(after), np.inf, days[np.nan_to_num(after).astype(np.intp)] - now)
    return back, forth


def taken(images: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Values of the frames named for each pixel.

    Args:
        images: (T, C, H, W). frames: (T, H, W), frame numbers, NaN = none.

    Returns:
        (T, C, H, W), NaN where no frame is named.
    """
    index = np.broadcast_to(np.nan_to_num(frames).astype(np.intp)[:, None], images.shape)
    out = np.take_along_axis(images, index, axis=0)
    return np.where(np.isnan(frames)[:, None], images.dtype.type(np.nan), out)


def fill_last(images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Hidden pixels as they were seen last; images (T, C, H, W), hidden bool (T, H, W)."""
    return _filled(images, hidden, taken(images, last_visible(hidden)))


def fill_next(images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Hidden pixels as they are seen next."""
    return _filled(images, hidden, taken(images, next_visible(hidden)))


def fill_closest(images: np.ndarray, hidden: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Hidden pixels as the nearest frame in time shows them."""
    return _filled(images, hidden, taken(images, closest_visible(hidden, days)))


def fill_linear(images: np.ndarray, hidden: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Hidden pixels on the line between the last and the next frame that show them; at the ends the one there is."""
    before, after = last_visible(hidden), next_visible(hidden)
    back, forth = _days_between(before, after, days)
    whole = back + forth
    with np.errstate(invalid="ignore"):
        share = np.where(np.isfinite(whole) & (whole > 0), back / np.maximum(whole, 1e-12), 0.0)
    share = np.where(np.isnan(before), 1.0, share)
    first = taken(images, np.where(np.isnan(before), after, before))
    second = taken(images, np.where(np.isnan(after), before, after))
    mixed = first + share[:, None].astype(images.dtype) * (second - first)
    return _filled(images, hidden, mixed)


def _filled(images: np.ndarray, hidden: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(hidden[:, None], values, images)
