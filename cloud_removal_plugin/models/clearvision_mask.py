"""Clear Vision, stage 1: a U-Net that marks clouds frame by frame.

https://github.com/caoymg/Clear-Vision; U-Net after Ronneberger et al. 2015, arXiv 1505.04597. Written from published
facts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .tuacr_blocks import pad_to
from .winograd import Conv3x3


class DoubleConv(nn.Module):
    """Twice conv 3x3, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, middle: int | None = None) -> None:
        super().__init__()
        middle = middle or out
        self.double_conv = nn.Sequential(
            Conv3x3(channels, middle),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            Conv3x3(middle, out),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, H, W)."""
        return self.double_conv(x)


class _Down(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(channels, out))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class _Up(nn.Module):
    """Up-sampling, joined behind the skip, double convolution."""

    def __init__(self, channels: int, out: int, bilinear: bool) -> None:
        super().__init__()
        self.bilinear = bilinear
        if bilinear:
            self.conv = DoubleConv(channels, out, channels // 2)
        else:
            self.up = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
            self.conv = DoubleConv(channels, out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        if self.bilinear:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        else:
            x = self.up(x)
        return self.conv(torch.cat((skip, pad_to(x, skip)), dim=1))


class Head(nn.Module):
    """1x1 convolution under the name ``conv``."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to (B, out, ...)."""
        return self.conv(x)


class CloudMaskUNet(nn.Module):
    """The mask network.

    Args:
        n_classes: classes; 1 = cloud of two.
        n_channels: bands: blue, green, red as published.
        bilinear: bilinear up-sampling (published), else transposed convolutions.
        widths: of the five scales.
    """

    def __init__(
        self,
        n_classes: int = 2,
        n_channels: int = 3,
        bilinear: bool = True,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
    ) -> None:
        super().__init__()
        w = list(widths)
        factor = 2 if bilinear else 1
        self.inc = DoubleConv(n_channels, w[0])
        self.down1, self.down2, self.down3 = _Down(w[0], w[1]), _Down(w[1], w[2]), _Down(w[2], w[3])
        self.down4 = _Down(w[3], w[4] // factor)
        self.up1 = _Up(w[4], w[3] // factor, bilinear)
        self.up2 = _Up(w[3], w[2] // factor, bilinear)
        self.up3 = _Up(w[2], w[1] // factor, bilinear)
        self.up4 = _Up(w[1], w[0], bilinear)
        self.outc = Head(nn.Conv2d(w[0], n_classes, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, H, W) in 0..1 to the first features (B, 64, H, W) and logits (B, 2, H, W)."""
        maps = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            maps.append(down(maps[-1]))
        features, x = maps[0], maps.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, maps.pop())
        return features, self.outc(x)


def cloud_mask(logits: Tensor) -> Tensor:
    """Logits (B, 2, H, W) to int64 (B, H, W), 1 = cloud."""
    return logits.argmax(dim=1)
