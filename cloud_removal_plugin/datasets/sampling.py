"""Which dates of a series become inputs and target.

The rule ``paper`` is that of the SEN12MS-CR-TS toolbox (Ebel et al. 2022, doi 10.1109/TGRS.2022.3146246): the target
may be among the inputs. ``exclude-target`` mends that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POLICIES = ("paper", "exclude-target", "centred")
CLEAR_TARGET = 1e-3
"""Coverage up to which UnCRtainTS takes a date for clear."""


@dataclass(frozen=True)
class DateChoice:
    """Time indices of one sample.

    Attributes:
        inputs: ascending.
        target: index of the target date.
        in_range: whether enough dates lay within the wanted range of coverage (the toolbox's ``coverage bin``).
    """

    inputs: tuple[int, ...]
    target: int
    in_range: bool


def choose_dates(
    coverage: Sequence[float],
    inputs: int,
    min_cov: float = 0.0,
    max_cov: float = 1.0,
    policy: str = "paper",
) -> DateChoice:
    """The least covered date as target, the first dates within the range of coverage as inputs.

    Equal coverages: the earliest date is the target (the toolbox promises that, but its sort is not stable).

    Args:
        coverage: cloud share of every date, in time order.
        inputs: how many input dates.
        min_cov, max_cov: wanted coverage of the inputs, both included.
        policy: ``paper``, or ``exclude-target``: the target is never an input.

    Raises:
        ValueError: no date, fewer dates than inputs (and, unless it is one of them, a target), or an unknown policy.
    """
    if policy not in POLICIES[:2]:
        raise ValueError(f"Unknown choice of dates '{policy}': choose one of {', '.join(POLICIES[:2])}.")
    if not len(coverage):
        raise ValueError("A series without dates has no target.")
    values = np.asarray(coverage, dtype=np.float64)
    target = int(np.argmin(values))
    within = [int(i) for i in np.flatnonzero((values >= min_cov) & (values <= max_cov))]
    if policy == "exclude-target":
        within = [i for i in within if i != target]
    if len(within) >= inputs:
        return DateChoice(tuple(within[:inputs]), target, True)
    others = [i for i in range(len(values)) if i != target]
    if len(others) < inputs:
        needed = inputs + 1
        raise ValueError(f"{inputs} input dates and a target need {needed} dates, but the series has {len(coverage)}.")
    return DateChoice(tuple(others[:inputs]), target, False)


def draw_dates(coverage: Sequence[float], inputs: int, rng: np.random.Generator) -> DateChoice:
    """UnCRtainTS' random sampler: a clear date by chance as target, the centred window of its neighbours as inputs.

    Ebel et al. 2023, arXiv 2304.05464. Where no date is clear (coverage below 1e-3), the least covered one is taken; at
    the ends of the series the window moves inwards.

    Args:
        coverage: cloud share of every date.
        inputs: how many input dates.
        rng: source of the draw.

    Raises:
        ValueError: fewer dates than inputs and a target.
    """
    values = np.asarray(coverage, dtype=np.float64)
    if len(values) < inputs + 1:
        raise ValueError(f"{inputs} input dates and a target need {inputs + 1} dates, the series has {len(values)}.")
    clear = np.flatnonzero(values < CLEAR_TARGET)
    target = int(rng.choice(clear)) if len(clear) else int(np.argmin(values))
    start = min(max(0, target - inputs // 2), len(values) - inputs - 1)
    window = [i for i in range(start, start + inputs + 1) if i != target]
    return DateChoice(tuple(window), target, bool(len(clear)))
