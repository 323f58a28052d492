"""The recipe of the starter weights: which places, which draws, how long; and figures on regions that were left out.

Seeded and on one thread, so that the same data give the same file. The loss is the mean logarithm of each image's
squared error (which is its PSNR) and the mean absolute error, so that no single bright image rules the training.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..bands import SENTINEL2_L1C
from ..datasets.cloud_layer import draw
from ..datasets.scenes import SceneFiles, ScenesDataset, scenes_of_folder
from ..models.starter import Starter
from ..models.starter_facts import RAYLEIGH

SUBSETS: tuple[tuple[str, ...], ...] = (
    tuple(name for name in SENTINEL2_L1C if name not in ("coastal", "nir09", "cirrus")),
    ("blue", "green", "red", "nir", "swir16", "swir22"),
    ("blue", "green", "red", "nir"),
    ("blue", "green", "red"),
)
"""Bands of inputs other than all 13: Level-2A at 10 and 20 m, Landsat-like, 10 m bands, a picture's."""
SHARES = (0.5, 0.1, 0.4)
"""Of the draws: pairs with real clouds; dates of a series with real clouds; simulated clouds."""
ALL_BANDS_SHARE, RADAR_SHARE, MASK_SHARE, CORRECTED_SHARE = 0.6, 0.6, 0.6, 0.5
CROP, BATCH, LR, WEIGHT_DECAY, WARM_UP, MEMORY = 128, 6, 5e-3, 0.1, 20, 0.98
SEED = 20
FLOOR, TYPICAL = 3e-5, 0.04
"""Squared error below which nothing is gained, and the absolute error that weighs as much as a factor e^2 in it."""
MOST_DAYS = 50
CLEAR_LAZIO = tuple(
    f"2018-{day}" for day in ("02-10", "04-26", "06-10", "06-25", "07-20", "08-09", "08-24", "09-03", "10-08")
)
SAME_PLACE = {"00316": "t1", "00746": "t1", "02266": "t2", "02729": "t2", "04065": "t3", "04287": "t3", "04438": "t3",
              "ROIs1970_fall_139": "t3", "05278": "t4", "05349": "t4"}  # fmt: skip
"""Triplets without a known place that are neighbours in their data set, or look alike, count as one region."""
GREENNESS = np.array([0, 0, 0, 0, 0.5, 1, 1, 1, 1, 1, 0, -0.5, -0.7])
"""How the logarithm of reflectance moves when plants grow."""
SCALE = {"reflectance_scale": 1e-4, "reflectance_offset": 0.0}
"""How the development scenes store reflectance; none of them holds the +1000 of newer products."""


@dataclass(frozen=True)
class Place:
    """One image pair in memory.

    Attributes:
        name: of its file.
        region: places of one region never are in two folds.
        bands: role names that are there.
        clear: float32 (13, H, W), 0 in bands that are not there.
        cloudy: likewise; None = only simulated clouds.
        hidden: bool (H, W), a mask of ``cloudy``; None without.
        radar: float32 (2, H, W) dB; None without.
    """

    name: str
    region: str
    bands: tuple[str, ...]
    clear: np.ndarray
    cloudy: np.ndarray | None
    hidden: np.ndarray | None
    radar: np.ndarray | None


@dataclass(frozen=True)
class Figures:
    """Means over images, each over all its pixels and bands."""

    psnr: float
    mae: float
    rmse: float


def development_places(data: Path) -> tuple[list[Place], list[Place], list[Place]]:
    """Pairs with real clouds, a series with real clouds, and clear images that only train under simulated ones.

    Data whose terms forbid weights (M3R-CR) take no part.
    """
    files = scenes_of_folder(data / "sen12mscr_triplets") + scenes_of_folder(data / "sen12mscr_pairs")
    root = data / "sen12mscr"
    for clear in sorted((root / "s2_cloudfree").glob("*.tif")):
        name, region = clear.name, re.sub(r"_p\d+$", "", clear.stem)
        files.append(SceneFiles(str(clear), str(root / "s2_cloudy" / name), str(root / "s1" / name), "", region))
    lazio = data / "s2_ts_lazio_2018"
    chips = sorted((data / "sen1floods11_spain").glob("*_S2Hand.tif"))
    extra = [SceneFiles(str(lazio / f"S2L1C_{day}.tif"), region="lazio") for day in CLEAR_LAZIO]
    extra += [SceneFiles(str(c), radar=str(c).replace("_S2Hand", "_S1Hand"), region="spain") for c in chips]
    extra += [SceneFiles(str(c), region="california") for c in sorted((data / "s2_monthly_california").glob("*.tif"))]
    return places(files), places(_series(lazio)), places(extra)


