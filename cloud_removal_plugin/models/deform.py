"""Modulated deformable convolution (version 2): torchvision's operator where that loads, else our own equal version.

Zhu et al. 2019, Deformable ConvNets v2, arXiv 1811.11168; as PCD alignment uses it (Wang et al. 2019, EDVR, arXiv
1905.02716). Written from published facts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@lru_cache(maxsize=1)
def torchvision_operator() -> Callable[..., Tensor] | None:
    """torchvision's ``deform_conv2d``, or None where torchvision is absent or does not fit this torch."""
    try:
        from torchvision.ops import deform_conv2d
    except (ImportError, RuntimeError, OSError):
        return None
    return deform_conv2d


def _sampled(x: Tensor, y_at: Tensor, x_at: Tensor) -> Tensor:
    """Bilinear samples with zeros outside.

    Args:
        x: (N, C, H, W).
        y_at, x_at: (N, P) positions in pixels.

    Returns:
        (N, C, P).
    """
    height, width = x.shape[-2:]
    flat = x.flatten(2)
    top, left = torch.floor(y_at), torch.floor(x_at)
    out = None
    for dy in (0, 1):
        for dx in (0, 1):
            row, col = top + dy, left + dx
            weight = (1 - (y_at - row).abs()) * (1 - (x_at - col).abs())
            inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
            place = row.clamp(0, height - 1) * width + col.clamp(0, width - 1)
            index = place.long()[:, None].expand(-1, flat.shape[1], -1)
            part = flat.gather(2, index) * (weight * inside)[:, None]
            out = part if out is None else out + part
    return out


def deformable_convolution(x: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution, stride 1, whose taps are moved and weighted pixel by pixel.

    Args:
        x: (B, C, H, W).
        offsets: (B, 2 * groups * 9, H, W) in pixels: for each group and tap first y, then x.
        mask: (B, groups * 9, H, W), weight of each tap.
        weight: (C_out, C, 3, 3).
        bias: (C_out,).

    Returns:
        (B, C_out, H, W). Points up to one pixel outside still count partly, farther ones are zero.
    """
    batch, channels, height, width = x.shape
    taps = 9
    groups = mask.shape[1] // taps
    moves = offsets.view(batch * groups, taps, 2, height, width)
    tap = torch.arange(taps, device=x.device)
    rows = torch.arange(height, device=x.device, dtype=x.dtype)
    cols = torch.arange(width, device=x.device, dtype=x.dtype)
    tap_row = torch.div(tap, 3, rounding_mode="floor").to(x.dtype)
    tap_col = (tap % 3).to(x.dtype)
    y_at = moves[:, :, 0] + (rows[:, None] - 1 + tap_row[:, None, None])
    x_at = moves[:, :, 1] + (cols[None, :] - 1 + tap_col[:, None, None])
    samples = _sampled(x.reshape(batch * groups, channels // groups, height, width), y_at.flatten(1), x_at.flatten(1))
    samples = samples * mask.reshape(batch * groups, 1, -1)
    columns = samples.view(batch, channels * taps, height * width)
    out = weight.flatten(1) @ columns
    return (out + bias[:, None]).view(batch, -1, height, width)


class DeformableConv(nn.Module):
    """Deformable 3x3 convolution whose offsets and weights are predicted from a second map.

    Args:
        channels: in and out.
        groups: groups of input channels that move together.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Conv2d(channels, groups * 27, 3, padding=1)
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        # The first step moves nothing and weighs every tap by one half.
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Two maps (B, C, H, W) to one of the same shape."""
        # half precision cannot count a map's pixels
        raw, x = (part.to(self.weight.dtype) for part in (self.conv_offset(guide), x))
        offsets, mask = raw[:, : 18 * self.groups].contiguous(), torch.sigmoid(raw[:, 18 * self.groups :])
        operator = torchvision_operator()
        if operator is not None:
            return operator(x, offsets, self.weight, self.bias, padding=(1, 1), mask=mask)
        return deformable_convolution(x, offsets, mask, self.weight, self.bias)


def upsample(x: Tensor) -> Tensor:
    """Bilinear x2, corners not aligned."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
