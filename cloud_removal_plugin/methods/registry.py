"""The restoration methods by the name that the analyst chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .protocol import Restorer


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


AUTO = "auto"
"""The default: what the scene teaches, joined by the networks whose weights are there."""

_METHODS: dict[str, Callable[[], Restorer]] = {
    "fast": _fast,
    "gaussian": _gaussian,
    "scene_networks": _scene_networks,
    "interpolation": _interpolation,
    "inpainting": _inpainting,
}


def names() -> tuple[str, ...]:
    """The methods that need nothing but the scene, the default first."""
    return AUTO, *_METHODS


def networks() -> tuple[str, ...]:
    """The methods that need imported weights: the published networks that restore an image."""
    from .learned import NETWORKS

    return NETWORKS


def pipelines() -> tuple[str, ...]:
    """Published pipelines of several networks."""
    return tuple(_PIPELINES)


def _crsystem(weights: Path | None, memory_mb: int) -> Restorer:
    from .crsystem import CRSystem

    return CRSystem(weights, memory_mb)


_PIPELINES: dict[str, Callable[[Path | None, int], Restorer]] = {"crsystem": _crsystem}


def create(name: str, weights: Path | None = None, memory_mb: int = 0, ensemble: str = "") -> Restorer:
    """The method called ``name``, not yet fitted.

    Args:
        name: one of :func:`names`, :func:`networks` or :func:`pipelines`.
        weights: folder of the networks' weights, None = the analyst's.
        memory_mb: what the job may use in MiB, 0 = a default; networks choose their windows by it.
        ensemble: networks that may join "auto", see :class:`cloud_removal_plugin.methods.alone.AloneOrJoined`.

    Raises:
        InputError: no method, or no network, has that name.
    """
    if name == AUTO:
        from .alone import AloneOrJoined

        return AloneOrJoined(weights, memory_mb, ensemble)
    if name in _METHODS:
        return _METHODS[name]()
    if name in _PIPELINES:
        return _PIPELINES[name](weights, memory_mb)
    if name in networks():
        from .learned import Learned

        return Learned(name, weights, memory_mb)
    known = ", ".join((*names(), *networks(), *pipelines()))
    raise InputError(f"There is no restoration method '{name}'. Choose one of: {known}.")
