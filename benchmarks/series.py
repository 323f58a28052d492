"""Whole series with withheld pixels on many dates: decibels of each date, and what the series costs beside its dates.

    python -m benchmarks.series [--sets LZ FL TZ HLS] [--methods fast auto harmonic whittaker] [--single auto]
    python -m benchmarks.accuracy --series ...       # the same

Protocol: every date that is clear enough to be a truth gets a gap at once, from the real mask of another date, rotated,
mirrored and shifted; what lies under it is withheld. All other dates keep their own gaps. Each withheld date counts
alike. ``--single METHOD`` restores some of the dates by themselves with the same observation, which gives the
difference in decibels and, from CPU seconds in one run, the ratio of the costs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import scenes
from benchmarks.cases import DONOR_SHARE, Setting, _draw, linear, mended, targets
from benchmarks.scenes import Series
from cloud_removal_plugin.methods import visible
from cloud_removal_plugin.methods.series_protocol import turned_to
from cloud_removal_plugin.observation import Observation

SETS: dict[str, Setting] = {
    "LZ": Setting("lazio", 23),
    "FL": Setting("flanders", 40, screen=True),
    "FLM": Setting("flanders", 40, mend=True),
    "TZ": Setting("tanzania", 40, radar=True, screen=True),
    "HLS": Setting("missouri", 24, target_clear=0.90),
    "BE": Setting("belgium", 20, radar=True),
    "TV": Setting("tervuren", 36, radar=True),
    "CA": Setting("california", 12),
}
"""Series by name; ``count`` is the most dates that get a gap."""

GAIN_GOAL = 6.0
BEHIND_GOAL = 0.3
COST_GOAL = 1 / 3


@dataclass(frozen=True)
class Withheld:
    """A series with withheld pixels.

    Attributes:
        observation: all dates in ascending order; withheld and hidden pixels are NaN and marked.
        truth: float32 (T, C, H, W). gaps: bool (H, W) by date, what is scored.
        series: where it comes from.
    """

    name: str
    observation: Observation
    truth: np.ndarray
    gaps: dict[int, np.ndarray]
    series: Series


def withhold(series: Series, setting: Setting, code: str, shapes: Sequence[np.ndarray] = (), seed: int = 0) -> Withheld:
    """Lay a gap over every date that can be a truth (at most ``setting.count``, spread over the series)."""
    if setting.mend:
        series = mended(series)
    possible = targets(series, setting)
    if len(possible) > setting.count:
        possible = [possible[i] for i in np.linspace(0, len(possible) - 1, setting.count).round().astype(int)]
    pool = [~clear for clear in series.clear if DONOR_SHARE[0] <= 1 - clear.mean() <= 0.88] or list(shapes)
    hidden = ~series.clear
    gaps = {}
    for date in possible:
        rng = np.random.default_rng([seed, zlib.crc32(code.encode()), date])
        gaps[date] = _draw(pool, series.clear[date], rng) & series.clear[date]
        hidden[date] |= gaps[date]
    optical = np.where(hidden[:, None], np.float32(np.nan), series.optical)
    first = series.dates[0]
    radar_dates = series.radar_dates if setting.radar else ()
    observation = Observation(
        optical=optical, cloud=hidden.astype(np.float32), bands=series.bands, pixel_m=series.pixel_m,
        days=np.array([(day - first).days for day in series.dates], np.float64),
        radar=series.radar if setting.radar else None,
        radar_days=np.array([(day - first).days for day in radar_dates], np.float64),
    )  # fmt: skip
    return Withheld(code, observation, series.optical, {d: g for d, g in gaps.items() if g.any()}, series)


def psnr(estimate: np.ndarray, truth: np.ndarray, gap: np.ndarray) -> float:
    """dB with data range 1 over the withheld pixels of (C, H, W) and all bands; NaN counts as the band's mean."""
    value, real = estimate[:, gap].astype(np.float64), truth[:, gap].astype(np.float64)
    value = np.where(np.isfinite(value), value, np.nanmean(real))
    return float(-10.0 * np.log10(max(np.mean((value - real) ** 2), 1e-12)))


def coverage(estimate: np.ndarray, sigma: np.ndarray | None, truth: np.ndarray, gap: np.ndarray) -> float:
    """Share of withheld values within 1.645 sigma; NaN without sigma."""
    if sigma is None:
        return float("nan")
    error, width = np.abs(estimate[:, gap] - truth[:, gap]), sigma[:, gap]
    known = np.isfinite(width)
    return float((error <= 1.6449 * width)[known].mean()) if known.any() else float("nan")


def baselines(case: Withheld) -> dict[str, dict[int, float]]:
    """Linear interpolation written for itself, and the nearest date that sees a pixel."""
    obs = case.observation
    closest = visible.fill_closest(obs.optical, obs.cloud >= 0.5, obs.days)
    out: dict[str, dict[int, float]] = {"linear": {}, "nearest date": {}}
    for date, gap in case.gaps.items():
        out["linear"][date] = psnr(linear(turned_to(obs, date)), case.truth[date], gap)
        out["nearest date"][date] = psnr(closest[date], case.truth[date], gap)
    return out


def run_series(case: Withheld, method: str, seed: int = 0) -> dict:
    """A series method on all dates that have something hidden: dB and coverage by withheld date, CPU seconds."""
    from cloud_removal_plugin.methods import series

    obs = case.observation
    dates = [t for t in range(obs.shape[0]) if (obs.cloud[t] >= 0.5).any()]
    start = time.process_time()
    fitted = series.create(method).fit([obs], dates, seed=(seed, 0, 0))
    learned = time.process_time() - start
    scores, cover, expected = {}, {}, {}
    for date, result in fitted.restore(obs, dates):
        if date in case.gaps:
            scores[date] = psnr(result.reflectance, case.truth[date], case.gaps[date])
            cover[date] = coverage(result.reflectance, result.sigma, case.truth[date], case.gaps[date])
            expected[date] = fitted.expected_rmse.get(date, float("nan"))
    seconds = time.process_time() - start
    return {"psnr": scores, "coverage": cover, "expected": expected, "seconds": seconds, "fit": learned,
            "dates": len(dates), "summary": fitted.summary}  # fmt: skip


