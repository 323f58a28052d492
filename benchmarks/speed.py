"""Ratios side by side in one run: the default path against reading and writing, interpolation against plain numpy.

python -m benchmarks.speed [--size 2048] [--rounds 3] [--methods fast auto]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio

from benchmarks import synthetic
from benchmarks.jobs import HEAD, as_worker, detect_job, line, restore_job, rounds, run_quietly
from benchmarks.synthetic import Stack

GOALS_F = {"fast": 4.0, "auto": 8.0}
"""Seconds of a job at 50 % cloud, six dates and thirteen bands, against F."""

DETECTION_GOAL_F = 1.0
INTERPOLATION_GOAL = 15.0
SKIP_GOAL = 0.40
WINDOW = 1024


def threads() -> int:
    """What the product uses: the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_and_write(stack: Stack, output: Path, count: int) -> None:
    """F: read every raster and mask of the stack in windows, one handle a thread, and write the target again."""
    with rasterio.open(stack.rasters[0]) as data:
        size, bands = data.width, data.count

    def read_file(path: Path) -> None:
        with rasterio.open(path) as data:
            for row in range(0, size, WINDOW):
                for col in range(0, size, WINDOW):
                    data.read(window=((row, min(row + WINDOW, size)), (col, min(col + WINDOW, size))))

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(read_file, [*stack.rasters[1:], *stack.masks]))
    with rasterio.open(stack.rasters[0]) as data:
        target = data.read()
    with rasterio.open(output, "w", **{**synthetic.profile(size, bands), "num_threads": count}) as out:
        out.write(target)


