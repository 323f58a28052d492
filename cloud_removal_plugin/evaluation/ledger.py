"""Sums from which every measure follows, added window by window: the scene is never in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .conventions import Convention
from .formulas import psnr

Measures = dict[str, float | int | None]


class Ledger:
    """The sums of one restored layer, kept apart for every number that :class:`splits.Splits` gives.

    Attributes:
        count, absolute, square, signed: (K, C), over values. similar, windows: (K, C), of SSIM.
        angle, spectra: (K,), of SAM.
        low, high: (C,), extremes of the estimate. truth_low, truth_high: (C,), of the reference.
    """

    def __init__(self, keys: int, bands: int) -> None:
        shape = (keys, bands)
        self.count, self.absolute, self.square, self.signed = (np.zeros(shape) for _ in range(4))
        self.similar, self.windows = np.zeros(shape), np.zeros(shape)
        self.angle, self.spectra = np.zeros(keys), np.zeros(keys)
        self.low, self.high = np.full(bands, np.inf), np.full(bands, -np.inf)
        self.truth_low, self.truth_high = np.full(bands, np.inf), np.full(bands, -np.inf)

    def add_band(
        self, band: int, keys: np.ndarray, estimate: np.ndarray, truth: np.ndarray, similar: np.ndarray
    ) -> None:
        """Add one band of one window; different bands may be added by different threads.

        Args:
            keys: int (H, W). estimate, truth: float32 (H, W), NaN = does not count. similar: local SSIM (H, W).
        """
        error = estimate.astype(np.float64) - truth
        known = np.isfinite(error)
        if not known.any():
            return
        used, error = keys[known], error[known]
        size = len(self.count)
        self.count[:, band] += np.bincount(used, minlength=size)
        self.absolute[:, band] += np.bincount(used, np.abs(error), minlength=size)
        self.square[:, band] += np.bincount(used, error**2, minlength=size)
        self.signed[:, band] += np.bincount(used, error, minlength=size)
        whole = known & np.isfinite(similar)
        self.windows[:, band] += np.bincount(keys[whole], minlength=size)
        self.similar[:, band] += np.bincount(keys[whole], similar[whole], minlength=size)
        self.low[band] = min(self.low[band], float(estimate[known].min()))
        self.high[band] = max(self.high[band], float(estimate[known].max()))
        self.truth_low[band] = min(self.truth_low[band], float(truth[known].min()))
        self.truth_high[band] = max(self.truth_high[band], float(truth[known].max()))

    def add_angles(self, keys: np.ndarray, angles: np.ndarray) -> None:
        """Add spectral angles in radians (H, W), NaN = does not count."""
        known = np.isfinite(angles)
        self.spectra += np.bincount(keys[known], minlength=len(self.spectra))
        self.angle += np.bincount(keys[known], angles[known], minlength=len(self.angle))


@dataclass(frozen=True)
class Reading:
    """Turns sums into measures under one convention.

    Attributes:
        ledger: the sums. convention: how to measure. usable: bool (C,), bands that hold data.
    """

    ledger: Ledger
    convention: Convention
    usable: np.ndarray

    @property
    def peak(self) -> float | None:
        """What PSNR takes as the largest value; None where the convention cannot say (see :func:`guessed_range`)."""
        if not self.convention.guessed_peak:
            return 1.0
        low, high = float(self.ledger.low.min()), float(self.ledger.high.max())
        if high > 1 or low < -1:
            return None
        return 1.0 if low >= 0 else 2.0

    @property
    def constant(self) -> np.ndarray:
        """bool (C,): bands whose reference is one number, so that structure is undefined."""
        return self.usable & (self.ledger.truth_low == self.ledger.truth_high)

    def overall(self, keys: np.ndarray | slice = slice(None)) -> Measures:
        """Measures over all usable bands of the pixels whose numbers are chosen; no SAM of a single band."""
        measures = self._of(keys, np.flatnonzero(self.usable))
        spectra = float(self.ledger.spectra[keys].sum()) if self.usable.sum() > 1 else 0.0
        angle = float(self.ledger.angle[keys].sum()) / spectra if spectra else None
        degrees = self.convention.degrees and angle is not None
        return {**measures, "sam": float(np.degrees(angle)) if degrees else angle}

    def band(self, band: int, keys: np.ndarray | slice = slice(None)) -> Measures:
        """Measures of one band (no SAM: an angle needs several)."""
        return self._of(keys, np.array([band]))

    def _of(self, keys: np.ndarray | slice, bands: np.ndarray) -> Measures:
        ledger = self.ledger
        count = float(ledger.count[keys][:, bands].sum())
        if not count:
            return {"values": 0, "mae": None, "rmse": None, "psnr": None, "ssim": None, "bias": None}
        square = float(ledger.square[keys][:, bands].sum()) / count
        peak = self.peak
        return {
            "values": int(count),
            "mae": float(ledger.absolute[keys][:, bands].sum()) / count,
            "rmse": square**0.5,
            "psnr": None if peak is None else psnr(square, peak, self.convention.perfect),
            "ssim": self._similarity(keys, bands),
            "bias": float(ledger.signed[keys][:, bands].sum()) / count,
        }

    def _similarity(self, keys: np.ndarray | slice, bands: np.ndarray) -> float | None:
        """Mean over windows and bands; bands without structure are left out where the convention says so."""
        if self.convention.leaves_constant:
            bands = bands[~self.constant[bands]]
        windows = float(self.ledger.windows[keys][:, bands].sum())
        return float(self.ledger.similar[keys][:, bands].sum()) / windows if windows else None
