"""Per-pixel kernel convolution (filter adaptive convolution) in plain torch, forward and backward.

Every pixel and channel has a filter of its own, predicted by a network; GLF-CR (Xu et al. 2022,
doi 10.1016/j.isprsjprs.2022.08.002, section 3.3) and Align-CR warp radar features with it. The sum over the filter's
taps is accumulated shift by shift, so that the unfolded input (k*k times its size) never exists.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def _taps(padded: Tensor, kernels: Tensor, size: int) -> tuple[Tensor, int, int]:
    """The filters as (B, C, size*size, H, W) and the output's height and width.

    Raises:
        ValueError: shapes that do not belong together, or an even filter size.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"The filter size is {size}; it must be odd.")
    batch, channels, height, width = padded.shape
    height, width = height - size + 1, width - size + 1
    expected = (batch, channels * size * size, height, width)
    if height < 1 or width < 1 or tuple(kernels.shape) != expected:
        raise ValueError(f"Filters of shape {tuple(kernels.shape)} do not fit; expected {expected}.")
    return kernels.reshape(batch, channels, size * size, height, width), height, width


class _KernelConvolution(torch.autograd.Function):
    """Autograd by hand: automatic differentiation of the shifts would write the filters' gradient k*k times."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, kernels: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(padded, kernels)
        ctx.size = size
        taps, height, width = _taps(padded, kernels, size)
        out = padded[..., :height, :width] * taps[:, :, 0]
        for tap in range(1, size * size):
            row, col = divmod(tap, size)
            out.addcmul_(padded[..., row : row + height, col : col + width], taps[:, :, tap])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        padded, kernels = ctx.saved_tensors
        size = ctx.size
        taps, height, width = _taps(padded, kernels, size)
        grad_padded = torch.zeros_like(padded) if ctx.needs_input_grad[0] else None
        grad_taps = torch.empty_like(taps) if ctx.needs_input_grad[1] else None
        for tap in range(size * size):
            row, col = divmod(tap, size)
            there = (..., slice(row, row + height), slice(col, col + width))
            if grad_padded is not None:
                grad_padded[there].addcmul_(grad, taps[:, :, tap])
            if grad_taps is not None:
                torch.mul(padded[there], grad, out=grad_taps[:, :, tap])
        return grad_padded, None if grad_taps is None else grad_taps.reshape(kernels.shape), None


def valid_kernel_convolution(padded: Tensor, kernels: Tensor, size: int) -> Tensor:
    """Convolves an already padded map with one filter per pixel and channel.

    Args:
        padded: (B, C, H + size - 1, W + size - 1).
        kernels: (B, C * size * size, H, W); channel-major, then filter row, then filter column.
        size: edge of the filters, odd.

    Returns:
        (B, C, H, W): ``out[b,c,y,x] = sum_ij padded[b,c,y+i,x+j] * kernels[b, c*size*size + i*size + j, y, x]``.

    Raises:
        ValueError: shapes that do not belong together, or an even size.
    """
    return _KernelConvolution.apply(padded, kernels, size)


def kernel_convolution(x: Tensor, kernels: Tensor, size: int) -> Tensor:
    """The same on a map (B, C, H, W), whose edge pixels are repeated outwards by (size - 1) / 2."""
    reach = (size - 1) // 2
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate") if reach else x
    return valid_kernel_convolution(padded, kernels, size)
