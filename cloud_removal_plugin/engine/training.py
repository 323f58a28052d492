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
    from ..training.held_out import sentence
    from ..training.launching import start

    outcome = start(config, report, cancelled, log)
    path = install(outcome.network, outcome.weights, log, job.weights) if wants_install else outcome.weights
    best = outcome.best
    return Result(
        output=str(path),
        page=str(outcome.log),
        method_used=outcome.network,
        psnr=best.get("psnr"),
        mae=best.get("mae"),
        rmse=best.get("rmse"),
        report=f"{outcome.steps} steps; best on held-out samples at step {best.get('step', 0):.0f}: {sentence(best)}.",
    )
