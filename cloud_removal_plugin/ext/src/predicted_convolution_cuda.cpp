// Hands tensors on a graphics card to the fused tail of predicted_convolution_launch.cu.

#include <ATen/ops/conv2d.h>
#include <ATen/ops/leaky_relu.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "card.h"
#include "predicted_convolution_launch.h"
#include "shapes.h"

namespace cloud_removal {
namespace {

at::Tensor convolve_with_predicted(const at::Tensor& padded_in, const at::Tensor& features, const at::Tensor& weight,
                                   const at::Tensor& bias, int64_t size, double slope) {
  const Shape s = shape_of_padded(padded_in, size);
  TORCH_CHECK(features.dim() == 4 && features.size(0) == s.batch && features.size(2) == s.height &&
                  features.size(3) == s.width,
              "Features of shape ", features.sizes(), " do not fit the map.");
  TORCH_CHECK(weight.sizes() == at::IntArrayRef({s.channels * s.taps(), features.size(1)}) &&
                  bias.sizes() == at::IntArrayRef({s.channels * s.taps()}),
              "Weight ", weight.sizes(), " and bias ", bias.sizes(), " do not fit the map.");
  for (const at::Tensor& other : {features, weight, bias}) check_same_kind(padded_in, other);
  const c10::cuda::CUDAGuard guard(padded_in.device());
  const at::Tensor padded = padded_in.contiguous();
  const Number type = number_of(padded);
  const Tail tail{s.batch, s.channels, features.size(1), s.height, s.width, size,
                  features.stride(0), features.stride(1), features.stride(2), features.stride(3), slope};
  if (!tail_fits(tail, type)) {
    const at::Tensor filters =
        at::leaky_relu(at::conv2d(features, weight.unsqueeze(2).unsqueeze(3), bias), slope);
    static const auto convolve = c10::Dispatcher::singleton()
                                     .findSchemaOrThrow("cloud_removal::kernel_convolution", "")
                                     .typed<at::Tensor(const at::Tensor&, const at::Tensor&, int64_t)>();
    return convolve.call(padded, filters, size);
  }
  // Half and bfloat16 are summed up in float, and so weights are read as such.
  const auto sums = type == Number::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor factors = weight.to(sums).contiguous(), first = bias.to(sums).contiguous();
  at::Tensor out = at::empty({s.batch, s.channels, s.height, s.width}, padded.options());
  check_launch(launch_tail(type, padded.const_data_ptr(), features.const_data_ptr(), factors.const_data_ptr(),
                           first.const_data_ptr(), out.mutable_data_ptr(), tail,
                           c10::cuda::getCurrentCUDAStream().stream()));
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(cloud_removal, CUDA, m) { m.impl("predicted_convolution", &convolve_with_predicted); }

}  // namespace cloud_removal
