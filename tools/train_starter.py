"""Trains the starter network; writes weights/starter.safetensors and its card if it is good: ``make train-starter``.

Every region of the development scenes is left out once (four folds) for the figures; what would ship is trained on
all of them by the same recipe. Seeded, one thread: the same data and library give the same file. A fold that is
done is kept in build/ and not computed again; --part does one of them alone. Figures are those of the NumPy form that
runs in the plugin.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import s2cloudless
from cloud_removal_plugin.datasets.cloud_layer import draw
from cloud_removal_plugin.methods.alone import joined
from cloud_removal_plugin.methods.ensemble import SceneEnsemble
from cloud_removal_plugin.methods.membrane import spread
from cloud_removal_plugin.methods.starter import StarterNetwork
from cloud_removal_plugin.observation import Observation
from cloud_removal_plugin.training import starter
from cloud_removal_plugin.training.checkpoints import write_weights

ROOT = Path(__file__).resolve().parent.parent
FOLDS, STEPS = 4, 250
GOAL_DB, GOAL_MAE = 27.5, 0.034
BUILD, WEIGHTS = ROOT / "build" / "starter", ROOT / "weights"
RECIPE = ("models/starter.py", "models/starter_facts.py", "training/starter.py", "datasets/cloud_layer.py")
"""What a fold depends on: when one of these files changes, it is computed again."""
PARTS = (*(f"fold{k}" for k in range(FOLDS)), "final")
PLAIN = ("input", "mean_fill", "centre_fill", "detect_and_mean", "detect_and_centre", "inpainting")
PROMISES = (
    ("starter", PLAIN),
    ("gap_starter", ("gap_mean_fill", "gap_centre_fill", "gap_inpainting")),
    ("alone_with_starter", ("alone",)),
)
"""What must be better than what, in PSNR and mean absolute error on regions that were left out, for weights to ship."""
KINDS = ("real", "simulated")
LEAST_GAP = 0.01
ROUNDS = 100
"""After which a centre no longer moves."""


def place_of(part: str) -> Path:
    """Where the network of a part is kept."""
    digest = hashlib.sha256(str(STEPS).encode())
    for name in RECIPE:
        digest.update((ROOT / "cloud_removal_plugin" / name).read_bytes())
    return BUILD / f"{part}-{digest.hexdigest()[:8]}.pt"


def network_of(part: str) -> StarterNetwork:
    """The trained network of a part."""
    state = torch.load(place_of(part), weights_only=True)
    return StarterNetwork({name: values.numpy() for name, values in state.items()}, (0.0,) * len(SENTINEL2_L1C))


def detected(place: starter.Place) -> tuple[np.ndarray, np.ndarray]:
    """What s2cloudless calls cloud, bool (H, W): carefully (for filling beside it), and as a mask to restore."""
    probability = ndimage.uniform_filter(s2cloudless.probability(place.cloudy, SENTINEL2_L1C), 3)
    return (
        ndimage.binary_dilation(probability > 0.2, iterations=10),
        ndimage.binary_dilation(probability > 0.4, iterations=6),
    )


def centre_of(pairs: list[starter.Place]) -> np.ndarray:
    """float32 (13,), the one spectrum with the least mean logarithm of the clear images' squared errors.

    Each image counts by the inverse of its squared error, round after round (iteratively reweighted least squares):
    snow among fields moves the mean far from all fields, this hardly. So it is the harder baseline of the two.
    """
    spectra = np.array([place.clear.mean((1, 2)) for place in pairs], np.float64)
    spread = np.array([place.clear.var((1, 2)).mean() for place in pairs], np.float64)
    centre = np.median(spectra, axis=0)
    for _ in range(ROUNDS):
        weights = 1 / (np.square(spectra - centre).mean(axis=1) + spread + starter.FLOOR)
        centre = weights @ spectra / weights.sum()
    return centre.astype(np.float32)


def _row(estimate: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return asdict(starter.measure([estimate], [truth]))


def judged(network: StarterNetwork, place: starter.Place, constants: np.ndarray, number: int) -> dict[str, Any]:
    """Figures of one left-out image: over all pixels, over the gap, and with fewer bands.

    Args:
        constants: (2, 13), mean reflectance of the clear training images, and their robust centre.
    """
    careful, gap = detected(place)
    truth, seen = place.clear, np.clip(place.cloudy, 0, 1)
    flat, centre = (np.broadcast_to(c[:, None, None], truth.shape) for c in constants)
    filled = spread(seen, ~gap) if (~gap).sum() > 60 else flat
    image, squares = place.cloudy, None
    found = {
        "input": seen, "mean_fill": flat, "detect_and_mean": np.where(careful, flat, seen),
        "centre_fill": centre, "detect_and_centre": np.where(careful, centre, seen),
        "inpainting": np.where(gap, filled, seen),
        "starter": network.restore(image, SENTINEL2_L1C, gap, place.radar),
        "starter_without_mask": network.restore(image, SENTINEL2_L1C, None, place.radar),
        "starter_without_radar": network.restore(image, SENTINEL2_L1C, gap, None),
    }  # fmt: skip
    rows = {name: _row(estimate, truth) for name, estimate in found.items()}
    for bands in starter.SUBSETS:
        at = [SENTINEL2_L1C.index(name) for name in bands]
        estimate = network.restore(image[at], bands, gap, None)
        rows[f"starter_{len(bands)}_bands"] = _row(estimate, truth[at])
        for name in ("mean_fill", "detect_and_mean", "detect_and_centre"):
            rows[f"{name}_{len(bands)}_bands"] = _row(found[name][at], truth[at])
    if gap.mean() >= LEAST_GAP:
        inside = {"mean_fill": flat, "centre_fill": centre, "inpainting": filled, "starter": found["starter"]}
        rows |= {f"gap_{name}": _row(values[:, gap][None], truth[:, gap][None]) for name, values in inside.items()}
        squares = np.square(found["starter"] - truth)[:, gap].mean(axis=1).tolist()
        rows |= alone(network, place, image, gap, "real")
    rows |= alone(network, place, *simulated(truth, number), "simulated")
    return {"name": place.name, "rows": rows, "squares": squares}


def simulated(truth: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A clear image under simulated clouds (13, H, W), and a mask of them bool (H, W)."""
    layer = draw(truth.shape[1:], np.random.default_rng([starter.SEED, 7, number]))
    return layer.over(truth, SENTINEL2_L1C), ndimage.binary_dilation(layer.hidden(0.1), iterations=3)


