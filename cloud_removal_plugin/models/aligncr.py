"""Align-CR: cloud removal at 3 m from PlanetScope and Sentinel-1 that need not lie exactly on each other.

Xu, Shi, Ebel, Yang, Zhu (2024): Multimodal and Multiresolution Data Fusion for High-Resolution Cloud Removal: A Novel
Baseline and Benchmark. IEEE Trans. Geosci. Remote Sens. 62, doi 10.1109/TGRS.2023.3337845. Written from published
facts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .aligncr_alignment import FeatureAlignment
from .local_fusion import LocalFusion
from .window_attention import (
    Mlp,
    ShiftedWindows,
    WindowAttention,
    to_channels_first,
    to_channels_last,
    window_for,
)
from .winograd import Conv3x3


class WeightNormConv(nn.Module):
    """Convolution whose kernels are stored as direction ``weight_v`` and length ``weight_g``."""

    def __init__(self, channels: int, out: int, size: int) -> None:
        super().__init__()
        self.padding = size // 2
        plain = nn.Conv2d(channels, out, size)
        self.weight_v = nn.Parameter(plain.weight.detach().clone())
        self.weight_g = nn.Parameter(self._length(self.weight_v).detach())
        self.bias = nn.Parameter(plain.bias.detach().clone())

    @staticmethod
    def _length(weight: Tensor) -> Tensor:
        return weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Newer torch writes the same two tensors under other names.
        for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
            renamed = f"{prefix}parametrizations.weight.{new}"
            if renamed in state_dict:
                state_dict[prefix + old] = state_dict.pop(renamed)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, H, W)."""
        weight = self.weight_v * (self.weight_g / self._length(self.weight_v))
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class _WideBlock(nn.Module):
    """1x1 to six times the width, ReLU, 1x1 to 0.8 of it (truncated), 3x3; added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = int(width * 0.8)
        self.body = nn.Sequential(
            WeightNormConv(width, 6 * width, 1),
            nn.ReLU(inplace=True),
            WeightNormConv(6 * width, narrow, 1),
            WeightNormConv(narrow, width, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _SwinBlock(ShiftedWindows):
    """Gated window attention and MLP of both streams, each after a layer norm and added to its input."""

    def __init__(self, width: int, window: int, shift: int, heads: int, mlp_ratio: float) -> None:
        super().__init__(window, shift)
        hidden = int(width * mlp_ratio)
        self.norm1, self.norm1_SAR = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, window, heads)
        self.norm2, self.norm2_SAR = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp, self.mlp_SAR = Mlp(width, hidden), Mlp(width, hidden)

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        x, s = to_channels_last(optical), to_channels_last(sar)
        attended, attended_sar = self.attend(self.norm1(x), self.norm1_SAR(s))
        x, s = x + attended, s + attended_sar
        x, s = x + self.mlp(self.norm2(x)), s + self.mlp_SAR(self.norm2_SAR(s))
        return to_channels_first(x), to_channels_first(s)


class _DenseLayer(nn.Module):
    """conv and ReLU of both streams, appended to their stacks."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(Conv3x3(channels, growth), nn.ReLU(inplace=True))
        self.conv_SAR = nn.Sequential(Conv3x3(channels, growth), nn.ReLU(inplace=True))

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat((optical, self.conv(optical)), dim=1), torch.cat((sar, self.conv_SAR(sar)), dim=1)


class _DenseBlock(nn.Module):
    """Dense layers, squeezed, one attention block, added to the input."""

    def __init__(self, width: int, growth: int, layers: int, attention: _SwinBlock) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_DenseLayer(width + layer * growth, growth) for layer in range(layers))
        self.LFF = Conv3x3(width + layers * growth, width)
        self.LFF_SAR = Conv3x3(width + layers * growth, width)
        self.SwinTransformerBlock = attention

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        x, s = optical, sar
        for layer in self.convs:
            x, s = layer(x, s)
        x, s = self.SwinTransformerBlock(self.LFF(x), self.LFF_SAR(s))
        return x + optical, s + sar


class AlignCR(LocalFusion):
    """The published network for any height and width that are multiples of 16.

    Args:
        input_size: edge of the image in pixels, or (rows, columns); only images of up to 16 pixels need a smaller
            window. None: any size.
        G0, D, C, G: width, blocks, dense layers a block, growth.
        num_heads, window_size, mlp_ratio: of the window attention.
        ks_2d: edge of the per-pixel filters.
        deformable_groups: of the alignment.
        upnet_hidden: width before the pixel shuffle.
        n_shallow_blocks: wide residual blocks of the shallow features.
        bands: optical bands.
    """

    def __init__(
        self,
        input_size: int | tuple[int, int] | None = None,
        G0: int = 96,
        D: int = 6,
        C: int = 5,
        G: int = 48,
        num_heads: int = 8,
        window_size: int = 8,
        ks_2d: int = 5,
        deformable_groups: int = 8,
        upnet_hidden: int = 256,
        mlp_ratio: float = 4.0,
        n_shallow_blocks: int = 5,
        bands: int = 4,
    ) -> None:
        super().__init__(D, G0, ks_2d)
        edge = min(input_size) if isinstance(input_size, (tuple, list)) else input_size
        window, shift = window_for(edge // 2 if edge else None, window_size)
        self.SFE_conv = Conv3x3(4 * bands, G0)
        self.SFE_module = nn.Sequential(*(_WideBlock(G0) for _ in range(n_shallow_blocks)))
        self.SFE_conv_SAR = Conv3x3(8, G0)
        self.SFE_module_SAR = nn.Sequential(*(_WideBlock(G0) for _ in range(n_shallow_blocks)))
        self.RDBs = nn.ModuleList()
        for block in range(D):
            attention = _SwinBlock(G0, window, shift if block % 2 else 0, num_heads, mlp_ratio)
            self.RDBs.append(_DenseBlock(G0, G, C, attention))
        self.SFAlign = nn.ModuleList(FeatureAlignment(G0, deformable_groups) for _ in range(D))
        self.GFF = nn.Sequential(nn.Conv2d(D * G0, G0, 1), Conv3x3(G0, G0))
        self.UPNet = nn.Sequential(
            Conv3x3(G0, upnet_hidden),
            nn.PixelShuffle(2),
            Conv3x3(upnet_hidden // 4, bands),
        )

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Restores one image.

        Args:
            optical: (B, 4, H, W), reflectance clipped to 0..1: blue, green, red, near infrared.
            sar: (B, 2, H, W), VV and VH scaled to 0..1, brought to the optical grid by nearest neighbour.

        Returns:
            (B, 4, H, W) reflectance, not clamped.

        Raises:
            ValueError: H or W does not fit the windows.
        """
        # The original's ReLU works in place, so that the skip at the end adds the rectified features.
        shallow = F.relu(self.SFE_conv(F.pixel_unshuffle(optical, 2)))
        x = self.SFE_module(shallow)
        s = self.SFE_module_SAR(F.relu(self.SFE_conv_SAR(F.pixel_unshuffle(sar, 2))))
        kept = []
        for block, (align, rdb) in enumerate(zip(self.SFAlign, self.RDBs, strict=True)):
            x, s = self.fuse(block, *rdb(x, align(s, x)))
            kept.append(x)
        return self.UPNet(self.GFF(torch.cat(kept, dim=1)) + shallow) + optical
