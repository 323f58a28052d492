"""GLF-CR and Align-CR by their published formulas, slowly: what the networks' options are held to.

Xu et al. 2022, doi 10.1016/j.isprsjprs.2022.08.002; Xu et al. 2024, doi 10.1109/TGRS.2023.3337845.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.plain_layers import Weights, enlarged, gelu, pointwise

HEADS = 8


def conv(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """Convolution with zeros beyond the edges; the padding keeps the size."""
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), stride, weight.shape[-1] // 2)


def below(w: Weights, name: str) -> Weights:
    """Entries below ``name`` + '.', without it."""
    return {key[len(name) + 1 :]: value for key, value in w.items() if key.startswith(name + ".")}


def layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Over the channels of (B, C, H, W)."""
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    along = (None, slice(None), None, None)
    return (x - mean) / (variance + 1e-5).sqrt() * w[f"{name}.weight"][along] + w[f"{name}.bias"][along]


def mlp(w: Weights, name: str, x: Tensor) -> Tensor:
    """Over the channels of (B, C, H, W)."""
    return pointwise(w, f"{name}.fc2", gelu(pointwise(w, f"{name}.fc1", x)))


def _regions(edge: int, window: int, shift: int) -> Tensor:
    """Label of every row of a rolled map: rows that were not neighbours have different ones."""
    place = torch.arange(edge)
    return (place >= edge - window).long() + (place >= edge - shift).long()


