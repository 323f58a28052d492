"""Real scenes as series in physical units: what the accuracy cases and the benchmarks are made of.

Every loader turns one data folder into a :class:`Series`. This is measuring code: it reads the files by itself
(rasterio alone), so that a mistake in the product's own readers shows up as a lost decibel and not as agreement.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_bounds
from scipy import ndimage

from cloud_removal_plugin.bands import SENTINEL2_L1C, SENTINEL2_NAMES

MASK_CLEAR_SCL = (4, 5, 6, 7, 11)
"""Scene classes of Sen2Cor that show the surface: vegetation, bare, water, unclassified, snow."""

_FINE_BANDS = ("B02", "B03", "B04", "B08")
_L2A_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

_DATE = re.compile(r"(?<!\d)(19|20)(\d{2})-?(\d{2})-?(\d{2})(?!\d)")
_MONTH = re.compile(r"month(\d{2})", re.IGNORECASE)


@dataclass(frozen=True)
class Series:
    """Every acquisition of one place.

    Attributes:
        name: short name for tables.
        optical: float32 (T, C, H, W), reflectance 0..1, NaN = no data; cloudy pixels keep their cloudy values.
        clear: bool (T, H, W), True where the mask of the date says that the surface is seen and all bands have data.
        dates: T dates in ascending order (two sensors may share a day).
        bands: C role names.
        sensor: a value of the SENSOR parameter.
        radar: float32 (R, 2, H, W), VV and VH in dB, NaN = no data; None without radar.
        radar_dates: R dates.
        pixel_m: ground sampling distance in metres.
        crs: CRS as WKT, empty where unknown.
        transform: six numbers in rasterio's order (a, b, c, d, e, f).
    """

    name: str
    optical: np.ndarray
    clear: np.ndarray
    dates: tuple[dt.date, ...]
    bands: tuple[str, ...]
    sensor: str
    radar: np.ndarray | None = None
    radar_dates: tuple[dt.date, ...] = ()
    pixel_m: float = 10.0
    crs: str = ""
    transform: tuple[float, ...] = (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)


def data_root() -> Path:
    """The folder of real scenes: ``CLOUD_REMOVAL_DATA``, else ``../shared/data`` beside the checkout."""
    return Path(os.environ.get("CLOUD_REMOVAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def date_in(name: str) -> dt.date | None:
    """The first ISO or compact date in a file name; ``monthNN`` counts as the middle of that month of 2020."""
    found = _DATE.search(name)
    if found:
        return dt.date(int(found[1] + found[2]), int(found[3]), int(found[4]))
    month = _MONTH.search(name)
    return dt.date(2020, int(month[1]), 15) if month else None


def _roles(descriptions: Sequence[str | None], count: int) -> tuple[str, ...]:
    """Roles from ESA band names or role names in the descriptions, else from the number of bands."""
    names = []
    for text in descriptions:
        key = re.sub(r"^B0", "B", (text or "").strip().upper())
        names.append(SENTINEL2_NAMES.get(key) or (text or "").strip().lower())
    if all(name in SENTINEL2_L1C for name in names) and len(set(names)) == count:
        return tuple(names)
    by_count = {13: SENTINEL2_L1C, 4: ("blue", "green", "red", "nir"), 3: ("red", "green", "blue")}
    return by_count.get(count, tuple(f"band{i + 1}" for i in range(count)))


def from_tiffs(folder: Path, sensor: str = "auto", scale: float = 1e-4) -> Series:
    """A folder of dated GeoTIFFs on one grid, with ``MASK_<date>.tif`` (0 = clear) where there are masks.

    Without masks only "no data" (0 or the nodata value in every band) counts as hidden.
    """
    paths = [p for p in sorted(folder.glob("*.tif")) if not p.name.upper().startswith("MASK") and date_in(p.name)]
    if not paths:
        raise FileNotFoundError(f"No dated GeoTIFF in {folder}.")
    paths.sort(key=lambda p: (date_in(p.name), p.name))
    optical, clear = [], []
    with rasterio.open(paths[0]) as first:
        size, bands = (first.height, first.width), _roles(first.descriptions, first.count)
        crs, transform, geographic = first.crs, first.transform, bool(first.crs and first.crs.is_geographic)
        integer = np.issubdtype(np.dtype(first.dtypes[0]), np.integer)
    for path in paths:
        with rasterio.open(path) as data:
            raw = data.read().astype(np.float32)
            empty = (raw == (0 if data.nodata is None else data.nodata)).all(axis=0) | ~np.isfinite(raw).all(axis=0)
        raw *= scale if integer else 1.0
        raw[:, empty] = np.nan
        mask_path = folder / f"MASK_{date_in(path.name)}.tif"
        hidden = empty
        if mask_path.exists():
            with rasterio.open(mask_path) as data:
                hidden = empty | (data.read(1) > 0)
        optical.append(raw)
        clear.append(~hidden)
        if raw.shape[1:] != size:
            raise ValueError(f"{path.name} has another size than {paths[0].name}.")
    return Series(
        name=folder.name, optical=np.stack(optical), clear=np.stack(clear), bands=bands, sensor=sensor,
        dates=tuple(date_in(p.name) for p in paths), pixel_m=10.0 if geographic else float(transform.a),
        crs=crs.to_wkt() if crs else "", transform=tuple(transform)[:6],
    )  # fmt: skip


def _cube(path: Path, variable: str) -> np.ndarray:
    """One NetCDF variable (T, H, W) in file order, as stored."""
    with rasterio.Env(GDAL_NETCDF_BOTTOMUP="NO"), _open(path, variable) as data:
        return data.read()


def _open(path: Path, variable: str) -> rasterio.DatasetReader:
    """A NetCDF variable as a dataset; these cubes carry no geotransform that GDAL knows, and need none here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(f"netcdf:{path}:{variable}")


