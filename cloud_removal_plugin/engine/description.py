"""A description job: what layers, folders and archives are, why we think so, and what is doubtful."""

from __future__ import annotations

import json
import os
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ..raster.delivery import Delivery
from ..raster.findings import Findings, Single, look
from .job import Job, Result
from .progress import Cancel, Log, Progress, Report

_LOOKING = "Looking at layers"


def describe_layers(
    job: Job, *, budget_mb: int, threads: Executor, report: Report, cancelled: Cancel, log: Log
) -> Result:
    """Look at every path of the job; the findings come back as JSON in the result's ``report``.

    Raises:
        InputError: a path does not exist, or is a damaged archive.
        Cancelled: the analyst cancelled.
    """
    progress = Progress(report, cancelled, {_LOOKING: 1.0})
    found = []
    for index, path in enumerate(job.products):
        progress.step(_LOOKING, index / len(job.products), f"Looking at {Path(path).name}")
        found.append(as_data(look(path, cancelled=progress.asked)))
    progress.step(_LOOKING, 1.0)
    return Result(output="", method_used="describe", report=json.dumps(found, ensure_ascii=False))


def as_data(findings: Findings) -> dict[str, Any]:
    """Findings as plain data for JSON: paths, products, rasters, problems."""
    return {
        "path": findings.path,
        "products": [_product(delivery) for delivery in findings.deliveries],
        "rasters": [_raster(single) for single in findings.singles],
        "problems": list(findings.problems),
    }


def _product(delivery: Delivery) -> dict[str, Any]:
    return {
        "product": delivery.product,
        "name": delivery.name,
        "path": _place(delivery),
        "sensor": delivery.sensor,
        "level": delivery.level,
        "platform": delivery.platform,
        "tile": delivery.tile,
        "orbit": delivery.orbit,
        "baseline": delivery.baseline,
        "time": delivery.when.strftime("%Y-%m-%dT%H:%M:%SZ") if delivery.when else "",
        "sun_azimuth": delivery.sun.azimuth,
        "sun_elevation": delivery.sun.elevation,
        "bands": [
            {
                "name": plane.name,
                "role": plane.role,
                "file": plane.source or plane.path,
                "band": plane.band,
                "scale": plane.scale,
                "offset": plane.offset,
                "wavelength_nm": plane.wavelength_nm or None,
            }
            for plane in delivery.planes
        ],
        "missing_bands": list(delivery.missing),
        "quality_layers": [layer.kind for layer in delivery.quality],
        "why": list(delivery.why),
        "doubts": [*delivery.doubts, *_about_missing(delivery)],
    }


def _place(delivery: Delivery) -> str:
    """Where the product lies: of files in a folder of many products, their own folder."""
    files = [plane.path for plane in delivery.planes if not plane.source]
    inside = files and all(os.path.abspath(path).startswith(os.path.join(delivery.path, "")) for path in files)
    if not inside or delivery.path.upper().endswith(".SAFE"):
        return delivery.path
    folder = os.path.commonpath([os.path.dirname(path) for path in files])
    return delivery.path if "GRANULE" in os.path.relpath(folder, delivery.path).split(os.sep) else folder


def _about_missing(delivery: Delivery) -> list[str]:
    return [f"It lacks the bands {', '.join(delivery.missing)}."] if delivery.missing else []


def _raster(single: Single) -> dict[str, Any]:
    return {
        "path": single.path,
        "kind": single.kind,
        "product": single.product,
        "bands": list(single.bands),
        "date": single.date,
        "units": single.units,
        "why": list(single.why),
        "doubts": list(single.doubts),
    }
