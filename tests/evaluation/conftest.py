"""Small rasters whose errors are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.run import run
from tests.engine.conftest import make_series  # noqa: F401  (a fixture)

BANDS = ("blue", "green", "red", "nir")


@pytest.fixture
def reference() -> np.ndarray:
    """float32 (4, 96, 120), reflectance of land with structure in every band."""
    rng = np.random.default_rng(4)
    rows, cols = np.mgrid[:96, :120]
    waves = np.sin(rows / 7) + np.cos(cols / 11) + 0.3 * rng.normal(size=(96, 120))
    levels = np.array([0.06, 0.08, 0.1, 0.3], np.float32)[:, None, None]
    return (levels * (1 + 0.15 * waves)).astype(np.float32)


@pytest.fixture
def disc() -> np.ndarray:
    """bool (96, 120): a round cloud."""
    rows, cols = np.mgrid[:96, :120]
    return (rows - 45) ** 2 + (cols - 60) ** 2 < 24**2


@pytest.fixture
def write(write_image):
    """``write(reflectance, name, **profile)``: a uint16 GeoTIFF (DN = reflectance x 10,000) with named bands."""

    def make(reflectance: np.ndarray, name: str, dtype: str = "uint16", names=BANDS, **profile) -> Path:
        if dtype == "uint16":
            filled = np.nan_to_num(np.round(reflectance * 10_000), nan=0)
            stored = filled.clip(0, 65_535).astype(dtype)
        else:
            stored = reflectance.astype(dtype)
        path = write_image(stored, name, **profile)
        if names and len(names) == len(stored):
            with rasterio.open(path, "r+") as file:
                file.descriptions = names
        return path

    return make


@pytest.fixture
def judge(tmp_path):
    """``judge(restored, reference, **fields)`` does an evaluation here; ``judge.log`` holds what it said."""

    class Judge:
        log: list[tuple[str, str]]

        def __call__(self, restored, reference, **fields):
            self.log = []
            layers = restored if isinstance(restored, list) else [restored]
            given = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
            job = Job("evaluate", str(reference), given.pop("output", ""), restored=tuple(map(str, layers)), **given)
            return run(job, lambda *_: None, lambda: False, lambda *said: self.log.append(said))

    return Judge()
