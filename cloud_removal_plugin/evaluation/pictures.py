"""Arrays as pictures that a web page carries inside itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GAMMA = 0.75
JPEG_QUALITY = 86
NO_DATA_GREY = 0.93
COLOURS = (("red", "green", "blue"), ("nir", "red", "green"), ("swir16", "nir", "red"), ("swir16", "nir08", "red"))
"""What is shown as red, green and blue: the first triple whose bands are there."""

CLASS_COLOURS = {0: (0.80, 0.85, 0.80), 1: (0.98, 0.98, 0.99), 2: (0.24, 0.29, 0.38), 255: (0.93, 0.93, 0.93)}


@dataclass(frozen=True)
class Picture:
    """One picture on a page.

    Attributes:
        title: what it shows. uri: the picture itself as a data address. alt: the same in words.
        caption: a quiet line below it, '' = none. wide: takes a row of its own.
    """

    title: str
    uri: str
    alt: str
    caption: str = ""
    wide: bool = False


def shown_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Three roles to show in colour, or one to show in grey."""
    for triple in COLOURS:
        if set(triple) <= set(bands):
            return triple
    return tuple(bands[:3]) if len(bands) >= 3 else (bands[0],)


def stretch(reflectance: np.ndarray, where: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Black and white points (C,) of (C, H, W): a little outside the central 99 % of the pixels in ``where``."""
    values = reflectance.reshape(len(reflectance), -1)
    if where is not None and where.any():
        values = reflectance[:, where]
    known = np.isfinite(values).all(axis=0)
    if not known.any():
        return np.zeros(len(values)), np.ones(len(values))
    low, high = np.percentile(values[:, known], (0.5, 99.3), axis=1)
    span = np.maximum(high - low, 1e-4)
    return low - 0.08 * span, low + span


def in_colour(reflectance: np.ndarray, limits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """float32 (H, W, 3) in 0..1 of one or three bands (C, H, W) between black and white; no data is grey."""
    low, high = (part[:, None, None] for part in limits)
    scaled = np.clip((reflectance - low) / (high - low), 0, 1) ** GAMMA
    scaled[:, ~np.isfinite(reflectance).all(axis=0)] = NO_DATA_GREY
    image = np.moveaxis(scaled, 0, -1)
    return np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float32)


def class_image(classes: np.ndarray) -> np.ndarray:
    """Cloud classes (H, W) in colours, float32 (H, W, 3)."""
    image = np.empty((*classes.shape, 3), np.float32)
    image[:] = CLASS_COLOURS[255]
    for code, colour in CLASS_COLOURS.items():
        image[classes == code] = colour
    return image


def jpeg(image: np.ndarray) -> str:
    """A data address of (H, W, 3) in 0..1, as JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((255 * np.clip(image, 0, 1)).round().astype(np.uint8)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return address(buffer.getvalue(), "image/jpeg")


def png(image: np.ndarray) -> str:
    """The same as PNG, whose colours are exact."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((255 * np.clip(image, 0, 1)).round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return address(buffer.getvalue(), "image/png")


def address(content: bytes, kind: str) -> str:
    """A data address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
