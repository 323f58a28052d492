"""Which bands the dates of a series have, and in which passes of methods all of them are restored.

The dates of a series need not have the same bands: Landsat lies beside Sentinel-2, a stack of four bands beside one of
ten. Every date is restored in all bands that it has itself. Methods that complete lacking bands from those that are
there learn from all dates at once; others see the dates that have the bands.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..methods.series import networks
from ..observation import Observation
from ..raster.radiometry import Radiometry
from ..raster.reader import LIKE

COMPLETING = ("auto", "fast", "gaussian", "scene_networks")
"""Methods that learn how the bands which a date lacks follow from those it has."""

ALONE = ("inpainting",)
"""Methods that look at one date at a time."""

FILLS = "fast"
"""What restores where the chosen method cannot."""

Places = frozenset[int]


@dataclass(frozen=True)
class Pass:
    """One method over some dates and bands of a series.

    Attributes:
        method: its name.
        layers: dates that it sees, ascending. bands: places of the bands that it sees, ascending.
        take: places of the bands that are taken from it, where the date has them. targets: dates that it restores.
    """

    method: str
    layers: tuple[int, ...]
    bands: tuple[int, ...]
    take: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def rows(self) -> list[int]:
        """Where ``take`` lies in ``bands``."""
        return [self.bands.index(place) for place in self.take]

    def narrowed(self, obs: Observation) -> Observation:
        """What the pass sees of an observation of all dates and bands; without a copy where that is possible."""
        many, bands = obs.shape[:2]
        layers, places = _steps(self.layers), _steps(self.bands)
        if layers == slice(0, many) and places == slice(0, bands):
            return obs
        both = isinstance(layers, list) and isinstance(places, list)
        day = float(obs.days[self.layers[0]])
        return replace(
            obs,
            optical=obs.optical[np.ix_(layers, places)] if both else obs.optical[layers, places],
            cloud=obs.cloud[layers],
            days=np.asarray(obs.days, np.float64)[list(self.layers)] - day,
            bands=tuple(obs.bands[place] for place in self.bands),
            radar_days=np.asarray(obs.radar_days, np.float64) - day,
        )

    def copies(self, layers: int, bands: int) -> bool:
        """Whether a window of the pass holds its pixels a second time."""
        return (len(self.layers), len(self.bands)) != (layers, bands)


def _steps(numbers: tuple[int, ...]) -> slice | list[int]:
    """A slice where the numbers follow each other, which needs no copy."""
    first = numbers[0]
    follow = numbers == tuple(range(first, first + len(numbers)))
    return slice(first, first + len(numbers)) if follow else list(numbers)


def union(found: Sequence[Radiometry]) -> tuple[str, ...]:
    """Roles of all bands of a series: those of the first raster, then what others have beside.

    A band that stands in for another (:data:`LIKE`) is none of its own, unless a date has both.
    """
    out = list(found[0].bands)
    both = {role for role, like in LIKE.items() if any({role, like} <= set(each.bands) for each in found)}
    for each in found[1:]:
        for role in each.bands:
            if role not in out and (LIKE.get(role) not in out or role in both):
                out.append(role)
    return tuple(out)


def refuse_strangers(found: Sequence[Radiometry]) -> None:
    """Rasters without any band of the first raster are no dates of the same series.

    Raises:
        InputError: one has none of them.
    """
    first = set(found[0].bands)
    for each in found[1:]:
        if not any(role in first or LIKE.get(role) in first for role in each.bands):
            raise InputError(
                f"Layer '{each.layer}' has none of the first raster's bands ({', '.join(found[0].bands)}; it has "
                f"{', '.join(each.bands)}). Choose layers of like sensors, or name the bands in the files."
            )


def refuse_mixed_stacks(stacks: Sequence[str], found: Sequence[Radiometry]) -> None:
    """The dates of one stack have the same bands; others mean that it was cut at the wrong places.

    Args:
        stacks: name of the raster from which each date was cut, '' = a raster of its own.

    Raises:
        InputError: the dates of a stack have different bands.
    """
    kinds: dict[str, dict[tuple[str, ...], None]] = {}
    for stack, each in zip(stacks, found, strict=True):
        kinds.setdefault(stack, {})[each.bands] = None
    for stack, bands in kinds.items():
        if stack and len(bands) > 1:
            first, second = [", ".join(names) for names in bands][:2]
            raise InputError(
                f"Cut by BANDS_PER_DATE, the dates of '{stack}' have different bands ({first}; {second}). Type the "
                "number of bands of one date; all bands of a date must follow each other, or have the date in their "
                "names."
            )


def passes(method: str, own: Sequence[Places]) -> list[Pass]:
    """The passes that restore every date in all of its bands, the one that restores most dates first.

    Args:
        method: what the analyst chose. own: places of the bands that each date has.
    """
    if len(set(own)) == 1:
        bands, every = tuple(sorted(own[0])), tuple(range(len(own)))
        return [Pass(method, every, bands, bands, every)]
    if method in COMPLETING:
        return completing(method, own, range(len(own)))
    if method in networks():
        return _of_like_dates(method, own)
    return _band_by_band(method, own)


def completing(method: str, own: Sequence[Places], targets: Collection[int]) -> list[Pass]:
    """A pass for each set of bands that lies in no other date's: what other dates lack is completed.

    In each there is a date with all of its bands, from which the others' are learned.
    """
    sets = [each for each in dict.fromkeys(own) if not any(each < other for other in own)]
    sets.sort(key=lambda each: (-sum(mine <= each for mine in own), -len(each)))
    out, left = [], set(targets)
    for bands in sets:
        mine = sorted(t for t in left if own[t] <= bands)
        left -= set(mine)
        if mine:
            seen = tuple(t for t in range(len(own)) if own[t] & bands)
            places = tuple(sorted(bands))
            out.append(Pass(method, seen, places, places, tuple(mine)))
    return out


def _of_like_dates(method: str, own: Sequence[Places]) -> list[Pass]:
    """A pass for each set of bands, which sees the dates that have them all.

    Bands that one date alone has are completed; its others, if further dates have just them, pass with those.
    """
    targets: dict[Places, list[int]] = {bands: [] for bands in own}
    out = []
    for t, bands in enumerate(own):
        if sum(other >= bands for other in own) > 1:
            targets[bands].append(t)
            continue
        inside = max((other for other in targets if other < bands), key=len, default=frozenset())
        if inside:
            targets[inside].append(t)
        places = tuple(sorted(bands - inside))
        out += [replace(each, take=places) for each in completing(FILLS, own, [t])]
    for bands, mine in targets.items():
        layers, places = tuple(t for t in range(len(own)) if own[t] >= bands), tuple(sorted(bands))
        if mine:
            out.append(Pass(method, layers, places, places, tuple(mine)))
    return sorted(out, key=lambda each: (each.method != method, -len(each.targets)))


def _band_by_band(method: str, own: Sequence[Places]) -> list[Pass]:
    """A pass for each group of bands that the same dates have; bands of one date alone follow from its others."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place in sorted(frozenset().union(*own)):
        groups.setdefault(tuple(t for t in range(len(own)) if place in own[t]), []).append(place)
    out = []
    for layers, bands in groups.items():
        places = tuple(bands)
        if len(layers) > 1 or method in ALONE:
            out.append(Pass(method, layers, places, places, layers))
        else:
            out += [replace(each, take=places) for each in completing(FILLS, own, layers)]
    return sorted(out, key=lambda each: (each.method != method, -len(each.targets)))


