"""A small series whose truth is known: smooth land that changes linearly with time, and one round cloud."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

DAYS = ("2024-06-10", "2024-06-01", "2024-06-20", "2024-07-05")
OFFSETS = (0.0, -9.0, 10.0, 25.0)
SEASON_NAMES = ("blue", "green", "red", "nir")
SEASON_START = date(2024, 5, 1)


@dataclass(frozen=True)
class Series:
    """Paths of a series, and its truth: uint16 (C, H, W) of the target, bool (H, W) of its cloud."""

    target: Path
    others: tuple[Path, ...]
    mask: Path
    clear_masks: tuple[Path, ...]
    truth: np.ndarray
    cloud: np.ndarray


def land(shape: tuple[int, int], bands: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance at day 0 and its change a day, float (C, H, W)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(rows * f + p) + np.cos(cols * g + q) for f, g, p, q in rng.uniform(0.02, 0.4, (6, 4))]
    mix = rng.uniform(-1, 1, (bands, 6))
    base = 0.15 + 0.1 * np.arange(bands)[:, None, None] / bands
    surface = base + 0.01 * np.tensordot(mix, np.array(waves), 1)
    change = 0.0004 * np.tensordot(np.roll(mix, 1, 1), np.array(waves), 1)
    return surface, change


@pytest.fixture
def make_series(write_image):
    """``make_series(shape, bands, cloud=...)`` writes a series as GeoTIFFs; the cloud is a disc unless given."""

    def make(shape=(96, 80), bands=4, cloud: np.ndarray | None = None, seed: int = 1, **profile) -> Series:
        surface, change = land(shape, bands, seed)
        rng = np.random.default_rng(seed + 1)
        names = ("blue", "green", "red", "nir", "rededge1", "rededge2", "rededge3", "nir08")[:bands]
        stacks = [
            np.clip((surface + change * day + rng.normal(0, 0.001, surface.shape)) * 10000, 1, 10000).astype(np.uint16)
            for day in OFFSETS
        ]
        rows, cols = np.mgrid[: shape[0], : shape[1]]
        if cloud is None:
            cloud = (rows - shape[0] / 2) ** 2 + (cols - shape[1] / 2) ** 2 < (min(shape) / 4) ** 2
        truth = stacks[0].copy()
        stacks[0][:, cloud] = 8000
        paths = [write_image(s, f"S2_{day}.tif", **profile) for s, day in zip(stacks, DAYS, strict=True)]
        for path in paths:
            _name_bands(path, names)
        none = np.zeros(shape, np.uint8)
        masks = [write_image(none, f"MASK_{day}.tif", **profile) for day in DAYS[1:]]
        mask = write_image(cloud.astype(np.uint8), f"MASK_{DAYS[0]}.tif", **profile)
        return Series(paths[0], tuple(paths[1:]), mask, tuple(masks), truth, cloud)

    return make


def _name_bands(path: Path, names: tuple[str, ...]) -> None:
    with rasterio.open(path, "r+") as file:
        file.descriptions = names


@pytest.fixture
def make_job(tmp_path):
    """``make_job(series, **changes)``: a restoration job with all outputs, masks given."""
    from cloud_removal_plugin.engine.job import Job

    def make(series: Series, **changes) -> Job:
        options = {
            "kind": "restore",
            "input": str(series.target),
            "other_dates": tuple(map(str, series.others)),
            "cloud_mask": str(series.mask),
            "other_masks": tuple(map(str, series.clear_masks)),
            "method": "fast",
            "output": str(tmp_path / "out.tif"),
            "uncertainty": str(tmp_path / "sigma.tif"),
            "clouds": str(tmp_path / "clouds.tif"),
        }
        return Job(**(options | changes))

    return make


@pytest.fixture
def season(write_image, tmp_path):
    """``season(dates)`` writes dates of 64 x 48 pixels, a moving disc of cloud on each, and masks; paths in order."""

    def make(dates: int = 5, step: int = 10, masks: bool = True, **profile) -> tuple[list[str], list[str]]:
        rng = np.random.default_rng(5)
        rows, cols = np.mgrid[:64, :48]
        surface = 0.1 + 0.05 * np.sin(rows / 5 + np.arange(4)[:, None, None]) + 0.05 * np.cos(cols / 7)
        images, found = [], []
        for number in range(dates):
            day = SEASON_START + timedelta(days=step * number)
            image = surface * (1 + 0.1 * number) + 0.001 * rng.standard_normal(surface.shape)
            cloud = (rows - 10 - 9 * (number % 6)) ** 2 + (cols - 24) ** 2 < 100
            image[:, cloud] = 0.8
            stored = np.clip(image * 10000, 1, 10000).astype(np.uint16)
            path = write_image(stored, f"S2_{day}.tif", **profile)
            with rasterio.open(path, "r+") as file:
                file.descriptions = SEASON_NAMES
            images.append(str(path))
            if masks:
                found.append(str(write_image(cloud.astype(np.uint8), f"MASK_{day}.tif", **profile)))
        return images, found

    return make


@pytest.fixture
def do():
    """``do(job)`` runs a job in this process; ``do.log`` holds what it said."""
    from cloud_removal_plugin.engine.run import run

    class Do:
        log: list[tuple[str, str]]

        def __call__(self, job, cancelled=lambda: False):
            self.log, self.fractions = [], []
            return run(job, lambda f, _: self.fractions.append(f), cancelled, lambda *said: self.log.append(said))

    return Do()
