"""What the processes of a team do in ``test_team``: trainings one after another, their weights left in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cloud_removal_plugin.errors import Cancelled
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.training.team import Team, join

Plan = tuple[str, dict[str, Any], int]
"""Name, settings, and the step after which the LAST process asks for a stop (0 = none)."""


def quiet(*_: object) -> None:
    """Takes reports and sentences of a log."""


def even_cover(dn, _):
    """A cloud map that costs nothing."""
    return dn[0] % 2


def trained(plan: Plan, team: Team, folder: Path) -> None:
    """Trains, and leaves weights, history and whether it was stopped."""
    name, values, stop = plan
    trainer = Trainer(from_dict(values), team)
    asks = bool(stop) and team.rank == team.count - 1
    stopped = False
    try:
        trainer.run(quiet, lambda: asks and trainer.progress.step >= stop, quiet)
    except Cancelled:
        stopped = True
    found = {"weights": trainer.network.state_dict(), "history": trainer.progress.history, "stopped": stopped}
    torch.save(found, folder / f"{name}_{team.count}_{team.rank}.pt")


def work(rank: int, count: int, meeting: str, plans: Sequence[Plan], folder: str) -> None:
    """One process of a team."""
    import cloud_removal_plugin.datasets.sen12mscrts as readers

    readers.cloud_of = even_cover
    torch.set_num_threads(1)
    team = join(rank, count, rank, "cpu", meeting) if count > 1 else Team()
    for plan in plans:
        trained(plan, team, Path(folder))
    team.leave()
