"""Which dates a region's model looks at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..observation import Observation

MOST = 12
"""Dates in the model: 6 lose 0.7 dB on a year of Sentinel-2, 20 gain 0.2 dB at best."""
EXTRA = 2
"""Further dates, taken only for gap pixels that none of the best dates sees."""
LEAST_SHARE = 0.10
"""A date must see at least this share of the gap."""
LEAST_COMMON = 100
"""A date must share this many clear pixels with the target, or a third of them where there are few."""


def value(days: np.ndarray) -> np.ndarray:
    """How much a date is worth by its age alone: 1 / (|days| + 5)."""
    return 1.0 / (np.abs(np.asarray(days, np.float64)) + 5.0)


def choose(samples: Sequence[Observation], most: int = MOST) -> tuple[int, ...]:
    """The best dates by (|days| + 5) / share of the gap that they see.

    Where the target shows next to nothing, dates need no clear pixels in common with it.

    Returns:
        Ascending indices into the observation's dates, without the target (0). Empty if there is none.
    """
    step = _coarse(samples)
    days = np.asarray(samples[0].days, np.float64)
    views, clears = [], []
    for obs in samples:
        seen = seen_coarse(obs, step)
        gap = obs.gap()[::step, ::step]
        clears.append(seen[:, seen[0] & ~gap])
        views.append(seen[:, gap])
    gap_seen, clear_seen = np.concatenate(views, axis=1), np.concatenate(clears, axis=1)
    everywhere = gap_seen if gap_seen.shape[1] else clear_seen
    share = everywhere.mean(axis=1) if everywhere.shape[1] else np.zeros(len(days))
    common = (clear_seen & clear_seen[:1]).sum(axis=1) * step**2
    enough = common >= min(LEAST_COMMON, common[0] / 3)
    usable = [d for d in range(1, len(days)) if share[d] >= LEAST_SHARE and enough[d]]
    ranked = sorted(usable, key=lambda d: ((abs(days[d]) + 5.0) / share[d], d))
    best = ranked[:most]
    if gap_seen.shape[1]:
        left = [d for d in range(1, len(days)) if d not in best and share[d] > 0 and enough[d]]
        best += _fillers(gap_seen, best, left)
    return tuple(sorted(best))


def _fillers(gap_seen: np.ndarray, best: list[int], others: list[int]) -> list[int]:
    """Dates that see at least 0.5 % of the gap where none of the best does."""
    unseen = ~gap_seen[best].any(axis=0)
    out: list[int] = []
    while len(out) < EXTRA and others:
        gains = [(gap_seen[d] & unseen).mean() for d in others]
        top = int(np.argmax(gains))
        if gains[top] < 0.005:
            break
        out.append(others.pop(top))
        unseen &= ~gap_seen[out[-1]]
    return out


def bands_present(samples: Sequence[Observation]) -> np.ndarray:
    """bool (T, C): bands that a date shows anywhere in the samples."""
    step = _coarse(samples)
    out = np.zeros(samples[0].shape[:2], bool)
    for obs in samples:
        out |= np.isfinite(obs.optical[:, :, ::step, ::step]).any(axis=(2, 3))
    return out


def _coarse(samples: Sequence[Observation]) -> int:
    """Every how many rows and columns shares are counted: some 40,000 pixels are plenty."""
    return max(1, int(np.sqrt(sum(obs.shape[2] * obs.shape[3] for obs in samples) / 40_000)))


def seen_coarse(obs: Observation, step: int) -> np.ndarray:
    """bool (T, h, w): every ``step``-th pixel's visibility; bands that a date lacks altogether don't count."""
    optical = obs.optical[:, :, ::step, ::step]
    finite = np.isfinite(optical)
    lacking = ~finite.any(axis=(2, 3))
    lacking &= ~lacking.all(axis=1)[:, None]
    return (obs.cloud[:, ::step, ::step] < 0.5) & (finite | lacking[:, :, None, None]).all(axis=1)
