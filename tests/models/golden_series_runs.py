"""How the golden cases of the series networks and of Align-CR are run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cloud_removal_plugin.models import scaling
from cloud_removal_plugin.models.clearvision_mask import cloud_mask
from cloud_removal_plugin.models.clearvision_removal import masked_series
from cloud_removal_plugin.models.seq2point import image
from cloud_removal_plugin.models.utilise import restore_series
from cloud_removal_plugin.models.utilise_temporal import PositionalEncoder
from cloud_removal_plugin.training.adversarial import GAN_MODES, gan_loss
from tests.models.golden_files import Case, compare, compare_gradients, only_known, tolerance_for
from tests.models.golden_inputs import numbers, rebuilt
from tests.models.golden_weights import discriminator_of, network_of, part_of

UTILISE_DEFAULTS: Mapping[str, Any] = {
    "output_dim": None,
    "encoder_widths": (64, 64, 64, 128),
    "decoder_widths": (32, 32, 64, 128),
    "ltae_activation": "relu",
}
"""The constructor's own, which the cases' configurations leave out (the records say the released ones)."""


def utilise_network(case: Case) -> nn.Module:
    return network_of("utilise_earthnet2021", case, {**UTILISE_DEFAULTS, **case.meta["config"]})


def positions_in(x: Mapping[str, Tensor]) -> Tensor | None:
    """A series' positions, which have two names."""
    return x.get("batch_positions", x.get("position_days"))


def run_utilise(case: Case) -> None:
    network = utilise_network(case)
    x, expected = case.tensors("x"), case.tensors("y")
    wants_attention = "att" in expected
    with torch.inference_mode():
        result: Any = network(x["x"], positions_in(x), return_att=wants_attention)
    result = result if isinstance(result, tuple) else (result,)
    outputs = {"pred": result[0]}
    if wants_attention:
        outputs["att"] = result[1]
    if case.meta["config"].get("return_maps"):
        outputs |= {f"map{level}": features for level, features in enumerate(result[-1])}
    compare(case, outputs)


def run_positions(case: Case) -> None:
    compare(case, {"table": PositionalEncoder(**case.meta["config"])(case.tensors("x")["positions"])})


def run_sliding_window(case: Case) -> None:
    network = utilise_network(case)
    x = case.tensors("x")
    with torch.inference_mode():
        window = case.meta["temporal_window"]
        prediction, starts = restore_series(network, x["x"], x["masks"], positions_in(x), window)
    compare(case, {"pred": prediction, "window_starts": torch.tensor(starts)})