def _series(folder: Path) -> list[SceneFiles]:
    """Every date with the clear one that is nearest in time."""
    found = []
    clear = {date.fromisoformat(day): folder / f"S2L1C_{day}.tif" for day in CLEAR_LAZIO}
    for path in sorted(folder.glob("S2L1C_*.tif")):
        day = date.fromisoformat(path.stem[-10:])
        nearest = min((other for other in clear if other != day), key=lambda other: abs((other - day).days))
        if abs((nearest - day).days) <= MOST_DAYS:
            found.append(SceneFiles(str(clear[nearest]), str(path), region="lazio"))
    return found


def places(files: Sequence[SceneFiles]) -> list[Place]:
    """Reads scenes whole; a mask that is all hidden counts as none."""
    out = []
    for scene in files:
        data = ScenesDataset([scene], 0, 1, "real" if scene.cloudy else "simulated", False, SEED, **SCALE)
        example = data[0]
        seen = example.observation
        hidden = seen.cloud[0] > 0 if scene.mask else None
        radar = np.nan_to_num(seen.radar[0], nan=-20.0) if seen.radar is not None and len(seen.radar) else None
        cloudy = _slots(seen.optical[0], seen.bands) if scene.cloudy else None
        region = SAME_PLACE.get(scene.group, scene.group)
        clear = _slots(example.target, seen.bands)
        out.append(Place(Path(scene.cloudy or scene.clear).stem, region, seen.bands, clear, cloudy, hidden, radar))
    return out


