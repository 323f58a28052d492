"""The report of an evaluation, from its figures and a few pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import plots
from .conventions import Convention
from .figures import MEASURES
from .page import Gallery, Page, Section, Sentences, Table, Tile
from .pictures import Picture
from .shared_sections import again, calibration, cite, measure_columns, measures_row
from .words import count, listed, number, reflectance

NO_SAMPLE = (np.zeros(0), np.zeros(0))

WHAT = {
    "state": "Restored and kept",
    "class": "Clear, cloud and shadow",
    "distance to clear": "Distance to the nearest clear pixel (restored pixels)",
    "land cover": "Land cover (restored pixels)",
}


@dataclass(frozen=True)
class Judgement:
    """What the report of an evaluation is made of.

    Attributes:
        figures: from :func:`figures.figures`, with names and warnings. rules: how was measured.
        views: pictures to be laid over each other. maps: of errors and of the uncertainty.
        sample: announced deviations and errors, each (N,), where an uncertainty was given.
        layers: rows (role, file, date, size, remark). job: as JSON. paths: files that went in. gdal: its version.
        views_note: how the views are drawn. made: when.
    """

    figures: Mapping[str, Any]
    rules: Convention
    views: Sequence[Picture]
    maps: Sequence[Picture]
    sample: tuple[np.ndarray, np.ndarray]
    layers: Sequence[Sequence[str]]
    job: str
    paths: Sequence[str]
    gdal: str
    views_note: str
    made: str


def page(judgement: Judgement) -> Page:
    """The page of an evaluation."""
    found = judgement.figures
    layers = found["layers"]
    sections = []
    if len(layers) > 1:
        sections.append(_comparison(found))
    if judgement.maps:
        lead = "Where the restored layer is off, and where it says that it may be."
        sections.append(Section("Maps", lead, [Gallery(judgement.maps)]))
    sections += [_places(found, layers[0], judgement.rules), _bands(found, layers[0])]
    if found.get("uncertainty") and "uce" in found["uncertainty"]:
        values = count(found["uncertainty"]["values"])
        lead = f"Of the {values} restored values of {layers[0]['name']} with an uncertainty."
        sections.append(calibration(found["uncertainty"], judgement.sample, lead))
    sections.append(_data(judgement))
    used = ["ssim", "sam", judgement.rules.name, *(["uce"] if found.get("uncertainty") else [])]
    used += ["lpips"] if found["lpips"] is not None else []
    sections.append(cite([*used, *(["worldcover"] if _is_worldcover(layers[0]) else [])]))
    sections.append(again(judgement.job, judgement.paths, [("GDAL", judgement.gdal)]))
    return Page(
        title=listed([layer["name"] for layer in layers][:3]) + (" and more" if len(layers) > 3 else ""),
        subtitle="Evaluation of restored layers",
        verdict=_verdict(found, layers[0]),
        tiles=_tiles(found, layers[0]),
        views=judgement.views,
        left=judgement.views[0].title if judgement.views else "",
        right=judgement.views[-1].title if len(judgement.views) < 3 else judgement.views[1].title,
        views_note=judgement.views_note,
        sections=sections,
        footer=f"Made by Cloud Removal for QGIS on {judgement.made}. Reflectance: 1.0 = 100 %.",
        warnings=found["warnings"],
    )


def restored_part(layer: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Measures of the restored pixels where they are known, else of all; and the word for it."""
    part = layer["parts"].get("state", {}).get("restored")
    return (part, "restored pixels") if part and part["values"] else (layer, "all pixels")


def _verdict(found: Mapping[str, Any], layer: Mapping[str, Any]) -> str:
    part, where = restored_part(layer)
    sentence = (
        f"On {where}, {layer['name']} differs from {found['reference']} by {reflectance(part['mae'])} in reflectance "
        f"on average (RMSE {reflectance(part['rmse'])})."
    )
    kept = layer["parts"].get("state", {}).get("kept")
    if kept and kept["values"]:
        same = kept["mae"] is not None and kept["mae"] < 1e-6
        sentence += " Kept pixels are equal to it." if same else f" Kept pixels differ by {reflectance(kept['mae'])}."
    uncertainty = found.get("uncertainty")
    if uncertainty:
        share = uncertainty["coverage"]["90"]
        sentence += f" The 90 % interval holds {number(100 * share, '{:.0f}')} % of the true values."
    return sentence


def _tiles(found: Mapping[str, Any], layer: Mapping[str, Any]) -> list[Tile]:
    part, where = restored_part(layer)
    unit = "°" if found["sam_unit"] == "degrees" else " rad"
    perceived = layer["lpips"]
    return [
        Tile("MAE", reflectance(part["mae"]), f"reflectance, {where}"),
        Tile("RMSE", reflectance(part["rmse"]), f"reflectance, {where}"),
        Tile("PSNR", number(part["psnr"], "{:.1f} dB"), "higher is better"),
        Tile("SSIM", number(part["ssim"], "{:.3f}"), "1 = same structure"),
        Tile("SAM", number(part["sam"], "{:.2f}" + unit), "angle between spectra"),
        Tile("Values", count(part["values"]), where),
        *([] if perceived is None else [Tile("LPIPS", number(perceived, "{:.3f}"), "all pixels, 0 = alike")]),
    ]


