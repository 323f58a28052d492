"""Cases as files, the way an analyst has them: 16-bit GeoTIFFs, masks, a radar stack, dates in the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from benchmarks.cases import Case
from cloud_removal_plugin.bands import SENTINEL2_NAMES

SCALE = 10000.0
CLOUD_REFLECTANCE = 0.7
"""What stands on withheld pixels of the target: a bright cloud, so that any use of it costs decibels."""

_ESA_NAME = {role: name for name, role in SENTINEL2_NAMES.items()}


@dataclass(frozen=True)
class CaseFiles:
    """Paths of a written case; ``dates`` is the DATES text, empty where two dates fall on one day."""

    target: Path
    cloud_mask: Path
    others: tuple[Path, ...]
    masks: tuple[Path, ...]
    radar: Path | None
    dates: str


def save(path: Path, planes: np.ndarray, case: Case, descriptions: tuple[str, ...], nodata: float | None) -> Path:
    """Write (C, H, W) on the grid of the case."""
    profile = {
        "driver": "GTiff", "count": planes.shape[0], "height": planes.shape[1], "width": planes.shape[2],
        "dtype": planes.dtype.name, "crs": case.series.crs or None, "transform": Affine(*case.series.transform),
        "nodata": nodata, "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as data:
        data.write(planes)
        for index, text in enumerate(descriptions, start=1):
            data.set_band_description(index, text)
    return path


def stored(reflectance: np.ndarray) -> np.ndarray:
    """uint16 = reflectance x 10000, at least 1; 0 = no data."""
    with np.errstate(invalid="ignore"):
        number = np.clip(np.rint(reflectance * SCALE), 1, 65535)
    return np.where(np.isfinite(reflectance), number, 0).astype(np.uint16)


def write(case: Case, folder: Path) -> CaseFiles:
    """Write a case into ``folder`` (which exists)."""
    observation = case.observation
    roles = tuple(_ESA_NAME.get(role, role) for role in observation.bands)
    hidden = observation.cloud >= 0.5
    cloud = np.random.default_rng(0).normal(CLOUD_REFLECTANCE, 0.02, observation.optical[0].shape)
    cloudy = np.where(hidden[0] & np.isfinite(case.truth).all(axis=0), cloud, observation.optical[0])
    files, masks = [], []
    for index, date in enumerate(case.dates):
        planes = cloudy if index == 0 else observation.optical[index]
        files.append(save(folder / f"S2_{date:%Y%m%d}_{index:03d}.tif", stored(planes), case, roles, 0))
        mask = hidden[index][None].astype(np.uint8)
        masks.append(save(folder / f"mask_{index:03d}.tif", mask, case, (), None))
    radar = _radar(case, folder) if observation.radar is not None else None
    twins = len(set(case.dates)) < len(case.dates)
    dates = "" if twins else ";".join(date.isoformat() for date in case.dates)
    return CaseFiles(files[0], masks[0], tuple(files[1:]), tuple(masks[1:]), radar, dates)


def _radar(case: Case, folder: Path) -> Path:
    """One raster of VV, VH pairs in dB; the band descriptions carry the dates."""
    stack = case.observation.radar
    names = tuple(f"{p} {date.isoformat()}" for date in case.radar_dates for p in ("VV", "VH"))
    planes = stack.reshape(-1, *stack.shape[2:]).astype(np.float32)
    return save(folder / "radar.tif", planes, case, names, float("nan"))


def read_reflectance(path: str | Path, plain_scale: float = 1 / SCALE) -> np.ndarray:
    """(C, H, W) float64 from a result in the numbers of the input; scale tags win where the file has them."""
    with rasterio.open(path) as data:
        planes = data.read().astype(np.float64)
        scale = np.array([s if s != 1.0 else plain_scale for s in data.scales])[:, None, None]
        if data.nodata is not None and not np.isnan(data.nodata):
            planes[planes == data.nodata] = np.nan
    return planes * scale
