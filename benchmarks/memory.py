"""Peak memory of fresh processes: a large scene must need no more than a small one.

    python -m benchmarks.memory [--sizes 2048 8192] [--method fast] [--everywhere] [--full]

A large scene is a VRT that repeats a 2048 x 2048 series, so that it costs no disk; its windows are read, restored and
written like any other's. Clouds lie over its first row of 2048 (``--everywhere``: over all of it): memory is highest
where all regions of a row are fitted and one cloudy window follows the other, and clear windows take less. ``--full``
adds a Sentinel-2 granule of 10980 x 10980.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import synthetic
from benchmarks.jobs import HEAD, line, restore_job
from benchmarks.synthetic import Stack
from cloud_removal_plugin.engine.device import MOST_MB
from cloud_removal_plugin.engine.interpreter import clean_environment

GOAL = 1.25
SOURCE = 2048
GRANULE = 10980


def enlarge(
    stack: Stack, folder: Path, size: int, everywhere: bool = False
) -> tuple[Stack, tuple[float, float, float, float] | None]:
    """The series repeated to at least ``size``, and the extent that cuts it to ``size`` (None where it fits)."""
    if size <= SOURCE:
        return stack, _extent(size) if size < SOURCE else None
    times = -(-size // SOURCE)
    rasters, masks = (
        [synthetic.repeated(path, folder / f"{path.stem}_{times}.vrt", times) for path in group]
        for group in (stack.rasters, stack.masks)
    )
    if not everywhere:
        masks[0] = synthetic.repeated(stack.masks[0], folder / f"sparse_{times}.vrt", times, rows=1)
    return Stack(tuple(rasters), tuple(masks)), _extent(size) if times * SOURCE > size else None


def _extent(size: int) -> tuple[float, float, float, float]:
    """(xmin, ymin, xmax, ymax) of the upper left ``size`` x ``size`` pixels of 10 m."""
    return 500000.0, 4600000.0 - 10.0 * size, 500000.0 + 10.0 * size, 4600000.0


def peak(job_file: Path) -> tuple[float, float, int, str]:
    """(peak MiB, wall seconds, exit code, last lines) of one job in a fresh process, measured by the system."""
    start = time.perf_counter()
    process = subprocess.Popen(  # nosec B603: our own interpreter and module
        [sys.executable, "-m", "cloud_removal_plugin", "run", str(job_file)], env=clean_environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    text = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1024.0 if sys.platform == "darwin" else 1.0  # macOS counts bytes, Linux KiB
    return usage.ru_maxrss / unit / 1024.0, time.perf_counter() - start, process.returncode, text[-300:]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2048, 8192], help="edges of the scenes in pixels")
    parser.add_argument("--method", default="fast")
    parser.add_argument("--memory-mb", type=int, default=0, help="MEMORY_MB of the jobs; 0 = automatic")
    parser.add_argument("--everywhere", action="store_true", help="clouds over the whole of the large scenes")
    parser.add_argument("--full", action="store_true", help="a whole granule of 10980 x 10980 as well")
    options = parser.parse_args(argv)
    sizes = [*options.sizes, *([GRANULE] if options.full else [])]
    title = f"### Peak memory, METHOD={options.method}, {synthetic.DATES} dates x {synthetic.BANDS} bands"
    print(title, HEAD, sep="\n\n")
    first = None
    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
        folder = Path(name)
        stack = synthetic.write_stack(folder, SOURCE)
        for size in sizes:
            large, extent = enlarge(stack, folder, size, options.everywhere)
            output = folder / "restored.tif"
            job = restore_job(large, output, options.method, extent=extent, memory_mb=options.memory_mb)
            job_file = folder / "job.json"
            job_file.write_text(job.to_json())
            mib, seconds, code, text = peak(job_file)
            output.unlink(missing_ok=True)
            if code:
                print(f"| {size} x {size} | - | | failed | exit {code}: {text.strip()[-200:]} |", flush=True)
                continue
            limit = options.memory_mb or MOST_MB
            note = f"{seconds:.0f} s wall, {seconds / (size * size / 1e6):.2f} s/Mpx"
            print(line(f"{size} x {size}: peak MiB", mib, f"<= {limit} (MEMORY_MB)", mib <= limit, note), flush=True)
            if first is None:
                first = (size, mib)
                continue
            print(line(f"{size} / {first[0]}", mib / first[1], f"<= {GOAL}", mib / first[1] <= GOAL), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
