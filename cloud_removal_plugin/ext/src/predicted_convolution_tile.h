// The fused tail on a graphics card, as what each thread of a block does between two barriers. Without torch or CUDA
// types: nvcc compiles it for the card, and a plain compiler for the processor, where tests run the threads of a block
// one after the other.
//
// A block takes a tile of pixels and some channels. Its threads first bring the features of the tile into memory that
// they share; then each computes the filters of its pixels, some taps at a time, in registers, rectifies them, multiplies
// them by the shifted map and adds up. Filters never reach memory.
#pragma once

#include "kernel_convolution_elements.h"

namespace cloud_removal {

constexpr int kLanes = 32;      // threads that take neighbouring pixels
constexpr int kEach = 2;        // pixels of a thread, kLanes apart
constexpr int kTilePixels = kLanes * kEach;
constexpr int kWarps = 8;       // channels of a block that are computed side by side
constexpr int kChannels = 24;   // channels of a block
constexpr int kTogether = 5;    // taps in registers
constexpr int64_t kSharedBytes = 48 << 10;

// padded (batch, channels, height + size - 1, width + size - 1) and out (batch, channels, height, width), contiguous;
// features (batch, inputs, height, width) with any strides; weight (channels * size * size, inputs), contiguous.
struct Tail {
  int64_t batch, channels, inputs, height, width, size;
  int64_t feature_batch, feature_channel, feature_row, feature_pixel;
  double slope;

  CLOUD_REMOVAL_ANYWHERE int64_t taps() const { return size * size; }
  CLOUD_REMOVAL_ANYWHERE int64_t wide() const { return width + size - 1; }
  CLOUD_REMOVAL_ANYWHERE int64_t tall() const { return height + size - 1; }
  CLOUD_REMOVAL_ANYWHERE int64_t pixels() const { return height * width; }
  CLOUD_REMOVAL_ANYWHERE int64_t tiles() const { return (pixels() + kTilePixels - 1) / kTilePixels; }
  CLOUD_REMOVAL_ANYWHERE int64_t groups() const { return (channels + kChannels - 1) / kChannels; }
};

// Thread `thread` of `threads` brings its part of the features of a tile into `shared` [inputs][kTilePixels].
template <typename Sum, typename T>
CLOUD_REMOVAL_ANYWHERE void bring_features(const T* features, Sum* shared, const Tail& g, int64_t image, int64_t tile,
                                           int thread, int threads) {
  for (int64_t i = thread; i < g.inputs * kTilePixels; i += threads) {
    const int64_t n = tile * kTilePixels + i % kTilePixels;
    Sum value = 0;
    if (n < g.pixels()) {
      const T found = features[image * g.feature_batch + i / kTilePixels * g.feature_channel +
                               n / g.width * g.feature_row + n % g.width * g.feature_pixel];
      value = static_cast<Sum>(found);
    }
    shared[i] = value;
  }
}

// Adds `Taps` taps from `tap` on to the sums of the pixels of a lane; `map` holds where their windows begin.
template <int Taps, typename Sum, typename T>
CLOUD_REMOVAL_ANYWHERE void add_predicted(const Sum* shared, const Sum* weight, const Sum* bias, const T* const* map,
                                          const Tail& g, int64_t tap, int lane, Sum* total) {
  Sum filters[Taps][kEach];
  for (int r = 0; r < Taps; ++r) {
    for (int q = 0; q < kEach; ++q) filters[r][q] = bias[r];
  }
  for (int64_t input = 0; input < g.inputs; ++input) {
    const Sum* x = shared + input * kTilePixels + lane;
    for (int r = 0; r < Taps; ++r) {
      const Sum factor = weight[r * g.inputs + input];
      for (int q = 0; q < kEach; ++q) filters[r][q] += x[q * kLanes] * factor;
    }
  }
  for (int r = 0; r < Taps; ++r) {
    const int64_t shift = (tap + r) / g.size * g.wide() + (tap + r) % g.size;
    for (int q = 0; q < kEach; ++q) {
      const Sum filter = filters[r][q] > 0 ? filters[r][q] : filters[r][q] * static_cast<Sum>(g.slope);
      total[q] += filter * static_cast<Sum>(map[q][shift]);
    }
  }
}

// One channel of the pixels of a lane.
template <typename Sum, typename T>
CLOUD_REMOVAL_ANYWHERE void predict_channel(const T* padded, const Sum* shared, const Sum* weight, const Sum* bias,
                                            T* out, const Tail& g, int64_t image, int64_t tile, int64_t channel,
                                            int lane) {
  const int64_t plane = image * g.channels + channel, first = tile * kTilePixels + lane;
  const T* map[kEach];
  Sum total[kEach];
  for (int q = 0; q < kEach; ++q) {
    // pixels behind the last one are computed like the first, and not written
    const int64_t n = first + q * kLanes < g.pixels() ? first + q * kLanes : 0;
    map[q] = padded + (plane * g.tall() + n / g.width) * g.wide() + n % g.width;
    total[q] = 0;
  }
  int64_t tap = 0;
  for (; tap + kTogether <= g.taps(); tap += kTogether) {
    const int64_t row = channel * g.taps() + tap;
    add_predicted<kTogether>(shared, weight + row * g.inputs, bias + row, map, g, tap, lane, total);
  }
  for (; tap < g.taps(); ++tap) {
    const int64_t row = channel * g.taps() + tap;
    add_predicted<1>(shared, weight + row * g.inputs, bias + row, map, g, tap, lane, total);
  }
  for (int q = 0; q < kEach; ++q) {
    const int64_t n = first + q * kLanes;
    if (n < g.pixels()) out[plane * g.pixels() + n] = static_cast<T>(total[q]);
  }
}

// The channels of a group that fall to one of a block's warps, for the pixels of a lane.
template <typename Sum, typename T>
CLOUD_REMOVAL_ANYWHERE void predict_channels(const T* padded, const Sum* shared, const Sum* weight, const Sum* bias,
                                             T* out, const Tail& g, int64_t image, int64_t tile, int64_t group,
                                             int warp, int lane) {
  const int64_t end = (group + 1) * kChannels < g.channels ? (group + 1) * kChannels : g.channels;
  for (int64_t channel = group * kChannels + warp; channel < end; channel += kWarps) {
    predict_channel(padded, shared, weight, bias, out, g, image, tile, channel, lane);
  }
}

}  // namespace cloud_removal
