"""How a series is cut: windows that hold all dates within the memory, sample windows, and how regions pass over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..methods.facts import Particular, SceneFacts
from ..methods.series_protocol import Roomy
from ..raster.windows import Window, cores, regions

EDGES = (1024, 512, 256, 128)
"""Window edges that are tried; multiples and halves of the output's blocks."""
SAMPLE_EDGES = (256, 192, 128, 96, 64)
SAMPLE_WINDOWS = 4
HALO = 64
"""Surroundings of a window for methods that do not say what they need."""
WHOLE_PX = 300_000
"""Regions up to this many pixels are fitted on all of them."""
WINDOW_SHARE = 0.6
"""Share of the memory that a window may take."""
WORK_BYTES = 2_600
"""What restoring one block of dates needs for a pixel of the window."""
OVERLAP_PX = 32
"""Two regions' models are mixed in a ramp that reaches this far to both sides of their border."""


def pixel_bytes(dates: int, bands: int) -> int:
    """Bytes that a pixel of a window takes with all its dates: reflectance, clouds, what was restored, and the work."""
    return dates * (bands * 4 + 4 + 1) + dates * bands * 2 + WORK_BYTES


def window_px(budget_mb: float, dates: int, bands: int, halo: int) -> int:
    """Edge of the windows that stream, so that one with its halo stays within six tenths of the budget."""
    fitting = [edge for edge in EDGES if window_mb(edge, dates, bands, halo) <= WINDOW_SHARE * budget_mb]
    return (fitting or EDGES[-1:])[0]


def window_mb(edge: int, dates: int, bands: int, halo: int) -> float:
    """MiB that a window takes with its halo and all its dates."""
    return pixel_bytes(dates, bands) * (edge + 2 * halo) ** 2 / 2**20


@dataclass(frozen=True)
class Room:
    """What the windows of a series have: pixels of surroundings, and MiB beside what the method takes for itself."""

    halo: int
    budget_mb: float


def room_for(method: Any, facts: SceneFacts, budget_mb: int, workers: int, held: tuple[int, int] | None = None) -> Room:
    """Have a method look at the series, and divide the memory; nothing of the series is read.

    Args:
        held: dates and bands that a window holds, where they are more than the facts say.

    Raises:
        InputError, DependencyError: the series lacks what the method needs, or the memory does.
    """
    if isinstance(method, Particular):
        method.prepare(facts)
    if not isinstance(method, Roomy):
        return Room(HALO, budget_mb)
    least, (dates, bands) = EDGES[-1], held or (facts.dates, len(facts.bands))

    def fits(halo: int, mib: float) -> bool:
        return window_mb(least, dates, bands, halo) <= WINDOW_SHARE * (budget_mb - mib)

    method.settle(fits, workers)
    if not fits(method.halo, method.mib):
        need = method.mib + window_mb(least, dates, bands, method.halo) / WINDOW_SHARE
        raise InputError(
            f"{method.title} on {dates} dates of {bands} bands needs about {need:.0f} MB of memory, and MEMORY_MB "
            f"leaves {budget_mb} MB. Raise MEMORY_MB, give fewer dates, or choose another METHOD."
        )
    return Room(max(HALO, method.halo), budget_mb - method.mib)


def sample_px(budget_mb: float, dates: int, bands: int) -> int:
    """Pixels of samples with all dates that fit a third of the budget; at most :data:`WHOLE_PX`."""
    return min(WHOLE_PX, int(0.33 * budget_mb * 2**20 / pixel_bytes(dates, bands)))


def samples(region: Window, most: int, score: Callable[[Window], float]) -> tuple[Window, ...]:
    """Windows on which a region is fitted: all of a small region, else the four best of sixteen.

    Args:
        most: pixels in all. score: how much a window promises.
    """
    if region.pixels <= most:
        return (region,)
    edge = next((e for e in SAMPLE_EDGES if SAMPLE_WINDOWS * e * e <= most), SAMPLE_EDGES[-1])
    height, width = min(edge, region.height), min(edge, region.width)
    rows = np.unique(np.linspace(0, region.height - height, 4).astype(int))
    cols = np.unique(np.linspace(0, region.width - width, 4).astype(int))
    left = [Window(region.row + int(r), region.col + int(c), height, width) for r in rows for c in cols]
    chosen: list[Window] = []
    scores = {window: score(window) for window in left}
    while left and len(chosen) < SAMPLE_WINDOWS:
        best = max(left, key=lambda w: (scores[w] * (0.5 + _apart(w, chosen, region)), -w.row, -w.col))
        chosen.append(best)
        left.remove(best)
    return tuple(sorted(chosen))


def _apart(window: Window, chosen: list[Window], region: Window) -> float:
    """Distance to the nearest chosen window as a share of the region's diagonal."""
    if not chosen:
        return 0.0
    nearest = min(np.hypot(window.row - other.row, window.col - other.col) for other in chosen)
    return float(nearest / np.hypot(region.height, region.width))


def windows(height: int, width: int, edge: int) -> list[Window]:
    """Windows in raster order over the scene."""
    return cores(Window(0, 0, height, width), edge, min(edge, 64))


def shares(window: Window, height: int, width: int, edge: int) -> list[tuple[Window, np.ndarray]]:
    """The regions whose models restore a window, with their weights float32 (H, W), which sum to one everywhere."""
    parts = []
    for region in regions(height, width, edge):
        rows = _ramp(np.arange(window.row, window.bottom), region.row, region.bottom, height)
        cols = _ramp(np.arange(window.col, window.right), region.col, region.right, width)
        weight = rows[:, None] * cols
        if weight.any():
            parts.append((region, weight))
    return parts


def _ramp(places: np.ndarray, first: int, end: int, length: int) -> np.ndarray:
    """Weight float32 of one region along an axis: one inside, a linear ramp across its borders."""
    rise = np.ones(len(places)) if first == 0 else (places + 0.5 - first) / (2 * OVERLAP_PX) + 0.5
    fall = np.ones(len(places)) if end == length else (end - places - 0.5) / (2 * OVERLAP_PX) + 0.5
    return np.minimum(np.clip(rise, 0, 1), np.clip(fall, 0, 1)).astype(np.float32)
