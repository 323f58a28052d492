"""An evaluation: restored layers against a reference, streamed over windows."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation.confidence import Confidence
from ..evaluation.conventions import Convention, convention
from ..evaluation.figures import MEASURES, as_csv, as_json, figures
from ..evaluation.formulas import angles
from ..evaluation.ledger import Ledger
from ..evaluation.lpips import Tally, tally
from ..evaluation.page import check_needed
from ..evaluation.splits import HALO, Splits
from ..raster.windows import Window, cores
from ..raster.writer import RasterWriter
from .job import Job, Result
from .judged import Judged, Sight
from .judgement_report import judgement_html
from .notes import folded
from .progress import Cancel, Log, Progress, Report
from .stream import StageTimes, read_ahead
from .texts import write_whole
from .weights import folder_of

PHASE = "Comparing"
LARGEST_CORE, LEAST_CORE = 1024, 256
BYTES_A_VALUE = 4 * 6
"""Of a window: what is read, and what is computed from it."""


@dataclass
class Books:
    """What has been added up so far: one ledger for each restored layer, and one confidence.

    ``usable``: bool (C,), bands in which all layers hold data. ``perceived``: LPIPS, where its weights are there.
    """

    splits: Splits
    ledgers: list[Ledger]
    confidence: Confidence | None
    usable: np.ndarray
    perceived: Tally | None


def judge(job: Job, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log) -> Result:
    """Compare restored layers with a reference; write figures, a report and the error, as far as they are wanted.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    rules = convention(job.metrics_as)
    if job.page:
        check_needed()
    progress = Progress(report, cancelled, {"Looking at bands": 0.02, PHASE: 1.0, "Writing the report": 0.1})
    with ExitStack() as stack:
        layers = stack.enter_context(Judged(job, rules))
        for note in folded(layers.notes):
            log("info", note)
        windows = cores(Window(0, 0, *layers.grid.shape), _core(budget_mb, len(layers.names), len(layers.bands)))
        perceived, left_out = tally(folder_of(job), len(layers.names), layers.bands)
        books = _books(layers, _usable(layers, windows, threads, progress), perceived)
        error_out = stack.enter_context(_error_writer(job, layers)) if job.output else None
        _stream(error_out, layers, windows, rules, books, threads, progress)
        found = _figures(layers, books, rules, left_out)
        for level, sentences in (("info", found["notes"]), ("warning", found["warnings"])):
            for sentence in sentences:
                log(level, sentence)
        progress.step("Writing the report", 0.0)
        page = judgement_html(job, layers, found, rules, books.confidence) if job.page else ""
        _write(job, found, page)
    return _result(job, found)


def _figures(layers: Judged, books: Books, rules: Convention, left_out: str) -> dict[str, Any]:
    """All figures, with names, notes and warnings; LPIPS is None where it was left out."""
    found, remarks = figures(
        layers.names, layers.bands, books.usable, books.ledgers, books.splits, books.confidence, rules,
        layers.grid.pixel_m,
    )  # fmt: skip
    values = books.perceived.values() if books.perceived else [None] * len(layers.names)
    for layer, value in zip(found["layers"], values, strict=True):
        layer["lpips"] = value
    found |= {"lpips": values[0], "reference": layers.infos[-1].name}
    warnings = [*layers.warnings, *remarks, *_unused(layers, books, found)]
    return found | {"notes": [left_out] if left_out else [], "warnings": warnings}


def _unused(layers: Judged, books: Books, found: Mapping[str, Any]) -> list[str]:
    """Sentences on layers that were given and say nothing where it would count."""
    said = []
    if layers.sigma is not None and found.get("uncertainty") is None:
        said.append(
            "UNCERTAINTY holds no number above 0 where the layers hold data, so there is nothing to judge of it."
        )
    if layers.cover is not None and not books.splits.covers:
        said.append("LAND_COVER holds no class anywhere in the layers, so there are no figures by land cover.")
    return said


