"""A raster that is held open while windows of it are read: what all readers share of opening and closing."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from .info import open_dataset

_Reader = TypeVar("_Reader", bound="OpenRaster")


class OpenRaster:
    """A context manager with one GDAL handle, which serves one thread at a time, and the warper on top of it."""

    _dataset: DatasetReader
    _warped: WarpedVRT | None = None

    def _open(self, path: str) -> None:
        """Open the file; the last step of a reader's construction, so that an error before it leaves nothing open.

        Raises:
            InputError: it cannot be opened.
        """
        self._dataset = open_dataset(path)
        self._warped = None

    def close(self) -> None:
        """Close the file; a closed reader is not used again."""
        if self._warped is not None:
            self._warped.close()
            self._warped = None
        self._dataset.close()

    def __enter__(self: _Reader) -> _Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
