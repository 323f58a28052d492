"""The 3x3 convolution of the networks: a plain one in training, a faster one in inference on the processor.

Winograd's F(4x4, 3x3) (Lavin & Gray 2016, arXiv 1509.09308) multiplies a quarter as often. Its result is that of the
plain convolution but for rounding: the relative rms difference of a layer is 1e-6, of a whole DSen2-CR below that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
    """``nn.Conv2d(inputs, outputs, 3, padding=padding, bias=bias)``, parameters and all; padding 0 or 1."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, padding: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W), or two rows and columns less without padding."""
        if not _is_faster(x, self.weight):
            return super().forward(x)
        out = operators.winograd_convolution(x, self.weight, _bias_of(self))
        return out if self.padding[0] else out[..., 1:-1, 1:-1]


class Conv3d3x3(nn.Conv3d):
    """``nn.Conv3d(inputs, outputs, (times, 3, 3), padding=padding)``: in inference two-dimensional, frame by frame.

    A frame's result is a two-dimensional convolution of the ``times`` frames that it sees, their channels stacked.

    Args:
        inputs, outputs: channels.
        times: frames that a result sees.
        padding: of time and space, each 0 or what keeps the size.
    """

    def __init__(self, inputs: int, outputs: int, times: int, padding: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, (times, 3, 3), padding=(padding[0], padding[1], padding[1]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) to (B, outputs, T', H', W')."""
        if not _is_faster(x, self.weight):
            return super().forward(x)
        empty = [torch.zeros_like(x[:, :, 0])] * self.padding[0]
        return self._by_frames([*empty, *x.unbind(2), *empty])

    def _by_frames(self, frames: list[Tensor]) -> Tensor:
        """For all that are seen, (B, inputs, H, W) each, to (B, outputs, T', H', W')."""
        times, own = self.kernel_size[0], slice(None) if self.padding[1] else slice(1, -1)
        weight = self.weight.transpose(1, 2).reshape(self.out_channels, -1, 3, 3)
        results, seen, out = len(frames) - times + 1, None, None
        for first in range(results):
            for place, frame in enumerate(map(self._surrounded, frames[first : first + times])):
                if seen is None:
                    seen = frame.new_empty(len(frame), times, *frame.shape[1:])
                seen[:, place] = frame
            one = operators.winograd_convolution(seen.flatten(1, 2), weight, _bias_of(self))[..., own, own]
            if out is None:
                out = one.new_empty(*one.shape[:2], results, *one.shape[2:])
            out[:, :, first] = one
        return out

    def _surrounded(self, frame: Tensor) -> Tensor:
        return frame


class ReflectedConv3d3x3(Conv3d3x3):
    """The same of its input reflected by one pixel in space and repeated by ``repeat`` steps in time.

    In inference a frame is padded when its turn comes: padded copies of the whole would take most of the memory.
    """

    def __init__(self, inputs: int, outputs: int, times: int, repeat: int) -> None:
        super().__init__(inputs, outputs, times, (0, 0))
        self.repeat = repeat

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) to (B, outputs, T', H, W)."""
        if not _is_faster(x, self.weight):
            x = F.pad(x, (1, 1, 1, 1, 0, 0), mode="reflect")
            return nn.Conv3d.forward(self, F.pad(x, (0, 0, 0, 0, self.repeat, self.repeat), mode="replicate"))
        frames = x.unbind(2)
        return self._by_frames([*frames[:1] * self.repeat, *frames, *frames[-1:] * self.repeat])

    def _surrounded(self, frame: Tensor) -> Tensor:
        return F.pad(frame, (1, 1, 1, 1), mode="reflect")


def _bias_of(layer: nn.Conv2d | nn.Conv3d) -> Tensor:
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias


def _is_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether the faster way may be taken, and pays."""
    if not _may_be_fast(x, weight):
        return False
    use_kernel()
    return min(weight.shape[:2]) >= (LEAST_COMPILED if ext.loaded() else LEAST_IN_TORCH)


def _may_be_fast(x: Tensor, weight: Tensor) -> bool:
    """Whether nobody asks for gradients, and the processor computes in float32."""
    return computes_in_float32(x) and weight.dtype == torch.float32 and x.shape[-2] * x.shape[-1] >= LEAST_PIXELS
