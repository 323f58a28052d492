"""Collects the report of an evaluation."""

from __future__ import annotations

import time
from typing import Any

import rasterio

from ..evaluation import judgement, plots
from ..evaluation.confidence import Confidence
from ..evaluation.conventions import Convention
from ..evaluation.page import render
from ..evaluation.pictures import Picture
from ..raster.info import describe
from ..raster.thumbnail import thumbnail
from .job import Job
from .judged import Judged
from .pictured import EDGE, Shown, mask_over, mean_error, over_bands, views, views_as_crsystem


def judgement_html(
    job: Job, layers: Judged, found: dict[str, Any], rules: Convention, confidence: Confidence | None
) -> str:
    """The report as HTML."""
    grid, reference = layers.grid, Shown("Reference", layers.infos[-1], layers.radiometries[-1])
    restored = [
        Shown(name if len(layers.names) > 1 else "Restored", info, radiometry)
        for name, info, radiometry in zip(layers.names, layers.infos, layers.radiometries, strict=False)
    ]
    shown = [*restored, reference]
    if layers.cloudy is not None:
        shown.insert(0, Shown("Cloudy", layers.cloudy.info, layers.cloudy.radiometry))
    if rules.name == "crsystem":
        pictures, note = views_as_crsystem(shown, grid)
    else:
        pictures, note = views(shown, grid, layers.bands, steady=len(shown) - 1)
    maps = _maps(layers, restored, reference)
    if rules.name == "crsystem" and job.cloud_mask:
        overlay = mask_over(reference, describe(job.cloud_mask), grid)
        maps += [overlay] if overlay else []
    sample = confidence.sample() if confidence else judgement.NO_SAMPLE
    return render(
        judgement.page(
            judgement.Judgement(
                figures=found,
                rules=rules,
                views=pictures,
                maps=maps,
                sample=sample,
                layers=_rows(job, layers),
                job=job.to_json(),
                paths=job.inputs,
                gdal=rasterio.__gdal_version__,
                views_note=note,
                made=time.strftime("%Y-%m-%d"),
            )
        )
    )


def _maps(layers: Judged, restored: list[Shown], reference: Shown) -> list[Picture]:
    """Errors of up to four layers on one scale, and the uncertainty on the first layer's."""
    errors = [mean_error(each, reference, layers.grid, layers.bands) for each in restored[:4]]
    top = plots.common_top(errors)
    label = "mean absolute error over bands (reflectance)"
    pictures = [
        Picture(f"Error: {each.title}", plots.map_of(error, label, top=top), f"Map of the error of {each.title}")
        for each, error in zip(restored, errors, strict=False)
    ]
    if layers.sigma is not None:
        sigma = over_bands(thumbnail(layers.sigma.info, layers.sigma.radiometry, layers.grid, layers.bands, EDGE))
        own = plots.common_top([errors[0], sigma])
        uri = plots.map_of(sigma, "standard deviation, mean over bands (reflectance)", top=own)
        caption = f"Of {layers.names[0]}, on a scale of its own." if len(restored) > 1 else ""
        pictures.append(Picture("Announced uncertainty", uri, "Map of the uncertainty", caption))
    return pictures


def _rows(job: Job, layers: Judged) -> list[list[str]]:
    """Role, file, date, size and how it was read, of every layer."""
    rows = []
    for place, (info, radiometry) in enumerate(zip(layers.infos, layers.radiometries, strict=True)):
        role = "Reference" if place == len(layers.infos) - 1 else "Restored"
        day = layers.dates[place]
        read = f"{radiometry.sensor} {radiometry.level}".strip() + f", reflectance = {radiometry.in_words()}"
        rows.append([role, info.name, day.isoformat() if day else "–", f"{info.width} x {info.height}", read])
    extras = (
        ("Cloudy", job.cloudy), ("Cloud mask", job.cloud_mask), ("Uncertainty", job.sigma),
        ("Land cover", job.land_cover),
    )  # fmt: skip
    for role, path in extras:
        if path:
            info = describe(path)
            rows.append([role, info.name, "", f"{info.width} x {info.height}", ""])
    return rows
