"""Seeded random fields with the spectrum of nature: clouds, and the demo's terrain and soil, are drawn from these."""

from __future__ import annotations

import numpy as np
from scipy import fft


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], slope: float, longest_px: float, shortest_px: float = 2.0
) -> np.ndarray:
    """A Gaussian random field with a power-law spectrum.

    Args:
        rng: source of randomness.
        shape: (H, W) in pixels.
        slope: exponent of the amplitude spectrum; 1 is rough, 2 is smooth.
        longest_px: wavelengths above this one are damped (the size of the largest blob).
        shortest_px: wavelengths below this one are removed.

    Returns:
        float32 (H, W) with mean 0 and standard deviation 1.
    """
    height, width = shape
    rows = np.fft.fftfreq(height)[:, None]
    cols = np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, cols)
    amplitude = (frequency**2 + (1.0 / longest_px) ** 2) ** (-0.5 * slope)
    amplitude *= np.exp(-((frequency * shortest_px / 2) ** 4))
    amplitude[0, 0] = 0.0
    white = fft.rfft2(rng.standard_normal(shape).astype(np.float32))
    field = fft.irfft2(white * amplitude.astype(np.float32), s=shape)
    return ((field - field.mean()) / field.std()).astype(np.float32)
