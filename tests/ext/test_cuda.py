"""The source for graphics cards: its arithmetic on the processor, nvcc compiling it, and a run where a card is."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cloud_removal_plugin.ext import build, torch_versions  # noqa: E402

# Runs the threads of the fused tail's blocks one after the other: all of a block bring features, then all compute.
TAIL_HARNESS = """
#include <vector>
#include "predicted_convolution_tile.h"
using namespace cloud_removal;
extern "C" void run(const float* padded, const float* features, const float* weight, const float* bias, float* out,
                    const int64_t* n, double slope) {
  const Tail g{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], slope};
  for (int64_t block = 0; block < g.batch * g.tiles(); ++block) {
    for (int64_t group = 0; group < g.groups(); ++group) {
      std::vector<float> shared(g.inputs * kTilePixels, -1e30f);
      for (int t = 0; t < kLanes * kWarps; ++t) {
        bring_features(features, shared.data(), g, block / g.tiles(), block % g.tiles(), t, kLanes * kWarps);
      }
      for (int t = 0; t < kLanes * kWarps; ++t) {
        predict_channels(padded, shared.data(), weight, bias, out, g, block / g.tiles(), block % g.tiles(), group,
                         t / kLanes, t % kLanes);
      }
    }
  }
}
"""

# Runs the element functions of the card's kernels one number after the other.
HARNESS = """
#include "kernel_convolution_elements.h"
using namespace cloud_removal;
extern "C" void run(int which, const double* a, const double* b, double* out, const int64_t* sizes, int64_t count) {
  const Geometry g{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]};
  for (int64_t n = 0; n < count; ++n) {
    if (which == 0) out[n] = result_at<double>(a, b, g, n);
    if (which == 1) out[n] = grad_input_at<double>(a, b, g, n);
    if (which == 2) out[n] = grad_kernels_at<double>(a, b, g, n);
  }
}
"""


@pytest.fixture(scope="module")
def elements(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compiled(HARNESS, tmp_path_factory.mktemp("elements"))


def compiled(harness: str, folder: Path) -> ctypes.CDLL:
    """A harness as a library of plain C++."""
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler")
    (folder / "harness.cpp").write_text(harness)
    library = folder / "harness.so"
    command = [compiler, "-std=c++17", "-O1", "-fPIC", "-shared", f"-I{build.SOURCES}", "-Wall", "-Werror"]
    subprocess.run([*command, str(folder / "harness.cpp"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def run_elements(library: ctypes.CDLL, which: int, a: torch.Tensor, b: torch.Tensor, shape: tuple, sizes: list):
    out = np.empty(shape)
    pointers = [ctypes.c_void_p(x) for x in (a.data_ptr(), b.data_ptr(), out.ctypes.data)]
    library.run(which, *pointers, (ctypes.c_int64 * 9)(*sizes), ctypes.c_int64(out.size))
    return torch.from_numpy(out)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels_last", [False, True])
def test_arithmetic_of_the_card_on_the_processor(elements, size: int, channels_last: bool) -> None:
    torch.manual_seed(size)
    batch, channels, height, width = 3, 2, 4, 7
    padded = torch.randn(batch, channels, height + size - 1, width + size - 1, dtype=torch.float64)
    kernels = torch.randn(batch, channels * size**2, height, width, dtype=torch.float64)
    grad = torch.randn(batch, channels, height, width, dtype=torch.float64)
    laid = kernels.contiguous(memory_format=torch.channels_last) if channels_last else kernels
    sizes = [batch, channels, height, width, size, *laid.stride()]
    for which, (a, b, expected) in enumerate(
        (
            (padded, laid, torch_versions.shifted_convolution(padded, kernels, size)),
            (grad, laid, torch_versions.shifted_grad_input(grad, kernels, size)),
            (grad, padded, torch_versions.shifted_grad_kernels(grad, padded, size)),
        )
    ):
        got = run_elements(elements, which, a, b, tuple(expected.shape), sizes)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_threads_of_the_fused_tail_on_the_processor(tmp_path: Path) -> None:
    library = compiled(TAIL_HARNESS, tmp_path)
    torch.manual_seed(3)
    for batch, channels, inputs, height, width, size, last in (
        (2, 3, 7, 9, 11, 5, False),
        (1, 26, 4, 8, 8, 3, True),
        (1, 1, 5, 1, 3, 1, False),
        (3, 2, 6, 13, 10, 7, True),
    ):
        padded = torch.randn(batch, channels, height + size - 1, width + size - 1)
        features = torch.randn(batch, inputs, height, width)
        laid = features.contiguous(memory_format=torch.channels_last) if last else features
        weight, bias = torch.randn(channels * size**2, inputs), torch.randn(channels * size**2)
        out = torch.full((batch, channels, height, width), float("nan"))
        numbers = (ctypes.c_int64 * 10)(batch, channels, inputs, height, width, size, *laid.stride())
        pointers = [ctypes.c_void_p(x.data_ptr()) for x in (padded, laid, weight, bias, out)]
        library.run(*pointers, numbers, ctypes.c_double(0.1))
        expected = torch_versions.chunked_prediction(padded, features, weight, bias, size, 0.1)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-3)


def nvcc() -> str:
    found = shutil.which("nvcc")
    if not found:
        pytest.skip("nvcc is not installed")
    return found


@pytest.mark.parametrize("source", ["kernel_convolution_launch.cu", "predicted_convolution_launch.cu"])
def test_nvcc_compiles_the_kernels(source: str, tmp_path: Path) -> None:
    command = [nvcc(), "-c", "-arch=sm_80", "-std=c++17", "--Werror", "all-warnings", "-o", str(tmp_path / "k.o")]
    subprocess.run([*command, str(build.SOURCES / source)], check=True, timeout=300)
    assert (tmp_path / "k.o").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("source", ["kernel_convolution_cuda.cpp", "predicted_convolution_cuda.cpp"])
def test_the_torch_side_of_the_card_is_valid(source: str) -> None:
    """Against torch's CUDA headers, which the processor's build of torch brings too, and CUDA's own."""
    homes = [Path(nvcc()).resolve().parents[1], Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))]
    cuda = [home / "include" for home in homes if (home / "include" / "cuda_runtime_api.h").exists()]
    headers = Path(torch.__file__).parent / "include"
    if not cuda or not (headers / "c10/cuda/CUDAGuard.h").exists():
        pytest.skip("CUDA's or torch's CUDA headers are missing")
    command = ["c++", "-std=c++20", "-fsyntax-only", "-DC10_CUDA_NO_CMAKE_CONFIGURE_FILE", f"-I{cuda[0]}",
               "-isystem", str(headers), str(build.SOURCES / source)]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_on_a_card(kernel, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    cpu = [torch.randn(*s, dtype=torch.float64) for s in ((2, 3, 20, 34), (2, 75, 16, 30), (2, 3, 16, 30))]
    padded, kernels, grad = (x.to("cuda", dtype) for x in cpu)
    strided = kernels.contiguous(memory_format=torch.channels_last)
    compiled, tolerance = torch.ops.cloud_removal, {torch.float32: 1e-5, torch.float64: 1e-12}.get(dtype, 0.1)
    exact = [x.to(dtype).double() for x in cpu]
    for ours, theirs in (
        (compiled.kernel_convolution(padded, kernels, 5), torch_versions.shifted_convolution(exact[0], exact[1], 5)),
        (compiled.kernel_convolution(padded, strided, 5), torch_versions.shifted_convolution(exact[0], exact[1], 5)),
        (
            compiled.kernel_convolution_grad_input(grad, kernels, 5),
            torch_versions.shifted_grad_input(exact[2], exact[1], 5),
        ),
        (
            compiled.kernel_convolution_grad_kernels(grad, padded, 5),
            torch_versions.shifted_grad_kernels(exact[2], exact[0], 5),
        ),
    ):
        torch.testing.assert_close(ours.double().cpu(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("inputs", [6, 96, 200])
def test_the_fused_tail_on_a_card(kernel, dtype: torch.dtype, inputs: int) -> None:
    """Against the version that keeps the filters in memory; 200 inputs do not fit what threads share."""
    torch.manual_seed(0)
    padded, features = torch.randn(2, 30, 24, 34), torch.randn(2, inputs, 20, 30)
    weight, bias = torch.randn(30 * 25, inputs) / inputs**0.5, torch.randn(30 * 25)
    given = [x.to("cuda", dtype) for x in (padded, features, weight, bias)]
    exact = torch_versions.chunked_prediction(*(x.double().cpu() for x in given), 5, 0.1)
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-10}.get(dtype, 0.15)
    for laid in (given[1], given[1].contiguous(memory_format=torch.channels_last)):
        out = torch.ops.cloud_removal.predicted_convolution(given[0], laid, *given[2:], 5, 0.1)
        torch.testing.assert_close(out.double().cpu(), exact, rtol=tolerance, atol=tolerance)
