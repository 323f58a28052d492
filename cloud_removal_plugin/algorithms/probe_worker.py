"""Run by the worker's interpreter, not by QGIS: says as one line of JSON what that Python has. Standard library only.

Every library is imported in its own guard: one that is broken must not hide the others.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path

PACKAGES = ("numpy", "scipy", "rasterio", "torch", "s2cloudless", "lightgbm", "matplotlib", "jinja2")
HEAVY = ("s2cloudless", "lightgbm", "matplotlib")
"""Only looked up, not imported: they pull in much that the plugin does not use (OpenCV), or take long."""


def version_of(name: str) -> dict[str, str]:
    """Version of an installed package, or why there is none."""
    if importlib.util.find_spec(name) is None:
        return {"error": "not installed"}
    try:
        if name in HEAVY:
            return {"version": importlib.import_module("importlib.metadata").version(name)}
        return {"version": str(getattr(importlib.import_module(name), "__version__", "unknown"))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def algebra() -> str:
    """Why NumPy's linear algebra must not be used, '' where it is sound.

    A NumPy that was compiled without a BLAS library falls back to routines that keep state: several threads in them
    crash the process, and they are a hundred times as slow.
    """
    numpy = importlib.import_module("numpy")
    try:
        blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    except (TypeError, KeyError):  # before NumPy 1.26
        look_up = getattr(numpy.__config__, "get_info", None)
        blas = {"found": look_up is None or bool(look_up("blas_opt"))}
    return "" if blas.get("found", True) else "was compiled without a BLAS library"


def native() -> dict[str, str]:
    """GDAL and PROJ behind rasterio, and whether PROJ finds its data."""
    try:
        rasterio = importlib.import_module("rasterio")
        crs = importlib.import_module("rasterio.crs").CRS
        found = {"gdal": str(rasterio.__gdal_version__), "proj": str(getattr(rasterio, "__proj_version__", "unknown"))}
        found["crs"] = "ok" if crs.from_epsg(32633).to_epsg() == 32633 else "EPSG codes are lost"
        return found
    except Exception as error:
        return {"crs": f"{type(error).__name__}: {error}"}


def devices() -> list[str]:
    """Names of what PyTorch can compute on."""
    try:
        torch = importlib.import_module("torch")
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = [f"cuda:{i} {card.name}, {card.total_memory >> 20} MiB" for i, card in enumerate(cards)]
        return [*names, f"cpu, {os.cpu_count()} cores"]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


def kernel() -> dict[str, str]:
    """State of the compiled kernel in this Python (``compiled``, ``buildable`` or ``torch``), and a sentence on it."""
    package = Path(__file__).resolve().parents[1]
    sys.path.append(str(package.parent))
    try:
        ext = importlib.import_module(f"{package.name}.ext")
        found = ext.load(allow_build=False)
        missing = ext.build.missing_tools()
    except Exception as error:
        return {"state": "torch", "text": f"{type(error).__name__}: {error}", "missing": ""}
    state = "compiled" if found.compiled else "torch" if missing else "buildable"
    return {"state": state, "text": found.sentence, "missing": missing}


def main() -> int:
    """Write the report of this interpreter to stdout."""
    packages = {name: version_of(name) for name in PACKAGES}
    report = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": packages,
        "algebra": algebra() if "version" in packages["numpy"] else "",
        "native": native() if "version" in packages["rasterio"] else {},
        "devices": devices() if "version" in packages["torch"] else [],
        "kernel": kernel() if "version" in packages["torch"] else {},
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
