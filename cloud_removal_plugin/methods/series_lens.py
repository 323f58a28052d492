"""Linear functions of all filled dates, handed over batch by batch.

What the networks see of a pixel is every date with its hidden values filled: a hundred numbers and more, for each date
in turn without what that date itself shows. Nobody has to write them down for a whole window: where a lens is given,
:func:`series_gaussian.estimate` computes its functions while the pixel's observed values are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Take = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]
"""Takes (date, slots (m,), functions (K, m), Gaussian estimate (C, m)) of one batch."""


@dataclass(frozen=True)
class Told:
    """What a batch says of one date.

    Attributes:
        columns: (m,) pixels of the batch. places: (m,) where they stand among the pixels wanted of that date.
        gauss: float32 (C, m). residual: float32 (C, m), observed minus ``gauss``; None where the date is hidden.
        own: variables of the date.
    """

    columns: np.ndarray
    places: np.ndarray
    gauss: np.ndarray
    residual: np.ndarray | None
    own: slice


@dataclass(frozen=True)
class Lens:
    """Linear functions for some dates of a block.

    Attributes:
        axes: float32 (K, V), functions of the variables' differences from their means; None: the variables themselves.
        slots: by date (position in ``plan.restored``), int (n,), where ``take`` puts each wanted pixel; -1: nowhere.
        take: called once for each batch and date, from several threads; batches share no pixels.
    """

    axes: np.ndarray | None
    slots: dict[int, np.ndarray]
    take: Take

    def look(self, fill: np.ndarray, rows: np.ndarray, x: np.ndarray, told: dict[int, Told]) -> None:
        """Computes the functions for one batch of a pattern.

        Args:
            fill: float32 (V, o), all variables from those observed. rows: (o,), which these are.
            x: float32 (o, n), observed differences from the means. told: by date.
        """
        chosen = {}
        for date, slots in self.slots.items():
            if date in told:
                slot = slots[told[date].places]
                use = np.flatnonzero(slot >= 0)
                if len(use):
                    chosen[date] = (use, slot[use])
        if not chosen:
            return
        columns = np.unique(np.concatenate([told[date].columns[use] for date, (use, _) in chosen.items()]))
        values = self._through(fill, x[:, columns])
        for date, (use, slot) in chosen.items():
            each = told[date]
            mine = values[:, np.searchsorted(columns, each.columns[use])]
            if each.residual is not None:
                # what the date itself shows is taken out again: it counts as its estimate
                own = np.searchsorted(rows, [each.own.start, each.own.stop])
                mine -= self._through(fill[:, own[0] : own[1]], each.residual[:, use])
            self.take(date, slot, mine, each.gauss[:, use])

    def _through(self, fill: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Functions (K, n) of what ``fill`` (V, o) makes of ``x`` (o, n), in the cheaper order."""
        if self.axes is None:
            return fill @ x
        (many, variables), (observed, count) = self.axes.shape, x.shape
        folded = many * observed * (variables + count)
        if folded < variables * count * (observed + many):
            return (self.axes @ fill) @ x
        return self.axes @ (fill @ x)


def slots_of(wanted: Sequence[np.ndarray], pixels: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """For each date, where its wanted pixels (ascending) stand among ``pixels``; -1 where they don't."""
    out = {}
    for date, mine in pixels.items():
        out[date] = np.full(len(wanted[date]), -1, np.int64)
        out[date][np.searchsorted(wanted[date], mine)] = np.arange(len(mine))
    return out
