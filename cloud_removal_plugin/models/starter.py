"""The starter network: one cloudy date of any of 13 bands, radar where there is some, to one clear image.

Ours, and small: what ships so that a single date without any checkpoint also works. A context network sees the
image at a quarter of its resolution and says what the surface is probably like; a network of single pixels then
decides, band by band, how much of the pixel as it is seen to keep. So clear pixels stay sharp, and under thick
clouds the answer is smooth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bands import SENTINEL2_L1C

BANDS = len(SENTINEL2_L1C)
RADAR = 2
SHRINK = 4
MEAN = (0.1398, 0.1201, 0.1090, 0.1025, 0.1254, 0.1925, 0.2239, 0.2160, 0.2414, 0.0947, 0.0052, 0.1839, 0.1179)
SPREAD = 0.1
"""Reflectance by which deviations from the mean are divided."""
RADAR_MEAN, RADAR_SPREAD = (-11.0, -18.0), 6.0
MOST = 1.6
"""Brighter reflectance is limited to this: nothing under it can be told."""
SIZE_MULTIPLE = 16


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution as a matrix product, which is twice as fast on one thread."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.matmul(self.weight.flatten(1), x.flatten(2)) + self.bias[:, None]
        return flat.unflatten(2, x.shape[2:])


class _Block(nn.Module):
    """Pre-activated residual block: norm, GELU, 3x3, GELU, 3x3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1, groups=4)
        self.mix = _Pointwise(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, groups=4)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.gelu(self.mix(F.gelu(self.first(self.norm(x))))))


class Starter(nn.Module):
    """The network.

    Args:
        widths: of the three scales, a quarter, an eighth and a sixteenth of the resolution; multiples of 8.
        context: planes that the context hands to every pixel.
        hidden: width of the network of single pixels.
    """

    def __init__(self, widths: tuple[int, int, int] = (64, 96, 128), context: int = 24, hidden: int = 48) -> None:
        super().__init__()
        a, b, c = widths
        seen = 2 * BANDS + RADAR + 1
        self.register_buffer("mean", torch.tensor(MEAN).view(1, BANDS, 1, 1), persistent=False)
        self.register_buffer("radar_mean", torch.tensor(RADAR_MEAN).view(1, RADAR, 1, 1), persistent=False)
        self.enter = nn.Conv2d(2 * (BANDS + RADAR) + seen, a, 3, padding=1)
        self.scale1, self.scale2, self.scale3 = _Block(a), _Block(b), nn.Sequential(_Block(c), _Block(c))
        self.down1, self.down2 = nn.Conv2d(a, b, 2, stride=2), nn.Conv2d(b, c, 2, stride=2)
        self.overall = nn.Sequential(nn.Linear(2 * c, c), nn.GELU(), nn.Linear(c, c))
        self.up2, self.up1 = _Pointwise(c, b), _Pointwise(b, a)
        self.back2, self.back1 = _Block(b), _Block(a)
        self.leave = _Pointwise(a, BANDS + context)
        self.pixel = nn.Sequential(
            _Pointwise(seen + BANDS + context, hidden), nn.GELU(), _Pointwise(hidden, hidden), nn.GELU(),
            _Pointwise(hidden, 2 * BANDS),
        )  # fmt: skip
        nn.init.zeros_(self.pixel[-1].weight)
        nn.init.zeros_(self.pixel[-1].bias)

    def _context(self, seen: Tensor, planes: Tensor) -> Tensor:
        """What surrounds every pixel: (B, 13 + context, H, W)."""
        mean = F.avg_pool2d(seen, SHRINK)
        # the darkest of a few pixels is the one that clouds have touched least
        spread = (F.avg_pool2d(planes**2, SHRINK) - F.avg_pool2d(planes, SHRINK) ** 2).clamp(min=0).sqrt()
        least = -F.max_pool2d(-planes, SHRINK)
        x1 = self.scale1(self.enter(torch.cat((mean, spread, least), 1)))
        x2 = self.scale2(self.down1(x1))
        x3 = self.scale3(self.down2(x2))
        both = torch.cat((x3.mean((2, 3)), x3.amax((2, 3))), 1)
        x3 = x3 + self.overall(both)[:, :, None, None]
        x2 = self.back2(x2 + _grown(self.up2(x3), x2))
        x1 = self.back1(x1 + _grown(self.up1(x2), x1))
        return _grown(self.leave(x1), seen)

    def forward(self, optical: Tensor, present: Tensor, radar: Tensor, has_radar: Tensor) -> Tensor:
        """Restores an image.

        Args:
            optical: (B, 13, H, W), reflectance in the order of ``SENTINEL2_L1C``, anything finite where a band is
                not there; H and W are multiples of 16.
            present: (B, 13), 1 = the band is there.
            radar: (B, 2, H, W), VV and VH in dB, anything finite where there is none.
            has_radar: (B,), 1 = there is radar.

        Returns:
            (B, 13, H, W), reflectance; bands that are not there are guesses that nothing was trained on.
        """
        there, heard = present[:, :, None, None], has_radar[:, None, None, None]
        x = (optical.clamp(0, MOST) - self.mean) / SPREAD * there
        # clouds are up to ten times as far from the mean as the ground: logarithms keep both in reach
        shown = torch.asinh(x)
        echo = ((radar - self.radar_mean) / RADAR_SPREAD).clamp(-3, 3) * heard
        planes = torch.cat((shown, echo), 1)
        size = (-1, -1, *optical.shape[2:])
        seen = torch.cat((planes, there.expand(size), heard.expand(size)), 1)
        context = self._context(seen, planes)
        guess = context[:, :BANDS]
        keep, shift = self.pixel(torch.cat((seen, context), 1)).split(BANDS, 1)
        keep = torch.sigmoid(keep)
        return self.mean + SPREAD * (keep * x + (1 - keep) * guess + shift)


def _grown(values: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(values, size=like.shape[2:], mode="bilinear", align_corners=False)