def _stream(w: Weights, suffix: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (heads, P, P) without bias and values (heads, P, d) of the tokens (P, C) of one window."""
    qkv = x @ w[f"qkv{suffix}.weight"].T + w[f"qkv{suffix}.bias"]
    q, k, v = (part.reshape(len(x), HEADS, -1).transpose(0, 1) for part in qkv.chunk(3, dim=1))
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, v


def attention(w: Weights, optical: Tensor, sar: Tensor, window: int, shift: int) -> tuple[Tensor, Tensor]:
    """Window by window: two maps (B, C, H, W) to the same."""
    height, width = optical.shape[-2:]
    rolled = [x.roll((-shift, -shift), (2, 3)) for x in (optical, sar)]
    outs = [torch.zeros_like(optical), torch.zeros_like(sar)]
    rows, cols = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    dy, dx = (part.flatten()[:, None] - part.flatten()[None] + window - 1 for part in (rows, cols))
    bias = w["relative_position_bias_table"][dy * (2 * window - 1) + dx].permute(2, 0, 1)
    label = 3 * _regions(height, window, shift)[:, None] + _regions(width, window, shift)[None]
    for sample in range(len(optical)):
        for top in range(0, height, window):
            for left in range(0, width, window):
                here = (slice(top, top + window), slice(left, left + window))
                a, v = _stream(w, "", rolled[0][sample][(slice(None), *here)].flatten(1).T)
                a_sar, v_sar = _stream(w, "_SAR", rolled[1][sample][(slice(None), *here)].flatten(1).T)
                marks = label[here].flatten()
                mask = torch.where(marks[:, None] == marks[None], 0.0, -100.0) if shift else 0.0
                a, a_sar = a + bias + mask, a_sar + bias + mask
                mixed = pointwise(w, "attn_fuse_1x1conv", (a_sar - a)[None])[0]
                a = a + (a_sar - a) / (1 + torch.exp(-mixed))
                for out, logits, values, name in ((outs[0], a, v, "proj"), (outs[1], a_sar, v_sar, "proj_SAR")):
                    joined = (logits.softmax(-1) @ values).transpose(0, 1).flatten(1)
                    joined = joined @ w[f"{name}.weight"].T + w[f"{name}.bias"]
                    out[sample][(slice(None), *here)] = joined.T.reshape(-1, window, window)
    return tuple(x.roll((shift, shift), (2, 3)) for x in outs)


def filtered(x: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Every pixel and channel by its own filter, edges repeated."""
    reach, (height, width) = size // 2, x.shape[-2:]
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    kernels = kernels.unflatten(1, (x.shape[1], size, size))
    return sum(
        padded[..., i : i + height, j : j + width] * kernels[:, :, i, j] for i in range(size) for j in range(size)
    )


def fuse(w: Weights, block: int, x: Tensor, s: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Local fusion: per-pixel filters from both streams, two gates."""
    g = below(w, f"DF.{block}.fac_warp")
    k = F.leaky_relu(conv(g, "0.0", torch.cat((x, s), 1)), 0.1)
    for stem in (1, 2):
        k = k + conv(g, f"{stem}.stem.2", F.leaky_relu(conv(g, f"{stem}.stem.0", k), 0.1))
    warped = filtered(s, F.leaky_relu(conv(g, "3.0", k), 0.1), size)
    fused = x + (warped - x) * torch.sigmoid(conv(w, f"sar_fuse_1x1conv.{block}", warped - x))
    gate = torch.sigmoid(conv(w, f"opt_distribute_1x1conv.{block}", fused - warped))
    return fused, s + (fused - warped) * gate


def _window(x: Tensor, config: Mapping[str, Any]) -> tuple[int, int]:
    """Window and shift for maps of half the image's size."""
    window, least = config.get("window_size", 8), min(x.shape[-2:])
    return (window, window // 2) if least > window else (least, 0)


def _dense_attention(w: Weights, x: Tensor, s: Tensor, window: int, shift: int) -> tuple[Tensor, Tensor]:
    f, f_sar = F.relu(conv(w, "conv.0", x)), F.relu(conv(w, "conv_SAR.0", s))
    a, a_sar = attention(below(w, "attn"), f, f_sar, window, shift)
    f, f_sar = f + a, f_sar + a_sar
    f = f + mlp(w, "mlp", layer_norm(w, "norm2", f))
    f_sar = f_sar + mlp(w, "mlp_SAR", layer_norm(w, "norm2_SAR", f_sar))
    return torch.cat((x, f), 1), torch.cat((s, f_sar), 1)


def glfcr(w: Weights, config: Mapping[str, Any], optical: Tensor, sar: Tensor) -> Tensor:
    """The whole network for ``G0``, ``D``, ``C``, ``G`` and the options in ``config``."""
    size = config.get("fac_kernel", 5)
    shallow = conv(w, "SFENet1", F.pixel_unshuffle(optical, 2))
    x, s = conv(w, "SFENet2", shallow), conv(w, "SFENet2_SAR", conv(w, "SFENet1_SAR", F.pixel_unshuffle(sar, 2)))
    window, shift = _window(x, config)
    kept = []
    for block in range(config["D"]):
        r, before = below(w, f"RDBs.{block}"), (x, s)
        for layer in range(config["C"]):
            x, s = _dense_attention(below(r, f"convs.{layer}"), x, s, window, shift if layer % 2 else 0)
        x, s = conv(r, "LFF", x) + before[0], conv(r, "LFF_SAR", s) + before[1]
        x, s = fuse(w, block, x, s, size)
        kept.append(x)
    x = conv(w, "GFF.1", conv(w, "GFF.0", torch.cat(kept, 1))) + shallow
    return conv(w, "UPNet.2", F.pixel_shuffle(conv(w, "UPNet.0", x), 2)) + optical


def _wide(w: Weights, x: Tensor) -> Tensor:
    def part(place: int, x: Tensor) -> Tensor:
        v = w[f"body.{place}.weight_v"]
        length = (v**2).sum((1, 2, 3), keepdim=True).sqrt()
        return F.conv2d(x, w[f"body.{place}.weight_g"] * v / length, w[f"body.{place}.bias"], 1, v.shape[-1] // 2)

    return x + part(3, part(2, F.relu(part(0, x))))


def _at(x: Tensor, y: Tensor, col: Tensor) -> Tensor:
    """Bilinear samples of (C, H, W) at (P,) positions, zeros outside."""
    height, width = x.shape[-2:]
    near_rows = (1 - (y[:, None] - torch.arange(height)).abs()).clamp(min=0)
    near_cols = (1 - (col[:, None] - torch.arange(width)).abs()).clamp(min=0)
    return torch.einsum("chw,ph,pw->cp", x, near_rows, near_cols)


def deformed(w: Weights, name: str, x: Tensor, guide: Tensor, groups: int) -> Tensor:
    """Modulated deformable 3x3 convolution."""
    d, (height, width), each = below(w, name), x.shape[-2:], x.shape[1] // groups
    raw = conv(d, "conv_offset", guide)
    rows = torch.arange(height).repeat_interleave(width)
    cols = torch.arange(width).repeat(height)
    out = torch.zeros_like(x) + d["bias"][None, :, None, None]
    for sample, numbers in enumerate(raw.flatten(2)):
        for group in range(groups):
            channels = slice(group * each, (group + 1) * each)
            for tap in range(9):
                place = 9 * group + tap
                y = rows - 1 + tap // 3 + numbers[2 * place]
                col = cols - 1 + tap % 3 + numbers[2 * place + 1]
                values = _at(x[sample, channels], y, col) * torch.sigmoid(numbers[18 * groups + place])
                kernel = d["weight"][:, channels, tap // 3, tap % 3]
                out[sample] += (kernel @ values).reshape(-1, height, width)
    return out


def _doubled(x: Tensor) -> Tensor:
    return enlarged(x, 2 * x.shape[-2], 2 * x.shape[-1])


def _pyramid(w: Weights, side: str, x: Tensor) -> dict[str, Tensor]:
    second = F.relu(conv(w, f"{side}_L2_conv1", x, 2))
    third = F.relu(conv(w, f"{side}_L3_conv1", second, 2))
    p3 = F.relu(conv(w, f"{side}_toplayer", third))
    p2 = conv(w, f"{side}_smooth1", _doubled(p3) + conv(w, f"{side}_latlayer1", second))
    return {"l3": p3, "l2": p2, "l1": conv(w, f"{side}_smooth2", _doubled(p2) + conv(w, f"{side}_latlayer2", x))}


def aligned(w: Weights, source: Tensor, reference: Tensor, groups: int) -> Tensor:
    """The radar features moved onto the optical ones."""
    n, r, p = _pyramid(w, "src", source), _pyramid(w, "ref", reference), below(w, "pcd_align")

    def leaky(x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.1)

    o_up = f_up = f = None
    for level in ("l3", "l2", "l1"):
        o = leaky(conv(p, f"offset_conv1.{level}", torch.cat((n[level], r[level]), 1)))
        o = leaky(conv(p, f"offset_conv2.{level}", o if o_up is None else torch.cat((o, o_up), 1)))
        o = o if level == "l3" else leaky(conv(p, f"offset_conv3.{level}", o))
        f = deformed(p, f"dcn_pack.{level}", n[level], o, groups)
        f = f if level == "l3" else conv(p, f"feat_conv.{level}", torch.cat((f, f_up), 1))
        if level != "l1":
            f = leaky(f)
            o_up, f_up = 2 * _doubled(o), _doubled(f)
    o = leaky(conv(p, "cas_offset_conv2", leaky(conv(p, "cas_offset_conv1", torch.cat((f, r["l1"]), 1)))))
    return leaky(deformed(p, "cas_dcnpack", f, o, groups))


def _swin(w: Weights, x: Tensor, s: Tensor, window: int, shift: int) -> tuple[Tensor, Tensor]:
    a, a_sar = attention(below(w, "attn"), layer_norm(w, "norm1", x), layer_norm(w, "norm1_SAR", s), window, shift)
    x, s = x + a, s + a_sar
    return x + mlp(w, "mlp", layer_norm(w, "norm2", x)), s + mlp(w, "mlp_SAR", layer_norm(w, "norm2_SAR", s))


def aligncr(w: Weights, config: Mapping[str, Any], optical: Tensor, sar: Tensor) -> Tensor:
    """The whole network for ``D``, ``C``, ``ks_2d``, ``deformable_groups`` and ``n_shallow_blocks`` in ``config``."""
    f, s = (F.pixel_unshuffle(part, 2) for part in (optical, sar))
    f = F.relu(conv(w, "SFE_conv", f))
    x, s = f, F.relu(conv(w, "SFE_conv_SAR", s))
    for block in range(config.get("n_shallow_blocks", 5)):
        x, s = _wide(below(w, f"SFE_module.{block}"), x), _wide(below(w, f"SFE_module_SAR.{block}"), s)
    window, shift = _window(x, config)
    kept = []
    for block in range(config["D"]):
        s = aligned(below(w, f"SFAlign.{block}"), s, x, config["deformable_groups"])
        r, before = below(w, f"RDBs.{block}"), (x, s)
        for layer in range(config["C"]):
            x = torch.cat((x, F.relu(conv(r, f"convs.{layer}.conv.0", x))), 1)
            s = torch.cat((s, F.relu(conv(r, f"convs.{layer}.conv_SAR.0", s))), 1)
        x, s = conv(r, "LFF", x), conv(r, "LFF_SAR", s)
        x, s = _swin(below(r, "SwinTransformerBlock"), x, s, window, shift if block % 2 else 0)
        x, s = fuse(w, block, x + before[0], s + before[1], config["ks_2d"])
        kept.append(x)
    x = conv(w, "GFF.1", conv(w, "GFF.0", torch.cat(kept, 1))) + f
    return conv(w, "UPNet.2", F.pixel_shuffle(conv(w, "UPNet.0", x), 2)) + optical
