"""Kind ``train``: a training in the worker process."""

from __future__ import annotations

import json

from ..errors import InputError
from ..training.commands import install
from ..training.config import from_dict
from .job import Job, Result
from .progress import Cancel, Log, Report


def train_model(job: Job, report: Report, cancelled: Cancel, log: Log) -> Result:
    """Trains as ``job.training`` says (JSON of :class:`..training.config.TrainingConfig`, and ``install``).

    Raises:
        InputError, OutputError: a sentence for the analyst; the last checkpoint stays whole.
        Cancelled: the analyst cancelled; the checkpoint of the last step is kept.
    """
    try:
        values = json.loads(job.training)
        wants_install = bool(values.pop("install", False))
    except (ValueError, AttributeError) as error:
        raise InputError(f"The job's training is not a JSON object ({error}).") from error
    config = from_dict(values)
    from ..training.loop import train

    trainer, path = train(config, report, cancelled, log)
    stored = install(trainer.recipe.network, path, log, job.weights) if wants_install else path
    rows = [row for row in trainer.progress.history if "validation" in row]
    best = min(rows, key=lambda row: row["validation"])
    text = ", ".join(f"{name} {value:.5g}" for name, value in best.items())
    return Result(
        output=str(stored),
        page=str(trainer.output / "log.html"),
        method_used=trainer.recipe.network,
        psnr=best.get("psnr"),
        mae=best.get("mae"),
        rmse=best.get("rmse"),
        report=f"{trainer.progress.step} steps; best on held-out samples: {text}.",
    )
