// Per-pixel kernel convolution on the processor: forward and both gradients.
//
// The operator is bound by reading the filters (size * size numbers for every pixel and channel), so the loops
// walk them in long pieces of consecutive pixels, tap by tap, while the sums of a block of rows stay in the cache.
// The schemas are defined in operators.py, with a torch version for every device; this file only takes the processor.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "shapes.h"

namespace cloud_removal {
namespace {

constexpr int64_t kBlock = 4096;  // sums kept in the first cache

int64_t rows_per_block(const Shape& shape) {
  return std::clamp<int64_t>(kBlock / std::max<int64_t>(shape.width, 1), 1, shape.height);
}

int64_t blocks_of(int64_t rows, int64_t per_block) { return (rows + per_block - 1) / per_block; }

// Where the filters of (b, c), of a tap and of a row begin.
template <typename T>
struct Filters {
  T* data;
  int64_t batch, channel, row, taps;

  Filters(T* start, const at::Tensor& x, const Shape& shape)
      : data(start), batch(x.stride(0)), channel(x.stride(1)), row(x.stride(2)), taps(shape.taps()) {}

  T* at(int64_t b, int64_t c, int64_t tap, int64_t y) const {
    return data + b * batch + (c * taps + tap) * channel + y * row;
  }
};

// sums[n] += map[n] * filter[n]
template <typename T, typename Sum>
inline void accumulate(Sum* __restrict sums, const T* __restrict map, const T* __restrict filter, int64_t count) {
  for (int64_t x = 0; x < count; ++x) {
    sums[x] += static_cast<Sum>(map[x]) * static_cast<Sum>(filter[x]);
  }
}

template <typename T>
void forward(const at::Tensor& padded, const at::Tensor& kernels, at::Tensor& out, const Shape& shape) {
  using Sum = at::opmath_type<T>;
  const Filters<const T> filters(kernels.const_data_ptr<T>(), kernels, shape);
  const T* map = padded.const_data_ptr<T>();
  T* result = out.data_ptr<T>();
  const int64_t rows = rows_per_block(shape), blocks = blocks_of(shape.height, rows), wide = shape.padded_width();
  at::parallel_for(0, shape.planes() * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<Sum> sums(rows * shape.width);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t plane = task / blocks, top = task % blocks * rows;
      const int64_t b = plane / shape.channels, c = plane % shape.channels;
      const int64_t bottom = std::min(top + rows, shape.height);
      std::fill(sums.begin(), sums.end(), Sum(0));
      for (int64_t tap = 0; tap < shape.taps(); ++tap) {
        const int64_t i = tap / shape.size, j = tap % shape.size;
        for (int64_t y = top; y < bottom; ++y) {
          const T* row = map + (plane * shape.padded_height() + y + i) * wide + j;
          accumulate(sums.data() + (y - top) * shape.width, row, filters.at(b, c, tap, y), shape.width);
        }
      }
      T* place = result + (plane * shape.height + top) * shape.width;
      std::transform(sums.begin(), sums.begin() + (bottom - top) * shape.width, place,
                     [](Sum value) { return static_cast<T>(value); });
    }
  });
}

// Each padded row gathers what the output rows above it spread, so that no two threads write the same row.
template <typename T>
void gradient_of_input(const at::Tensor& grad, const at::Tensor& kernels, at::Tensor& out, const Shape& shape) {
  using Sum = at::opmath_type<T>;
  const Filters<const T> filters(kernels.const_data_ptr<T>(), kernels, shape);
  const T* given = grad.const_data_ptr<T>();
  T* result = out.data_ptr<T>();
  const int64_t wide = shape.padded_width(), tall = shape.padded_height();
  const int64_t grain = std::max<int64_t>(1, kBlock / (wide * shape.taps()));
  at::parallel_for(0, shape.planes() * tall, grain, [&](int64_t begin, int64_t end) {
    std::vector<Sum> sums(wide);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t plane = task / tall, padded_row = task % tall;
      const int64_t b = plane / shape.channels, c = plane % shape.channels;
      std::fill(sums.begin(), sums.end(), Sum(0));
      for (int64_t i = 0; i < shape.size; ++i) {
        const int64_t y = padded_row - i;
        if (y < 0 || y >= shape.height) continue;
        const T* row = given + (plane * shape.height + y) * shape.width;
        for (int64_t j = 0; j < shape.size; ++j) {
          accumulate(sums.data() + j, row, filters.at(b, c, i * shape.size + j, y), shape.width);
        }
      }
      std::transform(sums.begin(), sums.end(), result + task * wide, [](Sum value) { return static_cast<T>(value); });
    }
  });
}

