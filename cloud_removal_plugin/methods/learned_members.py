"""Several checkpoints of one network as one: a deep ensemble, as UnCRtainTS' authors use it.

Each checkpoint restores the same window. What comes out is an even mixture of their normal distributions: its mean is
the mean of theirs, its variance the mean of their variances (aleatoric) plus the variance of their means (epistemic),
by the law of total variance. Lakshminarayanan, Pritzel, Blundell 2017, "Simple and scalable predictive uncertainty
estimation using deep ensembles"; Ebel et al. 2023, arXiv 2304.05464.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.records import Record
from ..weights.stored import Stored
from . import learned_inputs
from .learned_inputs import Frames, Predicted, Wants, wants


@dataclass(frozen=True)
class Members:
    """Networks of one kind with their arguments, in evaluation mode on one device."""

    parts: tuple[tuple[Any, dict[str, Any]], ...]


def predict(network: Any, record: Record, config: Mapping[str, Any], frames: Frames, device: str) -> Predicted:
    """Run a network, or several :class:`Members`, on one window (see :func:`learned_inputs.predict`)."""
    if not isinstance(network, Members):
        return learned_inputs.predict(network, record, config, frames, device)
    return mixture([learned_inputs.predict(part, record, its, frames, device) for part, its in network.parts])


def mixture(parts: Sequence[Predicted]) -> Predicted:
    """An even mixture of predictions.

    Args:
        parts: of every member: reflectance (C, h, w) and standard deviation, None = it announces none (zero).

    Returns:
        Reflectance and standard deviation, float32 (C, h, w) each.
    """
    means = np.stack([mean for mean, _ in parts]).astype(np.float64)
    aleatoric = np.stack([np.zeros_like(mean) if own is None else np.square(own) for mean, own in parts]).mean(axis=0)
    middle = means.mean(axis=0)
    epistemic = np.square(means - middle).mean(axis=0)
    return middle.astype(np.float32), np.sqrt(aleatoric + epistemic).astype(np.float32)


def wants_of(record: Record, stored: Sequence[Stored]) -> Wants:
    """What all members need of a scene; several always tell a deviation.

    Raises:
        InputError: they differ in that.
    """
    each = [wants(record, one.config) for one in stored]
    first = each[0]
    for one, need in zip(stored, each, strict=True):
        if (need.radar, need.dates, need.calendar) != (first.radar, first.dates, first.calendar):
            raise InputError(
                f"The weights '{one.path}' need other radar or dates than '{stored[0].path}', so they cannot be "
                "members of one ensemble. Remove one of the two."
            )
    variance = len(stored) > 1 or first.variance
    return replace(first, variance=variance)


def digests(stored: Sequence[Stored]) -> str:
    """The members' digests in short, for a line of the log."""
    return ", ".join(one.sha256[:8] for one in stored)
