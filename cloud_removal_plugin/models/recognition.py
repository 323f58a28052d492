"""Which published network a set of weights belongs to, and with which arguments, told from names and shapes.

What shapes cannot tell (activations, scale factors, the number of heads where only a product shows) is as published.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
BANDS = 13
RADAR = 2


@dataclass(frozen=True)
class Recognised:
    """A network's name in the registry, and the arguments that build it."""

    network: str
    config: dict[str, Any]


def recognise(shapes: Shapes) -> Recognised | None:
    """The network that entries of these names and shapes belong to; None where no network's first layer is there.

    Raises:
        KeyError, IndexError, ValueError, ZeroDivisionError: a network's first layer is there, but not what follows.
    """
    for sign, dimensions, read in _FAMILIES:
        if sign in shapes and (not dimensions or len(shapes[sign]) == dimensions):
            return read(shapes)
    return None


def family(shapes: Shapes) -> str:
    """Published name of the family whose first layer is there, '' = none."""
    found = [read for sign, size, read in _FAMILIES if sign in shapes and (not size or len(shapes[sign]) == size)]
    return _PUBLISHED[found[0]] if found else ""


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand where ``pattern`` has its group."""
    return len({match[1] for match in (re.match(pattern, key) for key in shapes) if match})


def _root(number: int) -> int:
    root = math.isqrt(number)
    if root * root != number:
        raise ValueError(f"{number} is not a square")
    return root


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator


def _residual(shapes: Shapes) -> Recognised:
    """DSen2-CR or the baseline ResNet, which starts with the same layers."""
    blocks = _count(shapes, r"model\.(\d+)\.conv_block\.0\.weight")
    width, channels = shapes["model.0.weight"][:2]
    if f"model.{blocks + 4}.weight" in shapes:
        bands = shapes[f"model.{blocks + 4}.weight"][0]
        config = {"resnet_F": width, "resnet_B": blocks, "include_S1": channels == bands + RADAR, "output_nc": bands}
        return Recognised("baseline_resnet", config)
    bands = shapes[f"model.{blocks + 2}.weight"][0]
    radar = channels == bands + RADAR
    config = {"num_layers": blocks, "feature_size": width, "include_sar_input": radar, "optical_channels": bands}
    return Recognised("dsen2cr" if radar else "dsen2cr_nosar", config)


def _seq2point(shapes: Shapes) -> Recognised:
    width, channels = shapes["model_initial.0.weight"][:2]
    radar = channels == BANDS + RADAR
    config = {
        "resnet_F": width,
        "resnet_B": _count(shapes, r"model_initial\.(\d+)\.conv_block\.0\.weight"),
        "include_S1": radar,
    }
    if any(key.startswith("model_intermediate.") for key in shapes):
        pairs = shapes["model_final.0.conv_block.1.weight"][0] // (2 * width)
        dates = (1 + _root(1 + 8 * pairs)) // 2
        bands = shapes["model_final.4.weight"][0]
        return Recognised("seq2point_pairwise", {**config, "n_input_samples": dates, "output_nc": bands})
    bands, _, dates = shapes["model_final.8.weight"][:3]
    name = "seq2point" if radar else "seq2point_nosar"
    return Recognised(name, {**config, "n_input_samples": dates, "output_nc": bands})


def _attention(shapes: Shapes, layer: str) -> dict[str, Any]:
    """Heads and window of a gated window attention; a small image's window is told to the network by its size."""
    rows, heads = shapes[f"{layer}.relative_position_bias_table"]
    window = (_root(rows) + 1) // 2
    config: dict[str, Any] = {"num_heads": heads, "window_size": 8}
    if window < 8:
        config["input_size"] = 2 * window
    elif window > 8:
        config["window_size"] = window
    return config