def _clearvision(case: Case, name: str, widths: tuple[int, ...], unused: tuple[str, ...] = ()) -> nn.Module:
    """The network with its widths divided as the case says; ``unused`` names what follows from the widths."""
    config = {key: value for key, value in case.meta["config"].items() if key not in unused}
    divisor = config.pop("width_divisor", 1)
    config.setdefault("widths", [width // divisor for width in widths])
    return network_of(name, case, config)


def clearvision_mask_network(case: Case) -> nn.Module:
    return _clearvision(case, "clearvision_mask", (64, 128, 256, 512, 1024))


def _bgr(frames: Tensor) -> Tensor:
    """8-bit (T, H, W, red green blue) to (T, blue green red, H, W) in 0..1."""
    return frames.float().flip(-1).permute(0, 3, 1, 2) / 255


def run_clearvision_mask(case: Case) -> None:
    network = clearvision_mask_network(case)
    x, expected = case.tensors("x"), case.tensors("y")
    if "frames_rgb" in x:
        x.setdefault("images", _bgr(x["frames_rgb"]))
        torch.testing.assert_close(_bgr(x["frames_rgb"]), x["images"])
    with torch.inference_mode():
        features, logits = network(x["images"] if "images" in x else x["x"])
    compare(case, {"features": features, "logits": logits}, ignore=("mask",))
    if "mask" in expected:
        # Where the logits are all but equal, rounding decides.
        best = logits.topk(2, dim=1).values
        clear_cut = best[:, 0] - best[:, 1] > 1e-3
        assert torch.equal(cloud_mask(logits)[clear_cut], expected["mask"].long()[clear_cut])


def run_clearvision_removal(case: Case) -> None:
    config = case.meta["config"]
    assert not config.get("bilinear"), "no published removal network climbs bilinearly"
    network = _clearvision(case, "clearvision_removal", (64, 128, 256, 256), ("bilinear", "attn_dim"))
    # The width of the attention follows from the others.
    width = network.attention_heads.fc1_q.in_features
    assert config.get("attn_dim", width) == width
    x, expected = case.tensors("x"), case.tensors("y")
    if "frames_rgb" in x and "masks" in x and "masked" not in x:
        masks = x["masks"].reshape(x["frames_rgb"].shape[:3]).numpy()
        x["masked"] = torch.from_numpy(masked_series(_bgr(x["frames_rgb"]).numpy(), masks))[0].transpose(0, 1)
    series = x["x"] if "x" in x else x["masked"].transpose(0, 1)[None]
    with torch.inference_mode():
        features, prediction = network(series)
    outputs = {"features": features, "pred": prediction, "pred_t": prediction[0].transpose(0, 1)}
    if "masked" in x:
        outputs["pred"] = outputs["pred_t"]
    if "rgb_float" in expected:
        shown = outputs["pred_t"].flip(1).permute(0, 2, 3, 1)[: len(expected["rgb_float"])] * 255
        # Without a tolerance of its own the image has that of the prediction, times 255.
        own = "rgb_float" in case.meta.get("tolerance", {})
        rtol, atol = tolerance_for(case.meta, "rgb_float" if own else "pred")
        atol = atol if own else 255 * atol
        torch.testing.assert_close(shown, expected["rgb_float"], rtol=rtol, atol=atol)
    compare(case, outputs, ignore=("rgb_float",))


def _seq2point_frames(case: Case) -> list[Tensor]:
    x = case.tensors("x")
    if "input" in x:
        return [x["input"]]
    if "t0" in x:
        return [x[f"t{date}"] for date in range(sum(re.fullmatch(r"t\d+", name) is not None for name in x))]
    where = case.meta["input"]
    stacked = rebuilt(where, scaling.SEQ2POINT, case.meta["config"].get("include_S1", True))
    return [torch.cat(patch, dim=1) for patch in stacked]


def run_seq2point(case: Case) -> None:
    said = case.name + case.says("model")
    if "baseline" in said or "ResnetStacked" in said:
        run_baseline_resnet(case)
        return
    is_sequence = "pairwise" not in said and "resnet_9blocks" not in said
    network = network_of("seq2point" if is_sequence else "seq2point_pairwise", case, case.meta["config"])
    target = case.tensors("x").get("target")
    with torch.inference_mode(target is None):
        raw = network(_seq2point_frames(case))
    outputs = {"tanh": raw, "out": image(raw)}
    if target is not None:
        said = case.says("grad")
        weight = numbers(r"#\s*\*\s*mean", said)[0] if "*" in said else 100.0
        outputs["loss"] = weight * (outputs["out"] - target).abs().mean()
    if case.tensors("g"):
        outputs["loss"].backward()
        compare_gradients(case, network)
    compare(case, outputs)


def run_baseline_resnet(case: Case) -> None:
    network = network_of("baseline_resnet", case, case.meta["config"])
    with torch.inference_mode():
        out = network(*_seq2point_frames(case))
    compare(case, {"out": out})


def _judges(stored: Mapping[str, Tensor]) -> list[str]:
    """The discriminators of which a case holds weights, by their first name."""
    return sorted({key.split(".", 1)[0] for key in stored})


def run_discriminator(case: Case) -> None:
    """Outputs such as ``batch_train`` (kind of discriminator, mode) and GAN losses such as ``lsgan_real``."""
    x, outputs, expected = case.tensors("x")["input"], {}, case.tensors("y")
    stored, config = case.tensors("w"), case.meta.get("config", {})
    only_known(config, ("input_nc", "ndf"), "the configuration")
    said = re.search(r"on (\w+_(?:train|eval)) output", case.says("note"))
    judge = said[1] if said else "batch_train"
    for kind in _judges(stored):
        first = next(value for value in part_of(stored, kind).values() if value.dim() == 4)
        width, channels = first.shape[:2]
        assert (config.get("ndf", width), config.get("input_nc", channels)) == (width, channels)
        for mode in ("eval", "train"):
            if f"{kind}_{mode}" not in {*expected, judge}:
                continue
            # A golden of the pixel discriminator may have seen a corner of the input only.
            size = expected.get(f"{kind}_{mode}", x).shape[-2:] if kind.startswith("pixel") else x.shape[-2:]
            with torch.no_grad():
                # A fresh one for each: a pass in training moves the running statistics.
                network = discriminator_of(part_of(stored, kind)).train(mode == "train")
                outputs[f"{kind}_{mode}"] = network(x[..., : size[0], : size[1]])
    judged = outputs[judge] if said else outputs.get(judge, next(iter(outputs.values())))
    for label in ("real", "fake"):
        outputs |= {f"{mode}_{label}": gan_loss(judged, label == "real", mode) for mode in GAN_MODES}
    compare(case, outputs)


def run_aligncr(case: Case) -> None:
    network = network_of("aligncr", case, case.meta["config"])
    x = case.tensors("x")
    with torch.inference_mode():
        prediction = network(x["cloudy"], x["sar"])
    compare(case, {"pred": prediction, "residual": prediction - x["cloudy"]})
