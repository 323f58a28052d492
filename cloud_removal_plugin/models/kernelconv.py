"""Per-pixel kernel convolution (filter adaptive convolution), forward and backward.

Every pixel and channel has a filter of its own, predicted by a network; GLF-CR (Xu et al. 2022,
doi 10.1016/j.isprsjprs.2022.08.002, section 3.3) and Align-CR warp radar features with it. :mod:`..ext` computes it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import ext
from ..ext import operators


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
    use_kernel()
    return operators.kernel_convolution(*_alike(padded, kernels), size)


def kernel_convolution(x: Tensor, kernels: Tensor, size: int) -> Tensor:
    """The same on a map (B, C, H, W), whose edge pixels are repeated outwards by (size - 1) / 2."""
    return valid_kernel_convolution(_repeat_edges(x, size), kernels, size)


def predicted_kernel_convolution(
    x: Tensor, features: Tensor, weight: Tensor, bias: Tensor, size: int, slope: float
) -> Tensor:
    """:func:`kernel_convolution` with ``LeakyReLU(1x1 convolution of features)`` as filters, which never lie in memory.

    Args:
        x: (B, C, H, W).
        features: (B, F, H, W).
        weight: (C * size * size, F, 1, 1), bias (C * size * size,): of the 1x1 convolution.
        size: edge of the filters, odd.
        slope: of the LeakyReLU below zero.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: shapes that do not belong together, or an even size.
    """
    use_kernel()
    parts = _alike(_repeat_edges(x, size), features, weight.flatten(1), bias)
    return operators.predicted_convolution(*parts, size, slope)


def use_kernel() -> None:
    """Lets the compiled kernel be found (or built) before the first call of an operator; never inside a trace."""
    if not torch.compiler.is_compiling():
        ext.load()


def computes_in_float32(x: Tensor) -> bool:
    """Whether the kernels for inference in float32 on the processor may take a map: no gradients, no autocast."""
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def _alike(*parts: Tensor) -> tuple[Tensor, ...]:
    """All in half precision where one is: under autocast some come in half and some in single."""
    half = [part.dtype for part in parts if part.dtype in (torch.float16, torch.bfloat16)]
    return tuple(part.to(half[0]) for part in parts) if half else parts


def _repeat_edges(x: Tensor, size: int) -> Tensor:
    reach = (size - 1) // 2
    return F.pad(x, (reach, reach, reach, reach), mode="replicate") if reach else x
