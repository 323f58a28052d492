"""Batch norm whose statistics are those of the whole batch, over all processes that share it.

Ioffe and Szegedy 2015, arXiv 1502.03167. PyTorch's ``SyncBatchNorm`` does the same on graphics cards alone; this one
runs wherever processes can add numbers up, so that a test on any computer can hold it to what one process computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _SumOverProcesses(torch.autograd.Function):
    """Adds up over the processes; what each learns by the sum is added up as well."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        """The sum of all processes' values."""
        together = values.clone()
        distributed.all_reduce(together)
        return together

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """The sum of all processes' gradients: each one's loss depends on everybody's values."""
        together = gradient.contiguous().clone()
        distributed.all_reduce(together)
        return together


class SharedBatchNorm(_BatchNorm):
    """Batch norm over the samples of all processes; in evaluation mode like any other."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes after the channels."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) to the same shape; every process has to take part."""
        if not self.training:
            return super().forward(input)
        axes, shape = (0, *range(2, input.ndim)), (1, -1, *[1] * (input.ndim - 2))
        values = input.float()  # sums of half-precision numbers lose their small parts
        own = torch.cat([values.sum(axes), values.new_tensor([values.numel() / values.shape[1]])])
        sums = _SumOverProcesses.apply(own)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Moves the running statistics, as PyTorch's batch norm does."""
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_norms(network: nn.Module) -> nn.Module:
    """The network with :class:`SharedBatchNorm` in place of every batch norm inside; names and values of weights stay.

    To be called before the network goes to its device and an optimiser gets its parameters.
    """
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            norm = SharedBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            norm.load_state_dict(child.state_dict())
            network.add_module(name, norm.train(child.training))
        else:
            share_norms(child)
    return network


def has_norms(*networks: nn.Module | None) -> bool:
    """Whether there is any batch norm in them."""
    return any(
        isinstance(part, _BatchNorm) for network in networks if network is not None for part in network.modules()
    )
