"""The temporal attention of UnCRtainTS: a light L-TAE on a coarse grid and the aggregation of dates it drives.

Ebel, Garnot, Schmitt, Wegner, Zhu (2023): UnCRtainTS, CVPR Workshops, arXiv 2304.05464; L-TAE: Sainte Fare Garnot and
Landrieu (2020), arXiv 2007.00586. Written from published facts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 32
"""Edge of the coarse map on which dates attend to each other, in pixels."""
PADDED_LOGIT = -1000.0


def day_encoding(days: Tensor, width: int, repeat: int, period: float = 1000.0, offset: int = 0) -> Tensor:
    """Sinusoidal encoding of day numbers: (B, T) to (B, T, width * repeat), the same ``width`` values repeated.

    Computed in float32 as the networks were trained, unless the days come in float64; day numbers of about 2000 make
    the rounding visible.
    """
    days = days if days.dtype == torch.float64 else days.float()
    index = torch.arange(offset, offset + width, device=days.device, dtype=days.dtype)
    denominator = torch.pow(period, 2 * torch.div(index, 2, rounding_mode="floor") / width)
    angle = days[..., None] / denominator
    table = torch.empty_like(angle)
    table[..., 0::2] = torch.sin(angle[..., 0::2])
    table[..., 1::2] = torch.cos(angle[..., 1::2])
    return table.repeat(*(1 for _ in days.shape), repeat)


class _Heads(nn.Module):
    """Attention of learned constant queries over dates."""

    def __init__(self, heads: int, d_k: int, width: int) -> None:
        super().__init__()
        self.heads, self.d_k = heads, d_k
        self.Q = nn.Parameter(torch.zeros(heads, d_k))
        self.fc1_k = nn.Linear(width, heads * d_k)
        nn.init.normal_(self.Q, std=(2.0 / d_k) ** 0.5)

    def forward(self, sequence: Tensor, padded: Tensor) -> Tensor:
        """(N, T, width) and bool (N, T) to weights over dates (heads, N, T)."""
        keys = self.fc1_k(sequence).unflatten(-1, (self.heads, self.d_k))
        logits = torch.einsum("nthd,hd->hnt", keys, self.Q) / self.d_k**0.5
        return torch.softmax(logits.masked_fill(padded, PADDED_LOGIT), dim=-1)


class TemporalEncoder(nn.Module):
    """Attention weights over dates on a 32 x 32 grid; with ``use_v`` also the attended values.

    Args:
        channels: width of the frames' features.
        heads, d_k, d_model: of the attention.
        positional_encoding: whether day numbers are added to the sequence.
        use_v: full L-TAE, whose values are fused into the result.
    """

    def __init__(
        self, channels: int, heads: int, d_k: int, d_model: int, positional_encoding: bool = True, use_v: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.d_model = heads, d_model
        self.positional_encoding = positional_encoding
        self.use_v = use_v
        self.inconv = nn.Conv1d(channels, d_model, 1)
        self.attention_heads = _Heads(heads, d_k, d_model)
        self.in_norm = nn.GroupNorm(heads, channels)
        if use_v:
            self.mlp = nn.Sequential(nn.Linear(d_model, channels), nn.BatchNorm1d(channels), nn.ReLU())
            self.dropout = nn.Dropout(0.2)
            self.out_norm = nn.GroupNorm(heads, channels)

    def _values(self, sequence: Tensor, weights: Tensor) -> Tensor:
        """(N, T, d_model) and (heads, N, T) to (N, channels)."""
        parts = sequence.unflatten(-1, (self.heads, -1))
        mixed = torch.einsum("hnt,nthd->nhd", weights, parts).flatten(1)
        return self.out_norm(self.dropout(self.mlp(mixed)))

    def forward(self, frames: Tensor, days: Tensor | None, padded: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attends.

        Args:
            frames: (B, T, C, H, W) features.
            days: (B, T) day numbers, or None.
            padded: bool (B, T), True where a date is absent.

        Returns:
            weights (heads, B, T, 32, 32), and the values (B, C, 32, 32) or None.
        """
        batch, dates, channels = frames.shape[:3]
        coarse = F.adaptive_max_pool2d(frames.flatten(0, 1), GRID)
        sequence = coarse.view(batch, dates, channels, GRID * GRID).permute(0, 3, 2, 1).flatten(0, 1)
        sequence = self.inconv(self.in_norm(sequence)).transpose(1, 2)
        if self.positional_encoding and days is not None:
            table = day_encoding(days, self.d_model // self.heads, self.heads).to(sequence.dtype)
            sequence = sequence + table.repeat_interleave(GRID * GRID, dim=0)
        weights = self.attention_heads(sequence, padded.repeat_interleave(GRID * GRID, dim=0))
        values = None
        if self.use_v:
            values = self._values(sequence, weights).view(batch, GRID, GRID, channels).permute(0, 3, 1, 2)
        weights = weights.view(self.heads, batch, GRID, GRID, dates).permute(0, 1, 4, 2, 3)
        return weights, values


class TemporalAggregator(nn.Module):
    """Collapses the dates of a feature stack by attention weights (``att_group``, ``att_mean``) or the mean.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in ("att_group", "att_mean", "mean"):
            raise ValueError(f"Unknown aggregation {mode!r}: att_group, att_mean or mean.")
        self.mode = mode
        self.dropout = nn.Dropout(0.1)

    def _resized(self, weights: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, T, 32, 32) to (N, T, H, W)."""
        grid = weights.shape[-1]
        if self.mode == "att_group" and size[0] <= grid:
            if grid % size[0] == 0 and size[0] == size[1]:
                return F.avg_pool2d(weights, grid // size[0])
            # The original can only do squares that divide 32; this is the same pooling for every other size.
            return F.adaptive_avg_pool2d(weights, size)
        return F.interpolate(weights, size=size, mode="bilinear", align_corners=False)

    def forward(self, frames: Tensor, weights: Tensor, padded: Tensor) -> Tensor:
        """(B, T, C, H, W), weights (heads, B, T, 32, 32), bool (B, T) to (B, C, H, W)."""
        batch, dates, channels = frames.shape[:3]
        present = (~padded).to(frames.dtype)
        if self.mode == "mean":
            return torch.einsum("btchw,bt->bchw", frames, present / present.sum(1, keepdim=True))
        if self.mode == "att_mean":
            weights = weights.mean(dim=0, keepdim=True)
        heads = weights.shape[0]
        maps = self.dropout(self._resized(weights.flatten(0, 1), frames.shape[-2:]))
        maps = maps.view(heads, batch, dates, *frames.shape[-2:]) * present[None, :, :, None, None]
        groups = frames.view(batch, dates, heads, channels // heads, *frames.shape[-2:])
        maps = maps.permute(2, 1, 0, 3, 4)[:, :, :, None]
        out = groups[:, 0] * maps[0]
        for date in range(1, dates):
            out = torch.addcmul(out, groups[:, date], maps[date])
        return out.flatten(1, 2)