def alone(
    network: StarterNetwork, place: starter.Place, image: np.ndarray, gap: np.ndarray, kind: str
) -> dict[str, dict[str, float]]:
    """What METHOD=auto makes of the date alone over the gap, without and with the starter network.

    Empty where nothing is clear: such a layer is refused.
    """
    if gap.all():
        return {}
    radar = None if place.radar is None else place.radar[None]
    days = np.zeros(0 if radar is None else 1)
    obs = Observation(image[None], gap[None].astype(np.float32), np.zeros(1), SENTINEL2_L1C, radar, days)
    base = SceneEnsemble("auto").fit([obs], seed=(0, 0, 0))
    found = {"": base, "_with_starter": joined(base, network, [obs], (0, 0, 0), None)}
    truth = place.clear[:, gap][None]
    return {
        f"{kind}_alone{n}": _row(fitted.restore(obs).reflectance[:, gap][None], truth) for n, fitted in found.items()
    }


def images(data: Path) -> list[dict[str, Any]]:
    """Figures of every pair, each by a network that never saw its region."""
    pairs, _, _ = starter.development_places(data)
    out = []
    for fold, held in enumerate(starter.folds(pairs, FOLDS)):
        network = network_of(f"fold{fold}")
        kept = [place for place in pairs if place.region not in held]
        constants = np.stack((network.numbers["mean"], centre_of(kept)))
        out += [judged(network, place, constants, number) for number, place in enumerate(pairs) if place.region in held]
    return out