def _glfcr(shapes: Shapes) -> Recognised:
    width = shapes["SFENet2.weight"][0]
    growth = shapes["RDBs.0.convs.0.conv.0.weight"][0]
    config = {
        "G0": width,
        "D": _count(shapes, r"RDBs\.(\d+)\."),
        "C": _count(shapes, r"RDBs\.0\.convs\.(\d+)\."),
        "G": growth,
        "mlp_ratio": _ratio(shapes["RDBs.0.convs.0.mlp.fc1.weight"][0], growth),
        "fac_kernel": _root(shapes["DF.0.fac_warp.3.0.weight"][0] // width),
        "bands": shapes["SFENet1.weight"][1] // 4,
        **_attention(shapes, "RDBs.0.convs.0.attn"),
    }
    return Recognised("glfcr", config)


def _aligncr(shapes: Shapes) -> Recognised:
    width, channels = shapes["SFE_conv.weight"][:2]
    block = "RDBs.0.SwinTransformerBlock"
    config = {
        "G0": width,
        "D": _count(shapes, r"RDBs\.(\d+)\."),
        "C": _count(shapes, r"RDBs\.0\.convs\.(\d+)\."),
        "G": shapes["RDBs.0.convs.0.conv.0.weight"][0],
        "ks_2d": _root(shapes["DF.0.fac_warp.3.0.weight"][0] // width),
        "deformable_groups": shapes["SFAlign.0.pcd_align.dcn_pack.l1.conv_offset.weight"][0] // 27,
        "upnet_hidden": shapes["UPNet.0.weight"][0],
        "mlp_ratio": _ratio(shapes[f"{block}.mlp.fc1.weight"][0], width),
        "n_shallow_blocks": _count(shapes, r"SFE_module\.(\d+)\."),
        "bands": channels // 4,
        **_attention(shapes, f"{block}.attn"),
    }
    return Recognised("aligncr", config)


def _norm(shapes: Shapes, layer: str) -> str:
    """Which normalisation a layer has: one without numbers of its own is instance normalisation."""
    if f"{layer}.running_mean" in shapes:
        return "batch"
    return "group" if f"{layer}.weight" in shapes else "instance"


def _uncrtaints(shapes: Shapes) -> Recognised:
    inverted = "in_block.0.conv.norm.weight" in shapes or "in_block.0.conv.fn.0.weight" in shapes
    first = "conv.fn.7.weight" if inverted else "conv1.conv.0.weight"
    inner = "conv.norm" if inverted else "conv1.conv.1"

    def widths(part: str) -> tuple[int, ...]:
        count = _count(shapes, rf"{part}\.(\d+)\.")
        return tuple(shapes[f"{part}.{block}.{first}"][0] for block in range(count))

    apart = "out_conv_mean_1.conv.conv.0.weight" in shapes
    heads = (f"{head}.conv.conv.0.weight" for head in ("out_conv", "out_conv_mean_1", "out_conv_var_1"))
    planes = sum(shapes[head][0] for head in heads if head in shapes)
    config: dict[str, Any] = {
        "input_dim": shapes["in_conv.conv.conv.0.weight"][1],
        "encoder_widths": widths("in_block"),
        "decoder_widths": widths("out_block"),
        "out_conv": (planes,),
        "covmode": "iso" if planes == BANDS + 1 else "diag",
        "encoder_norm": _norm(shapes, f"in_block.0.{inner}"),
        "decoder_norm": _norm(shapes, f"out_block.0.{inner}"),
        "separate_out": apart,
        "block_type": "mbconv" if inverted else "residual",
    }
    if not any(key.startswith("temporal_encoder.") for key in shapes):
        return Recognised("uncrtaints_mono", {**config, "n_head": 1, "is_mono": True})
    n_head, d_k = shapes["temporal_encoder.attention_heads.Q"]
    d_model = shapes["temporal_encoder.inconv.weight"][0]
    config |= {"n_head": n_head, "d_k": d_k, "d_model": d_model, "use_v": "include_v.weight" in shapes}
    return Recognised("uncrtaints", config)


def _tuacr(shapes: Shapes) -> Recognised:
    bands = shapes["sar_trans.conv_out.weight"][0]
    config = {
        "in_channels_sar": shapes["sar_trans.conv_in.weight"][1],
        "in_channels_s2": bands,
        "out_channels": shapes["outc.conv.weight"][0],
        "ensemble_num": shapes["encoder_s2.inc.double_conv.0.weight"][1] // bands,
        "num_rrdb": _count(shapes, r"rrdb_blocks\.(\d+)\."),
        "base_width": shapes["encoder_s2.inc.double_conv.0.weight"][0],
    }
    return Recognised("tuacr", config)


def _utilise(shapes: Shapes) -> Recognised:
    width, channels = shapes["in_conv.conv.conv.0.weight"][:2]
    levels = _count(shapes, r"down_blocks\.(\d+)\.")
    encoder = (width, *(shapes[f"down_blocks.{level}.conv1.conv.0.weight"][0] for level in range(levels)))
    bilinear = "up_blocks.0.up.convtrans.1.weight" in shapes and len(shapes["up_blocks.0.up.convtrans.1.weight"]) == 4
    ups = [shapes[f"up_blocks.{level}.conv2.conv.conv.0.weight"][0] for level in range(levels)]
    last = max(
        int(match[1])
        for match in (re.fullmatch(r"out_conv\.conv\.conv\.(\d+)\.weight", key) for key in shapes)
        if match and len(shapes[match.string]) == 4
    )
    bands = shapes[f"out_conv.conv.conv.{last}.weight"][0]
    config: dict[str, Any] = {
        "input_dim": channels,
        "output_dim": bands,
        "encoder_widths": encoder,
        "decoder_widths": (*reversed(ups), encoder[-1]),
        "upconv_type": "bilinear" if bilinear else "transpose",
        "str_conv_k": shapes["down_blocks.0.down.conv.0.weight"][-1],
        **_utilise_norms(shapes),
        **_utilise_time(shapes, encoder[-1]),
    }
    if any(shapes.get(f"out_conv.conv.conv.{last + place}.weight") == (1,) for place in (1, 2)):
        config["output_activation"] = "prelu"
    if not bilinear and shapes["up_blocks.0.up.convtrans.0.weight"][-1] == 4:
        config |= {"str_conv_k_up": None, "str_conv_p_up": None}
    radar = channels == bands + RADAR
    name = "utilise_sen12mscrts_s1" if radar else "utilise_sen12mscrts" if bands == BANDS else "utilise_earthnet2021"
    return Recognised(name, config)


def _utilise_norms(shapes: Shapes) -> dict[str, Any]:
    """Normalisations and activation: a norm moves the second convolution from place 2 to place 3."""
    config: dict[str, Any] = {}
    for part, layer, names in (
        ("in_conv.conv.conv", "down_blocks.0.conv1.conv.1", ("encoder_norm",)),
        ("out_conv.conv.conv", "up_blocks.0.conv1.conv.conv.1", ("decoder_norm",)),
    ):
        if len(shapes.get(f"{part}.3.weight", ())) == 4:
            config |= {name: _norm(shapes, layer) for name in names}
    skip = "up_blocks.0.skip_conv.conv.conv.1"
    if len(shapes.get(f"{skip}.weight", (1,))) == 1 and math.prod(shapes.get(f"{skip}.weight", (1,))) > 1:
        config["skip_norm"] = _norm(shapes, skip)
    if any(shapes[key] == (1,) for key in shapes if key.startswith("in_conv.") and key.endswith(".weight")):
        config["activation"] = "prelu"
    return config


def _utilise_time(shapes: Shapes, width: int) -> dict[str, Any]:
    """Of the temporal encoder. Entries tell only heads times ``d_k``: four heads, as published, where that can be."""
    layers = _count(shapes, r"temporal_encoder\.(\d+)\.")
    if not layers:
        return {"skip_attention": True, "agg_mode": None}
    heads = "temporal_encoder.0.attention_heads"
    both = shapes[f"{heads}.fc_q.weight"][0]
    many = next(count for count in (4, 2, 1) if both % count == 0 and width % count == 0)
    config: dict[str, Any] = {
        "n_temporal_encoding_layers": layers,
        "n_head": many,
        "d_k": both // many,
        "bias_qk": f"{heads}.fc_q.bias" in shapes,
    }
    if "temporal_encoder.0.activation.weight" in shapes:
        config["ltae_activation"] = "prelu"
    return config


def _clearvision_mask(shapes: Shapes) -> Recognised:
    bilinear = "up1.up.weight" not in shapes
    widths = [shapes["inc.double_conv.0.weight"][0]]
    widths += [shapes[f"down{level}.maxpool_conv.1.double_conv.3.weight"][0] for level in range(1, 5)]
    widths[-1] *= 2 if bilinear else 1
    classes = shapes["outc.conv.weight"][0]
    channels = shapes["inc.double_conv.0.weight"][1]
    config = {"n_classes": classes, "n_channels": channels, "bilinear": bilinear, "widths": tuple(widths)}
    return Recognised("clearvision_mask", config)


def _clearvision_removal(shapes: Shapes) -> Recognised:
    width, channels = shapes["inc.double_conv.0.weight"][:2]
    downs = [shapes[f"down{level}.maxpool_conv.1.double_conv.3.weight"][0] for level in range(1, 4)]
    hidden, joined = shapes["mlp1.weight"]
    heads = joined // downs[-1]
    config = {
        "n_channels": channels,
        "n_head": heads,
        "d_k": shapes["attention_heads.fc1_q.weight"][0] // heads,
        "widths": (width, *downs),
        "mlp_hidden": hidden,
    }
    return Recognised("clearvision_removal", config)


_FAMILIES: tuple[tuple[str, int, Callable[[Shapes], Recognised]], ...] = (
    ("model_initial.0.weight", 4, _seq2point),
    ("SFENet1.weight", 4, _glfcr),
    ("SFE_conv.weight", 4, _aligncr),
    ("sar_trans.conv_in.weight", 4, _tuacr),
    ("down_blocks.0.down.conv.0.weight", 4, _utilise),
    ("in_block.0.conv.fn.7.weight", 4, _uncrtaints),
    ("in_block.0.conv1.conv.0.weight", 4, _uncrtaints),
    ("inc.double_conv.0.weight", 4, _clearvision_mask),
    ("inc.double_conv.0.weight", 5, _clearvision_removal),
    ("model.0.weight", 4, _residual),
)
"""An entry that only one family has, its dimensions, and what reads the rest."""

_PUBLISHED: dict[Callable[[Shapes], Recognised], str] = {
    _seq2point: "seq2point",
    _glfcr: "glfcr",
    _aligncr: "aligncr",
    _tuacr: "tuacr",
    _utilise: "utilise_earthnet2021",
    _uncrtaints: "uncrtaints",
    _clearvision_mask: "clearvision_mask",
    _clearvision_removal: "clearvision_removal",
    _residual: "dsen2cr",
}
