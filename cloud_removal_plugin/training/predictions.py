"""What a network made of one sample, and how that is written: a raster, and a picture beside input and truth."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.files import write_raster
from ..evaluation.pictures import class_image, in_colour, png, shown_bands, stretch
from ..raster.classes import CLEAR, CLOUD, NO_DATA
from .checkpoints import write_whole

MASK_BAND = "0 clear, 1 cloud, 255 no data"


@dataclass(frozen=True)
class Prediction:
    """One sample and what the network made of it.

    Attributes:
        name: of the sample.
        estimate, truth: float32 (C, H, W), reflectance, or (T, C, H, W) for series.
        cloudy: what the network saw, like ``truth``; of several dates the least covered; NaN where it saw nothing.
        variance: float32 (C or 1, H, W), reflectance squared, of a network that gives one, else None.
        inputs, covered: float32 (T, C, H, W) and bool (T, H, W), every date that a network of one image saw, else None.
        hidden: bool (H, W), on any date that the network saw, or (T, H, W) for series.
        bands: C role names.
        crs, transform: where it lies.
    """

    name: str
    estimate: np.ndarray
    truth: np.ndarray
    cloudy: np.ndarray
    hidden: np.ndarray
    bands: tuple[str, ...]
    crs: str = ""
    transform: tuple[float, ...] = ()
    variance: np.ndarray | None = None
    inputs: np.ndarray | None = None
    covered: np.ndarray | None = None


@dataclass(frozen=True)
class MaskPrediction:
    """Frames of one sample and the clouds that the network found in them.

    Attributes:
        name: of the sample.
        estimate, truth: uint8 (T, H, W): 0 clear, 1 cloud, 255 unknown; T is 1 for single images.
        cloudy: float32 (T, C, H, W), reflectance that the network saw.
        bands: C role names.
        crs, transform: where it lies.
    """

    name: str
    estimate: np.ndarray
    truth: np.ndarray
    cloudy: np.ndarray
    bands: tuple[str, ...]
    crs: str = ""
    transform: tuple[float, ...] = ()


def write_images(one: Prediction | MaskPrediction, folder: Path) -> None:
    """A GeoTIFF and a picture of seen, estimated, true.

    ``name_restored.tif`` (float32 reflectance; of series all frames one after another) and ``name_restored.png``; of
    masks ``name_mask.tif`` (uint8, a band a frame) and ``name_mask.png``.

    Raises:
        OutputError: the folder cannot be written.
    """
    is_mask = isinstance(one, MaskPrediction)
    stem = f"{one.name}_mask" if is_mask else f"{one.name}_restored"
    planes = one.estimate.reshape(-1, *one.estimate.shape[-2:])
    is_series = one.estimate.ndim == 4 and not is_mask
    frames = [f" of frame {number}" for number in range(1, len(one.estimate) + 1)] if is_series else [""]
    names = [MASK_BAND] * len(planes) if is_mask else [band + frame for frame in frames for band in one.bands]
    write_whole(folder / f"{stem}.tif", lambda path: write_raster(path, planes, one.crs, one.transform, names))
    image = _masks_beside(one) if is_mask else _images_beside(one)
    content = base64.b64decode(png(image).split(",", 1)[1])
    write_whole(folder / f"{stem}.png", lambda path: path.write_bytes(content))


def _images_beside(one: Prediction) -> np.ndarray:
    """float32 (H, 3 W, 3) of the image, or of a series' most hidden frame."""
    frame = int(one.hidden.mean(axis=(-2, -1)).argmax()) if one.estimate.ndim == 4 else ...
    chosen = [one.bands.index(band) for band in shown_bands(one.bands)]
    three = [values[frame][..., chosen, :, :] for values in (one.cloudy, one.estimate, one.truth)]
    limits = stretch(three[2])
    return np.concatenate([in_colour(np.nan_to_num(values), limits) for values in three], axis=1)


def _masks_beside(one: MaskPrediction) -> np.ndarray:
    """float32 (H, 3 W, 3) of the frame whose cloud cover is nearest to a half."""
    known = np.maximum((one.truth != NO_DATA).sum(axis=(-2, -1)), 1)
    frame = int(np.abs((one.truth == CLOUD).sum(axis=(-2, -1)) / known - 0.5).argmin())
    chosen = [one.bands.index(band) for band in shown_bands(one.bands)]
    seen = one.cloudy[frame][chosen]
    limits = stretch(seen, one.truth[frame] == CLEAR)  # the ground decides, not the clouds
    masks = [class_image(values[frame]) for values in (one.estimate, one.truth)]
    return np.concatenate([in_colour(seen, limits), *masks], axis=1)
