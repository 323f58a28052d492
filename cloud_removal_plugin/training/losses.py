"""Pixel losses of the published networks. Tensors carry a batch; numbers are in the network's own scale."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

CHARBONNIER_EPSILON = 1e-6
EDGE_EXPONENT = 0.45
CLOUD_WEIGHT = 5.0
LEAST_VARIANCE = 1e-8
LEAST_DISTANCE = 1e-9


def _reduced(values: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return values
    return values.sum() if reduction == "sum" else values.mean()


def l1(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Absolute error of equal shapes, reduced to a scalar by ``mean`` or ``sum``, or not (``none``)."""
    return _reduced((prediction - target).abs(), reduction)


def l2(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared error of equal shapes; ``reduction`` as in :func:`l1`."""
    return _reduced((prediction - target) ** 2, reduction)


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + 1e-6) (CR_system's training; Charbonnier et al. 1994); equal shapes to a scalar."""
    return ((prediction - target) ** 2 + CHARBONNIER_EPSILON).sqrt().mean()


def weighted_charbonnier(prediction: Tensor, target: Tensor, cloud: Tensor) -> Tensor:
    """Align-CR's loss: ((p - t)^2 + 1e-6)^0.45, clouds weighing six times as much as clear pixels.

    Xu et al. 2024, doi 10.1109/TGRS.2023.3337845. The mean is not divided by the weights.

    Args:
        prediction, target: (B, C, H, W), reflectance.
        cloud: (B, 1, H, W), 1 = cloud in the input.
    """
    distance = ((prediction - target) ** 2 + CHARBONNIER_EPSILON) ** EDGE_EXPONENT
    return ((1 + CLOUD_WEIGHT * cloud) * distance).flatten(1).mean(1).mean()


def carl(prediction: Tensor, cloudy: Tensor, target: Tensor, cloud: Tensor, regularisation: float = 1.0) -> Tensor:
    """DSen2-CR's cloud-adaptive regularised loss (Meraner et al. 2020, equation 5).

    Clear pixels are to stay what they were, hidden ones to become the target; a plain L1 term is added.

    Args:
        prediction, cloudy, target: (B, C, H, W), the optical input's scale.
        cloud: (B, 1, H, W), 1 = cloud or shadow in ``cloudy``.
        regularisation: weight of the plain term (lambda).
    """
    adaptive = (1 - cloud) * (prediction - cloudy).abs() + cloud * (prediction - target).abs()
    return adaptive.mean() + regularisation * l1(prediction, target)


def total_variation(image: Tensor) -> Tensor:
    """Squared differences of neighbours, twice the sum of their means over both axes; (B, C, H, W) to a scalar."""
    batch, bands, height, width = image.shape
    rows = (image[:, :, 1:] - image[:, :, :-1]).pow(2).sum() / (bands * (height - 1) * width)
    cols = (image[..., 1:] - image[..., :-1]).pow(2).sum() / (bands * height * (width - 1))
    return 2 * (rows + cols) / batch


def at_least(variance: Tensor, least: float = LEAST_VARIANCE) -> Tensor:
    """Variances of at least ``least`` in a copy; gradients flow as if nothing had been raised."""
    raised = variance.clone()
    with torch.no_grad():
        raised.clamp_(min=least)
    return raised


def gaussian_nll(
    prediction: Tensor, target: Tensor, variance: Tensor, reduction: str = "mean", least: float = LEAST_VARIANCE
) -> Tensor:
    """Negative log-likelihood of independent Gaussians, mean over everything (UnCRtainTS ``GNLL``).

    Variances below 1e-8 count as 1e-8, but gradients flow as if they did not (Ebel et al. 2023, arXiv 2304.05464).

    Args:
        prediction, target: equal shapes.
        variance: the same shape, or 1 where bands share it.
        reduction: ``mean`` or ``sum`` over everything, or ``none``.
        least: what smaller variances count as.
    """
    spread = variance.expand_as(prediction)
    return F.gaussian_nll_loss(prediction, target, spread, full=True, eps=least, reduction=reduction)


def multivariate_nll(
    prediction: Tensor,
    target: Tensor,
    variance: Tensor,
    per_sample: bool = False,
    processes: int = 1,
    reduction: str = "mean",
    least: float = LEAST_VARIANCE,
) -> Tensor:
    """Negative log-likelihood of a Gaussian with diagonal covariance (UnCRtainTS ``MGNLL``), mean over pixels.

    Ebel et al. 2023, arXiv 2304.05464, equation 3. The published code adds the log-determinant of the whole batch to
    every sample, so that for B > 1 it weighs B times as much; that is the default here, as weights were trained so.

    Args:
        prediction, target: (B, 1, C, H, W).
        variance: (B, 1, C, H, W), or (B, 1, 1, H, W) where bands share it.
        per_sample: the textbook value: each sample's own log-determinant.
        processes: that each see an equal part of the batch; the mean of their gradients is then the whole batch's.
        reduction: ``mean`` or ``sum`` over samples and pixels, or ``none``: (B, 1, H, W).
        least: what smaller variances count as.
    """
    bands = prediction.shape[2]
    variance = at_least(variance, least).expand_as(prediction)
    logarithm = variance.log().sum(2)
    if not per_sample:
        logarithm = logarithm.sum(0, keepdim=True) * processes
    distance = torch.nan_to_num(((prediction - target) ** 2 / variance).sum(2), nan=0.0).clamp(min=LEAST_DISTANCE)
    values = 0.5 * (bands * math.log(2 * math.pi) + logarithm + distance)
    return _reduced(values, reduction)


def covariance(variance: Tensor, bands: int, least: float = LEAST_VARIANCE) -> Tensor:
    """Dense covariance matrices (B, 1, C, C, H, W) of variances (B, 1, C or 1, H, W); C times the memory."""
    spread = at_least(variance, least).expand(-1, -1, bands, -1, -1)
    return torch.diag_embed(spread.movedim(2, -1)).movedim((-2, -1), (2, 3))
