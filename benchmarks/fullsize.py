"""Whole granules: a SAFE of 10980 x 10980 to its stack, and a season of 100 such dates under a memory budget.

    python -m benchmarks.fullsize granule [--edge-km 109.8] [--folder FOLDER]
    python -m benchmarks.fullsize series [--dates 100] [--size 10980] [--method interpolation] [--target all]
                                         [--memory-mb 4096] [--every 4] [--folder FOLDER]

Peak memory is that of a fresh process, measured by the system. The granule is Level-1C with all 13 bands in JPEG 2000
of a true product's layout and tiles; its land repeats every 1.2 km, so that it is made in seconds. The dates of the
season are sparse GeoTIFFs: land and clouds in a block of 1024 x 1024 in every fourth (``--every``) row and column of
such blocks, and no data elsewhere, so that they need next to no disk; what is written has the full size.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio

from benchmarks import synthetic
from benchmarks.memory import GRANULE, peak
from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.series_settings import SeriesSettings

SMALL_M = 1200.0
"""Edge of the piece of land that repeats."""
BLOCK = 1024
"""Edge of a block of land and clouds, in pixels."""
FIRST_DAY, STEP_DAYS = dt.date(2023, 3, 1), 3
NAMES = ("B2", "B3", "B4", "B8")


def write_granule(folder: Path, edge_m: float) -> Path:
    """A Level-1C SAFE folder of ``edge_m`` metres, with the layout that the tests of the readers use."""
    from tests.raster.product_trees import make_safe

    root = make_safe(folder, level="L1C", edge_m=SMALL_M)
    for path in sorted(root.rglob("*.jp2")):
        with rasterio.open(path) as small:
            values, crs, transform = small.read(), small.crs, small.transform
        edge = round(edge_m / transform.a)
        times = -(-edge // values.shape[1])
        whole = np.tile(values, (1, times, times))[:, :edge, :edge]
        with rasterio.open(
            path, "w", driver="JP2OpenJPEG", width=edge, height=edge, count=len(whole), dtype=whole.dtype, crs=crs,
            transform=transform, QUALITY=100, REVERSIBLE="YES", BLOCKXSIZE=1024, BLOCKYSIZE=1024, RESOLUTIONS=6,
        ) as file:  # fmt: skip
            file.write(whole)
    text = next(root.rglob("MTD_TL.xml"))
    pixels = str(round(edge_m / 10))
    text.write_text(re.sub(r"(<N(?:ROWS|COLS)>)\d+", lambda match: match[1] + pixels, text.read_text()))
    return root


def write_season(folder: Path, size: int, dates: int, every: int) -> tuple[list[Path], list[Path]]:
    """Sparse rasters of a season, and their masks; land in every ``every``-th row and column of blocks."""
    content = synthetic.tiles(6, len(NAMES), 512)
    corners = range(0, size, BLOCK * every)
    places = [(row, col) for row in corners for col in corners]
    rasters, masks = [], []
    for number in range(dates):
        day = FIRST_DAY + dt.timedelta(STEP_DAYS * number)
        rasters.append(folder / f"S2_{day:%Y%m%d}.tif")
        masks.append(folder / f"MASK_{day:%Y%m%d}.tif")
        with (
            rasterio.open(
                rasters[-1], "w", **synthetic.profile(size, len(NAMES)), SPARSE_OK=True, BIGTIFF="IF_SAFER"
            ) as image,
            rasterio.open(masks[-1], "w", **synthetic.profile(size, 1, "uint8", None), SPARSE_OK=True) as mask,
        ):
            image.descriptions = NAMES
            for place, (row, col) in enumerate(places):
                edge = min(BLOCK, size - row), min(BLOCK, size - col)
                land = np.tile(content[number % len(content)], (1, 2, 2))[:, : edge[0], : edge[1]].copy()
                cloud = synthetic.cloud(*edge, 0.4, seed=dates * place + number)
                land[:, cloud > 0] = 8000
                where = ((row, row + edge[0]), (col, col + edge[1]))
                image.write(land, window=where)
                mask.write(cloud, 1, window=where)
    return rasters, masks


def _measured(job: Job, folder: Path, limit: int = 0) -> None:
    file = folder / "job.json"
    file.write_text(job.to_json())
    mib, seconds, code, text = peak(file)
    if code:
        print(f"failed ({code}): {text}")
        return
    against = f", {mib / limit:.2f} of MEMORY_MB" if limit else ""
    print(f"peak {mib:.0f} MiB{against}; {seconds:.0f} s", flush=True)


def granule(folder: Path, edge_km: float) -> None:
    """Prepare a whole granule."""
    start = time.perf_counter()
    root = write_granule(folder, edge_km * 1000)
    print(f"made {root.name} of {edge_km:g} km in {time.perf_counter() - start:.0f} s", flush=True)
    output = folder / "stack.tif"
    _measured(
        Job(kind="prepare", input="", products=(str(root),), output=str(output), clouds=str(folder / "clouds.tif")),
        folder,
    )
    if output.exists():
        with rasterio.open(output) as data:
            print(f"{data.count} bands of {data.width} x {data.height}, {output.stat().st_size / 2**20:.0f} MiB")


def season(folder: Path, options: argparse.Namespace) -> None:
    """Restore a season of whole granules."""
    start = time.perf_counter()
    rasters, masks = write_season(folder, options.size, options.dates, options.every)
    print(f"made {options.dates} dates of {options.size}^2 in {time.perf_counter() - start:.0f} s", flush=True)
    settings = SeriesSettings(masks=tuple(map(str, masks)), target=options.target)
    job = Job(
        kind="series", input="", products=tuple(map(str, rasters)), settings=settings.to_json(), method=options.method,
        output=str(folder / "season"), memory_mb=options.memory_mb,
    )  # fmt: skip
    _measured(job, folder, options.memory_mb)
    written = sorted((folder / "season").glob("*.tif"))
    print(f"{len(written)} rasters, {sum(path.stat().st_size for path in written) / 2**20:.0f} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("granule", "series"))
    parser.add_argument("--folder", help="where everything is written; a temporary one that is deleted else")
    parser.add_argument("--edge-km", type=float, default=GRANULE / 100)
    parser.add_argument("--size", type=int, default=GRANULE)
    parser.add_argument("--dates", type=int, default=100)
    parser.add_argument("--method", default="interpolation")
    parser.add_argument("--target", default="all", help="all, composite, or one date")
    parser.add_argument("--memory-mb", type=int, default=4096)
    parser.add_argument("--every", type=int, default=4, help="blocks from one with land to the next")
    options = parser.parse_args(argv)
    if options.every < 1:
        parser.error("--every is 1 or more")
    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
        folder = Path(options.folder or name)
        folder.mkdir(parents=True, exist_ok=True)
        if options.what == "granule":
            granule(folder, options.edge_km)
        else:
            season(folder, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
