"""Optimisers and learning-rate schedules of the papers, by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

KERAS_SCHEDULE_DECAY = 0.004
"""Keras 2's ``schedule_decay``; PyTorch's rule with this ``momentum_decay`` is the same (Dozat 2016)."""

OPTIMISERS = ("adam", "adamw", "keras_nadam", "sgd")
SCHEDULES = ("constant", "exponential", "steps", "halving", "linear", "cosine")


def create_optimiser(
    name: str, parameters: Iterable[nn.Parameter] | Iterable[Mapping[str, Any]], lr: float, **options: Any
) -> Optimizer:
    """Builds an optimiser.

    Args:
        name: of :data:`OPTIMISERS`; ``keras_nadam`` is DSen2-CR's.
        parameters: of a network, or groups with a learning rate each.
        lr: learning rate.
        options: of the optimiser (betas, weight_decay ...).

    Raises:
        ValueError: an unknown name.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, **options)
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, **options)
    if name == "keras_nadam":
        return torch.optim.NAdam(parameters, lr=lr, **{"momentum_decay": KERAS_SCHEDULE_DECAY, **options})
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, **options)
    raise ValueError(f"Unknown optimiser '{name}': choose one of {', '.join(OPTIMISERS)}.")


def create_schedule(
    name: str,
    optimiser: Optimizer,
    epochs: int,
    gamma: float = 1.0,
    milestones: Sequence[int] = (),
    every: int = 5,
    final: float = 0.0,
) -> LRScheduler:
    """A factor on every group's learning rate, by finished epochs.

    Args:
        name: ``constant``; ``exponential`` (gamma an epoch); ``steps`` (gamma at each milestone); ``halving`` (gamma
            after every ``every`` epochs); ``linear`` (to ``final`` in the last epoch); ``cosine`` (to ``final``).
        epochs: of the whole training.
        final: factor at the end of ``linear`` and ``cosine``.

    Raises:
        ValueError: an unknown name.
    """

    last = max(1, epochs - 1)
    factors = {
        "constant": lambda epoch: 1.0,
        "exponential": lambda epoch: gamma**epoch,
        "steps": lambda epoch: gamma ** sum(epoch >= m for m in milestones),
        "halving": lambda epoch: gamma ** (epoch // every),
        "linear": lambda epoch: 1 - (1 - final) * min(epoch, last) / last,
        "cosine": lambda epoch: final + (1 - final) * (1 + math.cos(math.pi * min(epoch, last) / last)) / 2,
    }
    if name not in factors:
        raise ValueError(f"Unknown schedule '{name}': choose one of {', '.join(SCHEDULES)}.")
    return LambdaLR(optimiser, factors[name])
