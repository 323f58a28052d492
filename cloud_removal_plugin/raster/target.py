"""Whether a result can be written to a path, and the sentences for when it cannot.

Standard library only, so that it can be asked before anything heavy is imported.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable

from ..errors import OutputError, first_line, root_cause

EXTENSIONS = (".tif", ".tiff")

LEAST_FREE_BYTES = 4 << 20
"""A window is not handed to GDAL with less than this left beside it: GDAL tells a full disk only on its log."""


PAGES = (".html", ".htm")
FIGURES = (".json", ".csv")
_KINDS = {EXTENSIONS: "a GeoTIFF", PAGES: "an HTML", FIGURES: "a JSON or CSV"}


def check_target(path: str, forbid: Iterable[str] = (), endings: tuple[str, ...] = EXTENSIONS) -> None:
    """Refuse, before any work, a path that nothing can be written to.

    Args:
        path: of the file to be written.
        forbid: paths of the job's inputs (and of its other outputs).
        endings: what its name may end with: :data:`EXTENSIONS`, :data:`PAGES` or :data:`FIGURES`.

    Raises:
        OutputError: no or an unknown extension, folder missing or not writable, file write-protected, equal to one
            of ``forbid``.
    """
    folder, name = os.path.split(os.path.abspath(path))
    if not path:
        raise OutputError("The output has no file name. Choose where the result is to be written.")
    if not name.lower().endswith(endings):
        ways = " or ".join(dict.fromkeys(ending for ending in endings if ending not in (".tiff", ".htm")))
        raise OutputError(f"Output '{name}' is not {_KINDS.get(endings, 'a known')} name. End it with {ways}.")
    if _too_long(path):
        raise OutputError(f"The name of output '{name[:40]}...' is too long for its folder. Choose a shorter one.")
    if os.path.isdir(path):
        raise OutputError(f"Output '{path}' is a folder. Add a file name that ends with {endings[0]}.")
    if not os.path.isdir(folder):
        raise OutputError(f"Output '{name}' cannot be written: the folder '{folder}' does not exist. Create it first.")
    for other in forbid:
        if _same_file(path, other):
            raise OutputError(
                f"Output '{name}' would overwrite a layer that the job reads or writes. Choose another file name."
            )
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise OutputError(f"Output '{name}' exists and is write-protected. Choose another file name.")
    try:
        # Asking for permissions is unreliable on Windows and on network drives: try it.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise failure(name, folder, error) from error


def _too_long(path: str) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _same_file(one: str, other: str) -> bool:
    if not other:
        return False
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def failure(name: str, folder: str, error: BaseException) -> OutputError:
    """The sentence for whatever went wrong while writing ``name``."""
    error = root_cause(error)
    code, text = getattr(error, "errno", None), str(error)
    full = code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "quota" in text.lower()
    refused = isinstance(error, PermissionError) or code == errno.EROFS  # such a disk may have no room to show either
    if full or (free_bytes(folder) < LEAST_FREE_BYTES and not refused):
        return OutputError(
            f"The disk with '{folder}' is full; '{name}' was not written. Free some space or choose another folder."
        )
    if refused:
        return OutputError(
            f"'{name}' cannot be written to '{folder}': permission denied, or the file is open in another program. "
            "Close it or choose another folder."
        )
    return OutputError(f"'{name}' cannot be written to '{folder}' ({first_line(error)}). Choose another folder.")


def free_bytes(folder: str) -> int:
    """Bytes left on the disk of ``folder``; very many where the system does not say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 1 << 62
