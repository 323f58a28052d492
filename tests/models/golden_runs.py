"""How each family of single-image and few-date golden cases is run (SEN12MS-CR networks and their glue)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cloud_removal_plugin.models import scaling
from cloud_removal_plugin.models.keras_hdf5 import read_dsen2cr
from cloud_removal_plugin.models.kernelconv import kernel_convolution, valid_kernel_convolution
from cloud_removal_plugin.models.tuacr import final_image, stack_inputs
from cloud_removal_plugin.training.losses import carl, charbonnier, l1, l2, total_variation
from cloud_removal_plugin.training.structure_losses import ssim_map
from tests.models.golden_files import Case, compare, compare_gradients
from tests.models.golden_inputs import WHOLE, WINDOW, batch_of, days_of, joined, numbers, real_patch, rebuilt
from tests.models.golden_weights import network_of

OPTICAL = 13


def run_kernelconv(case: Case) -> None:
    x, size = case.tensors("x"), case.meta["kernel_size"]
    image, kernels = x["input"].requires_grad_(), x["kernel"].requires_grad_()
    out = kernel_convolution(image, kernels, size)
    outputs = {"output": out}
    if "grad_output" in x:
        weighted = (out * x["grad_output"]).sum()
        outputs["grad_input"], outputs["grad_kernel"] = torch.autograd.grad(weighted, (image, kernels))
    if "raw_padded_input" in x:
        padded = x["raw_padded_input"].requires_grad_()
        outputs["raw_output"] = valid_kernel_convolution(padded, kernels, size)
        torch.testing.assert_close(outputs["raw_output"], out)
        weighted = (outputs["raw_output"] * x.get("grad_output", torch.ones_like(out))).sum()
        raw = torch.autograd.grad(weighted, (padded, kernels))
        outputs["raw_grad_padded_input"], outputs["raw_grad_kernel"] = raw
    compare(case, outputs)


def compare_hdf5(case: Case) -> None:
    """The case's Keras files, each in a layout of its own, against its weights; left out where h5py is missing."""
    if find_spec("h5py") is None:
        return
    expected = case.tensors("w")
    for entry in case.meta.get("h5_files", ()):
        weights = read_dsen2cr(case.path.with_name(entry.split()[0]))
        assert weights.keys() == expected.keys()
        for key, value in weights.items():
            np.testing.assert_array_equal(value, expected[key].numpy())


def _carl_weight(case: Case) -> float:
    """The weight of CARL's plain term: a field, in the json's words, or 1 as published."""
    told = re.search(r"lambda\s*=?\s*([\d.]+\d|\d)", case.says("grad", "note"))
    return float(case.meta.get("lambda", told[1] if told else 1.0))


def run_dsen2cr(case: Case) -> None:
    config = dict(case.meta["config"])
    appends_input = config.pop("use_cloud_mask", True)
    network = network_of("dsen2cr", case, config)
    x = case.tensors("x")
    if "opt" not in x:
        patches = rebuilt(case.meta["input"], scaling.DSEN2CR, config.get("include_sar_input", True))
        x |= {name: joined(patches, part) for part, name in enumerate(("opt", "sar")[: len(patches[0])])}
    compare_hdf5(case)
    truth = next((x[name] for name in x if name.startswith("y_true")), None)
    with torch.inference_mode(truth is None):
        prediction = network(x["opt"], x.get("sar"))
    # The Keras graph hands the loss a copy of its input and a plane of zeros behind the prediction.
    copied = (x["opt"], torch.zeros_like(x["opt"][:, :1])) if appends_input else ()
    outputs: dict[str, Any] = {"pred": prediction}
    outputs |= {f"keras_out{width}": torch.cat((prediction, *copied), dim=1) for width in (OPTICAL, 2 * OPTICAL + 1)}
    if truth is not None:
        target, cloud = truth[:, :OPTICAL], truth[:, OPTICAL : OPTICAL + 1]
        outputs["l1"] = l1(prediction, target)
        if cloud.shape[1]:
            outputs["carl"] = carl(prediction, x["opt"], target, cloud, _carl_weight(case))
    if case.tensors("g"):
        outputs["carl" if "CARL" in case.says("grad") else "l1"].backward()
        compare_gradients(case, network)
    compare(case, outputs)


def run_glfcr(case: Case) -> None:
    config = dict(case.meta["config"])
    if "res" in config:
        edges = config.pop("res")
        config["input_size"] = tuple(2 * edge for edge in (edges if isinstance(edges, list) else [edges] * 2))
    if "ks_2d" in config:
        config["fac_kernel"] = config.pop("ks_2d")
    network = network_of("glfcr", case, config)
    x = case.tensors("x")
    if "cloudy" not in x:
        patches = rebuilt(case.meta["input"], scaling.GLFCR)
        x |= {"cloudy": joined(patches, 0), "sar": joined(patches, 1)}
    with torch.inference_mode("target" not in x):
        out = network(x["cloudy"], x["sar"])
    outputs = {"out": out}
    if "target" in x:
        outputs["l1_loss"] = l1(out, x["target"])
    if case.tensors("g"):
        outputs["l1_loss"].backward()
        compare_gradients(case, network)
    compare(case, outputs)


