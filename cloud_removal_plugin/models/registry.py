"""The published networks by name: how each is built, and its record. Imports torch only when one is built."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .records import RECORDS, Record

if TYPE_CHECKING:
    from torch import nn


def names() -> tuple[str, ...]:
    """Every name that :func:`create` knows."""
    return tuple(RECORDS)


def record(name: str) -> Record:
    """What is known of a network.

    Raises:
        KeyError: no network has this name.
    """
    try:
        return RECORDS[name]
    except KeyError:
        raise KeyError(f"No network is called {name!r}. Known are {', '.join(RECORDS)}.") from None


def create(name: str, **config: Any) -> nn.Module:
    """Builds a network with fresh weights, in evaluation mode.

    Args:
        name: one of :func:`names`.
        config: constructor arguments that replace those of the record's published configuration.

    Returns:
        The network; its state dict has the names of the published checkpoints.

    Raises:
        KeyError: no network has this name.
        TypeError, ValueError: an argument does not exist or does not fit.
    """
    entry = record(name)
    builder = getattr(importlib.import_module(f".{entry.module}", __package__), entry.builder)
    return builder(**{**dict(entry.config), **config}).eval()
