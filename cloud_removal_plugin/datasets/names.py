"""What the file names of the data sets say: scene, region, patch, date."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

LAUNCH = datetime.date(2014, 4, 3)
"""Launch of Sentinel-1A, from which SEN12MS-CR-TS and UnCRtainTS count days."""

_SERIES = re.compile(
    r"^(?P<scene>ROIs\d{4})/(?P<roi>\d+)/(?P<kind>S[12])/(?P<time>\d+)/"
    r"s[12]_(?P=scene)_(?P=roi)_ImgNo_(?P=time)_(?P<date>\d{4}-\d\d-\d\d)_patch_(?P<patch>\d+)\.tif$"
)
_TRIPLET = re.compile(
    r"^(?P<scene>ROIs\d{4})_(?P<season>[a-z]+)_(?P<kind>s1|s2|s2_cloudy)/(?P=kind)_(?P<roi>\d+)/"
    r"(?P=scene)_(?P=season)_(?P=kind)_(?P=roi)_p(?P<patch>\d+)\.tif$"
)
_SERIES_NAME = re.compile(r"s[12]_(ROIs\d{4})_(\d+)_ImgNo_\d+_\d{4}-\d\d-\d\d_patch_(\d+)\.tif$")


@dataclass(frozen=True)
class PatchFile:
    """One file of SEN12MS-CR or SEN12MS-CR-TS.

    Attributes:
        kind: ``s1``, ``s2`` or ``s2_cloudy``; ``S1`` or ``S2`` for a series.
        scene: ``ROIs1158`` ...
        season: ``spring`` ..., '' for a series.
        roi, patch: numbers.
        time: index of the date, -1 without.
        date: of acquisition, None without.
    """

    kind: str
    scene: str
    roi: int
    patch: int
    season: str = ""
    time: int = -1
    date: datetime.date | None = None


def triplet_file(path: str) -> PatchFile | None:
    """A path of SEN12MS-CR relative to its root; None where it does not fit the layout."""
    found = _TRIPLET.match(path)
    if found is None:
        return None
    return PatchFile(found["kind"], found["scene"], int(found["roi"]), int(found["patch"]), found["season"])


def series_file(path: str) -> PatchFile | None:
    """A path of SEN12MS-CR-TS relative to its root; None where it does not fit the layout."""
    found = _SERIES.match(path)
    if found is None:
        return None
    try:
        date = datetime.date.fromisoformat(found["date"])
    except ValueError:
        return None
    place = (found["scene"], int(found["roi"]), int(found["patch"]))
    return PatchFile(found["kind"], *place, time=int(found["time"]), date=date)


def series_of(path: str) -> tuple[str, int, int] | None:
    """Scene, ROI and patch that a file name of SEN12MS-CR-TS names, whatever folder it lies in."""
    found = _SERIES_NAME.search(path)
    return (found[1], int(found[2]), int(found[3])) if found else None


def days_since_launch(date: datetime.date) -> int:
    """Day number of a date as the SEN12MS-CR-TS loader counts."""
    return (date - LAUNCH).days
