"""Error measures on arrays: reflectance in, numbers out. An average over nothing is NaN."""

from __future__ import annotations

import numpy as np


def errors(estimate: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Estimate minus truth as float64; (N,) of the values where ``where`` (broadcast over bands) is true, if given."""
    difference = np.asarray(estimate, np.float64) - np.asarray(truth, np.float64)
    return difference if where is None else difference[np.broadcast_to(where, difference.shape)]


def mae(error: np.ndarray) -> float:
    """Mean absolute error."""
    return float(np.abs(error).mean()) if error.size else float("nan")


def mse(error: np.ndarray) -> float:
    """Mean square error."""
    return float(np.square(error).mean()) if error.size else float("nan")


def rmse(error: np.ndarray) -> float:
    """Root mean square error."""
    return float(np.sqrt(mse(error)))


def psnr(square: float, peak: float = 1.0, perfect: float = float("inf")) -> float:
    """Peak signal-to-noise ratio in dB.

    Args:
        square: mean square error.
        peak: largest value that the data can have.
        perfect: what a square of zero gives.
    """
    if square == 0:
        return perfect
    return float(10 * np.log10(peak**2 / square)) if square > 0 else float("nan")


def angles(first: np.ndarray, second: np.ndarray, axis: int = 0) -> np.ndarray:
    """Spectral angle in radians (Kruse et al. 1993, SAM).

    Args:
        first, second: spectra along ``axis``.

    Returns:
        float64, without ``axis``; NaN where a spectrum is zero in every band or has a band without data.
    """
    one, other = (np.asarray(part, np.float64) for part in (first, second))
    product = (one * other).sum(axis=axis)
    lengths = np.sqrt(np.square(one).sum(axis=axis)) * np.sqrt(np.square(other).sum(axis=axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.arccos(np.clip(product / lengths, -1.0, 1.0))


def guessed_range(estimate: np.ndarray) -> float | None:
    """The data range that scikit-image takes for floats from an image: 1 if nothing is negative, else 2.

    None where a value lies outside -1..1, which scikit-image refuses.
    """
    low, high = float(np.nanmin(estimate)), float(np.nanmax(estimate))
    if high > 1 or low < -1:
        return None
    return 1.0 if low >= 0 else 2.0
