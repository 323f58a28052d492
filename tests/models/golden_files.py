"""Golden cases on disk: finding them, their weights (stored or by recipe), their inputs, and the comparison."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
COMPUTED_ENTRIES = ("num_batches_tracked", "relative_position_index", "attn_mask")


def golden_folders() -> list[Path]:
    """The folders named by CLOUD_REMOVAL_GOLDENS (separated by ':'), or the shared one; only those that exist."""
    named = os.environ.get("CLOUD_REMOVAL_GOLDENS", str(ROOT.parent / "shared/reference/goldens"))
    return [folder for folder in (Path(part) for part in named.split(":") if part) if folder.is_dir()]


def data_folder() -> Path:
    """Where the real patches lie."""
    return Path(os.environ.get("CLOUD_REMOVAL_DATA", str(ROOT.parent / "shared/data")))


@dataclass(frozen=True)
class Case:
    """One golden case: its json and, where there is one, its tensors."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def meta(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with ``prefix`` + '.', without it."""
        file = self.path.with_suffix(".safetensors")
        if not file.exists():
            return {}
        return {k[len(prefix) + 1 :]: v for k, v in load_file(file).items() if k.startswith(prefix + ".")}

    def sibling(self, name: str) -> Case:
        """Another case of the same folder."""
        return Case(self.path.with_name(name + ".json"))


def all_cases() -> list[Case]:
    """Every case of every folder, by name."""
    return [Case(path) for folder in golden_folders() for path in sorted(folder.glob("*.json"))]


