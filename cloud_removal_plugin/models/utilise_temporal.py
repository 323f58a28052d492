"""The temporal encoder of U-TILISE (sequence-to-sequence L-TAE) and the attention-weighted skips.

Stucker, Sainte Fare Garnot, Schindler (2023), doi 10.1109/TGRS.2023.3333391. Written from published facts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .uncrtaints_temporal import PADDED_LOGIT, day_encoding
from .utilise_blocks import activation


class PositionalEncoder:
    """Sinusoids of acquisition dates. Holds no weights.

    Args:
        d: width of one copy.
        T: longest period (1000 as published).
        repeat: copies, one for each head; None = one.
        offset: shift of the frequency index.
    """

    def __init__(self, d: int, T: float = 1000.0, repeat: int | None = None, offset: int = 0) -> None:
        self.d, self.period, self.repeat, self.offset = d, float(T), repeat or 1, offset

    def __call__(self, positions: Tensor) -> Tensor:
        """(B, T) days to (B, T, d * repeat)."""
        return day_encoding(positions, self.d, self.repeat, self.period, self.offset)


class _Heads(nn.Module):
    """Scaled dot-product attention whose values are the tokens themselves, split among the heads."""

    def __init__(self, width: int, heads: int, d_k: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.d_k = heads, d_k
        self.fc_q = nn.Linear(width, heads * d_k, bias=bias)
        self.fc_k = nn.Linear(width, heads * d_k, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, width), bool (N, T) to (N, T, width) and the weights (N, heads, T, T)."""
        q, k = (fc(tokens).unflatten(-1, (self.heads, self.d_k)).transpose(1, 2) for fc in (self.fc_q, self.fc_k))
        v = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        logits = (q @ k.transpose(-2, -1)) / self.d_k**0.5
        weights = torch.softmax(logits.masked_fill(padded[:, None, None, :], PADDED_LOGIT), dim=-1)
        weights = self.dropout(weights)
        return (weights @ v).transpose(1, 2).flatten(2), weights


class _TokenNorm(nn.GroupNorm):
    """Group norm of every token (date and pixel) by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).view_as(x)


class TemporalLayer(nn.Module):
    """One transformer layer over the dates of every bottleneck pixel.

    Args:
        width: channels.
        heads, d_k, bias_qk: of the attention.
        norm: ``group`` (one group a head) or ``layer``.
        mlp_activation: follows the only linear layer.
        norm_first: normalises before attention and MLP (published), else after.
        positional_encoding: adds day numbers to the residual stream.
        dropout, attention_dropout: training only.
        group_norm_eps: of the group norms.

    Raises:
        ValueError: an unknown normalisation.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        d_k: int,
        bias_qk: bool,
        norm: str,
        mlp_activation: str,
        norm_first: bool,
        positional_encoding: bool,
        dropout: float,
        attention_dropout: float,
        group_norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if norm not in ("group", "layer"):
            raise ValueError(f"Unknown normalisation {norm!r} of the temporal encoder: group or layer.")
        self.norm_first = norm_first
        self.positions = PositionalEncoder(width // heads, repeat=heads) if positional_encoding else None
        self.attention_heads = _Heads(width, heads, d_k, bias_qk, attention_dropout)
        self.norm1, self.norm2 = (
            _TokenNorm(heads, width, eps=group_norm_eps) if norm == "group" else nn.LayerNorm(width) for _ in range(2)
        )
        self.activation = activation(mlp_activation)
        # The activation hangs under two names: a PReLU's slope is stored twice in checkpoints.
        self.mlp = nn.Sequential(nn.Linear(width, width), self.activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, days: Tensor | None, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Attends.

        Args:
            tokens: (B, P, T, width): batch, pixels, dates.
            days: (B, T) or None.
            padded: bool (B, T).

        Returns:
            (B, P, T, width), and the weights (B * P, heads, T, T).
        """
        if self.positions is not None and days is not None:
            tokens = tokens + self.positions(days)[:, None].to(tokens.dtype)
        batch, pixels = tokens.shape[:2]
        z = tokens.flatten(0, 1)
        absent = padded.repeat_interleave(pixels, dim=0)
        if self.norm_first:
            attended, weights = self.attention_heads(self.norm1(z), absent)
            z = z + self.dropout(attended)
            z = z + self.dropout(self.mlp(self.norm2(z)))
        else:
            attended, weights = self.attention_heads(z, absent)
            z = self.norm1(z + self.dropout(attended))
            z = self.norm2(z + self.dropout(self.mlp(z)))
        return z.unflatten(0, (batch, pixels)), weights


class SkipAggregator(nn.Module):
    """Mixes the dates of a skip connection by the temporal attention.

    Args:
        mode: ``att_group`` (a head for each group of channels), ``att_mean``, or None (the skip as it is).

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(self, mode: str | None) -> None:
        super().__init__()
        if mode not in ("att_group", "att_mean", None):
            raise ValueError(f"Unknown aggregation {mode!r}: att_group, att_mean or None.")
        self.mode = mode

    def forward(self, skip: Tensor, attention: Tensor | None, padded: Tensor) -> Tensor:
        """(B, T, C, H, W), attention (heads, B, T_out, T_in, h, w), bool (B, T) to (B, T, C, H, W)."""
        if self.mode is None or attention is None:
            return skip
        if self.mode == "att_mean":
            attention = attention.mean(dim=0, keepdim=True)
        size = skip.shape[-2:]
        present = (~padded).to(skip.dtype)[:, None, :, None, None]
        mixed = []
        # Head by head: the weights of all heads at full size would be the largest tensor of the network.
        for weights, group in zip(attention, skip.chunk(len(attention), dim=2), strict=True):
            planes = weights.flatten(1, 2)
            if self.mode == "att_group" and (size[0] <= planes.shape[-2] or size[1] <= planes.shape[-1]):
                planes = F.adaptive_avg_pool2d(planes, size)
            else:
                planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)
            planes = planes.unflatten(1, weights.shape[1:3]) * present
            out = planes[:, :, 0, None] * group[:, :1]
            for date in range(1, group.shape[1]):
                out = torch.addcmul(out, planes[:, :, date, None], group[:, date, None])
            mixed.append(out)
        return torch.cat(mixed, dim=2)
