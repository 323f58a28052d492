"""Windows fade into each other: a partition of unity over any lattice, with cores missing and NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_removal_plugin.raster.blend import Fade
from cloud_removal_plugin.raster.windows import Window, cores, regions


def lattice(rows, cols):
    """Cores of the given heights and widths, in raster order."""
    tops, lefts = np.cumsum([0, *rows]), np.cumsum([0, *cols])
    return [
        Window(int(top), int(left), height, width)
        for top, height in zip(tops, rows, strict=False)
        for left, width in zip(lefts, cols, strict=False)
    ]


def blend(windows, shape, make, width=8):
    """The scene (K, *shape) out of ``make(index, window) -> (K, h, w)``; NaN where no window lies."""
    fade, out = Fade(width), None
    for index, core in enumerate(windows):
        outer = core.pad(0, 0, width, width).clip(*shape)
        values = make(index, outer).astype(np.float32)
        out = np.full((len(values), *shape), np.nan, np.float32) if out is None else out
        faded = fade.add(core, outer.width - core.width, outer.height - core.height, values)
        out[(slice(None), *core.slices())] = faded
    return out


sizes = st.lists(st.integers(1, 30), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(rows=sizes, cols=sizes, width=st.integers(0, 12), drop=st.integers(0, 2**16 - 1), seed=st.integers(0, 99))
def test_equal_windows_stay_bit_for_bit(rows, cols, width, drop, seed):
    shape = sum(rows), sum(cols)
    scene = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    windows = [core for place, core in enumerate(lattice(rows, cols)) if not drop >> place & 1]
    if not windows:
        return
    out = blend(windows, shape, lambda index, outer: scene[(slice(None), *outer.slices())].copy(), width)
    for core in windows:
        place = (slice(None), *core.slices())
        np.testing.assert_array_equal(out[place], scene[place])


@settings(max_examples=60, deadline=None)
@given(rows=sizes, cols=sizes, width=st.integers(1, 12), drop=st.integers(0, 2**16 - 1))
def test_weights_are_a_partition_of_unity(rows, cols, width, drop):
    """One plane a window, 1 in its own: the planes are the weights."""
    windows = [core for place, core in enumerate(lattice(rows, cols)) if not drop >> place & 1]
    if not windows:
        return

    def planes(index, outer):
        made = np.zeros((len(windows), outer.height, outer.width))
        made[index] = 1
        return made

    weights = blend(windows, (sum(rows), sum(cols)), planes, width)
    inside = np.isfinite(weights[0])
    np.testing.assert_allclose(weights.sum(axis=0)[inside], 1, atol=1e-6)
    assert weights[:, inside].min() >= -1e-7
    for index, core in enumerate(windows):
        assert weights[index][core.slices()].min() > 0, "no core pixel loses its own window"
        reach = core.pad(0, 0, width, width).clip(sum(rows), sum(cols))
        outside = np.ones_like(inside)
        outside[reach.slices()] = False
        assert not weights[index][outside & inside].any()


def test_weights_are_products_of_smooth_ramps():
    weights = blend(
        lattice([20, 20], [20, 20]), (40, 40),
        lambda index, outer: np.eye(4)[index][:, None, None] * np.ones((4, outer.height, outer.width)),
    )  # fmt: skip
    steps = (np.arange(8) + 0.5) / 8
    ramp = steps**2 * (3 - 2 * steps)
    np.testing.assert_allclose(weights[3, 20:28, 20:28], ramp[:, None] * ramp, atol=1e-6)
    np.testing.assert_allclose(weights[0, 20:28, 20:28], (1 - ramp[:, None]) * (1 - ramp), atol=1e-6)
    np.testing.assert_allclose(weights[1, 20:28, 20:28], (1 - ramp[:, None]) * ramp, atol=1e-6)


def test_no_seam_is_steeper_than_the_ramp():
    """Windows that differ by constants: no two neighbouring pixels differ by more than the ramp's step."""
    levels = np.random.default_rng(1).uniform(0, 1, 9)
    out = blend(
        lattice([20, 20, 20], [20, 20, 20]), (60, 60),
        lambda index, outer: np.full((1, outer.height, outer.width), levels[index]),
    )[0]  # fmt: skip
    steepest = max(np.abs(np.diff(out, axis=axis)).max() for axis in (0, 1))
    assert steepest <= 1.5 / 8


def test_border_between_present_cores_is_smooth_beside_an_absent_one():
    """A core above left, none above: its extension reaches into the core below it, as into that one's neighbour."""
    windows = lattice([20, 20], [20, 20])
    del windows[1]
    levels = [0.0, 1.0, 1.0]
    out = blend(windows, (40, 40), lambda i, outer: np.full((1, outer.height, outer.width), levels[i]))[0]
    assert np.abs(out[20:, 20] - out[20:, 19]).max() <= 0.5 / 8


@pytest.mark.parametrize("side", [0, 1])
def test_nan_on_one_side_gives_the_other(side):
    def make(index, outer):
        made = np.full((2, outer.height, outer.width), float(index))
        if index == side:
            made[0] = np.nan
        return made

    out = blend(lattice([10], [20, 20]), (10, 40), make)
    assert (out[0, :, 20:28] == 1 - side).all()
    assert ((out[1, :, 20:28] > 0) & (out[1, :, 20:28] < 1)).all(), "the other plane fades as ever"


def test_nan_on_both_sides_stays_nan_and_infinity_does_not_spread():
    def make(index, outer):
        made = np.full((1, outer.height, outer.width), float(index))
        made[:, 0] = np.nan
        made[:, 1] = np.inf
        return made

    out = blend(lattice([10], [20, 20]), (10, 40), make)[0]
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[2:]).all()


def test_scene_cut_into_regions_and_cores():
    shape = (5 * 64 + 30, 4 * 64 + 50)
    windows = sorted(core for region in regions(*shape, edge=128, least=48) for core in cores(region, 64, 16))
    assert sum(core.pixels for core in windows) == shape[0] * shape[1]
    out = blend(windows, shape, lambda index, outer: np.full((1, outer.height, outer.width), 0.1), 16)
    assert (out == np.float32(0.1)).all()


def test_keeps_strips_only():
    fade = Fade(8)
    for core in lattice([256, 256], [256, 256]):
        fade.add(core, 8, 8, np.zeros((3, 264, 264), np.float32))
    strips = [*fade._above.values(), *fade._below.values(), fade._right]
    held = sum(strip.values.nbytes for strip in strips)
    assert all(strip.values.base is None for strip in strips), "a view would hold the whole window"
    assert held <= 4 * 3 * 8 * (512 + 264 + 16)


def test_refuses_disorder_and_wrong_shapes():
    fade = Fade(8)
    fade.add(Window(0, 20, 10, 10), 0, 0, np.zeros((1, 10, 10), np.float32))
    with pytest.raises(ValueError, match="raster order"):
        fade.add(Window(0, 10, 10, 10), 0, 0, np.zeros((1, 10, 10), np.float32))
    with pytest.raises(ValueError, match="Expected"):
        fade.add(Window(0, 40, 10, 10), 2, 0, np.zeros((1, 10, 10), np.float32))
    with pytest.raises(ValueError, match="negative"):
        Fade(-1)
