"""The report of a cloud removal, from plain data and a few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..models.records import RECORDS
from . import plots
from .calibration import LEVELS, coverage, discard_curve, uce_auce, uce_equal_counts
from .page import Gallery, Page, Section, Sentences, Table, Tile
from .pictures import Picture
from .shared_sections import again, calibration, cite
from .words import number, percent, reflectance, seconds

MOST_REGIONS = 24
"""Regions shown one by one; of more, those with the largest gaps."""

TITLES = {
    "gaussian": "Gaussian over the dates",
    "networks": "Networks trained on the scene",
    "interpolation": "Interpolation in time",
    "inpainting": "Inpainting from the rim",
}
BASELINES = ("interpolation", "inpainting")
"""What an analyst could do without this plugin."""

LEAST_SAMPLE = 200


@dataclass(frozen=True)
class Region:
    """What one part of the scene learned.

    Attributes:
        name: where it lies. gap: hidden pixels. summary: what ran, in a line.
        members: everything that was tried; () where the method has no members. weights, rmse, mae: (M, C).
        mixture_rmse, mixture_mae: (C,). error, sigma: (C, n) of the mixture in simulated gaps.
    """

    name: str
    gap: int
    summary: str
    members: tuple[str, ...] = ()
    weights: np.ndarray | None = None
    rmse: np.ndarray | None = None
    mae: np.ndarray | None = None
    mixture_rmse: np.ndarray | None = None
    mixture_mae: np.ndarray | None = None
    error: np.ndarray | None = None
    sigma: np.ndarray | None = None


@dataclass(frozen=True)
class Removal:
    """What the report of a cloud removal is made of.

    Attributes:
        name: of the cloudy layer. date: when it was taken, '' = not known. method: as chosen.
        hidden, restored: shares of the valid pixels. expected_rmse: reflectance, None = not known.
        bands: roles. regions: of the scene. elapsed: seconds.
        views, maps: pictures. views_note: how they are drawn.
        layers: rows (role, file, date, distance in time, share of the gap that it shows, use).
        warnings, notes: sentences. detectors: names of what found the clouds.
        job: as JSON. paths: files that went in. gdal: its version. made: when.
    """

    name: str
    date: str
    method: str
    hidden: float
    restored: float
    expected_rmse: float | None
    bands: tuple[str, ...]
    regions: Sequence[Region]
    elapsed: float
    views: Sequence[Picture]
    maps: Sequence[Picture]
    views_note: str
    layers: Sequence[Sequence[str]]
    warnings: Sequence[str]
    notes: Sequence[str]
    detectors: Sequence[str]
    job: str
    paths: Sequence[str]
    gdal: str
    made: str


def page(removal: Removal) -> Page:
    """The page of a cloud removal."""
    proven = [region for region in removal.regions if region.members]
    sections = []
    if removal.maps:
        sections.append(Section("What was hidden, and how sure the restoration is", _MAPS, [Gallery(removal.maps)]))
    if proven:
        sections += [_expected(proven), _weights(proven), _bands(removal.bands, proven)]
        held = _calibration(proven)
        sections += [held] if held else []
    elif removal.regions:
        lines = [f"{region.name}: {region.summary.removesuffix(' 1.00')}" for region in removal.regions[:MOST_REGIONS]]
        lead = (
            "The error on simulated clouds is known for the whole result alone, not for each part of it."
            if removal.expected_rmse is not None
            else "This method was not tried on simulated clouds, so its error is not known."
        )
        sections.append(Section("What ran", lead, [Sentences(lines)]))
    columns = ["Role", "File", "Date", "From the scene", "Shows of the gap", "Used"]
    sections.append(
        Section("Data", "What the restoration could learn from.", [Table(columns, removal.layers, texts=(1, 2, 3, 5))])
    )
    if removal.notes:
        sections.append(Section("What was recognised and assumed", "", [Sentences(removal.notes)]))
    names = {name for region in proven for name in region.members}
    sections.append(cite([*sorted(names), *_methods(removal, proven), *removal.detectors]))
    sections.append(again(removal.job, removal.paths, [("GDAL", removal.gdal)]))
    return Page(
        title=removal.name,
        subtitle="Cloud removal" + (f" · {removal.date}" if removal.date else ""),
        verdict=_verdict(removal, proven),
        tiles=_tiles(removal),
        views=removal.views,
        left=removal.views[0].title,
        right=removal.views[1].title,
        views_note=removal.views_note,
        sections=sections,
        footer=f"Made by Cloud Removal for QGIS on {removal.made}. Reflectance: 1.0 = 100 %.",
        warnings=removal.warnings,
    )


_MAPS = (
    "What counted as cloud or shadow and was restored, and the standard deviation that the restoration announces for "
    "itself: zero on kept pixels, larger far from anything seen."
)


def _methods(removal: Removal, proven: Sequence[Region]) -> list[str]:
    return [removal.method, *(["stack", "interval"] if proven else [])]


def _verdict(removal: Removal, proven: Sequence[Region]) -> str:
    if not removal.hidden:
        return "No clouds were found: the layer was copied as it is."
    part = "All" if removal.restored >= removal.hidden else percent(removal.restored / removal.hidden)
    sentence = f"Clouds and shadows hid {percent(removal.hidden)} of the scene. {part} of it was restored"
    sentence += "; kept pixels are unchanged." if removal.hidden < 1 else "."
    if removal.expected_rmse is not None:
        sentence += f" On simulated clouds the error was {reflectance(removal.expected_rmse)} in reflectance (RMSE)"
        baseline = _overall(proven, "interpolation")
        sentence += f"; interpolation in time alone: {reflectance(baseline)}." if baseline else "."
    return sentence


def _tiles(removal: Removal) -> list[Tile]:
    used = sum(row[0] == "Other date" and row[5] != "no" for row in removal.layers)
    return [
        Tile("Hidden", percent(removal.hidden), "clouds and shadows"),
        Tile("Restored", percent(removal.restored), "of the scene"),
        Tile("Expected error", reflectance(removal.expected_rmse), "RMSE, reflectance"),
        Tile("Method", removal.method, ""),
        Tile("Other dates used", str(used), "of " + str(sum(row[0] == "Other date" for row in removal.layers))),
        Tile("Time", seconds(removal.elapsed), "without this report"),
    ]


def _pooled(regions: Sequence[Region], values: Sequence[np.ndarray], square: bool) -> np.ndarray:
    """Mean (C,) of the regions' values, weighted by their gaps; root mean square where ``square``."""
    weights = np.array([max(region.gap, 1) for region in regions], float)
    table = np.stack(values) ** 2 if square else np.stack(values)
    mean = np.tensordot(weights / weights.sum(), table, 1)
    return np.sqrt(mean) if square else mean


