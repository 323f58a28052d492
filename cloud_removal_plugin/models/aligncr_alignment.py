"""Alignment of radar features to optical ones in Align-CR: two feature pyramids and deformable convolutions.

Xu et al. 2024, doi 10.1109/TGRS.2023.3337845; cascaded pyramid alignment after EDVR (Wang et al. 2019, arXiv
1905.02716). Written from published facts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deform import DeformableConv, upsample

LEVELS = ("l3", "l2", "l1")
"""From coarse to fine."""


def _conv3(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride, 1)


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


class PyramidAlignment(nn.Module):
    """Moves the source features onto the reference, level by level, and once more at full resolution."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        double = 2 * width
        self.offset_conv1 = nn.ModuleDict({level: _conv3(double, width) for level in LEVELS})
        self.offset_conv2 = nn.ModuleDict(
            {level: _conv3(width if level == "l3" else double, width) for level in LEVELS}
        )
        self.offset_conv3 = nn.ModuleDict({level: _conv3(width, width) for level in LEVELS[1:]})
        self.dcn_pack = nn.ModuleDict({level: DeformableConv(width, groups) for level in LEVELS})
        self.feat_conv = nn.ModuleDict({level: _conv3(double, width) for level in LEVELS[1:]})
        self.cas_offset_conv1 = _conv3(double, width)
        self.cas_offset_conv2 = _conv3(width, width)
        self.cas_dcnpack = DeformableConv(width, groups)

    def forward(self, source: dict[str, Tensor], reference: dict[str, Tensor]) -> Tensor:
        """Levels (B, C, h, w) of both pyramids to the aligned source at full resolution (B, C, H, W)."""
        guide_up = features_up = features = source["l1"]
        for level in LEVELS:
            guide = _leaky(self.offset_conv1[level](torch.cat((source[level], reference[level]), dim=1)))
            if level == "l3":
                guide = _leaky(self.offset_conv2[level](guide))
            else:
                guide = _leaky(self.offset_conv2[level](torch.cat((guide, guide_up), dim=1)))
                guide = _leaky(self.offset_conv3[level](guide))
            features = self.dcn_pack[level](source[level], guide)
            if level != "l3":
                features = self.feat_conv[level](torch.cat((features, features_up), dim=1))
            if level != "l1":
                features = _leaky(features)
                # What is doubled is a map of features; the offsets themselves are predicted from it.
                guide_up, features_up = 2 * upsample(guide), upsample(features)
        guide = _leaky(self.cas_offset_conv1(torch.cat((features, reference["l1"]), dim=1)))
        return _leaky(self.cas_dcnpack(features, _leaky(self.cas_offset_conv2(guide))))


class FeatureAlignment(nn.Module):
    """Both pyramids and the alignment. ``src_*`` belongs to the radar, ``ref_*`` to the optical features."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        for side in ("src", "ref"):
            layers = {
                "L2_conv1": _conv3(width, 2 * width, 2),
                "L3_conv1": _conv3(2 * width, 4 * width, 2),
                "toplayer": nn.Conv2d(4 * width, width, 1),
                "smooth1": _conv3(width, width),
                "smooth2": _conv3(width, width),
                "latlayer1": nn.Conv2d(2 * width, width, 1),
                "latlayer2": nn.Conv2d(width, width, 1),
            }
            for name, layer in layers.items():
                setattr(self, f"{side}_{name}", layer)
        self.pcd_align = PyramidAlignment(width, groups)

    def _pyramid(self, side: str, x: Tensor) -> dict[str, Tensor]:
        def layer(name: str, features: Tensor) -> Tensor:
            return getattr(self, f"{side}_{name}")(features)

        second = F.relu(layer("L2_conv1", x))
        third = F.relu(layer("L3_conv1", second))
        p3 = F.relu(layer("toplayer", third))
        p2 = layer("smooth1", upsample(p3) + layer("latlayer1", second))
        p1 = layer("smooth2", upsample(p2) + layer("latlayer2", x))
        return {"l1": p1, "l2": p2, "l3": p3}

    def forward(self, source: Tensor, reference: Tensor) -> Tensor:
        """Radar and optical features (B, C, H, W), H and W multiples of 4, to the aligned radar features."""
        return self.pcd_align(self._pyramid("src", source), self._pyramid("ref", reference))
