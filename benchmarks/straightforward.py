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

from cloud_removal_plugin.models import local_fusion, uncrtaints, utilise, utilise_blocks, window_attention, winograd


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


def _attention(
    qkv: Tensor, qkv_sar: Tensor, position: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    """Gated window attention with the gate as the 1x1 convolution that it is published as."""

    def stream(x: Tensor) -> tuple[Tensor, Tensor]:
        windows, tokens, _ = x.shape
        q, k, v = x.view(windows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + position
        if mask is not None:
            logits = (logits.unflatten(0, (-1, len(mask))) + mask[None, :, None]).flatten(0, 1)
        return logits, v

    logits, v = stream(qkv)
    logits_sar, v_sar = stream(qkv_sar)
    difference = logits_sar - logits
    logits = logits + difference * torch.sigmoid(F.conv2d(difference, weight[:, :, None, None], bias))
    out = (torch.softmax(logits, dim=-1) @ v).transpose(1, 2).flatten(2)
    return out, (torch.softmax(logits_sar, dim=-1) @ v_sar).transpose(1, 2).flatten(2)


def _twice(block: nn.Module, x: Tensor, skip: Tensor, fill: float) -> Tensor:
    block(torch.zeros_like(x.flatten(0, 1)))
    return utilise_blocks_per_frame(block, x, skip, fill)


utilise_blocks_per_frame = utilise_blocks.per_frame


@contextmanager
def straightforward() -> Iterator[None]:
    """Inside, networks compute the straightforward way."""
    with ExitStack() as stack:
        for owner, name, new in (
            (winograd, "_is_faster", lambda x, weight: False),
            (uncrtaints, "_in_place", lambda: False),
            (local_fusion.FilterGenerator, "warp", _warp),
            (window_attention, "_attention_for", lambda x: _attention),
            (utilise, "per_frame", _twice),
            (utilise_blocks, "per_frame", _twice),
        ):
            stack.enter_context(patch.object(owner, name, new))
        yield