def _is_worldcover(layer: Mapping[str, Any]) -> bool:
    """Whether the land cover got its names from ESA WorldCover."""
    return any(not part.isdigit() for part in layer["parts"].get("land cover", {}))


def _comparison(found: Mapping[str, Any]) -> Section:
    layers = found["layers"]
    parts = [restored_part(layer) for layer in layers]
    rows = [measures_row(layer["name"], part) for layer, (part, _) in zip(layers, parts, strict=True)]
    by_name = {place["name"]: place for place in found["ranks"]}
    shown = [name for name in MEASURES if all(name in place for place in found["ranks"])]
    ranked = sorted(by_name, key=lambda name: by_name[name]["mean_rank"] or 0)
    ranks = [
        [name, *(str(by_name[name][key]) for key in shown), number(by_name[name]["mean_rank"], "{:.1f}")]
        for name in ranked
    ]
    errors = plots.as_numbers([part["rmse"] for part, _ in parts])
    best = layers[int(np.nanargmin(errors))]["name"]
    chart = plots.bars([layer["name"] for layer in layers], errors, "RMSE (reflectance)", strong=[best])
    return Section(
        "Which layer is best?",
        f"All layers on the same values, {parts[0][1]}. Ranks: 1 is best.",
        [
            Table(measure_columns("Layer", found["sam_unit"]), rows, strong=[ranked and _place(layers, ranked[0])]),
            Gallery([Picture("Error of each layer", chart, "RMSE of each layer", wide=True)]),
            Table(["Layer", *(name.upper() for name in shown), "Mean rank"], ranks, strong=[0]),
        ],
    )


def _place(layers: Sequence[Mapping[str, Any]], name: str) -> int:
    return [layer["name"] for layer in layers].index(name)


def _places(found: Mapping[str, Any], layer: Mapping[str, Any], rules: Convention) -> Section:
    """One table, the splits below each other; and how the error grows away from clear pixels."""
    rows = [measures_row("All pixels", layer, 1.0)]
    for split, parts in layer["parts"].items():
        rows.append([WHAT.get(split, split)])
        rows += [
            measures_row(name, part, part["values"] / layer["values"]) for name, part in parts.items() if part["values"]
        ]
    blocks: list[Any] = [
        Table(
            measure_columns("Where", found["sam_unit"], share=True),
            rows,
            strong=[0],
            note=f"{rules.title}: {_how(rules)}",
        )
    ]
    far = {name: part for name, part in layer["parts"].get("distance to clear", {}).items() if part["values"]}
    if len(far) > 1:
        series = {each["name"]: _far(each, list(far)) for each in found["layers"]}
        chart = plots.columns(list(far), series, "MAE (reflectance)")
        blocks.append(
            Gallery([Picture("Error by distance to the nearest clear pixel", chart, "MAE by distance", wide=True)])
        )
    covers = {name: part for name, part in layer["parts"].get("land cover", {}).items() if part["values"]}
    if len(covers) > 1:
        series = {each["name"]: plots.as_numbers([each["parts"]["land cover"][c]["mae"] for c in covers])
                  for each in found["layers"]}  # fmt: skip
        chart = plots.columns(list(covers), series, "MAE (reflectance)")
        blocks.append(Gallery([Picture("Error by land cover", chart, "MAE by land cover", wide=True)]))
    return Section(
        f"How far off, and where? {layer['name']}", "Errors are restored minus reference, in reflectance.", blocks
    )


def _far(layer: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    return plots.as_numbers([layer["parts"]["distance to clear"][name]["mae"] for name in names])


def _how(rules: Convention) -> str:
    window = (
        f"SSIM with windows of {rules.similarity.size} x {rules.similarity.size} pixels, SAM in {rules.angle_unit}."
    )
    return f"{window} {rules.note}".strip()


def _bands(found: Mapping[str, Any], layer: Mapping[str, Any]) -> Section:
    rows, means = [], {}
    for band, measures in layer["bands"].items():
        part = measures.get("restored") or measures
        part = part if part["values"] else measures
        rows.append([cell for place, cell in enumerate(measures_row(band, part)) if place != 6])
        means[band] = part["mae"]
    known = {band: value for band, value in means.items() if value is not None}
    chart = plots.columns(list(known), {"MAE": plots.as_numbers(list(known.values()))}, "MAE (reflectance)")
    head = [name for place, name in enumerate(measure_columns("Band", found["sam_unit"])) if place != 6]
    where = restored_part(layer)[1]
    blocks = [Table(head, rows), Gallery([Picture("Mean absolute error by band", chart, "MAE by band", wide=True)])]
    return Section("Bands", f"{layer['name']}, {where}.", blocks)


def _data(judgement: Judgement) -> Section:
    columns = ["Role", "File", "Date", "Size", "Read as"]
    blocks: list[Any] = [Table(columns, judgement.layers, texts=(1, 2, 3, 4))]
    if judgement.figures["notes"]:
        blocks.append(Sentences(judgement.figures["notes"]))
    return Section("Data", "What was compared.", blocks)