def described(names: Sequence[str], own: Sequence[Places], method: str, every: Sequence[Pass]) -> list[str]:
    """Sentences for the log about dates of different bands."""
    kinds = list(dict.fromkeys(own))
    if len(kinds) == 1:
        return []
    said = [f"{_dates(own.count(kind))} with {', '.join(_named(names, kind))}" for kind in kinds]
    out = [f"The dates have different bands, and each is restored in its own: {'; '.join(said)}."]
    for each in (each for each in every if each.method != method):
        filled = _named(names, set(each.take) & frozenset().union(*(own[t] for t in each.targets)))
        out.append(
            f"{', '.join(filled)} of {_dates(len(each.targets))}: filled by '{FILLS}', because '{method}' needs more "
            "bands on the same dates, or more dates with the same bands."
        )
    lonely = [place for place in sorted(frozenset().union(*own)) if sum(place in each for each in own) == 1]
    if lonely and method not in ALONE:
        out.append(
            f"Only one date has {', '.join(_named(names, lonely))}: how the other bands tell what is hidden there is "
            "learned from that date alone."
        )
    return out


def _dates(many: int) -> str:
    return f"{many} date{'s' if many > 1 else ''}"


def _named(names: Sequence[str], places: Collection[int]) -> list[str]:
    return [names[place] for place in sorted(places)]
