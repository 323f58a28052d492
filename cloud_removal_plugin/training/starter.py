"""The recipe of the starter weights: which scenes, which draws, how long; and figures on regions that were left out.

Seeded and on one thread, so that the same data give the same file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..bands import SENTINEL2_L1C
from ..datasets.example import Example
from ..datasets.scenes import SceneFiles, ScenesDataset, scenes_of_folder
from ..models.starter import Starter

SUBSETS: tuple[tuple[str, ...], ...] = (
    tuple(name for name in SENTINEL2_L1C if name not in ("coastal", "nir09", "cirrus")),
    ("blue", "green", "red", "nir", "swir16", "swir22"),
    ("blue", "green", "red", "nir"),
    ("blue", "green", "red"),
)
"""Bands of inputs other than all 13: Level-2A at 10 and 20 m, Landsat-like, 10 m bands, a picture's."""
ALL_BANDS_SHARE, RADAR_SHARE, CORRECTED_SHARE = 0.6, 0.6, 0.5
CROP, BATCH = 128, 4
LR, WEIGHT_DECAY, WARM_UP = 2e-3, 1e-2, 30
SEED = 20
CHARBONNIER = 1e-3
SCALE = {"reflectance_scale": 1e-4, "reflectance_offset": 0.0}
"""How the development scenes store reflectance; none of them holds the +1000 of newer products."""


@dataclass(frozen=True)
class Figures:
    """Means over images, each over all its pixels and bands."""

    psnr: float
    mae: float
    rmse: float


def development_scenes(data: Path) -> tuple[list[SceneFiles], list[SceneFiles]]:
    """Pairs with real clouds, and clear images that only ever train under simulated ones.

    Data whose terms forbid weights (M3R-CR) take no part.
    """
    pairs = scenes_of_folder(data / "sen12mscr_triplets") + scenes_of_folder(data / "sen12mscr_pairs")
    root = data / "sen12mscr"
    for clear in sorted((root / "s2_cloudfree").glob("*.tif")):
        name = clear.name
        pairs.append(SceneFiles(str(clear), str(root / "s2_cloudy" / name), str(root / "s1" / name), "", name[:-4]))
    clear_dates = ("2018-02-10", "2018-04-26", "2018-06-10", "2018-08-09", "2018-09-03")
    lazio = [str(data / "s2_ts_lazio_2018" / f"S2L1C_{date}.tif") for date in clear_dates]
    chips = sorted((data / "sen1floods11_spain").glob("*_S2Hand.tif"))
    extra = [SceneFiles(path, region="lazio") for path in lazio if Path(path).is_file()]
    extra += [SceneFiles(str(c), radar=str(c).replace("_S2Hand", "_S1Hand"), region="spain") for c in chips]
    return pairs, extra


def folds(pairs: Sequence[SceneFiles], count: int) -> list[set[str]]:
    """Regions of each fold; neighbours in the list go to different folds."""
    groups = list(dict.fromkeys(scene.group for scene in pairs))
    order = np.random.default_rng(SEED).permutation(len(groups))
    return [{groups[i] for i in order[fold::count]} for fold in range(count)]


def inputs_of(example: Example, bands: Sequence[str] = SENTINEL2_L1C, radar: bool = True) -> tuple[Tensor, ...]:
    """The network's four inputs, each with a batch axis, of the bands that are there and wanted."""
    seen = example.observation
    size = seen.optical.shape[-2:]
    optical, present = np.zeros((13, *size), np.float32), np.zeros(13, np.float32)
    for place, role in enumerate(SENTINEL2_L1C):
        if role in seen.bands and role in bands:
            optical[place], present[place] = seen.optical[0, seen.bands.index(role)], 1
    has = seen.radar is not None and len(seen.radar) > 0 and radar
    echo = np.nan_to_num(seen.radar[0], nan=-20.0) if has else np.zeros((2, *size), np.float32)
    arrays = (np.nan_to_num(optical), present, echo, np.float32(has))
    return tuple(torch.from_numpy(np.asarray(values, np.float32))[None] for values in arrays)


