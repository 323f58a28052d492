// Hands tensors on a graphics card to the kernels of kernel_convolution_launch.cu.

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "card.h"
#include "shapes.h"

namespace cloud_removal {
namespace {

Geometry geometry_of(const Shape& s, const at::Tensor& kernels) {
  return {s.batch,           s.channels,        s.height,          s.width,          s.size,
          kernels.stride(0), kernels.stride(1), kernels.stride(2), kernels.stride(3)};
}

at::Tensor convolve(const at::Tensor& padded_in, const at::Tensor& kernels, int64_t size) {
  const Shape shape = shape_of_padded(padded_in, size);
  check_kernels(kernels, shape);
  check_same_kind(padded_in, kernels);
  const c10::cuda::CUDAGuard guard(padded_in.device());
  const at::Tensor padded = padded_in.contiguous();
  at::Tensor out = at::empty({shape.batch, shape.channels, shape.height, shape.width}, padded.options());
  check_launch(launch_result(number_of(padded), padded.const_data_ptr(), kernels.const_data_ptr(),
                             out.mutable_data_ptr(), geometry_of(shape, kernels),
                             c10::cuda::getCurrentCUDAStream().stream()));
  return out;
}

at::Tensor convolve_grad_input(const at::Tensor& grad_in, const at::Tensor& kernels, int64_t size) {
  const Shape shape = shape_of_result(grad_in, size);
  check_kernels(kernels, shape);
  check_same_kind(grad_in, kernels);
  const c10::cuda::CUDAGuard guard(grad_in.device());
  const at::Tensor grad = grad_in.contiguous();
  at::Tensor out =
      at::empty({shape.batch, shape.channels, shape.padded_height(), shape.padded_width()}, grad.options());
  check_launch(launch_grad_input(number_of(grad), grad.const_data_ptr(), kernels.const_data_ptr(),
                                 out.mutable_data_ptr(), geometry_of(shape, kernels),
                                 c10::cuda::getCurrentCUDAStream().stream()));
  return out;
}

at::Tensor convolve_grad_kernels(const at::Tensor& grad_in, const at::Tensor& padded_in, int64_t size) {
  const Shape shape = shape_of_padded(padded_in, size);
  TORCH_CHECK(grad_in.sizes() == at::IntArrayRef({shape.batch, shape.channels, shape.height, shape.width}),
              "A gradient of shape ", grad_in.sizes(), " does not fit the map.");
  check_same_kind(grad_in, padded_in);
  const c10::cuda::CUDAGuard guard(grad_in.device());
  const at::Tensor grad = grad_in.contiguous(), padded = padded_in.contiguous();
  at::Tensor out = at::empty({shape.batch, shape.channels * shape.taps(), shape.height, shape.width}, grad.options());
  check_launch(launch_grad_kernels(number_of(grad), grad.const_data_ptr(), padded.const_data_ptr(),
                                   out.mutable_data_ptr(), geometry_of(shape, out),
                                   c10::cuda::getCurrentCUDAStream().stream()));
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(cloud_removal, CUDA, m) {
  m.impl("kernel_convolution", &convolve);
  m.impl("kernel_convolution_grad_input", &convolve_grad_input);
  m.impl("kernel_convolution_grad_kernels", &convolve_grad_kernels);
}

}  // namespace cloud_removal
