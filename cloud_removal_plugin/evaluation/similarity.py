"""Structural similarity as the published systems compute it.

Z. Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", equation 13 with
C1 = (0.01 L)^2, C2 = (0.03 L)^2 and L = 1. The systems differ in the window, in where its centre lies and in what lies
beyond the edge, which moves the mean in the third or fourth decimal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

C1, C2 = 1e-4, 9e-4
"""For a data range of 1."""


@dataclass(frozen=True)
class Similarity:
    """One way to compute SSIM.

    Attributes:
        size: edge of the Gaussian window in pixels (odd).
        sigma: its standard deviation in pixels.
        centre: where the Gaussian's centre lies in the window; ``(size - 1) / 2`` is the middle.
        padded: zeros beyond the edge of the image (one value for every pixel); False: only windows that lie inside.
        clamped: local values outside 0..1 count as 0 or 1.
    """

    size: int = 11
    sigma: float = 1.5
    centre: float = 5.0
    padded: bool = True
    clamped: bool = False

    @property
    def halo(self) -> int:
        """Pixels round a pixel that its value depends on."""
        return self.size // 2

    def kernel(self) -> np.ndarray:
        """float64 (size,), sums to one."""
        weights = np.exp(-((np.arange(self.size) - self.centre) ** 2) / (2 * self.sigma**2))
        return weights / weights.sum()

    def local(self, estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """SSIM round every pixel of one band.

        Args:
            estimate, truth: (H, W) reflectance (data range 1), NaN = no data.

        Returns:
            float64 (H, W); NaN where the window meets a pixel without data, or (not ``padded``) the edge.
        """
        missing = ~(np.isfinite(estimate) & np.isfinite(truth))
        holes = bool(missing.any())
        first, second = (np.asarray(part, np.float64) for part in (estimate, truth))
        if holes:
            first, second = np.where(missing, 0.0, first), np.where(missing, 0.0, second)
        mean1, mean2 = self._blurred(first), self._blurred(second)
        power = self._blurred(first * first + second * second)
        cross = self._blurred(first * second)
        product, squares = mean1 * mean2, mean1**2 + mean2**2
        values = (2 * product + C1) * (2 * (cross - product) + C2) / ((squares + C1) * (power - squares + C2))
        if self.clamped:
            np.clip(values, 0.0, 1.0, out=values)
        if holes:
            values[ndimage.maximum_filter(missing, self.size, mode="constant", cval=False)] = np.nan
        if not self.padded:
            _blank_rim(values, self.halo)
        return values

    def _blurred(self, plane: np.ndarray) -> np.ndarray:
        kernel = self.kernel()
        rows = ndimage.correlate1d(plane, kernel, axis=0, mode="constant", cval=0.0)
        return ndimage.correlate1d(rows, kernel, axis=1, mode="constant", cval=0.0)

    def mean(self, estimate: np.ndarray, truth: np.ndarray) -> float:
        """Mean over pixels and bands of (C, H, W); NaN where no window is whole."""
        maps = np.stack([self.local(one, other) for one, other in zip(estimate, truth, strict=True)])
        return float(np.nanmean(maps)) if np.isfinite(maps).any() else float("nan")


def _blank_rim(values: np.ndarray, width: int) -> None:
    """NaN on a frame of ``width`` pixels."""
    values[:width], values[max(values.shape[0] - width, 0) :] = np.nan, np.nan
    values[:, :width], values[:, max(values.shape[1] - width, 0) :] = np.nan, np.nan


CENTRED = Similarity()
"""11 x 11, zeros beyond the edge: UnCRtainTS, SEN12MS-CR-TS."""
INSIDE = Similarity(padded=False)
"""11 x 11, whole windows only: DSen2-CR (TensorFlow's SSIM), and ours."""
OFF_CENTRE = Similarity(centre=5.5)
"""GLF-CR: half of 11 is 5.5, so the window leans to one side."""
SMALL = Similarity(5, 1.5, 2.0)
"""5 x 5: CR_system."""
SMALL_CLAMPED = Similarity(5, 1.5, 2.0, clamped=True)
"""5 x 5, negative similarity counts as none: U-TILISE, whose loss is clamp(1 - SSIM, 0, 1) / 2."""
