"""UnCRtainTS: cloud removal from one or several dates with a variance for every pixel and band.

Ebel, Garnot, Schmitt, Wegner, Zhu (2023): UnCRtainTS: Uncertainty Quantification for Cloud Removal in Optical
Satellite Time Series. CVPR Workshops (EarthVision), arXiv 2304.05464. Written from published facts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .uncrtaints_temporal import TemporalAggregator, TemporalEncoder

OPTICAL_BANDS = 13
GROUPS = 4


def _norm(kind: str | None, channels: int) -> nn.Module:
    if kind == "group":
        return nn.GroupNorm(GROUPS, channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    if kind is None or kind == "none":
        return nn.Identity()
    raise ValueError(f"Unknown normalisation {kind!r}: group, batch, instance or none.")


class _ConvLayer(nn.Module):
    """conv, norm, ReLU in a Sequential called ``conv``; with ``last`` the convolution alone."""

    def __init__(self, channels: int, out: int, size: int, norm: str | None, padding_mode: str, last: bool = False):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, out, size, padding=size // 2, padding_mode=padding_mode)]
        if not last:
            normed = _norm(norm, out)
            layers += [normed] if not isinstance(normed, nn.Identity) else []
            layers += [nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _PointwiseConv(nn.Module):
    """A 1x1 convolution layer under the checkpoint's nesting ``conv.conv.<i>``."""

    def __init__(self, channels: int, out: int, norm: str | None = None, last: bool = False) -> None:
        super().__init__()
        self.conv = _ConvLayer(channels, out, 1, norm, "zeros", last)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def _in_place() -> bool:
    """Whether maps may be overwritten: nobody asks for gradients."""
    return not torch.is_grad_enabled()


class _GELU(nn.GELU):
    """In inference in place: the maps are what the time goes into, and nobody else reads them."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.gelu_(x) if _in_place() else super().forward(x)


class _SqueezeExcite(nn.Module):
    """Channel weights from the global mean (Hu et al. 2018), without biases; in inference in place."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False), nn.GELU(), nn.Linear(hidden, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc(x.mean(dim=(-2, -1)))[..., None, None]
        return x.mul_(weights) if _in_place() else x * weights


