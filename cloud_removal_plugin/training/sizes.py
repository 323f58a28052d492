"""Heights and widths that a network can take: samples of others are filled up, or refused in a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..methods.learned_tiles import reflected
from ..models.records import Record
from .team import Team

SMALL = 48
"""Below this edge in pixels networks of several scales, or a discriminator, may find nothing left to look at."""


def size_of(batch: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) of the planes of a batch."""
    return next(tuple(value.shape[-2:]) for value in batch.values() if isinstance(value, Tensor) and value.ndim >= 4)


def filled(batch: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """The batch with planes as large as the network needs: what lies beyond their lower and right edge is reflected.

    Args:
        batch: tensors (..., H, W) among others; those of other size stay as they are.
        record: of the network.
    """
    size = size_of(batch)
    wanted = [max(-(-edge // record.size_multiple) * record.size_multiple, record.size_least) for edge in size]
    if list(size) == wanted:
        return dict(batch)
    rows, columns = (
        torch.from_numpy(reflected(np.arange(long), edge)) for edge, long in zip(size, wanted, strict=True)
    )
    return {
        name: value[..., rows[:, None], columns] if _is_plane(value, size) else value for name, value in batch.items()
    }


def cut(output: Any, size: tuple[int, int]) -> Any:
    """A network's output, a tensor (..., H, W) or a tuple of such, without what was filled up."""
    if isinstance(output, Tensor):
        return output[..., : size[0], : size[1]]
    return type(output)(*(cut(part, size) for part in output))


def _is_plane(value: Any, size: tuple[int, int]) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 3 and tuple(value.shape[-2:]) == size


@contextlib.contextmanager
def explained(batch: Mapping[str, Any], record: Record, team: Team) -> Iterator[None]:
    """Whatever a network says of samples of a size that it cannot take becomes one sentence.

    Of several processes each may hear of the end of another in the midst of a step, so there nothing is concluded.

    Raises:
        InputError: the samples have such a size.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        size = size_of(batch)
        fits = all(edge % record.size_multiple == 0 and edge >= record.size_least for edge in size)
        if (fits and min(size) >= SMALL) or team.count > 1 or "out of memory" in str(error):
            raise
        rule = f"a multiple of {record.size_multiple}" if record.size_multiple > 1 else "larger"
        least = max(record.size_least, record.size_multiple)
        raise InputError(
            f"{record.title} cannot learn from samples of {size[1]} x {size[0]} pixels ({error}). Set crop to "
            f"{rule}, at least {least}."
        ) from error
