"""Small networks with random weights in a weights folder, and scenes that suit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from cloud_removal_plugin import models
from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.observation import Observation
from cloud_removal_plugin.weights.folder import publish
from cloud_removal_plugin.weights.stored import text_of

SMALL: dict[str, dict[str, Any]] = {
    "dsen2cr": {"num_layers": 16, "feature_size": 4},
    "dsen2cr_nosar": {"num_layers": 16, "feature_size": 4},
    "glfcr": {"G0": 8, "G": 4, "C": 2, "D": 3, "num_heads": 2, "fac_kernel": 3},
    "uncrtaints_mono": {"encoder_widths": (8,), "decoder_widths": (8,) * 5},
    "uncrtaints": {"encoder_widths": (8,), "decoder_widths": (8,), "n_head": 4, "d_model": 16},
    "utilise_earthnet2021": {"encoder_widths": (4, 4, 4, 8), "decoder_widths": (4, 4, 4, 8)},
    "utilise_sen12mscrts": {"encoder_widths": (4, 4, 4, 4, 8), "decoder_widths": (4, 4, 4, 4, 8)},
    "utilise_sen12mscrts_s1": {"encoder_widths": (4, 4, 4, 4, 8), "decoder_widths": (4, 4, 4, 4, 8)},
    "clearvision_removal": {"widths": (4, 8, 8, 8), "n_head": 2, "d_k": 4},
    "aligncr": {
        "G0": 8,
        "G": 4,
        "C": 2,
        "D": 2,
        "upnet_hidden": 8,
        "n_shallow_blocks": 1,
        "num_heads": 2,
        "deformable_groups": 2,
        "ks_2d": 3,
    },
    "seq2point": {"resnet_F": 4, "resnet_B": 16},
    "seq2point_nosar": {"resnet_F": 4, "resnet_B": 16},
    "seq2point_pairwise": {"resnet_F": 2, "resnet_B": 16},
    "baseline_resnet": {"resnet_F": 4, "resnet_B": 16},
}
"""Narrow, and shallower where window attention takes the time."""


def small(name: str) -> torch.nn.Module:
    """A narrow network with random weights that keep the size of signals through the depth."""
    torch.manual_seed(5)
    network = models.create(name, **SMALL[name])
    if hasattr(network, "DF"):
        return network  # filters made by filters: signals would grow without bound
    with torch.no_grad():
        for key, value in network.named_parameters():
            if value.dim() > 1 and not key.endswith("weight_g"):
                torch.nn.init.normal_(value, std=(2 / value[0].numel()) ** 0.5)
            elif key.endswith("bias"):
                torch.nn.init.normal_(value, std=0.05)
    return network


def store(name: str, folder: Path, network: torch.nn.Module | None = None, **config: Any) -> torch.nn.Module:
    """Puts a small network into a weights folder; returns it."""
    network = network or small(name)
    facts = text_of(name, {**dict(models.record(name).config), **SMALL[name], **config}, "model.pth", "ab" * 32)
    publish(name, folder, lambda path: save_file(network.state_dict(), str(path), metadata=facts))
    return network


def land(shape: tuple[int, int], bands: int, seed: int) -> np.ndarray:
    """Smooth reflectance with fine detail, float32 (bands, H, W)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(rows * f + p) * np.cos(cols * g + q) for f, g, p, q in rng.uniform(0.02, 0.3, (5, 4))]
    mix = rng.uniform(-1, 1, (bands, 5))
    base = 0.1 + 0.25 * np.arange(bands)[:, None, None] / bands
    return (base + 0.02 * np.tensordot(mix, np.array(waves), 1) + 0.005 * rng.standard_normal((bands, *shape))).astype(
        np.float32
    )


def scene(
    shape: tuple[int, int] = (150, 170), dates: int = 6, pixel_m: float = 10.0, everywhere: bool = False
) -> Observation:
    """Dates of one place with clouds, and two radar acquisitions; 13 bands."""
    truth = land(shape, 13, 1)
    rng = np.random.default_rng(2)
    optical = np.stack([truth + 0.004 * date * land(shape, 13, 7) for date in range(dates)]).astype(np.float32)
    cloud = np.zeros((dates, *shape), np.float32)
    height, width = shape
    cloud[0, height // 4 : height // 2, width // 5 : 3 * width // 5] = 1
    if everywhere:
        cloud[0] = 1
    if dates > 2:
        cloud[2, : height // 3] = 1
    bright = 0.55 + 0.1 * land(shape, 13, 3)
    optical = np.where(cloud[:, None] > 0, bright, optical).astype(np.float32)
    radar = (-14 + 3 * rng.standard_normal((2, 2, *shape))).astype(np.float32)
    days = np.array([0.0, -12.0, -5.0, 6.0, 15.0, 30.0, -25.0])[:dates]
    return Observation(optical, cloud, days, SENTINEL2_L1C, radar, np.array([-2.0, 7.0]), pixel_m)