template <typename T>
void gradient_of_kernels(const at::Tensor& grad, const at::Tensor& padded, at::Tensor& out, const Shape& shape) {
  const T* given = grad.const_data_ptr<T>();
  const T* map = padded.const_data_ptr<T>();
  T* result = out.data_ptr<T>();
  const int64_t wide = shape.padded_width(), taps = shape.taps();
  at::parallel_for(0, shape.planes() * taps, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t plane = task / taps, tap = task % taps;
      const int64_t i = tap / shape.size, j = tap % shape.size;
      for (int64_t y = 0; y < shape.height; ++y) {
        const T* __restrict row = map + (plane * shape.padded_height() + y + i) * wide + j;
        const T* __restrict slope = given + (plane * shape.height + y) * shape.width;
        T* __restrict place = result + (task * shape.height + y) * shape.width;
        for (int64_t x = 0; x < shape.width; ++x) place[x] = row[x] * slope[x];
      }
    }
  });
}

#define CLOUD_REMOVAL_TYPES(kind, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, kind, name, __VA_ARGS__)

at::Tensor convolve(const at::Tensor& padded_in, const at::Tensor& kernels_in, int64_t size) {
  const Shape shape = shape_of_padded(padded_in, size);
  check_kernels(kernels_in, shape);
  check_same_kind(padded_in, kernels_in);
  const at::Tensor padded = padded_in.contiguous(), kernels = with_whole_rows(kernels_in);
  at::Tensor out = at::empty({shape.batch, shape.channels, shape.height, shape.width}, padded.options());
  CLOUD_REMOVAL_TYPES(padded.scalar_type(), "kernel_convolution",
                      [&] { forward<scalar_t>(padded, kernels, out, shape); });
  return out;
}

at::Tensor convolve_grad_input(const at::Tensor& grad_in, const at::Tensor& kernels_in, int64_t size) {
  const Shape shape = shape_of_result(grad_in, size);
  check_kernels(kernels_in, shape);
  check_same_kind(grad_in, kernels_in);
  const at::Tensor grad = grad_in.contiguous(), kernels = with_whole_rows(kernels_in);
  at::Tensor out =
      at::empty({shape.batch, shape.channels, shape.padded_height(), shape.padded_width()}, grad.options());
  CLOUD_REMOVAL_TYPES(grad.scalar_type(), "kernel_convolution_grad_input",
                      [&] { gradient_of_input<scalar_t>(grad, kernels, out, shape); });
  return out;
}

at::Tensor convolve_grad_kernels(const at::Tensor& grad_in, const at::Tensor& padded_in, int64_t size) {
  const Shape shape = shape_of_padded(padded_in, size);
  TORCH_CHECK(grad_in.sizes() == at::IntArrayRef({shape.batch, shape.channels, shape.height, shape.width}),
              "A gradient of shape ", grad_in.sizes(), " does not fit the map.");
  check_same_kind(grad_in, padded_in);
  const at::Tensor grad = grad_in.contiguous(), padded = padded_in.contiguous();
  at::Tensor out = at::empty({shape.batch, shape.channels * shape.taps(), shape.height, shape.width}, grad.options());
  CLOUD_REMOVAL_TYPES(grad.scalar_type(), "kernel_convolution_grad_kernels",
                      [&] { gradient_of_kernels<scalar_t>(grad, padded, out, shape); });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(cloud_removal, CPU, m) {
  m.impl("kernel_convolution", &convolve);
  m.impl("kernel_convolution_grad_input", &convolve_grad_input);
  m.impl("kernel_convolution_grad_kernels", &convolve_grad_kernels);
}

}  // namespace cloud_removal
