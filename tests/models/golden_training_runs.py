"""How the golden cases of losses, training steps, loaders and date choices are run."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cloud_removal_plugin.datasets.collate import pad_series
from cloud_removal_plugin.datasets.sampling import choose_dates
from cloud_removal_plugin.models.seq2point import Seq2Point, image
from cloud_removal_plugin.training import adversarial, losses, perceptual, structure_losses
from cloud_removal_plugin.training.optimisers import create_optimiser
from cloud_removal_plugin.training.series_losses import NAMES, series_losses
from tests.models.golden_files import Case, compare, data_folders, mostly_close, only_known
from tests.models.golden_inputs import numbers
from tests.models.golden_series_runs import clearvision_mask_network, positions_in, utilise_network
from tests.models.golden_weights import discriminator_of, load_weights, part_of


def run_uncrtaints_loss(case: Case) -> None:
    x = {name: value.requires_grad_(name != "target") for name, value in case.tensors("x").items()}
    prediction, target, variance = x["pred"], x["target"], x.get("var")
    how = {"reduction": case.meta.get("reduction", "mean")}
    outputs = {}
    kind = case.meta["loss"].lower()
    if kind in ("gnll", "mgnll"):
        how["least"] = case.meta.get("eps_clamp", losses.LEAST_VARIANCE)
        function = losses.gaussian_nll if kind == "gnll" else losses.multivariate_nll
        loss = function(prediction, target, variance, **how)
        spread = losses.covariance(variance, prediction.shape[2], how["least"])
        outputs["variance_out"] = spread if kind == "mgnll" else losses.at_least(variance, how["least"])
    else:
        loss = {"l1": losses.l1, "l2": losses.l2}[kind](prediction, target, **how)
    loss.sum().backward()
    outputs |= {"loss": loss, "grad_pred": prediction.grad}
    if variance is not None:
        outputs["grad_var"] = torch.zeros_like(variance) if variance.grad is None else variance.grad
    compare(case, outputs)


def run_tuacr_losses(case: Case) -> None:
    x, expected = case.tensors("x"), case.tensors("y")
    functions = {
        "charbonnier": losses.charbonnier,
        "tv": lambda prediction, target: losses.total_variation(prediction),
        "edge": structure_losses.edge,
        "ms_ssim_l1": structure_losses.multiscale_ssim_l1,
    }
    outputs = {}
    for name, function in functions.items():
        if not {name, f"grad_{name}"} & expected.keys():
            continue
        prediction = x["pred"].clone().requires_grad_()
        outputs[name] = function(prediction, x["target"])
        (outputs[f"grad_{name}"],) = torch.autograd.grad(outputs[name], prediction)
    compare(case, outputs)


def _loss_weights(config: Mapping[str, Any]) -> dict[str, float]:
    """Wanted losses (true, or a weight) and their weights (``<name>_w``, 1 unless said)."""
    only_known((name for name, wanted in config.items() if wanted), (*NAMES, *(f"{n}_w" for n in NAMES)), "the loss")
    return {name: float(config.get(f"{name}_w", config[name])) for name in NAMES if config.get(name)}


def run_series_losses(case: Case) -> None:
    x = case.tensors("x")
    weights = _loss_weights(case.meta["config"])
    prediction = x["pred"].requires_grad_()
    found = series_losses(prediction, x["y"], x["masks_valid_obs"], weights, x.get("masks"), x.get("cloud_mask"))
    for name in [key for key in case.tensors("y") if key.startswith("grad_")]:
        of = name.removeprefix("grad_")
        (found[name],) = torch.autograd.grad(found[of if of in found else "total_loss"], prediction, retain_graph=True)
    compare(case, found)


def run_perceptual(case: Case) -> None:
    x, expected = case.tensors("x"), case.tensors("y")
    network = perceptual.VGG16Encoder(x["fake"].shape[1])
    load_weights(network, case)
    outputs = {}
    with torch.inference_mode():
        for name in perceptual.FEATURE_SETS:
            if f"{name}_resnet" in expected:
                outputs[f"{name}_resnet"] = perceptual.perceptual(network, x["fake"], x["real"], name)
            if f"{name}_default" in expected:
                fake, real = x["fake"] / 2.5 - 1, x["real"] / 2.5 - 1
                outputs[f"{name}_default"] = perceptual.perceptual(network, fake, real, name, signed=True)
    compare(case, outputs)


def run_nadam(case: Case) -> None:
    x, what = case.tensors("x"), case.says("what", "note")
    parameter = nn.Parameter(x["p0"].clone())
    (rate,), (epsilon,), (decay,) = (numbers(rf"{key}\s*=?\s*#", what) for key in ("lr", "eps", "schedule_decay"))
    betas = tuple(numbers(r"betas\s*=?\s*#\s*/\s*#", what))
    optimiser = create_optimiser("keras_nadam", [parameter], rate, betas=betas, eps=epsilon, momentum_decay=decay)
    trajectory = []
    for gradient in x["grads"]:
        parameter.grad = gradient.clone()
        optimiser.step()
        trajectory.append(parameter.detach().clone())
    compare(case, {"trajectory": torch.stack(trajectory)})


def run_clearvision_step(case: Case) -> None:
    network = clearvision_mask_network(case).train()
    x = case.tensors("x")
    loss = nn.functional.cross_entropy(network(x["x"])[1], x["gt"].long())
    loss.backward()
    outputs: dict[str, Tensor] = {"loss": loss}
    outputs |= {f"grad.{name}": parameter.grad for name, parameter in network.named_parameters()}
    outputs |= {f"bn.{name}": value for name, value in network.named_buffers()}
    compare(case, outputs)


def _optimiser(wanted: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """What a json's ``optimizer`` names, with every option."""
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in wanted.items()}
    return create_optimiser(str(options.pop("name", "adam")).lower(), parameters, options.pop("lr"), **options)