def _member(regions: Sequence[Region], name: str) -> tuple[np.ndarray, np.ndarray, float] | None:
    """RMSE and MAE (C,) of a member over the regions that tried it, and its mean weight over all regions."""
    own = [region for region in regions if name in region.members]
    if not own:
        return None
    places = [region.members.index(name) for region in own]
    rmse = _pooled(own, [region.rmse[place] for region, place in zip(own, places, strict=True)], True)
    mae = _pooled(own, [region.mae[place] for region, place in zip(own, places, strict=True)], False)
    gaps = sum(max(region.gap, 1) for region in regions)
    weight = sum(
        max(region.gap, 1) * float(region.weights[place].mean()) for region, place in zip(own, places, strict=True)
    )
    return rmse, mae, weight / gaps


def _overall(regions: Sequence[Region], name: str) -> float | None:
    found = _member(regions, name) if regions else None
    return None if found is None else _over_bands(found[0])


def _names(regions: Sequence[Region]) -> list[str]:
    return list(dict.fromkeys(name for region in regions for name in region.members))


def _title(name: str) -> str:
    return TITLES.get(name) or (RECORDS[name].title if name in RECORDS else name)


def _expected(regions: Sequence[Region]) -> Section:
    """Error of the mixture and of everything alone, in simulated gaps."""
    mixture = _pooled(regions, [region.mixture_rmse for region in regions], True)
    mae = _pooled(regions, [region.mixture_mae for region in regions], False)
    rmse = _over_bands(mixture)
    rows = [["The mixture that was used", reflectance(mae.mean()), reflectance(rmse), _decibel(mixture), ""]]
    shown = [("The mixture", rmse)]
    for name in _names(regions):
        found = _member(regions, name)
        if found is None:
            continue
        title = _title(name) + (" (baseline)" if name in BASELINES else "")
        rmse = _over_bands(found[0])
        rows.append([title, reflectance(found[1].mean()), reflectance(rmse), _decibel(found[0]), percent(found[2])])
        shown.append((title, rmse))
    chart = plots.bars(
        [name for name, _ in shown], [value for _, value in shown], "RMSE (reflectance)", ["The mixture"]
    )
    lead = (
        "Gaps in the shape of real clouds were simulated on the scene's own clear pixels and restored, so the truth "
        "was known. Baselines are what one could do without fitting anything."
    )
    if any(name in RECORDS for name in _names(regions)):
        lead += " Published networks were tried on a few windows; their errors are carried over in proportion."
    blocks = [
        Table(["", "MAE", "RMSE", "PSNR (dB)", "Weight"], rows, strong=[0]),
        Gallery(
            [Picture("Error on simulated clouds", chart, "RMSE of the mixture and of every member alone", wide=True)]
        ),
    ]
    return Section("What error to expect", lead, blocks)


