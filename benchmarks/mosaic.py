"""What one fit for a large region costs in accuracy: mosaics of real places, cut into regions of several sizes.

    python -m benchmarks.mosaic [--size 2048] [--regions 384 1024 2048] [--methods fast auto] [--places california]

Patches of 512 px, each one place turned and continued by its mirror image, stand side by side on one grid with one
calendar of twelve dates. Every place keeps its own seasons, crops and sensor, so a single fit has to serve landscapes
that differ more than those of a real region do; with one place the landscape repeats. Gaps are real cloud masks.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import accuracy, rasters, scenes
from benchmarks import cases as case_sets
from benchmarks.cases import Case
from benchmarks.scenes import Series

BANDS = ("blue", "green", "red", "nir")
DATES = 12
PATCH = 512
OFFSET = 200
"""Patches are shifted by this many pixels, so that their borders are not those of the product's sample windows."""
PLACES = ("california", "lazio", "missouri")
CALENDAR = tuple(dt.date(2020, month, 15) for month in range(1, 13))


def reduced(series: Series) -> Series:
    """The twelve clearest dates and four bands of a place, on the common calendar."""
    bands = [series.bands.index(band) for band in BANDS]
    kept = np.sort(np.argsort(-series.clear.mean(axis=(1, 2)), kind="stable")[:DATES])
    return Series(
        name=series.name, optical=series.optical[kept][:, bands], clear=series.clear[kept], dates=CALENDAR, bands=BANDS,
        sensor="generic", crs=series.crs, transform=series.transform,
    )  # fmt: skip


def mosaic(places: Sequence[Series], size: int) -> tuple[Series, np.ndarray]:
    """A size x size series of patches, and int (H, W): the number of the place that each pixel shows."""
    edge = size + OFFSET
    optical = np.zeros((DATES, len(BANDS), edge, edge), np.float32)
    clear = np.zeros((DATES, edge, edge), bool)
    owner = np.zeros((edge, edge), int)
    for number, (row, col) in enumerate((r, c) for r in range(0, edge, PATCH) for c in range(0, edge, PATCH)):
        which = (row + col) // PATCH % len(places)
        place = places[which]
        window = (slice(row, min(row + PATCH, edge)), slice(col, min(col + PATCH, edge)))
        shape = tuple(part.stop - part.start for part in window)
        optical[(..., *window)] = _patch(place.optical, number)[..., : shape[0], : shape[1]]
        clear[(..., *window)] = _patch(place.clear, number)[..., : shape[0], : shape[1]]
        owner[window] = which
    inside = (..., slice(OFFSET, None), slice(OFFSET, None))
    series = Series(
        name="mosaic", optical=np.where(clear[inside][:, None], optical[inside], np.float32(np.nan)),
        clear=clear[inside], dates=CALENDAR, bands=BANDS, sensor="generic", crs=places[0].crs,
        transform=places[0].transform,
    )  # fmt: skip
    return series, owner[inside]


def _patch(images: np.ndarray, number: int) -> np.ndarray:
    """(..., PATCH, PATCH): turned by the patch's number, continued by its mirror image."""
    images = np.rot90(images, number % 4, axes=(-2, -1))
    if number // 4 % 2:
        images = images[..., ::-1]
    short = [(0, max(0, PATCH - side)) for side in images.shape[-2:]]
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + short, mode="symmetric")[..., :PATCH, :PATCH]


def run(case: Case, owner: np.ndarray, names: Sequence[str], regions: Sequence[int], methods: Sequence[str]) -> None:
    """Prints a row for every region size and method."""
    from cloud_removal_plugin.engine import plan

    def gains(estimate: np.ndarray) -> str:
        parts = [_decibel(estimate, base, case, case.gap & (owner == i)) for i in range(len(names))]
        return " | ".join([_decibel(estimate, base, case, case.gap), *parts])

    base = case_sets.linear(case.observation)
    original = plan.REGION_EDGE_PX
    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
        files = rasters.write(case, Path(name))
        for method in methods:
            for edge in regions:
                plan.REGION_EDGE_PX = edge
                done = accuracy.run_product(case, method, Path(name), files)
                estimate = rasters.read_reflectance(Path(name) / f"{method}.tif")
                ratio = (done.expected_rmse or np.nan) / done.rmse
                cells = [case.name, method, str(edge), gains(estimate), f"{done.coverage:.3f}", f"{done.uce:.4f}",
                         f"{ratio:.2f}", f"{done.seconds:.0f}"]  # fmt: skip
                print(f"| {' | '.join(cells)} |", flush=True)
    plan.REGION_EDGE_PX = original


def _decibel(estimate: np.ndarray, base: np.ndarray, case: Case, where: np.ndarray) -> str:
    """Gain over linear interpolation on some pixels."""
    if not where.any():
        return ""
    error, before = (np.mean((e[:, where] - case.truth[:, where]) ** 2) for e in (estimate, base))
    return f"{10 * np.log10(before / error):+.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--regions", type=int, nargs="*", default=[384, 1024, 2048])
    parser.add_argument("--methods", nargs="*", default=["fast", "auto"])
    parser.add_argument("--places", nargs="*", default=list(PLACES), choices=PLACES)
    parser.add_argument("--targets", type=int, default=2, help="target dates, spread over the calendar")
    options = parser.parse_args(argv)
    root = scenes.data_root()
    places = [reduced(scenes.PLACES[name](root)) for name in options.places]
    series, owner = mosaic(places, options.size)
    shapes = scenes.cloud_shapes(root)
    setting = case_sets.Setting(place="", count=options.targets, all_gapped=True, target_clear=0.9)
    made = case_sets.cases(series, setting, shapes, 0, "mosaic")
    if not made:
        print("No date of the mosaic is clear enough.")
    head = ["case", "method", "region px", "gain dB", *options.places, "coverage", "UCE", "expected / real", "s"]
    print(f"| {' | '.join(head)} |")
    print("| --- " * (8 + len(places)) + "|")
    for case in made:
        run(case, owner, options.places, options.regions, options.methods)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
