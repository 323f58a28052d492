"""How a scene is cut: regions that are fitted each, and cores that stream through the engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

REGION_PX = 2048
"""Edge of a fit region: one fit each (the recipe was measured on regions of 192 to 384 px and up)."""

LEAST_REGION_PX = 192
"""Regions narrower than this are merged with their neighbour: small fits lose accuracy."""

CORE_PX = 1024
"""Edge of the windows that stream; a multiple of the output's blocks, so that each block is compressed once."""


class Window(NamedTuple):
    """A rectangle of pixels: upper left (row, col), height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def right(self) -> int:
        """First column right of the window."""
        return self.col + self.width

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def pad(self, top: int, left: int, bottom: int, right: int) -> Window:
        """The window grown on its four sides."""
        return Window(self.row - top, self.col - left, self.height + top + bottom, self.width + left + right)

    def clip(self, height: int, width: int) -> Window:
        """The part of the window inside a raster of ``height`` x ``width``."""
        row, col = max(self.row, 0), max(self.col, 0)
        return Window(row, col, max(min(self.bottom, height) - row, 0), max(min(self.right, width) - col, 0))

    def slices(self, origin: Window | None = None) -> tuple[slice, slice]:
        """Row and column slices, relative to ``origin`` (the scene where None)."""
        row, col = (origin.row, origin.col) if origin else (0, 0)
        return slice(self.row - row, self.bottom - row), slice(self.col - col, self.right - col)


def _edges(length: int, edge: int, least: int) -> list[int]:
    """Borders of parts of ``edge`` pixels; a last part shorter than ``least`` joins the one before it."""
    borders = [*list(range(0, length, edge)), length]
    if len(borders) > 2 and borders[-1] - borders[-2] < least:
        del borders[-2]
    return borders


def _tiles(window: Window, edge: int, least: int) -> Iterator[Window]:
    rows, cols = _edges(window.height, edge, least), _edges(window.width, edge, least)
    for r0, r1 in itertools.pairwise(rows):
        for c0, c1 in itertools.pairwise(cols):
            yield Window(window.row + r0, window.col + c0, r1 - r0, c1 - c0)


def regions(height: int, width: int, edge: int = REGION_PX, least: int = LEAST_REGION_PX) -> list[Window]:
    """Fit regions that tile a scene, in raster order."""
    return list(_tiles(Window(0, 0, height, width), edge, least))


def cores(region: Window, size: int = CORE_PX, least: int = 256) -> list[Window]:
    """Windows that tile a region, in raster order; all regions together put them on one lattice."""
    return list(_tiles(region, size, least))
