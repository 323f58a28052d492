"""The uncertainty of a series: standard deviations of each date, in the numbers of that date's restored raster."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..raster.info import RasterInfo
from ..raster.windows import Window
from ..raster.writer import RasterWriter
from .series_scene import SeriesScene

SIGMA_CONTENT = "standard deviation in the numbers of the restored raster"

SUFFIX = " standard deviation"
"""Behind the name of each band."""

OLD_CONTENT = "standard deviation in reflectance"
"""What such a raster said of itself when it was still in reflectance."""

OLDEST_CONTENT = "restored acquisition"
"""And before that: what the restored raster says, so that only the names of its bands tell them apart."""


class SigmaWriter:
    """Standard deviations of one acquisition, for the bands of its restored raster; closed with the writer's stack."""

    def __init__(self, stack: ExitStack, path: Path, scene: SeriesScene, layer: int, tags: dict[str, str]) -> None:
        """Open the raster.

        Args:
            stack: closes it. path: target. scene: of the series. layer: the acquisition.
            tags: written besides what the content is.

        Raises:
            OutputError: it cannot be written.
        """
        info, radiometry, reader = scene.layers[layer].info, scene.layers[layer].radiometry, scene.readers[layer]
        self._own = sorted(scene.own[layer])
        if reader.same_grid:  # the bands of its file, in their order
            bands = list(radiometry.used_bands)
            names = [info.descriptions[band - 1] or f"Band {band}" for band in bands]
            self._places = [reader.place_of(band) for band in bands]
        else:  # warped, it is written with the bands that it has, by the scene's names
            self._places = list(self._own)
            bands = [reader.band_at(place) for place in self._places]
            names = [scene.bands[place] for place in self._places]
        scales = [info.scales[band - 1] for band in bands]
        pairs = [radiometry.pair(radiometry.used_bands.index(band)) for band in bands]
        self._units = [np.float32(abs(scale)) for scale, _ in pairs]
        self._writer = stack.enter_context(
            RasterWriter(
                str(path), info, scene.grid, dtype="float32", count=len(names), nodata=float("nan"),
                descriptions=[name + SUFFIX for name in names], scales=scales, offsets=[0.0] * len(names),
                tags={**tags, "CONTENT": SIGMA_CONTENT}, colorinterp=[], band_tags=[{}] * len(names),
            )
        )  # fmt: skip

    def write(self, window: Window, image: np.ndarray, gap: np.ndarray, sigma: np.ndarray | None) -> None:
        """Write one window: zero where kept, NaN where there is no value or its error is unknown.

        Args:
            window: in pixels of the scene.
            image: float32 (C, H, W), restored reflectance of the scene's bands; NaN = no data.
            gap: bool (H, W), what was hidden.
            sigma: float32 (C, n) in reflectance at the n pixels of ``gap``; None = unknown.
        """
        finite = np.isfinite(image)
        some, restored = finite.any(axis=0), finite[self._own].all(axis=0)[gap]
        out = np.full((len(self._places), *gap.shape), np.nan, np.float32)
        for plane, place, unit in zip(out, self._places, self._units, strict=True):
            plane[some if place is None else finite[place]] = 0
            unknown = place is None or sigma is None
            plane[gap] = np.nan if unknown else np.where(restored, sigma[place] / unit, np.nan)
        self._writer.write(out, window)


def in_reflectance(info: RasterInfo) -> bool:
    """Whether a raster is the uncertainty of a series as it was written at first, in reflectance."""
    content = info.tags.get("CONTENT")
    named = bool(info.descriptions) and all(text.endswith(SUFFIX) for text in info.descriptions)
    return content == OLD_CONTENT or (content == OLDEST_CONTENT and named)