def plain_numpy(raw: np.ndarray, hidden: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Linear interpolation in time in plain numpy: float64, NaN for clouds, the usual "fill forward by index" idiom.

    Args:
        raw: uint16 (D, C, H, W), the other dates, reflectance x 10000, 0 = no data.
        hidden: bool (D, H, W).
        days: (D,), relative to the target, ascending.

    Returns:
        float64 (C, H, W).
    """
    optical = raw.astype(np.float64) / 10000.0
    optical[raw == 0] = np.nan
    optical = np.where(hidden[:, None], np.nan, optical)
    place = np.arange(len(days)).reshape(-1, 1, 1, 1)
    earlier, later = optical[days <= 0], optical[days > 0]
    before = np.where(np.isnan(earlier), -1, place[: len(earlier)]).max(axis=0, keepdims=True)
    after = np.where(np.isnan(later), len(later), place[: len(later)]).min(axis=0, keepdims=True)
    low = np.take_along_axis(earlier, np.maximum(before, 0), axis=0)[0]
    high = np.take_along_axis(later, np.minimum(after, len(later) - 1), axis=0)[0]
    day_low, day_high = days[days <= 0][before[0]], days[days > 0][np.minimum(after[0], len(later) - 1)]
    low, high = np.where(before[0] < 0, np.nan, low), np.where(after[0] == len(later), np.nan, high)
    both = low + (high - low) * (-day_low / (day_high - day_low))
    return np.where(np.isnan(low), high, np.where(np.isnan(high), low, both))


def looped_numpy(raw: np.ndarray, hidden: np.ndarray, days: np.ndarray) -> np.ndarray:
    """The same in one pass over the dates, as a careful hand writes it; arguments as :func:`plain_numpy`."""
    optical = raw.astype(np.float64) / 10000.0
    optical[raw == 0] = np.nan
    optical = np.where(hidden[:, None], np.nan, optical)
    before, after = np.full(raw.shape[1:], np.nan), np.full(raw.shape[1:], np.nan)
    day_before, day_after = before.copy(), after.copy()
    for t in range(len(days)):
        valid = ~np.isnan(optical[t])
        if days[t] <= 0:
            before, day_before = np.where(valid, optical[t], before), np.where(valid, days[t], day_before)
        else:
            first = valid & np.isnan(after)
            after, day_after = np.where(first, optical[t], after), np.where(first, days[t], day_after)
    both = before + (after - before) * (-day_before / (day_after - day_before))
    return np.where(np.isnan(both), np.where(np.isnan(before), after, before), both)


class InterpolationRace:
    """The product's interpolation and plain numpy on the same arrays in memory: 512 x 512 x 13, target + 5 dates."""

    def __init__(self, edge: int = 512) -> None:
        content = synthetic.tiles(edge=edge)
        middle = len(content) // 2
        self.raw = np.delete(content, middle, axis=0)
        self.days = np.array([15.0 * (t - middle) for t in range(len(content)) if t != middle])
        self.hidden = np.stack([synthetic.cloud(edge, edge, 0.3, t) > 0 for t in range(len(self.days))])
        self.out = np.empty(self.raw.shape, np.float32)

    def product(self) -> np.ndarray:
        """Numbers to reflectance as the reader does it, then the kernel of METHOD=interpolation; (C, n)."""
        from cloud_removal_plugin.methods.interpolation import interpolate

        for numbers, plane in zip(self.raw, self.out, strict=True):
            for dn, band in zip(numbers, plane, strict=True):
                np.copyto(band, dn, casting="same_kind")
                band *= np.float32(1e-4)
        seen = ~self.hidden
        if (self.raw[:, 0] == 0).any():
            seen &= ~(self.raw == 0).all(axis=1)
        dates, bands = self.out.shape[:2]
        size = self.hidden[0].size
        estimate, _, _ = interpolate(
            self.out.reshape(dates, bands, size), seen.reshape(dates, size), self.days, np.arange(size), change=False
        )
        return estimate

    def peer(self, function: Callable[..., np.ndarray]) -> np.ndarray:
        """A peer's answer; (C, n)."""
        return function(self.raw, self.hidden, self.days).reshape(self.raw.shape[1], -1)

    def difference(self) -> float:
        """Largest difference from the peers where all know an answer."""
        ours = self.product()
        return max(float(np.nanmax(np.abs(ours - self.peer(f)))) for f in (plain_numpy, looped_numpy))


PEERS = {"plain": plain_numpy, "loop": looped_numpy}


def peer_alone(name: str, count: int) -> float:
    """Median CPU seconds of a peer in a process of its own, with the system's own memory settings."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(  # nosec B603: ourselves
        [sys.executable, "-m", "benchmarks.speed", "--peer", name, "--rounds", str(count)],
        env=plain, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def race(count: int) -> list[str]:
    """Table rows: interpolation against plain numpy, CPU time of one thread.

    The product runs in a worker that keeps big blocks of memory; a script of the peer's kind runs with the system's
    settings. Both comparisons are shown: each as it runs, and both in this process.
    """
    both = InterpolationRace()
    off = both.difference()
    actions = {"ours": both.product, **{name: lambda f=f: both.peer(f) for name, f in PEERS.items()}}
    found = rounds(actions, count + 4)
    mpx = both.hidden[0].size / 1e6
    ours = found["ours"][1]
    rows = []
    for name, text, goal in (
        ("plain", "plain numpy", f">= {INTERPOLATION_GOAL:.0f}"), ("loop", "numpy in one pass over the dates", ""),
    ):  # fmt: skip
        alone, here = peer_alone(name, count + 2) / ours, found[name][1] / ours
        verdict = ("met" if alone >= INTERPOLATION_GOAL else "MISSED") if goal else ""
        note = (
            f"each as it runs; in one process {here:.1f}; ours {ours / mpx:.3f} s/Mpx of 13 bands; differs by {off:.0e}"
        )
        rows.append(f"| interpolation, times faster than {text} | {alone:.1f} | {goal} | {verdict} | {note} |")
    return rows


def default_path(folder: Path, size: int, methods: Sequence[str], count: int) -> list[str]:
    """Table rows: jobs at half cloud against F."""
    stack = synthetic.write_stack(folder, size)
    actions = {"F": lambda: read_and_write(stack, folder / "floor.tif", threads())}
    for method in methods:
        actions[method] = lambda m=method: run_quietly(restore_job(stack, folder / f"{m}.tif", m))
    actions["detect"] = lambda: run_quietly(detect_job(stack, folder / "classes.tif"))
    failed = []
    for name, action in list(actions.items()):
        try:
            action()  # the page cache is warm for everyone, imports are done
        except Exception as error:  # one missing part must not hide the other figures
            failed.append(f"| {name} | - | - | failed | {type(error).__name__}: {error} |")
            del actions[name]
    found = rounds(actions, count)
    floor_wall, floor_cpu = found["F"]
    mpx = size * size / 1e6
    rows = [f"| F: read {synthetic.DATES} dates and masks, write one | {floor_wall / mpx:.2f} | s/Mpx | |"
            f" wall; CPU {floor_cpu / mpx:.2f} s/Mpx, {threads()} threads |"]  # fmt: skip
    for name, (wall, cpu) in found.items():
        if name == "F":
            continue
        per_date = synthetic.DATES if name == "detect" else 1
        goal = DETECTION_GOAL_F if name == "detect" else GOALS_F.get(name, float("nan"))
        ratio = wall / floor_wall / per_date
        label = "detection of one date / F" if name == "detect" else f"{name} at 50 % cloud / F"
        note = f"wall {wall:.1f} s; by CPU time {cpu / floor_cpu / per_date:.2f}"
        rows.append(line(label, ratio, f"<= {goal:.0f}", not ratio > goal, note))
    return rows + failed


def _blocks(everywhere: np.ndarray, cloudy: Sequence[tuple[int, int]]) -> np.ndarray:
    """The mask (H, W) with clouds left in some windows (row, column) only."""
    out = np.zeros_like(everywhere)
    for row, col in cloudy:
        part = (slice(row * WINDOW, (row + 1) * WINDOW), slice(col * WINDOW, (col + 1) * WINDOW))
        out[part] = everywhere[part]
    return out


def skipping(folder: Path, count: int, method: str, across: int, patterns: dict[str, Sequence[tuple[int, int]]]) -> str:
    """Table rows: time with clouds in some windows against all of ``across`` x ``across``, brought to 30 % by a line.

    Args:
        patterns: name and cloudy windows (row, column) of each arrangement.
    """
    size = across * WINDOW
    everywhere = synthetic.cloud(size, size, 0.5, 0)
    stacks = {"all": synthetic.write_stack(folder / "all", size, everywhere)}
    for name, cloudy in patterns.items():  # clear windows must show clear pixels
        stacks[name] = synthetic.write_stack(folder / name, size, _blocks(everywhere, cloudy))
    found = rounds(
        {
            name: lambda s=stack: run_quietly(restore_job(s, folder / "out.tif", method))
            for name, stack in stacks.items()
        },
        count,
    )
    rows = []
    for name, cloudy in patterns.items():
        share = len(cloudy) / across**2
        ratio, by_cpu = (
            (some + (every - some) * (0.30 - share) / (1 - share)) / every
            for some, every in zip(found[name], found["all"], strict=True)
        )
        note = (
            f"{method}, {size} x {size}; {len(cloudy)} of {across**2} windows, {name}, {found[name][0]:.1f} s, all "
            f"{found['all'][0]:.1f} s, 30 % by a straight line; by CPU time {by_cpu:.2f}"
        )
        rows.append(line("30 % / 100 % cloudy windows", ratio, f"<= {SKIP_GOAL:.2f}", ratio <= SKIP_GOAL, note))
    return "\n".join(rows)


SKIPPED = (
    (2, {"in a corner": [(0, 0)]}),
    (
        4,
        {
            "side by side": [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)],
            "scattered": [(0, 0), (0, 3), (2, 1), (3, 2), (1, 2)],
        },
    ),
)
"""Windows across a scene, and which of them are cloudy: one region; four, of which two or all have clouds."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="edge of the scene in pixels; goals are for 2048")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many turns is shown")
    parser.add_argument("--methods", nargs="*", default=["fast", "auto"])
    parser.add_argument("--peer", choices=PEERS, help="time this peer of the interpolation alone, for the comparison")
    parser.add_argument("--no-skip", action="store_true", help="leave out the scenes with clear windows")
    options = parser.parse_args(argv)
    if options.peer:
        both = InterpolationRace()
        print(rounds({"peer": lambda: both.peer(PEERS[options.peer])}, options.rounds)["peer"][1])
        return 0
    print(f"### Speed, {options.size} x {options.size} x {synthetic.BANDS}, {synthetic.DATES} dates", HEAD, sep="\n\n")
    print(*race(options.rounds), sep="\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
        for row in default_path(Path(name), options.size, options.methods, options.rounds):
            print(row, flush=True)
    if not options.no_skip:
        for across, patterns in SKIPPED[: 1 if options.size < 2048 else None]:
            try:
                with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as name:
                    print(skipping(Path(name), max(1, options.rounds - 1), "fast", across, patterns), flush=True)
            except Exception as error:  # reported, never fatal
                print(f"30 % / 100 % cloudy windows failed: {type(error).__name__}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    if "--peer" not in sys.argv:
        as_worker("benchmarks.speed")
    raise SystemExit(main())
