"""Looking at a few pixels of a raster: the right ones, and few blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.sample import coarse, sample_windows

LAYOUTS = {
    "tiles": {"tiled": True, "blockxsize": 256, "blockysize": 256},
    "strips": {"blockysize": 7},
    "rows": {"blockysize": 1},
}


def _raster(path: Path, height: int, width: int, **layout: object) -> tuple[str, np.ndarray]:
    content = np.random.default_rng(height).integers(0, 60000, (2, height, width), dtype=np.uint16)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 2, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile, transform=Affine(10, 0, 0, 0, -10, 0), **layout) as data:
        data.write(content)
    return str(path), content


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("height", "width", "edge"), [(700, 1300, 100), (1500, 300, 64), (90, 513, 512), (64, 64, 99)])
def test_coarse_takes_the_pixels_that_gdal_takes(
    tmp_path: Path, layout: str, height: int, width: int, edge: int
) -> None:
    path, _ = _raster(tmp_path / "raster.tif", height, width, **LAYOUTS[layout])
    with rasterio.open(path) as data:
        wanted = data.read(out_shape=(2, min(height, edge), min(width, edge))).reshape(2, -1)
    np.testing.assert_array_equal(coarse(describe(path), (1, 2), edge), wanted)


@pytest.mark.parametrize("edge", [300, 700, 1000, 2048, 2049])
def test_sample_windows_lie_inside_blocks(tmp_path: Path, edge: int) -> None:
    info = describe(_raster(tmp_path / "raster.tif", edge, edge, **LAYOUTS["tiles"])[0])
    windows = sample_windows(info)
    assert len(set(windows)) == len(windows) >= 4
    for window in windows:
        assert window.clip(edge, edge) == window
        assert window.row // 256 == (window.bottom - 1) // 256
        assert window.col // 256 == (window.right - 1) // 256
