"""Days between acquisitions, and which dates a composite is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from ..errors import InputError
from .series_scene import SeriesScene
from .series_settings import Wanted


@dataclass(frozen=True)
class Ends:
    """The acquisitions between which a day lies, for some bands.

    Attributes:
        places: of the bands. before, after: indices of acquisitions; the same twice where all are on one side.
        share: of ``after``, 0..1.
    """

    places: tuple[int, ...]
    before: int
    after: int
    share: float


def ends_of(scene: SeriesScene, day: date) -> list[Ends]:
    """The acquisitions nearest before and after a day, for the bands of the first raster: groups that the same have."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place in range(scene.first_bands):
        groups.setdefault(tuple(t for t, own in enumerate(scene.own) if place in own), []).append(place)
    out = []
    for layers, places in groups.items():
        before = max((t for t in layers if scene.dates[t] <= day), default=layers[0])
        after = min((t for t in layers if scene.dates[t] >= day), default=layers[-1])
        days = (scene.dates[after] - scene.dates[before]).days
        share = min(max((day - scene.dates[before]).days / days, 0.0), 1.0) if days > 0 else 0.0
        out.append(Ends(tuple(places), before, after, share))
    return out


def between(images: np.ndarray, ends: Sequence[Ends]) -> np.ndarray:
    """Linear interpolation between restored acquisitions; where one is unknown, the other.

    Args:
        images: float32 (T, C, H, W), NaN = unknown.

    Returns:
        float32 (bands of the first raster, H, W).
    """
    out = np.full((sum(len(each.places) for each in ends), *images.shape[2:]), np.nan, np.float32)
    for each in ends:
        places = list(each.places)
        first, second = images[each.before][places], images[each.after][places]
        mixed = first + np.float32(each.share) * (second - first)
        mixed = np.where(np.isnan(first), second, mixed)
        out[places] = np.where(np.isnan(second), first, mixed)
    return out


def needed(scene: SeriesScene, asked: Sequence[Wanted]) -> list[int]:
    """Acquisitions that have to be restored for what was asked: those asked for, and neighbours of others."""
    out: set[int] = set()
    for each in asked:
        if each.layer is not None:
            out |= {each.layer, *(i for i, day in enumerate(scene.dates or []) if day == each.date)}
        else:
            out |= {t for ends in ends_of(scene, each.date) for t in (ends.before, ends.after)}
    return sorted(out)


def check_composite(scene: SeriesScene, asked: Sequence[Wanted]) -> list[str]:
    """Warnings about the dates that a composite cannot take, because they lack bands of the first raster.

    Raises:
        InputError: it can take none.
    """
    bands = frozenset(range(scene.first_bands))
    lacking = [each for each in asked if each.layer is not None and not bands <= scene.own[each.layer]]
    if not lacking:
        return []
    names = ", ".join(scene.bands[: scene.first_bands])
    if len(lacking) == len(asked):
        raise InputError(
            f"The composite would have the bands of the first raster ({names}), but no date asked for has all of them. "
            "Put a raster with the bands that you want first in INPUTS."
        )
    many, verb = ("One date lacks", "it helps") if len(lacking) == 1 else (f"{len(lacking)} dates lack", "they help")
    return [
        f"The composite has the bands of the first raster ({names}). {many} some of them: {verb} to restore the "
        "others, but the composite takes no pixel from there. Put a raster with fewer bands first in INPUTS to use "
        "all dates."
    ]
