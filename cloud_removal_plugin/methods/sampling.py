"""Which pixels of a region teach the Gaussian, and what a model that must not know a simulated gap may see of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .frame import Frame, Plan
from .patterns import fold_rare

CLEAR = 6_000
"""Pixels that show the target."""
HIDDEN = 4_000
"""Pixels of the gap: they say how the other dates go together there, which fills dates that are hidden too."""
PATTERNS = 96
"""Patterns of missing dates that the fit keeps apart."""


@dataclass
class Sample:
    """Pixels of all frames: values (V, n), codes uint16 (n,), simulated gap (n,); pixels of the gap come last.

    Attributes:
        target: the bit of ``codes`` that says that a pixel shows the target.
    """

    values: np.ndarray
    codes: np.ndarray
    fold: np.ndarray
    target: np.uint16

    def blind(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Values (V, n) and codes (n,) for a model that must not know the target in simulated gap ``number``.

        Its pixels stay, with the target hidden, as those of the true gap do.
        """
        shown, mine = (self.codes & self.target) > 0, self.fold == number
        first = np.flatnonzero(shown & ~mine)[:CLEAR]
        rest = np.concatenate((np.flatnonzero(shown & mine)[:HIDDEN], np.flatnonzero(~shown)))
        rows = np.concatenate((first, rest))
        codes = np.where(mine[rows], self.codes[rows] & ~self.target, self.codes[rows])
        return self.values[:, rows[codes > 0]], codes[codes > 0]


def draw_sample(
    frames: Sequence[Frame], folds: Sequence[np.ndarray], step: int, plan: Plan, rng: np.random.Generator
) -> Sample:
    """Clear pixels of all frames in random order, then pixels of their gaps that any date shows.

    Args:
        frames: windows. folds: int8 (h, w) each, simulated gap on the lattice of every ``step``-th pixel.
    """
    target = np.uint16(1 << (len(plan.sizes) - 1))
    clear = _gathered(frames, [frame.clear for frame in frames], folds, step, CLEAR * 4 // 3, rng)
    gap = _gathered(frames, [frame.gap for frame in frames], folds, step, HIDDEN, rng)
    values, codes, fold = (np.concatenate(both, axis=-1) for both in zip(clear, gap, strict=True))
    shown = np.arange(len(codes)) < len(clear[1])
    values[-plan.bands :, ~shown] = 0
    codes = fold_rare(codes, plan.worth, max(6, shown.sum() // 250), PATTERNS)
    codes = np.where(shown, codes | target, codes)
    return Sample(values[:, codes > 0], codes[codes > 0], np.where(shown, fold, -1)[codes > 0], target)


def _gathered(
    frames: Sequence[Frame], masks: list[np.ndarray], folds: Sequence[np.ndarray], step: int, most: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Up to ``most`` lattice pixels inside the masks (H, W): values with the target, codes without it, folds."""
    places = [np.argwhere(mask[::step, ::step]) for mask in masks]
    owner = np.repeat(np.arange(len(frames)), [len(p) for p in places])
    chosen = rng.permutation(len(owner))[:most]
    everything = np.concatenate(places)
    variables = sum(len(block) for block in frames[0].blocks) + len(frames[0].target)
    values = np.zeros((variables, len(chosen)), np.float32)
    codes = np.zeros(len(chosen), np.uint16)
    fold = np.zeros(len(chosen), np.int8)
    for number, frame in enumerate(frames):
        mine = np.flatnonzero(owner[chosen] == number)
        rows, cols = everything[chosen[mine]].T
        pixels = rows * step * frame.shape[1] + cols * step
        values[:, mine] = np.concatenate((frame.gather(pixels), frame.target[:, pixels]))
        codes[mine] = frame.codes(pixels)
        fold[mine] = folds[number][rows, cols]
    return values, codes, fold