def crc32_weights(shapes: Mapping[str, tuple[int, ...]], recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights by the recipe ``crc32-randomstate-v1``: each tensor follows from its own name."""
    weights = {}
    for key, shape in shapes.items():
        if key.endswith(COMPUTED_ENTRIES):
            continue
        seed = zlib.crc32((recipe["salt"] + key).encode())
        u = 2 * np.random.RandomState(seed).random_sample(int(np.prod(shape))) - 1
        last = key.rsplit(".", 1)[-1]
        simple = {
            "running_mean": lambda u: 0.1 * u,
            "running_var": lambda u: 1 + 0.5 * u,
            "relative_position_bias_table": lambda u: 0.2 * u,
            "Q": lambda u: np.sqrt(3) * u,
            "bias": lambda u: 0.05 * u,
        }
        if last in simple:
            value = simple[last](u)
        elif len(shape) == 1:
            value = 1 + 0.2 * u
        else:
            value = u * recipe["gain"] * np.sqrt(3 / np.prod(shape[1:]))
        for part, factor in recipe["factors"]:
            value = value * factor if part in key else value
        weights[key] = torch.from_numpy(value.astype(np.float32).reshape(shape))
    return weights


def rs1_weights(shapes: Mapping[str, tuple[int, ...]], recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights by the recipe RS1: each tensor follows from its place among the sorted names."""

    def normal(key: str) -> np.ndarray:
        return np.random.RandomState(recipe["seed0"] + order[key]).standard_normal(size=shapes[key])

    def matrix(key: str) -> np.ndarray:
        gain = next((g for part, g in recipe["gain_overrides"] if part in key), recipe["gain"])
        return gain * normal(key) / np.sqrt(np.prod(shapes[key][1:]))

    order = {key: place for place, key in enumerate(sorted(shapes))}
    weights = {}
    for key, shape in shapes.items():
        if key.endswith(COMPUTED_ENTRIES) or any(part in key for part in recipe["constructor_buffers"]):
            continue
        if key.endswith("running_mean"):
            value = 0.1 * normal(key)
        elif key.endswith("running_var"):
            value = 1 + 0.1 * np.abs(normal(key))
        elif key.endswith("weight_g"):
            direction = matrix(key[:-1] + "v")
            norm = np.sqrt((direction**2).sum(axis=tuple(range(1, direction.ndim)), keepdims=True))
            value = norm * (1 + 0.1 * normal(key))
        elif len(shape) >= 2:
            value = matrix(key)
        else:
            value = 1 + 0.1 * normal(key) if key.endswith("weight") else 0.05 * normal(key)
        weights[key] = torch.from_numpy(value.astype(np.float32).reshape(shape))
    return weights


def checkpoint_shapes(network: nn.Module, extra: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes as in a checkpoint: the state dict plus entries that are only computed here."""
    return {**{key: tuple(value.shape) for key, value in network.state_dict().items()}, **extra}


def load_weights(network: nn.Module, case: Case, extra: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Fills a network from the case's file or by its recipe; strict, and checked against the json's sums."""
    meta = case.meta
    stored = case.tensors("w")
    if stored:
        network.load_state_dict(stored)
        return
    if "recipe" in meta:
        shapes = checkpoint_shapes(network, extra or {})
        assert len(shapes) == meta["recipe"]["n_keys"]
        weights = rs1_weights(shapes, meta["recipe"])
        for key, check in meta["recipe"]["check"].items():
            np.testing.assert_allclose(weights[key].flatten()[: len(check["first"])], check["first"], rtol=1e-6)
    else:
        weights = crc32_weights(checkpoint_shapes(network, {}), meta["weights_recipe"])
        assert len(weights) == meta["weights_check"]["n_generated_tensors"]
        total = sum(float(value.double().abs().sum()) for value in weights.values())
        assert total == pytest.approx(meta["weights_check"]["abs_sum_all"], rel=1e-6)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.endswith(COMPUTED_ENTRIES) for key in missing), missing


@lru_cache(maxsize=8)
def _patch(kind: str, sample: str) -> np.ndarray:
    rasterio = pytest.importorskip("rasterio")
    file = data_folder() / "sen12mscr" / kind / sample
    if not file.exists():
        pytest.skip(f"the real patch {sample} is not there")
    with rasterio.open(file) as source:
        return source.read().astype(np.float32)


def real_patch(kind: str, sample: str, window: list[int]) -> np.ndarray:
    """float32 (bands, H, W) of ``kind`` (s1, s2_cloudy, s2_cloudfree): dB, or reflectance."""
    row, col, height, width = window
    values = _patch(kind, sample)[:, row : row + height, col : col + width]
    return values if kind == "s1" else values / np.float32(10000)


def _tolerance(meta: Mapping[str, Any], name: str) -> tuple[float, float]:
    tolerance = meta["tolerance"]
    if "rtol" in tolerance:
        return tolerance["rtol"], tolerance["atol"]
    match = next((t for pattern, t in tolerance.items() if fnmatch.fnmatch(name, pattern)), None)
    if match is None:
        match = next((t for key, t in tolerance.items() if name.startswith(key)), None)
    assert match is not None, f"no tolerance for {name}"
    return match.get("rtol", 0.0), match["atol"]


def _pick(case: Case, outputs: Mapping[str, Any], name: str, shape: torch.Size) -> Tensor:
    """An output, sub-sampled where the golden is (``name_sub``)."""
    if name in outputs or not name.endswith("_sub"):
        return torch.as_tensor(outputs[name])
    full = torch.as_tensor(outputs[name[: -len("_sub")]])
    named = re.search(r"_sub(\d+)", case.name)
    step = int(named[1]) if named else case.meta.get("sub_sampling", -(-full.shape[-1] // shape[-1]))
    return full[..., ::step, ::step]


def compare(case: Case, outputs: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> None:
    """Every ``y.`` tensor of the case must be among ``outputs`` and within the case's tolerance."""
    meta = case.meta
    for name, expected in case.tensors("y").items():
        if name in ignore:
            continue
        rtol, atol = _tolerance(meta, name)
        got = _pick(case, outputs, name, expected.shape).detach()
        assert got.numel() == expected.numel(), f"{name}: {tuple(got.shape)} instead of {tuple(expected.shape)}"
        torch.testing.assert_close(
            got.reshape(expected.shape).to(expected.dtype),
            expected,
            rtol=rtol,
            atol=atol,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def compare_gradients(case: Case, network: nn.Module, tolerance_of: Case | None = None) -> None:
    """Every ``g.`` tensor of the case against the gradients that the network holds.

    A gradient that is zero in exact arithmetic (what shifts all dates alike before a softmax over dates) holds nothing
    but rounding; it may be off by a few of float32's roundings of the largest gradient of the network.
    """
    meta = (tolerance_of or case).meta
    rtol = meta["tolerance"]["grad_rtol"]
    slack = meta["tolerance"]["grad_atol_rel_to_max_abs_grad_of_tensor"]
    parameters = dict(network.named_parameters())
    expected = case.tensors("g")
    assert expected
    rounding = 16 * torch.finfo(torch.float32).eps * max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        if name in meta.get("grad_ignore", ()):
            continue
        grad = parameters[name].grad
        grad = torch.zeros_like(value) if grad is None else grad
        torch.testing.assert_close(
            grad,
            value,
            rtol=rtol,
            atol=max(slack * float(value.abs().max()), rounding),
            msg=lambda text, name=name: f"gradient of {name}: {text}",
        )