def _over_bands(rmse: np.ndarray) -> float:
    """RMSE over all values, from that of each band (C,)."""
    return float(np.sqrt(np.mean(np.square(rmse))))


def _decibel(rmse: np.ndarray) -> str:
    square = _over_bands(rmse) ** 2
    return number(-10 * np.log10(square) if square > 0 else None, "{:.1f}")


def _weights(regions: Sequence[Region]) -> Section:
    """Who contributed how much, region by region."""
    largest = sorted(sorted(regions, key=lambda r: -r.gap)[:MOST_REGIONS], key=regions.index)
    names = [name for name in _names(regions) if any(abs(_weight(region, name)) > 0.005 for region in largest)]
    parts = {_title(name): [_weight(region, name) for region in largest] for name in names}
    chart = plots.stacked([region.name for region in largest], parts, "share in the mixture (%), mean over bands")
    lead = "The scene is fitted in regions of up to 2048 pixels; a member that helps nowhere gets no weight."
    if any(_weight(region, name) < -0.005 for region in largest for name in names):
        lead += " A weight below zero takes away an error that the others have in common."
    more = " Regions are named by their upper left pixel." if len(regions) > 1 else ""
    more += (
        f" The {MOST_REGIONS} regions with the largest gaps of {len(regions)}." if len(regions) > MOST_REGIONS else ""
    )
    picture = Picture("Weights of the members", chart, "Weights of the members in every region", wide=True)
    return Section("Which methods did the work", lead + more, [Gallery([picture])])


def _weight(region: Region, name: str) -> float:
    return float(region.weights[region.members.index(name)].mean()) if name in region.members else 0.0


def _bands(bands: Sequence[str], regions: Sequence[Region]) -> Section:
    mixture = _pooled(regions, [region.mixture_rmse for region in regions], True)
    mae = _pooled(regions, [region.mixture_mae for region in regions], False)
    baselines = {name: found[0] for name in BASELINES if (found := _member(regions, name)) is not None}
    columns = ["Band", "MAE", "RMSE", *(f"RMSE, {_title(name).lower()}" for name in baselines)]
    rows = [
        [
            band,
            reflectance(mae[place]),
            reflectance(mixture[place]),
            *(reflectance(b[place]) for b in baselines.values()),
        ]
        for place, band in enumerate(bands)
    ]
    series: dict[str, Any] = {"The mixture": mixture.tolist()}
    series |= {_title(name): values.tolist() for name, values in baselines.items()}
    chart = plots.columns(list(bands), series, "RMSE (reflectance)")
    blocks = [Table(columns, rows), Gallery([Picture("Expected error by band", chart, "RMSE by band", wide=True)])]
    return Section("Bands", "Expected errors of restored pixels, from the simulated clouds.", blocks)


def _calibration(regions: Sequence[Region]) -> Section | None:
    """Coverage and reliability in the last simulated gaps; None where too few values have a sigma."""
    parts = [region for region in regions if region.sigma is not None and region.sigma.size]
    if not parts:
        return None
    sigma = np.concatenate([region.sigma.ravel() for region in parts]).astype(np.float64)
    error = np.concatenate([region.error.ravel() for region in parts]).astype(np.float64)
    known = np.isfinite(sigma) & np.isfinite(error) & (sigma > 0)
    sigma, error = sigma[known], error[known]
    if len(sigma) < LEAST_SAMPLE:
        return None
    uce, auce = uce_auce(sigma**2, error)
    shares = coverage(sigma, error)
    found = {
        "coverage": {f"{100 * level:g}": float(share) for level, share in zip(LEVELS, shares, strict=True)},
        "uce": uce,
        "auce": auce,
        "uce_equal_counts": uce_equal_counts(sigma, error),
        "mean_sigma": float(sigma.mean()),
        "discard_curve_rmse": np.sqrt(discard_curve(sigma**2, error**2)).tolist(),
    }
    lead = (
        "On the last of the simulated gaps. The width of the interval was set there (split conformal), so that about "
        "90 % lie inside by design; the other levels and the curves are not fitted."
    )
    return calibration(found, (sigma, error), lead, places=False)
