"""Whether Sentinel-2 numbers still hold the +1000 of processing baseline 04.00: metadata, pixels, and the series.

Since 2022-01-25 (baseline 04.00) reflectance = (DN - 1000) / 10,000; reprocessed older scenes have it as well,
harmonised collections and some catalogues have it removed. A wrong guess shifts reflectance by 0.1.

The rule on pixels: with +1000 inside, the 0.1 % quantile of every band from B02 to B12 is at least 900; one band well
below proves that it is not inside. Measured on 72 real scenes without +1000 and the same with it: 13 bands (cirrus is
always dark) 142 of 144 right; with fewer bands, scenes that are nearly all cloud need the other dates of the series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .radiometry import Radiometry

OFFSET_DN = 1000.0

BASELINE_0400 = date(2022, 1, 25)

DARKEST_WITH_OFFSET = 900.0
"""Where +1000 is inside, no band of any scene has pixels much darker than this."""

DARK_TARGET = 1500.0
"""A darkest band above this has no dark pixel at all (full cloud, snow, desert): then the pixels can't tell."""


@dataclass(frozen=True)
class Decision:
    """An offset in DN (-1000 or 0), the sentence for the log, and whether an analyst should check it.

    ``open`` says that only the pixels decided, so that the rest of a series may know better.
    """

    offset: float
    sentence: str
    check: bool = False
    open: bool = False


def decide(darkest: float | None, declared: float | None, where: str, day: date | None) -> Decision:
    """The offset of one raster.

    Args:
        darkest: lowest 0.1 % quantile of all bands in DN (reflectance x 10,000), None where there was no pixel.
        declared: the offset in DN that metadata declares, None where it says nothing.
        where: where metadata says so.
        day: acquisition date where known.
    """
    if declared is not None:
        return _declared(darkest, declared, where)
    if darkest is None:
        return Decision(0.0, "Nothing says whether the +1000 of baseline 04.00 is inside; taken as not.", open=True)
    if darkest < DARKEST_WITH_OFFSET:
        return Decision(0.0, f"No offset: its darkest pixels lie below the {OFFSET_DN:.0f} that an offset adds.")
    recent = day is not None and day >= BASELINE_0400
    if darkest <= DARK_TARGET or recent:
        return Decision(-OFFSET_DN, _inside(darkest), check=True, open=True)
    return Decision(
        0.0,
        "No metadata and no dark pixel says whether the +1000 of processing baseline 04.00 is inside the numbers; "
        "taken as not. Type REFLECTANCE_OFFSET -0.1 if it is.",
        check=True,
        open=True,
    )


def _inside(darkest: float) -> str:
    return (
        f"No pixel of any band is darker than {darkest:.0f}, so the +1000 of processing baseline 04.00 is taken to be "
        "inside the numbers and subtracted. Type REFLECTANCE_OFFSET 0 if that is wrong."
    )


def _declared(darkest: float | None, declared: float, where: str) -> Decision:
    """Metadata, unless the pixels prove that the offset is removed already (a known fault of catalogues)."""
    if declared and darkest is not None and darkest < DARKEST_WITH_OFFSET:
        return Decision(
            0.0,
            f"{where} declares an offset of {declared:g}, but the darkest pixels ({darkest:.0f}) show that it is "
            "already applied; it is not subtracted again. Type REFLECTANCE_OFFSET -0.1 if that is wrong.",
            check=True,
        )
    return Decision(declared, f"Offset {declared:g} from {where}.")


def agree(radiometries: Sequence[Radiometry], dates: Sequence[date | None] | None = None) -> list[Radiometry]:
    """Let a series decide for its undecided members: cloudy dates have no dark pixels, the clear ones beside them have.

    Only Sentinel-2 members whose offset was found from pixels alone are touched. Before and after 2022-01-25 are judged
    apart where dates are known.

    Args:
        radiometries: of every date.
        dates: acquisition dates in the same order, None where they are not known.

    Returns:
        The radiometries, with the offset, notes and warnings of those that changed.
    """
    days = list(dates) if dates is not None else [None] * len(radiometries)
    result = list(radiometries)
    for side in (True, False):
        members = [
            i
            for i, (r, day) in enumerate(zip(radiometries, days, strict=True))
            if r.sensor == "sentinel2" and r.darkest is not None and (day is not None and day >= BASELINE_0400) == side
        ]
        darkest = min((radiometries[i].darkest or 0.0 for i in members), default=0.0)
        for i in members:
            result[i] = _agreed(radiometries[i], darkest, side)
    return result


def _agreed(radiometry: Radiometry, darkest: float, recent: bool) -> Radiometry:
    """One member, in the light of the darkest pixels of its series."""
    if not radiometry.undecided:
        return radiometry
    wanted = decide(darkest, None, "", BASELINE_0400 if recent else None).offset * radiometry.scale
    if wanted == radiometry.offset:
        return radiometry
    sentence = (
        f"{radiometry.layer}: the other dates of the series are as dark as {darkest:.0f}, so the offset is {wanted:g} "
        f"here as well (reflectance = DN x {radiometry.scale:g} {'-' if wanted < 0 else '+'} {abs(wanted):g})."
    )
    kept = tuple(w for w in radiometry.warnings if "+1000" not in w)
    notes = tuple(n for n in radiometry.notes if "+1000" not in n and "reflectance = DN" not in n)
    return replace(radiometry, offset=wanted, notes=(*notes, sentence), warnings=(*kept, sentence))
