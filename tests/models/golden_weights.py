"""The networks of golden cases: built from the case's configuration, with stored weights or weights by recipe."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cloud_removal_plugin import models
from cloud_removal_plugin.models.seq2point import PatchDiscriminator, PixelDiscriminator
from cloud_removal_plugin.models.window_attention import ShiftedWindows, WindowAttention
from tests.models.golden_files import Case

COMPUTED_ENTRIES = ("num_batches_tracked", "relative_position_index", "attn_mask")
CRC32 = "crc32-randomstate-v1"


def crc32_weights(shapes: Mapping[str, tuple[int, ...]], recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights by the recipe ``crc32-randomstate-v1``: each tensor follows from its own name."""
    assert recipe.get("id", CRC32) == CRC32, f"an unknown recipe: {recipe['id']}"
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
        for part, factor in recipe.get("factors", ()):
            value = value * factor if part in key else value
        weights[key] = torch.from_numpy(value.astype(np.float32).reshape(shape))
    return weights


def rs1_weights(shapes: Mapping[str, tuple[int, ...]], recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights by the recipe RS1: each tensor follows from its place among the sorted names."""

    def normal(key: str) -> np.ndarray:
        return np.random.RandomState(recipe["seed0"] + order[key]).standard_normal(size=shapes[key])

    def matrix(key: str) -> np.ndarray:
        gain = next((g for part, g in recipe.get("gain_overrides", ()) if part in key), recipe["gain"])
        return gain * normal(key) / np.sqrt(np.prod(shapes[key][1:]))

    order = {key: place for place, key in enumerate(sorted(shapes))}
    kept = tuple(recipe.get("constructor_buffers", ()))
    weights = {}
    for key, shape in shapes.items():
        if key.endswith(COMPUTED_ENTRIES) or any(part in key for part in kept):
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


def checkpoint_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes as in a checkpoint: the state dict plus entries that are only computed here.

    The latter count in the order of the recipe RS1; their shapes do not.
    """
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    for name, module in network.named_modules():
        if isinstance(module, WindowAttention):
            shapes[f"{name}.relative_position_index"] = tuple(module.relative_position_index.shape)
        if isinstance(module, ShiftedWindows) and module.shift:
            shapes[f"{name}.attn_mask"] = (1,)
    return shapes


def _by_crc32(shapes: Mapping[str, tuple[int, ...]], meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """By name; checked against the json's count, sum and samples."""
    weights = crc32_weights(shapes, meta["weights_recipe"])
    check = meta.get("weights_check", {})
    if "n_generated_tensors" in check:
        assert len(weights) == check["n_generated_tensors"]
    if "abs_sum_all" in check:
        total = sum(float(value.double().abs().sum()) for value in weights.values())
        assert total == pytest.approx(check["abs_sum_all"], rel=1e-6)
    for key, sample in check.get("samples", {}).items():
        np.testing.assert_allclose(weights[key].flatten()[:3], sample["first3"], rtol=1e-6)
    return weights


def _by_rs1(shapes: Mapping[str, tuple[int, ...]], recipe: Mapping[str, Any]) -> dict[str, Tensor]:
    """By place; checked against the json's count and first values."""
    assert len(shapes) == recipe.get("n_keys", len(shapes))
    weights = rs1_weights(shapes, recipe)
    for key, check in recipe.get("check", {}).items():
        np.testing.assert_allclose(weights[key].flatten()[: len(check["first"])], check["first"], rtol=1e-6)
    return weights


def load_weights(network: nn.Module, case: Case) -> None:
    """Fills a network from the case's file or by its recipe; nothing may be missing but what is computed anyway."""
    meta, weights = case.meta, case.tensors("w")
    if not weights and "weights_from" in meta:
        load_weights(network, case.sibling(meta["weights_from"]))
        return
    if not weights and "recipe" in meta:
        weights = _by_rs1(checkpoint_shapes(network), meta["recipe"])
    elif not weights:
        weights = _by_crc32(checkpoint_shapes(network), meta)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected, unexpected
    assert all(key.endswith(COMPUTED_ENTRIES) for key in missing), missing


def dtype_of(case: Case) -> torch.dtype:
    """In what the case was computed: that of most of its weights, else of its inputs, else what the json says."""
    for prefix in ("w", "x"):
        floating = [value for value in case.tensors(prefix).values() if value.is_floating_point()]
        if floating:
            # Days may be more precise than images.
            return max(floating, key=Tensor.numel).dtype
    return getattr(torch, str(case.meta.get("dtype", "float32")))


def network_of(name: str, case: Case, config: Mapping[str, Any]) -> nn.Module:
    """The network ``name`` as the case describes it: weights, dtype, and training mode if the json says so."""
    network = models.create(name, **config).to(dtype_of(case))
    load_weights(network, case)
    return network.train(str(case.meta.get("mode", "eval")).startswith("train"))


def part_of(stored: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Entries below ``part`` + '.', without it."""
    return {key[len(part) + 1 :]: value for key, value in stored.items() if key.startswith(part + ".")}


def discriminator_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """The discriminator that weights belong to: kind, width, depth and norm follow from them."""
    kernels = [value for key, value in weights.items() if key.endswith("weight") and value.dim() == 4]
    norm = "batch" if any(key.endswith("running_mean") for key in weights) else "instance"
    width, channels = kernels[0].shape[:2]
    if next(iter(weights)).startswith("net."):
        network: nn.Module = PixelDiscriminator(channels, width, norm)
    else:
        network = PatchDiscriminator(channels, width, len(kernels) - 2, norm)
    network.load_state_dict(weights)
    return network
