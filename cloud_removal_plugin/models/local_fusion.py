"""Local fusion of radar and optical features by predicted per-pixel filters and gates.

GLF-CR (Xu et al. 2022, doi 10.1016/j.isprsjprs.2022.08.002, section 3.3); Align-CR uses it unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .kernelconv import kernel_convolution, predicted_kernel_convolution
from .winograd import Conv3x3

SLOPE = 0.1
"""Of every LeakyReLU below zero."""


class _Stem(nn.Module):
    """conv - LeakyReLU - conv, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Conv3x3(width, width),
            nn.LeakyReLU(SLOPE, inplace=True),
            Conv3x3(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stem(x)


class FilterGenerator(nn.Module):
    """Predicts a filter of ``size`` x ``size`` for every pixel and channel from both streams; not normalised."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.fac_warp = nn.Sequential(
            nn.Sequential(Conv3x3(2 * width, width), nn.LeakyReLU(SLOPE, inplace=True)),
            _Stem(width),
            _Stem(width),
            nn.Sequential(nn.Conv2d(width, width * size * size, 1), nn.LeakyReLU(SLOPE, inplace=True)),
        )
        self.size = size

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Two maps (B, C, H, W) to filters (B, C * size * size, H, W)."""
        return self.fac_warp(torch.cat((optical, sar), dim=1))

    def warp(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Radar features (B, C, H, W), convolved with the filters; these are kept only where gradients need them."""
        if torch.is_grad_enabled():
            return kernel_convolution(sar, self(optical, sar), self.size)
        features = self.fac_warp[:-1](torch.cat((optical, sar), dim=1))
        tail = self.fac_warp[-1][0]
        return predicted_kernel_convolution(sar, features, tail.weight, tail.bias, self.size, SLOPE)


class LocalFusion(nn.Module):
    """Base of the networks that fuse two streams block by block; holds the modules under the checkpoints' names."""

    def __init__(self, blocks: int, width: int, filter_size: int) -> None:
        super().__init__()
        self.DF = nn.ModuleList(FilterGenerator(width, filter_size) for _ in range(blocks))
        self.sar_fuse_1x1conv = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(blocks))
        # The last one changes nothing: the radar stream ends there. Checkpoints hold it all the same.
        self.opt_distribute_1x1conv = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(blocks))

    def fuse(self, block: int, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses after block ``block``: (B, C, H, W) twice to the same. The last radar map is not computed."""
        warped = self.DF[block].warp(optical, sar)
        difference = warped - optical
        fused = optical + difference * torch.sigmoid(self.sar_fuse_1x1conv[block](difference))
        if block == len(self.DF) - 1:
            return fused, sar
        difference = fused - warped
        return fused, sar + difference * torch.sigmoid(self.opt_distribute_1x1conv[block](difference))
