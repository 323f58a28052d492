"""Clear Vision, stage 2: an attention U-Net over time that rebuilds every frame of a masked series.

https://github.com/caoymg/Clear-Vision, derived by its authors from U-TILISE (arXiv 2305.13277). Written from published
facts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .clearvision_mask import Head
from .winograd import Conv3d3x3

FRAMES = 10
"""The series is always filled up to this length with zero frames, which take part as ordinary frames."""


def _conv(channels: int, out: int) -> Conv3d3x3:
    return Conv3d3x3(channels, out, 1, (0, 1))


class _DoubleConv(nn.Module):
    """Twice conv 3x3 per frame, batch norm, ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            _conv(channels, out),
            nn.BatchNorm3d(out),
            nn.ReLU(inplace=True),
            _conv(out, out),
            nn.BatchNorm3d(out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class _Down(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool3d((1, 2, 2)), _DoubleConv(channels, out))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class _Heads(nn.Module):
    """Attention weights between dates for every bottleneck pixel."""

    def __init__(self, width: int, heads: int, d_k: int) -> None:
        super().__init__()
        self.heads, self.d_k = heads, d_k
        self.fc1_q = nn.Linear(width, heads * d_k)
        self.fc1_k = nn.Linear(width, heads * d_k)
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T, width) to (N, heads, T, T)."""
        q, k = (fc(tokens).unflatten(-1, (self.heads, self.d_k)).transpose(1, 2) for fc in (self.fc1_q, self.fc1_k))
        return self.dropout(torch.softmax(q @ k.transpose(-2, -1) / self.d_k**0.5, dim=-1))


class _Up(nn.Module):
    """Transposed convolution, joined behind the skip that attention has mixed over time."""

    def __init__(self, channels: int, skip: int, heads: int, scale: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.up = nn.ConvTranspose3d(channels, channels, (1, 2, 2), stride=(1, 2, 2))
        self.mlp1 = nn.Linear(heads * skip, skip)
        self.BatchNorm3d1 = nn.BatchNorm3d(skip)
        self.conv = _DoubleConv(skip + channels, skip)

    def _mixed(self, skip: Tensor, attention: Tensor) -> Tensor:
        """(B, C, T, H, W) mixed over T by every head, the heads joined by the linear layer."""
        channels, dates = skip.shape[1:3]
        # Head by head: all heads at full size at once would be the largest tensor of the network. In the linear layer's
        # input the head runs fastest.
        weights = self.mlp1.weight.view(channels, channels, self.heads)
        joined = self.mlp1.bias.view(1, -1, 1, 1, 1)
        for head in range(self.heads):
            planes = F.interpolate(
                attention[head].flatten(1, 2), scale_factor=self.scale, mode="bilinear", align_corners=True
            ).unflatten(1, (dates, dates))
            mixed = skip[:, :, :1] * planes[:, None, :, 0]
            for date in range(1, dates):
                mixed = torch.addcmul(mixed, skip[:, :, date, None], planes[:, None, :, date])
            joined = joined + F.conv3d(mixed, weights[..., head, None, None, None])
        return F.relu(self.BatchNorm3d1(joined))

    def forward(self, x: Tensor, skip: Tensor, attention: Tensor) -> Tensor:
        """(B, C, T, h, w), (B, C', T, H, W), attention (heads, B, T, T, h0, w0) to (B, C', T, H, W)."""
        return self.conv(torch.cat((self._mixed(skip, attention), self.up(x)), dim=1))


class CloudRemovalUNet(nn.Module):
    """The removal network.

    Args:
        n_channels: bands: blue, green, red as published.
        n_head, d_k: of the attention.
        widths: of the four scales.
        mlp_hidden: hidden width of the bottleneck's MLP (None: four times the lowest width).
    """

    def __init__(
        self,
        n_channels: int = 3,
        n_head: int = 4,
        d_k: int = 32,
        widths: Sequence[int] = (64, 128, 256, 256),
        mlp_hidden: int | None = None,
    ) -> None:
        super().__init__()
        w = list(widths)
        hidden = mlp_hidden or 4 * w[3]
        self.n_head = n_head
        self.inc = _DoubleConv(n_channels, w[0])
        self.down1, self.down2, self.down3 = _Down(w[0], w[1]), _Down(w[1], w[2]), _Down(w[2], w[3])
        self.attention_heads = _Heads(w[3], n_head, d_k)
        self.mlp1 = nn.Linear(n_head * w[3], hidden)
        self.BatchNorm3d1 = nn.BatchNorm3d(hidden)
        self.mlp2 = nn.Linear(hidden, w[3])
        self.BatchNorm3d2 = nn.BatchNorm3d(w[3])
        self.dropout = nn.Dropout(0.2)
        self.outlayernorm = nn.LayerNorm(w[3])
        self.up1 = _Up(w[3], w[2], n_head, 2)
        self.up2 = _Up(w[2], w[1], n_head, 4)
        self.up3 = _Up(w[1], w[0], n_head, 8)
        self.outc = Head(nn.Conv3d(w[0], n_channels, 1))

    def _bottleneck(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T, h, w) to the same and the attention (heads, B, T_out, T_in, h, w)."""
        batch, _, dates, height, width = x.shape
        tokens = x.permute(0, 3, 4, 2, 1).reshape(batch * height * width, dates, -1)
        weights = self.attention_heads(tokens)
        heads = weights @ tokens[:, None]
        # The head index runs fastest in the joined features.
        joined = heads.permute(0, 2, 3, 1).flatten(2).view(batch, height, width, dates, -1)
        z = F.relu(self.BatchNorm3d1(self.mlp1(joined).permute(0, 4, 3, 1, 2)))
        z = self.mlp2(z.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        z = self.dropout(F.relu(self.BatchNorm3d2(z)))
        z = self.outlayernorm(z.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        weights = weights.view(batch, height, width, self.n_head, dates, dates)
        return z.contiguous(), weights.permute(3, 0, 4, 5, 1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rebuilds a series.

        Args:
            x: (B, 3, T, H, W): channels before time, blue, green, red in 0..1, hidden pixels 1, zero frames up to
                T = 10.

        Returns:
            the first features (B, 64, T, H, W) and the frames (B, 3, T, H, W), not clamped.
        """
        e1 = self.inc(x)
        e2 = self.down1(e1)
        e3 = self.down2(e2)
        z, attention = self._bottleneck(self.down3(e3))
        z = self.up3(self.up2(self.up1(z, e3, attention), e2, attention), e1, attention)
        return e1, self.outc(z)


def masked_series(frames: np.ndarray, masks: np.ndarray, length: int = FRAMES) -> np.ndarray:
    """The network's input (1, 3, length, H, W): hidden pixels set to 1, zero frames behind.

    Args:
        frames: (T, 3, H, W), blue, green, red in 0..1.
        masks: (T, H, W), 1 = cloud.
        length: frames in all.

    Raises:
        ValueError: more frames than ``length``.
    """
    if len(frames) > length:
        raise ValueError(f"Clear Vision takes up to {length} frames, not {len(frames)}.")
    filled = np.zeros((length, *frames.shape[1:]), np.float32)
    filled[: len(frames)] = np.where(masks[:, None] == 1, np.float32(1), frames)
    return filled.transpose(1, 0, 2, 3)[None]
