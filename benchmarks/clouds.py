"""How well and how fast clouds and shadows are detected: prints three Markdown tables.

    python benchmarks/clouds.py [FOLDER OF THE REAL SCENES]

The series are cut into runs of consecutive dates, as an analyst would bring them. Masks are compared before they are
grown (``core``) and as delivered (``grown``); SCL's "unclassified" is left out, and its "snow" on these snow-free
places. The published detectors stand beside ours wherever all Level-1C bands are there; ``rules + sun`` is told where
the sun stood. The second table counts shadows found on clear ground, of dates at least half clear: Missouri holds only
what Fmask calls clear, California is made of clear months. The speed is CPU and wall seconds for one megapixel of one
date, on arrays in memory.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import rasterio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.scenes import from_tiffs, times  # noqa: E402
from cloud_removal_plugin.bands import SENTINEL2_L1C, SENTINEL2_NAMES  # noqa: E402
from cloud_removal_plugin.clouds.detect import detect_scene  # noqa: E402
from cloud_removal_plugin.clouds.published import METHODS  # noqa: E402
from cloud_removal_plugin.raster.grid import Grid  # noqa: E402
from cloud_removal_plugin.raster.windows import Window  # noqa: E402

CLOUD, SHADOW, UNKNOWN = 1, 2, 255
PUBLISHED = tuple(name for name in METHODS if name != "clearvision")  # its weights cannot be fetched without a person


@dataclass(frozen=True)
class Labelled:
    """A series with labels: optical (T, C, H, W), labels (T, H, W) of 0, 1, 2, 255; ``sun`` (T, 2) in degrees."""

    name: str
    optical: np.ndarray
    labels: np.ndarray
    bands: tuple[str, ...]
    level: str
    pixel_m: float
    sun: np.ndarray | None = None
    """Azimuth and elevation of each date, where they are known."""
    days: np.ndarray | None = None
    """Day of each date; None for a single date."""


class ArrayReader:
    """A date in memory, as detection reads it."""

    def __init__(self, optical: np.ndarray, bands: tuple[str, ...], grid: Grid, level: str) -> None:
        self.optical, self.bands, self.grid, self.level = optical, bands, grid, level

    def read(self, window: Window) -> np.ndarray:
        """float32 (C, H, W) of one window."""
        rows, cols = window.slices()
        return self.optical[:, rows, cols]


def detect(series: Labelled, dates: range, method: str, dilate: int | None) -> np.ndarray:
    """Classes (T, H, W) of some dates of a series."""
    height, width = series.optical.shape[-2:]
    grid = Grid("", (series.pixel_m, 0, 0, 0, -series.pixel_m, 0), width, height)
    classes = np.zeros((len(dates), height, width), dtype=np.uint8)

    def write(date: int, window: Window, found: np.ndarray, _probability: np.ndarray) -> None:
        classes[date][window.slices()] = found

    readers = [ArrayReader(series.optical[date], series.bands, grid, series.level) for date in dates]
    method, _, with_sun = method.partition(" + ")
    options = {}
    if with_sun:
        azimuth, elevation = series.sun[list(dates)].T.tolist()
        options = {"sun_azimuth": azimuth, "sun_elevation": elevation}
    days = np.zeros(len(readers)) if series.days is None else series.days[list(dates)]
    detect_scene(readers, grid, days, method=method, dilate=dilate, write=write, **options)
    return classes


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def csmask(data: Path) -> Labelled:
    """Reference labels of cloud and shadow, one date, six bands, top of atmosphere."""
    folder = data / "csmask_s2_labels"
    raw = _read(folder / "labels.tif")
    labels = np.where(raw == 4, CLOUD, np.where(raw == 0, SHADOW, 0)).astype(np.uint8)
    optical = _read(folder / "s2_6band.tif").astype(np.float32)[None] / 1e4
    return Labelled("csmask labels", optical, labels, ("blue", "green", "red", "nir", "swir16", "swir22"), "", 30.0)


def triplets(data: Path) -> Iterator[Labelled]:
    """Single L1C dates with the cloud masks that came with them (no shadow labels)."""
    for path in sorted((data / "sen12mscr_triplets").glob("*_cloudmask.tif")):
        optical = _read(path.with_name(path.name.replace("cloudmask", "s2_cloudy"))).astype(np.float32)[None] / 1e4
        labels = (_read(path) > 0).astype(np.uint8)
        yield Labelled("SEN12MS-CR masks", optical, labels, SENTINEL2_L1C, "L1C", 10.0)


def lazio(data: Path) -> Labelled:
    """23 dates, L1C, with convenience masks (a rule of ours, grown by 4 pixels)."""
    paths = sorted((data / "s2_ts_lazio_2018").glob("S2L1C_*.tif"))
    optical = np.stack([_read(path) for path in paths]).astype(np.float32) / 1e4
    labels = np.stack([_read(path.with_name(path.name.replace("S2L1C", "MASK")))[0] for path in paths])
    days = [datetime.date.fromisoformat(path.stem[-10:]) for path in paths]
    sun = np.array([sun_at(day, 42.06, 10.75) for day in days])
    when = np.array([day.toordinal() for day in days])
    return Labelled("Lazio masks", optical, labels, SENTINEL2_L1C, "L1C", 10.0, sun, when)


def sun_at(day: datetime.date, latitude: float, hour: float) -> tuple[float, float]:
    """Azimuth and elevation in degrees at an hour of local solar time (declination after Spencer 1971)."""
    g = 2 * math.pi * (day.timetuple().tm_yday - 1 + hour / 24) / 365
    declination = (
        0.006918 - 0.399912 * math.cos(g) + 0.070257 * math.sin(g)
        - 0.006758 * math.cos(2 * g) + 0.000907 * math.sin(2 * g)
    )  # fmt: skip
    angle, lat = math.radians(15 * (hour - 12)), math.radians(latitude)
    east = -math.cos(declination) * math.sin(angle)
    north = math.sin(declination) * math.cos(lat) - math.cos(declination) * math.cos(angle) * math.sin(lat)
    up = math.sin(lat) * math.sin(declination) + math.cos(lat) * math.cos(declination) * math.cos(angle)
    return math.degrees(math.atan2(east, north)) % 360, math.degrees(math.asin(up))


def clear_season(folder: Path, name: str, pixel_m: float) -> Labelled:
    """A series in four bands whose pixels are clear, or no data."""
    series = from_tiffs(folder)
    labels = np.where(series.clear, 0, UNKNOWN).astype(np.uint8)
    days = np.array([day.toordinal() for day in series.dates])
    return Labelled(name, series.optical, labels, series.bands, "L2A", pixel_m, None, days)


def worldcereal(data: Path, site: str, name: str) -> Labelled:
    """A WorldCereal site at 20 m with SCL as labels; 10 m bands are averaged where they are there."""
    folder = data / "worldcereal_s1s2_ts"
    planes: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob(f"S2_L2A_*{site}*.nc"), reverse=True):
        with h5py.File(path) as file:
            for key, role in SENTINEL2_NAMES.items():
                stored = file.get(key if key == "B8A" else f"B{int(key[1:]):02d}")
                if stored is not None:
                    planes[role] = _on_20_m(stored[...].astype(np.float32), "10m" in path.name)
            if "SCL" in file:
                scl = file["SCL"][...]
                sun = np.stack([file["sunAzimuthAngles"][...], 90 - file["sunZenithAngles"][...]], axis=1)
                days = np.array([day.toordinal() for day in times(path, "B05")])
    optical = np.stack(list(planes.values()), axis=1)
    labels = np.select(
        [np.isin(scl, (0, 1, 7, 11)) | np.isnan(optical).any(axis=1), np.isin(scl, (8, 9, 10)), scl == 3],
        [UNKNOWN, CLOUD, SHADOW],
    ).astype(np.uint8)
    return Labelled(name, optical, labels, tuple(planes), "L2A", 20.0, sun, days)


def _on_20_m(numbers: np.ndarray, is_10_m: bool) -> np.ndarray:
    numbers = np.where(numbers == 0, np.nan, numbers / 1e4)
    if not is_10_m:
        return numbers
    dates, height, width = numbers.shape
    return numbers.reshape(dates, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


def scores(classes: np.ndarray, labels: np.ndarray, code: int) -> str:
    """Recall, precision, IoU and F1 of one class as table cells."""
    judged = (labels != UNKNOWN) & (classes != UNKNOWN)
    found, true = (classes == code) & judged, (labels == code) & judged
    if not true.any():
        return "no labels | | | "
    both, either = float((found & true).sum()), float((found | true).sum())
    recall, precision = both / true.sum(), both / max(found.sum(), 1)
    return f"{recall:.3f} | {precision:.3f} | {both / either:.3f} | {2 * both / (found.sum() + true.sum()):.3f}"


def accuracy_rows(parts: list[Labelled], length: int, method: str) -> Iterator[str]:
    """Rows, masks before and after they are grown, of one series in runs of ``length`` dates."""
    published = method in PUBLISHED  # most of these grow nothing by themselves
    for kind, dilate in (("as published", None),) if published else (("core", 0), ("grown", None)):
        classes, labels = [], []
        for series in parts:
            for first in range(0, len(series.optical) - length + 1, length):
                dates = range(first, first + length)
                classes.append(detect(series, dates, method, dilate).ravel())
                labels.append(series.labels[first : first + length].ravel())
        found, true = np.concatenate(classes), np.concatenate(labels)
        cells = " | ".join(scores(found, true, code) for code in (CLOUD, SHADOW))
        yield f"| {parts[0].name} | {length} | {method} | {kind} | {cells} |"


def false_shadow_row(series: Labelled, length: int) -> str:
    """Percent of the clear pixels found as shadow, of all dates and of the worst, before and after masks are grown."""
    cells = []
    for dilate in (0, None):
        found = []
        for first in range(0, len(series.optical) - length + 1, length):
            classes = detect(series, range(first, first + length), "rules", dilate)
            for date, labels in zip(classes, series.labels[first : first + length], strict=True):
                clear = (labels == 0) & (date != UNKNOWN)
                if clear.mean() >= 0.5:
                    found.append((((date == SHADOW) & clear).sum(), clear.sum()))
        wrong, clear = np.array(found, dtype=float).T
        cells.append(f"{100 * wrong.sum() / clear.sum():.2f} | {100 * (wrong / clear).max():.1f}")
    return f"| {series.name} | {length} | {cells[0]} | {cells[1]} |"


def speed_rows(series: Labelled, edge: int = 2048, dates: int = 6) -> Iterator[str]:
    """Seconds per megapixel and date on a mosaic of real dates."""
    picks = [3, 5, 8, 10, 12, 7][:dates]
    times = -(-edge // series.optical.shape[-1])
    big = np.tile(series.optical[picks], (1, 1, times, times))[:, :, :edge, :edge]
    mosaic = Labelled("", big, big[:, 0], series.bands, series.level, series.pixel_m)
    for method in ("rules", "auto"):
        wall, cpu = time.perf_counter(), time.process_time()
        detect(mosaic, range(dates), method, None)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        pixels = edge * edge * dates / 1e6
        yield f"| {method} | {edge} x {edge} x {dates} | {wall / pixels:.3f} | {cpu / pixels:.3f} |"


def main() -> None:
    """Print the tables."""
    default = os.environ.get("CLOUD_REMOVAL_DATA") or ROOT.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path(default), help="folder of the data sets")
    data = parser.parse_args().data
    flanders = worldcereal(data, "00002806639B424A", "Flanders SCL")
    tanzania = worldcereal(data, "2021_TZA", "Tanzania SCL (no visible bands)")
    scene = lazio(data)
    print(f"Detection accuracy, {datetime.date.today()}\n")
    head = " | ".join(f"{name} {what}" for name in ("cloud", "shadow") for what in ("recall", "precision", "IoU", "F1"))
    print(f"| labels | dates | method | mask | {head} |\n|{' --- |' * 12}")
    plans: list[tuple[list[Labelled], tuple[int, ...], tuple[str, ...]]] = [
        ([csmask(data)], (1,), ("rules",)),
        (list(triplets(data)), (1,), ("rules", "auto", "s2cloudless", *PUBLISHED)),
        ([scene], (1,), ("rules", "auto", "s2cloudless", *PUBLISHED)),
        ([scene], (1, 6), ("rules + sun",)),
        ([scene], (3, 6, 23), ("rules", "auto")),
        ([flanders], (1, 3, 6, 12), ("rules",)),
        ([tanzania], (1, 6, 12), ("rules",)),
    ]
    for parts, lengths, methods in plans:
        for length in lengths:
            for method in methods:
                print(*accuracy_rows(parts, length, method), sep="\n", flush=True)
    print(f"\n| clear ground of | dates | core | worst date | grown | worst date |\n|{' --- |' * 6}")
    missouri = clear_season(data / "hls_missouri_2023", "Missouri (Fmask)", 30.0)
    california = clear_season(data / "s2_monthly_california", "California (clear months)", 10.0)
    for series, lengths in ((missouri, (1, 3, 6, 12, 24)), (scene, (1, 3, 6, 23)), (california, (1, 3, 6, 12))):
        print(*(false_shadow_row(series, length) for length in lengths), sep="\n", flush=True)
    print("\n| method | pixels x dates | wall s/Mpx a date | CPU s/Mpx a date |\n| --- | --- | --- | --- |")
    print(*speed_rows(scene), sep="\n")


if __name__ == "__main__":
    main()
