"""TUA-CR: the meta network that stacks DSen2-CR and GLF-CR, radar and the cloudy image into three bands.

CR_system by Jinming Zhang (no paper), https://github.com/Elm-Forest/CR_system. Written from published facts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .scaling import TUACR as RANGES
from .scaling import fill_with_mean
from .tuacr_blocks import (
    RRDB,
    Encoder,
    FusionBlock,
    PartialBlock,
    PointwiseHead,
    SarTranslation,
    SpatialAttention,
    UnusedBottleneck,
    Up,
    conv3,
)

ATTENTION_REACH = 7
"""Pixels around one that its attention depends on: one of the first convolution, two of each of the three masks."""


class TUACROutput(NamedTuple):
    """What the head returns, every tensor (B, ., H, W)."""

    out: Tensor
    stage2: Tensor
    sar_trans: Tensor
    attention: Tensor
    stage1: Tensor


class TUACR(nn.Module):
    """The ensemble head.

    Args:
        in_channels_sar, in_channels_s2, out_channels: bands.
        ensemble_num: optical stacks: DSen2-CR, GLF-CR, cloudy. Fewer drop predictions from the front.
        num_rrdb: residual-in-residual blocks at the end.
        base_width: width of the first scale (64 as published).
    """

    def __init__(
        self,
        in_channels_sar: int = 2,
        in_channels_s2: int = 13,
        out_channels: int = 3,
        ensemble_num: int = 3,
        num_rrdb: int = 4,
        base_width: int = 64,
    ) -> None:
        super().__init__()
        base, width = base_width, base_width // 2
        self.ensemble_num = ensemble_num
        self.sar_trans = SarTranslation(in_channels_sar, in_channels_s2)
        self.encoder_sar = Encoder(in_channels_s2 + in_channels_sar, base)
        self.encoder_s2 = Encoder(in_channels_s2 * ensemble_num, base)
        self.up1, self.up2 = Up(16 * base, 4 * base), Up(8 * base, 2 * base)
        self.up3, self.up4 = Up(4 * base, base), Up(2 * base, width)
        for scale, factor in enumerate((2, 4, 8, 16, 16), start=1):
            setattr(self, f"fb{scale}", FusionBlock(factor * base))
        self.out_s1 = PointwiseHead(width, in_channels_s2)
        self.conv_in_attn = nn.Sequential(conv3(in_channels_s2, width), nn.ReLU(inplace=True))
        self.sam = SpatialAttention(width)
        self.res_block_attn1, self.res_block_attn2, self.res_block_attn3 = (UnusedBottleneck(width) for _ in range(3))
        for block in range(1, 12):
            setattr(self, f"res_block{block}", PartialBlock(width))
        self.out_s2 = PointwiseHead(width, out_channels)
        self.rrdb_blocks = nn.Sequential(*(RRDB(width) for _ in range(num_rrdb)))
        self.outc = PointwiseHead(width, out_channels)

    def _decode(self, optical: list[Tensor], sar: list[Tensor]) -> Tensor:
        """Fuses both encoders' scales and climbs back to full size: (B, width, H, W)."""
        fused = [getattr(self, f"fb{scale + 1}")(optical[scale], sar[scale]) for scale in range(5)]
        x = self.up1(fused[4], fused[3])
        for up, skip in ((self.up2, fused[2]), (self.up3, fused[1]), (self.up4, fused[0])):
            x = up(x, skip)
        return x

    def _refine(self, x: Tensor, cloudy: Tensor) -> tuple[Tensor, Tensor]:
        """Masked residual blocks, the mask found three times anew in the cloudy image; adds the input."""
        c = self.conv_in_attn(cloudy)
        refined, mask, block = x, x, 0
        for step in range(3):
            mask = self.sam(c)
            for _ in range(3):
                block += 1
                refined = getattr(self, f"res_block{block}")(refined, mask)
                # The last round's update of c would have no reader.
                c = F.relu(c * mask + c) if step < 2 else c
        return self.res_block11(self.res_block10(refined)) + x, mask

    def attend(self, cloudy: Tensor) -> Tensor:
        """The attention of :meth:`forward` alone; a pixel depends on the :data:`ATTENTION_REACH` pixels around it.

        Args:
            cloudy: (B, 13, H, W), reflectance.

        Returns:
            (B, 1, H, W) in 0..1.
        """
        c = self.conv_in_attn(cloudy)
        for _ in range(2):
            mask = self.sam(c)
            for _ in range(3):
                c = F.relu(c * mask + c)
        return self.sam(c)

    def forward(self, dsen2: Tensor, glf: Tensor, sar: Tensor, cloudy: Tensor) -> TUACROutput:
        """Stacks two predictions with the observations.

        Args:
            dsen2, glf: (B, 13, H, W), predictions in reflectance.
            sar: (B, 2, H, W), VV and VH scaled to 0..1.
            cloudy: (B, 13, H, W), reflectance.

        Returns:
            out and stage2 (B, 3, H, W: B2, B3, B4), sar_trans and stage1 (B, 13, H, W), attention (B, 1, H, W);
            none is clamped.
        """
        translated = self.sar_trans(sar)
        stacks = (dsen2, glf, cloudy)[-self.ensemble_num :]
        optical = self.encoder_s2(torch.cat(stacks, dim=1))
        x = self._decode(optical, self.encoder_sar(torch.cat((translated, sar), dim=1)))
        refined, attention = self._refine(x, cloudy)
        out = self.outc(self.rrdb_blocks(refined))
        return TUACROutput(out, self.out_s2(refined), translated, attention, self.out_s1(x))


def stack_inputs(
    dsen2_dn: np.ndarray, glf: np.ndarray, sar_db: np.ndarray, cloudy_dn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The head's inputs as CR_system reads them from its files.

    Args:
        dsen2_dn: (13, H, W), DSen2-CR's file: reflectance x 10000, unclamped.
        glf: (13, H, W), GLF-CR's file: reflectance, unclamped; it is only clipped at 0 (and at 10000).
        sar_db: (2, H, W), dB.
        cloudy_dn: (13, H, W), reflectance x 10000.

    Returns:
        float32 arrays of the same shapes, in the order of :meth:`TUACR.forward`.
    """
    dn = np.float32(10000)
    return (
        RANGES.optical(dsen2_dn / dn),
        np.clip(fill_with_mean(glf), 0, 10000).astype(np.float32),
        RANGES.radar(sar_db),
        RANGES.optical(cloudy_dn / dn),
    )


def final_image(out: np.ndarray) -> np.ndarray:
    """The head's output (3, H, W) to blue, green, red in 0..1 as CR_system shows it."""
    return RANGES.optical(out.astype(np.float32))