def _uncrtaints_frames(case: Case) -> Tensor:
    """(1, T, C, H, W), of the mono-temporal network (B, 1, C, H, W): radar first where used, all times ``scale_by``."""
    config, where = case.meta["config"], case.meta["input"]
    radar = config.get("input_dim", 15) > OPTICAL
    resnet = "resnet" in str(where.get("s1", "")) + str(where.get("s2", ""))
    wanted = scaling.UNCRTAINTS_RESNET if resnet else scaling.UNCRTAINTS
    frames = [torch.cat(patch[::-1], dim=1) for patch in rebuilt(where, wanted, radar)]
    series = torch.stack(frames, dim=1)
    return config.get("scale_by", 10.0) * (series.transpose(0, 1) if config.get("is_mono") else series)


def run_uncrtaints(case: Case) -> None:
    network = network_of("uncrtaints", case, case.meta["config"])
    x = case.tensors("x")
    if "input" not in x:
        x["input"] = _uncrtaints_frames(case)
    days = x.get("dates", days_of(case.meta.get("input", {})))
    with torch.inference_mode("target" not in x):
        out = network(x["input"], batch_positions=days)
    outputs = {"out": out}
    if "target" in x:
        loss = l1(out[:, :, :OPTICAL], x["target"])
        outputs["loss"] = loss + out[:, :, OPTICAL:].mean() if out.shape[2] > OPTICAL else loss
    if case.tensors("g"):
        outputs["loss"].backward()
        compare_gradients(case, network)
    compare(case, outputs)


TUACR_OUTPUTS = ("out", "stage2", "sar_trans", "attn3", "stage1")
TUACR_LOSS = (
    "100*Charb(out,t[1:4]) + 5*Charb(stage1,t) + 5*TV(out) + 5*Charb(sar_trans,t)"
    " + 100*Charb(out*mask,t[1:4]*mask) + 5*MSE(attn3,mask)"
)
"""The training objective without its perceptual term, in the words of the cases."""
TUACR_TERMS: dict[str, Callable[..., Tensor]] = {
    "Charb": charbonnier,
    "TV": total_variation,
    "MSE": l2,
    "L1": l1,
}


def build_tuacr(case: Case) -> nn.Module:
    config = {k: v for k, v in case.meta["config"].items() if k != "feature_c"}
    assert config.pop("bilinear", True), "no published TUA-CR climbs by transposed convolutions"
    return network_of("tuacr", case, config)


def tuacr_loss(words: str, tensors: dict[str, Tensor]) -> Tensor:
    """A weighted sum as a json writes it, e.g. ``100*Charb(out,t[1:4]) + 5*MSE(attn3,mask)``; ``t`` is the target."""

    def value(product: str) -> Tensor:
        parts = [re.fullmatch(r"(\w+)(?:\[(\d+):(\d+)\])?", part.strip()) for part in product.split("*")]
        assert all(parts), f"nothing understands {product!r} in a loss"
        found = [tensors[part[1]][:, slice(*map(int, part.groups()[1:])) if part[2] else slice(None)] for part in parts]
        return functools.reduce(torch.mul, found)

    terms = re.findall(r"([\d.]+)\s*\*\s*(\w+)\(([^()]*)\)", words)
    assert terms, f"{words!r} names no loss"
    return sum(float(weight) * TUACR_TERMS[kind](*map(value, args.split(","))) for weight, kind, args in terms)


def _tuacr_words(case: Case) -> str:
    """The objective as the case has it; where the head gives all bands, all of the target's stand for three of them."""
    words = case.says("grad") if "*Charb(" in case.says("grad") else TUACR_LOSS
    return words.replace("t[1:4]", "t") if case.meta["config"].get("out_channels", 3) != 3 else words


def _tuacr_inputs(case: Case) -> dict[str, Tensor]:
    """Stored, or by the recipe: shares of the clear and the cloudy patch stand in for the predictions."""
    x = case.tensors("x")
    if "cloudy" in x:
        return x
    where = case.meta["input"]
    sample, window = where["sample"], where.get(WINDOW, WHOLE)
    clear, cloudy = (scaling.TUACR.optical(real_patch(kind, sample, window)) for kind in ("s2_cloudfree", "s2_cloudy"))
    of_clear, of_cloudy = numbers(r"#\*cloudfree\s*\+\s*#\*cloudy", where["input_dsen2"])
    factor, lift, low, high = numbers(r"clip\(#\*cloudfree\s*\+?\s*#\s*,\s*#\s*,\s*#\)", where["input_glf"])
    made = {
        "input_dsen2": np.float32(of_clear) * clear + np.float32(of_cloudy) * cloudy,
        "input_glf": np.clip(np.float32(factor) * clear + np.float32(lift), low, high),
        "cloudy": cloudy,
        "sar": scaling.TUACR.radar(real_patch("s1", sample, window)),
    }
    return x | {name: batch_of(value) for name, value in made.items()}


