"""Samples of unequal length in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from ..observation import Observation


def pad_series(samples: Sequence[Mapping[str, Any]], pad_value: float = 0.0) -> dict[str, Any]:
    """One batch of samples whose tensors may differ in their first axis, time (U-TILISE's collate).

    Shorter series are padded at their end. What is no tensor is collated as PyTorch does; observations stay a list.

    Args:
        samples: equal keys; tensors under one key differ in their first axis at most.
        pad_value: what fills the missing frames, positions too.

    Raises:
        ValueError: tensors under one key differ in another axis.
    """
    return {key: _join(key, [sample[key] for sample in samples], pad_value) for key in samples[0]}


def _join(key: str, values: list[Any], pad_value: float) -> Any:
    if isinstance(values[0], Observation):
        return values
    if not isinstance(values[0], Tensor) or values[0].ndim == 0:
        return default_collate(values)
    if len({value.shape[1:] for value in values}) > 1:
        shapes = ", ".join(str(tuple(value.shape)) for value in values)
        raise ValueError(f"Samples of one batch differ in '{key}' ({shapes}); crop them to one size.")
    longest = max(value.shape[0] for value in values)
    return torch.stack([_padded(value, longest, pad_value) for value in values])


def _padded(value: Tensor, length: int, pad_value: float) -> Tensor:
    if value.shape[0] == length:
        return value
    rest = value.new_full((length - value.shape[0], *value.shape[1:]), pad_value)
    return torch.cat((value, rest))
