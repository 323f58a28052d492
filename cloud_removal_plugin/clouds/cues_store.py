"""A temporary file of two bytes a pixel and date: what the first pass of detection found, for the second.

Windows are stored whole, one after the other, and any rectangle is read back from the rows that it touches. A plain
file and not a memory map, so that the process does not grow with the scene.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO

import numpy as np

from ..errors import OutputError
from ..raster.windows import Window

PLANES = 2


class CuesStore:
    """uint8 planes (2, H, W) of several dates over a scene; use as a context manager."""

    def __init__(self, windows: Sequence[Window], dates: int) -> None:
        """Open the temporary file.

        Args:
            windows: rectangles that tile the scene.
            dates: number of dates.
        """
        self._windows, self._dates = tuple(windows), dates
        self._starts: dict[tuple[int, int], int] = {}
        position = 0
        for index, window in enumerate(self._windows):
            for date in range(dates):
                self._starts[index, date] = position
                position += PLANES * window.pixels
        self._lock = threading.Lock()
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="cloud_removal_")  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> CuesStore:
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the file."""
        self._file.close()

    def write(self, index: int, date: int, planes: np.ndarray) -> None:
        """Store uint8 (2, H, W) of the window number ``index``.

        Raises:
            OutputError: the temporary folder has no room left.
        """
        try:
            with self._lock:
                self._file.seek(self._starts[index, date])
                self._file.write(np.ascontiguousarray(planes))
        except OSError as error:
            raise OutputError(
                f"The folder for temporary files has no room for cloud detection ({error.strerror}). "
                "Free some space, or point TMPDIR to another disk."
            ) from error

    def read(self, date: int, window: Window) -> np.ndarray:
        """uint8 (2, H, W) of any rectangle inside the scene."""
        out = np.empty((PLANES, window.height, window.width), dtype=np.uint8)
        for index, tile in enumerate(self._windows):
            top, bottom = max(tile.row, window.row), min(tile.bottom, window.bottom)
            left, right = max(tile.col, window.col), min(tile.right, window.right)
            if top < bottom and left < right:
                rows = slice(top - window.row, bottom - window.row)
                cols = slice(left - window.col, right - window.col)
                out[:, rows, cols] = self._rows(index, date, top - tile.row, bottom - tile.row)[
                    :, :, left - tile.col : right - tile.col
                ]
        return out

    def _rows(self, index: int, date: int, first: int, last: int) -> np.ndarray:
        tile = self._windows[index]
        out = np.empty((PLANES, last - first, tile.width), dtype=np.uint8)
        with self._lock:
            for plane in range(PLANES):
                self._file.seek(self._starts[index, date] + plane * tile.pixels + first * tile.width)
                self._file.readinto(out[plane])
        return out
