"""Every published network: this implementation against the straightforward one, as ratios, with the deviation.

python -m benchmarks.networks [--networks dsen2cr glfcr] [--rounds 2] [--threads 1] [--bf16]

Each way runs in processes of its own, by turns: the straightforward one as a user would start it, this one with the
worker's environment, whose allocator settings are part of what makes it fast. Weights are random. Status 1 where a
network deviates by more than its goal allows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EDGES = {"uncrtaints_mono": 256, "dsen2cr": 128, "glfcr": 128, "aligncr": 128, "tuacr": 128, "uncrtaints": 128}
"""Rows and columns of the input; 64 for the others."""

GOALS = {
    "dsen2cr": (1.6, 1e-5),
    "glfcr": (1.5, 1e-6),
    "uncrtaints_mono": (3.3, 0.0),
    "utilise_earthnet2021": (2.0, 0.0),
}
"""Ratio of CPU time to reach, and relative rms deviation not to exceed."""

MOST_DEVIATION = 1e-5
SATURATED = {"seq2point_pairwise": 3e-5}
"""Networks whose signals grow so with their depth, where weights are random, that their last layer saturates."""

QUICK = ("dsen2cr", "glfcr", "uncrtaints_mono", "utilise_earthnet2021")
WAYS = ("straightforward", "ours")


def inputs_of(name: str, edge: int) -> tuple[Any, ...]:
    """Random inputs of the network's form; batches of one."""
    import torch

    from cloud_removal_plugin import models

    record = models.record(name)
    bands, dates = len(record.bands), record.dates_counted
    torch.manual_seed(1)

    def made(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, edge, edge)

    channels = bands + (2 if record.radar == "required" else 0)
    if record.module in ("uncrtaints", "utilise"):
        return made(1, dates, channels), 1 + torch.arange(dates, dtype=torch.float32)[None]
    if record.module == "tuacr":
        return made(1, bands), made(1, bands), made(1, 2), made(1, bands)
    if record.module == "clearvision_removal":
        return (made(1, bands, dates),)
    if record.builder in ("Seq2Point", "PairwiseResNet"):
        return ([made(1, channels) for _ in range(dates)],)
    if record.builder in ("BaselineResNet", "CloudMaskUNet"):
        return (made(1, channels),)
    return (made(1, bands), made(1, 2)) if record.radar == "required" else (made(1, bands),)


def first_tensor(out: Any) -> Any:
    """The network's result where it returns several."""
    while isinstance(out, (tuple, list)):
        out = out[0]
    return out


def child(name: str, way: str, rounds: int, threads: int, target: str) -> None:
    """Runs a network one way; writes the best (wall, CPU) to stdout and the result to a file."""
    from contextlib import nullcontext

    import torch

    from benchmarks.straightforward import straightforward
    from cloud_removal_plugin import ext, models

    torch.set_num_threads(threads)
    ext.load(allow_build=True)
    torch.manual_seed(0)
    network, inputs = models.create(name), inputs_of(name, EDGES.get(name, 64))
    if way == "bf16":
        network, inputs = network.bfloat16(), _as_bfloat16(inputs)
    times = []
    with straightforward() if way == "straightforward" else nullcontext(), torch.inference_mode():
        for _ in range(rounds + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            out = first_tensor(network(*inputs))
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
    torch.save(out.float(), target)
    walls, cpus = zip(*times[1:])
    print(json.dumps([min(walls), min(cpus)]))


def _as_bfloat16(inputs: Any) -> Any:
    """Every image in bfloat16; days keep their precision."""
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(_as_bfloat16(x) for x in inputs)
    return inputs.bfloat16() if inputs.dim() > 2 else inputs


def measure(name: str, way: str, rounds: int, threads: int, target: Path) -> tuple[float, float]:
    """(wall, CPU) seconds of one call, in a fresh process."""
    from cloud_removal_plugin.engine.interpreter import clean_environment

    if way == "straightforward":
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    else:
        environment = clean_environment(python=sys.executable)
    arguments = ["--child", name, way, str(rounds), str(threads), str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.networks", *arguments],
        env=environment, cwd=Path(__file__).resolve().parents[1], stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    wall, cpu = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu


def compare(name: str, ways: Sequence[str], rounds: int, threads: int) -> tuple[str, bool]:
    """Table rows of one network, and whether its deviation is allowed."""
    import torch

    with tempfile.TemporaryDirectory(prefix="cloud_removal_bench_") as folder:
        targets = {way: Path(folder, way + ".pt") for way in ways}
        best = dict.fromkeys(ways, (float("inf"), float("inf")))
        for _ in range(rounds):
            for way in ways:
                found = measure(name, way, rounds, threads, targets[way])
                best[way] = tuple(map(min, zip(best[way], found)))
        results = {way: torch.load(target, weights_only=True).double() for way, target in targets.items()}
    truth, (wall, cpu) = results["straightforward"], best["straightforward"]
    rows, fine = [], True
    for way in ways[1:]:
        difference = results[way] - truth
        rms, most = (
            float(difference.square().mean().sqrt() / truth.square().mean().sqrt()),
            float(difference.abs().max()),
        )
        ratio, allowed = GOALS.get(name, (0.0, SATURATED.get(name, MOST_DEVIATION)))
        goal, verdict = "", ""
        if way == "ours":
            fine = rms <= allowed
            goal = f">= {ratio:.1f} at <= {allowed:.0e}" if name in GOALS else ""
            verdict = ("met" if cpu / best[way][1] >= ratio and fine else "MISSED") if goal else ""
        rows.append(
            f"| {name}{' in bf16' if way == 'bf16' else ''} | {EDGES.get(name, 64)} | {cpu:.2f} | {best[way][1]:.2f} | "
            f"{cpu / best[way][1]:.2f} | {wall / best[way][0]:.2f} | {rms:.1e} | {most:.1e} | {goal} | {verdict} |"
        )
    return "\n".join(rows), fine


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--child"]:
        name, way, rounds, threads, target = arguments[1:]
        child(name, way, int(rounds), int(threads), target)
        return 0
    from cloud_removal_plugin import models

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", choices=models.names(), default=list(QUICK))
    parser.add_argument("--all", action="store_true", help="every network")
    parser.add_argument("--rounds", type=int, default=2, help="processes a way, and calls in each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="also in bfloat16 (slow where the processor lacks it)")
    options = parser.parse_args(arguments)
    ways = (*WAYS, "bf16") if options.bf16 else WAYS
    print(f"### Networks, {options.threads} thread(s); CPU seconds of one call, the best of {options.rounds} rounds\n")
    print("| network | edge | straightforward s | ours s | CPU ratio | wall ratio | relative rms | max | goal | |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    all_fine = True
    for name in models.names() if options.all else options.networks:
        rows, fine = compare(name, ways, options.rounds, options.threads)
        print(rows, flush=True)
        all_fine &= fine
    return 0 if all_fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
