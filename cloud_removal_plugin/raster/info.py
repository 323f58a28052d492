"""What a raster file says about itself, read once and carried as plain data."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ..errors import GridError, InputError, first_line
from .grid import Transform
from .vrt import names_by_file

# A layer without georeference is a case we handle and report in our own words.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

METADATA_DOMAINS = ("", "IMAGERY", "IMD", "ENVI")
"""Where GDAL's drivers put what matters here: default, acquisition facts, Planet/DigitalGlobe facts, ENVI headers."""

TINY_ROTATION = 1e-6
"""Rotation terms up to this share of the pixel size are rounding of whatever wrote the file."""

_SERVICE = re.compile(
    r"(?i)(^|[&?\s])(url=|type=(xyz|wms|wcs)|service=(wms|wcs|wmts)|layers=|tilematrixset=)|^(wms|wcs|wmts|https?):"
    r"|<gdal_(wms|wcs|wmts)"
)
_DATABASE = re.compile(r"(?i)^(pg|postgresql|postgres|oracle):|(^|\s)(dbname|host|service)\s*=\s*'?[\w.]+")
_SUBDATASET = re.compile(r"^[A-Z0-9_]{3,}:.+")


@dataclass(frozen=True)
class RasterInfo:
    """A raster as its file describes it. Everything is JSON-able; bands are in file order.

    Attributes:
        path: what GDAL opens (a file, a /vsi path or a subdataset name).
        driver: GDAL's short name of the format.
        width, height, count: size in pixels and number of bands.
        dtypes: NumPy names, one a band.
        crs_wkt: the CRS as WKT, "" where the file has none.
        transform: see :data:`grid.Transform`; (1, 0, 0, 0, 1, 0) where the file has none.
        nodata: the nodata tag of each band, None where it has none.
        scales, offsets: GDAL's band scale and offset (1 and 0 where the file has none).
        descriptions: band names, "" where a band has none.
        wavelengths_nm: centre wavelength of each band in nm, None where the file does not say.
        tags, band_tags: metadata of the dataset and of each band.
        colorinterp: GDAL's colour interpretation names.
        block_shape: (rows, columns) of a block.
        interleave: "band", "pixel" or "line".
        has_mask: whether a mask that is not a nodata value comes with the file (alpha band, mask band, .msk).
        alpha: number of the alpha band (from 1), or None.
        points: number of ground control points.
    """

    path: str
    driver: str
    width: int
    height: int
    count: int
    dtypes: tuple[str, ...]
    crs_wkt: str
    transform: Transform
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str, ...]
    wavelengths_nm: tuple[float | None, ...]
    tags: dict[str, str]
    band_tags: tuple[dict[str, str], ...]
    colorinterp: tuple[str, ...]
    block_shape: tuple[int, int]
    interleave: str
    has_mask: bool
    alpha: int | None = None
    points: int = 0

    @property
    def name(self) -> str:
        """The layer's name in messages: the file name, or the last part of a subdataset's name."""
        return Path(self.path.replace('"', "")).name or self.path

    @property
    def dtype(self) -> str:
        """The smallest NumPy dtype that holds the numbers of every band: a VRT may mix them, a GeoTIFF has one."""
        return np.result_type(*self.dtypes).name

    @property
    def mask_band(self) -> bool:
        """Whether a mask band or .msk file tells which pixels hold data, rather than nodata or an alpha band."""
        return self.has_mask and self.alpha is None

    def transparency(self, used: Collection[int]) -> int | None:
        """Number of the alpha band, None without one; a band in ``used`` is read as a measurement, however marked."""
        return None if self.alpha in used else self.alpha

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.height, self.width

    @property
    def georeferenced(self) -> bool:
        """Whether the file says where its pixels lie (a CRS, or at least a transform)."""
        return bool(self.crs_wkt) or self.transform != (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RasterInfo:
        """The inverse of :meth:`to_dict`, also after a trip through JSON."""
        known = {f.name for f in fields(cls)}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
        return cls(**values)


@contextmanager
def opened(path: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster for reading.

    Raises:
        InputError: GDAL cannot open it; one sentence with the layer's name.
    """
    dataset = open_dataset(path)
    try:
        yield dataset
    finally:
        dataset.close()


def open_dataset(path: str) -> rasterio.DatasetReader:
    """Open a raster with a handle of its own (GDAL handles must not be shared between threads).

    Raises:
        InputError: GDAL cannot open it.
    """
    try:
        return rasterio.open(path, sharing=False)
    except (RasterioError, OSError, ValueError) as error:
        raise InputError(
            f"Layer '{Path(path).name or path}' cannot be read as a raster ({first_line(error)}). "
            "Check that the file is complete and that QGIS can open it."
        ) from error


def files_behind(path: str) -> tuple[str, ...]:
    """The files that a VRT is made of, or a sub-dataset lies in; () for a plain file and for what does not open."""
    if Path(path).is_dir() or (Path(path).exists() and Path(path).suffix.lower() != ".vrt"):
        return ()
    try:
        with opened(path) as src:
            return tuple(src.files)
    except InputError:  # whoever reads it says why
        return ()


def read_error(info: RasterInfo, error: Exception) -> InputError:
    """The sentence for a file that opens but whose pixels cannot be read."""
    if info.driver == "VRT" and "No such file" in first_line(error):
        return InputError(
            f"Layer '{info.name}' is a VRT, and a file that it is made of is not there ({first_line(error)}). Put the "
            "file back, or build the VRT again with whole paths."
        )
    return InputError(
        f"Layer '{info.name}' is damaged: its pixels cannot be read ({first_line(error)}). "
        "Fetch or export the file again."
    )


def castable(nodata: float | None, dtype: np.dtype) -> float | int | None:
    """The nodata value as the dtype holds it, None where it cannot (then no pixel has it)."""
    if nodata is None:
        return None
    if dtype.kind == "f":
        return float(dtype.type(nodata))
    limits = np.iinfo(dtype)
    if not np.isfinite(nodata) or nodata != int(nodata) or not limits.min <= nodata <= limits.max:
        return None
    return int(nodata)


def open_up(alpha: np.ndarray, where: np.ndarray) -> None:
    """Show pixels (bool (H, W)) that an alpha band (H, W) hides, in place: as far as the others of the window."""
    hidden = where & (alpha == 0)
    if hidden.any():
        full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
        alpha[hidden] = alpha.max() if alpha.max() > 0 else full


def describe(path: str) -> RasterInfo:
    """Read what a raster says about itself; no pixel is read.

    Raises:
        InputError: missing or unreadable file, web or database layer, container of several rasters, complex numbers,
            no pixels.
        GridError: rotated geotransform.
    """
    path = str(path).strip()
    _check_source(path)
    with opened(path) as src:
        _check_content(path, src)
        return _collect(path, src)


def _check_source(path: str) -> None:
    """Refuse what is not a file, in words that tell what to do instead."""
    if not path:
        raise InputError("No raster layer was given. Choose a raster file.")
    is_file = Path(path).exists() or path.startswith("/vsi")
    if not is_file and _SERVICE.search(path):
        raise InputError(
            f"Layer '{path[:80]}' comes from a web service (WMS, WMTS, WCS or tiles): it holds pictures, not "
            "measurements. Export it to a GeoTIFF of the original bands, or download the scene."
        )
    if not is_file and _DATABASE.search(path):
        raise InputError(f"Layer '{path[:80]}' lives in a database. Export it to a GeoTIFF first (Layer > Save As).")
    if not is_file and not _SUBDATASET.match(path):
        raise InputError(f"Layer '{path}' does not exist. Check the path; the file may have been moved or deleted.")
    if Path(path).is_dir():
        raise InputError(f"'{path}' is a folder, not a raster. Choose a file in it.")


def _check_content(path: str, src: rasterio.DatasetReader) -> None:
    name = Path(path).name or path
    if src.driver.upper() in ("WMS", "WCS", "WMTS", "POSTGISRASTER"):
        raise InputError(f"Layer '{name}' is a {src.driver} layer. Export it to a GeoTIFF of the original bands first.")
    if src.count == 0:
        inner = ", ".join(src.subdatasets[:3])
        more = f" Choose one of the rasters inside it, for example {inner}." if inner else " Choose another file."
        raise InputError(f"Layer '{name}' holds no bands of its own.{more}")
    if src.width < 1 or src.height < 1:
        raise InputError(f"Layer '{name}' has no pixels ({src.width} x {src.height}). Choose another file.")
    if any("complex" in str(dtype) for dtype in src.dtypes):
        raise InputError(
            f"Layer '{name}' holds complex numbers (a single-look complex radar image). "
            "Give a calibrated, terrain-corrected intensity image in dB or linear power instead."
        )
    a, b, _, d, e, _ = src.transform[:6]
    if max(abs(b), abs(d)) > TINY_ROTATION * max(abs(a), abs(e)):
        raise GridError(
            f"Layer '{name}' has a rotated geotransform. Warp it to a north-up grid first (Raster > Projections > "
            "Warp)."
        )
    if not (a and e and all(math.isfinite(v) for v in src.transform[:6])):
        raise GridError(f"Layer '{name}' has pixels of no size in its geotransform. Georeference it again.")


def _collect(path: str, src: rasterio.DatasetReader) -> RasterInfo:
    bands = range(1, src.count + 1)
    band_tags = tuple(_tags(src, band) for band in bands)
    tags = _tags(src, 0)
    flags = src.mask_flag_enums
    interp = tuple(c.name for c in src.colorinterp)
    alpha = next((i + 1 for i, c in enumerate(interp) if c == "alpha"), None)
    nodata = tuple(None if v is None else float(v) for v in src.nodatavals)
    a, _, c, _, e, f = (float(v) for v in src.transform[:6])
    descriptions = tuple((text or "").strip() for text in src.descriptions)
    if src.driver == "VRT" and not any(descriptions):
        descriptions = names_by_file(path, src.count) or descriptions
    return RasterInfo(
        path=path,
        driver=src.driver,
        width=src.width,
        height=src.height,
        count=src.count,
        dtypes=tuple(str(dtype) for dtype in src.dtypes),
        crs_wkt=src.crs.to_wkt() if src.crs else "",
        transform=(a, 0.0, c, 0.0, e, f),
        nodata=nodata,
        scales=tuple(float(v) for v in src.scales),
        offsets=tuple(float(v) for v in src.offsets),
        descriptions=descriptions,
        wavelengths_nm=_wavelengths(descriptions, tags, band_tags),
        tags=tags,
        band_tags=band_tags,
        colorinterp=interp,
        block_shape=tuple(int(v) for v in src.block_shapes[0]),  # type: ignore[arg-type]
        interleave=src.interleaving.value if src.interleaving else "band",
        has_mask=alpha is not None or any(MaskFlags.per_dataset in flag for flag in flags),
        alpha=alpha,
        points=len(src.gcps[0]),
    )


def _tags(src: rasterio.DatasetReader, band: int) -> dict[str, str]:
    """Metadata of a band (0 = the dataset) from all domains that matter; the default domain wins."""
    merged: dict[str, str] = {}
    for domain in reversed(METADATA_DOMAINS):
        for key, value in src.tags(band, ns=domain or None).items():
            # GDAL splits "s2:processing_baseline=05.09" at its colon: key "s2", value "processing_baseline=05.09"
            split = re.match(r"([a-z_]+)=(.*)$", str(value))
            merged[f"{key}:{split[1]}" if split else str(key)] = split[2] if split else str(value)
    return merged


def _wavelengths(
    descriptions: tuple[str, ...], tags: dict[str, str], band_tags: tuple[dict[str, str], ...]
) -> tuple[float | None, ...]:
    """Centre wavelengths in nm from band tags, an ENVI list, or a description such as ``Red (0.665 Micrometers)``."""
    listed = next((v for k, v in tags.items() if k.lower() == "wavelength" and "," in v), "")
    values = [_number(part) for part in listed.strip("{} ").split(",")] if listed else []
    found: list[float | None] = []
    for i, (text, own) in enumerate(zip(descriptions, band_tags, strict=True)):
        lower = {k.lower(): v for k, v in own.items()}
        value = _number(lower.get("wavelength", "")) or _number(lower.get("central_wavelength_um", ""))
        if value is None and len(values) == len(descriptions):
            value = values[i]
        if value is None:
            match = re.search(r"(\d+(?:\.\d+)?)\s*(?:nm|nanomet\w*|um|µm|micromet\w*)\b", text, re.IGNORECASE)
            value = float(match[1]) if match else None
        found.append(_as_nm(value))
    return tuple(found)


def _number(text: str) -> float | None:
    match = re.search(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", text)
    return float(match[0]) if match else None


def _as_nm(value: float | None) -> float | None:
    """Micrometres and nanometres are told apart by magnitude; anything outside 0.35 to 15 um is not a wavelength."""
    if value is None:
        return None
    nm = value * 1000.0 if value < 20 else value
    return nm if 350.0 <= nm <= 15_000.0 else None
