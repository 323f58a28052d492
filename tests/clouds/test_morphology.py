"""Masks are grown and cleaned as SciPy would, whatever their size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cloud_removal_plugin.clouds.morphology import closing, dilate, disk, erode, remove_specks

SIZES = st.tuples(st.integers(1, 23), st.integers(1, 23))


def random_mask(shape: tuple[int, int], seed: int, share: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize(("radius", "pixels"), [(1, 5), (2, 13), (3, 29), (4, 49), (5, 81)])
def test_disk_holds_the_offsets_within_its_radius(radius: int, pixels: int) -> None:
    assert disk(radius).sum() == pixels


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(0, 9), st.integers(0, 99))
def test_dilate_equals_scipy(shape: tuple[int, int], radius: int, seed: int) -> None:
    mask = random_mask(shape, seed)
    expected = ndimage.binary_dilation(mask, disk(radius)) if radius else mask
    np.testing.assert_array_equal(dilate(mask, radius), expected)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(0, 99))
def test_erosion_does_not_eat_at_the_border(shape: tuple[int, int], radius: int, seed: int) -> None:
    mask = ~random_mask(shape, seed)
    expected = ndimage.binary_erosion(mask, disk(radius), border_value=True)
    np.testing.assert_array_equal(erode(mask, radius), expected)


def test_closing_fills_a_hole_and_keeps_the_outline() -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[5:25, 5:25] = True
    full = mask.copy()
    mask[14:16, 14:16] = False
    np.testing.assert_array_equal(closing(mask, 2), full)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 3), st.integers(0, 99))
def test_specks_are_pixels_with_too_few_neighbours(shape: tuple[int, int], radius: int, seed: int) -> None:
    mask = random_mask(shape, seed, 0.4)
    edge = 2 * radius + 1
    count = ndimage.convolve(mask.astype(int), np.ones((edge, edge), int), mode="constant")
    np.testing.assert_array_equal(remove_specks(mask, radius), mask & (3 * count >= edge * edge))
