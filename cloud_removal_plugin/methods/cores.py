"""Pieces of work side by side on the threads of a pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


def on_cores(function: Callable[[Item], Found], items: Iterable[Item], pool: Executor | None) -> list[Found]:
    """What ``function`` makes of every item, in their order; without a pool one after the other.

    Pieces are cut the same way with any pool, and each is computed by one thread, so results do not depend on it.
    """
    return list(map(function, items) if pool is None else pool.map(function, items))
