"""A restoration job from its layers to its result."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import Executor
from pathlib import Path

from ..errors import InputError
from ..evaluation.page import check_needed
from ..methods import registry
from ..methods.facts import Accountable, Economical, Particular
from ..raster.parts import scratch_prefix
from ..raster.together import Together
from . import device as devices
from .attending import Attending, check_attentive
from .job import Job, Result
from .masks import Masks
from .notes import folded
from .outputs import Outputs
from .plan import SAMPLE_EDGE_PX, core_px, plan, survey
from .progress import Cancel, Log, Progress, Report
from .removal_report import drawn, write_page
from .restoring import Restoring, figures
from .scene import Scene
from .weights import folder_of

UNMASKED_SHARE = 0.01
"""Of the valid pixels; less than this that a given mask says nothing of is the rim of a warp, and no warning."""


def restore(
    job: Job, scene: Scene, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log
) -> Result:
    """Restore what is hidden in the target.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    restorer = registry.create(job.method, folder_of(job), budget_mb, job.ensemble)
    check_attentive(job, restorer)
    if isinstance(restorer, Particular):
        restorer.prepare(scene.facts())
    device = devices.choose(job.device)
    since = time.perf_counter()
    if job.page:
        check_needed()
    shares = {"Finding clouds": 0.3, "Looking for gaps": 0.03, "Restoring": 1.0}
    folder = Path(job.output).resolve().parent
    with (
        tempfile.TemporaryDirectory(prefix=scratch_prefix(), suffix=".part", dir=folder) as temporary,
        Masks(job, scene, Path(temporary), threads) as masks,
    ):
        if masks.complete:
            shares["Finding clouds"] = 0.0
        progress = Progress(report, cancelled, shares)
        masks.detect(progress, "Finding clouds", threads)
        for note in folded(masks.notes):
            log("info", note)
        height, width = scene.grid.shape
        found = survey(height, width, lambda window: masks.read(0, window), progress.phase("Looking for gaps"))
        warnings = _check_gaps(job, scene, int(found.gap.sum()), int(found.clear.sum()))
        if isinstance(restorer, Economical):
            log("info", restorer.judge_cost(int(found.gap.sum())))
        cut = core_px(budget_mb, len(scene.days), len(scene.bands))
        plans = plan(height, width, found, cut, getattr(restorer, "sample_px", SAMPLE_EDGE_PX))
        written = drawn(job, Path(temporary)) if job.page else job
        with Together() as stack:
            outputs = stack.writer(Outputs(written, scene))
            attending = None
            if job.attention:
                attending = stack.writer(Attending(job, scene, restorer.attention(device)))
            restoring = Restoring(
                scene, masks, restorer, seed=job.seed, device=device, pool=threads, progress=progress,
                attending=attending,
            )  # fmt: skip
            restoring.run(plans, outputs)
            counted = outputs.shares
            if not counted.valid:
                raise _nothing_there(job)
        warnings += _empty_bands(job, restoring)
        if job.cloud_mask and counted.unknown > UNMASKED_SHARE * counted.valid:
            warnings.append(
                f"{Path(job.cloud_mask).name} says nothing of {counted.unknown / counted.valid:.0%} of the pixels of "
                f"{Path(job.input).name}: they were left as they were, clouds included."
            )
        rmse, notes = figures(restoring.fits)
        notes = [*notes, *(restorer.account() if isinstance(restorer, Accountable) else ())]
        for note in notes:
            log("info", note)
        if counted.restored < counted.hidden:
            warnings.append(
                f"{counted.hidden - counted.restored} of {counted.hidden} hidden pixels could not be restored, because "
                "nothing is known of them on any date. They were left as they were."
            )
        page = ""
        if job.page:
            report(1.0, "Writing the report")  # the rasters are there: too late for a cancel
            page = write_page(
                job, written, scene, restoring.fits, counted, rmse, notes=[*masks.notes, *notes], warnings=warnings,
                elapsed=time.perf_counter() - since,
            )  # fmt: skip
    for warning in warnings:
        log("warning", warning)
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in restoring.times.seconds.items())
    log("info", f"Time by stage: {times}.")
    return Result(
        output=job.output,
        uncertainty=job.uncertainty,
        clouds=job.clouds,
        attention=job.attention,
        page=page,
        cloud_share=counted.hidden / counted.valid,
        restored_share=counted.restored / counted.valid,
        expected_rmse=rmse,
        method_used=_used(job, restoring),
        warnings=tuple(warnings),
    )


def _used(job: Job, restoring: Restoring) -> str:
    """What ran; of several regions, the one with the largest gap speaks."""
    if not restoring.fits:
        return "copy"
    return max(restoring.fits, key=lambda fit: fit.gap).fitted.summary or job.method


def _check_gaps(job: Job, scene: Scene, gap: int, clear: int) -> list[str]:
    """Refuse what cannot be restored at all, and warn of what is hard."""
    name = Path(job.input).name
    alone = len(scene.days) == 1 and scene.radar is None
    if not gap:
        if not clear:
            raise _nothing_there(job)
        return [f"No clouds were found in {name}: the layer was copied as it is."]
    if not clear and job.method in registry.networks():
        return [f"{name} is hidden everywhere; nothing in it shows how good the restoration is."]
    if not clear and alone:
        raise InputError(
            f"{name} is hidden by clouds everywhere, and there is no other date to learn from. "
            "Add other dates of the same place (OTHER_DATES)."
        )
    if not clear and len(scene.days) == 1:
        raise InputError(
            f"{name} is hidden by clouds everywhere: radar alone does not tell its colours. "
            "Add at least one other date of the same place (OTHER_DATES)."
        )
    if not clear:
        return [f"{name} is hidden everywhere; it is estimated from the other dates alone."]
    if len(scene.days) == 1:
        return [f"{name} comes without other dates, so the restoration is less sure; other dates help most."]
    return []


def _empty_bands(job: Job, restoring: Restoring) -> list[str]:
    """What to know of bands in which the input holds no number wherever something was to be restored."""
    every = [set(fit.empty) for fit in restoring.fits]
    empty = [band for band in restoring.fits[0].empty if all(band in each for each in every)] if every else []
    if not empty:
        return []
    return [
        f"{Path(job.input).name} holds no number in {', '.join(empty)}, so no pixel of it shows all bands, and the gap "
        "was filled from the other dates without looking at it. Leave the band out for a better result."
    ]


def _nothing_there(job: Job) -> InputError:
    name = Path(job.input).name
    if not job.cloud_mask:
        return InputError(f"{name} holds no data in this extent: there is nothing to restore.")
    return InputError(
        f"{name}, or its mask {Path(job.cloud_mask).name}, holds no data in this extent: there is nothing to restore. "
        "Choose another mask, or leave CLOUD_MASK empty to have clouds found."
    )