def _core(budget_mb: int, layers: int, bands: int) -> int:
    """Edge of a window that fits the budget with its halo and a window read ahead."""
    values = budget_mb * (1 << 20) / (2 * BYTES_A_VALUE * (layers + 2) * bands)
    edge = int(values**0.5) - 2 * HALO
    return max(LEAST_CORE, min(LARGEST_CORE, edge // 256 * 256))


def _usable(layers: Judged, windows: list[Window], pool: Executor, progress: Progress) -> np.ndarray:
    """bool (C,): bands in which all layers hold data somewhere; stops as soon as all do.

    Raises:
        InputError: no band does.
    """
    usable = np.zeros(len(layers.bands), bool)
    for place, window in enumerate(windows):
        progress.step("Looking at bands", place / len(windows))
        usable |= np.isfinite(layers.read(window, pool).reference).any(axis=(1, 2))
        if usable.all():
            return usable
    if not usable.any():
        names = ", ".join(info.name for info in layers.infos)
        raise InputError(
            f"The layers ({names}) have no pixel in common that holds data in all of them. Choose layers of the same "
            "place, or another EXTENT."
        )
    empty = ", ".join(np.array(layers.bands)[~usable])
    layers.warnings.append(f"No pixel holds data in {empty} in all layers; these bands are left out.")
    return usable


def _books(layers: Judged, usable: np.ndarray, perceived: Tally | None) -> Books:
    splits = Splits(layers.knows_restored, layers.knows_classes)
    bands = len(layers.bands)
    ledgers = [Ledger(splits.size, bands) for _ in layers.names]
    confidence = Confidence(splits.size, bands, layers.grid.shape) if layers.sigma else None
    return Books(splits, ledgers, confidence, usable, perceived)


def _stream(
    error_out: RasterWriter | None,
    layers: Judged,
    windows: list[Window],
    rules: Convention,
    books: Books,
    pool: Executor,
    progress: Progress,
) -> None:
    """Add every window to the books, and write the error of the first layer beside."""
    halo = max(rules.similarity.halo, HALO if layers.knows_restored else 0)
    total, done = sum(window.pixels for window in windows), 0

    def read(core: Window) -> tuple[Window, Window, Sight]:
        wide = core.pad(halo, halo, halo, halo).clip(*layers.grid.shape)
        return core, wide, layers.read(wide, pool)

    for core, wide, sight in read_ahead(windows, read, StageTimes()):
        inner = core.slices(wide)
        _add(sight, inner, rules, books, core, pool)
        if error_out:
            difference = sight.restored[0] - sight.reference
            error_out.write(np.ascontiguousarray(difference[:, inner[0], inner[1]]), core)
        done += core.pixels
        progress.step(PHASE, done / total)


def _add(
    sight: Sight,
    inner: tuple[slice, slice],
    rules: Convention,
    books: Books,
    core: Window,
    pool: Executor,
) -> None:
    """Add one window; bands and layers are spread over the pool, whose order does not matter to their own sums."""
    usable = np.flatnonzero(books.usable).tolist()
    keys = books.splits.keys(sight.changed, sight.classes, sight.cover)[inner]

    def one(task: tuple[int, int]) -> None:
        layer, band = task
        estimate, truth = sight.restored[layer, band], sight.reference[band]
        similar = rules.similarity.local(estimate, truth)
        books.ledgers[layer].add_band(band, keys, estimate[inner], truth[inner], similar[inner])

    def angle(layer: int) -> None:
        one, other = sight.restored[layer][usable], sight.reference[usable]
        found = angles(one[:, inner[0], inner[1]], other[:, inner[0], inner[1]])
        books.ledgers[layer].add_angles(keys, found)

    def perceive(layer: int) -> None:
        one, other = sight.restored[layer], sight.reference
        books.perceived.add(layer, one[:, inner[0], inner[1]], other[:, inner[0], inner[1]])

    every = range(len(books.ledgers))
    list(pool.map(one, product(every, usable)))
    list(pool.map(angle, every))
    if books.perceived:
        list(pool.map(perceive, every))
    if books.confidence and sight.sigma is not None:
        part = (slice(None), *inner)
        error = sight.restored[0][part] - sight.reference[part]
        books.confidence.add(keys, error, sight.sigma[part], core.row, core.col)


def _error_writer(job: Job, layers: Judged) -> RasterWriter:
    """Reflectance of the first restored layer minus the reference's."""
    count = len(layers.bands)
    return RasterWriter(
        job.output, layers.infos[0], layers.grid, dtype="float32", count=count, nodata=float("nan"),
        descriptions=[f"{name} error (reflectance)" for name in layers.bands], scales=[1.0] * count,
        offsets=[0.0] * count, tags={}, colorinterp=[], forbid=job.inputs,
    )  # fmt: skip


def _write(job: Job, found: dict[str, Any], page: str) -> None:
    """The figures and the report, as far as they are wanted."""
    if job.page:
        write_whole(job.page, page)
    if job.figures:
        write_whole(job.figures, as_csv(found) if job.figures.lower().endswith(".csv") else as_json(found))


def _result(job: Job, found: dict[str, Any]) -> Result:
    """Of the first restored layer, over all pixels."""
    return Result(
        output=job.output,
        figures=job.figures,
        page=job.page,
        warnings=tuple(found["warnings"]),
        method_used=job.metrics_as,
        **{name: found[name] for name in MEASURES},
    )
