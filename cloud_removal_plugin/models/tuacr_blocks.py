"""Building blocks of the TUA-CR head: encoders, gated fusion, spatial attention, partial convolutions, RRDB.

CR_system by Jinming Zhang, https://github.com/Elm-Forest/CR_system. Partial convolution: Liu et al. 2018, arXiv
1804.07723; channel gate: CBAM, Woo et al. 2018, arXiv 1807.06521; RRDB: Wang et al. 2018, arXiv 1809.00219; spatial
attention: SPANet, Wang et al. 2019, arXiv 1904.01538. Written from published facts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .winograd import Conv3x3


def conv3(channels: int, out: int, bias: bool = False) -> nn.Conv2d:
    """3x3, padding 1, without bias unless said."""
    return Conv3x3(channels, out, bias)


class DoubleConv(nn.Module):
    """conv, ReLU, conv, ReLU."""

    def __init__(self, channels: int, out: int, middle: int | None = None) -> None:
        super().__init__()
        middle = middle or out
        self.double_conv = nn.Sequential(
            conv3(channels, middle), nn.ReLU(inplace=True), conv3(middle, out), nn.ReLU(inplace=True)
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


class Encoder(nn.Module):
    """Five scales of features."""

    def __init__(self, channels: int, base: int) -> None:
        super().__init__()
        self.inc = DoubleConv(channels, base)
        self.down1 = _Down(base, 2 * base)
        self.down2 = _Down(2 * base, 4 * base)
        self.down3 = _Down(4 * base, 8 * base)
        self.down4 = _Down(8 * base, 8 * base)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) to five maps, each half the size of the one before."""
        maps = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            maps.append(down(maps[-1]))
        return maps


def pad_to(x: Tensor, like: Tensor) -> Tensor:
    """Zero-pads (B, C, h, w) to the height and width of ``like``: floor(difference / 2) before, the rest after."""
    rows, cols = like.shape[-2] - x.shape[-2], like.shape[-1] - x.shape[-1]
    return F.pad(x, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2)) if rows or cols else x


class Up(nn.Module):
    """Bilinear x2 (corners aligned), joined behind the skip, double convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = DoubleConv(channels, out, channels // 2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, h, w) and the skip (B, C', H, W) to (B, out, H, W)."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv(torch.cat((skip, pad_to(x, skip)), dim=1))


class _ChannelGate(nn.Module):
    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1))
        return x * torch.sigmoid(gate)[..., None, None]


class _Gated(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ChannelGate = _ChannelGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.ChannelGate(x)


class FusionBlock(nn.Module):
    """Joins optical and radar features of one scale through a channel gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cbam1 = _Gated(channels)
        self.conv_out = conv3(channels, channels // 2)

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Two maps (B, C/2, H, W) to one of the same shape."""
        z = torch.cat((optical, sar), dim=1)
        return F.relu(self.conv_out(F.relu(self.cbam1(z) + z)))


class BasicBlock(nn.Module):
    """conv, ReLU, conv, added to the input, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, channels), conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + x)


class SarTranslation(nn.Module):
    """Radar to something like optical bands."""

    def __init__(self, channels: int, out: int, width: int = 32, blocks: int = 12) -> None:
        super().__init__()
        self.conv_in = conv3(channels, width)
        self.res_blocks = nn.Sequential(*(BasicBlock(width) for _ in range(blocks)))
        self.conv_out = conv3(width, out)

    def forward(self, sar: Tensor) -> Tensor:
        """(B, 2, H, W) to (B, out, H, W)."""
        return self.conv_out(self.res_blocks(self.conv_in(sar)))


class PartialConv(Conv3x3):
    """3x3 convolution that is renormalised by how much of its window is valid; mask soft, one channel, or none."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) and a mask (B, 1, H, W) in 0..1 to (B, C, H, W); the factor carries no gradient."""
        with torch.no_grad():
            valid = x.new_ones(1, 1, *x.shape[-2:]) if mask is None else mask
            seen = F.conv2d(valid, valid.new_ones(1, 1, 3, 3), padding=1)
            factor = 9 / (seen + 1e-8) * seen.clamp(0, 1)
        return super().forward(x if mask is None else x * mask) * factor


class PartialBlock(nn.Module):
    """Two partial convolutions with the same mask, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = PartialConv(channels), PartialConv(channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to the same."""
        return F.relu(self.conv2(F.relu(self.conv1(x, mask)), mask) + x)


class _Directions(nn.Module):
    """One step from the neighbour in each of four directions, joined as up, right, down, left."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("left", "right", "up", "down"):
            setattr(self, f"{name}_weight", nn.Conv2d(channels, channels, 1, groups=channels))

    def forward(self, x: Tensor) -> Tensor:
        up, right, down, left = (x.clone() for _ in range(4))
        up[:, :, 1:] = F.relu(self.up_weight(x[:, :, :-1]) + x[:, :, 1:])
        down[:, :, :-1] = F.relu(self.down_weight(x[:, :, 1:]) + x[:, :, :-1])
        left[..., 1:] = F.relu(self.left_weight(x[..., :-1]) + x[..., 1:])
        right[..., :-1] = F.relu(self.right_weight(x[..., 1:]) + x[..., :-1])
        return torch.cat((up, right, down, left), dim=1)


class _UnusedAttention(nn.Module):
    """Weights that checkpoints hold and the original computes in vain; never called."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(channels, half, 3, padding=1)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1)
        self.conv3 = nn.Conv2d(half, 4, 1)


class SpatialAttention(nn.Module):
    """A soft mask of one channel from two rounds of four-direction steps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.irnn1, self.irnn2 = _Directions(channels), _Directions(channels)
        self.conv_in = conv3(channels, channels)
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(4 * channels, channels, 1)
        self.conv3 = nn.Conv2d(4 * channels, channels, 1)
        self.attention_layer = _UnusedAttention(channels)
        self.conv_out = nn.Conv2d(channels, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 1, H, W) in 0..1."""
        x = self.conv2(self.irnn1(self.conv1(x)))
        x = F.relu(self.conv3(self.irnn2(x)))
        return torch.sigmoid(self.conv_out(x))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bc1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, bias=False)
        self.bc2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1, bias=False)


class UnusedBottleneck(nn.Module):
    """A dilated bottleneck whose branch the original throws away: weights for loading, the identity otherwise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group1 = _Bottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The input."""
        return x


class _DenseBlock(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for layer in range(5):
            out = growth if layer < 4 else channels
            setattr(self, f"conv{layer + 1}", conv3(channels + layer * growth, out, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        stack = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            stack = torch.cat((stack, F.leaky_relu(layer(stack), 0.2)), dim=1)
        return torch.add(x, self.conv5(stack), alpha=0.2)


class RRDB(nn.Module):
    """Residual in residual dense block."""

    def __init__(self, channels: int, growth: int = 32) -> None:
        super().__init__()
        self.RDB1, self.RDB2, self.RDB3 = (_DenseBlock(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return torch.add(x, self.RDB3(self.RDB2(self.RDB1(x))), alpha=0.2)


class PointwiseHead(nn.Module):
    """1x1 convolution with bias under the name ``conv``."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, H, W)."""
        return self.conv(x)
