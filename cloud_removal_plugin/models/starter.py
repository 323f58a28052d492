"""The starter network: one cloudy date of any of 13 bands, radar where there is some, to one clear image.

Ours, and tiny, because some twenty image pairs teach a large one nothing that holds elsewhere. What is known is built
in: a small network of single pixels says, band by band, how far a pixel shows the ground, and how much haze or shadow
to take off; trusted pixels are spread through the others from fine to coarse (normalised convolution, Knutsson and
Westin 1993); where nothing is trusted the answer is the mean of the training images, moved by the radar. Training
finds the trust and how much each scale counts. ``methods/starter.py`` computes the same without PyTorch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bands import SENTINEL2_L1C
from .starter_facts import BANDS, BASIS, CUES, HIDDEN, KEPT, MEAN, POOL, RADAR_MEAN, RADAR_SPREAD, RAYLEIGH, SPREAD

FEATURES = 2 * BANDS + 13
SIZE_MULTIPLE = 64
_PLACE = {name: index for index, name in enumerate(SENTINEL2_L1C)}


class _Pointwise(nn.Linear):
    """A linear map of the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight[None].expand(len(x), -1, -1)
        return torch.baddbmm(self.bias[None, :, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


class Starter(nn.Module):
    """The network.

    Args:
        mean: (13,), mean reflectance of clear images; None = that of all training images.
        covariance: (13, 13), of pixels with and without clouds, by which bands that are not there are guessed.
    """

    def __init__(self, mean: Tensor | None = None, covariance: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN) if mean is None else mean.float())
        self.register_buffer("covariance", 0.01 * torch.eye(BANDS) if covariance is None else covariance.float())
        self.first, self.second = _Pointwise(FEATURES, HIDDEN), _Pointwise(HIDDEN, HIDDEN)
        self.third = _Pointwise(HIDDEN, BANDS + 3)
        self.radar = _Pointwise(4, BANDS)
        for layer in (self.third, self.radar):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.third.bias[BANDS:], -4.0)
        self.trust = nn.Parameter(torch.tensor([1.5, -5.0]))
        # the weight of what is coarser: of the mean, of windows of 64, 16 and 4 pixels, of all that is spread
        self.stiffness = nn.Parameter(torch.tensor([0.15, 0.03, 0.05, 0.1, 0.1]).log())
        self.basis = nn.Parameter(torch.tensor((BASIS, tuple(-value / SPREAD for value in MEAN))))

    def _complete(self, optical: Tensor, present: Tensor) -> Tensor:
        """Deviation from the mean (B, 13, H, W); bands that are not there as the others let expect."""
        there = torch.diag_embed(present)
        rest = torch.eye(BANDS, device=optical.device) - there
        spread = self.covariance + 1e-4 * torch.diag(torch.diag(self.covariance))
        gain = rest @ spread @ there @ torch.linalg.inv(there @ spread @ there + rest) + there
        x = (optical.clamp(0, 1.6) - self.mean[:, None, None]) * present[:, :, None, None]
        return torch.bmm(gain, x.flatten(2)).unflatten(2, x.shape[2:])

    def forward(
        self, optical: Tensor, present: Tensor, radar: Tensor, has_radar: Tensor, hidden: Tensor, has_mask: Tensor
    ) -> Tensor:
        """Restores an image.

        Args:
            optical: (B, 13, H, W), reflectance in the order of ``SENTINEL2_L1C``, anything finite where a band is
                not there; H and W are multiples of 64.
            present: (B, 13), 1 = the band is there.
            radar: (B, 2, H, W), VV and VH in dB, anything finite where there is none.
            has_radar: (B,), 1 = there is radar.
            hidden: (B, H, W), 1 = a mask calls the pixel hidden; anything finite where there is no mask.
            has_mask: (B,), 1 = there is a mask; else the network finds clouds by itself.

        Returns:
            (B, 13, H, W), reflectance; bands that are not there are guesses that nothing was trained on.
        """
        size = optical.shape[2:]
        x = self._complete(optical, present)
        reflectance = x + self.mean[:, None, None]
        out, cloud, near = self._pixels(x, reflectance, present, hidden, has_mask)
        logit = out[:, :BANDS] + (self.trust[0] + self.trust[1] * torch.maximum(cloud, 0.5 * near))
        trust = torch.sigmoid(logit)
        haze = F.softplus(out[:, BANDS:])
        rayleigh = x.new_tensor(RAYLEIGH)[:, None, None]
        x = x + haze[:, 2:] * (reflectance - rayleigh)
        veil = torch.bmm(self.basis.t()[None].expand(len(x), -1, -1), haze[:, :2].flatten(2))
        x = x - SPREAD * veil.unflatten(2, size)
        level = _grown(self._heard(radar, has_radar), size)
        found = self._spread(trust, x - level) + level
        kept = 1.0 if self.training else KEPT
        return self.mean[:, None, None] + kept * found

    def _pixels(
        self, x: Tensor, reflectance: Tensor, present: Tensor, hidden: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the network of single pixels says (B, 16, H, W), cloud and cloud nearby (B, 1, H, W)."""
        size = x.shape[2:]
        shown = (x / SPREAD).clamp(-2, 5)
        cues = self._cues(reflectance)
        masked = has_mask[:, None, None, None]
        cloud = torch.where(masked > 0, hidden[:, None], cues[:, :1])
        pooled = F.avg_pool2d(shown, POOL)
        rough = (F.avg_pool2d(shown[:, 1:2] ** 2, POOL) - pooled[:, 1:2] ** 2).clamp(min=0).sqrt()
        near = F.avg_pool2d(F.max_pool2d(cloud, POOL), 5, 1, 2, count_include_pad=False)
        around = _grown(torch.cat((pooled, rough, near), 1), size)
        infrared = shown[:, (_PLACE["nir08"], _PLACE["swir16"])].mean((2, 3))
        scene = torch.cat((cloud.mean((2, 3)), infrared, (1 - present.mean(1))[:, None], has_mask[:, None]), 1)
        scene = scene[:, :, None, None].expand(-1, -1, *size)
        seen = torch.cat((shown, cues, cloud, around, scene), 1)
        first = F.relu(self.first(seen))
        return self.third(first + F.relu(self.second(first))), cloud, around[:, -1:]

    def _cues(self, reflectance: Tensor) -> Tensor:
        """Cloud by the rules, haze, colour, snow and cirrus (B, 5, H, W); see ``clouds/rules.py``."""
        blue, green, red = (reflectance[:, _PLACE[name]] - CUES[name] for name in ("blue", "green", "red"))
        swir, cirrus = reflectance[:, _PLACE["swir16"]], reflectance[:, _PLACE["cirrus"]]
        haze = blue - 0.5 * red
        visible = torch.stack((blue, green, red), 1).clamp(min=0.005)
        colour = ((visible.amax(1) - visible.amin(1)) / visible.mean(1)).clamp(0, 1.5)
        snow = ((green - swir) / (green + swir).clamp(min=0.02)).clamp(-1, 1)
        logit = -2.9 + 26 * blue.clamp(max=0.35) + 13.4 * haze.clamp(-0.05, 0.2) - 2.9 * colour.clamp(max=1.2)
        logit = logit + 1.8 * snow.clamp(-0.7, -0.1) + 227 * (cirrus - 0.003).clamp(0, 0.03)
        return torch.stack((torch.sigmoid(logit), 10 * haze, colour, snow, (30 * cirrus).clamp(max=3)), 1)

    def _heard(self, radar: Tensor, has_radar: Tensor) -> Tensor:
        """Deviation from the mean that the radar lets expect, at a quarter of the resolution."""
        heard = has_radar[:, None, None, None]
        echo = ((radar - radar.new_tensor(RADAR_MEAN)[:, None, None]) / RADAR_SPREAD).clamp(-3, 3) * heard
        echo = F.avg_pool2d(echo, 4)
        both = torch.cat((echo, echo[:, :1] * echo[:, 1:], echo[:, 1:] - echo[:, :1]), 1)
        return 0.05 * heard * self.radar(both)

    def _spread(self, trust: Tensor, x: Tensor) -> Tensor:
        """Trusted deviations, spread through the others from coarse to fine."""
        stiff = self.stiffness.exp()
        levels = [(F.avg_pool2d(trust * x, 4), F.avg_pool2d(trust, 4))]
        for _ in range(2):
            levels.append(tuple(F.avg_pool2d(part, 4) for part in levels[-1]))
        found = (trust * x).mean((2, 3), keepdim=True) / (trust.mean((2, 3), keepdim=True) + stiff[0])
        for place, parts in enumerate(reversed(levels)):
            total, weight = (F.avg_pool2d(part, 3, 1, 1, count_include_pad=False) for part in parts)
            coarse = _grown(found, total.shape[2:])
            found = (total + stiff[1 + place] * coarse) / (weight + stiff[1 + place])
        return (trust * x + stiff[4] * _grown(found, x.shape[2:])) / (trust + stiff[4])


def _grown(values: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    return F.interpolate(values, size=tuple(size), mode="bilinear", align_corners=False)
