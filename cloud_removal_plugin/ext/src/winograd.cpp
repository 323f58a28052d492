// 3x3 convolution (stride 1, zeros around the map) with a quarter of the multiplications, for the processor.
//
// Winograd's minimal filtering F(4x4, 3x3) as in Lavin & Gray (2016), Fast Algorithms for Convolutional Neural
// Networks, arXiv 1509.09308: tiles of 6 x 6 pixels and the filters are transformed, multiplied place by place as 36
// matrix products over channels, and transformed back to 4 x 4 results. Here a thread takes a block of tiles through
// all three steps, so that the transformed tiles stay in the cache.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <vector>

#include "lanes.h"

namespace cloud_removal {
namespace {

constexpr int kEdge = 6;     // of a transformed tile
constexpr int kPlaces = 36;  // in it
constexpr int kOut = 4;      // edge of its result
constexpr int kBlock = 64;   // tiles taken through together
constexpr int kGroup = 6;    // results computed together
constexpr int kPart = 48;    // inputs added up in one go: sums of partial sums round off half as much

using L = Lanes<float>;
constexpr int kStep = kVectors * L::kCount;
static_assert(kBlock % kStep == 0);

// One dimension of the three transforms (B, G and A in the paper).
template <typename V>
inline void transform_tile(const V& d0, const V& d1, const V& d2, const V& d3, const V& d4, const V& d5, V* to) {
  to[0] = 4.0f * d0 - 5.0f * d2 + d4;
  to[1] = (d4 - 4.0f * d2) + (d3 - 4.0f * d1);
  to[2] = (d4 - 4.0f * d2) - (d3 - 4.0f * d1);
  to[3] = (d4 - d2) + 2.0f * (d3 - d1);
  to[4] = (d4 - d2) - 2.0f * (d3 - d1);
  to[5] = 4.0f * d1 - 5.0f * d3 + d5;
}

inline void transform_filter(float w0, float w1, float w2, float* to, int step) {
  const float even = w0 + w2, quarter = w0 / 4.0f + w2;
  to[0] = w0 / 4.0f;
  to[step] = -(even + w1) / 6.0f;
  to[2 * step] = -(even - w1) / 6.0f;
  to[3 * step] = (quarter + w1 / 2.0f) / 6.0f;
  to[4 * step] = (quarter - w1 / 2.0f) / 6.0f;
  to[5 * step] = w2;
}

inline void transform_result(const float* m, int64_t step, float* to) {
  const float m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step];
  to[0] = m[0] + (m1 + m2) + (m3 + m4);
  to[1] = (m1 - m2) + 2.0f * (m3 - m4);
  to[2] = (m1 + m2) + 4.0f * (m3 + m4);
  to[3] = (m1 - m2) + 8.0f * (m3 - m4) + m[5 * step];
}

// Adds up R results of kVectors vectors of tiles: weight [inputs][R], tiles [inputs][kBlock], sums [R][kBlock].
template <int R>
inline void multiply(const float* tiles, const float* weight, int64_t inputs, float* sums, int64_t offset) {
  for (int64_t first = 0; first < inputs; first += kPart) {
    L::Vector total[R][kVectors] = {};
    for (int64_t input = first; input < std::min(first + kPart, inputs); ++input) {
      L::Vector x[kVectors];
      for (int v = 0; v < kVectors; ++v) x[v] = L::load(tiles + input * kBlock + offset + v * L::kCount);
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < kVectors; ++v) total[r][v] += x[v] * weight[input * R + r];
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        float* to = sums + r * kBlock + offset + v * L::kCount;
        L::store(to, first == 0 ? total[r][v] : total[r][v] + L::load(to));
      }
    }
  }
}

using Multiply = void (*)(const float*, const float*, int64_t, float*, int64_t);
constexpr std::array<Multiply, kGroup + 1> kMultiply = {nullptr,     multiply<1>, multiply<2>, multiply<3>,
                                                        multiply<4>, multiply<5>, multiply<6>};

// A run of tiles of one row of tiles inside a block.
struct Run {
  int64_t start, count, row, col;
};

