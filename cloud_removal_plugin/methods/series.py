"""The methods for whole series by the name that the analyst chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .series_protocol import SeriesRestorer


def _ensemble(name: str) -> Callable[[], SeriesRestorer]:
    def make() -> SeriesRestorer:
        from .series_ensemble import SeriesEnsemble

        return SeriesEnsemble(name)

    return make


def _curve(name: str) -> Callable[[], SeriesRestorer]:
    def make() -> SeriesRestorer:
        from .series_curves import SeriesCurve

        return SeriesCurve(name)

    return make


def _inpainting() -> SeriesRestorer:
    from .series_single import SeriesInpainting

    return SeriesInpainting()


_METHODS: dict[str, Callable[[], SeriesRestorer]] = {
    **{name: _ensemble(name) for name in ("auto", "fast", "gaussian", "scene_networks")},
    **{name: _curve(name) for name in ("interpolation", "harmonic", "whittaker")},
    "inpainting": _inpainting,
}


def names() -> tuple[str, ...]:
    """The methods that need nothing but the series, the default first."""
    return tuple(_METHODS)


def networks() -> tuple[str, ...]:
    """The methods that need imported weights: published networks that rebuild whole series."""
    from .series_learned import VARIANTS

    return tuple(VARIANTS)


def create(name: str, weights: Path | None = None, memory_mb: int = 0) -> SeriesRestorer:
    """The method called ``name``, not yet fitted.

    Args:
        name: one of :func:`names` or :func:`networks`.
        weights: folder of the networks' weights, None = the analyst's.
        memory_mb: what the job may use in MiB, 0 = a default; networks choose their windows by it.

    Raises:
        InputError: no method has that name.
    """
    if name in _METHODS:
        return _METHODS[name]()
    if name in networks():
        from .series_learned import SeriesLearned

        return SeriesLearned(name, weights, memory_mb)
    known = ", ".join((*names(), *networks()))
    raise InputError(f"There is no method '{name}' for series. Choose one of: {known}.")
