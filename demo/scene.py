"""The made-up scene: six dates of Sentinel-2, Sentinel-1 for each, the truth, written as GeoTIFFs.

Everything follows from the seed, so two runs write the same pixels.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from demo import land as lands
from demo import phenology, radar, weather
from demo.spectra import BAND_NAMES

CRS = "EPSG:32632"
ORIGIN = (604_000.0, 5_652_000.0)
PIXEL_M = 10.0
DN_PER_REFLECTANCE = 10_000.0


@dataclass(frozen=True)
class Day:
    """One Sentinel-2 date: shares under each kind of cloud, and how wet the soil is."""

    date: dt.date
    deck: float
    cumulus: float
    cirrus: float
    wetness: float


DAYS: tuple[Day, ...] = (
    Day(dt.date(2024, 4, 13), deck=0.10, cumulus=0.04, cirrus=0.0, wetness=0.6),
    Day(dt.date(2024, 5, 3), deck=0.0, cumulus=0.08, cirrus=0.08, wetness=0.2),
    Day(dt.date(2024, 5, 23), deck=0.17, cumulus=0.06, cirrus=0.05, wetness=0.4),
    Day(dt.date(2024, 6, 12), deck=0.18, cumulus=0.0, cirrus=0.0, wetness=0.3),
    Day(dt.date(2024, 7, 2), deck=0.0, cumulus=0.0, cirrus=0.0, wetness=0.1),
    Day(dt.date(2024, 7, 27), deck=0.04, cumulus=0.05, cirrus=0.0, wetness=0.5),
)
TARGET = 2
"""The date that is to be restored."""


@dataclass(frozen=True)
class Scene:
    """Arrays of a made-up scene.

    Attributes:
        dates: T dates, in order.
        target: index of the date to be restored.
        optical: float32 (T, 13, H, W), top-of-atmosphere reflectance.
        classes: uint8 (T, H, W), the true 0 clear, 1 cloud, 2 shadow.
        truth: float32 (13, H, W), the target without clouds and shadows.
        radar: float32 (T, 2, H, W), VV and VH in dB.
        radar_dates: T dates, a day after the optical ones.
    """

    dates: tuple[dt.date, ...]
    target: int
    optical: np.ndarray
    classes: np.ndarray
    truth: np.ndarray
    radar: np.ndarray
    radar_dates: tuple[dt.date, ...]


@dataclass(frozen=True)
class SceneFiles:
    """Where a scene was written; strings, so that it turns into JSON and back.

    Attributes:
        optical: T paths in order of date.
        masks: T paths of the true classes (never shown to the plugin in the demo).
        target: index of the date to be restored.
        truth: the target without clouds; empty where nobody knows it.
        radar: one raster of 2 T bands, VV and VH by date; empty without radar.
    """

    optical: tuple[str, ...]
    masks: tuple[str, ...]
    target: int
    truth: str
    radar: str


def simulate(
    size: int | tuple[int, int] = 1024,
    seed: int = 7,
    *,
    days: tuple[Day, ...] = DAYS,
    target: int = TARGET,
    report: Callable[[str], None] | None = None,
) -> Scene:
    """Draws a scene.

    Args:
        size: edge in pixels of 10 m, or (H, W).
        seed: the same seed draws the same scene.
        days: dates with their weather.
        target: which of them is to be restored.
        report: told each date as it is drawn.
    """
    shape = (size, size) if isinstance(size, int) else size
    ground = lands.build(np.random.default_rng([seed, 0]), shape, PIXEL_M)
    mowing = np.random.default_rng([seed, 1]).uniform((125, 185), (165, 225), (ground.crop.size, 2)).T
    optical = np.empty((len(days), len(BAND_NAMES), *shape), np.float32)
    classes = np.zeros((len(days), *shape), np.uint8)
    backscatter = np.empty((len(days), 2, *shape), np.float32)
    truth = np.empty(optical.shape[1:], np.float32)
    for index, day in enumerate(days):
        if report:
            report(f"{day.date}: land, sky, radar")
        rng = np.random.default_rng([seed, 2, index])
        zenith, azimuth = phenology.sun(day.date)
        shares = phenology.materials(ground, day.date, mowing)
        bright = phenology.surface(ground, shares, day.date, day.wetness, rng)
        above = None
        if day.deck + day.cumulus + day.cirrus > 0:
            above = weather.sky(
                rng, shape, deck=day.deck, cumulus=day.cumulus, cirrus=day.cirrus,
                sun_zenith_deg=zenith, sun_azimuth_deg=azimuth, pixel_m=PIXEL_M,
            )  # fmt: skip
            classes[index] = above.classes()
        optical[index], clear = weather.observe(bright, above, rng, pixel_m=PIXEL_M)
        if index == target:
            truth = clear
        backscatter[index] = radar.backscatter(ground, shares, day.wetness, rng)
    return Scene(
        dates=tuple(day.date for day in days),
        target=target,
        optical=optical,
        classes=classes,
        truth=truth,
        radar=backscatter,
        radar_dates=tuple(day.date + dt.timedelta(days=1) for day in days),
    )


def to_dn(reflectance: np.ndarray) -> np.ndarray:
    """uint16 numbers as in a Sentinel-2 product without offset; 0 stays free for "no data"."""
    return np.clip(np.rint(reflectance * DN_PER_REFLECTANCE), 1, 65535).astype(np.uint16)


def _write(path: Path, array: np.ndarray, descriptions: list[str], **profile: object) -> str:
    height, width = array.shape[1:]
    options = {
        "driver": "GTiff", "count": array.shape[0], "height": height, "width": width, "dtype": array.dtype.name,
        "crs": CRS, "transform": from_origin(*ORIGIN, PIXEL_M, PIXEL_M), "compress": "deflate", "zlevel": 1,
        "predictor": 3 if array.dtype.kind == "f" else 2, "num_threads": 2,
    } | profile  # fmt: skip
    if min(height, width) >= 256:
        options |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(path, "w", **options) as file:
        file.write(array)
        for number, text in enumerate(descriptions, start=1):
            file.set_band_description(number, text)
        if array.dtype == np.uint16:
            file.scales = (1 / DN_PER_REFLECTANCE,) * array.shape[0]
    return str(path)


def write(scene: Scene, folder: Path) -> SceneFiles:
    """Writes a scene as GeoTIFFs with dates in their names: S2_2024-05-23.tif, TRUEMASK_..., TRUTH_..., S1.tif.

    The folder holds, last of all, ``scene.json`` with the names; a folder without it is not whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(BAND_NAMES)
    optical = tuple(
        _write(folder / f"S2_{date}.tif", to_dn(scene.optical[i]), names, nodata=0)
        for i, date in enumerate(scene.dates)
    )
    masks = tuple(
        _write(folder / f"TRUEMASK_{date}.tif", scene.classes[i][None], ["0 clear, 1 cloud, 2 shadow"], predictor=1)
        for i, date in enumerate(scene.dates)
    )
    truth = _write(folder / f"TRUTH_{scene.dates[scene.target]}.tif", to_dn(scene.truth), names, nodata=0)
    labels = [f"{polarisation} {date}" for date in scene.radar_dates for polarisation in ("VV", "VH")]
    backscatter = scene.radar.reshape(-1, *scene.radar.shape[2:])
    radar_path = _write(folder / "S1.tif", backscatter, labels, nodata=float("nan"))
    files = SceneFiles(optical, masks, scene.target, truth, radar_path)
    (folder / "scene.json").write_text(json.dumps(asdict(files), indent=1), encoding="utf-8")
    return files
