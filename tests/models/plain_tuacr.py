"""TUA-CR, CR_system's ensemble head, by its formulas, slowly: what the network's options are held to.

https://github.com/Elm-Forest/CR_system.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.plain_fusion import below, conv
from tests.models.plain_layers import Weights, pointwise
from tests.models.plain_series import stretched


def _double(w: Weights, x: Tensor) -> Tensor:
    return F.relu(conv(w, "double_conv.2", F.relu(conv(w, "double_conv.0", x))))


def _encoded(w: Weights, x: Tensor) -> list[Tensor]:
    maps = [_double(below(w, "inc"), x)]
    for level in range(1, 5):
        maps.append(_double(below(w, f"down{level}.maxpool_conv.1"), F.max_pool2d(maps[-1], 2)))
    return maps


def _fused(w: Weights, optical: Tensor, sar: Tensor) -> Tensor:
    z, gate = torch.cat((optical, sar), 1), below(w, "cbam1.ChannelGate.mlp")
    pooled = (z.mean((2, 3)), z.amax((2, 3)))
    logits = sum(pointwise(gate, "3", F.relu(pointwise(gate, "1", part))) for part in pooled)
    return F.relu(conv(w, "conv_out", F.relu(z * torch.sigmoid(logits)[..., None, None] + z)))


def _raised(w: Weights, x: Tensor, skip: Tensor) -> Tensor:
    x = stretched(x, 2 * x.shape[-2], 2 * x.shape[-1])
    rows, cols = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
    x = F.pad(x, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2))
    return _double(below(w, "conv"), torch.cat((skip, x), 1))


def _stepped(w: Weights, x: Tensor) -> Tensor:
    """Every pixel joined by its neighbour above, to the right, below and to the left; the rim stays as it is."""

    def side(name: str, axis: int, back: bool) -> Tensor:
        weighted = x * w[f"{name}_weight.weight"].reshape(1, -1, 1, 1) + w[f"{name}_weight.bias"][:, None, None]
        moved = F.relu(weighted.roll(1 if back else -1, axis) + x)
        rim = torch.arange(x.shape[axis]) == (0 if back else x.shape[axis] - 1)
        return torch.where(rim[:, None] if axis == 2 else rim, x, moved)

    return torch.cat((side("up", 2, True), side("right", 3, False), side("down", 2, False), side("left", 3, True)), 1)


def _mask(w: Weights, c: Tensor) -> Tensor:
    x = pointwise(w, "conv2", _stepped(below(w, "irnn1"), pointwise(w, "conv1", c)))
    x = F.relu(pointwise(w, "conv3", _stepped(below(w, "irnn2"), x)))
    return torch.sigmoid(pointwise(w, "conv_out", x))


def _partial(w: Weights, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
    height, width = x.shape[-2:]
    known = torch.ones_like(x[:, :1]) if mask is None else mask
    # How much is seen carries no gradient.
    padded = F.pad(known, (1, 1, 1, 1)).detach()
    seen = sum(padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3))
    return conv(w, name, x * known) * 9 / (seen + 1e-8) * seen.clamp(0, 1)


def _partial_block(w: Weights, x: Tensor, mask: Tensor | None) -> Tensor:
    return F.relu(_partial(w, "conv2", F.relu(_partial(w, "conv1", x, mask)), mask) + x)


def _rrdb(w: Weights, x: Tensor) -> Tensor:
    z = x
    for block in range(1, 4):
        d, stack = below(w, f"RDB{block}"), [z]
        for layer in range(1, 5):
            stack.append(F.leaky_relu(conv(d, f"conv{layer}", torch.cat(stack, 1)), 0.2))
        z = z + 0.2 * conv(d, "conv5", torch.cat(stack, 1))
    return x + 0.2 * z


def tuacr(
    w: Weights, config: Mapping[str, Any], dsen2: Tensor, glf: Tensor, sar: Tensor, cloudy: Tensor
) -> list[Tensor]:
    """Output, second stage, translated radar, attention, first stage."""
    t = conv(w, "sar_trans.conv_in", sar)
    for block in range(12):
        b = below(w, f"sar_trans.res_blocks.{block}")
        t = F.relu(conv(b, "conv2", F.relu(conv(b, "conv1", t))) + t)
    translated = conv(w, "sar_trans.conv_out", t)
    optical = _encoded(below(w, "encoder_s2"), torch.cat((dsen2, glf, cloudy)[-config.get("ensemble_num", 3) :], 1))
    radar = _encoded(below(w, "encoder_sar"), torch.cat((translated, sar), 1))
    fused = [_fused(below(w, f"fb{scale + 1}"), optical[scale], radar[scale]) for scale in range(5)]
    x = fused[4]
    for level in range(1, 5):
        x = _raised(below(w, f"up{level}"), x, fused[4 - level])
    c, z, mask = F.relu(conv(w, "conv_in_attn.0", cloudy)), x, None
    for block in range(1, 12):
        if block in (1, 4, 7):
            mask = _mask(below(w, "sam"), c)
            for _ in range(3):
                c = F.relu(c * mask + c)
        z = _partial_block(below(w, f"res_block{block}"), z, mask if block < 10 else None)
    z, out = z + x, z + x
    for block in range(config.get("num_rrdb", 4)):
        out = _rrdb(below(w, f"rrdb_blocks.{block}"), out)
    heads = (("outc", out), ("out_s2", z), None, None, ("out_s1", x))
    given = [head and pointwise(w, f"{head[0]}.conv", head[1]) for head in heads]
    return [given[0], given[1], translated, mask, given[4]]
