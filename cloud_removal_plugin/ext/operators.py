"""The operators ``cloud_removal::*``: their schemas, a torch version for every device, shapes, and gradients.

They exist without the compiled library, whose ``TORCH_LIBRARY_IMPL`` blocks (``src/``) take over processor and
graphics card when it is loaded; so ``torch.compile``, ``torch.export`` and autograd see the same operators either way.

A per-pixel kernel convolution gives every pixel and channel a filter of its own (GLF-CR, Xu et al. 2022,
doi 10.1016/j.isprsjprs.2022.08.002, section 3.3)::

    out[b,c,y,x] = sum_ij padded[b,c,y+i,x+j] * kernels[b, (c*size + i)*size + j, y, x]

It is linear in both arguments, so that its gradients, and theirs, are made of three operators.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .torch_versions import (
    chunked_prediction,
    gated_attention_by_torch,
    result_shape,
    shifted_convolution,
    shifted_grad_input,
    shifted_grad_kernels,
    winograd_by_torch,
)

NAMESPACE = "cloud_removal"

_library = torch.library.Library(NAMESPACE, "DEF")
_library.define("kernel_convolution(Tensor padded, Tensor kernels, int size) -> Tensor")
_library.define("kernel_convolution_grad_input(Tensor grad, Tensor kernels, int size) -> Tensor")
_library.define("kernel_convolution_grad_kernels(Tensor grad, Tensor padded, int size) -> Tensor")
_library.define(
    "predicted_convolution(Tensor padded, Tensor features, Tensor weight, Tensor bias, int size, float slope) -> Tensor"
)
_library.define("winograd_convolution(Tensor x, Tensor weight, Tensor bias) -> Tensor")
_library.define(
    "gated_attention(Tensor qkv, Tensor qkv_sar, Tensor position, Tensor? mask, Tensor gate_weight, Tensor gate_bias, "
    "int heads) -> (Tensor, Tensor)"
)
_operators = getattr(torch.ops, NAMESPACE)


def _fake_convolution(padded: Tensor, kernels: Tensor, size: int) -> Tensor:
    return padded.new_empty(result_shape(padded, size))


def _fake_grad_input(grad: Tensor, kernels: Tensor, size: int) -> Tensor:
    batch, channels, height, width = grad.shape
    return grad.new_empty(batch, channels, height + size - 1, width + size - 1)


def _fake_grad_kernels(grad: Tensor, padded: Tensor, size: int) -> Tensor:
    batch, channels, height, width = grad.shape
    return grad.new_empty(batch, channels * size * size, height, width)


def _fake_prediction(padded: Tensor, features: Tensor, weight: Tensor, bias: Tensor, size: int, slope: float) -> Tensor:
    return padded.new_empty(result_shape(padded, size))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, size = inputs
    ctx.save_for_backward(*tensors)
    ctx.size = size


def _keep_prediction(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.size, ctx.slope = inputs[4:]


def _convolution_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    padded, kernels = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (
        _operators.kernel_convolution_grad_input(grad, kernels, ctx.size) if wanted[0] else None,
        _operators.kernel_convolution_grad_kernels(grad, padded, ctx.size) if wanted[1] else None,
        None,
    )


def _grad_input_backward(ctx: Any, gradgrad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    grad, kernels = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (
        _operators.kernel_convolution(gradgrad, kernels, ctx.size) if wanted[0] else None,
        _operators.kernel_convolution_grad_kernels(grad, gradgrad, ctx.size) if wanted[1] else None,
        None,
    )


def _grad_kernels_backward(ctx: Any, gradgrad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    grad, padded = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (
        _operators.kernel_convolution(padded, gradgrad, ctx.size) if wanted[0] else None,
        _operators.kernel_convolution_grad_input(grad, gradgrad, ctx.size) if wanted[1] else None,
        None,
    )


def _prediction_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The filters are computed anew: a training step that can afford their memory does not use the fused tail."""
    padded, features, weight, bias = ctx.saved_tensors
    raw = torch.einsum("oi,bihw->bohw", weight, features) + bias[:, None, None]
    filters = F.leaky_relu(raw, ctx.slope)
    grad_filters = _operators.kernel_convolution_grad_kernels(grad, padded, ctx.size)
    grad_raw = torch.where(raw > 0, grad_filters, grad_filters * ctx.slope)
    return (
        _operators.kernel_convolution_grad_input(grad, filters, ctx.size),
        torch.einsum("oi,bohw->bihw", weight, grad_raw),
        torch.einsum("bohw,bihw->oi", grad_raw, features),
        grad_raw.sum(dim=(0, 2, 3)),
        None,
        None,
    )


def _predict(padded: Tensor, features: Tensor, weight: Tensor, bias: Tensor, size: int, slope: float) -> Tensor:
    """For devices without a fused kernel; the per-pixel convolution may be a compiled one."""
    return chunked_prediction(padded, features, weight, bias, size, slope, _operators.kernel_convolution)


def _fake_winograd(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:])


