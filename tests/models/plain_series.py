"""Networks for several dates by their published formulas, slowly: what the networks' options are held to.

SEN12MS-CR-TS sequence to point and its siblings (Ebel et al. 2022, doi 10.1109/TGRS.2022.3146246) and Clear Vision
(https://github.com/caoymg/Clear-Vision).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.plain_fusion import below, conv
from tests.models.plain_layers import Weights, pointwise


def body(w: Weights, blocks: int, x: Tensor) -> Tensor:
    """Convolution, ReLU and scaled residual blocks of one date."""
    h = F.relu(conv(w, "0", x))
    for block in range(2, blocks + 2):
        h = h + 0.1 * conv(w, f"{block}.conv_block.2", F.relu(conv(w, f"{block}.conv_block.0", h)))
    return h


def conv3d(w: Weights, name: str, x: Tensor, rows: str, times: str | None) -> Tensor:
    """Over time, rows and columns of (B, C, T, H, W): how rows and columns are padded, and how time is (None: not)."""
    x = F.pad(x, (1, 1, 1, 1, 0, 0), mode=rows)
    if times == "replicate":
        x = torch.cat((x[:, :, :1], x, x[:, :, -1:]), 2)
    elif times == "constant":
        x = F.pad(x, (0, 0, 0, 0, 1, 1))
    return F.conv3d(x, w[f"{name}.weight"], w[f"{name}.bias"])


def seq2point(w: Weights, config: Mapping[str, Any], frames: Tensor) -> Tensor:
    """(B, T, C, H, W) to the raw output (B, 13, H, W)."""
    first, last = below(w, "model_initial"), below(w, "model_final")
    h = torch.stack([body(first, config["resnet_B"], frame) for frame in frames.unbind(1)], 2)
    h = F.relu(conv3d(last, "0", h, "constant", "constant"))
    for block in range(2, 7):
        inner = F.relu(conv3d(last, f"{block}.conv_block.1", h, "reflect", "replicate"))
        h = F.relu(h + 0.1 * conv3d(last, f"{block}.conv_block.4", inner, "reflect", "replicate"))
    return torch.tanh(conv3d(last, "8", h, "reflect", None))[:, :, 0]


def _reflected(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), w[f"{name}.weight"], w[f"{name}.bias"])


def _blocks(w: Weights, x: Tensor) -> Tensor:
    for block in range(4):
        inner = F.relu(_reflected(w, f"{block}.conv_block.1", x))
        x = x + F.relu(_reflected(w, f"{block}.conv_block.4", inner))
    return x


def pairwise(w: Weights, config: Mapping[str, Any], frames: Tensor) -> Tensor:
    """(B, T, C, H, W) to the raw output (B, 13, H, W): every pair of dates by itself, then all pairs."""
    h = [body(below(w, "model_initial"), config["resnet_B"], frame) for frame in frames.unbind(1)]
    pairs = [torch.cat((h[i], h[j]), 1) for i in range(len(h)) for j in range(i + 1, len(h))]
    joined = torch.cat([_blocks(below(w, "model_intermediate"), pair) for pair in pairs], 1)
    last = below(w, "model_final")
    return torch.tanh(conv(last, "4", _blocks(last, joined)))


def baseline(w: Weights, config: Mapping[str, Any], x: Tensor) -> Tensor:
    """One date, (B, C, H, W) to (B, 13, H, W)."""
    m, behind = below(w, "model"), config["resnet_B"] + 2
    return conv(m, f"{behind + 2}", F.relu(conv(m, f"{behind}", body(m, config["resnet_B"], x))))


def dsen2cr(w: Weights, config: Mapping[str, Any], optical: Tensor, sar: Tensor | None = None) -> Tensor:
    """DSen2-CR (Meraner et al. 2020): the same body, with a long skip."""
    m, last = below(w, "model"), config["num_layers"] + 2
    h = F.relu(conv(m, "0", optical if sar is None else torch.cat((optical, sar), 1)))
    for block in range(2, last):
        branch = conv(m, f"{block}.conv_block.2", F.relu(conv(m, f"{block}.conv_block.0", h)))
        h = h + config.get("res_scale", 0.1) * branch
    return optical + conv(m, str(last), h)


def stretched(x: Tensor, height: int, width: int) -> Tensor:
    """(..., h, w) bilinearly, the corners on the corners."""

    def along(old: int, new: int) -> Tensor:
        at = torch.arange(new, dtype=torch.float64) * ((old - 1) / max(new - 1, 1))
        return (1 - (at[:, None] - torch.arange(old)).abs()).clamp(min=0)

    return torch.einsum("...hw,yh,xw->...yx", x, along(x.shape[-2], height), along(x.shape[-1], width))


def _batch_normed(w: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        w[f"{name}.{part}"].reshape(1, -1, *(1 for _ in x.shape[2:]))
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def _double(w: Weights, x: Tensor) -> Tensor:
    d = below(w, "double_conv")
    for place in (0, 3):
        x = F.relu(_batch_normed(d, str(place + 1), conv(d, str(place), x)))
    return x


def _beside(skip: Tensor, x: Tensor) -> Tensor:
    """The skip, then the map with zeros around it up to the skip's size."""
    rows, cols = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    return torch.cat((skip, F.pad(x, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2))), 1)


