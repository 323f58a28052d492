"""U-TILISE by its formulas, frame by frame and pixel by pixel, with every option (Stucker et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable
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

DEFAULTS: dict[str, Any] = {
    "input_dim": 4, "output_dim": None, "encoder_widths": [8, 8, 16], "decoder_widths": [8, 8, 16],
    "upconv_type": "transpose", "str_conv_k": 4, "str_conv_s": 2, "str_conv_p": 1, "str_conv_k_up": 2,
    "str_conv_s_up": 2, "str_conv_p_up": 0, "activation": "relu", "output_activation": "sigmoid",
    "encoder_norm": None, "decoder_norm": None, "skip_norm": None, "n_groups": 4, "dim_per_group": None,
    "group_norm_eps": 1e-5, "padding_mode": "reflect", "agg_mode": "att_group", "n_temporal_encoding_layers": 1,
    "n_head": 4, "d_k": 4, "bias_qk": False, "ltae_norm": "group", "ltae_activation": "relu", "norm_first": True,
    "positional_encoding": True, "skip_attention": False, "pad_value": 0.0,
}  # fmt: skip
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: x.clamp(min=0),
    "mish": lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
    "gelu": gelu,
    "tanh": torch.tanh,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
}


def _activated(name: str, x: Tensor, slope: Tensor | None) -> Tensor:
    kind, _, given = name.partition(",")
    if kind in ("lrelu", "prelu"):
        return torch.where(x > 0, x, x * (float(given) if given else slope))
    return FORMULAS[kind](x)


def _normed(w: Weights, name: str, x: Tensor, kind: str | None, c: dict[str, Any]) -> Tensor:
    groups = c["n_groups"] if c["n_groups"] != -1 else x.shape[1] // c["dim_per_group"]
    return normalised(w, name, x, kind, 1 if x.shape[1] <= groups else groups, c["group_norm_eps"])


def _convolved(
    w: Weights, c: dict[str, Any], name: str, x: Tensor, norm: str | None, *,
    layers: int = 1, stride: int = 1, padding: int = 1, last: str | None = "",
) -> Tensor:  # fmt: skip
    """Convolutions with norm and activation; ``last`` instead of the last activation, None = none."""
    each = 2 if norm is None else 3
    for layer in range(layers):
        place = layer * each
        x = F.conv2d(
            surrounded(x, padding, c["padding_mode"]), w[f"{name}.{place}.weight"], w[f"{name}.{place}.bias"], stride
        )
        x = _normed(w, f"{name}.{place + 1}", x, norm, c)
        chosen = c["activation"] if last == "" or layer < layers - 1 else last
        if chosen is not None:
            x = _activated(chosen, x, w.get(f"{name}.{place + each - 1}.weight"))
    return x


def _constant(x: Tensor, value: float) -> Tensor:
    return (x == value).flatten(2).all(2)


def _each(block: Callable[[Tensor], Tensor], x: Tensor, left_out: Tensor, fill: float) -> Tensor:
    """``block`` on every frame that is not left out; the others are ``fill`` throughout."""
    done = [[None if skip else block(frame[None])[0] for frame, skip in zip(*pair, strict=True)]
            for pair in zip(x, left_out, strict=True)]  # fmt: skip
    like = next(frame for row in done for frame in row if frame is not None)
    rows = [torch.stack([torch.full_like(like, fill) if frame is None else frame for frame in row]) for row in done]
    return torch.stack(rows)


def _down(w: Weights, c: dict[str, Any], name: str, x: Tensor) -> Tensor:
    norm = c["encoder_norm"]
    x = _convolved(w, c, f"{name}.down.conv", x, norm, stride=c["str_conv_s"], padding=c["str_conv_p"])
    a = _convolved(w, c, f"{name}.conv1.conv", x, norm)
    return a + _convolved(w, c, f"{name}.conv2.conv", a, norm)


def _climbed(w: Weights, c: dict[str, Any], name: str, x: Tensor) -> Tensor:
    place = 1
    if c["upconv_type"] == "bilinear":
        x = pointwise(w, f"{name}.1", enlarged(x, 2 * x.shape[2], 2 * x.shape[3]))
        place = 2
    else:
        padding = 1 if c["str_conv_p_up"] is None else c["str_conv_p_up"]
        x = F.conv_transpose2d(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"], stride=2, padding=padding)
    x = _normed(w, f"{name}.{place}", x, c["decoder_norm"], c)
    slope = w.get(f"{name}.{place + (c['decoder_norm'] is not None)}.weight")
    return _activated(c["activation"], x, slope)


def _layer(w: Weights, c: dict[str, Any], name: str, z: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
    """One transformer layer over the tokens (T, D) of one pixel, and its weights (heads, T, T)."""
    share = z.shape[1] // c["n_head"]

    def norm(part: str, tokens: Tensor) -> Tensor:
        by_group = c["ltae_norm"] == "group"
        epsilon = c["group_norm_eps"] if by_group else 1e-5
        plain = standardised(tokens, c["n_head"] if by_group else 1, epsilon)
        return plain * w[f"{name}.{part}.weight"] + w[f"{name}.{part}.bias"]

    def attend(tokens: Tensor) -> tuple[Tensor, Tensor]:
        q, k = (pointwise(w, f"{name}.attention_heads.fc_{part}", tokens) for part in "qk")
        mixed, weights = [], []
        for head in range(c["n_head"]):
            own = slice(head * c["d_k"], (head + 1) * c["d_k"])
            logits = (q[:, own] @ k[:, own].T / math.sqrt(c["d_k"])).masked_fill(absent, -1000.0)
            weights.append(torch.softmax(logits, 1))
            mixed.append(weights[-1] @ tokens[:, head * share : (head + 1) * share])
        return torch.cat(mixed, 1), torch.stack(weights)

    def forward(tokens: Tensor) -> Tensor:
        slope = w.get(f"{name}.activation.weight")
        return _activated(c["ltae_activation"], pointwise(w, f"{name}.mlp.0", tokens), slope)

    mixed, weights = attend(norm("norm1", z) if c["norm_first"] else z)
    if c["norm_first"]:
        z = z + mixed
        return z + forward(norm("norm2", z)), weights
    z = norm("norm1", z + mixed)
    return norm("norm2", z + forward(z)), weights


def _encoded(w: Weights, c: dict[str, Any], z: Tensor, days: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, D, h, w) after the temporal encoder, and its last weights (heads, B, T, T, h, w)."""
    batch, dates, width, height, cols = z.shape
    out = torch.zeros_like(z)
    weights = torch.zeros(c["n_head"], batch, dates, dates, height, cols, dtype=z.dtype)
    table = sinusoids(days, width, c["n_head"])
    for sample in range(batch):
        for row in range(height):
            for col in range(cols):
                tokens = z[sample, :, :, row, col]
                for layer in range(c["n_temporal_encoding_layers"]):
                    tokens = tokens + table[sample] if c["positional_encoding"] else tokens
                    tokens, own = _layer(w, c, f"temporal_encoder.{layer}", tokens, padded[sample])
                out[sample, :, :, row, col], weights[:, sample, :, :, row, col] = tokens, own
    return out, weights


