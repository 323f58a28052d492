// The tail of a filter generator and the convolution with its filters in one go, for the processor.
//
// filters = LeakyReLU(weight @ features + bias), one per pixel and channel, never reach memory: for a tile of pixels
// whose features lie in the first cache, a few filter taps at a time are computed in registers (a small matrix
// product), rectified, multiplied by the shifted map and added to the result. What remains is bound by arithmetic.

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <vector>

#include "lanes.h"
#include "shapes.h"

namespace cloud_removal {
namespace {

constexpr int kGroup = 5;   // taps computed together
constexpr int kTile = 64;   // pixels whose features are packed together

// weight (channels * taps, inputs) as [channel][group][input][tap of the group], so that a product reads it in order.
template <typename T, typename M>
std::vector<M> packed_weight(const at::Tensor& weight, const Shape& shape) {
  const int64_t inputs = weight.size(1), taps = shape.taps();
  const T* from = weight.const_data_ptr<T>();
  std::vector<M> packed(weight.numel());
  at::parallel_for(0, shape.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      M* to = packed.data() + c * taps * inputs;
      for (int64_t first = 0; first < taps; first += kGroup) {
        const int64_t last = std::min<int64_t>(first + kGroup, taps);
        for (int64_t input = 0; input < inputs; ++input) {
          for (int64_t tap = first; tap < last; ++tap) *to++ = from[(c * taps + tap) * inputs + input];
        }
      }
    }
  });
  return packed;
}

// Adds R taps to the result of kVectors vectors of pixels.
//   features [inputs][kTile], weight [inputs][R], bias [R], map: R pointers to the shifted pixels.
template <typename M, int R>
inline void add_taps(const M* features, const M* weight, int64_t inputs, const M* bias, M slope, const M* const* map,
                     int64_t offset, M* result) {
  using L = Lanes<M>;
  typename L::Vector sums[R][kVectors];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < kVectors; ++v) sums[r][v] = typename L::Vector{} + bias[r];
  }
  for (int64_t input = 0; input < inputs; ++input) {
    typename L::Vector x[kVectors];
    for (int v = 0; v < kVectors; ++v) x[v] = L::load(features + input * kTile + offset + v * L::kCount);
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] += x[v] * weight[input * R + r];
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = offset + v * L::kCount;
    typename L::Vector total = L::load(result + at);
    for (int r = 0; r < R; ++r) {
      const typename L::Vector filter = sums[r][v] > 0 ? sums[r][v] : sums[r][v] * slope;
      total += filter * L::load(map[r] + at);
    }
    L::store(result + at, total);
  }
}

template <typename M>
using AddTaps = void (*)(const M*, const M*, int64_t, const M*, M, const M* const*, int64_t, M*);

template <typename M>
constexpr std::array<AddTaps<M>, kGroup + 1> kAddTaps = {
    nullptr, add_taps<M, 1>, add_taps<M, 2>, add_taps<M, 3>, add_taps<M, 4>, add_taps<M, 5>};

// A run of consecutive pixels of one row inside a tile.
struct Run {
  int64_t start, count, y, x;
};

template <typename T>
struct Tail {
  using M = at::opmath_type<T>;  // half and bfloat16 are computed in float

  const Shape shape;
  const at::Tensor padded, features;
  const std::vector<M> weight, bias;
  const M slope;
  at::Tensor out;

  static constexpr int kStep = kVectors * Lanes<M>::kCount;
  static_assert(kTile % kStep == 0);

  int64_t inputs() const { return features.size(1); }

  std::vector<Run> runs(int64_t first, int64_t count) const {
    std::vector<Run> found;
    for (int64_t done = 0; done < count;) {
      const int64_t y = (first + done) / shape.width, x = (first + done) % shape.width;
      const int64_t length = std::min(count - done, shape.width - x);
      found.push_back({done, length, y, x});
      done += length;
    }
    return found;
  }

  // features of a tile as [input][kTile]; what lies beyond the last pixel is zero
  void pack(int64_t b, const std::vector<Run>& pieces, M* to) const {
    const T* from = features.const_data_ptr<T>() + b * features.stride(0);
    const int64_t step = features.stride(3);
    std::fill(to, to + inputs() * kTile, M(0));
    for (int64_t input = 0; input < inputs(); ++input) {
      for (const Run& run : pieces) {
        const T* row = from + input * features.stride(1) + run.y * features.stride(2) + run.x * step;
        M* place = to + input * kTile + run.start;
        for (int64_t n = 0; n < run.count; ++n) place[n] = row[n * step];
      }
    }
  }