struct Convolution {
  const at::Tensor x, weight, bias, out;
  const int64_t inputs = x.size(1), outputs = weight.size(0), height = x.size(2), width = x.size(3);
  const int64_t tile_rows = (height + kOut - 1) / kOut, tile_cols = (width + kOut - 1) / kOut;
  // Between places lie 80 numbers more than needed: powers of two would put all into the same lines of the cache.
  const int64_t filter_stride = outputs * inputs + 80, tile_stride = inputs * kBlock + 80;
  const int64_t sum_stride = outputs * kBlock + 80;
  std::vector<float> filters = std::vector<float>(kPlaces * filter_stride);

  // The filters as [place][group of outputs][input][output of the group].
  void transform_filters() {
    const float* from = weight.const_data_ptr<float>();
    at::parallel_for(0, (outputs + kGroup - 1) / kGroup, 1, [&](int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; ++group) {
        const int64_t first = group * kGroup, size = std::min<int64_t>(kGroup, outputs - first);
        float* to = filters.data() + first * inputs;
        for (int64_t i = 0; i < inputs; ++i) {
          for (int64_t o = 0; o < size; ++o) {
            float half[kEdge * 3], whole[kPlaces];
            const float* w = from + ((first + o) * inputs + i) * 9;
            for (int col = 0; col < 3; ++col) transform_filter(w[col], w[3 + col], w[6 + col], half + col, 3);
            for (int row = 0; row < kEdge; ++row) {
              transform_filter(half[3 * row], half[3 * row + 1], half[3 * row + 2], whole + row * kEdge, 1);
            }
            for (int place = 0; place < kPlaces; ++place) to[place * filter_stride + i * size + o] = whole[place];
          }
        }
      }
    });
  }

  std::vector<Run> runs(int64_t first, int64_t count) const {
    std::vector<Run> found;
    for (int64_t done = 0; done < count;) {
      const int64_t row = (first + done) / tile_cols, col = (first + done) % tile_cols;
      const int64_t length = std::min(count - done, tile_cols - col);
      found.push_back({done, length, row, col});
      done += length;
    }
    return found;
  }

  // Six rows of the map around a run of tiles, zeros outside the map; rows are kBlock * kOut + 2 apart.
  void read(const float* map, const Run& run, float* rows, int64_t apart) const {
    const int64_t left = run.col * kOut - 1, wanted = run.count * kOut + 2;
    const int64_t begin = std::max<int64_t>(left, 0), end = std::min(left + wanted, width);
    for (int r = 0; r < kEdge; ++r) {
      const int64_t y = run.row * kOut - 1 + r;
      float* to = rows + r * apart;
      if (y < 0 || y >= height) {
        std::fill(to, to + wanted, 0.0f);
        continue;
      }
      std::fill(to, to + (begin - left), 0.0f);
      std::copy(map + y * width + begin, map + y * width + end, to + (begin - left));
      std::fill(to + (end - left), to + wanted, 0.0f);
    }
  }

  // One input channel of a run of tiles into tiles [place][input][kBlock].
  void transform_input(const float* map, const Run& run, int64_t input, float* rows, float* tiles) const {
    constexpr int64_t apart = kBlock * kOut + 2;
    read(map, run, rows, apart);
    const int64_t wanted = run.count * kOut + 2;
    for (int64_t x = 0; x < wanted; ++x) {
      float column[kEdge];
      transform_tile(rows[x], rows[apart + x], rows[2 * apart + x], rows[3 * apart + x], rows[4 * apart + x],
                     rows[5 * apart + x], column);
      for (int r = 0; r < kEdge; ++r) rows[r * apart + x] = column[r];
    }
    for (int r = 0; r < kEdge; ++r) {
      const float* row = rows + r * apart;
      float* to = tiles + r * kEdge * tile_stride + input * kBlock + run.start;
      for (int64_t n = 0; n < run.count; ++n) {
        float line[kEdge];
        const float* d = row + kOut * n;
        transform_tile(d[0], d[1], d[2], d[3], d[4], d[5], line);
        for (int c = 0; c < kEdge; ++c) to[c * tile_stride + n] = line[c];
      }
    }
  }

  void multiply_all(const float* tiles, float* sums) const {
    for (int place = 0; place < kPlaces; ++place) {
      const float* from = tiles + place * tile_stride;
      const float* rows = filters.data() + place * filter_stride;
      for (int64_t first = 0; first < outputs; first += kGroup) {
        const int64_t count = std::min<int64_t>(kGroup, outputs - first);
        float* to = sums + place * sum_stride + first * kBlock;
        for (int offset = 0; offset < kBlock; offset += kStep) {
          kMultiply[count](from, rows + first * inputs, inputs, to, offset);
        }
      }
    }
  }

  // One output channel of a run of tiles from sums [place][output][kBlock] into the result.
  void transform_output(const float* sums, const Run& run, int64_t output, float* rows, float* result) const {
    constexpr int64_t apart = kBlock * kOut;
    const float offset = bias.const_data_ptr<float>()[output];
    const float* from = sums + output * kBlock + run.start;
    float half[kOut * kEdge * kBlock];
    for (int c = 0; c < kEdge; ++c) {
      for (int64_t n = 0; n < run.count; ++n) {
        float column[kOut];
        transform_result(from + c * sum_stride + n, kEdge * sum_stride, column);
        for (int r = 0; r < kOut; ++r) half[(r * kEdge + c) * kBlock + n] = column[r];
      }
    }
    for (int r = 0; r < kOut; ++r) {
      for (int64_t n = 0; n < run.count; ++n) {
        float line[kOut];
        transform_result(half + r * kEdge * kBlock + n, kBlock, line);
        for (int c = 0; c < kOut; ++c) rows[r * apart + kOut * n + c] = line[c] + offset;
      }
    }
    const int64_t left = run.col * kOut, count = std::min(run.count * kOut, width - left);
    for (int r = 0; r < kOut && run.row * kOut + r < height; ++r) {
      std::copy(rows + r * apart, rows + r * apart + count, result + (run.row * kOut + r) * width + left);
    }
  }

  void run() {
    transform_filters();
    const int64_t tiles = tile_rows * tile_cols, blocks = (tiles + kBlock - 1) / kBlock;
    const float* maps = x.const_data_ptr<float>();
    float* results = out.data_ptr<float>();
    at::parallel_for(0, x.size(0) * blocks, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> transformed(kPlaces * tile_stride), sums(kPlaces * sum_stride);
      std::vector<float> rows(kEdge * (kBlock * kOut + 2));
      for (int64_t task = begin; task < end; ++task) {
        const int64_t b = task / blocks, first = task % blocks * kBlock;
        const std::vector<Run> pieces = runs(first, std::min<int64_t>(kBlock, tiles - first));
        for (int64_t i = 0; i < inputs; ++i) {
          const float* map = maps + (b * inputs + i) * height * width;
          for (const Run& piece : pieces) transform_input(map, piece, i, rows.data(), transformed.data());
        }
        multiply_all(transformed.data(), sums.data());
        for (int64_t o = 0; o < outputs; ++o) {
          float* result = results + (b * outputs + o) * height * width;
          for (const Run& piece : pieces) transform_output(sums.data(), piece, o, rows.data(), result);
        }
      }
    });
  }
};

at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TORCH_CHECK(x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat && bias.scalar_type() == at::kFloat,
              "This convolution computes in float32.");
  TORCH_CHECK(x.dim() == 4 && weight.dim() == 4 && weight.size(1) == x.size(1) && weight.size(2) == 3 &&
                  weight.size(3) == 3 && bias.dim() == 1 && bias.size(0) == weight.size(0),
              "Map, 3x3 filters and bias do not fit each other.");
  at::Tensor out = at::empty({x.size(0), weight.size(0), x.size(2), x.size(3)}, x.options());
  Convolution{x.contiguous(), weight.contiguous(), bias.contiguous(), out}.run();
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(cloud_removal, CPU, m) { m.impl("winograd_convolution", &convolve); }

}  // namespace cloud_removal
