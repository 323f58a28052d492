"""How each family of single-image and few-date golden cases is run (SEN12MS-CR networks and their glue)."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cloud_removal_plugin import models
from cloud_removal_plugin.models import scaling
from cloud_removal_plugin.models.keras_hdf5 import read_dsen2cr
from cloud_removal_plugin.models.kernelconv import kernel_convolution, valid_kernel_convolution
from cloud_removal_plugin.models.tuacr import final_image, stack_inputs
from cloud_removal_plugin.training.losses import carl, charbonnier, total_variation
from tests.models.golden_files import Case, compare, compare_gradients, load_weights, real_patch


def batch_of(values: np.ndarray) -> Tensor:
    """(bands, H, W) to a tensor (1, bands, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values))[None]


def run_kernelconv(case: Case) -> None:
    x, size = case.tensors("x"), case.meta["kernel_size"]
    image, kernels = x["input"].requires_grad_(), x["kernel"].requires_grad_()
    out = kernel_convolution(image, kernels, size)
    grad_image, grad_kernels = torch.autograd.grad((out * x["grad_output"]).sum(), (image, kernels))
    padded = x["raw_padded_input"].requires_grad_()
    raw = valid_kernel_convolution(padded, kernels.detach(), size)
    (grad_padded,) = torch.autograd.grad((raw * x["grad_output"]).sum(), padded)
    outputs = {"output": out, "grad_input": grad_image, "grad_kernel": grad_kernels}
    compare(case, {**outputs, "raw_grad_padded_input": grad_padded})
    torch.testing.assert_close(raw, out)


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


def run_dsen2cr(case: Case) -> None:
    config = {k: v for k, v in case.meta["config"].items() if k != "use_cloud_mask"}
    network = models.create("dsen2cr", **config)
    load_weights(network, case)
    x = case.tensors("x")
    if not x:
        where = case.meta["input"]
        sample, window = where["sample"], where["window_row_col_h_w"]
        x["opt"] = batch_of(scaling.DSEN2CR.optical(real_patch("s2_cloudy", sample, window)))
        x["sar"] = batch_of(scaling.DSEN2CR.radar(real_patch("s1", sample, window)))
    compare_hdf5(case)
    has_gradients = bool(case.tensors("g"))
    with torch.inference_mode(not has_gradients):
        prediction = network(x["opt"], x["sar"])
    outputs = {"pred": prediction}
    if has_gradients:
        loss = carl(prediction, x["opt"], x["y_true14"][:, :13], x["y_true14"][:, 13:])
        loss.backward()
        # The Keras graph hands the loss a copy of its input and a plane of zeros behind the prediction.
        zeros = torch.zeros_like(x["opt"][:, :1])
        outputs |= {"carl": loss, "keras_out27": torch.cat((prediction, x["opt"], zeros), dim=1)}
        compare_gradients(case, network)
    compare(case, outputs)


def run_glfcr(case: Case) -> None:
    config = dict(case.meta["config"])
    if "res" in config:
        config["input_size"] = tuple(2 * edge for edge in config.pop("res"))
    network = models.create("glfcr", **config)
    load_weights(network, case)
    x = case.tensors("x")
    if not x:
        where = case.meta["input"]
        sample, window = where["sample"], where["window_row_col_h_w"]
        x["cloudy"] = batch_of(scaling.GLFCR.optical(real_patch("s2_cloudy", sample, window)))
        x["sar"] = batch_of(scaling.GLFCR.radar(real_patch("s1", sample, window)))
    has_gradients = bool(case.tensors("g"))
    with torch.inference_mode(not has_gradients):
        out = network(x["cloudy"], x["sar"])
    outputs = {"out": out}
    if has_gradients:
        outputs["l1_loss"] = (out - x["target"]).abs().mean()
        outputs["l1_loss"].backward()
        compare_gradients(case, network)
    compare(case, outputs)


def run_uncrtaints(case: Case) -> None:
    meta = case.meta
    network = models.create("uncrtaints", **meta["config"])
    load_weights(network, case)
    x = case.tensors("x")
    if "input" not in x:
        window = meta["input"]["window_row_col_h_w"]
        wanted = scaling.UNCRTAINTS.times(meta["config"]["scale_by"])
        frames = [
            np.concatenate(
                (wanted.radar(real_patch("s1", s, window)), wanted.optical(real_patch("s2_cloudy", s, window)))
            )
            for s in meta["input"]["samples"]
        ]
        x["input"] = torch.from_numpy(np.stack(frames))[None]
    has_gradients = bool(case.tensors("g"))
    with torch.inference_mode(not has_gradients):
        out = network(x["input"], batch_positions=x.get("dates"))
    outputs = {"out": out}
    if has_gradients:
        loss = (out[:, :, :13] - x["target"]).abs().mean()
        loss = loss + out[:, :, 13:].mean() if out.shape[2] > 13 else loss
        loss.backward()
        outputs["loss"] = loss
        compare_gradients(case, network)
    compare(case, outputs)


TUACR_OUTPUTS = ("out", "stage2", "sar_trans", "attn3", "stage1")


def build_tuacr(case: Case) -> nn.Module:
    config = {k: v for k, v in case.meta["config"].items() if k not in ("feature_c", "bilinear")}
    network = models.create("tuacr", **config)
    load_weights(network, case)
    return network


