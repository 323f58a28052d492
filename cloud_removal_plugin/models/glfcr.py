"""GLF-CR: cloud removal by global (window attention) and local (per-pixel filters) fusion with Sentinel-1.

Xu, Shi, Ebel, Yu, Xia, Yang, Zhu (2022): GLF-CR: SAR-enhanced cloud removal with global-local fusion. ISPRS J.
Photogramm. Remote Sens. 192, 268-278, doi 10.1016/j.isprsjprs.2022.08.002. Written from published facts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .local_fusion import LocalFusion
from .window_attention import (
    DropPath,
    Mlp,
    ShiftedWindows,
    WindowAttention,
    to_channels_first,
    to_channels_last,
    window_for,
)
from .winograd import Conv3x3

DROP_PATH = 0.2
"""Rate of the last dense layer; the rates rise linearly from 0."""


class DenseAttention(ShiftedWindows):
    """One dense layer of both streams: conv and ReLU, gated window attention, MLP; its output joins the stack."""

    def __init__(self, channels: int, growth: int, window: int, shift: int, heads: int, mlp_ratio: float, drop: float):
        super().__init__(window, shift)
        self.conv = nn.Sequential(Conv3x3(channels, growth), nn.ReLU(inplace=True))
        self.conv_SAR = nn.Sequential(Conv3x3(channels, growth), nn.ReLU(inplace=True))
        self.attn = WindowAttention(growth, window, heads)
        self.drop_path = DropPath(drop)
        hidden = int(growth * mlp_ratio)
        self.norm2, self.norm2_SAR = nn.LayerNorm(growth), nn.LayerNorm(growth)
        self.mlp, self.mlp_SAR = Mlp(growth, hidden), Mlp(growth, hidden)

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) twice to (B, C + growth, h, w) twice."""
        f = to_channels_last(self.conv(optical)).contiguous()
        f_sar = to_channels_last(self.conv_SAR(sar)).contiguous()
        a, a_sar = self.attend(f, f_sar)
        f, f_sar = f + self.drop_path(a), f_sar + self.drop_path(a_sar)
        f = f + self.drop_path(self.mlp(self.norm2(f)))
        f_sar = f_sar + self.drop_path(self.mlp_SAR(self.norm2_SAR(f_sar)))
        return torch.cat((optical, to_channels_first(f)), 1), torch.cat((sar, to_channels_first(f_sar)), 1)


class ResidualDenseBlock(nn.Module):
    """Dense layers of both streams, each squeezed back to ``width`` channels and added to its input."""

    def __init__(self, width: int, growth: int, layers: list[DenseAttention]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(layers)
        stacked = width + len(layers) * growth
        self.LFF = Conv3x3(stacked, width)
        self.LFF_SAR = Conv3x3(stacked, width)

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width, h, w) twice to the same."""
        x, s = optical, sar
        for layer in self.convs:
            x, s = layer(x, s)
        return self.LFF(x) + optical, self.LFF_SAR(s) + sar


class GLFCR(LocalFusion):
    """The published network for any height and width that are multiples of 16 (or of 2 where one window holds all).

    Args:
        input_size: edge of the image in pixels, or (rows, columns). Only for images of up to 16 pixels does it matter:
            they need a smaller window, hence other weights. None or 0: any larger size.
        G0, G, C, D: width, growth, dense layers a block, blocks.
        num_heads, window_size, mlp_ratio: of the window attention.
        fac_kernel: edge of the per-pixel filters.
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
        mlp_ratio: float = 2.0,
        fac_kernel: int = 5,
        bands: int = 13,
    ) -> None:
        super().__init__(D, G0, fac_kernel)
        edge = min(input_size) if isinstance(input_size, (tuple, list)) else input_size
        window, shift = window_for(edge // 2 if edge else None, window_size)
        self.SFENet1 = nn.Conv2d(4 * bands, G0, 5, padding=2)
        self.SFENet2 = Conv3x3(G0, G0)
        self.SFENet1_SAR = nn.Conv2d(8, G0, 5, padding=2)
        self.SFENet2_SAR = Conv3x3(G0, G0)
        rates = [DROP_PATH * layer / max(D * C - 1, 1) for layer in range(D * C)]
        self.RDBs = nn.ModuleList()
        for block in range(D):
            layers = [
                DenseAttention(G0 + c * G, G, window, shift if c % 2 else 0, num_heads, mlp_ratio, rates[block * C + c])
                for c in range(C)
            ]
            self.RDBs.append(ResidualDenseBlock(G0, G, layers))
        self.GFF = nn.Sequential(nn.Conv2d(D * G0, G0, 1), Conv3x3(G0, G0))
        self.UPNet = nn.Sequential(Conv3x3(G0, 256), nn.PixelShuffle(2), Conv3x3(64, bands))

    def forward(self, optical: Tensor, sar: Tensor) -> Tensor:
        """Restores one image.

        Args:
            optical: (B, 13, H, W), reflectance clipped to 0..1.
            sar: (B, 2, H, W), VV and VH scaled to 0..1.

        Returns:
            (B, 13, H, W) reflectance, not clamped.

        Raises:
            ValueError: H or W does not fit the windows.
        """
        shallow = self.SFENet1(F.pixel_unshuffle(optical, 2))
        x = self.SFENet2(shallow)
        s = self.SFENet2_SAR(self.SFENet1_SAR(F.pixel_unshuffle(sar, 2)))
        kept = []
        for block, rdb in enumerate(self.RDBs):
            x, s = self.fuse(block, *rdb(x, s))
            kept.append(x)
        x = self.GFF(torch.cat(kept, dim=1)) + shallow
        return self.UPNet(x) + optical
