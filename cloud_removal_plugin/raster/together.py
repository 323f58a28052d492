"""Files that appear together: none is moved to its target before all of them are whole."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar


class Sealable(Protocol):
    """A context manager that writes a file, and can make it whole before it leaves."""

    def seal(self) -> None:
        """Close and check what was written, without moving it; twice is once."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *error: Any) -> Any: ...


W = TypeVar("W", bound=Sealable)


class Together(ExitStack):
    """An ExitStack whose writers all finish, or are all abandoned.

    GDAL keeps blocks in memory until it closes a file, so a full disk may show there first. Were each file closed and
    moved in its turn, the ones before would stay as half of a result.
    """

    def __init__(self) -> None:
        super().__init__()
        self._writers: list[Sealable] = []

    def writer(self, writer: W) -> W:
        """Enter a writer."""
        self._writers.append(self.enter_context(writer))
        return writer

    def seal(self) -> None:
        """Make every file whole.

        Raises:
            OutputError: one could not be; nothing was moved.
        """
        for writer in self._writers:
            writer.seal()

    def __exit__(self, *error: Any) -> bool | None:
        if error[0] is None:
            try:
                self.seal()
            except BaseException:
                super().__exit__(*sys.exc_info())
                raise
        return super().__exit__(*error)
