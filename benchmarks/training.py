"""The trainer against a plain loop of the same network, what it waits for samples, its memory, and that it learns.

    python -m benchmarks.training [--data FOLDER] [--steps 6] [--features 64] [--learn 200]

Trainer and plain loop take turns in one process, step by step the same work on batches of 256 x 256 pixels; the
plain loop gets its batches ready made. ``--learn`` trains DSen2-CR that many steps on the development scenes and
compares the loss on
regions that were left out before and after: a test of the learning path, not of accuracy.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.training.optimisers import create_optimiser

GOAL_RATIO, GOAL_STALL = 0.97, 0.05


def quiet(*_: object) -> None:
    """Takes reports."""


def trainer_of(data: Path, output: str, features: int, crop: int, batch: int, steps: int, workers: int) -> Trainer:
    """A DSen2-CR of the published depth and ``features`` width on the development triplets."""
    settings: dict[str, Any] = {
        "preset": "dsen2cr-carl", "output": output, "network_config": {"feature_size": features}, "crop": crop,
        "batch": batch, "steps": steps, "workers": workers, "device": "cpu", "validate_every": 10**6,
        "checkpoint_every": 10**6, "validation_samples": 3, "lr": 1e-4, "threads": 1,
        "data": {"root": str(data / "sen12mscr_triplets"), "clouds": "real", "windows": 8,
                 "reflectance_scale": 1e-4, "reflectance_offset": 0.0},
    }  # fmt: skip
    return Trainer(from_dict(settings))


def plain_seconds(trainer: Trainer, steps: int) -> float:
    """Processor time of as many steps of a plain loop on one ready batch of the same shape."""
    network, feed = trainer.network, trainer.feed
    batch = next(iter(torch.utils.data.DataLoader(trainer.samples, trainer.batch)))
    optimiser = create_optimiser("keras_nadam", network.parameters(), 1e-4)
    started = time.process_time()
    for _ in range(steps):
        loss = trainer.loss(feed, feed.forward(network, batch), batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return time.process_time() - started


def compare(data: Path, features: int, steps: int) -> None:
    """Prints steps per second, stall and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(data, folder, features, 256, 1, steps, 1)
        plain_seconds(trainer, 1)
        before = plain_seconds(trainer, steps)
        trainer.validate = lambda: {"validation": 0.0}  # type: ignore[method-assign]
        started = time.process_time()
        progress = trainer.run(quiet, lambda: False, quiet)
        spent = time.process_time() - started
        after = plain_seconds(trainer, steps)
    mean = (before + after) / 2
    # the first wait starts the process that reads
    waited, worked = progress.waited - progress.first_wait, progress.worked - progress.first_wait
    print(f"plain loop           {steps / mean:7.3f} steps per second of processor time")
    print(f"trainer              {steps / spent:7.3f}   ratio {mean / spent:.3f} (goal {GOAL_RATIO})")
    print(f"waiting for samples  {100 * waited / worked:7.2f} % of the wall time (goal {100 * GOAL_STALL:.0f} %)")
    print(f"peak memory          {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:7.0f} MiB")


def learn(data: Path, features: int, steps: int) -> None:
    """Prints the left-out loss before and after."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(data, folder, features, 64, 2, steps, 0)
        trainer.run(quiet, lambda: False, quiet)
    rows = [row for row in trainer.progress.history if "validation" in row]
    for row in (rows[0], rows[-1]):
        print(f"step {row['step']:4.0f}: left-out loss {row['validation']:.4f}, {row['psnr']:.2f} dB")
    print(f"lower: {rows[-1]['validation'] < rows[0]['validation']} (goal: True)")


def main(argv: Sequence[str] | None = None) -> int:
    """Always returns 0: a missed goal never fails a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", default=os.environ.get("CLOUD_REMOVAL_DATA", str(beside)))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--features", type=int, default=64, help="width of DSen2-CR; 256 as published")
    parser.add_argument("--learn", type=int, default=0, help="steps of the learning test, 0 = none")
    options = parser.parse_args(argv)
    data = Path(options.data)
    if not (data / "sen12mscr_triplets").is_dir():
        print(f"no development scenes in {data}")
        return 0
    compare(data, options.features, options.steps)
    if options.learn:
        learn(data, options.features, options.learn)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
