"""U-TILISE: gap-free satellite image time series from cloud-masked ones, sequence to sequence.

Stucker, Sainte Fare Garnot, Schindler (2023): U-TILISE: A Sequence-to-Sequence Model for Cloud Removal in Optical
Satellite Time Series. IEEE Trans. Geosci. Remote Sens. 61, doi 10.1109/TGRS.2023.3333391. Written from published facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .utilise_blocks import (
    ConvBlock,
    DownBlock,
    Style,
    UpBlock,
    UpConv,
    activation,
    constant_frames,
    conv_layers,
    per_frame,
)
from .utilise_temporal import SkipAggregator, TemporalLayer

SEARCH_COVERAGE = 0.1
"""A window starts at a frame whose masked share is at most this, where there is one near."""


class UTILISE(nn.Module):
    """The network with every published option; the released models are in the records.

    Args:
        input_dim, output_dim: channels in and out (None: as many as in).
        encoder_widths, decoder_widths: from full to lowest resolution (decoder None: as the encoder).
        upconv_type: ``transpose`` or ``bilinear``.
        str_conv_k, str_conv_s, str_conv_p: strided convolutions; ``_up``: transposed ones (None: 4 and 1).
        activation: of all convolutions; ``output_activation``: None or True = the same, False = none.
        encoder_norm, decoder_norm, skip_norm, n_groups, dim_per_group, group_norm_eps: normalisation.
        padding_mode: ``reflect`` or ``zeros``.
        agg_mode: ``att_group``, ``att_mean`` or None.
        n_temporal_encoding_layers, n_head, d_k, bias_qk, ltae_norm, ltae_activation, norm_first, positional_encoding,
            dropout, attn_dropout: of the temporal encoder.
        skip_attention: leaves the temporal encoder out; a U-Net for every frame.
        pad_value: frames that hold nothing else, at position 0, are padding; None: no frame is.
        return_maps: also returns feature maps.
    """

    def __init__(
        self,
        input_dim: int = 4,
        output_dim: int | None = None,
        encoder_widths: Sequence[int] = (64, 64, 64, 128),
        decoder_widths: Sequence[int] | None = (32, 32, 64, 128),
        upconv_type: str = "transpose",
        str_conv_k: int = 4,
        str_conv_s: int = 2,
        str_conv_p: int = 1,
        str_conv_k_up: int | None = 2,
        str_conv_s_up: int | None = 2,
        str_conv_p_up: int | None = 0,
        activation: str = "relu",
        output_activation: str | bool | None = "sigmoid",
        encoder_norm: str | None = None,
        decoder_norm: str | None = None,
        skip_norm: str | None = None,
        n_groups: int = 4,
        dim_per_group: int | None = None,
        group_norm_eps: float = 1e-5,
        padding_mode: str = "reflect",
        agg_mode: str | None = "att_group",
        n_temporal_encoding_layers: int = 1,
        n_head: int = 4,
        d_k: int = 4,
        bias_qk: bool = False,
        ltae_norm: str = "group",
        ltae_activation: str = "relu",
        norm_first: bool = True,
        positional_encoding: bool = True,
        dropout: float = 0.1,
        attn_dropout: float = 0.1,
        skip_attention: bool = False,
        pad_value: float | None = 0.0,
        return_maps: bool = False,
    ) -> None:
        super().__init__()
        encoder, decoder = list(encoder_widths), list(decoder_widths or encoder_widths)
        if len(encoder) != len(decoder) or encoder[-1] != decoder[-1]:
            raise ValueError("Encoder and decoder need as many widths as each other, and the same lowest one.")
        self.input_dim, self.output_dim = input_dim, output_dim or input_dim
        self.pad_value, self.return_maps, self.n_head = pad_value, return_maps, n_head

        def style(norm: str | None) -> Style:
            return Style(norm, activation, padding_mode, n_groups, dim_per_group, group_norm_eps)

        strided = (str_conv_k, str_conv_s, str_conv_p)
        strided_up = (
            4 if str_conv_k_up is None else str_conv_k_up,
            2 if str_conv_s_up is None else str_conv_s_up,
            1 if str_conv_p_up is None else str_conv_p_up,
        )
        enc, dec, skip = style(encoder_norm), style(decoder_norm), style(skip_norm)
        self.in_conv = ConvBlock(conv_layers([input_dim, encoder[0], encoder[0]], enc))
        self.down_blocks = nn.ModuleList(DownBlock(wide, deep, enc, strided) for wide, deep in pairwise(encoder))
        self.up_blocks = nn.ModuleList()
        for level in range(len(encoder) - 2, -1, -1):
            deep, out = decoder[level + 1], decoder[level]
            up = UpConv(deep, out, dec, upconv_type, strided_up)
            self.up_blocks.append(UpBlock(deep, out, encoder[level], dec, skip, up))
        self.temporal_encoder = None
        if not skip_attention:
            self.temporal_encoder = nn.ModuleList(
                TemporalLayer(
                    encoder[-1], n_head, d_k, bias_qk, ltae_norm, ltae_activation, norm_first,
                    positional_encoding, dropout, attn_dropout, group_norm_eps,
                )
                for _ in range(n_temporal_encoding_layers)
            )  # fmt: skip
        self.aggregator = SkipAggregator(None if skip_attention else agg_mode)
        last = _output_activation(output_activation, activation)
        self.out_conv = ConvBlock(conv_layers([decoder[0], decoder[0], self.output_dim], dec, last=last))
        _initialise(self)

    def _padded(self, x: Tensor, days: Tensor | None) -> Tensor:
        """bool (B, T): frames that are padding."""
        if self.pad_value is None:
            return torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        padded = constant_frames(x, self.pad_value)
        return padded if days is None else padded & (days == 0)

    def _shared(self, block: nn.Module, x: Tensor, padded: Tensor) -> Tensor:
        return per_frame(block, x, padded, 0.0 if self.pad_value is None else self.pad_value)

    def _temporal(self, z: Tensor, days: Tensor | None, padded: Tensor) -> tuple[Tensor, Tensor | None]:
        """Bottleneck (B, T, C, h, w) to the same and the last layer's attention (heads, B, T, T, h, w)."""
        if self.temporal_encoder is None:
            return z, None
        batch, dates, _, height, width = z.shape
        tokens = z.flatten(3).permute(0, 3, 1, 2)
        weights = z
        for layer in self.temporal_encoder:
            tokens, weights = layer(tokens, days, padded)
        z = tokens.permute(0, 2, 3, 1).unflatten(3, (height, width))
        weights = weights.view(batch, height, width, self.n_head, dates, dates)
        return z.contiguous(), weights.permute(3, 0, 4, 5, 1, 2)

    def forward(
        self, x: Tensor, batch_positions: Tensor | None = None, return_att: bool = False
    ) -> Tensor | tuple[Any, ...]:
        """Restores every frame of a series.

        Args:
            x: (B, T, C, H, W) in 0..1; hidden pixels are 1 in every optical band; radar last where used.
            batch_positions: (B, T) days (as trained: since 1 January of the same year), or None.
            return_att: also returns the attention (heads, B, T_out, T_in, h, w).

        Returns:
            (B, T, C_out, H, W), or a tuple of it, the attention and the list of feature maps, as asked for.
        """
        padded = self._padded(x, batch_positions)
        maps = [self._shared(self.in_conv, x, padded)]
        for block in self.down_blocks:
            maps.append(self._shared(block, maps[-1], padded))
        z, attention = self._temporal(maps.pop(), batch_positions, padded)
        features = [z]
        for block in self.up_blocks:
            z = block(z, self.aggregator(maps.pop(), attention, padded), self.pad_value)
            if self.return_maps:
                features.append(z)
        out = self._shared(self.out_conv, z, padded)
        extras = ([attention] if return_att else []) + ([features] if self.return_maps else [])
        return (out, *extras) if extras else out


