"""The 3x3 convolution of the networks: a plain one in training, a faster one in inference on the processor.

Winograd's F(4x4, 3x3) (Lavin & Gray 2016, arXiv 1509.09308) multiplies a quarter as often. Its result is that of the
plain convolution but for rounding: the relative rms difference of a layer is 1e-6, of a whole DSen2-CR below that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import ext
from ..ext import operators
from .kernelconv import computes_in_float32, use_kernel

LEAST_COMPILED = 13
"""Channels in and out from which the compiled version is faster than a plain convolution."""

LEAST_IN_TORCH = 128
"""The same for the torch version, whose transforms cost more."""

LEAST_PIXELS = 24 * 24
"""Smaller maps do not fill the blocks of tiles."""


class Conv3x3(nn.Conv2d):
    """``nn.Conv2d(inputs, outputs, 3, padding=1)``, parameters and all."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        if not _may_be_fast(x, self.weight):
            return super().forward(x)
        use_kernel()
        least = LEAST_COMPILED if ext.loaded() else LEAST_IN_TORCH
        if min(self.in_channels, self.out_channels) < least:
            return super().forward(x)
        return operators.winograd_convolution(x, self.weight, self.bias)


def _may_be_fast(x: Tensor, weight: Tensor) -> bool:
    """Whether nobody asks for gradients, and the processor computes in float32."""
    return computes_in_float32(x) and weight.dtype == torch.float32 and x.shape[-2] * x.shape[-1] >= LEAST_PIXELS
