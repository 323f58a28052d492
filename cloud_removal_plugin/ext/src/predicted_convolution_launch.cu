// The fused tail on a graphics card: a block of threads for each tile of pixels and group of channels.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "predicted_convolution_launch.h"

namespace cloud_removal {
namespace {

template <typename Sum, typename T>
__global__ void __launch_bounds__(kLanes* kWarps)
    predict(const T* padded, const T* features, const Sum* weight, const Sum* bias, T* out, Tail g) {
  extern __shared__ unsigned char memory[];
  Sum* shared = reinterpret_cast<Sum*>(memory);
  const int64_t image = blockIdx.x / g.tiles(), tile = blockIdx.x % g.tiles();
  const int lane = static_cast<int>(threadIdx.x), warp = static_cast<int>(threadIdx.y);
  bring_features(features, shared, g, image, tile, warp * kLanes + lane, kLanes * kWarps);
  __syncthreads();
  predict_channels(padded, shared, weight, bias, out, g, image, tile, static_cast<int64_t>(blockIdx.y), warp, lane);
}

template <typename Sum, typename T>
int launch(const void* padded, const void* features, const void* weight, const void* bias, void* out, const Tail& g,
           cudaStream_t stream) {
  const int64_t blocks = g.batch * g.tiles();
  if (blocks == 0 || g.channels == 0) return 0;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(g.groups())), block(kLanes, kWarps);
  const size_t bytes = static_cast<size_t>(g.inputs) * kTilePixels * sizeof(Sum);
  predict<Sum, T><<<grid, block, bytes, stream>>>(static_cast<const T*>(padded), static_cast<const T*>(features),
                                                  static_cast<const Sum*>(weight), static_cast<const Sum*>(bias),
                                                  static_cast<T*>(out), g);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace

int launch_tail(Number type, const void* padded, const void* features, const void* weight, const void* bias, void* out,
                const Tail& g, CUstream_st* on) {
  switch (type) {
    case Number::kFloat:
      return launch<float, float>(padded, features, weight, bias, out, g, on);
    case Number::kDouble:
      return launch<double, double>(padded, features, weight, bias, out, g, on);
    case Number::kHalf:
      return launch<float, __half>(padded, features, weight, bias, out, g, on);
    case Number::kBFloat16:
      return launch<float, __nv_bfloat16>(padded, features, weight, bias, out, g, on);
  }
  return static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace cloud_removal
