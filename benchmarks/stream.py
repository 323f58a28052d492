"""How well reading, computing and writing hide behind each other: wall time of a light job against its slowest stage.

python -m benchmarks.stream [--size 2048] [--rounds 3]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks import synthetic
from benchmarks.jobs import HEAD, as_worker, line, restore_job, rounds, run_quietly
from benchmarks.synthetic import Stack
from cloud_removal_plugin.observation import Observation

GOAL = 0.70
WINDOW = 1024


class Stages:
    """The three stages of METHOD=interpolation, each alone, made of the product's own parts."""

    def __init__(self, stack: Stack, folder: Path, size: int) -> None:
        from cloud_removal_plugin.methods import registry
        from cloud_removal_plugin.raster.crs import grid_of
        from cloud_removal_plugin.raster.info import describe
        from cloud_removal_plugin.raster.radiometry import recognise
        from cloud_removal_plugin.raster.windows import Window

        self.stack, self.folder = stack, folder
        self.infos = [describe(str(path)) for path in stack.rasters]
        self.mask_infos = [describe(str(path)) for path in stack.masks]
        self.radiometry = [recognise(info, sensor="sentinel2") for info in self.infos]
        self.grid = grid_of(self.infos[0])
        edges = range(0, size, WINDOW)
        self.windows = [Window(r, c, min(WINDOW, size - r), min(WINDOW, size - c)) for r in edges for c in edges]
        texts = stack.dates.split(";")
        days = [np.datetime64(text) for text in texts]
        self.days = np.array([(d - days[0]).astype(int) for d in days], np.float64)
        first = next(iter(self.observations()))
        self.fitted = registry.create("interpolation").fit([first], seed=(0, 0, 0))
        self.ready = [first] * len(self.windows)
        self.raw = np.zeros((len(self.infos[0].dtypes), WINDOW, WINDOW), np.uint16)

    def observations(self) -> Iterator[Observation]:
        """Read and convert window after window, dates in parallel as the engine does."""
        from cloud_removal_plugin.raster.masks import MaskReader, recognise_mask
        from cloud_removal_plugin.raster.reader import OpticalReader

        with ExitStack() as opened:
            pool = opened.enter_context(ThreadPoolExecutor(os.cpu_count() or 1))
            bands = self.radiometry[0].bands
            readers = [
                opened.enter_context(OpticalReader(info, radiometry, self.grid, bands))
                for info, radiometry in zip(self.infos, self.radiometry, strict=True)
            ]
            masks = [
                opened.enter_context(MaskReader(info, self.grid, recognise_mask(info))) for info in self.mask_infos
            ]
            for window in self.windows:
                optical = np.stack(list(pool.map(lambda reader, w=window: reader.read(w), readers)))
                cloud = np.stack([(mask.read(window) > 0).astype(np.float32) for mask in masks])
                yield Observation(optical, cloud, self.days, bands, row=window.row, col=window.col)

    def read(self) -> None:
        """Stage one alone."""
        for _ in self.observations():
            pass

    def compute(self) -> None:
        """Stage two alone, on windows in memory."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for observation in self.ready:
                self.fitted.restore(observation, pool=pool)

    def write(self) -> None:
        """Stage three alone: real pixels, compressed and written."""
        from cloud_removal_plugin.raster.writer import RasterWriter, to_stored

        radiometry, nodata = self.radiometry[0], self.infos[0].nodata[0]
        with RasterWriter(str(self.folder / "stage.tif"), self.infos[0], self.grid) as writer:
            for window, observation in zip(self.windows, self.ready, strict=True):
                part = observation.optical[1][:, : window.height, : window.width]
                writer.write(to_stored(part, radiometry, "uint16", nodata), window)


def spin(cores: int) -> None:
    """As many threads as cores, each with nothing but work: CPU over wall time is how many cores were free."""
    block = bytes(64 << 20)
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda _: hashlib.sha256(block).digest(), range(8 * cores)))


def measure(folder: Path, size: int, count: int) -> dict[str, tuple[float, float]]:
    """Median (wall, CPU) seconds of each stage alone and of the whole job."""
    stack = synthetic.write_stack(folder, size)
    stages = Stages(stack, folder, size)
    job = restore_job(stack, folder / "stream.tif", "interpolation")
    actions = {"read": stages.read, "restore": stages.compute, "write": stages.write, "job": lambda: run_quietly(job)}
    actions["spin"] = lambda: spin(len(os.sched_getaffinity(0)))
    run_quietly(job)  # imports are done, the page cache is warm
    return rounds(actions, count)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="edge of the scene in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many turns is shown")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
        try:
            found = measure(Path(name), options.size, options.rounds)
        except Exception as error:  # reported, never fatal
            print(f"The stream benchmark failed: {type(error).__name__}: {error}")
            return 0
    wall, cpu = found.pop("job")
    spun_wall, spun_cpu = found.pop("spin")
    free = spun_cpu / spun_wall
    alone = {name: times[0] for name, times in found.items()}
    cores = len(os.sched_getaffinity(0))
    bound = max(*alone.values(), cpu / cores)
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in alone.items())
    print(f"### Stream, METHOD=interpolation, {options.size} x {options.size} x {synthetic.BANDS}", HEAD, sep="\n\n")
    note = f"stages alone: {parts}; job {wall:.2f} s wall, {cpu:.2f} s CPU on {cores} cores"
    print(line("max(slowest stage, CPU / cores) / wall", bound / wall, f">= {GOAL:.2f}", bound / wall >= GOAL, note))
    by_free = max(*alone.values(), cpu / free) / wall
    print(f"| the same with the {free:.2f} cores that were free / wall | {by_free:.2f} | | | |")
    print(f"| slowest stage / wall | {max(alone.values()) / wall:.2f} | | | |")
    print(f"| one stage after the other / wall | {sum(alone.values()) / wall:.2f} | | | more than 1 = overlap pays |")
    return 0


if __name__ == "__main__":
    as_worker("benchmarks.stream")
    raise SystemExit(main())
