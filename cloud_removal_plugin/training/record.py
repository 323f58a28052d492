"""What a training leaves: weights with the record of their training."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..weights.stored import read_record
from . import checkpoints
from .held_out import LOSS, best_of, judgements

if TYPE_CHECKING:
    from .loop import Trainer

KEPT = (checkpoints.LAST, checkpoints.BEST, checkpoints.WEIGHTS)
EARLIER = "earlier-"
"""Before the names of files of the training that a new one in the same folder would overwrite."""


@dataclass(frozen=True)
class Outcome:
    """A training that has come to its end.

    Attributes:
        network: name in the registry.
        weights: the file, of the step that was best on held-out samples.
        log: the page with the curves.
        steps: that were made, with those before a resume.
        best: figures on held-out samples at the best step.
    """

    network: str
    weights: Path
    log: Path
    steps: int
    best: Mapping[str, float]


def facts_of(trainer: Trainer, history: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """What the weights file says of its training."""
    data, best = trainer.config.data, best_of(history)
    started = next((row for row in judgements(history) if not row["step"]), None)
    facts = {
        "title": trainer.feed.record.title,
        "trained_with": trainer.config.preset,
        "reader": trainer.reader,
        "data": str(data.get("root") or f"{len(data.get('scenes', []))} scenes"),
        "samples": str(len(trainer.samples)),
        "steps": str(trainer.progress.step),
        "seed": str(trainer.seed),
        "held_out_samples": str(trainer.held_out_count),
        **{f"held_out_{key}": f"{value:.6g}" for key, value in best.items()},
    }
    if trainer.config.weights and started:
        facts |= {
            "tuned_from": Path(trainer.config.weights).name,
            **_base(Path(trainer.config.weights)),
            **{f"before_{key}": f"{value:.6g}" for key, value in started.items() if key != "step"},
        }
    return facts


def _base(path: Path) -> dict[str, str]:
    """What the weights that a training began with say of the data that they had learned from: its terms still hold."""
    stored = read_record(path)
    facts = stored.facts if stored else {}
    told = (
        "source",
        "known",
        "sensor",
        "reader",
        "data",
        "tuned_from",
        *(key for key in facts if key.startswith("tuned_from_")),
    )
    return {f"tuned_from_{key}": facts[key] for key in told if facts.get(key)}


def store_best(trainer: Trainer) -> None:
    """Writes the weights as they are, the best so far: usable at once, also where the training is broken off.

    Raises:
        OutputError: the file cannot be written.
    """
    if trainer.team.leads:
        _write(trainer)


def store(trainer: Trainer) -> Outcome:
    """Writes the weights of the best step with their record; only the leader of a team writes.

    Raises:
        OutputError: the file cannot be written.
    """
    history = trainer.progress.history
    best = trainer.output / checkpoints.BEST
    if trainer.team.leads and math.isfinite(trainer.progress.best) and best.is_file():
        trainer.network.load_state_dict(checkpoints.load(best)["weights"])
    path = trainer.output / checkpoints.WEIGHTS
    if trainer.team.leads:
        _write(trainer)
    network = trainer.recipe.network
    return Outcome(network, path, trainer.output / "log.html", trainer.progress.step, dict(best_of(history)))


def _write(trainer: Trainer) -> None:
    facts = facts_of(trainer, trainer.progress.history)
    source = f"{trainer.config.preset}, {trainer.progress.step} steps"
    path, name = trainer.output / checkpoints.WEIGHTS, trainer.recipe.network
    checkpoints.write_weights(path, trainer.network, name, trainer.network_config, facts, source)


def set_aside(folder: Path) -> list[str]:
    """Renames what an earlier training has left in a folder, so that a new one does not destroy it.

    Returns:
        A sentence, where there was something.

    Raises:
        OutputError: the folder cannot be written.
    """
    there = [name for name in KEPT if (folder / name).is_file()]
    try:
        for name in there:
            os.replace(folder / name, folder / f"{EARLIER}{name}")
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be written ({error}). Choose another folder.") from error
    if not there:
        return []
    names = ", ".join(EARLIER + name for name in there)
    return [
        f"'{folder}' holds an earlier training; its files are called {names} now. "
        "To go on with it instead, give them their names back and resume."
    ]


def not_better(history: Sequence[Mapping[str, float]]) -> bool:
    """Whether no trained step was better on held-out samples than the network that the training began with."""
    started = next((row for row in judgements(history) if not row["step"]), None)
    best = best_of(history)
    return bool(started and best) and best[LOSS] >= started[LOSS]
