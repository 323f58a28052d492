"""Convolution blocks of U-TILISE with every published option of normalisation, activation and up-sampling.

Stucker, Sainte Fare Garnot, Schindler (2023), doi 10.1109/TGRS.2023.3333391. Written from published facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(),
    "prelu": lambda: nn.PReLU(),
    "mish": lambda: nn.Mish(),
    "gelu": lambda: nn.GELU(),
    "tanh": lambda: nn.Tanh(),
    "sigmoid": lambda: nn.Sigmoid(),
}


def activation(name: str) -> nn.Module:
    """A fresh activation by its published name; ``lrelu,<slope>`` for a leaky ReLU.

    Raises:
        ValueError: an unknown name.
    """
    kind, _, slope = name.partition(",")
    if kind == "lrelu":
        return nn.LeakyReLU(float(slope) if slope else 0.01)
    if kind not in ACTIVATIONS:
        raise ValueError(f"Unknown activation {name!r}: {', '.join(ACTIVATIONS)} or lrelu,<slope>.")
    return ACTIVATIONS[kind]()


@dataclass(frozen=True)
class Style:
    """What the convolutions of one part of the network have in common.

    Attributes:
        norm: ``group``, ``batch``, ``instance`` or None.
        activation: see :func:`activation`.
        padding_mode: of the convolutions, ``reflect`` or ``zeros``.
        n_groups, dim_per_group: of group norms; ``dim_per_group`` counts where ``n_groups`` is -1.
        eps: of group norms.
    """

    norm: str | None
    activation: str
    padding_mode: str
    n_groups: int
    dim_per_group: int | None
    eps: float

    def norm_layers(self, channels: int) -> list[nn.Module]:
        """The normalisation of ``channels`` maps as a list of none or one.

        Raises:
            ValueError: an unknown normalisation.
        """
        if self.norm is None:
            return []
        if self.norm == "batch":
            return [nn.BatchNorm2d(channels)]
        if self.norm == "instance":
            return [nn.InstanceNorm2d(channels)]
        if self.norm != "group":
            raise ValueError(f"Unknown normalisation {self.norm!r}: group, batch, instance or None.")
        groups = self.n_groups
        if groups == -1:
            groups = max(channels // (self.dim_per_group or channels), 1)
        return [nn.GroupNorm(1 if channels <= groups else groups, channels, eps=self.eps)]


def conv_layers(
    widths: list[int], style: Style, kernel: int = 3, stride: int = 1, padding: int = 1, last: nn.Module | None = None
) -> nn.Sequential:
    """Convolutions, each followed by norm and activation; ``last`` takes the place of the last activation."""
    layers: list[nn.Module] = []
    for place, (channels, out) in enumerate(pairwise(widths), start=1):
        mode = style.padding_mode if padding else "zeros"
        layers.append(nn.Conv2d(channels, out, kernel, stride, padding, padding_mode=mode))
        layers += style.norm_layers(out)
        is_last = last is not None and place == len(widths) - 1
        layers.append(last if is_last else activation(style.activation))
    return nn.Sequential(*layers)


class ConvLayer(nn.Module):
    """Convolutions under the name ``conv``."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.conv = layers

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        return self.conv(x)


class ConvBlock(nn.Module):
    """The same one level deeper, ``conv.conv``, as some parts of the checkpoints have it."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.conv = ConvLayer(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        return self.conv(x)


def per_frame(block: nn.Module, x: Tensor, skip: Tensor, fill: float) -> Tensor:
    """Runs ``block`` on the frames that are present; the others become ``fill`` throughout.

    Args:
        block: maps (N, C, H, W) to (N, C', H', W').
        x: (B, T, C, H, W).
        skip: bool (B, T), True for frames that are left out.
        fill: value of left-out frames.

    Returns:
        (B, T, C', H', W').
    """
    batch, dates = x.shape[:2]
    frames = x.flatten(0, 1)
    left_out = skip.flatten()
    if not bool(left_out.any()):
        out = block(frames)
    else:
        # With no frame present one is computed all the same, for the shape.
        present = block(frames[~left_out] if not bool(left_out.all()) else frames[:1])
        out = present.new_full((batch * dates, *present.shape[1:]), fill)
        if not bool(left_out.all()):
            out[~left_out] = present
    return out.unflatten(0, (batch, dates))


def constant_frames(x: Tensor, value: float) -> Tensor:
    """bool (B, T): frames of (B, T, C, H, W) that hold ``value`` and nothing else."""
    # One pixel decides for almost every frame; only the suspects are read through.
    suspects = x[..., 0, 0, 0] == value
    if bool(suspects.any()):
        suspects = (x == value).flatten(2).all(dim=2)
    return suspects


class DownBlock(nn.Module):
    """Strided 4x4 convolution, then a 3x3 one and a residual 3x3 one."""

    def __init__(self, channels: int, out: int, style: Style, strided: tuple[int, int, int]) -> None:
        super().__init__()
        kernel, stride, padding = strided
        self.down = ConvLayer(conv_layers([channels, channels], style, kernel, stride, padding))
        self.conv1 = ConvLayer(conv_layers([channels, out], style))
        self.conv2 = ConvLayer(conv_layers([out, out], style))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out, H/2, W/2)."""
        a = self.conv1(self.down(x))
        return a + self.conv2(a)


class UpConv(nn.Module):
    """Transposed convolution, or bilinear x2 and a 1x1 convolution."""

    def __init__(self, channels: int, out: int, style: Style, kind: str, strided: tuple[int, int, int]) -> None:
        super().__init__()
        if kind == "bilinear":
            first: list[nn.Module] = [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(channels, out, 1),
            ]
        elif kind == "transpose":
            kernel, stride, padding = strided
            first = [nn.ConvTranspose2d(channels, out, kernel, stride, padding)]
        else:
            raise ValueError(f"Unknown up-sampling {kind!r}: transpose or bilinear.")
        self.convtrans = nn.Sequential(*first, *style.norm_layers(out), activation(style.activation))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, out, 2h, 2w)."""
        return self.convtrans(x)


class UpBlock(nn.Module):
    """Up-sampling, joined with the aggregated skip, then a 3x3 convolution and a residual one."""

    def __init__(self, channels: int, out: int, skip: int, style: Style, skip_style: Style, up: UpConv) -> None:
        super().__init__()
        self.skip_conv = ConvBlock(conv_layers([skip, skip], skip_style, kernel=1, padding=0))
        self.up = up
        self.conv1 = ConvBlock(conv_layers([out + skip, out], style))
        self.conv2 = ConvBlock(conv_layers([out, out], style))

    def forward(self, x: Tensor, skip: Tensor, pad_value: float | None) -> Tensor:
        """(B, T, C, h, w) and the skip (B, T, C', H, W) to (B, T, out, H, W).

        Each part passes on frames that hold ``pad_value`` throughout, whatever made them so: as trained.
        """

        def run(block: nn.Module, frames: Tensor) -> Tensor:
            if pad_value is None:
                return block(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            return per_frame(block, frames, constant_frames(frames, pad_value), pad_value)

        joined = torch.cat((run(self.up, x), run(self.skip_conv, skip)), dim=2)
        a = run(self.conv1, joined)
        return a + run(self.conv2, a)
