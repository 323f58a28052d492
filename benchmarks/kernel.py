"""The per-pixel convolution: compiled, in torch, and by unfold (im2col), side by side in one run.

python -m benchmarks.kernel [--edge 128] [--rounds 7] [--threads 2]

Status 1 where the compiled kernel deviates, or is slower than unfold; status 2 where there is none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.jobs import rounds
from benchmarks.straightforward import summed_windows
from cloud_removal_plugin import ext
from cloud_removal_plugin.ext import operators, torch_versions

CHANNELS, FEATURES, SIZE, SLOPE = 96, 96, 5, 0.1
"""As in GLF-CR."""

MOST_DEVIATION = 1e-5
"""Of the largest value, in float32."""

HEAD = "| {name} | CPU ms | wall ms | x unfold | extra MB | deviation |\n| --- | --- | --- | --- | --- | --- |"
Action = Callable[[], Tensor]


def unfolded(padded: Tensor, kernels: Tensor) -> Tensor:
    """By im2col, as the definition says."""
    batch, channels, height, width = padded.shape[0], padded.shape[1], *kernels.shape[2:]
    columns = F.unfold(padded, SIZE).view(batch, channels, SIZE**2, height, width)
    return (columns * kernels.view(batch, channels, SIZE**2, height, width)).sum(2)


def memory_of(action: Action) -> float:
    """Megabytes that a call takes at its peak beyond what was there; NaN where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
        action()
        return (_status("VmHWM") - before) / 1024
    except OSError:
        return float("nan")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def compare(name: str, actions: dict[str, Action], truth: Tensor, count: int) -> list[str]:
    """Prints a table; the last action is what the first is held against. Returns what is wrong."""
    for action in actions.values():
        action()
    found = rounds(actions, count)
    slowest = list(actions)[-1]
    wrong = []
    print(HEAD.format(name=name))
    for label, action in actions.items():
        wall, cpu = found[label]
        deviation = float((action().double() - truth).abs().max() / truth.abs().max())
        ratio, extra = found[slowest][1] / cpu, memory_of(action)
        print(f"| {label} | {cpu * 1e3:.1f} | {wall * 1e3:.1f} | {ratio:.1f} | {extra:.0f} | {deviation:.1e} |")
        if label.startswith("compiled"):
            wrong += [f"{name}, {label}: deviates by {deviation:.1e}"] if deviation > MOST_DEVIATION else []
            wrong += [f"{name}, {label}: slower than unfold"] if ratio < 1 else []
    print(flush=True)
    return wrong


def run(edge: int, count: int) -> list[str]:
    """All three tables; returns what is wrong."""
    torch.manual_seed(0)
    padded = torch.randn(1, CHANNELS, edge + SIZE - 1, edge + SIZE - 1)
    features, bias = torch.randn(1, FEATURES, edge, edge), torch.randn(CHANNELS * SIZE**2)
    weight = torch.randn(CHANNELS * SIZE**2, FEATURES) / FEATURES**0.5

    def filters() -> Tensor:
        return F.leaky_relu_(F.conv2d(features, weight[:, :, None, None], bias), SLOPE)

    kernels = filters()
    truth = torch_versions.shifted_convolution(padded.double(), kernels.double(), SIZE)
    wrong = compare(
        "convolution",
        {
            "compiled": lambda: operators.kernel_convolution(padded, kernels, SIZE),
            "torch, shift by shift": lambda: torch_versions.shifted_convolution(padded, kernels, SIZE),
            "torch, windows summed (published)": lambda: summed_windows(padded, kernels, SIZE),
            "torch, unfold": lambda: unfolded(padded, kernels),
        },
        truth,
        count,
    )
    tail = (padded, features, weight, bias, SIZE, SLOPE)
    wrong += compare(
        "1x1 convolution, LeakyReLU, convolution",
        {
            "compiled, fused": lambda: operators.predicted_convolution(*tail),
            "compiled, not fused": lambda: operators.kernel_convolution(padded, filters(), SIZE),
            "torch, chunks of channels": lambda: torch_versions.chunked_prediction(*tail),
            "torch, shift by shift": lambda: torch_versions.shifted_convolution(padded, filters(), SIZE),
            "torch, windows summed (published)": lambda: summed_windows(padded, filters(), SIZE),
            "torch, unfold": lambda: unfolded(padded, filters()),
        },
        truth,
        count,
    )
    return wrong + gradients(padded, kernels, count)


def gradients(padded: Tensor, kernels: Tensor, count: int) -> list[str]:
    """Forward and backward; the number compared is the filters' gradient."""
    padded, kernels = padded.requires_grad_(), kernels.requires_grad_()

    def both(version: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            return torch.autograd.grad(version(padded, kernels).square().sum(), (padded, kernels))[1]

    with torch.enable_grad():
        exact = [x.detach().double().requires_grad_() for x in (padded, kernels)]
        (truth,) = torch.autograd.grad(unfolded(*exact).square().sum(), exact[1])
    actions = {
        "compiled": lambda: both(lambda x, k: operators.kernel_convolution(x, k, SIZE)),
        "torch, unfold": lambda: both(unfolded),
    }
    return compare("forward and backward", actions, truth, max(1, count // 2))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=64, help="rows and columns of the maps")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    found = ext.load(allow_build=True)
    print(f"{found.sentence} {CHANNELS} x {options.edge} x {options.edge}, filters of {SIZE} x {SIZE}, float32.\n")
    if not found.compiled:
        return 2
    with torch.no_grad():
        wrong = run(options.edge, options.rounds)
    for sentence in wrong:
        print(f"WRONG: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
