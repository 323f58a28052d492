"""How the golden cases of the series networks and of Align-CR are run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cloud_removal_plugin import models
from cloud_removal_plugin.models import scaling
from cloud_removal_plugin.models.clearvision_mask import cloud_mask
from cloud_removal_plugin.models.seq2point import PatchDiscriminator, PixelDiscriminator, image
from cloud_removal_plugin.models.utilise import restore_series
from cloud_removal_plugin.models.utilise_temporal import PositionalEncoder
from cloud_removal_plugin.models.window_attention import ShiftedWindows, WindowAttention
from tests.models.golden_files import Case, compare, compare_gradients, load_weights, real_patch


def run_utilise(case: Case) -> None:
    config = dict(case.meta["config"])
    network = models.create("utilise_earthnet2021", **{**utilise_defaults(), **config})
    load_weights(network, case)
    x = case.tensors("x")
    expected = case.tensors("y")
    with torch.inference_mode():
        result: Any = network(x["x"], x.get("batch_positions"), return_att="att" in expected)
    result = result if isinstance(result, tuple) else (result,)
    outputs = {"pred": result[0]}
    if "att" in expected:
        outputs["att"] = result[1]
    if config.get("return_maps"):
        outputs |= {f"map{level}": features for level, features in enumerate(result[-1])}
    compare(case, outputs)


def utilise_defaults() -> dict[str, Any]:
    """The constructor's own defaults, which the cases' configurations leave out (the records say the released ones)."""
    return {
        "output_dim": None,
        "encoder_widths": (64, 64, 64, 128),
        "decoder_widths": (32, 32, 64, 128),
        "ltae_activation": "relu",
    }


def run_positions(case: Case) -> None:
    compare(case, {"table": PositionalEncoder(**case.meta["config"])(case.tensors("x")["positions"])})


def run_sliding_window(case: Case) -> None:
    network = models.create("utilise_earthnet2021", **{**utilise_defaults(), **case.meta["config"]})
    load_weights(network, case)
    x = case.tensors("x")
    with torch.inference_mode():
        window = case.meta["temporal_window"]
        prediction, starts = restore_series(network, x["x"], x["masks"], x["position_days"], window)
    compare(case, {"pred": prediction, "window_starts": torch.tensor(starts)})


def run_clearvision_mask(case: Case) -> None:
    config = dict(case.meta["config"])
    divisor = config.pop("width_divisor", 1)
    config.setdefault("widths", [width // divisor for width in (64, 128, 256, 512, 1024)])
    network = models.create("clearvision_mask", **config)
    load_weights(network, case)
    x = case.tensors("x")
    expected = case.tensors("y")
    images = x["images"] if "images" in x else x["x"]
    if "frames_rgb" in x:
        # 8-bit red, green, blue to blue, green, red in 0..1.
        torch.testing.assert_close(x["frames_rgb"].float().flip(-1).permute(0, 3, 1, 2) / 255, images)
    with torch.inference_mode():
        features, logits = network(images)
    compare(case, {"features": features, "logits": logits}, ignore=("mask",))
    # Where the logits are all but equal, rounding decides.
    clear_cut = (expected["logits"][:, 0] - expected["logits"][:, 1]).abs() > 1e-3
    assert torch.equal(cloud_mask(logits)[clear_cut], expected["mask"].long()[clear_cut])


def run_clearvision_removal(case: Case) -> None:
    config = {k: v for k, v in case.meta["config"].items() if k not in ("bilinear", "attn_dim")}
    divisor = config.pop("width_divisor", 1)
    config.setdefault("widths", [width // divisor for width in (64, 128, 256, 256)])
    network = models.create("clearvision_removal", **config)
    load_weights(network, case)
    x = case.tensors("x")
    series = x["x"] if "x" in x else x["masked"].transpose(0, 1)[None]
    with torch.inference_mode():
        features, prediction = network(series)
    outputs = {"features": features, "pred": prediction}
    expected = case.tensors("y")
    if "masked" in x:
        outputs["pred"] = prediction[0].transpose(0, 1)
        shown = outputs["pred"].flip(1).permute(0, 2, 3, 1)[: len(expected["rgb_float"])] * 255
        # The json has no tolerance of its own for the image: it is the prediction times 255.
        tolerance = case.meta["tolerance"]["pred"]
        torch.testing.assert_close(shown, expected["rgb_float"], rtol=tolerance["rtol"], atol=255 * tolerance["atol"])
    compare(case, outputs, ignore=("rgb_float",))


def _seq2point_frames(case: Case) -> list[torch.Tensor]:
    x = case.tensors("x")
    if "input" in x:
        return [x["input"]]
    if "t0" in x:
        return [x[f"t{date}"] for date in range(sum(name[1:].isdigit() for name in x))]
    where = case.meta["input"]
    frames = []
    for kind, sample in where["dates"]:
        window = where["window_row_col_h_w"]
        stack = [scaling.SEQ2POINT.optical(real_patch(kind, sample, window))]
        if case.meta["config"]["include_S1"]:
            stack.append(scaling.SEQ2POINT.radar(real_patch("s1", sample, window)))
        frames.append(torch.from_numpy(np.concatenate(stack))[None])
    return frames


def run_seq2point(case: Case) -> None:
    name = "seq2point_pairwise" if "pairwise" in case.name else "seq2point"
    network = models.create(name, **case.meta["config"])
    load_weights(network, case)
    has_gradients = bool(case.tensors("g"))
    with torch.inference_mode(not has_gradients):
        raw = network(_seq2point_frames(case))
    outputs = {"tanh": raw, "out": image(raw)}
    if has_gradients:
        outputs["loss"] = 100 * (outputs["out"] - case.tensors("x")["target"]).abs().mean()
        outputs["loss"].backward()
        compare_gradients(case, network)
    compare(case, outputs)


def run_baseline_resnet(case: Case) -> None:
    network = models.create("baseline_resnet", **case.meta["config"])
    load_weights(network, case)
    with torch.inference_mode():
        out = network(*_seq2point_frames(case))
    compare(case, {"out": out})


def run_discriminator(case: Case) -> None:
    config = case.meta["config"]
    x = case.tensors("x")["input"]
    stored = case.tensors("w")

    def weights(part: str) -> dict[str, torch.Tensor]:
        return {k[len(part) + 1 :]: v for k, v in stored.items() if k.startswith(part + ".")}

    outputs: dict[str, torch.Tensor] = {}
    for norm in ("batch", "instance"):
        network = PatchDiscriminator(**config, norm=norm)
        network.load_state_dict(weights(norm))
        for mode in ("eval", "train"):
            with torch.no_grad():
                outputs[f"{norm}_{mode}"] = network.train(mode == "train")(x)
    pixel = PixelDiscriminator(**config)
    pixel.load_state_dict(weights("pixel"))
    with torch.inference_mode():
        outputs["pixel_eval"] = pixel.eval()(x[..., :8, :8])
    judged = outputs["batch_train"]
    for label, target in (("real", 1.0), ("fake", 0.0)):
        truth = torch.full_like(judged, target)
        outputs[f"lsgan_{label}"] = ((judged - truth) ** 2).mean()
        outputs[f"vanilla_{label}"] = torch.nn.functional.binary_cross_entropy_with_logits(judged, truth)
        outputs[f"wgangp_{label}"] = (1 - 2 * target) * judged.mean()
    compare(case, outputs)


def _computed_entries(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Entries of a checkpoint that the networks compute anew; they count in the order of the recipe RS1."""
    entries: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_modules():
        if isinstance(module, WindowAttention):
            entries[f"{name}.relative_position_index"] = tuple(module.relative_position_index.shape)
        if isinstance(module, ShiftedWindows) and module.shift:
            entries[f"{name}.attn_mask"] = (1,)
    return entries


def run_aligncr(case: Case) -> None:
    network = models.create("aligncr", **case.meta["config"])
    load_weights(network, case, extra=_computed_entries(network))
    x = case.tensors("x")
    with torch.inference_mode():
        prediction = network(x["cloudy"], x["sar"])
    compare(case, {"pred": prediction, "residual": prediction - x["cloudy"]})
