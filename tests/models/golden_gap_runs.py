"""How the golden cases of U-TILISE's interpolators, gap simulation and window moves are run."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import torch

from cloud_removal_plugin.clouds import simulated_gaps
from cloud_removal_plugin.methods import visible
from cloud_removal_plugin.models.utilise import next_window
from cloud_removal_plugin.models.utilise_positions import positions
from tests.models.golden_files import Case, compare, only_known


def _arrays(case: Case) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in case.tensors("x").items()}


def run_interpolators(case: Case) -> None:
    x = _arrays(case)
    found: dict[str, list[np.ndarray]] = {}
    for images, mask, days in zip(x["images"], x["cloud_mask"], x["days"], strict=True):
        hidden = mask[:, 0] > 0
        parts = {
            "last": visible.fill_last(images, hidden),
            "next": visible.fill_next(images, hidden),
            "closest": visible.fill_closest(images, hidden, days),
            "linear_interpolation": visible.fill_linear(images, hidden, days),
            "closest_index": visible.closest_visible(hidden, days),
            "last_visible_index": visible.last_visible(hidden),
            "next_visible_index": visible.next_visible(hidden),
        }
        for name, value in parts.items():
            found.setdefault(name, []).append(value)
    compare(case, {name: np.stack(values) for name, values in found.items()})


def run_impaired_frames(case: Case) -> None:
    x = _arrays(case)
    frames, masks, percent = x["seq"], x["cloud_mask"], x.get("cloud_prob_percent")
    found = {"mask_only": simulated_gaps.impaired(frames, masks, None)}
    if percent is not None:
        found["prob_conservative"] = simulated_gaps.impaired(frames, masks, percent)
        found["prob_strong"] = simulated_gaps.impaired(frames, masks, percent, strong=True)
    compare(case, found)


def _laid_over(case: Case, masks: np.ndarray) -> np.ndarray:
    """The first masks on the frames that the json names, e.g. "two masks placed on frames 1 and 3"."""
    said = re.search(r"on frames? ([\d, and]+)", case.says("notes"))
    frames = [int(frame) for frame in re.findall(r"\d+", said[1])] if said else [1, 3]
    return simulated_gaps.overlay(np.zeros_like(masks), dict(zip(frames, masks, strict=False)))


def _fill_value(case: Case) -> float:
    """The constant that hides pixels: a field, "fill 1" in the notes, or 1."""
    said = re.search(r"\bfill (-?[\d.]*\d)", case.says("notes"))
    return float(case.meta.get("fill_value", said[1] if said else 1))


def run_mask_filling(case: Case) -> None:
    x = _arrays(case)
    value = _fill_value(case)
    frames, masks = x["seq"], x["masks"]
    grown = simulated_gaps.dilated(masks)
    laid = _laid_over(case, masks)
    compare(
        case,
        {
            "fill_value": simulated_gaps.filled(frames, masks, value),
            "mean": simulated_gaps.filled_with_mean(frames, masks, x["mask_valid"]),
            "white_noise": simulated_gaps.filled_with_noise(frames, masks, x["noise"]),
            "dilated_masks": grown,
            "dilated_fill": simulated_gaps.filled(frames, grown, value),
            "dilated_twice": simulated_gaps.dilated(masks, 2),
            "overlay_masks": laid,
            "overlay": simulated_gaps.filled(frames, laid, value),
        },
    )


class PublishedDraws:
    """The published code's two sources of chance, so that the very frames can be compared."""

    def __init__(self, seed: int) -> None:
        self._number, self._frames = random.Random(seed), np.random.RandomState(seed)

    def integers(self, low: int, high: int) -> int:
        return self._number.randint(low, high - 1)

    def choice(self, a: Sequence[int], size: int, replace: bool) -> np.ndarray:
        return self._frames.choice(a, size, replace=replace)


MOVE = ("t_start", "t_max", "window", "cloud_coverage", "new_start", "new_end")
SAMPLING = (
    "n_frames", "ratio_masked_frames", "ratio_fully_masked_frames", "non_masked_frames", "fixed_masking_ratio", "seed",
    "indices_masked", "indices_fully_masked",
)  # fmt: skip


def run_window_moves(case: Case) -> None:
    meta = case.meta
    assert {"window_moves", "mask_sampling", "positions"} & meta.keys(), "nothing to compare with"
    for move in meta.get("window_moves", ()):
        only_known(move, MOVE, "a move of the window")
        start = next_window(move["t_start"], move["t_max"], move["window"], move["cloud_coverage"])
        assert (start, start + move["window"]) == (move["new_start"], move["new_end"])
    for sampling in meta.get("mask_sampling", ()):
        _check_sampling(sampling)
    dates = [date.fromisoformat(text[:10]) for text in meta.get("dates", ())]
    for strategy, expected in meta.get("positions", {}).items():
        torch.testing.assert_close(torch.tensor(positions(dates, strategy)), torch.tensor(expected), rtol=0, atol=0)


def _check_sampling(sampling: dict[str, Any]) -> None:
    only_known(sampling, SAMPLING, "a choice of frames")
    drawn = simulated_gaps.choose_frames(
        sampling["n_frames"],
        PublishedDraws(sampling["seed"]),
        ratio=sampling["ratio_masked_frames"],
        full_ratio=sampling["ratio_fully_masked_frames"],
        spared=sampling["non_masked_frames"],
        fixed=sampling["fixed_masking_ratio"],
    )
    assert list(drawn.masked) == sampling["indices_masked"]
    assert list(drawn.full) == sampling["indices_fully_masked"]
    own = simulated_gaps.choose_frames(
        sampling["n_frames"],
        np.random.default_rng(sampling["seed"]),
        ratio=sampling["ratio_masked_frames"],
        spared=sampling["non_masked_frames"],
        fixed=True,
    )
    spared = {frame % sampling["n_frames"] for frame in sampling["non_masked_frames"] or ()}
    free = sampling["n_frames"] - len(spared)
    assert len(set(own.masked)) == min(math.ceil(sampling["ratio_masked_frames"] * sampling["n_frames"]), free)
    assert not spared & set(own.masked)
