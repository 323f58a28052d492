"""Cloud masks that analysts bring: what kind they are, and their classes on the scene's grid."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RioWindow

from ..errors import InputError
from . import quality
from .align import place
from .classes import CLEAR, CLOUD, NO_DATA, SHADOW
from .grid import Grid
from .info import RasterInfo, read_error
from .opened import OpenRaster
from .sample import coarse
from .windows import Window

HIDDEN_SHARE = 0.5
"""A probability from which a pixel counts as hidden."""

LOOK_EDGE = 1024
"""The mask is looked at in at most this many rows and columns to tell its kind."""

KINDS = (
    "binary", "marks", "probability", "percent", "byte_probability", "clear_score", "classes", "scl", "qa_pixel",
    "qa60", "fmask", "udm2", "udm", "classi",
)  # fmt: skip

_NAMES: tuple[tuple[str, str], ...] = (
    (r"(?<![a-z])scl(?![a-z])|scene.?classification", "scl"),
    (r"qa_?pixel|pixel_?qa", "qa_pixel"),
    (r"(?<![a-z0-9])qa_?60(?![0-9])", "qa60"),
    (r"fmask", "fmask"),
    (r"udm2", "udm2"),
    (r"(?<![a-z])udm(?![a-z0-9])", "udm"),
    (r"msk_classi", "classi"),
    (r"(?<![a-z])cs_cdf(?![a-z])|cloud_?score", "clear_score"),
)
_PROBABILITY = re.compile(r"(?i)cldprb|cloud.?prob|probab|(?<![a-z])clp(?![a-z])|s2cloudless")
_PERCENT = re.compile(r"(?i)cldprb|cloud.?prob|probab")
"""Names that say a probability also of a scene so clear, or so cloudy, that it holds two or three numbers."""
_MASK_WORD = re.compile(r"(?i)mask|cloud|fmask|qa_?pixel|scl|clm")


@dataclass(frozen=True)
class MaskKind:
    """How a mask raster is read.

    Attributes:
        name: one of :data:`KINDS`.
        bands: file bands (from 1) that are read.
        nodata: value that means "no data", or None.
        note: a sentence for the log that says what was assumed, and why.
    """

    name: str
    bands: tuple[int, ...] = (1,)
    nodata: float | None = None
    note: str = ""


def recognise_mask(info: RasterInfo) -> MaskKind:
    """The kind of a mask: by file and band names first, then by its values.

    Raises:
        InputError: several bands of which none is called a mask, or values that are no mask.
    """
    named = _by_name(info)
    if named:
        return named
    band = _band(info)
    values = coarse(info, (band,), LOOK_EDGE)[0]
    return _by_values(info, band, values)


def _by_name(info: RasterInfo) -> MaskKind | None:
    """Kind by the name of a band, else of the file."""
    for pattern, kind in _NAMES:
        by_band = [i for i, text in enumerate(info.descriptions, start=1) if re.search(pattern, text, re.IGNORECASE)]
        by_file = re.search(pattern, info.name, re.IGNORECASE)
        if not by_band and not by_file:
            continue
        if kind == "udm2":
            if info.count < 8:
                continue
            return MaskKind(kind, tuple(range(1, 9)), None, _said(info, "Planet UDM2", "its name"))
        if kind == "classi":
            if info.count < 3:
                continue
            return MaskKind(kind, (1, 2, 3), None, _said(info, "Sentinel-2 MSK_CLASSI", "its name"))
        if not by_band and info.count > 1 and not _lone(info):
            continue
        if kind == "clear_score" and np.dtype(info.dtype).kind != "f":
            continue
        band = by_band[0] if by_band else 1
        nodata = info.nodata[band - 1] if kind in ("clear_score", "qa60") else None
        return MaskKind(kind, (band,), nodata, _said(info, _WORDS[kind], "its name"))
    if _planet_bands(info):
        return MaskKind("udm2", tuple(range(1, 9)), None, _said(info, "Planet UDM2", "its eight band names"))
    return None


def _lone(info: RasterInfo) -> bool:
    """Whether the file has one band beside an alpha band."""
    return info.count - (1 if info.alpha else 0) == 1


def _planet_bands(info: RasterInfo) -> bool:
    names = [text.lower().replace(" ", "_") for text in info.descriptions]
    return info.count == 8 and names[:3] == ["clear", "snow", "shadow"]


def _said(info: RasterInfo, what: str, why: str) -> str:
    return f"{info.name}: read as {what}, because of {why}."


def _band(info: RasterInfo) -> int:
    """The band that is the mask.

    Raises:
        InputError: several bands, none called a mask.
    """
    if info.count == 1 or _lone(info):
        return 1
    called = [i for i, text in enumerate(info.descriptions, start=1) if _MASK_WORD.search(text)]
    if called:
        return called[0]
    raise InputError(
        f"Mask '{info.name}' has {info.count} bands and none is called a mask. Give a raster of one band (non-zero = "
        "restore)."
    )


def _by_values(info: RasterInfo, band: int, values: np.ndarray) -> MaskKind:
    nodata = info.nodata[band - 1]
    if values.dtype.kind == "c":
        raise InputError(f"Mask '{info.name}' holds complex numbers. Give a raster of one band (non-zero = restore).")
    looked_at = values.size
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if nodata is not None and np.isfinite(nodata):
        values = values[values != nodata]
    kind, why = _kind_of(info, band, values, nodata)
    marks = kind in ("binary", "classes") and 0 < values.size < looked_at and (values != 0).all()
    if marks and (values == values[0]).all():
        kind, why = "marks", f"it holds {values[0]:g} and no other number"
    # 0 as a nodata value of a mask means "nothing to restore here", not a hole in the mask
    keep = None if nodata == 0 and kind in ("binary", "marks", "classes", "probability", "percent") else nodata
    return MaskKind(kind, (band,), keep, f"{info.name}: read as {_WORDS[kind]}, because {why}.")


_WORDS = {
    "binary": "a mask (non-zero = restore)",
    "marks": "marks (restore where it holds a number, clear everywhere else)",
    "probability": "a cloud probability 0..1 (from 0.5: restore)",
    "percent": "a cloud probability 0..100 (from 50: restore)",
    "byte_probability": "a cloud probability 0..255 (from 128: restore)",
    "classes": "classes 0 clear, 1 cloud, 2 shadow, 255 no data",
    "scl": "a Sentinel-2 scene classification (SCL)",
    "qa_pixel": "Landsat QA_PIXEL bits",
    "qa60": "Sentinel-2 QA60 bits",
    "fmask": "HLS Fmask bits",
    "udm": "Planet's old UDM bits",
    "clear_score": f"Cloud Score+ (below {quality.CLEAR_SCORE}: restore)",
}


def _kind_of(info: RasterInfo, band: int, values: np.ndarray, nodata: float | None) -> tuple[str, str]:
    """Kind and reason by the values that are no nodata."""
    if not values.size:
        return "binary", "it holds no value at all"
    low, high = float(values.min()), float(values.max())
    probable = bool(_PROBABILITY.search(info.name) or _PROBABILITY.search(info.descriptions[band - 1]))
    percent = probable and bool(_PERCENT.search(f"{info.name} {info.descriptions[band - 1]}")) and high <= 100
    if values.dtype.kind == "f" and not (values == np.round(values)).all():
        if low < 0 or high > 100:
            raise InputError(
                f"Mask '{info.name}' holds numbers from {low:.4g} to {high:.4g}: neither a mask nor a probability. "
                "Give a raster of one band (non-zero = restore, or a probability 0..1 or 0..100)."
            )
        return ("probability", "its numbers lie in 0..1") if high <= 1 else ("percent", "its numbers lie in 0..100")
    counted = values.dtype == np.uint8  # much faster than sorting
    found = {int(v) for v in (np.flatnonzero(np.bincount(values)) if counted else np.unique(values))}
    if found <= {0, 1}:
        if 255 in (nodata, *found):
            return "classes", "it holds 0, 1 and 255 for no data"
        return "binary", "it holds 0 and 1"
    if found <= {0, 1, 2, 255} and found != {0, 255} and found != {255} and not percent:
        return "classes", f"it holds {', '.join(str(v) for v in sorted(found))}"
    if len(found) <= 2 and not percent:
        return "binary", f"it holds {', '.join(str(v) for v in sorted(found))}"
    if found <= {0, 1024, 2048, 3072}:
        return "qa60", "it holds the bits 1024 and 2048"
    if low >= 0 and high <= 11 and high >= 5 and not probable:
        return "scl", "it holds classes 0 to 11"
    if info.dtypes[band - 1] in ("uint16", "int32", "uint32", "float32", "float64") and found & _LANDSAT_CLEAR:
        return "qa_pixel", "it holds Landsat's values for clear land or water"
    if low >= 0 and high <= 100 and (probable or len(found) > 12):
        return "percent", "its numbers lie in 0..100"
    if low >= 0 and high <= 255 and (probable or len(found) > 64):
        return "byte_probability", "its numbers lie in 0..255"
    return "binary", f"it holds {len(found)} values from {low:g} to {high:g} and its name says nothing else"


_LANDSAT_CLEAR = frozenset({21824, 21888, 21952, 22080, 22280, 23888, 30048, 54596, 54852, 55052})
"""QA_PIXEL of clear land, water, cloud and snow: no other mask uses these numbers."""


class MaskReader(OpenRaster):
    """Classes of a mask on the scene's grid. One GDAL handle: not for several threads, see :meth:`reopen`.

    Attributes:
        info, grid, kind: as given or recognised.
        same_grid: whether the mask's pixels are the scene's.
        notes: sentences for the log.
    """

    def __init__(self, info: RasterInfo, grid: Grid, kind: MaskKind | None = None) -> None:
        """Open the mask.

        Args:
            kind: from :func:`recognise_mask`; None to recognise it here.

        Raises:
            GridError: it cannot be placed on the grid.
            InputError: it is no mask, or cannot be opened.
        """
        self.info, self.grid = info, grid
        self._placement = place(info, grid)
        self.same_grid = self._placement.same
        self.kind = kind if kind is not None else recognise_mask(info)
        self.notes = (self.kind.note,) if self.kind.note else ()
        self._outside = _outside_value(self.kind)
        self._open(info.path)

    def reopen(self) -> MaskReader:
        """An equal reader with a handle of its own, for another thread."""
        return MaskReader(self.info, self.grid, self.kind)

    def read(self, window: Window) -> np.ndarray:
        """Classes of a window: uint8 (H, W), 0 clear, 1 cloud, 2 shadow, 255 no data (also outside the mask).

        Marks know no missing data: what they do not mark is clear.

        Raises:
            InputError: the pixels cannot be read.
        """
        unknown = CLEAR if self.kind.name == "marks" else NO_DATA
        out = np.full((window.height, window.width), unknown, np.uint8)
        inside = window.clip(*self.grid.shape)
        if self.same_grid and inside.pixels:
            inside = self._placement.covered(inside, self.info.shape)
        if not inside.pixels:
            return out
        try:
            values, hidden = self._values(inside)
        except (RasterioError, OSError) as error:
            raise read_error(self.info, error) from error
        classes = decode(values, self.kind)
        if hidden is not None:
            classes[hidden] = unknown
        out[inside.slices(window)] = classes
        return out

    def _values(self, inside: Window) -> tuple[np.ndarray, np.ndarray | None]:
        """Numbers (C, H, W) of the mask's bands, and where there are none."""
        bands = list(self.kind.bands)
        if self.same_grid:
            source = self._placement.source(inside)
            window = RioWindow(source.col, source.row, source.width, source.height)
            hidden = self._dataset.read_masks(1, window=window) == 0 if self._masked() else None
            return self._dataset.read(bands, window=window), hidden
        if self._warped is None:
            self._warped = self._warp()
        values = self._warped.read(bands, window=RioWindow(inside.col, inside.row, inside.width, inside.height))
        hidden = np.isnan(values).any(axis=0)
        return np.where(np.isnan(values), 0, values), hidden

    def _masked(self) -> bool:
        """Whether a mask beside the nodata value hides pixels."""
        return self.info.has_mask

    def _warp(self) -> WarpedVRT:
        smooth = self.kind.name in ("probability", "percent", "byte_probability", "clear_score")
        options: dict[str, object] = {"src_alpha": self.info.alpha} if self.info.alpha else {}
        # a value that cannot occur: the file's own nodata tag must not hide classes (0 is "clear" in most masks)
        options |= self._placement.warp_scale()
        options["src_nodata"] = self.kind.nodata if self.kind.nodata is not None else self._outside
        return WarpedVRT(
            self._dataset,
            src_crs=self.info.crs_wkt,
            crs=self.grid.crs_wkt,
            transform=Affine(*self.grid.transform),
            width=self.grid.width,
            height=self.grid.height,
            resampling=self._placement.resampling("smooth" if smooth else "classes"),
            dtype="float64",
            nodata=np.nan,
            **options,
        )