def run_utilise_steps(case: Case) -> None:
    meta, x, expected = case.meta, case.tensors("x"), case.tensors("y")
    network = utilise_network(case).train()
    optimiser = _optimiser(meta["optimizer"], network.parameters())
    weights = _loss_weights(meta["loss"])
    outputs: dict[str, Tensor] = {}
    values = []
    for step in range(len(expected["loss"])):
        prediction = network(x["x"], positions_in(x))
        found = series_losses(prediction, x["y"], x["masks_valid_obs"], weights, x.get("masks"), x.get("cloud_mask"))
        values.append(found["total_loss"].detach())
        optimiser.zero_grad()
        found["total_loss"].backward()
        outputs |= {f"grad{step}.{name}": p.grad.clone() for name, p in network.named_parameters()}
        optimiser.step()
        outputs |= {f"w_after{step + 1}.{k}": v.clone() for k, v in network.state_dict().items()}
    outputs["loss"] = torch.stack(values)
    compare(case, outputs)


def _gan_mode(case: Case) -> str:
    said = f"{case.meta['config'].get('gan_mode', '')} {case.says('model', 'note')}"
    return next((mode for mode in adversarial.GAN_MODES if mode in said), "lsgan")


STEP_SETTINGS = (
    "resnet_F", "resnet_B", "n_input_samples", "include_S1", "output_nc", "lambda_L1", "lambda_GAN", "lr", "betas",
    "unfreeze_iter", "pretrained_initial", "gan_mode", "ndf", "norm",
)  # fmt: skip
LOADER_SETTINGS = (
    "split", "load_size", "crop", "crop_size", "crop_position", "upsar", "uplc", "level",
)  # fmt: skip


DATE_SETTINGS = (
    "coverage", "n_input_samples", "min_cov", "max_cov", "inputs", "target", "coverage_bin", "target_in_inputs",
)  # fmt: skip


def _step_of(case: Case, generator: nn.Module, judge: nn.Module | None) -> adversarial.AdversarialStep:
    config = case.meta["config"]
    rate = {"lr": config["lr"], "betas": tuple(config["betas"])}
    # Only a body that was loaded from a file is frozen at first.
    frozen_until = config.get("unfreeze_iter", 0) if config.get("pretrained_initial", True) else 0
    return adversarial.AdversarialStep(
        generator.train(),
        create_optimiser("adam", generator.parameters(), **rate),
        image,
        judge,
        create_optimiser("adam", judge.parameters(), **rate) if judge else None,
        lambda_l1=config["lambda_L1"],
        lambda_gan=config["lambda_GAN"],
        gan_mode=_gan_mode(case),
        unfreeze_at=frozen_until,
    )


