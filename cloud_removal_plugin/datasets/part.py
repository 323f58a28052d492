"""Some samples of a reader, by region: what is learned from never shares a region with what judges."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from torch.utils.data import Dataset

from ..errors import InputError
from .example import Example
from .series import Cube

EVERY = 5
"""Of the regions in alphabetical order every fifth, from the first on, is held out where nobody names others."""


class Grouped(Protocol):
    """A reader that knows the region of its samples."""

    def __len__(self) -> int:
        """Samples."""
        ...

    def group_of(self, index: int) -> str:
        """Region of a sample."""
        ...

    def __getitem__(self, index: int) -> Any:
        """A sample in the reader's own form."""
        ...


def held_out_groups(groups: Collection[str], wanted: Collection[str] = ()) -> frozenset[str]:
    """The regions that are kept out of the training.

    Args:
        groups: regions of all samples.
        wanted: those that the analyst names; none = every fifth.

    Raises:
        InputError: a named region does not exist, or no region is left for one of the two parts.
    """
    names = sorted(set(groups))
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise InputError(f"No sample belongs to the region '{unknown[0]}' that is to be left out for validation.")
    held = frozenset(wanted or names[::EVERY])
    if len(held) == len(names):
        raise InputError(
            f"No sample is left for the part 'train': all are of the region{'s' * (len(names) > 1)} "
            f"{', '.join(names[:3])}, which judge the training. Add a region, or name other data under "
            "[data.validation]."
        )
    return held


class Part(Dataset):
    """A view of a reader; draws of the reader depend on its own index, so they are those of the whole.

    Args:
        reader: the whole.
        held: regions that are held out.
        judges: True for the samples of these regions, False for all others.
    """

    def __init__(self, reader: Grouped, held: frozenset[str], judges: bool) -> None:
        self.reader = reader
        self.indices = tuple(i for i in range(len(reader)) if (reader.group_of(i) in held) == judges)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def epoch(self) -> int:
        """Epoch of the reader's draws."""
        return getattr(self.reader, "epoch", 0)

    @epoch.setter
    def epoch(self, value: int) -> None:
        if hasattr(self.reader, "epoch"):
            self.reader.epoch = value

    def __getitem__(self, index: int) -> Any:
        return self.reader[self.indices[index]]

    def cube(self, index: int) -> Cube:
        """The series behind one of its samples, of a reader of series."""
        return self.reader.cube(self.indices[index])

    def example(self, index: int) -> Example:
        """The reader's example of one of its samples."""
        return self.reader.example(self.indices[index])