def _output_activation(choice: str | bool | None, others: str) -> nn.Module:
    if choice is False:
        return nn.Identity()
    return activation(others if choice is None or choice is True else choice)


def _initialise(module: nn.Module) -> None:
    """The authors' start values: Xavier-normal weights, unit-normal biases; norms as torch makes them."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias)


def next_window(start: int, frames: int, window: int, coverage: Sequence[float]) -> int:
    """First frame of the window after the one that starts at ``start``.

    Args:
        start: first frame of the current window.
        frames: length of the series.
        window: frames of one window.
        coverage: masked share of every frame; windows start at clear frames where one is near.

    Returns:
        The start; ``frames - window`` for the last window.
    """
    stride = window // 2
    new = start + stride
    if new + window > frames:
        return frames - window
    if coverage[new] > SEARCH_COVERAGE:
        reach = -(-stride // 2)
        near = range(max(0, new - reach), min(new + reach + 1, frames))
        centre = new
        new = min(near, key=lambda frame: (coverage[frame], abs(frame - centre), frame))
    return min(new, frames - window)


def restore_series(
    network: Callable[[Tensor, Tensor | None], Tensor],
    x: Tensor,
    masks: Tensor,
    positions: Tensor | None,
    window: int = 10,
) -> tuple[Tensor, list[int]]:
    """Restores a series of any length by overlapping windows of dates.

    Args:
        network: maps (B, T, C, H, W) and positions to (B, T, C', H, W).
        x: (B, T, C, H, W).
        masks: (B, T, 1, H, W), 1 = hidden.
        positions: (B, T) days or None.
        window: frames at once, as in training.

    Returns:
        (B, T, C', H, W), and the first frame of each window.

    Raises:
        ValueError: a window of fewer than 4 frames, with which the search need not advance.
    """
    if window < 4:
        raise ValueError(f"A window of {window} frames is too short; it must hold at least 4.")
    frames = x.shape[1]

    def predict(start: int) -> Tensor:
        end = min(start + window, frames)
        return network(x[:, start:end], None if positions is None else positions[:, start:end])

    starts = [0]
    first = predict(0)
    out = first.new_empty(x.shape[0], frames, *first.shape[2:])
    out[:, : first.shape[1]] = first
    coverage = masks.float().mean(dim=(0, 2, 3, 4)).tolist()
    end = first.shape[1]
    while end < frames:
        start = next_window(starts[-1], frames, window, coverage)
        new = predict(start)
        difference = (out[:, start:end] - new[:, : end - start]).abs().mean(dim=(0, 2, 3, 4))
        switch = int(torch.argmin(difference))
        out[:, start + switch : start + window] = new[:, switch:]
        starts.append(start)
        end = start + window
    return out, starts
