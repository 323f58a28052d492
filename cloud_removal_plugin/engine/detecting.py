"""Clouds on several dates, whatever bands each of them has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ..clouds import published, rules, s2cloudless
from ..clouds.detect import detect_scene
from ..errors import InputError
from ..raster.grid import Grid
from ..raster.reader import OpticalReader
from ..raster.sun import suns_of
from ..raster.windows import Window

Write = Callable[[int, Window, np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class Round:
    """One detection: the dates that are looked at, those whose classes are kept, and the roles that are read."""

    layers: tuple[int, ...]
    kept: frozenset[int]
    bands: tuple[str, ...]


def rounds(readers: Sequence[OpticalReader], method: str) -> list[Round]:
    """Detections that together classify every date by the bands that it has.

    A detection reads the same bands of all its dates, and a date without one of them counts as no data. So dates are
    classified together with all others that have the bands which they offer themselves.
    """
    every = readers[0].bands
    own = [tuple(every[place] for place in reader.places) for reader in readers]
    if len(set(own)) == 1:
        return [Round(tuple(range(len(own))), frozenset(range(len(own))), every)]
    if method in published.METHODS:  # these look at each date by itself
        needed = own
    else:
        needed = [_needed(bands, reader.level) for bands, reader in zip(own, readers, strict=True)]
    out = []
    for bands in dict.fromkeys(needed):
        layers = tuple(t for t, there in enumerate(own) if set(bands) <= set(there))
        out.append(Round(layers, frozenset(t for t in layers if needed[t] == bands), bands))
    return out


def _needed(bands: tuple[str, ...], level: str) -> tuple[str, ...]:
    """Roles that detection reads of a date."""
    model = s2cloudless.BANDS if s2cloudless.applicable(bands, level) else ()
    roles = {*rules.wanted(bands), *model}
    return tuple(name for name in bands if name in roles)


def detect_dates(
    readers: Sequence[OpticalReader], grid: Grid, days: np.ndarray, *, method: str, threshold: float | None,
    dilate: int | None, wanted: Collection[int], report: Callable[[float], None], cancelled: Callable[[], bool],
    pool: Executor, write: Write, weights: str = "",
) -> list[str]:  # fmt: skip
    """Classify some dates of a scene, with the help of all.

    Args:
        readers: one a date, all with the same roles, of which each may lack some. wanted: dates that are classified.
        write: called with (date, window, classes, probability), for these alone.
        method, threshold, dilate, report, cancelled, pool, weights: see :func:`clouds.detect.detect_scene`.

    Returns:
        Sentences for the log.

    Raises:
        As :func:`clouds.detect.detect_scene`.
    """
    every = [each for each in rounds(readers, method) if each.kept & set(wanted)]
    notes: dict[str, None] = {}
    for number, each in enumerate(every):
        with ExitStack() as stack:
            mine = [readers[t] for t in each.layers]
            if each.bands != mine[0].bands:
                mine = [stack.enter_context(reader.reopen(each.bands)) for reader in mine]

            def keep(place: int, window: Window, classes: np.ndarray, found: np.ndarray, each: Round = each) -> None:
                date = each.layers[place]
                if date in each.kept and date in wanted:
                    write(date, window, classes, found)

            try:
                said = detect_scene(
                    mine, grid, np.asarray(days)[list(each.layers)], method=method, threshold=threshold, dilate=dilate,
                    report=lambda share, number=number: report((number + share) / len(every)), cancelled=cancelled,
                    write=keep, pool=pool, weights=weights, **suns_of(reader.info for reader in mine),
                )  # fmt: skip
            except InputError as error:
                if len(every) == 1:
                    raise
                raise InputError(f"{readers[min(each.kept)].info.name}: {error}") from error
            notes |= dict.fromkeys(said)
    return list(notes)