def run_single(case: Withheld, method: str, most: int, seed: int = 0) -> dict:
    """Some withheld dates, each restored by itself; CPU seconds are scaled to the dates that the series restores."""
    from cloud_removal_plugin.methods import registry

    obs = case.observation
    chosen = sorted(case.gaps)
    chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int))]
    scores, start = {}, time.process_time()
    for date in chosen:
        turned = turned_to(obs, date)
        result = registry.create(method).fit([turned], seed=(seed, 0, 0)).restore(turned)
        scores[date] = psnr(result.reflectance, case.truth[date], case.gaps[date])
    return {"psnr": scores, "seconds_a_date": (time.process_time() - start) / max(len(chosen), 1)}


def evaluate(case: Withheld, methods: Sequence[str], single: Sequence[str], most: int) -> dict:
    """Everything about one series."""
    record: dict = {"dates": len(case.gaps), "baselines": baselines(case), "series": {}, "single": {}}
    runs: list[tuple[str, str, Callable[[], dict]]] = [
        *(("series", m, lambda m=m: run_series(case, m)) for m in methods),
        *(("single", m, lambda m=m: run_single(case, m, most)) for m in single),
    ]
    for kind, method, run in runs:
        try:
            record[kind][method] = run()
        except Exception as error:  # a benchmark goes on and says what failed
            record[kind][method] = {"failed": f"{type(error).__name__}: {error}", "psnr": {}}
            print(f"{case.name} {kind} {method}: {type(error).__name__}: {error}", file=sys.stderr)
        shown = record[kind][method]["psnr"].values()
        print(f"{case.name} {kind} {method}: {np.mean(list(shown)) if shown else float('nan'):.2f}", file=sys.stderr)
    return record


def table(results: dict[str, dict]) -> str:
    """Markdown: a row a method; goals beside the figures."""
    head = ["set", "dates", "method", "PSNR dB", "over linear (goal +6)", "median", "lowest", "90 % coverage",
            "below a date by itself (goal 0.3)", "cost, a date by itself = 1 (goal 0.33)", "CPU s a date"]  # fmt: skip
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for name, record in results.items():
        base = record["baselines"]["linear"]
        for method, scores in record["baselines"].items():
            lines.append(_row(name, record, method, {"psnr": scores}, base))
        for method, run in record["series"].items():
            lines.append(_row(name, record, method, run, base))
        for method, run in record["single"].items():
            lines.append(_row(name, record, f"{method}, each date by itself", run, base))
    return "\n".join(f"| {line} |" for line in lines)


def _row(name: str, record: dict, method: str, run: dict, base: dict[int, float]) -> str:
    scores = run.get("psnr", {})
    if not scores:
        return " | ".join([name, "0", method, run.get("failed", "nothing"), *[""] * 7])
    gain = np.array([scores[d] - base[d] for d in scores])
    cells = [name, str(len(scores)), method, f"{np.mean(list(scores.values())):.2f}", f"{gain.mean():+.2f}",
             f"{np.median(gain):+.2f}", f"{gain.min():+.2f}"]  # fmt: skip
    cover = np.array(list(run.get("coverage", {}).values()), float)
    cells.append(f"{np.nanmean(cover):.3f}" if np.isfinite(cover).any() else "")
    alone = record["single"].get(method, {})
    common = [d for d in scores if d in alone.get("psnr", {})]
    cells.append(f"{np.mean([alone['psnr'][d] - scores[d] for d in common]):+.2f}" if common else "")
    own = run["seconds"] / max(run["dates"], 1) if "seconds" in run else run.get("seconds_a_date")
    cells.append(f"{own / alone['seconds_a_date']:.2f}" if common and own else "")
    cells.append(f"{own:.2f}" if own is not None else "")
    return " | ".join(cells)


def load(names: Sequence[str], root: Path | None = None, seed: int = 0) -> dict[str, Withheld]:
    """The named series; those whose data are absent are left out."""
    root = root or scenes.data_root()
    shapes: list[np.ndarray] = []
    out = {}
    for name in names:
        try:
            series = scenes.PLACES[SETS[name].place](root)
        except (FileNotFoundError, StopIteration):
            continue
        if not any(DONOR_SHARE[0] <= 1 - clear.mean() <= 0.88 for clear in series.clear):
            shapes = shapes or scenes.cloud_shapes(root)
        case = withhold(series, SETS[name], name, shapes, seed)
        if case.gaps:
            out[name] = case
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="folder of scenes")
    parser.add_argument("--sets", nargs="*", default=["LZ", "FL", "TZ", "HLS"], choices=list(SETS))
    parser.add_argument("--methods", nargs="*", default=["interpolation", "harmonic", "whittaker", "fast", "auto"])
    parser.add_argument("--single", nargs="*", default=["auto"], help="methods that also restore dates by themselves")
    parser.add_argument("--most", type=int, default=8, help="dates restored by themselves")
    parser.add_argument("--json", help="write every score here")
    options = parser.parse_args(argv)
    results = {}
    for name, case in load(options.sets, Path(options.data) if options.data else None).items():
        results[name] = evaluate(case, options.methods, options.single, options.most)
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1))
    print(table(results) if results else "No scenes found: give the folder of scenes, or set CLOUD_REMOVAL_DATA.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