def times(path: Path, variable: str) -> tuple[dt.date, ...]:
    """Acquisition days of a NetCDF variable from its time axis ("seconds|days since <start>")."""
    with _open(path, variable) as data:
        tags = data.tags()
    axis = "timestamp" if "NETCDF_DIM_timestamp_VALUES" in tags else "t"
    unit, _, start = tags[f"{axis}#units"].partition(" since ")
    begin = dt.datetime.fromisoformat(start.strip())
    values = tags[f"NETCDF_DIM_{axis}_VALUES"].strip("{}").split(",")
    return tuple((begin + dt.timedelta(**{unit: float(v)})).date() for v in values)


def _enlarge(cube: np.ndarray, factor: int) -> np.ndarray:
    """(T, H, W) to (T, factor H, factor W), bilinear between pixel centres; NaN spreads to what it touches."""
    if factor == 1:
        return cube.astype(np.float32)
    return ndimage.zoom(cube.astype(np.float32), (1, factor, factor), order=1, mode="nearest", grid_mode=True)


def _radar(vv: np.ndarray, vh: np.ndarray, factor: int) -> np.ndarray:
    """(R, 2, H, W) dB from two dB cubes; enlarged in linear power, where averages have a meaning."""
    pair = [10.0 * np.log10(np.maximum(_enlarge(10.0 ** (c / 10.0), factor), 1e-6)) for c in (vv, vh)]
    return np.stack(pair, axis=1).astype(np.float32)


def worldcereal(folder: Path, site: str, name: str) -> Series:
    """One ESA WorldCereal training cube: Sentinel-2 L2A with SCL, Sentinel-1 in dB, every acquisition.

    With a 10 m file the result has ten bands on the 10 m grid (20 m bands bilinear), else six bands at 20 m.
    """
    coarse = next(folder.glob(f"S2_L2A_20m_*{site}*.nc"))
    fine = next(folder.glob(f"S2_L2A_10m_*{site}*.nc"), None)
    radar_path = next(folder.glob(f"S1_GRD*{site}*.nc"))
    order = _L2A_BANDS if fine else tuple(b for b in _L2A_BANDS if b not in _FINE_BANDS)
    factor = 2 if fine else 1
    planes = []
    for band in order:
        sharp = fine is not None and band in _FINE_BANDS
        raw = _cube(fine if sharp else coarse, band).astype(np.float32)
        raw[raw == 0] = np.nan
        planes.append(_enlarge(raw, 1 if sharp else factor) * np.float32(1e-4))
    optical = np.stack(planes, axis=1).astype(np.float32)
    # Sen2Cor leaves thin rims: one 20 m pixel more on each side, as any analyst would ask for.
    hidden = ndimage.binary_dilation(~np.isin(_cube(coarse, "SCL"), MASK_CLEAR_SCL), np.ones((1, 3, 3), bool))
    hidden = hidden.repeat(factor, axis=1).repeat(factor, axis=2)
    clear = ~hidden & np.isfinite(optical).all(axis=1)
    stored = [_cube(radar_path, polarisation).astype(np.float32) for polarisation in ("VV", "VH")]
    vv, vh = (np.where(cube == 0, np.nan, cube * np.float32(1e-4)) for cube in stored)
    with _open(radar_path, "VV") as data:
        bounds = tuple(float(v) for v in data.tags()["NC_GLOBAL#bounds"].strip("()").split(","))
        crs = data.crs.to_wkt() if data.crs else ""
    names = tuple(SENTINEL2_NAMES[re.sub("^B0", "B", b)] for b in order)
    return Series(
        name=name, optical=optical, clear=clear, dates=times(coarse, "B05"), bands=names, sensor="sentinel2",
        radar=_radar(vv, vh, factor), radar_dates=times(radar_path, "VV"), pixel_m=20.0 / factor, crs=crs,
        transform=tuple(from_bounds(*bounds, optical.shape[3], optical.shape[2]))[:6],
    )  # fmt: skip


