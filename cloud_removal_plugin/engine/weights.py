"""Jobs about the networks themselves: importing a checkpoint, and the table of what there is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from html import escape
from pathlib import Path

from ..errors import Cancelled, CloudRemovalError, InputError, OutputError
from ..methods.learned_inputs import wants
from ..methods.registry import networks
from ..methods.starter import NAME as STARTER
from ..models.records import RECORDS, Record
from ..training.presets import PRESETS
from ..webpage import webpage
from ..weights.folder import find, in_use, publish, weights_folder
from ..weights.known import Checkpoint, of_network
from ..weights.origin import held_out, origin, terms, trained
from ..weights.stored import Stored, read_header
from .job import Job, Result
from .progress import Cancel, Log, Report
from .texts import write_whole

_STYLE = (
    "li,p,td{overflow-wrap:anywhere}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;table-layout:fixed;width:100%;min-width:1100px;font-size:14px}"
    "td,th{text-align:left;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid #ccc}"
)


def folder_of(job: Job) -> Path:
    """The weights folder of a job."""
    return Path(job.weights) if job.weights else weights_folder()


def import_weights(job: Job, report: Report, cancelled: Cancel, log: Log) -> Result:
    """Convert a checkpoint and put it into the weights folder.

    Raises:
        CloudRemovalError, Cancelled: nothing was written.
    """
    from ..models.conversion import convert

    if job.output and not os.access(Path(job.output).resolve().parent, os.W_OK):
        raise OutputError(f"The report cannot be written to '{job.output}'. Choose another file.")
    report(0.05, "Reading the checkpoint")
    converted = convert(job.input, job.method)
    if cancelled():
        raise Cancelled
    report(0.7, "Writing the weights")
    entry, folder, add = converted.record, folder_of(job), bool(job.settings) and _adds(job.settings)
    if add and entry.name not in networks():
        raise InputError(f"{entry.title} works with one set of weights. Import it without ADD.")
    target, kept = publish(entry.name, folder, converted.write, add)
    lines = [
        f"Network: {entry.title} ({entry.name}), {entry.paper}, {entry.link}",
        f"Read from: {converted.source.path} ({converted.source.form})",
        f"SHA-256 of that file: {converted.source.sha256}",
        f"Entries: {len(converted.entries)}, all shapes as the network has them",
        f"Configuration: {_configuration(converted.config)}",
        *_record(read_header(target, entry.name), entry),
        f"Stored as: {target}",
    ]
    count = len(in_use(entry.name, folder))
    if count > 1:
        lines.append(f"{entry.title} now runs as an ensemble of {count} sets of weights, whose variances are joined.")
    if kept:
        lines.append(f"Other weights of this network were there before; they are kept as: {kept}")
    for line in lines:
        log("info", line)
    if job.output:
        _write(job.output, f"Weights of {entry.title}", "<ul>" + "".join(map(_item, lines)) + "</ul>")
    report(1.0, "Done")
    return Result(output=str(target), method_used=entry.name, report="\n".join(lines))


def _adds(settings: str) -> bool:
    """Whether weights are added to those that are there.

    Raises:
        InputError: the settings of the job are not understood.
    """
    try:
        found = json.loads(settings)
        if set(found) <= {"add"} and isinstance(found.get("add", False), bool):
            return found.get("add", False)
    except (ValueError, TypeError):
        pass
    raise InputError(f"The settings of an import cannot be {settings}; known is 'add': true or false.")


def _record(stored: Stored, entry: Record) -> list[str]:
    """Where weights come from and what may be done with them; figures and licence of the paper are not those of
    weights that were trained here."""
    if trained(stored):
        return [
            f"Origin: {origin(stored)}",
            f"Accuracy: {held_out(stored)}",
            f"Licence of the weights: {terms(stored)}",
        ]
    known = f"published as {stored.known}" if stored.known else "no published digest to compare it with is known"
    return [f"Origin: {origin(stored)}, SHA-256 {stored.sha256} ({known})", f"Licence of the weights: {entry.licence}"]


def _configuration(config: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in config.items()) or "as published"


def list_models(job: Job, report: Report, log: Log) -> Result:
    """The table of networks: what they need, whether weights are there, where to get them, licence.

    Raises:
        OutputError: the page cannot be written.
    """
    report(0.1, "Looking at the weights")
    folder = folder_of(job)
    rows = [_row(entry, folder) for entry in RECORDS.values()]
    there = sum(row[4].startswith("there") for row in rows)
    rows.append(_starter(folder))
    lines = [f"Weights folder: {folder}", f"Published networks: {len(rows) - 1}, with weights: {there}"]
    for row in rows:
        lines += ["", *(f"{name}: {value}" for name, value in zip(_COLUMNS, row, strict=True))]
    if job.output:
        _write(job.output, "Networks of Cloud Removal", f"<p>{escape(lines[0])}</p>{_table(rows)}")
    for line in lines:
        log("info", line)
    report(1.0, "Done")
    return Result(output=job.output, method_used=str(there), report="\n".join(lines))


_COLUMNS = ("Network", "What it is", "Needs", "Resolution", "Weights", "Where to get them", "Licence", "Accuracy")


def _row(entry: Record, folder: Path) -> tuple[str, ...]:
    try:
        sets = in_use(entry.name, folder)
        wanted = needs(_as_stored(entry, sets[0]) if sets else entry)
        state = "there: " + "; ".join(f"{one.path.name}, {origin(one)}" for one in sets) if sets else "not there"
        state += "; run as an ensemble" if len(sets) > 1 else ""
    except CloudRemovalError as error:
        sets, wanted, state = [], needs(entry), f"not usable: {error}"
    figures = f"{entry.accuracy} ({entry.accuracy_source})" if entry.accuracy else "none verified"
    return (
        entry.name,
        f"{entry.title}; {entry.paper}, {entry.link}",
        wanted,
        f"{entry.gsd_m:g} m",
        state,
        "; ".join(map(_source, of_network(entry.name))) or entry.weights,
        _of_each(sets, terms, entry.licence),
        _of_each(sets, held_out, figures),
    )


def _as_stored(entry: Record, stored: Stored) -> Record:
    """The record with what depends on the arguments of the weights: radar, and how many dates sequence to point takes.

    Raises:
        InputError: the weights are for other bands.
    """
    wanted = wants(entry, stored.config)
    dates = wanted.dates if entry.module == "seq2point" else entry.dates
    return replace(entry, radar="required" if wanted.radar else "no", dates=dates)


def _source(item: Checkpoint) -> str:
    """Where a checkpoint is to be had, or how one is made where its authors offer none."""
    text = f"{item.file} at {item.address}" + (f" ({item.note})" if item.note else "")
    if item.published:
        return text
    known = " or ".join(name for name, recipe in PRESETS.items() if recipe.network == item.network)
    return f"{text}; train one with " + (f"trainmodel, RECIPE {known}" if known else "the authors' code")


def _of_each(sets: Iterable[Stored], own: Callable[[Stored], str], published: str) -> str:
    """What holds for the weights in use: as published; for weights that were trained here, what their record says."""
    said = [(one.path.name, own(one) if trained(one) else published) for one in sets] or [("", published)]
    if len({text for _, text in said}) == 1:
        return said[0][1]
    return "; ".join(f"{name}: {text}" for name, text in said)


def _starter(folder: Path) -> tuple[str, ...]:
    """The plugin's own network, which no paper published."""
    figures = "none"
    try:
        stored = find(STARTER, folder)
        state = "not there" if stored is None else f"there: {stored.path.name}, made by {stored.source}"
        if stored is not None:
            figures = _left_out(json.loads(stored.facts.get("figures", "{}")))
    except (CloudRemovalError, ValueError) as error:
        state = f"damaged: {error}"
    return (
        STARTER,
        "Starter; ours, for METHOD=auto and one date alone, see docs/training.md",
        "Sentinel-2; 3 to 13 bands, radar (VV and VH) where there is some; 1 date",
        "10 m",
        state,
        "ships with the plugin",
        "that of the plugin; made from Copernicus Sentinel data and SEN12MS-CR (CC BY 4.0)",
        figures,
    )