def run_tuacr(case: Case) -> None:
    network = build_tuacr(case)
    x = _tuacr_inputs(case)
    with torch.inference_mode("target" not in x):
        result = network(x["input_dsen2"], x["input_glf"], x["sar"], x["cloudy"])
    outputs = dict(zip(TUACR_OUTPUTS, result, strict=True))
    if "target" in x:
        named = {**outputs, "t": x["target"], "mask": x["mask"]}
        outputs["loss_no_lpips"] = tuacr_loss(_tuacr_words(case), named)
    if case.tensors("g"):
        outputs["loss_no_lpips"].backward()
        compare_gradients(case, network)
    compare(case, outputs)


def run_tuacr_pipeline(case: Case) -> None:
    x = {name: value.numpy() for name, value in case.tensors("x").items()}
    inputs = stack_inputs(x["dsen2_file_dn"], x["glf_file"], x["sar_db"], x["cloudy_dn"])
    network = build_tuacr(case.sibling(case.meta["weights_from"]) if "weights_from" in case.meta else case)
    with torch.inference_mode():
        result = network(*(batch_of(value) for value in inputs))
    final = final_image(result.out[0].numpy())
    outputs = dict(zip(("meta_in_dsen2", "meta_in_glf", "meta_in_sar", "meta_in_cloudy"), inputs, strict=True))
    outputs |= {"meta_out_raw": result.out, "final_rgb": final, "attention": result.attention}
    if "unc_file" in x:
        # UnCRtainTS' file already holds reflectance and is shown through the "type 4" clip.
        outputs["display_unc"] = np.clip(scaling.fill_with_mean(x["unc_file"]), 0, 10000)
    compare(case, outputs)
    if "values" not in case.meta:
        return
    truth = scaling.TUACR.optical(x["target_dn"] / np.float32(10000))[1:4]
    shown = ssim_map(batch_of(final), batch_of(truth)).mean()
    values = {"l1": float(np.abs(final - truth).mean()), "ssim": float(shown)}
    for name, expected in case.meta["values"].items():
        assert values[name] == pytest.approx(expected, abs=1e-4), name


def _raw_patch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Radar in dB and digital numbers: stored, or from the patch that the json names."""
    x = {name: value.numpy().astype(np.float32) for name, value in case.tensors("x").items()}
    if "s2_dn" not in x:
        sample, window = case.meta["sample"], case.meta.get(WINDOW, WHOLE)
        kind = case.meta.get("image", "s2_cloudy")
        x = {"s1_db": real_patch("s1", sample, window), "s2_dn": real_patch(kind, sample, window) * np.float32(10000)}
    return x["s1_db"], x["s2_dn"]


def run_scaling(case: Case) -> None:
    radar, dn = _raw_patch(case)
    optical = dn / np.float32(10000)
    outputs = {
        "s1_nanfilled": scaling.fill_with_mean(radar),
        "s2_nanfilled": scaling.fill_with_mean(dn),
        "crsys_type4_s2": np.clip(scaling.fill_with_mean(dn), 0, 10000),
        "crsys_type1_s1": scaling.TUACR.radar(radar),
        "crsys_type2_s2": scaling.TUACR.optical(optical),
        "crsys_type3_s2": scaling.TUACR.optical(optical),
    }
    ranges = {
        "dsen2": scaling.DSEN2CR,
        "glf": scaling.GLFCR,
        "unc_default": scaling.UNCRTAINTS,
        "unc_resnet": scaling.UNCRTAINTS_RESNET,
    }
    for name, wanted in ranges.items():
        outputs |= {f"{name}_s1": wanted.radar(radar), f"{name}_s2": wanted.optical(optical)}
    compare(case, outputs)


def run_seq2point_scaling(case: Case) -> None:
    radar, dn = _raw_patch(case)
    optical = dn / np.float32(10000)
    loader = replace(scaling.SEQ2POINT_DEFAULT, signed=False)
    outputs = {}
    ranges = {"resnet": scaling.SEQ2POINT, "default": loader, "default_net": scaling.SEQ2POINT_DEFAULT}
    for name, wanted in ranges.items():
        outputs |= {f"s1_{name}": wanted.radar(radar), f"s2_{name}": wanted.optical(optical)}
    compare(case, outputs)
