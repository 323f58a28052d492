"""A series cut into blocks of dates that share one model, and a window of it as such a model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..observation import HIDDEN_FROM, Observation
from .dates import value
from .frame import Completion, completions
from .radar import RadarPlan, features
from .radar import plan as plan_radar

MOST_DATES = 14
"""Dates in one model; with radar that fills the sixteen bits of a pattern but one."""
RESTORED = 4
"""Dates that one model of a longer series restores; the others are there to learn from. 6 lose 0.2 dB, 3 cost more."""
LEAST_SHARE = 0.02
"""A date that shows less of the samples teaches a model nothing."""


@dataclass(frozen=True)
class BlockPlan:
    """What one model looks at.

    Attributes:
        dates: ascending indices into the observation's dates.
        days: float64 (D,), of these dates, relative to the series' first.
        restored: positions in ``dates`` that this model restores.
        bands: C.
        radar: None without radar. centre: day on which its windows are centred.
        completions: per position in ``dates``, how bands that the date lacks follow from those it has.
    """

    dates: tuple[int, ...]
    days: np.ndarray
    restored: tuple[int, ...]
    bands: int
    radar: RadarPlan | None
    centre: float
    completions: dict[int, Completion]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Variables of each block: dates, then radar."""
        return (*[self.bands] * len(self.dates), *([self.radar.count] if self.radar else []))

    @property
    def bounds(self) -> np.ndarray:
        """First variable of every block, and the end."""
        return np.concatenate(([0], np.cumsum(self.sizes)))

    @property
    def worth(self) -> np.ndarray:
        """Value of seeing each block, for the dates that are restored."""
        targets = self.days[list(self.restored)]
        dates = value(self.days[:, None] - targets).sum(axis=1)
        return np.concatenate([dates, [0.01 * len(targets)] if self.radar else []])


def block_dates(days: np.ndarray, shares: np.ndarray, wanted: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Groups of neighbouring dates, and the dates that each group's model looks at.

    Args:
        days: (T,), ascending. shares: (T,), share of the samples that each date shows, 0..1.
        wanted: dates to restore, ascending.

    Returns:
        (restored, all) dates of each block; ``all`` holds ``restored`` and is ascending. Where the series is short,
        there is one block of all dates.
    """
    useful = [t for t in range(len(days)) if shares[t] >= LEAST_SHARE or t in wanted]
    if not wanted:
        return []
    if len(useful) <= MOST_DATES:
        return [(list(wanted), useful)]
    many = -(-len(wanted) // RESTORED)
    out = []
    for group in np.array_split(np.array(wanted), many):
        restored = [int(t) for t in group]
        near = np.max(value(days[:, None] - days[restored]), axis=1) + np.mean(value(days[:, None] - days[restored]), 1)
        others = sorted((t for t in useful if t not in restored), key=lambda t: (-near[t] * shares[t], t))
        out.append((restored, sorted([*restored, *others[: MOST_DATES - len(restored)]])))
    return out


def make_plan(samples: Sequence[Observation], restored: Sequence[int], dates: Sequence[int]) -> BlockPlan:
    """The plan of a block from the samples of a region."""
    days = np.asarray(samples[0].days, np.float64)[list(dates)]
    centre = float(np.mean(np.asarray(samples[0].days)[list(restored)]))
    shifted = [replace(obs, radar_days=np.asarray(obs.radar_days) - centre) for obs in samples]
    ends = [float(days[dates.index(restored[0])] - centre), float(days[dates.index(restored[-1])] - centre)]
    positions = tuple(dates.index(t) for t in restored)
    return BlockPlan(
        tuple(dates),
        days,
        positions,
        samples[0].shape[1],
        plan_radar(shifted, [day for day in ends if abs(day) > 1]),
        centre,
        completions(samples, list(dates)),
    )


class BlockFrame:
    """A window as one model sees it.

    Attributes:
        shape: (H, W).
        blocks: D float32 (C, H * W) images and, with radar, (F, H * W) features.
        seen: bool (B, H * W), which block sees which pixel.
        gap: bool (D, H * W), what is hidden on each date.
    """

    def __init__(self, obs: Observation, plan: BlockPlan) -> None:
        _, bands, height, width = obs.shape
        self.shape = (height, width)
        self.blocks: list[np.ndarray] = []
        seen = []
        for place, date in enumerate(plan.dates):
            image = obs.optical[date].reshape(bands, height * width)
            if place in plan.completions:
                image = plan.completions[place].apply(image)
            self.blocks.append(image)
            seen.append((obs.cloud[date].ravel() < HIDDEN_FROM) & np.isfinite(image.sum(axis=0)))
        self.gap = np.stack([obs.cloud[date].ravel() >= HIDDEN_FROM for date in plan.dates])
        if plan.radar is not None:
            block = np.full((plan.radar.count, height * width), np.nan, np.float32)
            if obs.radar is not None:
                block = features(obs.radar, plan.radar).reshape(-1, height * width)
            self.blocks.append(block)
            seen.append(np.isfinite(block.sum(axis=0)))
        self.seen = np.stack(seen)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def gather(self, pixels: np.ndarray) -> np.ndarray:
        """All blocks at flat pixel indices, float32 (V, n), zero where hidden."""
        out = []
        for block, seen in zip(self.blocks, self.seen, strict=True):
            out.append(np.where(seen[pixels], np.take(block, pixels, axis=1), np.float32(0)))
        return np.concatenate(out)


@dataclass(frozen=True)
class DateView:
    """A frame from one of its dates: what the other dates show, with days relative to it.

    Offers what the spatial context and the interpolation of a single target read (``blocks``, ``seen``, ``days``).
    """

    shape: tuple[int, int]
    blocks: list[np.ndarray]
    seen: np.ndarray
    days: np.ndarray

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]


def view(frame: BlockFrame, plan: BlockPlan, place: int) -> DateView:
    """The other dates of a frame as the date at ``place`` sees them."""
    others = [d for d in range(len(plan.dates)) if d != place]
    blocks = [frame.blocks[d] for d in others]
    return DateView(frame.shape, blocks, frame.seen[others], plan.days[others] - plan.days[place])
