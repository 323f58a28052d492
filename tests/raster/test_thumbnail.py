"""Whole rasters in few pixels: averages in reflectance, on the grid, without its holes."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.raster.categories import UNKNOWN, CategoryReader
from cloud_removal_plugin.raster.crs import grid_of
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.radiometry import recognise
from cloud_removal_plugin.raster.thumbnail import small_codes, small_shape, thumbnail
from cloud_removal_plugin.raster.windows import Window


@pytest.fixture
def stack(write_image):
    """uint16 (3, 120, 200), DN = reflectance x 10,000, blue, green and red; 0 in a corner."""
    rng = np.random.default_rng(0)
    values = rng.integers(300, 3000, (3, 120, 200)).astype(np.uint16)
    values[:, :40, :40] = 0
    path = write_image(values, "S2_2024-06-10.tif", nodata=0)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("blue", "green", "red")
    return path, values


def test_blocks_are_averaged_in_reflectance(stack) -> None:
    path, values = stack
    info = describe(str(path))
    found = thumbnail(info, recognise(info), grid_of(info), ("red", "blue"), 50)
    assert found.shape == (2, 30, 50)
    expected = values[[2, 0]].reshape(2, 30, 4, 50, 4).mean(axis=(2, 4)) / 10_000
    assert np.isnan(found[:, :10, :10]).all()
    np.testing.assert_allclose(found[:, 10:], expected[:, 10:], atol=1e-4)
    np.testing.assert_allclose(found[:, :, 10:], expected[:, :, 10:], atol=1e-4)


def test_small_rasters_stay_as_they_are(stack) -> None:
    path, values = stack
    info = describe(str(path))
    found = thumbnail(info, recognise(info), grid_of(info), ("green",), 1000)
    np.testing.assert_allclose(found[0, 60:], values[1, 60:] / 10_000, atol=1e-6)
    assert small_shape(grid_of(info), 1000) == (120, 200)


def test_a_raster_on_another_grid_is_brought_onto_this_one(stack, write_image) -> None:
    path, values = stack
    coarse = values[:, 40:].reshape(3, 40, 2, 100, 2).mean(axis=(2, 4)).astype(np.uint16)
    other = write_image(coarse, "S2_2024-06-20.tif", nodata=0, transform=from_origin(600_000, 5_649_600, 20, 20))
    with rasterio.open(other, "r+") as file:
        file.descriptions = ("blue", "green", "red")
    info, grid = describe(str(other)), grid_of(describe(str(path)))
    found = thumbnail(info, recognise(info), grid, ("green",), 50)[0]
    assert np.isnan(found[:9]).all()
    expected = values[1, 40:].reshape(20, 4, 50, 4).mean(axis=(1, 3)) / 10_000
    np.testing.assert_allclose(found[11:-1, 1:-1], expected[1:-1, 1:-1], atol=0.02)


def test_codes_are_never_mixed(write_image) -> None:
    codes = np.zeros((100, 100), np.uint8)
    codes[:, 50:] = 80
    info = describe(str(write_image(codes, "cover.tif")))
    assert set(np.unique(small_codes(info, grid_of(info), 33))) == {0, 80}


@pytest.mark.parametrize("shift", [0, 13.0])
def test_categories_on_the_scene(write_image, shift: float) -> None:
    codes = np.repeat(np.repeat(np.array([[10, 20], [30, 255]], np.uint8), 50, 0), 50, 1)
    path = write_image(codes, "cover.tif", nodata=255, transform=from_origin(600_000 + shift, 5_650_000, 10, 10))
    scene = grid_of(describe(str(write_image(codes, "scene.tif"))))
    with CategoryReader(describe(str(path)), scene) as reader:
        assert reader.same_grid == (shift == 0)
        found = reader.read(Window(40, 40, 30, 30))
        assert set(np.unique(found)) == {10, 20, 30, UNKNOWN}
        assert found[0, 0] == 10
        assert found[-1, -1] == UNKNOWN
        assert reader.read(Window(0, 0, 20, 20)).max() == 10


def test_measurements_are_no_categories(write_image) -> None:
    many = describe(str(write_image(np.arange(10_000, dtype=np.uint16).reshape(100, 100), "many.tif")))
    with pytest.raises(InputError, match="more than 64"):
        CategoryReader(many, grid_of(many))