def clearvision_mask(w: Weights, config: Mapping[str, Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) to the first features and the logits."""
    maps = [_double(below(w, "inc"), x)]
    for level in range(1, 5):
        maps.append(_double(below(w, f"down{level}.maxpool_conv.1"), F.max_pool2d(maps[-1], 2)))
    z = maps[4]
    for level in range(1, 5):
        u = below(w, f"up{level}")
        if config.get("bilinear", True):
            z = stretched(z, 2 * z.shape[-2], 2 * z.shape[-1])
        else:
            z = F.conv_transpose2d(z, u["up.weight"], u["up.bias"], 2)
        z = _double(below(u, "conv"), _beside(maps[4 - level], z))
    return maps[0], conv(w, "outc.conv", z)


def _flat(w: Weights, name: str) -> Weights:
    """Entries below ``name``; kernels (1, k, k) as (k, k), for frames one by one."""
    return {key: value[:, :, 0] if value.dim() == 5 else value for key, value in below(w, name).items()}


def _frames(x: Tensor) -> Tensor:
    """(B, C, T, H, W) to (B * T, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1)


def _series(x: Tensor, dates: int) -> Tensor:
    return x.unflatten(0, (-1, dates)).transpose(1, 2)


def _heads_joined(mixed: Sequence[Tensor]) -> Tensor:
    """Heads (B, C, ...) to (B, C * heads, ...), the head running fastest."""
    return torch.stack(list(mixed), 2).flatten(1, 2)


def _attended(u: Weights, skip: Tensor, attention: Tensor) -> Tensor:
    """A skip (B, C, T, H, W) mixed over dates by (heads, B, T, T, h, w)."""
    planes = stretched(attention, *skip.shape[-2:])
    mixed = [torch.einsum("btshw,bcshw->bcthw", part, skip) for part in planes]
    return F.relu(_batch_normed(u, "BatchNorm3d1", pointwise(u, "mlp1", _heads_joined(mixed))))


def clearvision_removal(w: Weights, config: Mapping[str, Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, T, H, W) to the first features and the frames."""
    heads, d_k, dates = config.get("n_head", 4), config.get("d_k", 32), x.shape[2]
    maps = [_double(_flat(w, "inc"), _frames(x))]
    for level in range(1, 4):
        maps.append(_double(_flat(w, f"down{level}.maxpool_conv.1"), F.max_pool2d(maps[-1], 2)))
    maps = [_series(part, dates) for part in maps]
    z = maps[3]
    q, k = (pointwise(w, f"attention_heads.fc1_{name}", z).unflatten(1, (heads, d_k)) for name in "qk")
    attention = (torch.einsum("bndthw,bndshw->nbtshw", q, k) / d_k**0.5).softmax(3)
    z = _heads_joined([torch.einsum("btshw,bcshw->bcthw", part, z) for part in attention])
    for place in (1, 2):
        z = F.relu(_batch_normed(w, f"BatchNorm3d{place}", pointwise(w, f"mlp{place}", z)))
    mean = z.mean(1, keepdim=True)
    z = (z - mean) / (((z - mean) ** 2).mean(1, keepdim=True) + 1e-5).sqrt()
    along = (None, slice(None), None, None, None)
    z = z * w["outlayernorm.weight"][along] + w["outlayernorm.bias"][along]
    for level in range(1, 4):
        u, skip = below(w, f"up{level}"), maps[3 - level]
        risen = F.conv_transpose2d(_frames(z), u["up.weight"][:, :, 0], u["up.bias"], 2)
        joined = torch.cat((_frames(_attended(u, skip, attention)), risen), 1)
        z = _series(_double(_flat(u, "conv"), joined), dates)
    return maps[0], pointwise(w, "outc.conv", z)
