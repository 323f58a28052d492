"""Where the gaps are, which windows a fit looks at, and which windows are restored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..raster.blend import FADE_PX
from ..raster.windows import CORE_PX, REGION_PX, Window, cores, regions

CELL_PX = 64
"""Edge of the cells in which gaps are counted."""

REGION_EDGE_PX = REGION_PX
"""Edge of the regions that are fitted each."""

WHOLE_REGION_PX = 1_300_000
"""Regions up to this many pixels are fitted on all of their pixels; larger ones on sample windows."""

SAMPLE_EDGE_PX = 512
SAMPLE_WINDOWS = 4
LEAST_CLEAR_SHARE = 0.25
"""Where gaps lie close together, they and what surrounds them are the sample, if so much of it is clear."""


@dataclass(frozen=True)
class Survey:
    """How many pixels of the target are hidden and clear, in cells of CELL_PX.

    Attributes:
        gap, clear: int32 (rows of cells, columns of cells).
    """

    gap: np.ndarray
    clear: np.ndarray

    def counts(self, window: Window) -> tuple[int, int]:
        """(hidden, clear) pixels of the cells that a window touches."""
        rows = slice(window.row // CELL_PX, -(-window.bottom // CELL_PX))
        cols = slice(window.col // CELL_PX, -(-window.right // CELL_PX))
        return int(self.gap[rows, cols].sum()), int(self.clear[rows, cols].sum())


def survey(
    height: int, width: int, classes: Callable[[Window], np.ndarray], report: Callable[[float, str], None]
) -> Survey:
    """Count hidden and clear pixels of the target.

    Args:
        height, width: size of the scene in pixels.
        classes: reads the target's cloud classes (H, W) of a window.
        report: receives (fraction, text).
    """
    shape = (-(-height // CELL_PX), -(-width // CELL_PX))
    gap, clear = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    whole = cores(Window(0, 0, height, width))
    for number, window in enumerate(whole):
        found = classes(window)
        _count(gap, window, (found == 1) | (found == 2))
        _count(clear, window, found == 0)
        report((number + 1) / len(whole), "Looking for gaps")
    return Survey(gap, clear)


def _count(into: np.ndarray, window: Window, flags: np.ndarray) -> None:
    """Add True pixels of a window to the cells that it touches."""
    rows = np.arange(window.row, window.bottom) // CELL_PX
    cols = np.arange(window.col, window.right) // CELL_PX
    row_starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1))
    col_starts = np.flatnonzero(np.diff(cols, prepend=cols[0] - 1))
    sums = np.add.reduceat(np.add.reduceat(flags.astype(np.int32), row_starts, axis=0), col_starts, axis=1)
    into[rows[row_starts][:, None], cols[col_starts][None, :]] += sums


@dataclass(frozen=True)
class RegionPlan:
    """One fit region: what its fit looks at and what is done with its windows."""

    region: Window
    samples: tuple[Window, ...]
    windows: tuple[tuple[Window, bool], ...]
    """Cores in raster order, and whether each has pixels to restore."""
    beyond: tuple[Window, ...]
    """Each core with the border over which it fades into its successors; no border where nothing is hidden there."""

    @property
    def has_gap(self) -> bool:
        """Whether anything is to be restored here."""
        return any(gap for _, gap in self.windows)


def plan(height: int, width: int, found: Survey, core_px: int, sample_px: int = SAMPLE_EDGE_PX) -> list[RegionPlan]:
    """Cut a scene into regions, sample windows of ``sample_px`` and cores; depends on grid, mask and method alone."""
    plans = []
    for region in regions(height, width, REGION_EDGE_PX):
        windows = tuple((core, found.counts(core)[0] > 0) for core in cores(region, core_px))
        samples = sample_windows(region, found, sample_px) if any(gap for _, gap in windows) else ()
        beyond = tuple(_with_border(core, found).clip(height, width) for core, _ in windows)
        plans.append(RegionPlan(region, samples, windows, beyond))
    return plans


def _with_border(core: Window, found: Survey) -> Window:
    """A core and the border over which it fades to the right and to the bottom.

    Only gaps fade: where none reaches over the core's edge, the border would be read, and its blocks decoded, for
    nothing. The right border holds the corner below it as well, which fades into the core diagonally behind.
    """
    right = Window(core.row, core.right, core.height + FADE_PX, FADE_PX)
    bottom = Window(core.bottom, core.col, FADE_PX, core.width + FADE_PX)
    return core.pad(0, 0, *(FADE_PX if found.counts(strip)[0] else 0 for strip in (bottom, right)))


def sample_windows(region: Window, found: Survey, edge: int = SAMPLE_EDGE_PX) -> tuple[Window, ...]:
    """Windows on which a region is fitted.

    All of a small region; one window round the gaps where they lie close together (it is what is restored, so it is
    read once for both); else a few windows that hold both gap and clear pixels.
    """
    if region.pixels <= WHOLE_REGION_PX:
        return (region,)
    around = _around(region, found)
    if around.pixels <= WHOLE_REGION_PX and found.counts(around)[1] >= LEAST_CLEAR_SHARE * around.pixels:
        return (around,)
    blocks = cores(region, edge, edge)
    blocks = [Window(b.row, b.col, min(b.height, edge), min(b.width, edge)) for b in blocks]
    chosen: list[Window] = []
    while blocks and len(chosen) < SAMPLE_WINDOWS:
        best = max(blocks, key=lambda block: (_worth(block, found, chosen, region), -block.row, -block.col))
        chosen.append(best)
        blocks.remove(best)
    return tuple(sorted(chosen))


def _around(region: Window, found: Survey) -> Window:
    """The gaps of a region in steps of sample windows."""
    cells = found.gap[region.row // CELL_PX : -(-region.bottom // CELL_PX)]
    rows, cols = np.nonzero(cells[:, region.col // CELL_PX : -(-region.right // CELL_PX)])
    step = SAMPLE_EDGE_PX // CELL_PX
    top, left = int(rows.min()) // step * SAMPLE_EDGE_PX, int(cols.min()) // step * SAMPLE_EDGE_PX
    bottom, right = ((int(each.max()) // step + 1) * SAMPLE_EDGE_PX for each in (rows, cols))
    inside = Window(top, left, bottom - top, right - left).clip(region.height, region.width)
    return Window(region.row + inside.row, region.col + inside.col, inside.height, inside.width)


def _worth(block: Window, found: Survey, chosen: list[Window], region: Window) -> float:
    """Share of clear times share of hidden pixels, and distance from what is chosen already."""
    gap, clear = found.counts(block)
    balance = np.sqrt((gap + 0.05 * block.pixels) * (clear + 0.05 * block.pixels)) / block.pixels
    if not chosen:
        return float(balance)
    nearest = min(np.hypot(block.row - other.row, block.col - other.col) for other in chosen)
    return float(balance * (0.5 + nearest / np.hypot(region.height, region.width)))


def core_px(budget_mb: int, dates: int, bands: int) -> int:
    """Edge of the windows that stream, so that three of them (read, restored, written) fit the budget.

    The result depends on it only by how a correction fades at the border of a window; the largest is the default.
    """
    for edge in (CORE_PX, 768, 512, 384):
        if 3 * 4 * min(dates, 14) * bands * (edge + 128) ** 2 * 1.5 <= budget_mb * 2**20:
            return edge
    return 256


def preselect(days: Sequence[float], shares: Sequence[float], most: int) -> tuple[int, ...]:
    """The target (0) and the acquisitions that promise most for its gap, in ascending order.

    Args:
        days: days of every acquisition relative to the target, which is the first.
        shares: share of the target's gap that each acquisition sees, 0..1.
        most: acquisitions to keep besides the target.
    """
    others = sorted(range(1, len(days)), key=lambda date: ((abs(days[date]) + 5) / max(shares[date], 0.01), date))
    return (0, *sorted(others[:most]))
