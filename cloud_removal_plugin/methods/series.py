"""The methods for whole series by the name that the analyst chooses."""

from __future__ import annotations

from collections.abc import Callable

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
    """The names that :func:`create` knows, the default first."""
    return tuple(_METHODS)


def create(name: str) -> SeriesRestorer:
    """The method called ``name``, not yet fitted.

    Raises:
        InputError: no method has that name.
    """
    if name not in _METHODS:
        raise InputError(f"There is no method '{name}' for series. Choose one of: {', '.join(_METHODS)}.")
    return _METHODS[name]()
