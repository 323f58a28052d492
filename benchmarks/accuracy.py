"""Decibels, calibration and seconds on real scenes with withheld pixels, through the product's own path.

    python -m benchmarks.accuracy [DATA ...] [--sets LZ FL30] [--cases 4] [--methods fast auto] [--json out.json]
    python -m benchmarks.accuracy --series ...       # whole series at once, see benchmarks.series
    python -m benchmarks.accuracy --direct ...       # methods alone, no files: for development

DATA is the folder of scenes (see :mod:`benchmarks.scenes`), any folder of dated GeoTIFFs on one grid, or one of
WorldCereal cubes; sites without a set of their own are measured too unless --sets chooses.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import cases as case_sets
from benchmarks import rasters, scenes
from benchmarks.cases import Case
from benchmarks.scores import Score, score

GAIN_GOALS = {"LZ": 6.3, "FL": 9.5, "FL30": 10.0, "TZ30": 6.7, "HLS": 9.8, "CA": 6.4}
"""Mean gain of `auto` over linear interpolation in time, dB."""

COVERAGE_GOAL = (0.87, 0.93)
COVERAGE_FLOOR = 0.85
UCE_GOAL = 0.004
FAST_BEHIND_GOAL = 1.2

Records = dict[str, list[dict]]


def run_direct(case: Case, method: str, seed: int = 0) -> Score:
    """A method of the registry on the case as it is in memory: no files, no windows."""
    from cloud_removal_plugin.methods import registry

    start = time.perf_counter()
    fitted = registry.create(method).fit([case.observation], seed=(seed, 0, 0))
    result = fitted.restore(case.observation)
    seconds = time.perf_counter() - start
    return score(case, result.reflectance, result.sigma, fitted.expected_rmse, seconds, fitted.summary)


def run_product(case: Case, method: str, folder: Path, files: rasters.CaseFiles, seed: int = 0) -> Score:
    """A whole job on the case's rasters: reading, fitting, streaming, writing; scored from the files it wrote."""
    from cloud_removal_plugin.engine.job import Job
    from cloud_removal_plugin.engine.run import run

    output, uncertainty = folder / f"{method}.tif", folder / f"{method}_sigma.tif"
    job = Job(
        kind="restore", input=str(files.target), output=str(output), uncertainty=str(uncertainty), method=method,
        other_dates=tuple(map(str, files.others)), other_masks=tuple(map(str, files.masks)),
        cloud_mask=str(files.cloud_mask), radar=str(files.radar or ""), dates=files.dates, dilate=0,
        sensor=case.series.sensor, seed=seed,
    )  # fmt: skip
    start = time.perf_counter()
    result = run(job, lambda share, phase: None, lambda: False, lambda level, text: None)
    seconds = time.perf_counter() - start
    sigma = rasters.read_reflectance(uncertainty) if uncertainty.exists() else None
    estimate = rasters.read_reflectance(output)
    return score(case, estimate, sigma, result.expected_rmse, seconds, result.method_used)


def evaluate(case: Case, methods: Sequence[str], direct: bool, seed: int = 0) -> dict:
    """Every method on one case, with the baseline; a method that fails is recorded with its message."""
    record: dict = {"case": case.name, "gap": float(case.gap.mean()), "scores": {}}
    start = time.perf_counter()
    baseline = score(case, case_sets.linear(case.observation), seconds=time.perf_counter() - start)
    record["scores"]["linear"] = baseline.as_dict()
    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
        files = None if direct else rasters.write(case, Path(name))
        for method in methods:
            try:
                done = run_direct(case, method, seed) if files is None else run_product(
                    case, method, Path(name), files, seed)  # fmt: skip
                record["scores"][method] = done.as_dict()
            except Exception as error:  # a benchmark goes on and says which case failed
                record["scores"][method] = {"failed": f"{type(error).__name__}: {error}"}
                print(f"{case.name} {method}: {type(error).__name__}: {error}", file=sys.stderr)
    return record


def _values(records: list[dict], method: str, key: str) -> np.ndarray:
    return np.array([r["scores"].get(method, {}).get(key, np.nan) for r in records], np.float64)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def table(results: Records, methods: Sequence[str]) -> str:
    """Markdown: one row a set and method, goals beside the figures."""
    head = ["set", "cases", "method", "PSNR dB", "gain mean (goal)", "median", "lowest", "MAE", "SAM",
            "90 % coverage (lowest)", "UCE", "expected / real RMSE", "s"]  # fmt: skip
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for name, records in results.items():
        base = _values(records, "linear", "psnr")
        lines.append(" | ".join([name, str(len(records)), "linear", f"{_mean(base):.2f}", "", "", "",
                     f"{_mean(_values(records, 'linear', 'mae')):.4f}",
                     f"{_mean(_values(records, 'linear', 'sam')):.2f}", "", "", "", ""]))  # fmt: skip
        lines += [_row(name, records, method, base) for method in methods]
    return "\n".join(f"| {line} |" for line in lines)


