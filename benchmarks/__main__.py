"""Everything that ``make bench`` prints: ``python -m benchmarks [--data FOLDER] [--quick] [--full]``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run every benchmark in a process of its own, so that none inherits another's memory; always returns 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="append", default=[], help="folder of scenes, or of dated GeoTIFFs")
    parser.add_argument("--quick", action="store_true", help="two cases a set, small rasters, one round")
    parser.add_argument("--full", action="store_true", help="10980 x 10980 for memory, all networks")
    options = parser.parse_args(argv)
    speed, memory, accuracy = [], [], [*options.data]
    if options.quick:
        speed, memory = ["--size", "1024", "--rounds", "1", "--no-skip"], ["--sizes", "1024", "2048"]
        accuracy += ["--cases", "2"]
    if options.full:
        memory = ["--full"]
    for name, arguments in (
        ("load_time", []), ("speed", speed), ("stream", []), ("memory", memory), ("kernel", []),
        ("networks", ["--rounds", "1"] if options.quick else ["--all"] if options.full else []), ("accuracy", accuracy),
    ):  # fmt: skip
        print(f"\n## {name}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=False)  # nosec B603: own modules
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
