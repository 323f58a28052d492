"""Gap simulation of U-TILISE beyond its goldens: bad arguments, whole frames, chance."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_removal_plugin.clouds import simulated_gaps as gaps


def test_a_mask_over_nine_tenths_hides_the_whole_frame() -> None:
    mask = np.ones((1, 10, 10), bool)
    mask[0, 0, :9] = False
    laid = gaps.overlay(np.zeros((3, 1, 10, 10)), {1: mask})
    assert laid[1].all()
    assert not laid[[0, 2]].any()
    assert gaps.overlay(np.zeros((3, 1, 10, 10)), {1: mask}, occluded_from=None)[1].mean() == pytest.approx(0.91)


def test_overlay_is_a_union_with_the_real_mask() -> None:
    real = np.zeros((1, 1, 4, 4))
    real[0, 0, 0] = 1
    mask = np.zeros((1, 4, 4))
    mask[0, 3] = 1
    assert gaps.overlay(real, {0: mask})[0, 0].sum() == 8


@pytest.mark.parametrize(("frames", "ratio"), [(0, 0.5), (5, 1.5), (5, -0.1)])
def test_impossible_requests_are_refused(frames: int, ratio: float) -> None:
    with pytest.raises(ValueError, match="Cannot mask"):
        gaps.choose_frames(frames, np.random.default_rng(0), ratio=ratio)


def test_drawn_frames_are_different_and_spare_the_first() -> None:
    for seed in range(20):
        drawn = gaps.choose_frames(9, np.random.default_rng(seed), ratio=0.7, full_ratio=0.4)
        assert 0 not in drawn.masked
        assert len(set(drawn.masked)) == len(drawn.masked) <= 7
        assert set(drawn.full) <= set(drawn.masked)


def test_empty_frames_are_impaired_with_and_without_probabilities() -> None:
    frames = np.full((2, 3, 8, 8), 0.2, np.float32)
    frames[1] = np.nan
    none = np.zeros((2, 1, 8, 8))
    assert gaps.impaired(frames, none, None).tolist() == [False, True]
    assert gaps.impaired(frames, none, none).tolist() == [False, True]
