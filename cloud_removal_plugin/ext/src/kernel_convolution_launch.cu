// Per-pixel kernel convolution on a graphics card: one thread for each number that is written. Neighbouring threads
// read neighbouring pixels of every tap's plane, and every filter is read once, which is what the time goes into.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernel_convolution_launch.h"

namespace cloud_removal {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 20;

struct Result {
  template <typename Sum, typename T>
  static __device__ Sum at(const T* a, const T* b, const Geometry& g, int64_t n) {
    return result_at<Sum>(a, b, g, n);
  }
};

struct GradInput {
  template <typename Sum, typename T>
  static __device__ Sum at(const T* a, const T* b, const Geometry& g, int64_t n) {
    return grad_input_at<Sum>(a, b, g, n);
  }
};

struct GradKernels {
  template <typename Sum, typename T>
  static __device__ Sum at(const T* a, const T* b, const Geometry& g, int64_t n) {
    return grad_kernels_at<Sum>(a, b, g, n);
  }
};

template <typename Which, typename Sum, typename T>
__global__ void __launch_bounds__(kThreads) fill(const T* a, const T* b, T* out, Geometry g, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; n < count; n += step) {
    out[n] = static_cast<T>(Which::template at<Sum>(a, b, g, n));
  }
}

template <typename Which, typename Sum, typename T>
int launch(const void* a, const void* b, void* out, const Geometry& g, int64_t count, cudaStream_t stream) {
  if (count == 0) return 0;
  int64_t blocks = (count + kThreads - 1) / kThreads;
  if (blocks > kMostBlocks) blocks = kMostBlocks;
  fill<Which, Sum, T><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(out), g, count);
  return static_cast<int>(cudaGetLastError());
}

// Half and bfloat16 are summed up in float.
template <typename Which>
int launch_as(Number type, const void* a, const void* b, void* out, const Geometry& g, int64_t count,
              cudaStream_t stream) {
  switch (type) {
    case Number::kFloat:
      return launch<Which, float, float>(a, b, out, g, count, stream);
    case Number::kDouble:
      return launch<Which, double, double>(a, b, out, g, count, stream);
    case Number::kHalf:
      return launch<Which, float, __half>(a, b, out, g, count, stream);
    case Number::kBFloat16:
      return launch<Which, float, __nv_bfloat16>(a, b, out, g, count, stream);
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace

int launch_result(Number type, const void* padded, const void* filters, void* out, const Geometry& g,
                  CUstream_st* on) {
  return launch_as<Result>(type, padded, filters, out, g, g.results(), on);
}

int launch_grad_input(Number type, const void* grad, const void* filters, void* out, const Geometry& g,
                      CUstream_st* on) {
  return launch_as<GradInput>(type, grad, filters, out, g, g.inputs(), on);
}

int launch_grad_kernels(Number type, const void* grad, const void* padded, void* out, const Geometry& g,
                        CUstream_st* on) {
  return launch_as<GradKernels>(type, grad, padded, out, g, g.results() * g.taps(), on);
}

}  // namespace cloud_removal
