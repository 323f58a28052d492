"""SEN12MS-CR-TS sequence to point: several cloudy dates to one clear image, and its sibling networks.

Ebel, Xu, Schmitt, Zhu (2022): SEN12MS-CR-TS: A Remote Sensing Data Set for Multi-modal Multi-temporal Cloud Removal.
IEEE Trans. Geosci. Remote Sens. 60, doi 10.1109/TGRS.2022.3146246. Written from published facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from .dsen2cr import SAR_BANDS, ScaledResidual
from .winograd import Conv3d3x3, Conv3x3, ReflectedConv3d3x3

OPTICAL_BANDS = 13
RES_SCALE = 0.1
BLOCKS_3D = 5
LEAST_DATES = 3
INIT_STD = 0.02


def image(raw: Tensor) -> Tensor:
    """The generators' tanh output to network units: 0..5, i.e. reflectance x 5."""
    return 5 * (raw + 1) / 2


def _body(channels: int, features: int, blocks: int) -> list[nn.Module]:
    """Convolution, ReLU, residual blocks: the part that dates share; entries 0 .. blocks + 1."""
    return [
        Conv3x3(channels, features),
        nn.ReLU(inplace=True),
        *(ScaledResidual(features, RES_SCALE) for _ in range(blocks)),
    ]