def _mixed(c: dict[str, Any], skip: Tensor, weights: Tensor, padded: Tensor) -> Tensor:
    """The skip (B, T, C, H, W) mixed over dates, head by head."""
    maps = weights if c["agg_mode"] == "att_group" else weights.mean(0, keepdim=True)
    share, out = skip.shape[2] // len(maps), torch.zeros_like(skip)
    for head, plane in enumerate(maps):
        own = slice(head * share, (head + 1) * share)
        plane = enlarged(plane, *skip.shape[3:]) * (~padded)[:, None, :, None, None]
        for date in range(skip.shape[1]):
            out[:, date, own] = (plane[:, date, :, None] * skip[:, :, own]).sum(1)
    return out


def _up(w: Weights, c: dict[str, Any], name: str, z: Tensor, skip: Tensor) -> Tensor:
    """One up block: each part passes on what is constant at the padding value."""
    value = c["pad_value"]

    def run(block: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return _each(block, x, _constant(x, value), value)

    def conv(part: str, norm: str | None, padding: int = 1) -> Callable[[Tensor], Tensor]:
        return lambda x: _convolved(w, c, f"{name}.{part}.conv.conv", x, norm, padding=padding)

    climbed = run(lambda x: _climbed(w, c, f"{name}.up.convtrans", x), z)
    joined = torch.cat((climbed, run(conv("skip_conv", c["skip_norm"], 0), skip)), 2)
    a = run(conv("conv1", c["decoder_norm"]), joined)
    return a + run(conv("conv2", c["decoder_norm"]), a)


def utilise(w: Weights, c: dict[str, Any], x: Tensor, days: Tensor) -> tuple[Tensor, Tensor | None]:
    """The network of weights ``w`` and configuration ``c`` on (B, T, C, H, W) and (B, T), and its attention."""
    padded, value = _constant(x, c["pad_value"]) & (days == 0), c["pad_value"]
    levels = len(c["encoder_widths"]) - 1
    first = "in_conv.conv.conv"
    maps = [_each(lambda f: _convolved(w, c, first, f, c["encoder_norm"], layers=2), x, padded, value)]
    for level in range(levels):
        maps.append(_each(lambda f, n=level: _down(w, c, f"down_blocks.{n}", f), maps[-1], padded, value))
    z, weights = maps.pop(), None
    if not c["skip_attention"]:
        z, weights = _encoded(w, c, z, days, padded)
    for level in range(levels):
        skip = maps.pop()
        if weights is not None and c["agg_mode"] is not None:
            skip = _mixed(c, skip, weights, padded)
        z = _up(w, c, f"up_blocks.{level}", z, skip)
    last = {None: c["activation"], True: c["activation"], False: None}.get(
        c["output_activation"], c["output_activation"]
    )
    final = "out_conv.conv.conv"
    norm = c["decoder_norm"]
    return _each(lambda f: _convolved(w, c, final, f, norm, layers=2, last=last), z, padded, value), weights
