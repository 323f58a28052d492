// What the torch side calls for the fused tail on a graphics card.
#pragma once

#include "kernel_convolution_launch.h"
#include "predicted_convolution_tile.h"

namespace cloud_removal {

// Whether the features of a tile fit the memory that the threads of a block share.
inline bool tail_fits(const Tail& g, Number type) {
  const int64_t bytes = type == Number::kDouble ? 8 : 4;
  return g.inputs * kTilePixels * bytes <= kSharedBytes && g.batch * g.tiles() < (int64_t{1} << 31) &&
         g.groups() < (1 << 16);
}

// Fills `out` on the stream and returns the error code of the launch (0 = none). Weight and bias are double for
// double, float for all other types.
int launch_tail(Number type, const void* padded, const void* features, const void* weight, const void* bias, void* out,
                const Tail& g, CUstream_st* on);

}  // namespace cloud_removal
