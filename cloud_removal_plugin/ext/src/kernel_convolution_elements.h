// One number of the result, or of a gradient, of a per-pixel kernel convolution. Without torch: nvcc compiles it for
// the graphics card, and a plain compiler for the processor, where tests check the index arithmetic without a card.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define CLOUD_REMOVAL_ANYWHERE __host__ __device__ inline
#else
#define CLOUD_REMOVAL_ANYWHERE inline
#endif

namespace cloud_removal {

// padded (batch, channels, height + size - 1, width + size - 1), gradient and result (batch, channels, height, width),
// both contiguous; the filters (batch, channels * size * size, height, width) may have any strides.
struct Geometry {
  int64_t batch, channels, height, width, size;
  int64_t filter_batch, filter_channel, filter_row, filter_pixel;

  CLOUD_REMOVAL_ANYWHERE int64_t taps() const { return size * size; }
  CLOUD_REMOVAL_ANYWHERE int64_t wide() const { return width + size - 1; }
  CLOUD_REMOVAL_ANYWHERE int64_t tall() const { return height + size - 1; }
  CLOUD_REMOVAL_ANYWHERE int64_t results() const { return batch * channels * height * width; }
  CLOUD_REMOVAL_ANYWHERE int64_t inputs() const { return batch * channels * tall() * wide(); }

  CLOUD_REMOVAL_ANYWHERE int64_t filter(int64_t plane, int64_t tap, int64_t y, int64_t x) const {
    const int64_t b = plane / channels, c = plane % channels;
    return b * filter_batch + (c * taps() + tap) * filter_channel + y * filter_row + x * filter_pixel;
  }
};

// Number n of the result.
template <typename Sum, typename T>
CLOUD_REMOVAL_ANYWHERE Sum result_at(const T* padded, const T* filters, const Geometry& g, int64_t n) {
  const int64_t x = n % g.width, y = n / g.width % g.height, plane = n / (g.width * g.height);
  const T* map = padded + (plane * g.tall() + y) * g.wide() + x;
  Sum sum = 0;
  for (int64_t i = 0; i < g.size; ++i) {
    for (int64_t j = 0; j < g.size; ++j) {
      const T filter = filters[g.filter(plane, i * g.size + j, y, x)];
      sum += static_cast<Sum>(map[i * g.wide() + j]) * static_cast<Sum>(filter);
    }
  }
  return sum;
}

// Number n of the gradient of the padded map: gathered, so that no two threads write the same place.
template <typename Sum, typename T>
CLOUD_REMOVAL_ANYWHERE Sum grad_input_at(const T* grad, const T* filters, const Geometry& g, int64_t n) {
  const int64_t col = n % g.wide(), row = n / g.wide() % g.tall(), plane = n / (g.wide() * g.tall());
  Sum sum = 0;
  for (int64_t i = 0; i < g.size; ++i) {
    const int64_t y = row - i;
    if (y < 0 || y >= g.height) continue;
    for (int64_t j = 0; j < g.size; ++j) {
      const int64_t x = col - j;
      if (x < 0 || x >= g.width) continue;
      const T filter = filters[g.filter(plane, i * g.size + j, y, x)];
      sum += static_cast<Sum>(grad[(plane * g.height + y) * g.width + x]) * static_cast<Sum>(filter);
    }
  }
  return sum;
}

// Number n of the gradient of the filters, which is contiguous.
template <typename Sum, typename T>
CLOUD_REMOVAL_ANYWHERE Sum grad_kernels_at(const T* grad, const T* padded, const Geometry& g, int64_t n) {
  const int64_t pixels = g.height * g.width;
  const int64_t x = n % g.width, y = n / g.width % g.height, tap = n / pixels % g.taps();
  const int64_t plane = n / (pixels * g.taps());
  const T map = padded[(plane * g.tall() + y + tap / g.size) * g.wide() + x + tap % g.size];
  return static_cast<Sum>(map) * static_cast<Sum>(grad[plane * pixels + y * g.width + x]);
}

}  // namespace cloud_removal
