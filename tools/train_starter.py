"""Trains the starter network; writes weights/starter.safetensors and its card if it is good: ``make train-starter``.

Every region of the development scenes is left out once (four folds) for the figures; what would ship is trained on
all of them by the same recipe. Seeded, one thread: the same data and library give the same figures. A fold that is
done is kept in build/ and not computed again; --part does one of them alone.
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

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.training import starter
from cloud_removal_plugin.training.checkpoints import write_weights

ROOT = Path(__file__).resolve().parent.parent
FOLDS, STEPS = 4, 500
GOAL_DB, GOAL_MAE = 27.5, 0.034
BUILD, WEIGHTS = ROOT / "build" / "starter", ROOT / "weights"
RECIPE = ("models/starter.py", "training/starter.py", "datasets/cloud_layer.py", "datasets/scenes.py")
"""What a fold depends on: when one of these files changes, it is computed again."""
PARTS = (*(f"fold{k}" for k in range(FOLDS)), "final")


def _place(part: str) -> Path:
    """Where the result of a part is kept."""
    digest = hashlib.sha256(str(STEPS).encode())
    for name in RECIPE:
        digest.update((ROOT / "cloud_removal_plugin" / name).read_bytes())
    return BUILD / f"{part}-{digest.hexdigest()[:8]}.{'pt' if part == 'final' else 'json'}"


def _clipped(example: Any) -> np.ndarray:
    return np.clip(example.observation.optical[0], 0, 1)


def one_fold(data: Path, fold: int) -> dict[str, Any]:
    """Errors on the regions of a fold by a network that never saw them, beside the plain baselines."""
    pairs, extra = starter.development_scenes(data)
    left_out = starter.folds(pairs, FOLDS)[fold]
    train = [scene for scene in pairs if scene.group not in left_out]
    held = starter.whole_examples([scene for scene in pairs if scene.group in left_out])
    mean = np.mean([e.target.mean((1, 2)) for e in starter.whole_examples(train)], axis=0)[:, None, None]
    network = starter.fit(train, extra, STEPS, log=print)
    rows: dict[str, list[Any]] = {"names": [e.name for e in held]}

    def add(name: str, estimates: list[np.ndarray], bands: tuple[str, ...] = SENTINEL2_L1C) -> None:
        chosen = [SENTINEL2_L1C.index(band) for band in bands]
        pairs = zip(estimates, held, strict=True)
        rows[name] = [asdict(starter.measure([a[chosen]], [e.target[chosen]])) for a, e in pairs]

    add("input", [_clipped(e) for e in held])
    add("mean_fill", [np.broadcast_to(mean, e.target.shape) for e in held])
    add("starter", [starter.restore(network, e) for e in held])
    add("starter_without_radar", [starter.restore(network, e, radar=False) for e in held])
    for bands in starter.SUBSETS:
        add(f"starter_{len(bands)}_bands", [starter.restore(network, e, bands, False) for e in held], bands)
        add(f"mean_fill_{len(bands)}_bands", [np.broadcast_to(mean, e.target.shape) for e in held], bands)
    residuals = [(starter.restore(network, e) - e.target).reshape(13, -1) for e in held]
    rows["band_square"] = [np.square(r).mean(1).tolist() for r in residuals]
    return rows


def combined(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over all left-out images."""
    every = {name: [row for fold in folds for row in fold[name]] for name in folds[0]}
    squares = np.array(every.pop("band_square"))
    names = every.pop("names")
    means = {
        name: {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
        for name, rows in every.items()
    }
    return {"images": len(names), "figures": means, "rmse_by_band": np.sqrt(squares.mean(0)).round(5).tolist()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(ROOT.parent / "shared" / "data"), help="folder of the development scenes")
    parser.add_argument("--part", choices=PARTS, help="one part alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    BUILD.mkdir(parents=True, exist_ok=True)
    data = Path(chosen.data)
    for part in (chosen.part,) if chosen.part else PARTS:
        place = _place(part)
        if place.exists():
            continue
        if part == "final":
            pairs, extra = starter.development_scenes(data)
            torch.save(starter.fit(pairs, extra, STEPS, log=print).state_dict(), place)
        else:
            place.write_text(json.dumps(one_fold(data, int(part[4:]))))
    places = [_place(part) for part in PARTS]
    if all(place.exists() for place in places):
        _ship(combined([json.loads(place.read_text()) for place in places[:FOLDS]]), data)
    return 0


def _ship(card: dict[str, Any], data: Path) -> None:
    network = starter.Starter()
    network.load_state_dict(torch.load(_place("final"), weights_only=True))
    pairs, extra = starter.development_scenes(data)
    size = sum(p.numel() for p in network.parameters())
    facts = {"title": "Starter", "parameters": size, "steps": STEPS, "seed": starter.SEED,
             "training_images": len(pairs), "clear_images_under_simulated_clouds": len(extra), **card}  # fmt: skip
    for name, row in card["figures"].items():
        print(f"{name:24s} {row['psnr']:6.2f} dB  MAE {row['mae']:.4f}")
    reached, plain = card["figures"]["starter"], card["figures"]["mean_fill"]
    if reached["psnr"] < max(GOAL_DB, plain["psnr"]) or reached["mae"] > min(GOAL_MAE, plain["mae"]):
        print(
            f"Not shipped: the goals on left-out regions are {GOAL_DB} dB, MAE {GOAL_MAE}, and to beat the mean fill."
        )
        return
    header = {key: json.dumps(value) for key, value in facts.items()}
    write_weights(WEIGHTS / "starter.safetensors", network, "starter", {}, header, "make train-starter")
    (WEIGHTS / "starter.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
