"""U-TILISE's losses over the valid frames of a padded batch of series.

Stucker et al. 2023, doi 10.1109/TGRS.2023.3333391. Frames that only pad a series to the batch's length never count.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .structure_losses import dissimilarity

NAMES = (
    "l1_loss",
    "l1_loss_occluded_input_pixels",
    "l1_loss_observed_input_pixels",
    "ssim_loss",
    "masked_l1_loss",
)


def _selected_l1(prediction: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
    """Mean absolute error over chosen pixels, all bands; 0 where none is chosen.

    Args:
        prediction, target: (N, C, H, W).
        chosen: bool (N, 1, H, W).
    """
    chosen = chosen.expand_as(prediction)
    return torch.where(chosen, (prediction - target).abs(), 0).sum() / chosen.sum().clamp(min=1)


def series_losses(
    prediction: Tensor,
    target: Tensor,
    valid: Tensor,
    weights: Mapping[str, float],
    occluded: Tensor | None = None,
    target_cloud: Tensor | None = None,
) -> dict[str, Tensor]:
    """Every wanted loss, and ``total_loss``, their weighted sum.

    Args:
        prediction, target: (B, T, C, H, W), reflectance in 0..1.
        valid: (B, T), 1 = a frame, 0 = padding.
        weights: names of :data:`NAMES` to their weights.
        occluded: (B, T, 1, H, W), 1 = hidden in the input.
        target_cloud: (B, T, 1, H, W), 1 = cloud in the target itself, where it teaches nothing.

    Raises:
        ValueError: an unknown name, or a mask is missing that a wanted loss needs.
    """
    frames = valid.bool()
    p, t = prediction[frames], target[frames]

    def mask(given: Tensor | None, name: str) -> Tensor:
        if given is None:
            raise ValueError(f"The loss '{name}' needs a mask that the batch does not hold.")
        return given[frames] > 0.5

    losses = {}
    for name in weights:
        if name == "l1_loss":
            losses[name] = (p - t).abs().mean()
        elif name == "ssim_loss":
            losses[name] = dissimilarity(p, t)
        elif name == "l1_loss_occluded_input_pixels":
            losses[name] = _selected_l1(p, t, mask(occluded, name))
        elif name == "l1_loss_observed_input_pixels":
            losses[name] = _selected_l1(p, t, ~mask(occluded, name))
        elif name == "masked_l1_loss":
            losses[name] = _selected_l1(p, t, ~mask(target_cloud, name))
        else:
            raise ValueError(f"Unknown loss '{name}'; known are {', '.join(NAMES)}.")
    losses["total_loss"] = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
    return losses