def combined(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the images that have a figure."""
    names = dict.fromkeys(name for image in found for name in image["rows"])
    rows = {name: [image["rows"][name] for image in found if name in image["rows"]] for name in names}
    return {
        name: {key: round(float(np.mean([row[key] for row in every])), 4) for key in every[0]} | {"images": len(every)}
        for name, every in rows.items()
    }


def verdict(figures: dict[str, dict[str, float]]) -> str:
    """'' = ship: better than every plain baseline, alone and in the stack; else why not."""
    worse, figures = [], figures | pooled(figures)
    for mine, others in PROMISES:
        for other in others:
            better = figures[mine]["psnr"] > figures[other]["psnr"] and figures[mine]["mae"] < figures[other]["mae"]
            worse += [] if better else [f"{mine} is not better than {other}"]
    return "; ".join(worse)


def pooled(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """A date alone under real and under simulated clouds, every image counted once."""
    out = {}
    for name in ("alone", "alone_with_starter"):
        rows = [figures[f"{kind}_{name}"] for kind in KINDS]
        count = sum(row["images"] for row in rows)
        out[name] = {key: sum(row[key] * row["images"] for row in rows) / count for key in ("psnr", "mae")}
    return out


def train(part: str, data: Path) -> None:
    """Trains the network of one part, unless it is there."""
    if place_of(part).exists():
        return
    pairs, series, extra = starter.development_places(data)
    held = starter.folds(pairs, FOLDS)[int(part[4:])] if part != "final" else set()
    keep = [[place for place in places if place.region not in held] for places in (pairs, series, extra)]
    network = starter.fit(*keep, STEPS, log=print)
    torch.save(network.state_dict(), place_of(part))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data"), help="folder of the development scenes")
    parser.add_argument("--part", choices=PARTS, help="one part alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    BUILD.mkdir(parents=True, exist_ok=True)
    data = Path(chosen.data)
    for part in (chosen.part,) if chosen.part else PARTS:
        train(part, data)
    if all(place_of(part).exists() for part in PARTS):
        _ship(images(data), data)
    return 0


def _ship(found: list[dict[str, Any]], data: Path) -> None:
    figures = combined(found)
    for image in found:
        print(image["name"].ljust(34), {name: round(row["psnr"], 1) for name, row in image["rows"].items()})
    for name, row in figures.items():
        print(f"{name:26s} {row['psnr']:6.2f} dB  MAE {row['mae']:.4f}  ({row['images']} images)")
    if reason := verdict(figures):
        print(f"Not shipped: {reason}.")
        return
    network = starter.Starter()
    network.load_state_dict(torch.load(place_of("final"), weights_only=True))
    pairs, series, extra = starter.development_places(data)
    reached = figures["starter"]["psnr"] >= GOAL_DB and figures["starter"]["mae"] <= GOAL_MAE
    facts = {
        "title": "Starter", "parameters": sum(p.numel() for p in network.parameters()), "steps": STEPS,
        "seed": starter.SEED, "pairs": len(pairs), "dates_of_a_series": len(series),
        "clear_images_under_simulated_clouds": len(pairs) + len(extra), "goal_reached": reached,
        "regions_left_out_in_turn": len({place.region for place in pairs}), "figures": figures,
        "rmse_by_band": np.sqrt(np.mean([i["squares"] for i in found if i["squares"]], axis=0)).round(4).tolist(),
    }  # fmt: skip
    header = {key: json.dumps(value) for key, value in facts.items()}
    write_weights(WEIGHTS / "starter.safetensors", network, "starter", {}, header, "make train-starter")
    (WEIGHTS / "starter.json").write_text(json.dumps(facts, indent=2) + "\n")
    print("Written to weights/.")


if __name__ == "__main__":
    sys.exit(main())
