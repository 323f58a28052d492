"""Rasters as the pictures of a report: colours on one stretch, classes, maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation import previews
from ..evaluation.pictures import Picture, in_colour, jpeg, shown_bands, stretch
from ..raster.grid import Grid
from ..raster.info import RasterInfo
from ..raster.masks import MaskReader
from ..raster.radar import RadarReader
from ..raster.radiometry import Radiometry
from ..raster.thumbnail import coarse_grid, thumbnail
from ..raster.windows import Window
from .judged import COLOURS
from .scene import hidden

EDGE = 1000
"""Longest side of a picture in pixels."""


@dataclass(frozen=True)
class Shown:
    """A layer to be shown: its title, its file, and how that stores reflectance."""

    title: str
    info: RasterInfo
    radiometry: Radiometry


def views(layers: Sequence[Shown], grid: Grid, bands: Sequence[str], steady: int) -> tuple[list[Picture], str]:
    """Pictures of layers on one stretch, so that they can be laid over each other.

    Args:
        layers: what is shown, titles distinct. grid: of all pictures. bands: roles that all have.
        steady: index of the layer that decides what is black and what is white: one without clouds.

    Returns:
        The pictures, and a sentence on how they are drawn.
    """
    chosen = shown_bands(bands)
    images = [thumbnail(layer.info, layer.radiometry, grid, chosen, EDGE) for layer in layers]
    limits = stretch(images[steady])
    pictures = [
        Picture(layer.title, jpeg(in_colour(image, limits)), f"{layer.title}, {', '.join(chosen)}")
        for layer, image in zip(layers, images, strict=True)
    ]
    what = "Natural colours" if chosen == ("red", "green", "blue") else f"Red, green and blue show {', '.join(chosen)}"
    if len(chosen) == 1:
        what = f"Grey shows {chosen[0]}"
    return pictures, f"{what}, all pictures on the same stretch."


def views_as_crsystem(layers: Sequence[Shown], grid: Grid) -> tuple[list[Picture], str]:
    """Pictures of layers as CR_system draws them: each between its own darkest and brightest value."""
    images = [previews.rgb(thumbnail(each.info, each.radiometry, grid, COLOURS, EDGE)) for each in layers]
    pictures = [
        Picture(layer.title, jpeg(image / 255), f"{layer.title}, natural colours")
        for layer, image in zip(layers, images, strict=True)
    ]
    return pictures, "Natural colours as CR_system draws them: every picture on a stretch of its own."


def mask_over(reference: Shown, mask: RasterInfo, grid: Grid) -> Picture | None:
    """The mask over the reference, as CR_system shows it; None where the mask cannot be made small."""
    small = coarse_grid(grid, EDGE)
    if not mask.crs_wkt and small != grid:
        return None
    image = previews.rgb(thumbnail(reference.info, reference.radiometry, grid, COLOURS, EDGE))
    with MaskReader(mask, small) as reader:
        classes = reader.read(Window(0, 0, *small.shape))
    overlay = previews.overlay(image, hidden(classes).astype(np.float32))
    return Picture("Mask over the reference", jpeg(overlay), "Mask over the reference", "Blue: clear. Red: hidden.")


def radar_picture(info: RasterInfo, scene_grid: Grid, nearest: int, when: str) -> Picture | None:
    """One acquisition of a radar raster, VV in green and VH in blue; None where it cannot be made small."""
    grid = coarse_grid(scene_grid, EDGE)
    if not info.crs_wkt and grid != scene_grid:
        return None
    with RadarReader(info, grid) as reader:
        backscatter = reader.read(Window(0, 0, *grid.shape))[nearest]
    if not np.isfinite(backscatter).any():
        return None
    image = previews.sar(backscatter) / 255
    return Picture("Radar", jpeg(image), "Radar composite", f"Sentinel-1, {when}. Green: VV. Blue: VH. Black: no data.")


def mean_error(one: Shown, other: Shown, grid: Grid, bands: tuple[str, ...]) -> np.ndarray:
    """Mean over bands of the absolute difference of two layers, (h, w)."""
    difference = thumbnail(one.info, one.radiometry, grid, bands, EDGE)
    difference -= thumbnail(other.info, other.radiometry, grid, bands, EDGE)
    return over_bands(np.abs(difference))


def over_bands(values: np.ndarray) -> np.ndarray:
    """Mean over the bands of (C, h, w) that hold a number; NaN where none does."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
