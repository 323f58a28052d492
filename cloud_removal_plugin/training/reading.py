"""Batches of samples, and in one sentence what kept a sample from being read, whatever process read it.

PyTorch's loader turns an error of another process into one whose text is a traceback, so errors that are meant for the
analyst travel as data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from .. import errors
from ..datasets.collate import pad_series
from ..errors import CloudRemovalError, InputError, WorkerError
from .batches import Key
from .feeds import Batch
from .shielding import end_with_parent, shielded
from .sources import Samples


@dataclass(frozen=True)
class Failure:
    """An error of ours on its way between processes: name of its class, and its text."""

    kind: str
    text: str


class _Told(Dataset):
    """Samples, or what keeps one from being read."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> dict[str, Any] | Failure:
        try:
            return self.samples[key]
        except CloudRemovalError as error:
            return Failure(type(error).__name__, str(error))


def together(samples: Sequence[dict[str, Any] | Failure]) -> Batch | Failure:
    """One batch, or the first failure."""
    for sample in samples:
        if isinstance(sample, Failure):
            return sample
    try:
        return pad_series(samples)
    except ValueError as error:
        return Failure(InputError.__name__, f"{error} Set crop, or batch = 1.")


def read(samples: Samples, keys: Iterator[list[Key]], workers: int) -> Iterator[Batch]:
    """The batches of the keys, read ahead by other processes where some are wanted.

    Raises:
        CloudRemovalError: a sample cannot be used.
        WorkerError: a process that reads was ended from outside.
    """
    loader = DataLoader(
        _Told(samples),
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=together,
        prefetch_factor=2 if workers else None,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=end_with_parent,
    )
    with shielded():  # a process that Ctrl-C ended would keep the step from coming to its end
        batches = iter(loader)
    try:
        for batch in batches:
            if isinstance(batch, Failure):
                raise getattr(errors, batch.kind)(batch.text)
            yield batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise WorkerError(
            "A process that reads samples was ended from outside, perhaps for want of memory. Lower workers or batch, "
            "and resume the training."
        ) from error
