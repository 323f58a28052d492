"""Run by the child of :mod:`.build`: compiles the library with ninja, loads it and compares it with the torch version.

A library that crashes, or computes something else, ends this process and not the one that waits for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils import cpp_extension

from . import build, operators, torch_versions

PROCESSOR = ("kernel_convolution.cpp", "predicted_convolution.cpp", "winograd.cpp", "gated_attention.cpp")
CARD = (
    "kernel_convolution_cuda.cpp",
    "kernel_convolution_launch.cu",
    "predicted_convolution_cuda.cpp",
    "predicted_convolution_launch.cu",
)
TOLERANCE = 1e-4


def compile_library(folder: Path, sources: Sequence[str]) -> Path:
    """Compiles and loads; returns the library.

    Raises:
        RuntimeError: the compiler or ninja fails.
    """
    cpp_extension.load(
        Path(build.LIBRARY).stem,
        [str(build.SOURCES / name) for name in sources],
        extra_cflags=list(build.FLAGS),
        extra_cuda_cflags=["-O3"],
        extra_ldflags=["-fopenmp"],
        build_directory=str(folder),
        is_python_module=False,
        verbose=True,
    )
    return folder / build.LIBRARY


def with_card() -> bool:
    """Whether torch and this machine can compile for a graphics card."""
    return bool(torch.version.cuda and cpp_extension.CUDA_HOME and (torch.cuda.is_available() or _named_card()))


def _named_card() -> bool:
    """A machine without a card compiles for the ones that are named, for use elsewhere."""
    return bool(os.environ.get("TORCH_CUDA_ARCH_LIST"))


def check(device: str) -> float:
    """Largest deviation of the compiled operators from the torch versions on small inputs, of values of size 1."""
    generator = torch.Generator().manual_seed(1)

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    padded, kernels, grad = made(2, 3, 13, 24), made(2, 75, 9, 20), made(2, 3, 9, 20)
    features, weight, bias = made(2, 7, 9, 20), made(75, 7) / 3, made(75)
    compiled = getattr(torch.ops, operators.NAMESPACE)
    pairs = [
        (compiled.kernel_convolution(padded, kernels, 5), torch_versions.shifted_convolution(padded, kernels, 5)),
        (compiled.kernel_convolution_grad_input(grad, kernels, 5), torch_versions.shifted_grad_input(grad, kernels, 5)),
        (
            compiled.kernel_convolution_grad_kernels(grad, padded, 5),
            torch_versions.shifted_grad_kernels(grad, padded, 5),
        ),
        (
            compiled.predicted_convolution(padded, features, weight, bias, 5, 0.1),
            torch_versions.chunked_prediction(padded, features, weight, bias, 5, 0.1),
        ),
    ]
    filters = made(5, 7, 3, 3) / 8
    direct = torch.nn.functional.conv2d(features, filters, bias[:5], padding=1)
    pairs.append((compiled.winograd_convolution(features, filters, bias[:5]), direct))
    attention = made(4, 9, 36), made(4, 9, 36), made(2, 9, 9), made(2, 9, 9), made(2, 2), made(2), 2
    pairs += zip(compiled.gated_attention(*attention), torch_versions.gated_attention_by_torch(*attention), strict=True)
    return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


def main(arguments: Sequence[str]) -> int:
    """Compiles into the folder that is the argument; status 1 where the numbers are wrong."""
    folder = Path(arguments[0])
    try:
        compile_library(folder, PROCESSOR + CARD if with_card() else PROCESSOR)
    except RuntimeError:
        if not with_card():
            raise
        # nvcc and torch's CUDA may not fit each other; the processor's part is worth having without the card's.
        compile_library(folder, PROCESSOR)
    devices = ["cpu", "cuda"] if with_card() and torch.cuda.is_available() else ["cpu"]
    for device in devices:
        deviation = check(device)
        if not deviation < TOLERANCE:
            sys.stdout.write(f"error: the compiled kernel deviates by {deviation:.1e} on {device}\n")
            return 1
    return 0
