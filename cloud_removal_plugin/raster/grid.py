"""The scene's grid: where its pixels lie on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..errors import GridError

Transform = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f) of x = a * col + b * row + c, y = d * col + e * row + f (the order of ``affine``)."""

METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class Grid:
    """A north-up raster grid.

    Attributes:
        crs_wkt: the coordinate reference system as WKT, or "" where the layer has none.
        transform: see :data:`Transform`; ``b`` and ``d`` are zero.
        width, height: size in pixels.
        degrees: whether the CRS counts in degrees.
        metres_per_unit: length of one unit of a projected CRS in metres.
    """

    crs_wkt: str
    transform: Transform
    width: int
    height: int
    degrees: bool = False
    metres_per_unit: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.height, self.width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(xmin, ymin, xmax, ymax) in units of the CRS."""
        a, _, c, _, e, f = self.transform
        xs, ys = sorted((c, c + a * self.width)), sorted((f, f + e * self.height))
        return xs[0], ys[0], xs[1], ys[1]

    @property
    def pixel_m(self) -> float:
        """Ground sampling distance in metres: mean of both directions, at the latitude of the grid's centre."""
        dx, dy = abs(self.transform[0]), abs(self.transform[4])
        if self.degrees:
            latitude = math.radians((self.bounds[1] + self.bounds[3]) / 2)
            return METRES_PER_DEGREE * (dx * max(math.cos(latitude), 0.01) + dy) / 2
        return self.metres_per_unit * (dx + dy) / 2

    def crop(self, extent: tuple[float, float, float, float]) -> tuple[Grid, int, int]:
        """Cut the grid to an extent, snapped outward to whole pixels.

        Args:
            extent: (xmin, ymin, xmax, ymax) in units of the CRS.

        Returns:
            The smaller grid, and the row and column of its upper left pixel in this grid.

        Raises:
            GridError: the extent is empty or does not touch the grid.
        """
        xmin, ymin, xmax, ymax = extent
        if not (xmax > xmin and ymax > ymin):
            raise GridError("The extent has no area. Choose one that covers at least one pixel.")
        a, _, c, _, e, f = self.transform
        cols, rows = sorted(((xmin - c) / a, (xmax - c) / a)), sorted(((ymin - f) / e, (ymax - f) / e))
        snap = 1e-6  # an extent typed from the layer's own corners must not gain a row by rounding
        col0, row0 = max(0, math.floor(cols[0] + snap)), max(0, math.floor(rows[0] + snap))
        col1, row1 = min(self.width, math.ceil(cols[1] - snap)), min(self.height, math.ceil(rows[1] - snap))
        if col1 <= col0 or row1 <= row0:
            raise GridError("The extent does not touch the input layer. Choose one inside the layer.")
        cut = replace(self, transform=self.window_transform(row0, col0), width=col1 - col0, height=row1 - row0)
        return cut, row0, col0

    def window_transform(self, row: float, col: float) -> Transform:
        """The transform of a window whose upper left pixel is (row, col)."""
        a, b, c, d, e, f = self.transform
        return a, b, c + a * col + b * row, d, e, f + d * col + e * row
