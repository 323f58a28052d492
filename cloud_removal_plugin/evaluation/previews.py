"""Pictures as CR_system draws them: RGB stretched between its extremes, a SAR composite, a mask laid over an image."""

from __future__ import annotations

import numpy as np

RAW_LIMIT = 2000.0
"""Digital numbers above this are cut off (it does nothing to reflectance in 0..1)."""


def rgb(bands: np.ndarray, limit: float | None = RAW_LIMIT) -> np.ndarray:
    """Red, green and blue between their joint extremes.

    Args:
        bands: (3, H, W), red first. limit: values are cut to 0..limit; None = not.

    Returns:
        uint8 (H, W, 3).
    """
    image = np.moveaxis(np.asarray(bands, np.float32), 0, -1)
    if limit is not None:
        image = np.clip(image, 0.0, np.float32(limit))
    image = image - np.nanmin(image)
    top = np.nanmax(image)
    if not top > 0:
        return np.zeros(image.shape, np.uint8)
    return np.nan_to_num(255.0 * (image / top)).astype(np.uint8)


def sar(backscatter: np.ndarray) -> np.ndarray:
    """VV in green and VH in blue.

    Args:
        backscatter: (2, H, W), VV and VH in dB.

    Returns:
        uint8 (H, W, 3).
    """
    vv, vh = np.asarray(backscatter, np.float32)
    image = np.zeros((*vv.shape, 3), np.float32)
    image[..., 1] = (np.clip(vv, -25.0, 0.0) + 25.1) * 255 / 25.1
    image[..., 2] = (np.clip(vh, -32.5, 0.0) + 32.6) * 255 / 32.6
    return np.nan_to_num(image).astype(np.uint8)


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A mask in matplotlib's jet colours over an image.

    Args:
        image: uint8 (H, W, 3). mask: float (H, W), 0..1.

    Returns:
        float32 (H, W, 3) in 0..1.
    """
    from matplotlib import colormaps

    colours = colormaps["jet"](np.asarray(mask, np.float32))[..., :3]
    return (0.45 * (image.astype(np.float32) / 255) + 0.55 * colours).astype(np.float32)
