"""Official splits of SEN12MS-CR and SEN12MS-CR-TS by region of interest (ROI).

Numbers as in the public loaders of SEN12MS-CR-TS and UnCRtainTS. Membership is exact: the published SEN12MS-CR
loader tests for a part of the name, so that its training set swallows test regions (spring 106 through "1", for one).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import InputError

SPLITS = ("all", "train", "val", "test")
SEASONS: dict[str, str] = {
    "ROIs1158": "spring",
    "ROIs1868": "summer",
    "ROIs1970": "fall",
    "ROIs2017": "winter",
}


def _rois(text: str) -> frozenset[tuple[str, int]]:
    """``1158/31 44; 1868/73`` to pairs of scene and number."""
    found = []
    for group in text.split(";"):
        scene, numbers = group.split("/")
        found += [(f"ROIs{scene.strip()}", int(number)) for number in numbers.split()]
    return frozenset(found)


SEN12MSCR: Mapping[str, frozenset[tuple[str, int]]] = {
    "test": _rois("1158/31 44 106 123 140; 1868/73 119; 1970/139; 2017/63 108"),
    "val": _rois("1158/17; 1868/17 19 80 127; 1970/65; 2017/22 84 107 130"),
    "train": _rois(
        "1158/1 6 8 9 15 21 26 39 40 45 58 63 66 75 77 97 100 101 109 110 113 115 117 119 120 121 124 126 128 132 "
        "134 141 142 145 147;"
        "1868/4 7 11 15 25 27 31 36 40 42 43 47 55 56 72 76 86 87 89 90 93 95 100 101 102 113 114 115 120 121 123 124"
        " 125 126 132 133 135 137 139 140 143 146 147;"
        "1970/1 3 4 6 11 14 19 22 26 27 28 30 31 33 35 37 39 40 41 42 57 64 71 77 81 82 83 85 88 91 93 100 104 105 107"
        " 109 110 112 114 116 119 120 122 125 128 131 133 134 135 136 141 142 144 147 148 149;"
        "2017/8 21 25 42 47 49 55 59 61 62 64 68 75 81 94 102 104 112 116 135 146"
    ),
}

_REGIONS: Mapping[str, Mapping[str, str]] = {
    "africa": {"train": "1970/21 35 40; 2017/8 61 75", "val": "2017/22", "test": "2017/32 140"},
    "america": {"train": "1868/36 85; 1970/82 142; 2017/49 116", "val": "1970/65", "test": "1158/106; 1970/132"},
    "asiaEast": {
        "train": "1868/114 126 143; 1970/116 135; 2017/25",
        "val": "2017/117",
        "test": "1868/73 119; 1970/139",
    },
    "asiaWest": {"train": "1970/57 83 112; 2017/69 115 130", "val": "1868/127", "test": "1868/100"},
    "europa": {
        "train": "1868/56 121 139; 1970/71 91 119 128 133 144 149; 2017/146",
        "val": "1868/17",
        "test": "2017/63 103 108; 1868/142; 1970/20",
    },
}

REGIONS = ("all", *_REGIONS)

SEN12MSCRTS: Mapping[str, Mapping[str, frozenset[tuple[str, int]]]] = {
    region: {split: _rois(text) for split, text in splits.items()} for region, splits in _REGIONS.items()
}


def _chosen(wanted: str, known: Iterable[str], what: str) -> tuple[str, ...]:
    names = tuple(known)
    if wanted == "all":
        return names
    if wanted not in names:
        raise InputError(f"There is no {what} '{wanted}'. Choose one of: all, {', '.join(names)}.")
    return (wanted,)


def sen12mscr_rois(split: str) -> frozenset[tuple[str, int]]:
    """ROIs of a split of SEN12MS-CR.

    Raises:
        InputError: an unknown split.
    """
    return frozenset().union(*(SEN12MSCR[name] for name in _chosen(split, SPLITS[1:], "split")))


def sen12mscrts_rois(split: str, region: str = "all") -> frozenset[tuple[str, int]]:
    """ROIs of a split of SEN12MS-CR-TS within a region.

    Raises:
        InputError: an unknown split or region.
    """
    regions, splits = _chosen(region, _REGIONS, "region"), _chosen(split, SPLITS[1:], "split")
    return frozenset().union(*(SEN12MSCRTS[place][name] for place in regions for name in splits))
