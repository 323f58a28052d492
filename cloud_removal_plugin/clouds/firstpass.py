"""First pass of detection: every date of one window against the others, pixel by pixel.

Each pixel of each date becomes two bytes, its cloud probability and its darkness. Nothing here looks at a neighbour
except the cells on which s2cloudless is asked, and these lie on a lattice of the scene; so results do not depend on
how the scene was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from . import rules, s2cloudless, temporal
from .shadows import SCENE_SHARE, WEAK_SHARE, shrink

NO_DATA = 255
PROBABILITY_STEPS = 200
SHARE_STEPS = 100
SCENE_FROM, SCENE_STEPS = 128, 200
"""Darkness bytes: 0..126 share of the clear reference in hundredths; 128..253 NIR + SWIR itself in 1/200;
127 none, 254 water."""

NO_DARKNESS, WATER = 127, 254
CELL_M = 60.0
GATE, GATE_SERIES = (0.04, 0.97), (0.15, 0.9)
"""Mean probability of a cell by the rules between which s2cloudless is asked, for one date and for a series."""

STRIP_ROWS = 128
"""Rows that are worked on at a time; a multiple of every cell."""

MapPool = Callable[[Callable, Iterable], Iterable]


@dataclass(frozen=True)
class Plan:
    """How a scene is detected.

    Attributes:
        bands: roles of the planes that are read.
        how: planes and weights of the rules for these planes.
        model: s2cloudless, or None for rules alone.
        exclusive: ask s2cloudless everywhere and let it prevail (method 's2cloudless').
        cell: edge in pixels of the cells on which s2cloudless is asked; a power of two.
        days: of the dates.
    """

    bands: tuple[str, ...]
    how: rules.Recipe
    model: s2cloudless.Model | None
    exclusive: bool
    cell: int
    days: tuple[float, ...]


def cell_px(pixel_m: float, most_m: float = CELL_M) -> int:
    """Largest power of two pixels that is not longer than ``most_m``, at most 64."""
    cell = 1
    while cell < 64 and 2 * cell * pixel_m <= most_m:
        cell *= 2
    return cell


def classify_window(read: Sequence[Callable[[], np.ndarray]], plan: Plan, map_pool: MapPool) -> np.ndarray:
    """Classify all dates of one window.

    Args:
        read: one function a date that reads float32 (C, H, W) with the planes of ``plan.bands``.
        plan: see :class:`Plan`.
        map_pool: ``map`` or a pool's.

    Returns:
        uint8 (T, 2, H, W): probability in 1/200 (255 = no data), and the darkness byte.
    """
    optical = list(map_pool(lambda one: one(), read))
    height, width = optical[0].shape[-2:]
    result = np.empty((len(optical), 2, height, width), dtype=np.uint8)

    def strip(first: int) -> None:
        rows = slice(first, min(first + STRIP_ROWS, height))
        with np.errstate(invalid="ignore", over="ignore"):
            _classify_strip([one[:, rows] for one in optical], plan, result[:, :, rows])

    for _ in map_pool(strip, range(0, height, STRIP_ROWS)):
        pass  # the pool's map is lazy in its results
    return result


def _classify_strip(optical: Sequence[np.ndarray], plan: Plan, out: np.ndarray) -> None:
    """Fill ``out`` (T, 2, h, W) for some rows: all temporary planes then stay in the processor's cache."""
    with_series = len(optical) >= temporal.LEAST_DATES
    cues = [rules.cues(one, plan.how, with_series=with_series) for one in optical]
    logits = temporal.cloud_logits(cues, plan.how)
    shares = temporal.darkness(cues, logits, plan.days)
    for date, (cue, logit, share) in enumerate(zip(cues, logits, shares, strict=True)):
        prob = rules.probability(logit)
        if plan.model is not None:
            prob = _ask_model(prob, cue.valid, optical[date], plan, with_series)
        _encode(prob, cue, share, out[date])


def _ask_model(prob: np.ndarray, valid: np.ndarray, optical: np.ndarray, plan: Plan, with_series: bool) -> np.ndarray:
    """Blend in s2cloudless on the cells where the rules are not sure (everywhere if it is the chosen method)."""
    mean = shrink(np.where(valid, prob, np.float32(0)), plan.cell)
    low, high = GATE_SERIES if with_series else GATE
    asked = (mean > low) & (mean < high) if not plan.exclusive else np.ones(mean.shape, dtype=bool)
    if not asked.any():
        return prob
    cells = np.stack([shrink(optical[plan.bands.index(name)], plan.cell) for name in s2cloudless.BANDS])
    asked &= np.isfinite(cells).all(axis=0)
    weight = 0.8 if plan.exclusive else (0.3 if with_series else 0.6)
    opinion = np.zeros(mean.shape, dtype=np.float32)
    share = opinion.copy()
    found = np.clip(plan.model.predict(cells[:, asked].T), 1e-4, 1 - 1e-4)
    opinion[asked] = np.log(found / (1 - found))
    share[asked] = weight
    opinion, share = (_grow(plane, plan.cell, prob.shape) for plane in (opinion, share))
    clipped = np.clip(prob, 1e-4, 1 - 1e-4)
    logit = np.log(clipped / (1 - clipped))
    return np.where(share > 0, rules.probability(logit + share * (opinion - logit)), prob)


def _grow(cells: np.ndarray, factor: int, shape: tuple[int, ...]) -> np.ndarray:
    return cells.repeat(factor, axis=0).repeat(factor, axis=1)[: shape[0], : shape[1]]


def _encode(prob: np.ndarray, cue: rules.DateCues, share: np.ndarray | None, out: np.ndarray) -> None:
    prob *= np.float32(PROBABILITY_STEPS)
    prob += np.float32(0.5)
    prob[~cue.valid] = NO_DATA
    out[0] = prob
    if cue.dark is None:
        out[1] = NO_DARKNESS
        return
    if share is not None:
        known = cue.valid & np.isfinite(share)
        out[1] = np.where(known, np.minimum(share, np.float32(1.26)) * np.float32(SHARE_STEPS), np.float32(0))
        if known.all():
            return
    absolute = np.clip(cue.dark, 0, 0.62) * np.float32(SCENE_STEPS) + np.float32(SCENE_FROM)
    if cue.water is not None:
        absolute[cue.water] = WATER
    absolute[~cue.valid] = NO_DARKNESS
    np.copyto(out[1], absolute.astype(np.uint8), where=True if share is None else ~known)


PROBABILITY = np.minimum(np.arange(256, dtype=np.float32) / PROBABILITY_STEPS, 1)
PROBABILITY[NO_DATA] = np.nan
"""float32 (256,): cloud probability of a probability byte."""


def darkness_table(scene_dark: float) -> np.ndarray:
    """float32 (256,): how far below the shadow threshold a darkness byte is, as a share (1 = as bright as clear).

    Both kinds of bytes come onto the scale of :data:`shadows.WEAK_SHARE`.

    Args:
        scene_dark: median NIR + SWIR of the date's clear ground; NaN where unknown.
    """
    table = np.full(256, np.inf, dtype=np.float32)
    table[:NO_DARKNESS] = (np.arange(NO_DARKNESS) + 0.5) / SHARE_STEPS
    if np.isfinite(scene_dark) and scene_dark > temporal.DARK_GROUND:
        absolute = (np.arange(256 - SCENE_FROM) + 0.5) / SCENE_STEPS / scene_dark
        table[SCENE_FROM:] = absolute * (WEAK_SHARE / SCENE_SHARE)
        table[WATER:] = np.inf
    return table
