"""Goes on from a checkpoint: what must not have changed since, what may, and what is said about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from . import checkpoints
from .presets import FILE_OPTIONS

if TYPE_CHECKING:
    from .loop import Trainer

TO_THE_END = ("linear", "cosine")
"""Schedules that depend on the length of the whole training."""


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        step: optimiser steps done.
        best: lowest held-out loss.
        history: rows for the log, see :func:`.page.write_page`.
        waited, worked: seconds spent on waiting for samples, and on everything, since this process started.
        first_wait: seconds of the first wait, which starts the processes that read.
        replaced: samples that stood in for ones without data.
    """

    step: int = 0
    best: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    waited: float = 0.0
    worked: float = 0.0
    first_wait: float = 0.0
    replaced: int = 0


def settled(trainer: Trainer) -> dict[str, Any]:
    """What a resumed training must not change (but for the number of processes)."""
    config = trainer.config
    return {
        "seed": trainer.seed, "batch": trainer.batch, "accumulate": config.accumulate,
        "sync_batchnorm": config.sync_batchnorm, "processes": trainer.team.count, "preset": config.preset,
        "options": {name: value for name, value in sorted(trainer.options.items()) if name not in FILE_OPTIONS},
    }  # fmt: skip


def settings(trainer: Trainer) -> dict[str, Any]:
    """What a resumed training may change, but no longer equals an unbroken one then."""
    config = trainer.config
    found = {
        "lr": float(config.chosen("lr")), "crop": int(config.chosen("crop")), "clip": float(config.clip),
        "augment": bool(config.chosen("augment")), "precision": config.precision,
        "training samples": len(trainer.samples), "device": trainer.device.split(":")[0],
    }  # fmt: skip
    if trainer.device == "cpu":
        found["threads"] = torch.get_num_threads()
    return found | ({"steps": trainer.steps} if trainer.recipe.schedule in TO_THE_END else {})


def resume(trainer: Trainer, path: Path) -> tuple[Progress, list[str]]:
    """Takes the state of a checkpoint over.

    Returns:
        Where the training stands, and sentences on what differs from the one that was broken off.

    Raises:
        InputError: the checkpoint is missing, damaged, of another network, or cannot be continued with these settings.
    """
    state = checkpoints.load(path)
    checkpoints.check_same_network(state, trainer.recipe.network, trainer.network_config, path)
    wanted = settled(trainer)
    before = {**wanted, "sync_batchnorm": False, "processes": 1, **state["settled"]}  # older ones do not name all
    odd = [name for name, value in wanted.items() if name != "processes" and before[name] != value]
    if odd:
        raise InputError(
            f"The checkpoint '{path}' was trained with other settings ({', '.join(odd)}); a resumed run would not "
            "equal an unbroken one. Use the same settings, or fine-tune its weights in another folder."
        )
    trainer.network.load_state_dict(state["weights"])
    first = [group["lr"] for group in trainer.optimiser.param_groups]
    trainer.optimiser.load_state_dict(state["optimiser"])
    trainer.schedule.load_state_dict(state["schedule"])
    trainer.step.restore(state["stepping"])
    older = state.get("settings", {})
    if older.get("lr", settings(trainer)["lr"]) != settings(trainer)["lr"]:
        _set_rate(trainer, first)
    progress = Progress(int(state["step"]), float(state["best"]), [dict(row) for row in state["history"]])
    return progress, _notes(trainer, int(before["processes"]), older, progress.step)


def _set_rate(trainer: Trainer, rates: list[float]) -> None:
    """The settings' learning rates, not the checkpoint's, at this place of the schedule."""
    trainer.schedule.base_lrs = rates
    for group, rate, factor in zip(trainer.optimiser.param_groups, rates, trainer.schedule.lr_lambdas, strict=True):
        group["initial_lr"], group["lr"] = rate, rate * factor(trainer.schedule.last_epoch)
    judge = getattr(trainer.step, "judge_optimiser", None)
    for group in judge.param_groups if judge is not None else ():
        group["lr"] = float(trainer.config.chosen("lr"))


def _notes(trainer: Trainer, processes: int, older: dict[str, Any], step: int) -> list[str]:
    notes = []
    if processes != trainer.team.count:
        notes.append(
            f"The checkpoint was made by {processes} processes, {trainer.team.count} go on: equal up to rounding, not "
            "bit for bit."
        )
    odd = [f"{name} {older[name]}, now {value}" for name, value in settings(trainer).items()
           if older.get(name, value) != value]  # fmt: skip
    if odd:
        notes.append(
            f"The checkpoint was made with other settings ({'; '.join(odd)}): the training goes on with those of now, "
            "and will not equal an unbroken one."
        )
    if step >= trainer.steps:
        notes.append(f"The checkpoint has made {step} of {trainer.steps} steps already; there is nothing to train.")
    return notes
