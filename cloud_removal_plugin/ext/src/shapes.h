// The shapes of a per-pixel kernel convolution, checked once for every operator. Needs ATen.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace cloud_removal {

// padded (B, C, H + size - 1, W + size - 1), kernels (B, C * size * size, H, W), result (B, C, H, W);
// result[b,c,y,x] = sum over i, j of padded[b,c,y+i,x+j] * kernels[b, (c * size + i) * size + j, y, x].
struct Shape {
  int64_t batch, channels, height, width, size;

  int64_t taps() const { return size * size; }
  int64_t planes() const { return batch * channels; }
  int64_t pixels() const { return height * width; }
  int64_t padded_height() const { return height + size - 1; }
  int64_t padded_width() const { return width + size - 1; }
};

inline void check_size(int64_t size) {
  TORCH_CHECK(size >= 1 && size % 2 == 1, "The filter size is ", size, "; it must be odd.");
}

inline Shape shape_of_padded(const at::Tensor& padded, int64_t size) {
  check_size(size);
  TORCH_CHECK(padded.dim() == 4, "The padded map must have four dimensions, not ", padded.dim(), ".");
  const Shape shape{padded.size(0), padded.size(1), padded.size(2) - size + 1, padded.size(3) - size + 1, size};
  TORCH_CHECK(shape.height >= 1 && shape.width >= 1, "The padded map is smaller than the filters.");
  return shape;
}

inline Shape shape_of_result(const at::Tensor& result, int64_t size) {
  check_size(size);
  TORCH_CHECK(result.dim() == 4, "The gradient must have four dimensions, not ", result.dim(), ".");
  return {result.size(0), result.size(1), result.size(2), result.size(3), size};
}

inline void check_kernels(const at::Tensor& kernels, const Shape& shape) {
  TORCH_CHECK(
      kernels.sizes() == at::IntArrayRef({shape.batch, shape.channels * shape.taps(), shape.height, shape.width}),
      "Filters of shape ", kernels.sizes(), " do not fit the map.");
}

inline void check_same_kind(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.scalar_type() == b.scalar_type() && a.device() == b.device(),
              "Map and filters must have one type and lie on one device.");
}

// Rows may lie anywhere, but the pixels of a row must follow each other; filters that do not are copied.
inline at::Tensor with_whole_rows(const at::Tensor& x) {
  return x.stride(3) == 1 || x.size(3) == 1 ? x : x.contiguous();
}

}  // namespace cloud_removal