def _initialise(module: nn.Module) -> None:
    """Normal weights of standard deviation 0.02 and zero biases (pix2pix)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            nn.init.normal_(layer.weight, std=INIT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, mean=1.0, std=INIT_STD)
            nn.init.zeros_(layer.bias)


class _Residual3d(nn.Module):
    """pad, conv, ReLU, pad, conv; scaled, added, and a ReLU after the addition."""

    def __init__(self, features: int) -> None:
        super().__init__()
        # the checkpoint counts the padding as a layer
        self.conv_block = nn.Sequential(
            nn.Identity(),
            ReflectedConv3d3x3(features, features, 3, repeat=1),
            nn.ReLU(inplace=True),
            nn.Identity(),
            ReflectedConv3d3x3(features, features, 3, repeat=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.conv_block(x), alpha=RES_SCALE).relu_()


class _DateNetwork(nn.Module):
    """Base of the generators: one body for every date."""

    def __init__(self, resnet_F: int, resnet_B: int, n_input_samples: int, include_S1: bool) -> None:
        super().__init__()
        self.dates = n_input_samples
        channels = OPTICAL_BANDS + (SAR_BANDS if include_S1 else 0)
        self.model_initial = nn.Sequential(*_body(channels, resnet_F, resnet_B))

    def _features(self, frames: Sequence[Tensor] | Tensor) -> list[Tensor]:
        if isinstance(frames, Tensor):
            frames = frames.unbind(1)
        if len(frames) != self.dates:
            raise ValueError(f"This network was built for {self.dates} dates, not {len(frames)}.")
        return [self.model_initial(frame) for frame in frames]


class Seq2Point(_DateNetwork):
    """The published generator: 2-D features of every date, 3-D residual blocks, time collapsed at the end.

    Args:
        resnet_F, resnet_B: width and blocks of the 2-D body.
        n_input_samples: dates, at least 3; fixed by the last layer.
        include_S1: VV and VH behind the 13 optical bands.
        output_nc: bands out.

    Raises:
        ValueError: fewer than 3 dates.
    """

    def __init__(
        self,
        resnet_F: int = 256,
        resnet_B: int = 16,
        n_input_samples: int = 3,
        include_S1: bool = True,
        output_nc: int = OPTICAL_BANDS,
    ) -> None:
        if n_input_samples < LEAST_DATES:
            raise ValueError(f"The sequence network takes at least {LEAST_DATES} dates, not {n_input_samples}.")
        super().__init__(resnet_F, resnet_B, n_input_samples, include_S1)
        self.model_final = nn.Sequential(
            Conv3d3x3(resnet_F, resnet_F, 3, (1, 1)),
            nn.ReLU(inplace=True),
            *(_Residual3d(resnet_F) for _ in range(BLOCKS_3D)),
            nn.Identity(),
            ReflectedConv3d3x3(resnet_F, output_nc, n_input_samples, repeat=0),
            nn.Tanh(),
        )
        _initialise(self)

    def forward(self, frames: Sequence[Tensor] | Tensor) -> Tensor:
        """Restores one image.

        Args:
            frames: T tensors (B, 15, H, W), or one (B, T, 15, H, W): 13 optical bands as reflectance x 5, then VV and
                VH scaled to 0..2; ascending in time.

        Returns:
            (B, 13, H, W) in -1..1; :func:`image` makes reflectance x 5 of it.

        Raises:
            ValueError: another number of dates than the network was built for.
        """
        x = torch.stack(self._features(frames), dim=2)
        for layer in self.model_final:  # one by one: the first input would live to the end else
            x = layer(x)
        return x.squeeze(2)


class _Residual2d(nn.Module):
    """Twice reflect pad, conv, ReLU; added to the input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            Conv3x3(features, features, padding=0),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            Conv3x3(features, features, padding=0),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class PairwiseResNet(_DateNetwork):
    """The 2-D sibling: every pair of dates passes shared blocks, all pairs are joined. Arguments as Seq2Point."""

    def __init__(
        self,
        resnet_F: int = 256,
        resnet_B: int = 16,
        n_input_samples: int = 3,
        include_S1: bool = True,
        output_nc: int = OPTICAL_BANDS,
    ) -> None:
        super().__init__(resnet_F, resnet_B, n_input_samples, include_S1)
        pair = 2 * resnet_F
        joined = pair * (n_input_samples * (n_input_samples - 1) // 2)
        self.model_intermediate = nn.Sequential(*(_Residual2d(pair) for _ in range(4)))
        self.model_final = nn.Sequential(
            *(_Residual2d(joined) for _ in range(4)), Conv3x3(joined, output_nc), nn.Tanh()
        )
        _initialise(self)

    def forward(self, frames: Sequence[Tensor] | Tensor) -> Tensor:
        """As :meth:`Seq2Point.forward`."""
        pairs = combinations(self._features(frames), 2)
        return self.model_final(torch.cat([self.model_intermediate(torch.cat(pair, 1)) for pair in pairs], 1))


class BaselineResNet(nn.Module):
    """The mono-temporal baseline whose body the generators start from; linear output, no long skip.

    Args:
        resnet_F, resnet_B: width and blocks.
        include_S1: VV and VH behind the 13 optical bands.
        output_nc: bands out.
    """

    def __init__(
        self, resnet_F: int = 256, resnet_B: int = 16, include_S1: bool = True, output_nc: int = OPTICAL_BANDS
    ) -> None:
        super().__init__()
        channels = OPTICAL_BANDS + (SAR_BANDS if include_S1 else 0)
        self.model = nn.Sequential(
            *_body(channels, resnet_F, resnet_B),
            Conv3x3(resnet_F, 64),
            nn.ReLU(inplace=True),
            Conv3x3(64, output_nc),
        )
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 15, H, W), scaled as for Seq2Point, to (B, 13, H, W) as reflectance x 5."""
        return self.model(x)


def _needs_bias(norm: str) -> bool:
    """Whether convolutions before this norm carry a bias."""
    if norm not in ("batch", "instance"):
        raise ValueError(f"Unknown normalisation {norm!r}: batch or instance.")
    return norm == "instance"


def _norm(norm: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels)


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017) over all input dates and the image, used in training only.

    Args:
        input_nc: channels of all inputs and the image (3 x 15 + 13 as published).
        ndf: width of the first layer.
        n_layers: layers of stride 2.
        norm: ``batch`` or ``instance``.
    """

    def __init__(self, input_nc: int = 58, ndf: int = 64, n_layers: int = 3, norm: str = "batch") -> None:
        super().__init__()
        bias = _needs_bias(norm)
        layers: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = ndf
        for layer in range(1, n_layers + 1):
            out = ndf * min(2**layer, 8)
            stride = 2 if layer < n_layers else 1
            layers += [nn.Conv2d(width, out, 4, stride, 1, bias=bias), _norm(norm, out), nn.LeakyReLU(0.2)]
            width = out
        self.model = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_nc, H, W) to logits (B, 1, about H/8, about W/8)."""
        return self.model(x)


class PixelDiscriminator(nn.Module):
    """1x1 discriminator. Arguments as PatchDiscriminator; only with instance norm do its later layers lack a bias."""

    def __init__(self, input_nc: int = 58, ndf: int = 64, norm: str = "batch") -> None:
        super().__init__()
        bias = not _needs_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(input_nc, ndf, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(ndf, 2 * ndf, 1, bias=bias),
            _norm(norm, 2 * ndf),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * ndf, 1, 1, bias=bias),
        )
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, input_nc, H, W) to logits (B, 1, H, W)."""
        return self.net(x)
