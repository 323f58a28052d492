"""The demo on a folder of the user's own dated GeoTIFFs."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
_ORDINAL = re.compile(r"(?<!\d)((?:19|20)\d{2})-?([0-3]\d{2})(?!\d)")
_MOST_HIDDEN = 0.7
_QUICKLOOK_PX = 128


@dataclass(frozen=True)
class OwnScenes:
    """Dated files of one place; the target first, the others by date.

    Attributes:
        dates: T dates, the target's first.
        optical: T paths.
        masks: T paths, or empty where not every date has one.
        radar: a path, or empty.
        hidden_share: share of the target that a quick look calls hidden.
    """

    dates: tuple[dt.date, ...]
    optical: tuple[str, ...]
    masks: tuple[str, ...]
    radar: str
    hidden_share: float


def date_in(name: str) -> dt.date | None:
    """The first date in a file name: YYYY-MM-DD, YYYYMMDD or YYYYDDD."""
    match = _DATE.search(name)
    if match:
        return dt.date(*(int(part) for part in match.groups()))
    match = _ORDINAL.search(name)
    if match and 1 <= int(match.group(2)) <= 366:
        return dt.date(int(match.group(1)), 1, 1) + dt.timedelta(days=int(match.group(2)) - 1)
    return None


def _is_radar(path: Path) -> bool:
    if re.match(r"(?i)(s1|radar|sentinel-?1)", path.name):
        return True
    with rasterio.open(path) as file:
        return any(re.match(r"(?i)(vv|vh)\b", text or "") for text in file.descriptions)


def _quicklook(path: str, band: int = 1) -> np.ndarray:
    """float32 (128, 128) of one band, NaN = no data."""
    with rasterio.open(path) as file:
        small = file.read(band, out_shape=(_QUICKLOOK_PX, _QUICKLOOK_PX), masked=True)
    return np.ma.filled(small.astype(np.float32), np.nan)


def _hidden(optical: list[str], masks: list[str]) -> np.ndarray:
    """bool (T, 128, 128): from the masks, else from what is much brighter than the date in the middle."""
    if masks:
        return np.stack([_quicklook(path) > 0 for path in masks])
    blue = np.stack([_quicklook(path) for path in optical])
    usual = np.nanmedian(blue, axis=0)
    return ~(blue < 1.35 * usual)


def find(folder: Path) -> OwnScenes:
    """Reads a folder of GeoTIFFs with dates in their names.

    Files called ``MASK...`` with a date are masks (non-zero = hidden); ``S1...`` or bands called VV and VH are radar.
    The target is the date with the most hidden pixels that other dates show, at most 70 % of it hidden.

    Raises:
        ValueError: fewer than two dated images; the sentence names the folder.
    """
    tiffs = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".tif", ".tiff"))
    masks = {date_in(p.name): str(p) for p in tiffs if p.name.upper().startswith("MASK")}
    others = [p for p in tiffs if not re.match(r"(?i)(mask|truth|truemask)", p.name)]
    radar = next((str(p) for p in others if _is_radar(p)), "")
    images = {date_in(p.name): str(p) for p in others if str(p) != radar}
    images.pop(None, None)
    dates = sorted(date for date in images if date)
    if len(dates) < 2:
        raise ValueError(f"{folder} holds {len(dates)} GeoTIFFs with a date in their name; two or more are needed.")
    optical = [images[date] for date in dates]
    matching = [masks[date] for date in dates if date in masks]
    matching = matching if len(matching) == len(dates) else []
    hidden = _hidden(optical, matching)
    share = hidden.mean(axis=(1, 2))
    seen_elsewhere = (~hidden).sum(axis=0)[None] - ~hidden > 0
    gain = np.where(share <= _MOST_HIDDEN, (hidden & seen_elsewhere).mean(axis=(1, 2)), -1.0)
    target = int(np.argmax(gain))
    order = [target, *(index for index in range(len(dates)) if index != target)]
    return OwnScenes(
        dates=tuple(dates[i] for i in order),
        optical=tuple(optical[i] for i in order),
        masks=tuple(matching[i] for i in order) if matching else (),
        radar=radar,
        hidden_share=float(share[target]),
    )
