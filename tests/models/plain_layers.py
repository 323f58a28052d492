"""Layers by their formulas, slowly and in float64: what the networks' options are held to where no golden has them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
Weights = Mapping[str, Tensor]


def standardised(x: Tensor, groups: int, epsilon: float = EPSILON) -> Tensor:
    """(N, C, ...) less its mean, by its deviation, over each of so many runs of channels of a sample."""
    parts = x.reshape(x.shape[0], groups, -1)
    mean = parts.mean(2, keepdim=True)
    variance = ((parts - mean) ** 2).mean(2, keepdim=True)
    return ((parts - mean) / (variance + epsilon).sqrt()).reshape(x.shape)


def normalised(w: Weights, name: str, x: Tensor, kind: str | None, groups: int, epsilon: float = EPSILON) -> Tensor:
    """(N, C, H, W) after the normalisation ``kind`` whose numbers are under ``name``."""
    if kind is None:
        return x
    if kind == "instance":
        return standardised(x, x.shape[1])
    along = (None, slice(None), None, None)
    if kind == "batch":
        x = (x - w[f"{name}.running_mean"][along]) / (w[f"{name}.running_var"][along] + EPSILON).sqrt()
    else:
        x = standardised(x, groups, epsilon)
    return x * w[f"{name}.weight"][along] + w[f"{name}.bias"][along]


def gelu(x: Tensor) -> Tensor:
    """By the error function."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def _between(old: int, new: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper neighbour and the share of the upper one, for pixel centres, edges repeated."""
    at = ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5).clamp(min=0)
    low = at.floor().long()
    return low, (low + 1).clamp(max=old - 1), at - low


def enlarged(x: Tensor, height: int, width: int) -> Tensor:
    """(..., h, w) bilinearly, corners not aligned."""
    top, bottom, down = _between(x.shape[-2], height)
    left, right, across = _between(x.shape[-1], width)
    rows = x[..., top, :] * (1 - down)[:, None] + x[..., bottom, :] * down[:, None]
    return rows[..., left] * (1 - across) + rows[..., right] * across


def pointwise(w: Weights, name: str, x: Tensor) -> Tensor:
    """1x1 convolution or linear layer over the channels of (N, C, ...)."""
    out = torch.tensordot(w[f"{name}.weight"].flatten(1), x, dims=([1], [1])).movedim(0, 1)
    bias = w.get(f"{name}.bias")
    return out if bias is None else out + bias.reshape(1, -1, *(1 for _ in x.shape[2:]))


def surrounded(x: Tensor, padding: int, mode: str) -> Tensor:
    """Padded on all four sides as convolutions call it."""
    return F.pad(x, (padding,) * 4, mode="constant" if mode == "zeros" else mode) if padding else x


def sinusoids(days: Tensor, width: int, heads: int) -> Tensor:
    """(B, T) to (B, T, width): the same ``width / heads`` values for every head, periods up to 1000."""
    share = width // heads
    out = torch.zeros(*days.shape, width, dtype=torch.float64)
    for place in range(width):
        index = place % share
        angle = days.double() / 1000 ** (2 * (index // 2) / share)
        out[..., place] = torch.sin(angle) if index % 2 == 0 else torch.cos(angle)
    return out
