"""Small scenes, tiny networks, and a way to train quietly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")


from tests.datasets.conftest import (  # noqa: F401
    cache,
    cube_tree,
    quintet_tree,
    series_files,
    series_tree,
    triplet_tree,
    write_patch,
)

TINY = {"num_layers": 2, "feature_size": 8}


@pytest.fixture(autouse=True)
def _by_itself(one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results do not depend on other tests' settings, and nothing touches the user's caches and weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLOUD_REMOVAL_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("CLOUD_REMOVAL_KERNEL", "off")  # an empty cache would have it compiled anew


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    """Three regions of 13 bands with radar, 48 x 48 pixels: clear and cloudy noise."""
    folder = tmp_path / "scenes"
    for number in range(3):
        write_patch(folder / f"roi{number}_p1_s2_clear.tif", 13, number, edge=48)
        write_patch(folder / f"roi{number}_p1_s2_cloudy.tif", 13, 10 + number, edge=48)
        write_patch(folder / f"roi{number}_p1_s1.tif", 2, 20 + number, "float32", 48)
    return folder


@pytest.fixture
def settings(scene_folder: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``settings(steps=3, ...)``: a training of a tiny DSen2-CR on the small scenes."""

    def make(**changes: Any) -> dict[str, Any]:
        data = {
            "root": str(scene_folder), "crop": 32, "clouds": "both", "windows": 4,
            "reflectance_scale": 1e-4, "reflectance_offset": 0.0,
        }  # fmt: skip
        base = {
            "preset": "dsen2cr-carl", "output": str(tmp_path / "run"), "data": data, "network_config": TINY,
            "crop": 32, "batch": 2, "steps": 4, "device": "cpu", "threads": 1, "lr": 1e-3, "validation_samples": 2,
        }  # fmt: skip
        return base | changes

    return make
