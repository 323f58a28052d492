"""The shadows' direction is found from where the dark spots lie beside the clouds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from cloud_removal_plugin.clouds import shadows
from cloud_removal_plugin.clouds.shadows import expect, find_offset, shrink


def clouds(seed: int, shape: tuple[int, int] = (90, 110)) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    return (field > np.quantile(field, 0.9)).astype(np.float32)


def shifted(mask: np.ndarray, rows: int, cols: int) -> np.ndarray:
    return ndimage.shift(mask, (rows, cols), order=0)


@pytest.mark.parametrize(("rows", "cols"), [(-9, -4), (-6, 5), (3, -12), (14, 2)])
def test_offset_is_found(rows: int, cols: int) -> None:
    cloud = clouds(1)
    noise = (np.random.default_rng(2).random(cloud.shape) < 0.05).astype(np.float32)
    offset = find_offset(cloud, np.maximum(shifted(cloud, rows, cols), noise) * (1 - cloud), 100.0)
    assert offset is not None
    assert abs(offset.rows - rows) <= 1
    assert abs(offset.cols - cols) <= 1


def test_no_direction_is_invented() -> None:
    dark = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((90, 110)), 3) > 0.13
    assert find_offset(clouds(1), dark.astype(np.float32), 100.0) is None
    assert find_offset(np.zeros((40, 40), np.float32), dark[:40, :40].astype(np.float32), 100.0) is None


def test_known_sun_sets_the_direction() -> None:
    cloud = clouds(3)
    azimuth = math.degrees(math.atan2(4, -9)) + 180  # shadows 9 rows south and 4 columns east of their clouds
    offset = find_offset(cloud, shifted(cloud, 9, 4) * (1 - cloud), 100.0, sun_azimuth=azimuth)
    assert (round(offset.rows), round(offset.cols)) == (9, 4)


def test_expected_places_lie_behind_the_clouds() -> None:
    cloud = clouds(4)
    offset = find_offset(cloud, shifted(cloud, -8, -6) * (1 - cloud), 100.0)
    places = expect(cloud, offset, 100.0)
    shadow = shifted(cloud, -8, -6) > 0
    assert places.behind[shadow].mean() > 0.95
    assert places.behind.mean() < 0.75
    assert expect(cloud, None, 100.0).behind is None


def test_beyond_the_edge_is_told_from_the_reach_of_a_cloud() -> None:
    """In a large scene the two exclude one another; a small one cannot show the clouds of its shadows."""
    cloud = np.zeros((90, 110), np.float32)
    cloud[:4, :4] = 1
    large, small = expect(cloud, None, 100.0), expect(cloud, None, 15.0)
    assert not (large.reach & large.beyond).any()
    assert large.reach[30, 10]
    assert large.beyond[80, 100]
    assert not (large.reach | large.beyond)[45, 55]
    assert small.reach.all()
    assert not small.beyond.any()


def test_shrink_repeats_the_edge() -> None:
    values = np.arange(15, dtype=np.float32).reshape(3, 5)
    small = shrink(values, 2)
    assert small.shape == (2, 3)
    assert small[1, 2] == 14
    assert small[0, 0] == 3


def test_reach_follows_the_sun() -> None:
    """A low sun throws shadows farther than a high one; unknown, it counts as 45 degrees high."""
    assert shadows.reach_m(None) == pytest.approx(shadows.reach_m(45.0)) == pytest.approx(shadows.REACH_M)
    assert shadows.reach_m(20.0) > 2 * shadows.REACH_M
    assert shadows.reach_m(1.0) == pytest.approx(3 * shadows.REACH_M, rel=1e-2)
    cloud = np.zeros((120, 120), np.float32)
    cloud[20:26, 60:66] = 1
    dark = np.roll(cloud, 50, axis=0)  # 5 km to the south
    assert shadows.find_offset(cloud, dark, 100.0, 0.0, 20.0).rows == 50
    near = shadows.find_offset(cloud, dark, 100.0, 0.0, 60.0)
    assert near is None or near.rows <= 18