def _row(name: str, records: list[dict], method: str, base: np.ndarray) -> str:
    values = {
        key: _values(records, method, key)
        for key in ("psnr", "mae", "sam", "coverage", "uce", "expected_rmse", "rmse", "seconds")
    }
    gain = values["psnr"] - base
    goal = f" ({GAIN_GOALS[name]:.1f})" if method == "auto" and name in GAIN_GOALS else ""
    if not np.isfinite(gain).any():
        return " | ".join([name, "0", method, "failed", *[""] * 9])
    known = np.isfinite(values["expected_rmse"])
    ratio = f"{(values['expected_rmse'][known] / values['rmse'][known]).mean():.2f}" if known.any() else "unknown"
    coverage = values["coverage"]
    covered = f"{_mean(coverage):.3f} ({np.nanmin(coverage):.2f})" if np.isfinite(coverage).any() else "none"
    return " | ".join([
        name, str(int(np.isfinite(gain).sum())), method, f"{_mean(values['psnr']):.2f}",
        f"{_mean(gain):+.2f}{goal}", f"{np.nanmedian(gain):+.2f}", f"{np.nanmin(gain):+.2f}",
        f"{_mean(values['mae']):.4f}", f"{_mean(values['sam']):.2f}", covered, f"{_mean(values['uce']):.4f}", ratio,
        f"{_mean(values['seconds']):.1f}",
    ])  # fmt: skip


def verdict(results: Records) -> str:
    """The goals in words: what is met, by how much the rest misses."""
    lines = []
    for name, records in results.items():
        gain = _values(records, "auto", "psnr") - _values(records, "linear", "psnr")
        if not np.isfinite(gain).any():
            continue
        goal = GAIN_GOALS.get(name)
        behind = _mean(_values(records, "auto", "psnr") - _values(records, "fast", "psnr"))
        cover, uce = _mean(_values(records, "auto", "coverage")), _mean(_values(records, "auto", "uce"))
        parts = [f"gain {_mean(gain):+.2f} dB" + (f" (goal {goal:+.1f})" if goal else ""),
                 f"below interpolation in {int((gain < 0).sum())} cases (goal 0)",
                 f"coverage {cover:.3f} (goal {COVERAGE_GOAL[0]} to {COVERAGE_GOAL[1]} on average, no set below "
                 f"{COVERAGE_FLOOR})", f"UCE {uce:.4f} (goal {UCE_GOAL})"]  # fmt: skip
        if np.isfinite(behind):
            parts.append(f"fast behind by {behind:.2f} dB (goal {FAST_BEHIND_GOAL})")
        lines.append(f"- {name}: " + "; ".join(parts))
    sets = [_mean(_values(records, "auto", "coverage")) for records in results.values()]
    if np.isfinite(sets).any():
        lines.append(f"- coverage over all sets: {np.nanmean(sets):.3f}, lowest set {np.nanmin(sets):.3f}")
    return "\n".join(lines)


def gather(data: Sequence[str], names: Sequence[str], count: int | None, seed: int) -> dict[str, list[Case]]:
    """Cases from the scene folders and from any folder of dated GeoTIFFs."""
    found: dict[str, list[Case]] = {}
    for entry in data or [str(scenes.data_root())]:
        folder = Path(entry)
        if any(p for p in folder.glob("*.tif") if scenes.date_in(p.name)):
            series = scenes.from_tiffs(folder)
            shapes = scenes.cloud_shapes(scenes.data_root())
            code = folder.resolve().name
            setting = case_sets.Setting(place="", count=count or 8, all_gapped=bool(series.clear.mean() > 0.99))
            found[code] = case_sets.cases(series, setting, shapes, seed + zlib.crc32(code.encode()) % 997, code)
        else:
            found.update(case_sets.load(folder, names, seed))
            if list(names) == list(case_sets.SETTINGS):
                found.update(case_sets.load_other_sites(folder, seed))
    # Every k-th case rather than the first ones, so that a short run still sees the whole year.
    return {
        name: [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count or len(items)).round().astype(int))]
        for name, items in found.items()
        if items
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    given = list(sys.argv[1:] if argv is None else argv)
    if "--series" in given:
        from benchmarks import series

        given.remove("--series")
        return series.main(given)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", help="folders of scenes, of dated GeoTIFFs, or of WorldCereal cubes")
    known = [*case_sets.SETTINGS, *case_sets.EXTRA]
    parser.add_argument("--sets", nargs="*", default=list(case_sets.SETTINGS), choices=known)
    parser.add_argument("--cases", type=int, help="at most this many cases a set, spread over it")
    parser.add_argument("--methods", nargs="*", default=["inpainting", "fast", "auto"])
    parser.add_argument("--direct", action="store_true", help="methods alone on arrays, without files and engine")
    parser.add_argument("--seed", type=int, default=0, help="seed of the methods; the cases stay the same")
    parser.add_argument("--json", help="write every score here")
    options = parser.parse_args(argv)
    sets = gather(options.data, options.sets, options.cases, 0)
    if not sets:
        print("No scenes found: give the folder of scenes, or set CLOUD_REMOVAL_DATA.")
        return 0
    results: Records = {}
    for name, items in sets.items():
        results[name] = []
        for number, case in enumerate(items, start=1):
            results[name].append(evaluate(case, options.methods, options.direct, options.seed))
            shown = {m: round(s["psnr"], 2) for m, s in results[name][-1]["scores"].items() if "psnr" in s}
            print(f"{number}/{len(items)} {case.name}: {shown}", file=sys.stderr, flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1))
    print(table(results, options.methods), "", verdict(results), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
