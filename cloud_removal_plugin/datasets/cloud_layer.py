"""Clouds and shadows laid over a clear image, so that the truth under them is known.

Cloud optical thickness is fractal noise (a power law in wavenumber, exponent about -5/3 to -3: Davis et al. 1994);
a layer of transmission t in front of a surface r is seen as t r + (1 - t) c, with c the cloud's own reflectance.
Good enough to teach a network what to distrust; not radiative transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..bands import role

ABSORPTION = {"cirrus": 0.35, "swir16": 0.75, "swir22": 0.55, "nir09": 0.9}
"""Reflectance of a thick cloud relative to the visible, where water and ice absorb or little air lies above."""


@dataclass(frozen=True)
class CloudLayer:
    """What is laid over an image.

    Attributes:
        opacity: float32 (H, W), 0 = clear, 1 = nothing of the surface shows.
        brightness: float32 (H, W), the cloud's reflectance in the visible.
        shadow: float32 (H, W), share of the light that is taken away.
    """

    opacity: np.ndarray
    brightness: np.ndarray
    shadow: np.ndarray

    def hidden(self, least: float = 0.04) -> np.ndarray:
        """bool (H, W): where cloud or shadow changes the image by more than ``least``."""
        return (self.opacity > least) | (self.shadow > 2 * least)

    def over(self, clear: np.ndarray, bands: tuple[str, ...], tint: np.ndarray | None = None) -> np.ndarray:
        """The cloudy image.

        Args:
            clear: float32 (C, H, W), reflectance.
            bands: C role names.
            tint: (C,), small factors on the cloud's colour; None for none.
        """
        colour = np.array([ABSORPTION.get(name, 1.0) for name in bands], np.float32)
        colour *= 1 if tint is None else tint.astype(np.float32)
        cloud = colour[:, None, None] * self.brightness
        lit = clear * (1 - _reach(bands)[:, None, None] * self.shadow)
        return (lit * (1 - self.opacity) + cloud * self.opacity).astype(np.float32)


def _reach(bands: tuple[str, ...]) -> np.ndarray:
    """How dark shadows are by band: blue light comes from the whole sky, infrared from the sun alone."""
    centres = [found.centre_nm if (found := role(name)) else 700.0 for name in bands]
    return np.clip(0.55 + 0.45 * (np.array(centres) - 440) / 500, 0.55, 1.0).astype(np.float32)


def fractal(shape: tuple[int, int], rng: np.random.Generator, exponent: float = 2.6) -> np.ndarray:
    """Noise of a power-law spectrum, float32 (H, W), mean 0 and standard deviation 1."""
    rows, cols = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    wavenumber = np.hypot(rows, cols)
    wavenumber[0, 0] = np.inf
    size = (shape[0], shape[1] // 2 + 1)
    spectrum = (rng.standard_normal(size) + 1j * rng.standard_normal(size)) * wavenumber ** (-exponent / 2 - 0.5)
    noise = np.fft.irfft2(spectrum, s=shape)
    return ((noise - noise.mean()) / (noise.std() + 1e-12)).astype(np.float32)


def draw(shape: tuple[int, int], rng: np.random.Generator, cover: float | None = None) -> CloudLayer:
    """A random layer.

    Args:
        shape: (H, W).
        rng: source of every draw.
        cover: share of the image with cloud; None draws one between 0.1 and 1, all of it in every fourth image.
    """
    cover = min(1.0, float(rng.uniform(0.1, 1.3))) if cover is None else cover
    noise = fractal(shape, rng, float(rng.uniform(2.0, 3.4)))
    edge = np.quantile(noise, 1 - cover) if cover < 1 else noise.min()
    thickness = np.maximum(noise - edge, 0) * float(np.exp(rng.uniform(-0.5, 2.5)))
    haze = float(rng.choice([0.0, rng.uniform(0, 0.5)], p=[0.6, 0.4])) * (cover >= 0.5)
    opacity = 1 - np.exp(-thickness - haze)
    brightness = float(rng.uniform(0.3, 1.1)) * (0.85 + 0.15 * np.tanh(fractal(shape, rng, 3.0)))
    away = rng.integers(-40, 41, 2)
    shadow = np.roll(opacity, tuple(int(step) for step in away), axis=(0, 1)) * float(rng.uniform(0.2, 0.75))
    return CloudLayer(opacity.astype(np.float32), brightness.astype(np.float32), shadow.astype(np.float32))
