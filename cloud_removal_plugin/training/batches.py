"""Which samples a step sees: drawn from (seed, epoch) alone, whatever process asks, and however many there are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .team import Team

ORDER = 0x0D
"""Tells the draw of the order from the others of a seed."""

Key = tuple[int, int]


@dataclass(frozen=True)
class Batches:
    """The order of the samples.

    Attributes:
        seed: of the training.
        samples: how many there are.
        batch: samples at once, over all processes.
        accumulate: batches of one step.
    """

    seed: int
    samples: int
    batch: int
    accumulate: int

    @property
    def group(self) -> int:
        """Samples of one step."""
        return min(self.batch * self.accumulate, self.samples)

    @property
    def per_epoch(self) -> int:
        """Steps of one epoch; samples that fill no whole step wait for the next epoch's order."""
        return max(1, self.samples // (self.batch * self.accumulate))

    @property
    def per_step(self) -> int:
        """Batches of one step."""
        return math.ceil(self.group / self.batch)

    def of_step(self, step: int) -> list[list[Key]]:
        """The keys (epoch, index) of each batch of a step."""
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch, ORDER]).permutation(self.samples)
        chosen = [(epoch, int(i)) for i in order[place * self.group : (place + 1) * self.group]]
        return [chosen[i : i + self.batch] for i in range(0, len(chosen), self.batch)]

    def keys(self, first: int, last: int, team: Team) -> Iterator[list[Key]]:
        """This process' part of every batch from step ``first`` up to ``last``."""
        for step in range(first, last):
            yield from (list(team.share(batch)) for batch in self.of_step(step))

    def check_shares(self, team: Team) -> None:
        """Refuses batches that the processes cannot share evenly.

        Raises:
            InputError: a batch is no multiple of the number of processes.
        """
        for size in {len(batch) for batch in self.of_step(0)}:
            if size % team.count:
                raise InputError(
                    f"A batch of {size} samples cannot be shared evenly by {team.count} processes. Set batch to a "
                    f"multiple of {team.count} (it is the whole batch, over all of them), or lower devices."
                )