def _keep_winograd(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _winograd_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Those of a plain convolution: the two differ in rounding alone."""
    x, weight = ctx.saved_tensors
    grad_x = torch.nn.grad.conv2d_input(x.shape, weight, grad, padding=1)
    return grad_x, torch.nn.grad.conv2d_weight(x, weight.shape, grad, padding=1), grad.sum(dim=(0, 2, 3))


for _name, _version, _fake, _setup, _backward in (
    ("kernel_convolution", shifted_convolution, _fake_convolution, _keep, _convolution_backward),
    ("kernel_convolution_grad_input", shifted_grad_input, _fake_grad_input, _keep, _grad_input_backward),
    ("kernel_convolution_grad_kernels", shifted_grad_kernels, _fake_grad_kernels, _keep, _grad_kernels_backward),
    ("predicted_convolution", _predict, _fake_prediction, _keep_prediction, _prediction_backward),
    ("winograd_convolution", winograd_by_torch, _fake_winograd, _keep_winograd, _winograd_backward),
):
    _library.impl(_name, _version, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{_name}", _fake, lib=_library)
    torch.library.register_autograd(f"{NAMESPACE}::{_name}", _backward, setup_context=_setup, lib=_library)


def _fake_attention(qkv: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    out = qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3)
    return out, torch.empty_like(out)


_library.impl("gated_attention", gated_attention_by_torch, "CompositeExplicitAutograd")
torch.library.register_fake(f"{NAMESPACE}::gated_attention", _fake_attention, lib=_library)


# What torch's flop counter shall count: the convolutions that two of the operators stand for.
@register_flop_formula(_operators.predicted_convolution)
def _prediction_flops(padded: Any, features: Any, weight: Any, *rest: Any, out_shape: Any, **more: Any) -> int:
    batch, inputs, height, width = features
    return 2 * batch * weight[0] * inputs * height * width


@register_flop_formula(_operators.winograd_convolution)
def _winograd_flops(x: Any, weight: Any, bias: Any, *, out_shape: Any, **more: Any) -> int:
    batch, inputs, height, width = x
    return 2 * 9 * batch * weight[0] * inputs * height * width


@register_flop_formula(_operators.gated_attention)
def _attention_flops(qkv: Any, qkv_sar: Any, position: Any, mask: Any, gate: Any, *rest: Any, **more: Any) -> int:
    windows, tokens, width = qkv
    heads = gate[0]
    return 2 * windows * tokens**2 * (4 * width // 3 + heads * heads)


def kernel_convolution(padded: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Convolves an already padded map with one filter per pixel and channel.

    Args:
        padded: (B, C, H + size - 1, W + size - 1).
        kernels: (B, C * size * size, H, W); channel-major, then filter row, then filter column.
        size: edge of the filters, odd.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: shapes that do not belong together, or an even size.
    """
    shape = _checked(padded, size)
    expected = (shape[0], shape[1] * size * size, *shape[2:])
    if tuple(kernels.shape) != expected:
        raise ValueError(f"Filters of shape {tuple(kernels.shape)} do not fit; expected {expected}.")
    return _operators.kernel_convolution(padded, kernels, size)


def predicted_convolution(
    padded: Tensor, features: Tensor, weight: Tensor, bias: Tensor, size: int, slope: float
) -> Tensor:
    """Convolves with filters ``LeakyReLU(weight @ features + bias)`` that never lie in memory as a whole.

    Args:
        padded: (B, C, H + size - 1, W + size - 1).
        features: (B, F, H, W).
        weight: (C * size * size, F) of a 1x1 convolution.
        bias: (C * size * size,).
        size: edge of the filters, odd.
        slope: of the LeakyReLU below zero.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: shapes that do not belong together, or an even size.
    """
    batch, channels, height, width = _checked(padded, size)
    filters = channels * size * size
    fits = features.dim() == 4 and (features.shape[0], *features.shape[2:]) == (batch, height, width)
    if not fits or tuple(weight.shape) != (filters, features.shape[1]) or tuple(bias.shape) != (filters,):
        raise ValueError(
            f"Features {tuple(features.shape)}, weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do not make "
            f"filters of {size} x {size} for a map of {tuple(padded.shape)}."
        )
    return _operators.predicted_convolution(padded, features, weight, bias, size, slope)


def winograd_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution with zeros around the map and a quarter of the multiplications, in float32.

    Winograd's F(4x4, 3x3); it rounds about six times as coarsely as a direct convolution (relative rms 1e-6).

    Args:
        x: (B, I, H, W).
        weight: (O, I, 3, 3).
        bias: (O,).

    Returns:
        (B, O, H, W).

    Raises:
        ValueError: shapes that do not belong together.
    """
    if x.dim() != 4 or weight.shape[1:] != (x.shape[1], 3, 3) or bias.shape != weight.shape[:1]:
        raise ValueError(f"Filters {tuple(weight.shape)} and bias {tuple(bias.shape)} do not fit {tuple(x.shape)}.")
    return _operators.winograd_convolution(x, weight, bias)


def gated_attention(
    qkv: Tensor,
    qkv_sar: Tensor,
    position: Tensor,
    mask: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """:func:`.torch_versions.gated_attention_by_torch`, compiled where the kernel is; for inference, no gradients."""
    return _operators.gated_attention(qkv, qkv_sar, position, mask, gate_weight, gate_bias, heads)


def _checked(padded: Tensor, size: int) -> tuple[int, int, int, int]:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"The filter size is {size}; it must be odd.")
    shape = result_shape(padded, size)
    if shape[2] < 1 or shape[3] < 1:
        raise ValueError(f"A padded map of {tuple(padded.shape)} is smaller than filters of {size} x {size}.")
    return shape
