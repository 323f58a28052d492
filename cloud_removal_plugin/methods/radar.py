"""What radar backscatter adds to a pixel: features that clouds never hide.

From R acquisitions: the mean of the +-15 day window round the target in linear power, its 3, 5 and 9 pixel means
(speckle), its change against the windows of two reference dates, VH - VV of each, and the long-term mean. What the
acquisitions at hand don't give is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..observation import Observation

WINDOW_DAYS = 15.0
SCALE = np.float32(0.02)
"""dB to the size of reflectance, so that one noise level fits all variables of a model."""
_FAINT = 1e-6


@dataclass(frozen=True)
class RadarPlan:
    """Which acquisitions make which window.

    Attributes:
        windows: acquisitions of the target's window, then of the reference dates'.
        every: all acquisitions, or empty where the long-term mean says nothing new.
        polarisations: 0 (VV) and / or 1 (VH), those that hold data.
    """

    windows: tuple[tuple[int, ...], ...]
    every: tuple[int, ...]
    polarisations: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of features."""
        many = len(self.polarisations)
        pair = 1 if many == 2 else 0
        windows = len(self.windows)
        return 4 * many + (windows - 1) * many + windows * pair + (many if self.every else 0)


def plan(samples: Sequence[Observation], references: Sequence[float]) -> RadarPlan | None:
    """The features that the radar of a region supports.

    Args:
        samples: windows of the region.
        references: days of the two reference dates relative to the target.

    Returns:
        None where there is no usable radar.
    """
    if any(obs.radar is None or not len(obs.radar) for obs in samples):
        return None
    finite = np.stack([np.isfinite(obs.radar[:, :, ::4, ::4]).mean(axis=(2, 3)) for obs in samples]).mean(axis=0)
    polarisations = tuple(p for p in (0, 1) if (finite[:, p] > 0.05).any())
    usable = [r for r in range(len(finite)) if (finite[r] > 0.05).any()]
    if not usable:
        return None
    days = np.asarray(samples[0].radar_days, np.float64)
    target = _window(days, usable, 0.0) or (min(usable, key=lambda r: (abs(days[r]), r)),)
    windows = [target]
    for reference in references:
        found = _window(days, usable, float(reference))
        if found and found not in windows:
            windows.append(found)
    every = tuple(usable) if len(usable) > max(len(window) for window in windows) else ()
    return RadarPlan(tuple(windows), every, polarisations)


def _window(days: np.ndarray, usable: Sequence[int], centre: float) -> tuple[int, ...]:
    """Usable acquisitions within the window round a day."""
    return tuple(r for r in usable if abs(days[r] - centre) <= WINDOW_DAYS)


def features(radar: np.ndarray, chosen: RadarPlan) -> np.ndarray:
    """Radar features of one window.

    Args:
        radar: float32 (R, 2, H, W), dB.
        chosen: from :func:`plan`.

    Returns:
        float32 (F, H, W), dB times :data:`SCALE`; NaN where an acquisition that is needed holds no data.
    """
    powers: dict[int, np.ndarray] = {}

    def mean(acquisitions: Sequence[int]) -> np.ndarray:
        total, count = None, None
        for index in acquisitions:
            if index not in powers:
                powers[index] = np.power(np.float32(10), radar[index][list(chosen.polarisations)] * np.float32(0.1))
            power = powers[index]
            finite = np.isfinite(power)
            total = np.where(finite, power, 0) + (0 if total is None else total)
            count = finite + (0 if count is None else count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (total / np.where(count > 0, count, np.nan)).astype(np.float32)

    windows = [mean(window) for window in chosen.windows]
    decibels = [_db(window) for window in windows]
    out = [decibels[0], *(_db(_box(windows[0], size)) for size in (3, 5, 9))]
    out += [decibels[0] - reference for reference in decibels[1:]]
    if len(chosen.polarisations) == 2:
        out += [window[1:] - window[:1] for window in decibels]
    if chosen.every:
        out.append(_db(mean(chosen.every)))
    return np.concatenate(out) * SCALE


def _db(power: np.ndarray) -> np.ndarray:
    """Linear power to decibels."""
    return np.float32(10) * np.log10(np.maximum(power, np.float32(_FAINT)))


def _box(power: np.ndarray, size: int) -> np.ndarray:
    """Mean of the finite pixels of a square window."""
    finite = np.isfinite(power)
    if finite.all():
        return ndimage.uniform_filter(power, (0, size, size), mode="nearest")
    total = ndimage.uniform_filter(np.where(finite, power, 0), (0, size, size), mode="nearest")
    share = ndimage.uniform_filter(finite.astype(np.float32), (0, size, size), mode="nearest")
    return np.where(finite, total / np.maximum(share, 1e-3), np.float32(np.nan))