def _varied(example: Example, corrected: bool, rng: np.random.Generator) -> Example:
    """Another sun and sensor: the same gains on image and truth; ``corrected`` also takes off some of the haze.

    The haze of Level-1C tells the level of the dark bands, even under thick clouds: it stays where all bands are there.
    """
    count = len(example.observation.bands)
    gain = rng.uniform(0.94, 1.06) * rng.uniform(0.98, 1.02, (count, 1, 1))
    dark = np.nanquantile(example.target, 0.02, axis=(1, 2), keepdims=True)
    shift = -rng.uniform(0.5, 0.9) * dark if corrected else 0.0

    def change(planes: np.ndarray) -> np.ndarray:
        return ((planes + shift) * gain).astype(np.float32)

    seen = replace(example.observation, optical=change(example.observation.optical))
    return replace(example, observation=seen, target=change(example.target))


def _batch(data: ScenesDataset, step: int) -> tuple[list[Tensor], Tensor]:
    """Inputs and truth of one step; everything follows from the step's number."""
    rng = np.random.default_rng([SEED, step])
    parts, truth = [], []
    for index in rng.choice(len(data), BATCH, replace=False):
        data.epoch = step
        every = rng.random() < ALL_BANDS_SHARE
        bands = SENTINEL2_L1C if every else SUBSETS[int(rng.integers(len(SUBSETS)))]
        corrected = bands == SUBSETS[0] and rng.random() < CORRECTED_SHARE
        example = _varied(data[int(index)], corrected, rng)
        parts.append(inputs_of(example, bands, rng.random() < RADAR_SHARE))
        truth.append(torch.from_numpy(np.nan_to_num(example.target)))
    return [torch.cat(each) for each in zip(*parts, strict=True)], torch.stack(truth)


def fit(
    scenes: Sequence[SceneFiles],
    extra: Sequence[SceneFiles],
    steps: int,
    seconds: float = math.inf,
    log: Callable[[str], None] = lambda text: None,
) -> Starter:
    """Trains on scenes with real and simulated clouds in turns, and on extra ones with simulated clouds.

    Args:
        steps: optimiser steps.
        seconds: stop earlier after so much processor time (the learning rate then has not come down: for trials only).
    """
    torch.manual_seed(SEED)
    network = Starter().train()
    data = ScenesDataset([*scenes, *extra], CROP, 1, "both", True, SEED, **SCALE)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )
    started, running = time.process_time(), 0.0
    for step in range(steps):
        inputs, truth = _batch(data, step)
        rate = min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = LR * rate
        error = (network(*inputs) - truth) * inputs[1][:, :, None, None]
        loss = (error.square() + CHARBONNIER**2).sqrt().mean() + 2 * error.square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        averaged.update_parameters(network)
        running = float(loss.detach()) if step == 0 else 0.97 * running + 0.03 * float(loss.detach())
        if (step + 1) % 50 == 0:
            log(f"step {step + 1} of {steps}, loss {running:.4f}, {time.process_time() - started:.0f} s")
        if time.process_time() - started > seconds:
            break
    return averaged.module.eval()


def restore(network: Starter, example: Example, bands: Sequence[str] = SENTINEL2_L1C, radar: bool = True) -> np.ndarray:
    """The restored image, float32 (13, H, W), limited to 0 and above."""
    with torch.inference_mode():
        return network(*inputs_of(example, bands, radar))[0].clamp(min=0).numpy()


def measure(estimates: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> Figures:
    """Figures over images, each (C, H, W) in reflectance."""
    squares = [float(np.mean((a - b) ** 2, dtype=np.float64)) for a, b in zip(estimates, truths, strict=True)]
    maes = [float(np.mean(np.abs(a - b), dtype=np.float64)) for a, b in zip(estimates, truths, strict=True)]
    psnr = float(np.mean([-10 * math.log10(value) for value in squares]))
    return Figures(psnr, float(np.mean(maes)), float(np.mean(np.sqrt(squares))))


def whole_examples(pairs: Sequence[SceneFiles]) -> list[Example]:
    """Each pair whole, with its real clouds."""
    data = ScenesDataset(pairs, 0, 1, "real", False, SEED, **SCALE)
    return [data[i] for i in range(len(pairs))]