def tuacr_loss(out: dict[str, Tensor], target: Tensor, mask: Tensor) -> Tensor:
    """The training objective without its perceptual term."""
    rgb = target[:, 1:4]
    return (
        100 * charbonnier(out["out"], rgb)
        + 5 * charbonnier(out["stage1"], target)
        + 5 * total_variation(out["out"])
        + 5 * charbonnier(out["sar_trans"], target)
        + 100 * charbonnier(out["out"] * mask, rgb * mask)
        + 5 * ((out["attn3"] - mask) ** 2).mean()
    )


def _tuacr_inputs(case: Case) -> dict[str, Tensor]:
    x = case.tensors("x")
    if "cloudy" not in x:
        where = case.meta["input"]
        sample, window = where["sample"], where["window_row_col_h_w"]
        cloudy = scaling.TUACR.optical(real_patch("s2_cloudy", sample, window))
        clear = scaling.TUACR.optical(real_patch("s2_cloudfree", sample, window))
        made = {
            "input_dsen2": np.float32(0.7) * clear + np.float32(0.3) * cloudy,
            "input_glf": np.clip(np.float32(0.9) * clear + np.float32(0.02), 0, 1),
            "cloudy": cloudy,
            "sar": scaling.TUACR.radar(real_patch("s1", sample, window)),
        }
        x |= {name: batch_of(value) for name, value in made.items()}
    return x


def run_tuacr(case: Case) -> None:
    owner = case.sibling(case.meta["of"]) if "of" in case.meta else case
    network = build_tuacr(owner)
    x = _tuacr_inputs(owner)
    wants_loss = "target" in x
    with torch.inference_mode(not wants_loss):
        result = network(x["input_dsen2"], x["input_glf"], x["sar"], x["cloudy"])
    outputs = dict(zip(TUACR_OUTPUTS, result, strict=True))
    if wants_loss:
        outputs["loss_no_lpips"] = tuacr_loss(outputs, x["target"], x["mask"])
    if case.tensors("g"):
        outputs["loss_no_lpips"].backward()
        compare_gradients(case, network)
    compare(case, outputs)
    assert case.tensors("y") or case.tensors("g")


def ssim(a: Tensor, b: Tensor, size: int = 5, sigma: float = 1.5) -> Tensor:
    """Mean structural similarity with a Gaussian window and zero padding, as the published pipeline shows it."""
    axis = torch.exp(-((torch.arange(size).float() - size // 2) ** 2) / (2 * sigma**2))
    window = torch.outer(axis, axis) / axis.sum() ** 2
    window = window.expand(a.shape[1], 1, size, size)

    def blur(x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, window, padding=size // 2, groups=x.shape[1])

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4)
    return (top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))).mean()


def run_tuacr_pipeline(case: Case) -> None:
    x = {name: value.numpy() for name, value in case.tensors("x").items()}
    inputs = stack_inputs(x["dsen2_file_dn"], x["glf_file"], x["sar_db"], x["cloudy_dn"])
    network = build_tuacr(case.sibling(case.meta["weights_from"]))
    with torch.inference_mode():
        result = network(*(batch_of(value) for value in inputs))
    final = final_image(result.out[0].numpy())
    named = dict(zip(("meta_in_dsen2", "meta_in_glf", "meta_in_sar", "meta_in_cloudy"), inputs, strict=True))
    # UnCRtainTS' file already holds reflectance and is shown through the "type 4" clip.
    shown = np.clip(scaling.fill_with_mean(x["unc_file"]), 0, 10000)
    outputs = {"meta_out_raw": result.out, "final_rgb": final, "attention": result.attention, "display_unc": shown}
    compare(case, {**named, **outputs})
    truth = scaling.TUACR.optical(x["target_dn"] / np.float32(10000))[1:4]
    values = case.meta["values"]
    assert values["l1"] == pytest.approx(float(np.abs(final - truth).mean()), abs=1e-4)
    assert values["ssim"] == pytest.approx(float(ssim(batch_of(final), batch_of(truth))), abs=1e-4)


def run_scaling(case: Case) -> None:
    x = {name: value.numpy() for name, value in case.tensors("x").items()}
    radar, optical = x["s1_db"], x["s2_dn"] / np.float32(10000)
    outputs = {
        "s1_nanfilled": scaling.fill_with_mean(radar),
        "s2_nanfilled": scaling.fill_with_mean(x["s2_dn"]),
        "crsys_type4_s2": np.clip(scaling.fill_with_mean(x["s2_dn"]), 0, 10000),
        "crsys_type1_s1": scaling.TUACR.radar(radar),
        "crsys_type2_s2": scaling.TUACR.optical(optical),
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
    x = {name: value.numpy() for name, value in case.tensors("x").items()}
    radar, optical = x["s1_db"], x["s2_dn"] / np.float32(10000)
    loader = replace(scaling.SEQ2POINT_DEFAULT, signed=False)
    outputs = {}
    ranges = {"resnet": scaling.SEQ2POINT, "default": loader, "default_net": scaling.SEQ2POINT_DEFAULT}
    for name, wanted in ranges.items():
        outputs |= {f"s1_{name}": wanted.radar(radar), f"s2_{name}": wanted.optical(optical)}
    compare(case, outputs)