def _slots(planes: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    out = np.zeros((len(SENTINEL2_L1C), *planes.shape[1:]), np.float32)
    out[[SENTINEL2_L1C.index(name) for name in bands]] = np.nan_to_num(planes)
    return out


def folds(pairs: Sequence[Place], count: int) -> list[set[str]]:
    """Regions of each fold."""
    groups = list(dict.fromkeys(pair.region for pair in pairs))
    order = np.random.default_rng(SEED).permutation(len(groups))
    return [{groups[i] for i in order[fold::count]} for fold in range(count)]


def _window(place: Place, rng: np.random.Generator) -> tuple[slice, slice]:
    """Every other pixel of the whole image, whose means tell most, or a cut-out at full resolution."""
    height, width = place.clear.shape[1:]
    if min(height, width) >= 2 * CROP and rng.random() < 0.6:
        row, col = (int(value) for value in rng.integers(0, 2, 2))
        return slice(row, 2 * CROP, 2), slice(col, 2 * CROP, 2)
    row, col = int(rng.integers(0, height - CROP + 1)), int(rng.integers(0, width - CROP + 1))
    return slice(row, row + CROP), slice(col, col + CROP)


def _other_ground(clear: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The ground of another place, and another date of it: real pairs differ between the clouds, too."""
    sky = np.array(RAYLEIGH, np.float32)[:, None, None]
    ground = np.maximum(clear - sky, 0.002)
    draw_kind = rng.random()
    if draw_kind < 0.25:
        ground = ground * np.exp(rng.normal(0, 0.35) + rng.normal(0, 0.15, 13)).astype(np.float32)[:, None, None]
    elif draw_kind < 0.38:  # as water: nothing comes back in the infrared
        water = np.array([0.8, 0.8, 0.8, 0.7, 0.6] + [rng.uniform(0.02, 0.4)] * 8) * np.exp(rng.normal(0, 0.2))
        ground = ground * water.astype(np.float32)[:, None, None]
    gain = np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.05, 13) + rng.normal(0, 0.1) * GREENNESS)
    draw_date = rng.random()
    if draw_date < 0.25:
        gain = gain**0.15
    elif draw_date < 0.4:  # the whole image lies in shade
        gain = gain * rng.uniform(0.35, 0.8)
    other = ground * gain.astype(np.float32)[:, None, None] + sky * np.float32(np.exp(rng.normal(0, 0.07)))
    return (ground + sky).astype(np.float32), other.astype(np.float32)


def _simulated(clear: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clouds over the ground of another date: cloudy and clear image (13, H, W), bool mask (H, W)."""
    truth, seen = _other_ground(clear, rng)
    cover = None if rng.random() < 0.7 else float(rng.uniform(0.02, 0.15))
    if rng.random() < 0.12:
        return seen, truth, np.zeros(clear.shape[1:], bool)
    layer = draw(clear.shape[1:], rng, cover)
    tint = rng.uniform(0.92, 1.08, len(SENTINEL2_L1C))
    return layer.over(seen, SENTINEL2_L1C, tint), truth, layer.hidden(float(rng.uniform(0.05, 0.2)))


def _present(place: Place, rng: np.random.Generator) -> np.ndarray:
    """float32 (13,), the bands of this draw: those of a typical product, as far as they are there."""
    wanted = SENTINEL2_L1C if rng.random() < ALL_BANDS_SHARE else SUBSETS[int(rng.integers(len(SUBSETS)))]
    chosen = set(wanted) & set(place.bands)
    if len(chosen) < 3:
        chosen = set(place.bands)
    return np.array([name in chosen for name in SENTINEL2_L1C], np.float32)


def _drawn(sources: Sequence[Sequence[Place]], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One training example: the network's six inputs and the truth."""
    kind = int(rng.choice(3, p=SHARES))
    pool = sources[kind] or sources[0]
    place = pool[int(rng.integers(len(pool)))]
    rows, cols = _window(place, rng)
    clear, mask = place.clear[:, rows, cols], None
    if kind < 2:
        cloudy = place.cloudy[:, rows, cols]
        mask = None if place.hidden is None else place.hidden[rows, cols]
    else:
        cloudy, clear, mask = _simulated(clear, rng)
    gain = (rng.uniform(0.92, 1.08) * rng.uniform(0.97, 1.03, 13)).astype(np.float32)[:, None, None]
    cloudy, clear = cloudy * gain, clear * gain
    present = _present(place, rng)
    if present.sum() == len(SUBSETS[0]) and rng.random() < CORRECTED_SHARE:
        # the haze of Level-1C tells the level of the dark bands: Level-2A has lost it
        dark = np.quantile(clear.reshape(13, -1), 0.02, axis=1) * rng.uniform(0.5, 0.9)
        cloudy, clear = (image - dark.astype(np.float32)[:, None, None] for image in (cloudy, clear))
    has_radar = float(place.radar is not None and rng.random() < RADAR_SHARE)
    radar = np.zeros((2, CROP, CROP), np.float32) if place.radar is None else place.radar[:, rows, cols]
    has_mask = float(mask is not None and rng.random() < MASK_SHARE)
    hidden = np.zeros((CROP, CROP), np.float32) if mask is None else mask.astype(np.float32)
    quarter, mirrored = int(rng.integers(4)), rng.random() < 0.5

    def turn(values: np.ndarray) -> np.ndarray:
        values = np.rot90(values, quarter, (-2, -1))
        return np.ascontiguousarray(values[..., ::-1] if mirrored else values, np.float32)

    return turn(cloudy), present, turn(radar), np.float32(has_radar), turn(hidden), np.float32(has_mask), turn(clear)


def start(pairs: Sequence[Place], series: Sequence[Place]) -> Starter:
    """An untrained network that knows mean and covariance of its places."""
    seen = [place for place in (*pairs, *series) if len(place.bands) == len(SENTINEL2_L1C)]
    pixels = [image[:, ::16, ::16].reshape(13, -1) for place in seen for image in (place.cloudy, place.clear)]
    mean = np.mean([place.clear.mean((1, 2)) for place in pairs], axis=0)
    covariance = np.cov(np.clip(np.concatenate(pixels, 1), 0, 1.6))
    return Starter(torch.from_numpy(mean), torch.from_numpy(covariance))


def loss_of(found: Tensor, truth: Tensor, present: Tensor) -> Tensor:
    """Half the logarithm of each image's squared error, and its mean absolute error; over bands that are there."""
    error = (found - truth) * present[:, :, None, None]
    count = present.sum(1) * truth[0, 0].numel()
    squares = error.square().sum((1, 2, 3)) / count
    absolute = (error.square() + 1e-6).sqrt().sum((1, 2, 3)) / count
    return (0.5 * torch.log(squares + FLOOR) + absolute / TYPICAL).mean()


def fit(
    pairs: Sequence[Place],
    series: Sequence[Place],
    extra: Sequence[Place],
    steps: int,
    log: Callable[[str], None] = lambda text: None,
) -> Starter:
    """Trains on real and simulated clouds; clear images of all three sources lie under the simulated ones."""
    torch.manual_seed(SEED)
    network = start(pairs, series).train()
    sources = (pairs, series, [*pairs, *extra])
    optimiser = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(MEMORY)
    )
    started, running = time.process_time(), 0.0
    for step in range(steps):
        rng = np.random.default_rng([SEED, step])
        drawn = zip(*(_drawn(sources, rng) for _ in range(BATCH)), strict=True)
        *inputs, truth = (torch.from_numpy(np.stack(part)) for part in drawn)
        rate = min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = LR * rate
        loss = loss_of(network(*inputs), truth, inputs[1])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        averaged.update_parameters(network)
        running = float(loss.detach()) if step == 0 else 0.97 * running + 0.03 * float(loss.detach())
        if (step + 1) % 50 == 0:
            log(f"step {step + 1} of {steps}, loss {running:.3f}, {time.process_time() - started:.0f} s")
    return averaged.module.eval()


def measure(estimates: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> Figures:
    """Figures over images, each (C, H, W) in reflectance."""
    squares = [float(np.mean((a - b) ** 2, dtype=np.float64)) for a, b in zip(estimates, truths, strict=True)]
    maes = [float(np.mean(np.abs(a - b), dtype=np.float64)) for a, b in zip(estimates, truths, strict=True)]
    psnr = float(np.mean([-10 * math.log10(value) for value in squares]))
    return Figures(psnr, float(np.mean(maes)), float(np.mean(np.sqrt(squares))))
