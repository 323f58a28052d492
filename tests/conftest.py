"""Small scenes made by code, and where the real ones are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real scenes: ``CLOUD_REMOVAL_DATA``, else ``shared/data`` beside the checkout; skips without it."""
    folder = Path(os.environ.get("CLOUD_REMOVAL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real scenes: {folder} is not there (set CLOUD_REMOVAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def small_scene():
    """A made-up scene of 96 x 128 pixels, 4 dates (:class:`demo.scene.Scene`); treat it as read-only."""
    from demo import scene

    return scene.simulate((96, 128), seed=3, days=scene.DAYS[1:5], target=1)


@pytest.fixture(scope="session")
def small_scene_files(small_scene, tmp_path_factory):
    """The same scene as GeoTIFFs (:class:`demo.scene.SceneFiles`); treat them as read-only."""
    from demo import scene

    return scene.write(small_scene, tmp_path_factory.mktemp("small_scene"))


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """``write_image(array, name="a.tif", **profile)`` writes (C, H, W) as a GeoTIFF in UTM and returns its path."""
    import rasterio
    from rasterio.transform import from_origin

    def write(array: np.ndarray, name: str = "image.tif", **profile: object) -> Path:
        array = array[None] if array.ndim == 2 else array
        options = {
            "driver": "GTiff", "count": array.shape[0], "height": array.shape[1], "width": array.shape[2],
            "dtype": array.dtype.name, "crs": "EPSG:32632", "transform": from_origin(600_000, 5_650_000, 10, 10),
        } | profile  # fmt: skip
        with rasterio.open(tmp_path / name, "w", **options) as file:
            file.write(array)
        return tmp_path / name

    return write


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks lose by a second thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