  // the map shifted by every tap, as [tap][kTile]
  void shift(int64_t plane, const std::vector<Run>& pieces, M* to) const {
    const T* from = padded.const_data_ptr<T>() + plane * shape.padded_height() * shape.padded_width();
    for (int64_t tap = 0; tap < shape.taps(); ++tap) {
      const int64_t i = tap / shape.size, j = tap % shape.size;
      for (const Run& run : pieces) {
        const T* row = from + (run.y + i) * shape.padded_width() + run.x + j;
        std::copy(row, row + run.count, to + tap * kTile + run.start);
      }
    }
  }

  void convolve(int64_t plane, const std::vector<Run>& pieces, const M* packed, M* shifted, M* sums) const {
    const int64_t c = plane % shape.channels, taps = shape.taps();
    shift(plane, pieces, shifted);
    std::fill(sums, sums + kTile, M(0));
    for (int64_t first = 0; first < taps; first += kGroup) {
      const int64_t count = std::min<int64_t>(kGroup, taps - first);
      const M* map[kGroup];
      for (int64_t r = 0; r < count; ++r) map[r] = shifted + (first + r) * kTile;
      const M* rows = weight.data() + (c * taps + first) * inputs();
      for (int offset = 0; offset < kTile; offset += kStep) {
        kAddTaps<M>[count](packed, rows, inputs(), bias.data() + c * taps + first, slope, map, offset, sums);
      }
    }
    T* result = out.data_ptr<T>() + plane * shape.pixels();
    for (const Run& run : pieces) {
      std::copy(sums + run.start, sums + run.start + run.count, result + run.y * shape.width + run.x);
    }
  }

  void run() const {
    const int64_t tiles = (shape.pixels() + kTile - 1) / kTile;
    at::parallel_for(0, shape.batch * tiles, 1, [&](int64_t begin, int64_t end) {
      std::vector<M> packed(inputs() * kTile), shifted(shape.taps() * kTile), sums(kTile);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t b = task / tiles, first = task % tiles * kTile;
        const std::vector<Run> pieces = runs(first, std::min<int64_t>(kTile, shape.pixels() - first));
        pack(b, pieces, packed.data());
        for (int64_t c = 0; c < shape.channels; ++c) {
          convolve(b * shape.channels + c, pieces, packed.data(), shifted.data(), sums.data());
        }
      }
    });
  }
};

template <typename T>
std::vector<at::opmath_type<T>> as_vector(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.const_data_ptr<T>() + x.numel()};
}

at::Tensor predicted(const at::Tensor& padded, const at::Tensor& features, const at::Tensor& weight,
                     const at::Tensor& bias, int64_t size, double slope) {
  const Shape shape = shape_of_padded(padded, size);
  const int64_t filters = shape.channels * shape.taps();
  TORCH_CHECK(features.dim() == 4 && features.size(0) == shape.batch && features.size(2) == shape.height &&
                  features.size(3) == shape.width,
              "Features of shape ", features.sizes(), " do not fit the map.");
  TORCH_CHECK(weight.dim() == 2 && weight.size(0) == filters && weight.size(1) == features.size(1),
              "A weight of shape ", weight.sizes(), " does not fit; expected (", filters, ", ", features.size(1), ").");
  TORCH_CHECK(bias.dim() == 1 && bias.size(0) == filters, "The bias must have ", filters, " numbers.");
  for (const at::Tensor& other : {features, weight, bias}) check_same_kind(padded, other);
  at::Tensor out = at::empty({shape.batch, shape.channels, shape.height, shape.width}, padded.options());
  const at::Tensor map = padded.contiguous(), matrix = weight.contiguous(), offsets = bias.contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, padded.scalar_type(), "predicted_convolution", [&] {
    using M = at::opmath_type<scalar_t>;
    Tail<scalar_t>{shape, map, features, packed_weight<scalar_t, M>(matrix, shape), as_vector<scalar_t>(offsets),
                   static_cast<M>(slope), out}
        .run();
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(cloud_removal, CPU, m) { m.impl("predicted_convolution", &predicted); }

}  // namespace cloud_removal
