"""Collects the report of a cloud removal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio

from ..clouds import s2cloudless
from ..errors import OutputError
from ..evaluation import plots, removal
from ..evaluation.page import render
from ..evaluation.pictures import Picture, class_image, png
from ..evaluation.words import days, percent
from ..raster.classes import NO_DATA
from ..raster.info import describe
from ..raster.thumbnail import small_codes, thumbnail
from .job import Job
from .notes import folded
from .outputs import Shares
from .pictured import EDGE, Shown, over_bands, radar_picture, views
from .restoring import RegionFit
from .scene import Scene
from .texts import write_whole


def drawn(job: Job, folder: Path) -> Job:
    """The job with its uncertainty and clouds written somewhere even where only the report wants them."""
    return replace(
        job,
        uncertainty=job.uncertainty or str(folder / "uncertainty.tif"),
        clouds=job.clouds or str(folder / "clouds.tif"),
    )


def write_page(
    job: Job,
    written: Job,
    scene: Scene,
    fits: Sequence[RegionFit],
    shares: Shares,
    expected_rmse: float | None,
    *,
    notes: Sequence[str],
    warnings: list[str],
    elapsed: float,
) -> str:
    """Write the report of a removal whose rasters are already there.

    Args:
        job: as the analyst gave it. written: with the paths that were really written (:func:`drawn`).
        fits: of the regions that had a gap. shares: counts of pixels. expected_rmse: reflectance, None = not known.
        notes: sentences of masks and fits. warnings: gain one where the page cannot be written. elapsed: seconds.

    Returns:
        Its path, '' where it could not be written: the rasters are worth keeping all the same.
    """
    target = scene.layers[0]
    after = Shown("Cloud-free", describe(written.output), target.radiometry)
    pictures, said = views([Shown("Cloudy", target.info, target.radiometry), after], scene.grid, scene.bands, steady=1)
    found = removal.Removal(
        name=Path(job.input).stem,
        date=scene.dates[0].isoformat() if scene.dates else "",
        method=job.method,
        hidden=shares.hidden / shares.valid,
        restored=shares.restored / shares.valid,
        expected_rmse=expected_rmse,
        bands=scene.bands,
        regions=[_region(fit, alone=len(fits) == 1) for fit in fits],
        elapsed=elapsed,
        views=pictures,
        maps=_maps(written, scene),
        views_note=said,
        layers=_rows(job, scene, fits),
        warnings=tuple(warnings),
        notes=folded([*scene.notes, *notes]),
        detectors=_detectors(job, scene),
        job=job.to_json(),
        paths=job.inputs,
        gdal=rasterio.__gdal_version__,
        made=time.strftime("%Y-%m-%d"),
    )
    try:
        write_whole(job.page, render(removal.page(found)))
    except OutputError as error:
        warnings.append(f"The report is missing: {error}")
        return ""
    return job.page


def _region(fit: RegionFit, alone: bool) -> removal.Region:
    """A region's fit as plain data."""
    name = f"row {fit.region.row}, column {fit.region.col}" if not alone else "whole scene"
    evidence = getattr(fit.fitted, "evidence", None)
    if evidence is None:
        return removal.Region(name, fit.gap, fit.fitted.summary)
    return removal.Region(
        name, fit.gap, fit.fitted.summary, evidence.members, evidence.weights, evidence.rmse, evidence.mae,
        evidence.mixture_rmse, evidence.mixture_mae, evidence.error, evidence.sigma,
    )  # fmt: skip


def _maps(written: Job, scene: Scene) -> list[Picture]:
    """Clouds and shadows, and the uncertainty of what was restored."""
    classes = small_codes(describe(written.clouds), scene.grid, EDGE).astype(np.uint8)
    pictures = [
        Picture(
            "Clouds and shadows", png(class_image(classes)), "Map of clouds and shadows",
            "White: cloud. Dark: shadow. Green: clear. " + ("Grey: no data." if (classes == NO_DATA).any() else ""),
        )
    ]  # fmt: skip
    info, target = describe(written.uncertainty), scene.layers[0].radiometry
    radiometry = replace(
        target.units(),
        used_bands=tuple(range(1, info.count + 1)),
        nodata=info.nodata,
        zero_is_nodata=False,
        saturated=None,
    )
    sigma = over_bands(thumbnail(info, radiometry, scene.grid, scene.bands, EDGE))
    unknown = np.isnan(sigma) & np.isin(classes, (1, 2))
    sigma = np.where(sigma > 0, sigma, np.nan)
    if np.isfinite(sigma).any():
        uri = plots.map_of(sigma, "standard deviation, mean over bands (reflectance)", unknown=unknown)
        pictures.append(Picture("Uncertainty", uri, "Map of the uncertainty", _beside_the_ramp(classes, unknown)))
    radar = _radar(scene)
    return [*pictures, radar] if radar else pictures


def _beside_the_ramp(classes: np.ndarray, unknown: np.ndarray) -> str:
    """What the map of the uncertainty shows in colours that its ramp does not have."""
    said = ["Grey: kept as it was."] if (classes == 0).any() else []
    said += ["Blue: restored, but how surely is not known."] if unknown.any() else []
    return " ".join(said)


def _radar(scene: Scene) -> Picture | None:
    """The acquisition of the radar that is nearest to the scene."""
    if scene.radar is None or not len(scene.radar_days):
        return None
    nearest = int(np.argmin(np.abs(scene.radar_days)))
    when = days(float(scene.radar_days[nearest])) if scene.dates else "date not known"
    return radar_picture(scene.radar.info, scene.grid, nearest, when)


def _rows(job: Job, scene: Scene, fits: Sequence[RegionFit]) -> list[list[str]]:
    """Role, file, date, distance in time, share of the gap that it shows, use; the nearest date first."""
    used = {date for fit in fits for date in fit.dates}
    gaps = sum(fit.gap for fit in fits)
    rows = []
    for place, layer in enumerate(scene.layers):
        day = scene.dates[place].isoformat() if scene.dates else "–"
        seen = sum(fit.gap * fit.seen[place] for fit in fits if len(fit.seen) > place) / gaps if gaps else 0.0
        role, far = ("Cloudy", "") if place == 0 else ("Other date", days(layer.day) if scene.dates else "–")
        use = "" if place == 0 else "yes" if place in used else "no"
        rows.append([role, layer.info.name, day, far, "" if place == 0 else percent(seen if gaps else None), use])
    rows[1:] = [row for _, row in sorted(zip(np.abs(scene.days[1:]), rows[1:], strict=True), key=lambda pair: pair[0])]
    if scene.radar:
        near = scene.radar_days[np.argsort(np.abs(scene.radar_days))] if len(scene.radar_days) else []
        far = ", ".join(days(day) for day in near[:3])
        rows.append(["Radar", scene.radar.info.name, "", far, "all weathers", _radar_use(fits)])
    if job.cloud_mask:
        rows.append(["Mask", Path(job.cloud_mask).name, "", "", "", "yes"])
    return rows


def _detectors(job: Job, scene: Scene) -> list[str]:
    """The published detectors that found clouds where the analyst gave no mask."""
    given = [job.cloud_mask, *(job.other_masks or [""] * len(job.other_dates))]
    first = scene.readers[0]
    if all(given) or not s2cloudless.applicable(first.bands, first.level):
        return []
    return ["s2cloudless"] if s2cloudless.model_path() else []


def _radar_use(fits: Sequence[RegionFit]) -> str:
    return "yes" if any(fit.fitted.needs.radar for fit in fits) else "no"
