// What the torch side of every operator for graphics cards shares.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernel_convolution_launch.h"

namespace cloud_removal {

inline Number number_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return Number::kFloat;
    case at::kDouble:
      return Number::kDouble;
    case at::kHalf:
      return Number::kHalf;
    case at::kBFloat16:
      return Number::kBFloat16;
    default:
      TORCH_CHECK(false, "A per-pixel convolution of ", x.scalar_type(), " is not possible.");
  }
}

inline void check_launch(int error) {
  TORCH_CHECK(error == 0, "The graphics card refused the kernel (CUDA error ", error, ").");
}

}  // namespace cloud_removal
