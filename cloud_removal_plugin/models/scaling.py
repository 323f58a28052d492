"""How each published network wants its numbers: clips, ranges, and what becomes of missing values.

Values enter in physical units (reflectance with 1.0 = 100 %, backscatter in dB) and leave in the network's own range.
The figures are those of each network's training code (see the network's file for the paper).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

VV_RANGE = (-25.0, 0.0)
VH_RANGE = (-32.5, 0.0)


def fill_with_mean(values: np.ndarray) -> np.ndarray:
    """NaN replaced by the mean of all other values of the array (all bands together), zero where there are none."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    mean = float(np.mean(values[~missing], dtype=np.float64)) if not missing.all() else 0.0
    return np.where(missing, np.asarray(mean, values.dtype), values)


@dataclass(frozen=True)
class Scaling:
    """Ranges of one network.

    Attributes:
        top: network value of reflectance 1.0; the optical range is 0..top.
        radar_top: network value of 0 dB; the radar range is 0..radar_top. 0 = no radar.
        vv, vh: dB ranges that are clipped and stretched to 0..radar_top.
        missing: what becomes of NaN: ``mean`` (of the whole array, before clipping), ``zero`` (after scaling) or
            ``keep``.
        signed: the ranges 0..1 are finally mapped to -1..1.
    """

    top: float = 1.0
    radar_top: float = 1.0
    vv: tuple[float, float] = VV_RANGE
    vh: tuple[float, float] = VH_RANGE
    missing: str = "mean"
    signed: bool = False

    def _finish(self, scaled: np.ndarray) -> np.ndarray:
        if self.missing == "zero":
            scaled = np.where(np.isnan(scaled), np.float32(0), scaled)
        return (2 * scaled - 1 if self.signed else scaled).astype(np.float32)

    def optical(self, reflectance: np.ndarray) -> np.ndarray:
        """Reflectance of any shape to float32 in 0..top (or -1..1); clipped to 0..1 first."""
        values = fill_with_mean(reflectance) if self.missing == "mean" else reflectance
        return self._finish(np.clip(values, 0, 1) * np.float32(self.top))

    def radar(self, backscatter: np.ndarray) -> np.ndarray:
        """VV and VH in dB, (..., 2, H, W), to float32 in 0..radar_top (or -1..1)."""
        values = fill_with_mean(backscatter) if self.missing == "mean" else backscatter
        planes = []
        for plane, (low, high) in enumerate((self.vv, self.vh)):
            clipped = np.clip(values[..., plane, :, :], low, high)
            planes.append((clipped - np.float32(low)) / np.float32(high - low) * np.float32(self.radar_top))
        return self._finish(np.stack(planes, axis=-3))

    def reflectance(self, scaled: np.ndarray) -> np.ndarray:
        """A network's optical output back to reflectance; not clipped."""
        values = (scaled + 1) / 2 if self.signed else scaled
        return (values / self.top).astype(np.float32)

    def times(self, factor: float) -> Scaling:
        """The same with both ranges multiplied by ``factor`` (UnCRtainTS' ``scale_by``)."""
        return replace(self, top=self.top * factor, radar_top=self.radar_top * factor)


DSEN2CR = Scaling(top=5.0, radar_top=2.0)
GLFCR = Scaling()
TUACR = Scaling()
ALIGNCR = Scaling()
UNCRTAINTS = Scaling(vh=VV_RANGE, missing="zero")
"""Before ``scale_by``. VH shares VV's range in the training code."""
UNCRTAINTS_RESNET = Scaling(top=5.0, radar_top=2.0, missing="zero")
SEQ2POINT = Scaling(top=5.0, radar_top=2.0, missing="keep")
SEQ2POINT_DEFAULT = Scaling(vh=VV_RANGE, missing="keep", signed=True)
"""For the sibling generators; the loader alone gives 0..1, the wrapper maps to -1..1."""
UTILISE_EARTHNET = Scaling(radar_top=0.0, missing="zero")
UTILISE_SEN12MSCRTS = Scaling(vh=VV_RANGE, missing="keep")
CLEARVISION = Scaling(radar_top=0.0, missing="keep")
