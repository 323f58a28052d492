"""The two words of the house: what every method sees, and what every method returns.

Arrays are NumPy (``torch.from_numpy`` shares their memory), so that the methods that need no network also
run on a machine without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

HIDDEN_FROM = 0.5
"""Cloud probability from which a pixel counts as hidden and is restored."""


@dataclass(frozen=True)
class Observation:
    """One window of a scene in physical units, with every date that is known of it.

    Attributes:
        optical: float32 (T, C, H, W), reflectance (1.0 = 100 %), NaN = no data. Index 0 is the target date.
        cloud: float32 (T, H, W), probability of cloud or shadow in 0..1; NaN = unknown: not restored, and
            nothing is learned from it.
        days: float64 (T,), days relative to the target date (``days[0] == 0``).
        bands: C role names of :mod:`bands`, or ``band1`` ... where only the number is known.
        radar: float32 (R, 2, H, W), VV and VH backscatter in dB, NaN = no data; None without radar. A source
            with one polarisation has NaN in the other.
        radar_days: float64 (R,), days relative to the target date.
        pixel_m: ground sampling distance in metres.
        row, col: position of the window's upper left pixel in the scene (seeds and samples depend on it).
    """

    optical: np.ndarray
    cloud: np.ndarray
    days: np.ndarray
    bands: tuple[str, ...]
    radar: np.ndarray | None = None
    radar_days: np.ndarray = field(default_factory=lambda: np.zeros(0))
    pixel_m: float = 10.0
    row: int = 0
    col: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, C, H, W)."""
        return self.optical.shape  # type: ignore[return-value]

    def cut(self, rows: slice, cols: slice) -> Observation:
        """A part of the window, without a copy; both slices have a start."""
        return replace(
            self,
            optical=self.optical[:, :, rows, cols],
            cloud=self.cloud[:, rows, cols],
            radar=None if self.radar is None else self.radar[:, :, rows, cols],
            row=self.row + rows.start,
            col=self.col + cols.start,
        )

    def seen(self) -> np.ndarray:
        """bool (T, H, W): True where a date shows the surface in every band (not hidden, not NaN)."""
        # a sum over bands is finite where every band is, and several times faster than asking each
        return (self.cloud < HIDDEN_FROM) & np.isfinite(self.optical.sum(axis=1))

    def gap(self) -> np.ndarray:
        """bool (H, W): the target's pixels that are to be restored.

        A mask that the analyst gives may ask for pixels that hold no data; a detector never does.
        """
        return self.cloud[0] >= HIDDEN_FROM


@dataclass(frozen=True)
class Restoration:
    """What a method makes of an observation.

    Attributes:
        reflectance: float32 (C, H, W); finite on every pixel of ``Observation.gap()`` that the method could
            restore, NaN or anything elsewhere (kept pixels are never taken from here).
        sigma: float32 (C, H, W), one standard deviation in reflectance, or None where the method has none.
            NaN on a restored pixel means that the error is unknown.
    """

    reflectance: np.ndarray
    sigma: np.ndarray | None = None
