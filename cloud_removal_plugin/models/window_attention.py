"""Shifted-window attention over two streams, in which radar attention guides the optical one.

The "global fusion" of GLF-CR (Xu et al. 2022, doi 10.1016/j.isprsjprs.2022.08.002, section 3.2), also in Align-CR
(Xu et al. 2024, doi 10.1109/TGRS.2023.3337845); windows and shifts after Swin (Liu et al. 2021, arXiv 2103.14030).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..ext import operators
from ..ext.torch_versions import gated_attention_by_torch
from .kernelconv import computes_in_float32, use_kernel

HIDDEN_LOGIT = -100.0
"""Added to the logits of token pairs from different regions. Finite: the gate takes a difference of two of them."""


def partition(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) to (B * windows, window * window, C): windows row by row, tokens row by row."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def assemble(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of :func:`partition`: (B, H, W, C)."""
    channels = windows.shape[-1]
    x = windows.view(-1, height // window, width // window, window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


@lru_cache(maxsize=16)
def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Float (windows, window^2, window^2) on the CPU: 0 inside one region of a rolled map, -100 across regions."""
    # Made outside inference mode: the cached tensor must also serve a training step.
    with torch.inference_mode(False), torch.no_grad():
        label = torch.zeros(1, height, width, 1)
        cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
        for row, rows in enumerate(cuts):
            for col, cols in enumerate(cuts):
                label[:, rows, cols] = 3 * row + col
        labels = partition(label, window).squeeze(-1)
        return torch.where(labels[:, None, :] == labels[:, :, None], 0.0, HIDDEN_LOGIT)


def relative_index(window: int) -> Tensor:
    """int64 (window^2, window^2): row of the bias table for each pair of tokens, by their offset in y and x."""
    axis = torch.arange(window)
    y, x = (plane.flatten() for plane in torch.meshgrid(axis, axis, indexing="ij"))
    dy = y[:, None] - y[None, :] + window - 1
    dx = x[:, None] - x[None, :] + window - 1
    return dy * (2 * window - 1) + dx


class Mlp(nn.Module):
    """Linear - GELU (erf) - Linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth: in training, drops a whole branch of a sample with probability ``rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Identity in evaluation; in training, samples are zeroed or scaled by 1 / (1 - rate)."""
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        return x * x.new_empty(shape).bernoulli_(keep).div_(keep)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows for an optical and a radar stream, with a gate between their logits.

    Args:
        dim: channels of each stream.
        window: edge of a window in feature pixels.
        heads: attention heads.
    """

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_index(window), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.qkv_SAR = nn.Linear(dim, 3 * dim)
        self.attn_fuse_1x1conv = nn.Conv2d(heads, heads, 1)
        self.proj = nn.Linear(dim, dim)
        self.proj_SAR = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Checkpoints store the index, which follows from the window.
        state_dict.pop(prefix + "relative_position_index", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, optical: Tensor, sar: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attends within windows.

        Args:
            optical, sar: (B * windows, tokens, dim).
            mask: (windows, tokens, tokens) from :func:`shift_mask`, or None.

        Returns:
            Two tensors of the inputs' shape.
        """
        tokens = optical.shape[1]
        index = self.relative_position_index.view(-1)
        bias = self.relative_position_bias_table[index].view(tokens, tokens, self.heads).permute(2, 0, 1)
        gate = self.attn_fuse_1x1conv
        compute = _attention_for(optical)
        out, out_sar = compute(
            self.qkv(optical), self.qkv_SAR(sar), bias, mask, gate.weight.flatten(1), gate.bias, self.heads
        )
        return self.proj(out), self.proj_SAR(out_sar)


def _attention_for(x: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
    """The compiled attention where nobody asks for gradients, and the processor computes in float32."""
    if not computes_in_float32(x):
        return gated_attention_by_torch
    use_kernel()
    return operators.gated_attention


class ShiftedWindows(nn.Module):
    """Runs an attention ``attn`` over the (shifted) windows of two channels-last maps; base of the networks' blocks."""

    attn: WindowAttention

    def __init__(self, window: int, shift: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Checkpoints store the mask of their training size; here it is made for the size of each call.
        state_dict.pop(prefix + "attn_mask", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def attend(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) twice to the same; H and W are multiples of the window.

        Raises:
            ValueError: the map cannot be cut into whole windows.
        """
        _, height, width, _ = optical.shape
        window = self.window
        if height % window or width % window:
            raise ValueError(f"A feature map of {height} x {width} cannot be cut into windows of {window}.")
        # A map of a single row or column of windows is not shifted (as the networks are built for such sizes).
        shift = self.shift if min(height, width) > window else 0
        mask = None
        if shift:
            mask = shift_mask(height, width, window, shift).to(optical)
            optical, sar = (torch.roll(x, (-shift, -shift), dims=(1, 2)) for x in (optical, sar))
        attended = self.attn(partition(optical, window), partition(sar, window), mask)
        optical, sar = (assemble(x, window, height, width) for x in attended)
        if shift:
            optical, sar = (torch.roll(x, (shift, shift), dims=(1, 2)) for x in (optical, sar))
        return optical, sar


def window_for(size: int | tuple[int, int] | None, window: int) -> tuple[int, int]:
    """Window edge and shift for feature maps of ``size`` (edge or (H, W)); None = any size larger than the window."""
    if size is None:
        return window, window // 2
    least = size if isinstance(size, int) else min(size)
    return (window, window // 2) if least > window else (least, 0)


def to_channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(x: Tensor) -> Tensor:
    """(B, H, W, C) to contiguous (B, C, H, W)."""
    return x.permute(0, 3, 1, 2).contiguous()


__all__ = [
    "DropPath",
    "Mlp",
    "ShiftedWindows",
    "WindowAttention",
    "assemble",
    "partition",
    "shift_mask",
    "to_channels_first",
    "to_channels_last",
    "window_for",
]
