"""Several dates in one raster, and one raster of several dates: virtual rasters (VRT) that copy no pixel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path

from ..errors import InputError, OutputError
from .dates import find_date
from .grid import Grid
from .info import RasterInfo
from .sun import tells_sun

_DATE = re.compile(r"\d{4}([-_.]?)\d{2}\1\d{2}(T\d{6})?|(?<!\d)\d{7}(?!\d)")

_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64",
}  # fmt: skip


@dataclass(frozen=True)
class VirtualBand:
    """One band of a virtual raster: where it comes from, and what is told of it.

    With ``masked``, pixels that the source's mask band hides read as ``nodata``: QGIS shows no holes by mask bands of
    a virtual raster.
    """

    path: str
    band: int
    dtype: str
    description: str = ""
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    masked: bool = False


def write_vrt(path: Path, grid: Grid, bands: Sequence[VirtualBand], tags: dict[str, str], relative: bool) -> None:
    """Write a virtual raster.

    Args:
        path: target. grid: of all bands. bands: in their order.
        tags: of the dataset. relative: name the sources as neighbours of the virtual raster.

    Raises:
        OutputError: the file cannot be written.
    """
    lines = [f'<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}">']
    if grid.crs_wkt:
        lines.append(f"<SRS>{escape(grid.crs_wkt)}</SRS>")
    a, b, c, d, e, f = grid.transform
    lines.append(f"<GeoTransform>{', '.join(repr(float(v)) for v in (c, a, b, f, d, e))}</GeoTransform>")
    lines.append(_metadata(tags))
    size = f'xOff="0" yOff="0" xSize="{grid.width}" ySize="{grid.height}"'
    for number, band in enumerate(bands, start=1):
        lines.append(f'<VRTRasterBand dataType="{_TYPES.get(band.dtype, "Float64")}" band="{number}">')
        lines.append(f"<Description>{escape(band.description)}</Description>" if band.description else "")
        lines.append(f"<NoDataValue>{band.nodata!r}</NoDataValue>" if band.nodata is not None else "")
        lines.append(f"<Scale>{band.scale!r}</Scale><Offset>{band.offset!r}</Offset>")
        kind, mask = ("ComplexSource", "<UseMaskBand>true</UseMaskBand>") if band.masked else ("SimpleSource", "")
        lines.append(
            f'<{kind}><SourceFilename relativeToVRT="{int(relative)}">{escape(band.path)}</SourceFilename>'
            f"<SourceBand>{band.band}</SourceBand><SrcRect {size}/><DstRect {size}/>{mask}</{kind}></VRTRasterBand>"
        )
    lines.append("</VRTDataset>")
    try:
        path.write_text("\n".join(line for line in lines if line), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"'{path.name}' cannot be written to '{path.parent}' ({error}).") from error


def _metadata(tags: dict[str, str]) -> str:
    if not tags:
        return ""
    items = "".join(f'<MDI key="{escape(key)}">{escape(value)}</MDI>' for key, value in tags.items())
    return f"<Metadata>{items}</Metadata>"


def split_dates(info: RasterInfo, bands_per_date: int, folder: Path, number: int, grid: Grid) -> list[Path]:
    """One virtual raster for each date of a raster whose bands are dates x bands.

    Args:
        info: the raster. bands_per_date: bands of one date.
        folder: where the virtual rasters go. number: of the raster among the inputs, for their names.
        grid: of the raster itself.

    Raises:
        InputError: the number of bands is no multiple, or the names of the bands tell other dates.
    """
    groups = _bands_of_dates(info, bands_per_date)
    # one date and one place of the sun for all dates would be wrong for most of them
    told = {key: value for key, value in info.tags.items() if find_date(value) is None and not tells_sun(key)}
    tags = {key: value for key, value in told.items() if "\n" not in value}
    out = []
    place = folder / f"stack{number}"
    place.mkdir(exist_ok=True)
    for nth, numbers in enumerate(groups, start=1):
        day = next((d for b in numbers if (d := find_date(info.descriptions[b - 1]))), None)
        path = place / f"{_dateless(info)}_{f'{day.isoformat()}_{nth}' if day else f'date{nth}'}.vrt"
        bands = [
            VirtualBand(
                str(Path(info.path).resolve()) if Path(info.path).exists() else info.path, b, info.dtypes[b - 1],
                _without_date(info.descriptions[b - 1]), info.nodata[b - 1], info.scales[b - 1], info.offsets[b - 1],
            )
            for b in numbers
        ]  # fmt: skip
        write_vrt(path, grid, bands, tags, relative=False)
        out.append(path)
    return out


def _bands_of_dates(info: RasterInfo, bands_per_date: int) -> list[list[int]]:
    """Band numbers (from 1) of each date: in their order, or by the dates in their names where these say otherwise.

    Raises:
        InputError: the number of bands is no multiple, or the dates in the names have another number of bands.
    """
    if info.count % bands_per_date:
        raise InputError(
            f"Layer '{info.name}' has {info.count} bands, which is no multiple of BANDS_PER_DATE ({bands_per_date}). "
            "Give the number of bands of one date."
        )
    days = [find_date(text) for text in info.descriptions]
    in_order = [list(range(b, b + bands_per_date)) for b in range(1, info.count + 1, bands_per_date)]
    if all(len({days[b - 1] for b in numbers}) == 1 for numbers in in_order):
        return in_order
    by_day: dict[date | None, list[int]] = {}
    for band, day in enumerate(days, start=1):
        by_day.setdefault(day, []).append(band)
    counts = sorted({len(numbers) for numbers in by_day.values()})
    if None in by_day or counts != [bands_per_date]:
        raise InputError(
            f"The names of the bands of layer '{info.name}' hold {len(by_day.keys() - {None})} dates of "
            f"{' or '.join(map(str, counts))} bands, and BANDS_PER_DATE {bands_per_date} would mix them. Type the "
            "number of bands of one date, or give the dates as rasters of their own."
        )
    return list(by_day.values())


def dates_in_bands(info: RasterInfo) -> int:
    """How many dates the names of a raster's bands hold."""
    return len({day for text in info.descriptions if (day := find_date(text))})


def _dateless(info: RasterInfo) -> str:
    """The file's name, which may tell the product, without a date that would count for every date in it."""
    name = _DATE.sub("", Path(info.name).stem).strip("_-. ")
    return name if name and not find_date(name) else "stack"


def _without_date(text: str) -> str:
    """A band's name without the date in it: '2018-07-05 B2' is the band 'B2'."""
    words = [word for word in text.replace("_", " ").split() if find_date(word) is None]
    return " ".join(words)