class _PreNorm(nn.Module):
    def __init__(self, norm: nn.Module, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = norm, fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class MBConv(nn.Module):
    """Inverted bottleneck: expand by 2, depthwise 3x3, squeeze-excite, project; added to the input."""

    def __init__(self, channels: int, norm: str | None, padding_mode: str, expansion: int = 2) -> None:
        super().__init__()
        wide = channels * expansion
        self.conv = _PreNorm(
            _norm(norm, channels),
            nn.Sequential(
                nn.Conv2d(channels, wide, 1, bias=False),
                _norm(norm, wide),
                _GELU(),
                nn.Conv2d(wide, wide, 3, padding=1, padding_mode=padding_mode, groups=wide, bias=False),
                _norm(norm, wide),
                _GELU(),
                _SqueezeExcite(wide, int(channels * 0.25)),
                nn.Conv2d(wide, channels, 1, bias=False),
                _norm(norm, channels),
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return self.conv(x).add_(x) if _in_place() else x + self.conv(x)


class ResidualConv(nn.Module):
    """Three layers of conv 3x3, norm, ReLU, added to the input."""

    def __init__(self, channels: int, norm: str | None, padding_mode: str) -> None:
        super().__init__()
        self.conv1 = _ConvLayer(channels, channels, 3, norm, padding_mode)
        self.conv2 = _ConvLayer(channels, channels, 3, norm, padding_mode)
        self.conv3 = _ConvLayer(channels, channels, 3, norm, padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.conv3(self.conv2(self.conv1(x)))


def _initialise(module: nn.Module) -> None:
    """The authors' start values: Xavier-normal weights and unit-normal biases; GroupNorm as torch makes it."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_normal_(layer.weight)
        elif isinstance(layer, (nn.Conv1d, nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            is_norm = isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))
            nn.init.zeros_(layer.bias) if is_norm else nn.init.normal_(layer.bias)


class UnCRtainTS(nn.Module):
    """Mono- and multi-temporal network with every published option.

    Args:
        input_dim: channels of a frame: VV and VH first (where used), then 13 optical bands.
        encoder_widths, decoder_widths: one block for each entry.
        out_conv: one entry, the output channels: 13 means, then 0, 1 (iso) or 13 (diag, uni) variances.
        out_nonlin_mean: means pass ``scale_by * sigmoid``.
        out_nonlin_var: ``softplus``, ``elu`` or ``relu`` (broken in the original; here relu + eps).
        agg_mode: ``att_group``, ``att_mean`` or ``mean``.
        encoder_norm, decoder_norm: ``group`` (4 groups), ``batch``, ``instance`` or None.
        n_head, d_model, d_k, positional_encoding, use_v: of the temporal attention.
        pad_value: a frame that holds nothing else is an absent date; None: none is.
        covmode: ``diag``, ``uni`` or ``iso``; says how the variances are read and changes no layer.
        scale_by: factor by which inputs and targets are scaled.
        separate_out: means and variances have a 1x1 convolution each.
        block_type: ``mbconv`` or ``residual``.
        is_mono: one date, no attention.

    Raises:
        ValueError: an option that does not exist.
    """

    def __init__(
        self,
        input_dim: int = 15,
        encoder_widths: Sequence[int] = (128,),
        decoder_widths: Sequence[int] = (128,) * 5,
        out_conv: Sequence[int] = (26,),
        out_nonlin_mean: bool = True,
        out_nonlin_var: str = "softplus",
        agg_mode: str = "att_group",
        encoder_norm: str | None = "group",
        decoder_norm: str | None = "batch",
        n_head: int = 16,
        d_model: int = 256,
        d_k: int = 4,
        pad_value: float | None = 0.0,
        padding_mode: str = "reflect",
        positional_encoding: bool = True,
        covmode: str = "diag",
        scale_by: float = 10.0,
        separate_out: bool = False,
        use_v: bool = False,
        block_type: str = "mbconv",
        is_mono: bool = False,
    ) -> None:
        super().__init__()
        if block_type not in ("mbconv", "residual"):
            raise ValueError(f"Unknown block {block_type!r}: mbconv or residual.")
        if out_nonlin_var not in ("softplus", "elu", "relu"):
            raise ValueError(f"Unknown variance head {out_nonlin_var!r}: softplus, elu or relu.")
        self.pad_value, self.scale_by, self.is_mono = pad_value, float(scale_by), is_mono
        self.covmode, self.out_nonlin_mean, self.out_nonlin_var = covmode, out_nonlin_mean, out_nonlin_var
        self.separate_out, self.use_v = separate_out, use_v
        block = MBConv if block_type == "mbconv" else ResidualConv
        width = encoder_widths[0]
        self.in_conv = _PointwiseConv(input_dim, width, encoder_norm)
        self.in_block = nn.ModuleList(block(w, encoder_norm, padding_mode) for w in encoder_widths)
        if not is_mono:
            self.temporal_encoder = TemporalEncoder(width, n_head, d_k, d_model, positional_encoding, use_v)
            self.temporal_aggregator = TemporalAggregator(agg_mode)
            if use_v:
                self.include_v = nn.Conv2d(2 * width, width, 1)
        self.out_block = nn.ModuleList(block(w, decoder_norm, padding_mode) for w in decoder_widths)
        if separate_out:
            self.out_conv_mean_1 = _PointwiseConv(decoder_widths[-1], OPTICAL_BANDS, last=True)
            variances = out_conv[-1] - OPTICAL_BANDS
            self.out_conv_var_1 = _PointwiseConv(decoder_widths[-1], variances, last=True) if variances else None
        else:
            self.out_conv = _PointwiseConv(decoder_widths[-1], out_conv[-1], last=True)
        _initialise(self)

    def _collapse(self, features: Tensor, padded: Tensor, days: Tensor | None) -> Tensor:
        """(B, T, C, H, W) to (B, C, H, W) by attention over dates."""
        weights, values = self.temporal_encoder(features, days, padded)
        out = self.temporal_aggregator(features, weights, padded)
        if values is None:
            return out
        values = F.interpolate(values, size=out.shape[-2:], mode="bilinear", align_corners=False)
        return self.include_v(torch.cat((out, values), dim=1))

    def _variance(self, raw: Tensor) -> Tensor:
        """Positive map of the variance head; eps as published."""
        eps = 1e-9 if self.scale_by == 1.0 else 1e-3
        if self.out_nonlin_var == "elu":
            return F.elu(raw) + 1 + eps
        return (F.softplus(raw) if self.out_nonlin_var == "softplus" else F.relu(raw)) + eps

    def forward(self, x: Tensor, batch_positions: Tensor | None = None) -> Tensor:
        """Restores one image from T dates.

        Args:
            x: (B, T, C, H, W), radar first, everything times ``scale_by``; T = 1 for the mono variant.
            batch_positions: (B, T) days since 2014-04-03 (with radar the mean of both acquisitions' days).

        Returns:
            (B, 1, K, H, W): 13 means, then the variances, both in scaled units (divide by ``scale_by`` and its square).

        Raises:
            ValueError: the mono variant was given several dates.
        """
        batch, dates = x.shape[:2]
        if self.is_mono and dates != 1:
            raise ValueError(f"The mono-temporal UnCRtainTS takes one date, not {dates}.")
        padded = torch.zeros(batch, dates, dtype=torch.bool, device=x.device)
        if self.pad_value is not None:
            padded = (x == self.pad_value).flatten(2).all(dim=2)
        features = self.in_conv(x.flatten(0, 1))
        for block in self.in_block:
            features = block(features)
        features = features.view(batch, dates, *features.shape[1:])
        out = features[:, 0] if self.is_mono else self._collapse(features, padded, batch_positions)
        for block in self.out_block:
            out = block(out)
        if self.separate_out:
            mean = self.out_conv_mean_1(out)
            variance = mean[:, :0] if self.out_conv_var_1 is None else self.out_conv_var_1(out)
        else:
            out = self.out_conv(out)
            mean, variance = out[:, :OPTICAL_BANDS], out[:, OPTICAL_BANDS:]
        if self.out_nonlin_mean:
            mean = self.scale_by * torch.sigmoid(mean)
        if variance.shape[1]:
            mean = torch.cat((mean, self._variance(variance)), dim=1)
        return mean[:, None]