_KNOWN_SITES = ("00002806639B424A", "2021_TZA_COPERNICUS-GEOGLAM_POLY_1101950")


def other_sites(root: Path) -> dict[str, Series]:
    """WorldCereal cubes of places that have no set of their own, by the last six characters of their site.

    Args:
        root: a folder of scenes, or of such cubes.
    """
    folder = root / "worldcereal_s1s2_ts"
    folder = folder if folder.exists() else root
    found = (
        re.fullmatch(r"S2_L2A_20m_(.+)_\d{5}_[\d-]+_[\d-]+\.nc", path.name) for path in sorted(folder.glob("*.nc"))
    )
    sites = [name[1] for name in found if name and name[1] not in _KNOWN_SITES]
    return {site[-6:]: worldcereal(folder, site, site[-6:]) for site in sites}


def composites(path: Path, names: dict[str, str], radar: tuple[str, str], name: str) -> Series:
    """Monthly or ten-day composites: ``names`` maps NetCDF variables to ESA bands, ``radar`` is (VV, VH).

    Units: reflectance x 10000 with 65535 for an empty composite; dB = 20 log10(DN) - 83.
    """
    planes = []
    for variable in names:
        raw = _cube(path, variable).view(np.uint16).astype(np.float32)
        raw[raw >= 65535] = np.nan
        planes.append(raw * np.float32(1e-4))
    optical = np.stack(planes, axis=1)
    decibel = []
    for variable in radar:
        raw = _cube(path, variable).view(np.uint16).astype(np.float32)
        raw[(raw >= 65535) | (raw == 0)] = np.nan
        decibel.append(20.0 * np.log10(raw) - 83.0)
    dates = times(path, next(iter(names)))
    with _open(path, next(iter(names))) as data:
        crs, transform = (data.crs.to_wkt() if data.crs else ""), tuple(data.transform)[:6]
    return Series(
        name=name, optical=optical, clear=np.isfinite(optical).all(axis=1), dates=dates, sensor="sentinel2",
        bands=tuple(SENTINEL2_NAMES[b] for b in names.values()), radar=np.stack(decibel, axis=1).astype(np.float32),
        radar_dates=dates, pixel_m=10.0, crs=crs, transform=transform,
    )  # fmt: skip


def lazio(root: Path) -> Series:
    """23 dates of one 13-band scene with real clouds and masks."""
    return from_tiffs(root / "s2_ts_lazio_2018", "sentinel2")


def missouri(root: Path) -> Series:
    """24 HLS acquisitions (30 m, 4 bands); 0 = masked by the source, so the gaps are real."""
    return from_tiffs(root / "hls_missouri_2023", "hls")


def california(root: Path) -> Series:
    """12 gap-free months, 4 bands."""
    return from_tiffs(root / "s2_monthly_california", "sentinel2")


def flanders(root: Path) -> Series:
    """118 Sentinel-2 dates of 64 x 64 at 10 m with SCL and radar."""
    return worldcereal(root / "worldcereal_s1s2_ts", _KNOWN_SITES[0], "flanders")


def tanzania(root: Path) -> Series:
    """136 Sentinel-2 dates of 32 x 32 at 20 m (six bands) with SCL and radar."""
    return worldcereal(root / "worldcereal_s1s2_ts", _KNOWN_SITES[1], "tanzania")


def belgium(root: Path) -> Series:
    """20 monthly composites with real gaps and radar, 9 bands."""
    path = next((root / "worldcereal_belgium_monthly").glob("*.nc"))
    names = {b: b for b in ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B11", "B12")}
    return composites(path, names, ("VV", "VH"), "belgium")


def tervuren(root: Path) -> Series:
    """36 ten-day composites of 2022 with real gaps and radar, 10 bands."""
    path = next((root / "scaleag_tervuren_dekads").glob("*.nc"))
    names = {f"S2-L2A-{b}": re.sub("^B0", "B", b) for b in _L2A_BANDS}
    return composites(path, names, ("S1-SIGMA0-VV", "S1-SIGMA0-VH"), "tervuren")


PLACES: dict[str, Callable[[Path], Series]] = {
    "lazio": lazio, "flanders": flanders, "tanzania": tanzania, "missouri": missouri, "california": california,
    "belgium": belgium, "tervuren": tervuren,
}  # fmt: skip


def cloud_shapes(root: Path) -> list[np.ndarray]:
    """Real cloud masks (bool, 256 x 256 at 10 m) that hide 10 to 80 %, for series that are clear throughout."""
    shapes = []
    if (root / "s2_ts_lazio_2018").exists():
        shapes += [~c for c in lazio(root).clear]
    for path in sorted((root / "sen12mscr_triplets").glob("*_cloudmask.tif")):
        with plain(path) as data:
            shapes.append(data.read(1) > 0)
    return [s for s in shapes if 0.10 <= s.mean() <= 0.80]


def plain(path: Path) -> rasterio.DatasetReader:
    """A raster that has no georeference and needs none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)