def _judge_of(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> nn.Module:
    """The discriminator of a training case; what its configuration says of it follows from the weights."""
    width = next(value for value in weights.values() if value.dim() == 4).shape[0]
    norm = "batch" if any(key.endswith("running_mean") for key in weights) else "instance"
    assert (config.get("ndf", width), config.get("norm", norm)) == (width, norm)
    return discriminator_of(weights)


def _led_by_noise(judge: nn.Module) -> set[str]:
    """Biases that an instance norm takes away again: their gradient is rounding, which Adam makes whole steps of."""
    layers = [(name, layer) for name, layer in judge.named_modules() if not list(layer.children())]
    normed = (name for (name, _), (_, after) in pairwise(layers) if isinstance(after, nn.InstanceNorm2d))
    return {f"D_after.{name}.bias" for name in normed}


def run_seq2point_steps(case: Case) -> None:
    meta, stored, x = case.meta, case.tensors("w"), case.tensors("x")
    config, expected = meta["config"], case.tensors("y")
    only_known(config, STEP_SETTINGS, "the configuration")
    shape = {
        key: config[key]
        for key in ("resnet_F", "resnet_B", "n_input_samples", "include_S1", "output_nc")
        if key in config
    }
    generator = Seq2Point(**shape)
    generator.load_state_dict(part_of(stored, "G"))
    judge = _judge_of(config, part_of(stored, "D")) if config["lambda_GAN"] else None
    step = _step_of(case, generator, judge)
    steps = [int(found[1]) for name in x if (found := re.fullmatch(r"step(\d+)_target", name))]
    rows = []
    for number in sorted(steps):
        frames = [x[f"step{number}_t{date}"] for date in range(config["n_input_samples"])]
        rows.append(step(frames, x[f"step{number}_target"]))
    got = torch.tensor([[row[name] for name in meta["losses_columns"]] for row in rows])
    allowed = meta["tolerance"]
    torch.testing.assert_close(got, expected["losses"], rtol=allowed["loss_rtol"], atol=1e-6)
    after = {f"G_after.{k}": v for k, v in generator.state_dict().items()}
    after |= {f"D_after.{k}": v for k, v in judge.state_dict().items()} if judge else {}
    assert after.keys() >= expected.keys() - {"losses"}
    for name in expected.keys() - {"losses"}:
        farthest, share = max(3, len(steps)) * config["lr"], 0.005
        if judge and name in _led_by_noise(judge):
            farthest, share = 2 * farthest, 1.0
        mostly_close(name, after[name], expected[name], allowed["weight_atol"], share, farthest)


def _m3rcr_sample(name: str, split: str, **how: Any) -> dict[str, Any]:
    """The sample of the file ``name``, from whichever folder of M3R-CR holds it."""
    from cloud_removal_plugin.datasets.m3rcr import M3RCR

    for root in (folder / "m3rcr" for folder in data_folders()):
        if (root / split).is_dir():
            dataset = M3RCR(root, split=split, **how)
            if found := next((s for s in (dataset[i] for i in range(len(dataset))) if s["file_name"] == name), None):
                return found
    pytest.skip(f"the M3R-CR sample {name} is not there")


def run_m3rcr_loader(case: Case) -> None:
    config = case.meta["config"]
    only_known(config, LOADER_SETTINGS, "the configuration")
    assert config.get("load_size", 300) == 300, "the samples of M3R-CR are 300 pixels wide"
    sample = _m3rcr_sample(
        case.meta["file_name"],
        config["split"],
        crop=config.get("crop", config.get("crop_size", 160)),
        crop_position=config.get("crop_position", "centre"),
        upsample_radar=config.get("upsar", True),
        upsample_landcover=config.get("uplc", True),
        level=str(config.get("level", "1")),
    )
    outputs = {}
    for name, expected in case.tensors("y").items():
        if name.endswith("_sum"):
            outputs[name] = sample[name.removesuffix("_sum")].double().sum(dim=(-2, -1)).reshape(expected.shape)
        else:
            outputs[name] = sample[name]
    compare(case, outputs)


def run_date_choices(case: Case) -> None:
    from cloud_removal_plugin.datasets.names import days_since_launch

    if example := case.meta.get("dates_example"):
        assert days_since_launch(datetime.date.fromisoformat(example["file_date"])) == example["days_since_2014_04_03"]
    assert case.meta["cases"]
    for wanted in case.meta["cases"]:
        only_known(wanted, DATE_SETTINGS, "a choice of dates")
        limits = wanted.get("min_cov", 0.0), wanted.get("max_cov", 1.0)
        got = choose_dates(wanted["coverage"], wanted["n_input_samples"], *limits)
        assert (list(got.inputs), got.target) == (wanted["inputs"], wanted["target"])
        assert got.in_range == wanted["coverage_bin"]
        assert (got.target in got.inputs) == wanted.get("target_in_inputs", wanted["target"] in wanted["inputs"])


def run_collate(case: Case) -> None:
    def sample(entry: dict) -> dict:
        return {key: torch.tensor(value) if isinstance(value, list) else value for key, value in entry.items()}

    batch = pad_series([sample(entry) for entry in case.meta["inputs"]], case.meta.get("pad_value", 0.0))
    expected = case.meta["output"]
    assert batch.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(np.asarray(batch[key]), np.asarray(value))
