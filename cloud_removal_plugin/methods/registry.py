"""The restoration methods by the name that the analyst chooses."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InputError
from .protocol import Restorer


def _auto() -> Restorer:
    from .ensemble import SceneEnsemble

    return SceneEnsemble("auto")


def _fast() -> Restorer:
    from .ensemble import SceneEnsemble

    return SceneEnsemble("fast")


def _gaussian() -> Restorer:
    from .ensemble import SceneEnsemble

    return SceneEnsemble("gaussian")


def _scene_networks() -> Restorer:
    from .ensemble import SceneEnsemble

    return SceneEnsemble("scene_networks")


def _interpolation() -> Restorer:
    from .interpolation import Interpolation

    return Interpolation()


def _inpainting() -> Restorer:
    from .inpainting import Inpainting

    return Inpainting()


_METHODS: dict[str, Callable[[], Restorer]] = {
    "auto": _auto,
    "fast": _fast,
    "gaussian": _gaussian,
    "scene_networks": _scene_networks,
    "interpolation": _interpolation,
    "inpainting": _inpainting,
}


def names() -> tuple[str, ...]:
    """The names that :func:`create` knows, the default first."""
    return tuple(_METHODS)


def create(name: str) -> Restorer:
    """The method called ``name``, not yet fitted.

    Raises:
        InputError: no method has that name.
    """
    if name not in _METHODS:
        raise InputError(f"There is no restoration method '{name}'. Choose one of: {', '.join(_METHODS)}.")
    return _METHODS[name]()
