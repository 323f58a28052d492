"""The compiled kernel: per-pixel convolutions and Winograd's 3x3 convolution, with torch versions of equal numbers.

Importing this package imports nothing. :func:`load` finds the compiled library, or builds it once into the user's
cache folder; without it the operators of :mod:`.operators` run in torch.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from . import build

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_state: Kernel | None = None


@dataclass(frozen=True)
class Kernel:
    """Whether the compiled kernel runs in this process.

    Attributes:
        compiled: whether it does.
        sentence: what is, or why it is not, for the log.
    """

    compiled: bool
    sentence: str


def load(allow_build: bool | None = None, cancelled: Callable[[], bool] = lambda: False) -> Kernel:
    """Load the compiled kernel into this process, building it first where that is allowed; says so once in the log.

    Args:
        allow_build: whether it may be built (half a minute, once for each torch); None: only outside QGIS' own process,
            whose window must not wait for a compiler.
        cancelled: ends the wait for a build when it answers True; the next call tries again.

    Returns:
        What came of it; the first answer stands until it changes.
    """
    global _state
    with _lock:
        may_build = "qgis.core" not in sys.modules if allow_build is None else allow_build
        if _state is not None and (_state.compiled or allow_build is None):
            return _state
        found = _find(may_build, cancelled)
        if not (found.compiled or cancelled()):
            _log.warning(found.sentence)
        if not cancelled():
            _state = found
        return found


def loaded() -> bool:
    """Whether the compiled kernel runs in this process; looks at nothing and builds nothing."""
    return _state is not None and _state.compiled


def _find(may_build: bool, cancelled: Callable[[], bool]) -> Kernel:
    import torch

    from . import operators  # noqa: F401  the schemas must be there

    try:
        path = build.library(may_build, cancelled, _log.info)
        torch.ops.load_library(str(path))
    except (build.NotBuilt, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Kernel(False, f"The compiled kernel is not in use, the torch version is ({reason}).")
    return Kernel(True, f"The compiled kernel is in use ({path}).")