def _outside_value(kind: MaskKind) -> float:
    """A number that no mask of this kind holds, to tell the warper that nothing is nodata."""
    return -9.0e9 if kind.nodata is None else kind.nodata


def decode(values: np.ndarray, kind: MaskKind) -> np.ndarray:
    """Classes of a mask's numbers.

    Args:
        values: (C, H, W), the bands of ``kind.bands``.

    Returns:
        uint8 (H, W): 0 clear, 1 cloud, 2 shadow, 255 no data.
    """
    first = values[0]
    holes = np.zeros(first.shape, bool)
    if first.dtype.kind == "f":
        holes = ~np.isfinite(first)
        values = np.where(np.isfinite(values), values, 0)
        first = values[0]
    if kind.nodata is not None and np.isfinite(kind.nodata):
        holes = holes | (first == kind.nodata)
    classes = _decoded(first, values, kind.name)
    classes[holes] = CLEAR if kind.name == "marks" else NO_DATA
    return classes


def _decoded(first: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    tables = {
        "scl": quality.scl_classes,
        "qa_pixel": quality.qa_pixel_classes,
        "fmask": quality.fmask_classes,
        "qa60": quality.qa60_classes,
        "udm": quality.udm_classes,
    }
    if name in tables:
        return tables[name](first)
    if name == "udm2":
        return quality.udm2_classes(values)
    if name == "classi":
        return quality.classi_classes(values)
    if name == "classes":
        codes = first.astype(np.int64)
        classes = np.where(codes == SHADOW, SHADOW, np.where(codes == CLEAR, CLEAR, CLOUD))
        return np.where(codes == NO_DATA, NO_DATA, classes).astype(np.uint8)
    if name == "clear_score":
        return np.where(first < quality.CLEAR_SCORE, CLOUD, CLEAR).astype(np.uint8)
    full = {"probability": 1.0, "percent": 100.0, "byte_probability": 255.0}.get(name)
    hidden = first >= HIDDEN_SHARE * full if full else first != 0
    return np.where(hidden, CLOUD, CLEAR).astype(np.uint8)
