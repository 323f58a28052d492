"""The published networks computed the straightforward way, to hold this implementation against.

Eager, float32, plain convolutions; per-pixel filters in memory and their windows multiplied and summed up, as the
published fallback for processors does; U-TILISE's blocks run twice, as the published code finds out their shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloud_removal_plugin.models import local_fusion, utilise, utilise_blocks, window_attention, winograd


def summed_windows(padded: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Per-pixel convolution of a padded map, channels last: a window for every pixel, times its filter, summed."""
    batch, channels, height, width = padded.shape[0], padded.shape[1], *kernels.shape[2:]
    windows = padded.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5)
    filters = kernels.permute(0, 2, 3, 1).reshape(batch, height, width, channels, size * size)
    product = windows.reshape(batch, height, width, channels, size * size) * filters
    return product.sum(-1).permute(0, 3, 1, 2).contiguous()


def _warp(generator: local_fusion.FilterGenerator, optical: Tensor, sar: Tensor) -> Tensor:
    reach = generator.size // 2
    padded = F.pad(sar, (reach, reach, reach, reach), mode="replicate")
    return summed_windows(padded, generator(optical, sar), generator.size)


def _twice(block: nn.Module, x: Tensor, skip: Tensor, fill: float) -> Tensor:
    block(torch.zeros_like(x.flatten(0, 1)))
    return utilise_blocks_per_frame(block, x, skip, fill)


utilise_blocks_per_frame = utilise_blocks.per_frame


@contextmanager
def straightforward() -> Iterator[None]:
    """Inside, networks compute the straightforward way."""
    with ExitStack() as stack:
        for owner, name, new in (
            (winograd, "_may_be_fast", lambda x, weight: False),
            (local_fusion.FilterGenerator, "warp", _warp),
            (window_attention.WindowAttention, "_gate", lambda self, x: self.attn_fuse_1x1conv(x)),
            (utilise, "per_frame", _twice),
            (utilise_blocks, "per_frame", _twice),
        ):
            stack.enter_context(patch.object(owner, name, new))
        yield
