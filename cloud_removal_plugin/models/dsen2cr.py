"""DSen2-CR: residual network that fuses one cloudy Sentinel-2 image with Sentinel-1.

Meraner, Ebel, Zhu, Schmitt (2020): Cloud removal in Sentinel-2 imagery using a deep residual neural network and
SAR-optical data fusion. ISPRS J. Photogramm. Remote Sens. 166, 333-346, doi 10.1016/j.isprsjprs.2020.05.013.
Written from published facts, not from the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .winograd import Conv3x3

OPTICAL_BANDS = 13
SAR_BANDS = 2


class ScaledResidual(nn.Module):
    """conv - ReLU - conv, scaled, added to the input; nothing after the addition (He et al. 2016, without norms)."""

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.conv_block = nn.Sequential(
            Conv3x3(features, features),
            nn.ReLU(inplace=True),
            Conv3x3(features, features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) to (B, F, H, W)."""
        return torch.add(x, self.conv_block(x), alpha=self.scale)


def he_uniform(module: nn.Module) -> None:
    """He-uniform kernels over the fan-in and zero biases, for every convolution in ``module``."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


class DSen2CR(nn.Module):
    """The published network: 16 blocks of 256 features; with or without radar.

    Args:
        num_layers: residual blocks.
        feature_size: width of the body.
        include_sar_input: whether VV and VH are stacked behind the optical bands.
        res_scale: factor of each residual branch.
        optical_channels: optical bands in and out.
    """

    def __init__(
        self,
        num_layers: int = 16,
        feature_size: int = 256,
        include_sar_input: bool = True,
        res_scale: float = 0.1,
        optical_channels: int = OPTICAL_BANDS,
    ) -> None:
        super().__init__()
        self.include_sar_input = include_sar_input
        channels = optical_channels + (SAR_BANDS if include_sar_input else 0)
        self.model = nn.Sequential(
            Conv3x3(channels, feature_size),
            nn.ReLU(inplace=True),
            *(ScaledResidual(feature_size, res_scale) for _ in range(num_layers)),
            Conv3x3(feature_size, optical_channels),
        )
        he_uniform(self)

    def forward(self, optical: Tensor, sar: Tensor | None = None) -> Tensor:
        """Restores one image.

        Args:
            optical: (B, 13, H, W), top-of-atmosphere reflectance x 5 (DN / 2000), clipped to 0..5.
            sar: (B, 2, H, W), VV and VH scaled to 0..2; ignored by the variant without radar.

        Returns:
            (B, 13, H, W) in the units of ``optical``, not clamped.

        Raises:
            ValueError: radar is missing where the variant needs it.
        """
        if self.include_sar_input and sar is None:
            raise ValueError("This DSen2-CR variant needs radar (VV, VH) beside the optical bands.")
        stacked = torch.cat((optical, sar), dim=1) if self.include_sar_input else optical
        return optical + self.model(stacked)
