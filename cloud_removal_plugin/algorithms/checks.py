"""Cheap cross-checks between parameters, each one sentence or '' where all is well."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable, Sequence

from qgis.core import QgsRasterLayer, QgsRectangle

from ..gui.text import tr
from .layers import same_file, snapshot

RASTER_SUFFIXES = (".tif", ".tiff")
_LONG_FORM = re.compile(r"\d{4}\D?\d{2}\D?\d{2}[T ]")
"""A date with a time: the engine reads it."""
_SPLIT_FORM = re.compile(r"(\d{4})([-_./:])(\d{1,2})\2(\d{1,2})")
"""Year, month and day as the engine reads them: 2018-07-05, 2018/7/5."""
_DATE_FORMATS = (("%Y-%m-%d", 10), ("%Y%m%d", 8), ("%Y%j", 7))


def dates_problem(text: str, layers: int) -> str:
    """Whether ``text`` holds ``layers`` different dates, the cloudy raster's first."""
    parts = [part.strip() for part in re.split(r"[;,\s]+", text) if part.strip()]
    if not parts:
        return ""
    for part in parts:
        if _date(part) is None and not _LONG_FORM.match(part):
            return tr("'{part}' in the acquisition dates is not a date. Write them like 2018-07-05;2018-06-25.").format(
                part=part
            )
    if len(parts) != layers:
        return tr(
            "The acquisition dates ({dates}) and the rasters ({layers}) differ in number. Give one date for the cloudy "
            "raster and one for each of the others, in their order, or leave the field empty."
        ).format(dates=len(parts), layers=layers)
    days = [_date(part) for part in parts]
    twice = next((part for part, day in zip(parts, days) if day and days.count(day) > 1), "")
    return tr("The date {date} is given twice. Every raster needs its own date.").format(date=twice) if twice else ""


def extent_problem(extent: QgsRectangle | None, given: bool, layer: QgsRasterLayer) -> str:
    """Whether the extent (in the layer's CRS, None = cannot be read) has an area and meets the layer."""
    if not given:
        return ""
    if extent is None or extent.isNull() or extent.isEmpty():
        return tr("The extent has no area. Draw it anew, or leave it empty to work on the whole raster.")
    if not extent.intersects(layer.dataProvider().extent()):
        return tr("The extent does not meet the raster '{name}'. Draw it inside that layer.").format(name=layer.name())
    return ""


def repeated_problem(target: QgsRasterLayer, others: Sequence[QgsRasterLayer]) -> str:
    """Whether the cloudy raster, or another one, is given twice."""
    seen = [snapshot(target).path]
    for layer in others:
        path = snapshot(layer).path
        if same_file(path, seen[0]):
            sentence = tr("'{name}' is the cloudy raster and one of the other dates. Take it out of the other dates.")
            return sentence.format(name=os.path.basename(path))
        if any(same_file(path, other) for other in seen[1:]):
            sentence = tr("'{name}' is twice among the other dates. Give every raster once.")
            return sentence.format(name=os.path.basename(path))
        seen.append(path)
    return ""


def outputs_problem(outputs: Iterable[str], inputs: Iterable[str]) -> str:
    """Whether an output is not a GeoTIFF, or would overwrite an input or another output."""
    sources = list(inputs)
    seen: list[str] = []
    for path in (path for path in outputs if path):
        if not path.lower().endswith(RASTER_SUFFIXES):
            sentence = tr("The output '{name}' is not a GeoTIFF. Choose a file whose name ends in .tif.")
            return sentence.format(name=os.path.basename(path))
        if any(same_file(path, source) for source in sources):
            sentence = tr("The output '{name}' is one of the inputs. Choose another file.")
            return sentence.format(name=os.path.basename(path))
        if any(same_file(path, other) for other in seen):
            sentence = tr("Two outputs have the same file '{name}'. Choose another for one of them.")
            return sentence.format(name=os.path.basename(path))
        seen.append(path)
    return ""


def files_problem(outputs: Iterable[tuple[str, tuple[str, ...]]], inputs: Iterable[str]) -> str:
    """Whether a file output (path, endings that it may have) is of an unknown kind or would overwrite an input."""
    sources = list(inputs)
    for path, endings in outputs:
        if path and not path.lower().endswith(endings):
            sentence = tr("The output '{name}' has an unknown ending. Choose a file whose name ends in {endings}.")
            return sentence.format(name=os.path.basename(path), endings=tr(" or ").join(endings))
        if path and any(same_file(path, source) for source in sources):
            sentence = tr("The output '{name}' is one of the inputs. Choose another file.")
            return sentence.format(name=os.path.basename(path))
    return ""


def _date(text: str) -> datetime.date | None:
    split = _SPLIT_FORM.fullmatch(text)
    text = f"{split[1]}-{split[3]:0>2}-{split[4]:0>2}" if split else text
    for form, length in _DATE_FORMATS:
        if len(text) == length:
            try:
                return datetime.datetime.strptime(text, form).date()
            except ValueError:
                continue
    return None
