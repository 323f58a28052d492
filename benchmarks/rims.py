"""How far from detected clouds pixels are still spoilt: what the default margin of the masks (DILATE) rests on.

    python -m benchmarks.rims [--margin 200] [--dates 3]

Real, partly cloudy dates are restored with masks that the product finds itself and grows by a wide margin. Inside the
margin the observation is then compared with a restoration that did not see it, ring by ring of distance from
the mask as detected (not grown). Where the observation is as near to the restoration as it is at the outer edge of the
margin, it shows the ground. No truth is needed, and nothing is simulated.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from scipy import ndimage

from benchmarks import scenes

RINGS_M = (0, 20, 40, 60, 80, 100, 120, 160, 200)
MASK_SHARE = (0.05, 0.60)
"""Dates on which the product finds this share hidden are looked at."""


def lazio(root: Path) -> list[tuple[Path, list[Path]]]:
    """Partly cloudy dates of the Lazio series, each with all other dates."""
    folder = root / "s2_ts_lazio_2018"
    every = sorted(folder.glob("S2L1C_*.tif"))
    found = []
    for path in every:
        with rasterio.open(folder / path.name.replace("S2L1C", "MASK")) as data:
            share = (data.read(1) > 0).mean()
        if share <= MASK_SHARE[1] and share > 0:
            found.append((path, [other for other in every if other != path]))
    return found


def pairs(root: Path) -> list[tuple[Path, list[Path]]]:
    """Cloudy images of SEN12MS-CR with one clear date each; the days are not known."""
    found = sorted((root / "sen12mscr_pairs").glob("*_s2_cloudy.tif"))
    return [(path, [path.with_name(path.name.replace("cloudy", "clear"))]) for path in found]


def residual(target: Path, others: Sequence[Path], dates: str, margin_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Observation minus restoration (C, n) inside the margin, and the distance in pixels (n,) from the mask."""
    from cloud_removal_plugin.engine.job import Job
    from cloud_removal_plugin.engine.run import run

    def do(**more: object) -> None:
        job = Job(input=str(target), other_dates=tuple(map(str, others)), dates=dates, sensor="sentinel2", **more)
        run(job, lambda share, phase: None, lambda: False, lambda level, text: None)

    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
        folder = Path(name)
        do(kind="detect", output=str(folder / "clouds.tif"), dilate=0)
        with scenes.plain(folder / "clouds.tif") as data:
            hidden = np.isin(data.read(1), (1, 2))
        if not MASK_SHARE[0] <= hidden.mean() <= MASK_SHARE[1]:
            raise ValueError(f"{hidden.mean():.0%} found hidden")
        do(kind="restore", output=str(folder / "out.tif"), dilate=margin_px, method="fast")
        with scenes.plain(folder / "out.tif") as data:
            restored = data.read().astype(np.float64) * 1e-4
        with scenes.plain(target) as data:
            seen = data.read().astype(np.float64) * 1e-4
    far = ndimage.distance_transform_edt(~hidden)
    where = (far > 0) & (far <= margin_px)
    return (seen - restored)[:, where], far[where]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints RMSE and bias of the blue band and RMSE of all bands by ring; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--margin", type=int, default=200, help="metres")
    parser.add_argument("--dates", type=int, default=99, help="at most this many dates of each source")
    options = parser.parse_args(argv)
    root = scenes.data_root()
    rings = [ring for ring in RINGS_M if ring <= options.margin]
    print("| date | pixels | " + " | ".join(f"{a}-{b} m" for a, b in itertools.pairwise(rings)) + " |")
    print("| --- " * (len(rings) + 1) + "|")
    for target, others in [*lazio(root)[: options.dates], *pairs(root)[: options.dates]]:
        dates = "" if len(others) > 1 else "2018-06-01;2018-06-15"
        try:
            error, far = residual(target, others, dates, options.margin // 10)
        except Exception as problem:  # one image that cannot be restored must not end the run
            print(f"| {target.name} | {type(problem).__name__}: {problem} |", flush=True)
            continue
        cells = []
        for low, high in itertools.pairwise(rings):
            part = error[:, (far * 10 > low) & (far * 10 <= high)]
            blue = part[1]
            cells.append(f"{blue.mean():+.4f} {np.sqrt((blue**2).mean()):.4f} {np.sqrt((part**2).mean()):.4f}"
                         if part.shape[1] > 50 else "")  # fmt: skip
        print(f"| {target.stem} | {error.shape[1]} | " + " | ".join(cells) + " |", flush=True)
    print(
        "\nEach cell: bias of the blue band, its RMSE, RMSE of all bands (observation minus restoration, reflectance)."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