def _left_out(figures: dict[str, dict[str, float]]) -> str:
    """PSNR and mean absolute error beside the plain baselines."""
    names = {"starter": "starter", "detect_and_mean": "detected clouds filled with the mean", "mean_fill": "mean",
             "input": "input"}  # fmt: skip
    parts = [
        f"{title} {figures[name]['psnr']:.1f} dB, {figures[name]['mae']:.3f}"
        for name, title in names.items()
        if name in figures
    ]
    return f"regions left out of the training: {'; '.join(parts)}" if parts else "none"


def needs(entry: Record) -> str:
    """What layers a network wants, in one phrase."""
    least, most = entry.dates
    dates = f"{least} date" + ("s" if least != 1 else "")
    if most == 0:
        dates = f"{least} or more dates"
    elif most != least:
        dates = f"{least} to {most} dates"
    radar = ", radar (VV and VH)" if entry.radar == "required" else ""
    return f"{entry.sensor}; {len(entry.bands)} bands ({', '.join(entry.bands)}){radar}; {dates}"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in _COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _item(line: str) -> str:
    return f"<li>{escape(line)}</li>"


def _write(path: str, title: str, body: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        OutputError: the disk is full or refuses.
    """
    write_whole(path, webpage(title, body, _STYLE, width=1700))
