"""How the golden cases of losses, training steps, loaders and date choices are run."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cloud_removal_plugin import models
from cloud_removal_plugin.datasets.collate import pad_series
from cloud_removal_plugin.datasets.sampling import choose_dates
from cloud_removal_plugin.models.seq2point import PatchDiscriminator, Seq2Point, image
from cloud_removal_plugin.training import adversarial, losses, perceptual, structure_losses
from cloud_removal_plugin.training.optimisers import create_optimiser
from cloud_removal_plugin.training.series_losses import NAMES, series_losses
from tests.models.golden_files import Case, compare, crc32_weights, data_folder
from tests.models.golden_series_runs import utilise_defaults


def run_uncrtaints_loss(case: Case) -> None:
    x = {name: value.requires_grad_(name != "target") for name, value in case.tensors("x").items()}
    prediction, target, variance = x["pred"], x["target"], x.get("var")
    outputs = {}
    if case.meta["loss"] == "GNLL":
        loss = losses.gaussian_nll(prediction, target, variance)
        outputs["variance_out"] = variance
    elif case.meta["loss"] == "MGNLL":
        loss = losses.multivariate_nll(prediction, target, variance)
        outputs["variance_out"] = losses.covariance(variance, prediction.shape[2])
    else:
        loss = {"l1": losses.l1, "l2": losses.l2}[case.meta["loss"]](prediction, target)
    loss.backward()
    outputs |= {"loss": loss, "grad_pred": prediction.grad}
    if variance is not None:
        outputs["grad_var"] = variance.grad
    compare(case, outputs)


def run_tuacr_losses(case: Case) -> None:
    x = case.tensors("x")
    functions = {
        "charbonnier": losses.charbonnier,
        "tv": lambda prediction, target: losses.total_variation(prediction),
        "edge": structure_losses.edge,
        "ms_ssim_l1": structure_losses.multiscale_ssim_l1,
    }
    outputs = {}
    for name, function in functions.items():
        prediction = x["pred"].clone().requires_grad_()
        outputs[name] = function(prediction, x["target"])
        (outputs[f"grad_{name}"],) = torch.autograd.grad(outputs[name], prediction)
    compare(case, outputs)


def run_series_losses(case: Case) -> None:
    x, config = case.tensors("x"), case.meta["config"]
    weights = {name: config[f"{name}_w"] for name in NAMES if config.get(name)}
    found = series_losses(x["pred"], x["y"], x["masks_valid_obs"], weights, x["masks"], x["cloud_mask"])
    compare(case, found)


def run_perceptual(case: Case) -> None:
    meta, x = case.meta, case.tensors("x")
    network = perceptual.VGG16Encoder()
    shapes = {key: tuple(shape) for key, shape in meta["shapes"].items()}
    network.load_state_dict(crc32_weights(shapes, meta["weights_recipe"]))
    outputs = {}
    with torch.inference_mode():
        for name in perceptual.FEATURE_SETS:
            outputs[f"{name}_resnet"] = perceptual.perceptual(network, x["fake"], x["real"], name)
            fake, real = x["fake"] / 2.5 - 1, x["real"] / 2.5 - 1
            outputs[f"{name}_default"] = perceptual.perceptual(network, fake, real, name, signed=True)
    compare(case, outputs)


def run_nadam(case: Case) -> None:
    x = case.tensors("x")
    parameter = nn.Parameter(x["p0"].clone())
    optimiser = create_optimiser("keras_nadam", [parameter], lr=0.07)
    trajectory = []
    for gradient in x["grads"]:
        parameter.grad = gradient.clone()
        optimiser.step()
        trajectory.append(parameter.detach().clone())
    compare(case, {"trajectory": torch.stack(trajectory)})


def run_clearvision_step(case: Case) -> None:
    config = dict(case.meta["config"])
    divisor = config.pop("width_divisor")
    network = models.create("clearvision_mask", **config, widths=[w // divisor for w in (64, 128, 256, 512, 1024)])
    network.load_state_dict(case.tensors("w"))
    network.train()
    x = case.tensors("x")
    loss = nn.functional.cross_entropy(network(x["x"])[1], x["gt"].long())
    loss.backward()
    outputs: dict[str, Tensor] = {"loss": loss}
    outputs |= {f"grad.{name}": parameter.grad for name, parameter in network.named_parameters()}
    outputs |= {f"bn.{name}": value for name, value in network.named_buffers()}
    compare(case, outputs)


def _mostly_close(name: str, got: Tensor, expected: Tensor, atol: float, share: float, outside: float) -> None:
    """Adam flips the sign of steps whose gradient is noise: a share of entries may be off by ``outside``."""
    distance = (got.double() - expected.double()).abs()
    assert float(distance.max()) <= outside, f"{name}: off by {float(distance.max()):.3g}"
    assert int((distance > atol).sum()) <= max(1, share * distance.numel()), f"{name}: too many entries are off"


def run_utilise_steps(case: Case) -> None:
    meta, x = case.meta, case.tensors("x")
    network = models.create("utilise_earthnet2021", **{**utilise_defaults(), **meta["config"]})
    network.load_state_dict(case.tensors("w"))
    network.train()
    wanted = meta["optimizer"]
    optimiser = create_optimiser("adam", network.parameters(), lr=wanted["lr"], betas=tuple(wanted["betas"]))
    outputs: dict[str, Tensor] = {}
    values = []
    for step in range(2):
        prediction = network(x["x"], x["position_days"])
        weights = {"l1_loss": 1.0}
        loss = series_losses(prediction, x["y"], x["masks_valid_obs"], weights)["total_loss"]
        values.append(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            outputs |= {f"grad0.{name}": p.grad.clone() for name, p in network.named_parameters()}
        optimiser.step()
    outputs["loss"] = torch.stack(values)
    expected = case.tensors("y")
    moved = tuple(name for name in expected if name.startswith("w_after2."))
    compare(case, outputs, ignore=moved)
    allowed = meta["tolerance"]["w_after2.*"]
    for name in moved:
        got = network.state_dict()[name.removeprefix("w_after2.")]
        share, outside = allowed["allow_fraction_outside"], allowed["outside_atol"]
        _mostly_close(name, got, expected[name], allowed["atol"], share, outside)


def _part(stored: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key[len(part) + 1 :]: value for key, value in stored.items() if key.startswith(part + ".")}


def run_seq2point_steps(case: Case) -> None:
    meta, stored, x = case.meta, case.tensors("w"), case.tensors("x")
    config = meta["config"]
    generator = Seq2Point(config["resnet_F"], config["resnet_B"], config["n_input_samples"], config["include_S1"])
    generator.load_state_dict(_part(stored, "G"))
    rate = {"lr": config["lr"], "betas": tuple(config["betas"])}
    judge = None
    if config["lambda_GAN"]:
        first = _part(stored, "D")["model.0.weight"]
        judge = PatchDiscriminator(first.shape[1], first.shape[0])
        judge.load_state_dict(_part(stored, "D"))
    step = adversarial.AdversarialStep(
        generator.train(),
        create_optimiser("adam", generator.parameters(), **rate),
        image,
        judge,
        create_optimiser("adam", judge.parameters(), **rate) if judge else None,
        lambda_l1=config["lambda_L1"],
        lambda_gan=config["lambda_GAN"],
        unfreeze_at=config["unfreeze_iter"],
    )
    rows = []
    for number in (1, 2, 3):
        frames = [x[f"step{number}_t{date}"] for date in range(config["n_input_samples"])]
        rows.append(step(frames, x[f"step{number}_target"]))
    got = torch.tensor([[row[name] for name in meta["losses_columns"]] for row in rows])
    expected = case.tensors("y")
    allowed = meta["tolerance"]
    torch.testing.assert_close(got, expected["losses"], rtol=allowed["loss_rtol"], atol=1e-6)
    after = {f"G_after.{k}": v for k, v in generator.state_dict().items()}
    after |= {f"D_after.{k}": v for k, v in judge.state_dict().items()} if judge else {}
    assert after.keys() == expected.keys() - {"losses"}
    for name, value in after.items():
        _mostly_close(name, value, expected[name], allowed["weight_atol"], 0.005, 3 * config["lr"])


def run_m3rcr_loader(case: Case) -> None:
    from cloud_removal_plugin.datasets.m3rcr import M3RCR

    config, root = case.meta["config"], data_folder() / "m3rcr"
    if not root.is_dir():
        pytest.skip("the M3R-CR sample is not there")
    assert config["load_size"] == 300
    dataset = M3RCR(
        root,
        split=config["split"],
        crop=config["crop"],
        crop_position=config["crop_position"],
        upsample_radar=config.get("upsar", True),
        upsample_landcover=config.get("uplc", True),
        level=config.get("level", "1"),
    )
    sample = next(s for s in (dataset[i] for i in range(len(dataset))) if s["file_name"] == case.meta["file_name"])
    outputs = {}
    for name, expected in case.tensors("y").items():
        if name.endswith("_sum"):
            outputs[name] = sample[name.removesuffix("_sum")].double().sum(dim=(-2, -1)).reshape(expected.shape)
        else:
            step = -(-sample[name].shape[-1] // expected.shape[-1])
            outputs[name] = sample[name][..., ::step, ::step]
    compare(case, outputs)


def run_date_choices(case: Case) -> None:
    from cloud_removal_plugin.datasets.names import days_since_launch

    example = case.meta["dates_example"]
    assert days_since_launch(datetime.date.fromisoformat(example["file_date"])) == example["days_since_2014_04_03"]
    assert case.meta["cases"]
    for wanted in case.meta["cases"]:
        got = choose_dates(wanted["coverage"], wanted["n_input_samples"], wanted["min_cov"], wanted["max_cov"])
        assert (list(got.inputs), got.target) == (wanted["inputs"], wanted["target"])
        assert got.in_range == wanted["coverage_bin"]
        assert (got.target in got.inputs) == wanted["target_in_inputs"]


def run_collate(case: Case) -> None:
    def sample(entry: dict) -> dict:
        return {key: torch.tensor(value) if isinstance(value, list) else value for key, value in entry.items()}

    batch = pad_series([sample(entry) for entry in case.meta["inputs"]], case.meta.get("pad_value", 0.0))
    expected = case.meta["output"]
    assert batch.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(np.asarray(batch[key]), np.asarray(value))
