"""The processes that share one training: one alone, or one for each graphics card.

Every process takes its share of each batch, gradients are averaged before the optimiser moves, and so all hold the same
weights all the time (data parallelism; Li et al. 2020, arXiv 2006.15704). One of them, the leader, writes and reports.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError

PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for the others: the leader may write large checkpoints to a slow disk."""

Item = TypeVar("Item")


class Team:
    """This process' place among those that train together.

    Args:
        rank: of this process, 0 = the leader.
        count: of processes.
        device: of this process.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: str = "cpu") -> None:
        self.rank, self.count, self.device = rank, count, device

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process' part of what all see; together the parts are the whole."""
        return items[self.rank :: self.count]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each number added up over the processes; the same everywhere."""
        if self.count == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(together)
        return together.tolist()

    def weight(self, terms: float) -> float:
        """By what to multiply a mean over ``terms`` numbers so that the processes' average is the mean over all."""
        return 1.0 if self.count == 1 else self.count * terms / max(self.sums([terms])[0], 1.0)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network as PyTorch's DDP wants to call it: backward passes average the gradients.

        DDP searches each graph for parameters that had no part in it. Some networks have such; and without the search
        it would sort its buckets anew after the first step, so that a resumed run would add in another order.
        """
        if self.count == 1:
            return network
        places = [torch.device(self.device).index] if self.device.startswith("cuda") else None
        return DistributedDataParallel(network, device_ids=places, find_unused_parameters=True)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """The processes' mean gradient, in place, for steps that DDP's one forward and one backward pass do not fit."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count == 1 or not gradients:
            return
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(whole)
        parts = (whole / self.count).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def align(self, network: nn.Module) -> None:
        """The leader's running statistics for all, before anything is judged by them."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def leave(self) -> None:
        """The end of the common work."""
        if self.count > 1:
            distributed.destroy_process_group()


def holding_back(network: nn.Module) -> Any:
    """A context in which backward passes only add up gradients; DDP averages them with the last batch of a step."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else contextlib.nullcontext()


def terms_of(batch: dict[str, Tensor]) -> float:
    """Over how much a loss of this batch is a mean: valid frames of series, else samples."""
    if "masks_valid_obs" in batch:
        return float(batch["masks_valid_obs"].sum())
    return float(len(next(iter(batch.values()))))


def device_of(wanted: str) -> str:
    """``cpu`` or ``cuda``.

    Raises:
        InputError: CUDA is wanted and not there.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError("No CUDA device is there; choose the device 'cpu' or 'auto'.")
    return "cuda"


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun (or a scheduler like it) has started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def team_of(wanted: str) -> Team:
    """The team of this process: that which torchrun started, else itself alone.

    Raises:
        InputError: there are more processes than CUDA devices.
    """
    if not started_by_torchrun():
        return Team(device=device_of(wanted))
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    rank, count, place = (int(os.environ.get(name, "0")) for name in names)
    return join(rank, count, place, wanted, "env://")


def join(rank: int, count: int, place: int, wanted: str, meeting: str) -> Team:
    """Waits for the other processes: NCCL on CUDA, gloo on processors.

    Args:
        rank, count: of this process, of all.
        place: of this process on its computer, the number of its CUDA device.
        wanted: ``auto``, ``cpu`` or ``cuda``.
        meeting: where they find each other, as PyTorch's ``init_method``.

    Raises:
        InputError: there are more processes than CUDA devices.
    """
    device = device_of(wanted)
    if device == "cuda":
        if place >= torch.cuda.device_count():
            raise InputError(
                f"{count} processes need as many CUDA devices, but {torch.cuda.device_count()} are there; lower "
                "devices."
            )
        torch.cuda.set_device(place)
        device = f"cuda:{place}"
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, meeting, PATIENCE, count, rank)
    return Team(rank, count, device)
