"""UnCRtainTS by its formulas, step by step, with every option (Ebel et al. 2023, arXiv 2304.05464)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.plain_layers import (
    Weights,
    enlarged,
    gelu,
    normalised,
    pointwise,
    sinusoids,
    standardised,
    surrounded,
)

GRID, GROUPS, BANDS = 32, 4, 13


def _inverted(w: Weights, name: str, x: Tensor, norm: str) -> Tensor:
    fn = f"{name}.conv.fn"
    h = pointwise(w, f"{fn}.0", normalised(w, f"{name}.conv.norm", x, norm, GROUPS))
    h = gelu(normalised(w, f"{fn}.1", h, norm, GROUPS))
    padded, kernel, out = surrounded(h, 1, "reflect"), w[f"{fn}.3.weight"], torch.zeros_like(h)
    for row in range(3):
        for col in range(3):
            seen = padded[:, :, row : row + h.shape[2], col : col + h.shape[3]]
            out = out + seen * kernel[None, :, 0, row, col, None, None]
    h = gelu(normalised(w, f"{fn}.4", out, norm, GROUPS))
    squeezed = gelu(pointwise(w, f"{fn}.6.fc.0", h.mean((2, 3))))
    h = h * torch.sigmoid(pointwise(w, f"{fn}.6.fc.2", squeezed))[..., None, None]
    return x + normalised(w, f"{fn}.8", pointwise(w, f"{fn}.7", h), norm, GROUPS)


def _residual(w: Weights, name: str, x: Tensor, norm: str) -> Tensor:
    h = x
    for layer in (1, 2, 3):
        place = f"{name}.conv{layer}.conv"
        h = F.conv2d(surrounded(h, 1, "reflect"), w[f"{place}.0.weight"], w[f"{place}.0.bias"])
        h = torch.relu(normalised(w, f"{place}.1", h, norm, GROUPS))
    return x + h


def _attention(w: Weights, c: dict[str, Any], frames: Tensor, padded: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (heads, B, T, 32, 32), and the tokens (B * 32 * 32, T, d_model)."""
    batch, dates, width = frames.shape[:3]
    low = F.adaptive_max_pool2d(frames.flatten(0, 1), GRID).unflatten(0, (batch, dates))
    tokens = standardised(low.permute(0, 3, 4, 2, 1).reshape(-1, width, dates), c["n_head"])
    name = "temporal_encoder"
    tokens = tokens * w[f"{name}.in_norm.weight"][None, :, None] + w[f"{name}.in_norm.bias"][None, :, None]
    tokens = pointwise(w, f"{name}.inconv", tokens).transpose(1, 2)
    if c["positional_encoding"]:
        tokens = tokens + sinusoids(days, c["d_model"], c["n_head"]).repeat_interleave(GRID**2, 0)
    keys = pointwise(w, f"{name}.attention_heads.fc1_k", tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
    heads = []
    for head in range(c["n_head"]):
        own = keys[..., head * c["d_k"] : (head + 1) * c["d_k"]]
        logits = (own * w[f"{name}.attention_heads.Q"][head]).sum(-1) / math.sqrt(c["d_k"])
        logits = logits.masked_fill(padded.repeat_interleave(GRID**2, 0), -1000.0)
        heads.append(torch.softmax(logits, 1).reshape(batch, GRID, GRID, dates).permute(0, 3, 1, 2))
    return torch.stack(heads), tokens


def _values(w: Weights, c: dict[str, Any], weights: Tensor, tokens: Tensor, width: int) -> Tensor:
    """What the full encoder attends to, (B, C, 32, 32)."""
    share, batch = c["d_model"] // c["n_head"], weights.shape[1]
    mixed = []
    for head in range(c["n_head"]):
        own = weights[head].permute(0, 2, 3, 1).reshape(tokens.shape[0], -1, 1)
        mixed.append((own * tokens[..., head * share : (head + 1) * share]).sum(1))
    h = pointwise(w, "temporal_encoder.mlp.0", torch.cat(mixed, 1))
    h = torch.relu(normalised(w, "temporal_encoder.mlp.1", h[..., None, None], "batch", 1))[..., 0, 0]
    h = standardised(h, c["n_head"]) * w["temporal_encoder.out_norm.weight"] + w["temporal_encoder.out_norm.bias"]
    return h.reshape(batch, GRID, GRID, width).permute(0, 3, 1, 2)


def _aggregated(c: dict[str, Any], frames: Tensor, weights: Tensor, padded: Tensor) -> Tensor:
    """(B, T, C, H, W) to (B, C, H, W)."""
    batch, _, width, height, cols = frames.shape
    if c["agg_mode"] == "mean":
        return torch.stack([frames[sample][~padded[sample]].mean(0) for sample in range(batch)])
    grouped = c["agg_mode"] == "att_group"
    maps = weights if grouped else weights.mean(0, keepdim=True)
    share, out = width // len(maps), []
    for head, plane in enumerate(maps):
        pooled = grouped and height <= GRID
        plane = F.avg_pool2d(plane, GRID // height) if pooled else enlarged(plane, height, cols)
        plane = plane * (~padded)[:, :, None, None]
        out.append((frames[:, :, head * share : (head + 1) * share] * plane[:, :, None]).sum(1))
    return torch.cat(out, 1)


def _heads(w: Weights, c: dict[str, Any], x: Tensor) -> Tensor:
    names = ("out_conv_mean_1", "out_conv_var_1") if c["separate_out"] else ("out_conv",)
    out = torch.cat([pointwise(w, f"{name}.conv.conv.0", x) for name in names], 1)
    mean, raw = out[:, :BANDS], out[:, BANDS:]
    if c["out_nonlin_mean"]:
        mean = c["scale_by"] / (1 + torch.exp(-mean))
    epsilon = 1e-9 if c["scale_by"] == 1.0 else 1e-3
    softplus = c["out_nonlin_var"] == "softplus"
    variance = torch.log1p(torch.exp(raw)) if softplus else torch.where(raw > 0, raw, torch.expm1(raw)) + 1
    return torch.cat((mean, variance + epsilon), 1)[:, None]


def uncrtaints(w: Weights, c: dict[str, Any], x: Tensor, days: Tensor) -> Tensor:
    """The network of weights ``w`` and configuration ``c`` on (B, T, C, H, W) and (B, T); all float64."""
    batch, dates = x.shape[:2]
    padded = (x == c["pad_value"]).flatten(2).all(2)
    block = _inverted if c["block_type"] == "mbconv" else _residual
    h = pointwise(w, "in_conv.conv.conv.0", x.flatten(0, 1))
    h = torch.relu(normalised(w, "in_conv.conv.conv.1", h, c["encoder_norm"], GROUPS))
    for number in range(len(c["encoder_widths"])):
        h = block(w, f"in_block.{number}", h, c["encoder_norm"])
    frames = h.unflatten(0, (batch, dates))
    out = frames[:, 0]
    if not c["is_mono"]:
        weights, tokens = _attention(w, c, frames, padded, days)
        out = _aggregated(c, frames, weights, padded)
        if c["use_v"]:
            values = _values(w, c, weights, tokens, out.shape[1])
            out = pointwise(w, "include_v", torch.cat((out, enlarged(values, *out.shape[2:])), 1))
    for number in range(len(c["decoder_widths"])):
        out = block(w, f"out_block.{number}", out, c["decoder_norm"])
    return _heads(w, c, out)
