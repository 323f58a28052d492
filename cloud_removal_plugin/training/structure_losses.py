"""Losses of image structure: structural similarity, its multi-scale mixture with L1, and edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import charbonnier

SSIM_C1, SSIM_C2 = 1e-4, 9e-4
MIXTURE_SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0)
MIXTURE_SHARE = 0.025
MIXTURE_FACTOR = 200.0
BINOMIAL = (0.05, 0.25, 0.4, 0.25, 0.05)


def gaussian_window(size: int, sigma: float, like: Tensor) -> Tensor:
    """A centred Gaussian (size, size) that sums to one, in the dtype and on the device of ``like``."""
    axis = torch.arange(size, dtype=like.dtype, device=like.device) - size // 2
    line = torch.exp(-(axis**2) / (2 * sigma**2))
    line = line / line.sum()
    return torch.outer(line, line)


def _blur(image: Tensor, window: Tensor) -> Tensor:
    """(B, C, H, W) with a window (k, k) on every band; zeros outside."""
    kernel = window.expand(image.shape[1], 1, *window.shape)
    return F.conv2d(image, kernel, padding=window.shape[-1] // 2, groups=image.shape[1])


def _moments(a: Tensor, b: Tensor, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Local squared means, their product, variances and covariance, each (B, C, H, W)."""
    mean_a, mean_b = _blur(a, window), _blur(b, window)
    aa, bb, ab = mean_a * mean_a, mean_b * mean_b, mean_a * mean_b
    return aa + bb, ab, _blur(a * a, window) - aa, _blur(b * b, window) - bb, _blur(a * b, window) - ab


def ssim_map(a: Tensor, b: Tensor, size: int = 5, sigma: float = 1.5) -> Tensor:
    """Local structural similarity (Wang et al. 2004) per band, (B, C, H, W), for values in 0..1; zeros outside."""
    squares, product, var_a, var_b, cov = _moments(a, b, gaussian_window(size, sigma, a))
    return ((2 * product + SSIM_C1) * (2 * cov + SSIM_C2)) / ((squares + SSIM_C1) * (var_a + var_b + SSIM_C2))


def dissimilarity(a: Tensor, b: Tensor, size: int = 5, sigma: float = 1.5) -> Tensor:
    """Mean of clamp(1 - SSIM, 0, 1) / 2 over (B, C, H, W); U-TILISE's structural term."""
    return ((1 - ssim_map(a, b, size, sigma)).clamp(0, 1) / 2).mean()


def multiscale_ssim_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """The mixture of multi-scale SSIM and Gaussian-weighted L1 of Zhao et al. 2017 (doi 10.1109/TCI.2016.2644865).

    The five scales are Gaussians of growing width on the full image, and luminance counts at all of them. As in the
    code that CR_system carries, three bands times five scales are dealt out in a row, so that the first band sees the
    finest five of the fifteen and so on.

    Args:
        prediction, target: (B, 3, H, W) in 0..1.
    """
    size = int(4 * MIXTURE_SIGMAS[-1] + 1)
    windows = torch.stack([gaussian_window(size, sigma, prediction) for sigma in MIXTURE_SIGMAS])
    bank = windows.repeat_interleave(3, dim=0)[:, None]

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(image, bank, padding=size // 2, groups=3)

    mean_p, mean_t = blur(prediction), blur(target)
    squares, product = mean_p**2 + mean_t**2, mean_p * mean_t
    variances = blur(prediction**2) + blur(target**2) - squares
    cov = blur(prediction * target) - product
    light = (2 * product + SSIM_C1) / (squares + SSIM_C1)
    structure = (2 * cov + SSIM_C2) / (variances + SSIM_C2)
    dissimilar = 1 - (light * structure).prod(1)
    coarse_l1 = _blur((prediction - target).abs(), windows[-1]).mean(1)
    return MIXTURE_FACTOR * (MIXTURE_SHARE * dissimilar + (1 - MIXTURE_SHARE) * coarse_l1).mean()


def _laplacian(image: Tensor) -> Tensor:
    """The image less what a pyramid of half its resolution keeps of it (Burt and Adelson 1983)."""
    line = torch.tensor(BINOMIAL, dtype=image.dtype, device=image.device)
    kernel = torch.outer(line, line).expand(image.shape[1], 1, -1, -1)

    def smooth(values: Tensor) -> Tensor:
        return F.conv2d(F.pad(values, (2, 2, 2, 2), mode="replicate"), kernel, groups=values.shape[1])

    sparse = torch.zeros_like(image)
    sparse[:, :, ::2, ::2] = 4 * smooth(image)[:, :, ::2, ::2]
    return image - smooth(sparse)


def edge(prediction: Tensor, target: Tensor) -> Tensor:
    """Charbonnier distance of the Laplacians (Zamir et al. 2021, equation 3); (B, C, H, W) to a scalar."""
    return charbonnier(_laplacian(prediction), _laplacian(target))
