"""What loading the provider adds to QGIS: milliseconds beyond Processing, and which heavy libraries it pulls in.

python -m benchmarks.load_time [--rounds 5]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.jobs import HEAD, line

GOAL_MS = 50.0
HEAVY = ("torch", "rasterio", "numpy", "scipy", "lightgbm")

# What QGIS has in memory before any plugin is loaded comes first; only what follows counts.
_PROBE = """
import json, sys, time
import qgis.core, qgis.gui, qgis.PyQt.QtWidgets, qgis.PyQt.QtGui, qgis.PyQt.QtCore
from qgis.core import QgsApplication
application = QgsApplication([], False)
application.initQgis()
try:
    import processing
    from processing.core.Processing import Processing
    Processing.initialize()
except ImportError:
    pass
before = set(sys.modules)
start, cpu = time.perf_counter(), time.process_time()
from cloud_removal_plugin.provider import CloudRemovalProvider
imported = time.perf_counter()
provider = CloudRemovalProvider()
QgsApplication.processingRegistry().addProvider(provider)
ready, cpu = time.perf_counter(), time.process_time() - cpu
added = sorted(set(sys.modules) - before)
print("PROBE" + json.dumps({
    "cpu_ms": 1000 * cpu, "import_ms": 1000 * (imported - start), "register_ms": 1000 * (ready - imported),
    "algorithms": [a.id() for a in provider.algorithms()],
    "modules": len(added), "tops": sorted({name.split(".")[0] for name in added}),
}))
"""


def _environment() -> dict[str, str]:
    """Offscreen, with QGIS' own Python plugins on the path (Processing lives there)."""
    root = Path(__file__).resolve().parents[1]
    paths = [str(root), "/usr/share/qgis/python/plugins", "/usr/share/qgis/python", os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def probe() -> dict:
    """One fresh process; raises RuntimeError with its last lines where it failed."""
    done = subprocess.run(  # nosec B603: our own interpreter
        [sys.executable, "-c", _PROBE], env=_environment(), capture_output=True, text=True, check=False
    )
    for text in done.stdout.splitlines():
        if text.startswith("PROBE"):
            return json.loads(text[5:])
    raise RuntimeError(done.stderr.strip()[-400:] or f"exit {done.returncode}")


def slowest_imports(count: int = 6) -> list[str]:
    """What our provider imports, ours or not, by ``-X importtime``: self time in ms."""
    code = "import qgis.core, qgis.gui, processing; import benchmarks; import cloud_removal_plugin.provider"
    done = subprocess.run(  # nosec B603: our own interpreter
        [sys.executable, "-X", "importtime", "-c", code],
        env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = []
    for text in done.stderr.splitlines():
        parts = text.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            rows.append((int(parts[0]) / 1000, parts[2].strip()))
    # "benchmarks" is an empty package that marks where QGIS' own imports end.
    marks = [place for place, (_, name) in enumerate(rows) if name == "benchmarks"]
    added = rows[marks[0] + 1 :] if marks else []
    return [f"{name} {ms:.1f} ms" for ms, name in sorted(added, reverse=True)[:count]]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    print("### Loading the provider into QGIS", HEAD, sep="\n\n")
    if importlib.util.find_spec("qgis") is None:
        print("| plugin load | - | < 50 ms | skipped | this Python has no PyQGIS |")
        return 0
    try:
        found = [probe() for _ in range(options.rounds)]
    except RuntimeError as error:
        print(f"| plugin load | - | < 50 ms | failed | {' '.join(str(error).split())} |")
        return 0
    best = min(found, key=lambda f: f["import_ms"] + f["register_ms"])
    total = best["import_ms"] + best["register_ms"]
    cpu = statistics.median(f["cpu_ms"] for f in found)
    counts = f"{len(best['algorithms'])} algorithms, {best['modules']} modules"
    note = f"CPU, median of {len(found)} (wall without load); best wall {total:.1f}; {counts}"
    print(line("ms added to QGIS with Processing", cpu, f"< {GOAL_MS:.0f}", cpu < GOAL_MS, note))
    heavy = [name for name in HEAVY if name in found[0]["tops"]]
    names = ", ".join(heavy) or "none of " + ", ".join(HEAVY)
    print(line("heavy libraries imported", len(heavy), "0", not heavy, names))
    print("\nSlowest imports: " + ", ".join(slowest_imports()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
