// What the torch side calls on a graphics card; neither torch nor CUDA types appear but the stream.
#pragma once

#include "kernel_convolution_elements.h"

struct CUstream_st;

namespace cloud_removal {

enum class Number { kFloat, kDouble, kHalf, kBFloat16 };

// Each fills `out` on the stream and returns the error code of the launch (0 = none).
int launch_result(Number type, const void* padded, const void* filters, void* out, const Geometry& g, CUstream_st* on);
int launch_grad_input(Number type, const void* grad, const void* filters, void* out, const Geometry& g,
                      CUstream_st* on);
int launch_grad_kernels(Number type, const void* grad, const void* padded, void* out, const Geometry& g,
                        CUstream_st* on);

}  // namespace cloud_removal
