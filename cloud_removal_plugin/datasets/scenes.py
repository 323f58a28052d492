"""The analyst's own scenes: pairs with real clouds, or clear images under simulated ones.

Rasters are read as everywhere in the plugin: products are recognised, everything lies on the clear layer's grid.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..errors import InputError
from ..observation import Observation
from ..raster.align import check_together
from ..raster.classes import CLOUD, SHADOW
from ..raster.crs import grid_of
from ..raster.grid import Grid
from ..raster.info import describe
from ..raster.masks import MaskReader
from ..raster.radar import RadarReader
from ..raster.radiometry import recognise
from ..raster.reader import OpticalReader
from ..raster.windows import Window
from .cloud_layer import draw
from .example import Example

CLOUDS = ("real", "simulated", "both")
LEAST_CLEAR = 0.5
"""A window whose truth is known on a smaller share is drawn again."""
TRIES = 10
_PARTS = {"clear": ("_s2_clear", "_clear"), "cloudy": ("_s2_cloudy", "_cloudy"), "radar": ("_s1",),
          "mask": ("_cloudmask", "_mask")}  # fmt: skip


@dataclass(frozen=True)
class SceneFiles:
    """The rasters of one place.

    Attributes:
        clear: what the restoration should give.
        cloudy: the same place under real clouds, '' = only simulated ones.
        radar: Sentinel-1, '' without.
        mask: of the clouds in ``cloudy``, '' = the whole image counts as hidden.
        region: places of one region never are in two splits; '' = the file name.
    """

    clear: str
    cloudy: str = ""
    radar: str = ""
    mask: str = ""
    region: str = ""

    @property
    def group(self) -> str:
        """Name of the region."""
        return self.region or Path(self.clear).stem


def scenes_of_folder(folder: str | Path) -> list[SceneFiles]:
    """Scenes by the endings of their names: ``_clear``, ``_cloudy``, ``_s1``, ``_cloudmask``.

    Raises:
        InputError: no file of the folder ends so.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted(Path(folder).glob("*.tif")):
        for part, endings in _PARTS.items():
            ending = next((e for e in endings if path.stem.endswith(e)), None)
            if ending is not None:
                found.setdefault(path.stem.removesuffix(ending), {})[part] = str(path)
                break
    scenes = [SceneFiles(region=_region(stem), **parts) for stem, parts in found.items() if "clear" in parts]
    if not scenes:
        raise InputError(
            f"No raster in '{folder}' is called ..._clear.tif; name each clear image so, or list the scenes."
        )
    return scenes


def _region(stem: str) -> str:
    """Patches of one ROI are one region."""
    return re.sub(r"_p\d+$", "", stem)


@dataclass(frozen=True)
class _Arrays:
    """One scene in memory, all on the clear layer's grid."""

    clear: np.ndarray
    bands: tuple[str, ...]
    grid: Grid
    cloudy: np.ndarray | None
    hidden: np.ndarray | None
    radar: np.ndarray | None


class ScenesDataset(Dataset):
    """Windows of scenes with what they should become. Indexing gives an :class:`~.example.Example`.

    Args:
        scenes: the places.
        crop: edge of the windows in pixels; 0 = the whole scene.
        windows: windows of each scene and epoch.
        clouds: ``real``, ``simulated`` or ``both`` (in turns, where a scene has real ones).
        augment: quarter turns and flips.
        seed: with :attr:`epoch` and index it fixes a window and its clouds.
        reflectance_scale, reflectance_offset: of the optical rasters; None = recognise.
        kept: scenes that stay in memory.

    Raises:
        InputError: no scene, a raster that cannot be used, real clouds are wanted and a scene has none, or a scene is
            smaller than the window.
    """

    def __init__(
        self,
        scenes: Sequence[SceneFiles],
        crop: int = 128,
        windows: int = 1,
        clouds: str = "both",
        augment: bool = True,
        seed: int = 0,
        reflectance_scale: float | None = None,
        reflectance_offset: float | None = None,
        kept: int = 64,
    ) -> None:
        if not scenes:
            raise InputError("The training data hold no scene; list at least one clear raster.")
        if clouds not in CLOUDS:
            raise ValueError(f"clouds must be one of {', '.join(CLOUDS)}, not '{clouds}'.")
        bare = [Path(scene.clear).name for scene in scenes if not scene.cloudy]
        if clouds == "real" and bare:
            raise InputError(f"Real clouds are wanted, but '{bare[0]}' has no cloudy raster beside it; give one.")
        self.scenes, self.crop, self.windows, self.clouds = tuple(scenes), crop, windows, clouds
        self.augment, self.seed, self.epoch = augment, seed, 0
        self._scale, self._offset = reflectance_scale, reflectance_offset
        self._kept = max(1, kept)
        self._arrays = lru_cache(maxsize=self._kept)(self._load)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: the rasters are read there."""
        return {key: value for key, value in self.__dict__.items() if key != "_arrays"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrays = lru_cache(maxsize=self._kept)(self._load)

    def __len__(self) -> int:
        return len(self.scenes) * self.windows

    def _load(self, number: int) -> _Arrays:
        scene = self.scenes[number]
        info = describe(scene.clear)
        paths = [path for path in (scene.cloudy, scene.radar, scene.mask) if path]
        check_together(info, [describe(path) for path in paths])
        grid = grid_of(info)
        if min(grid.shape) < self.crop:
            raise InputError(
                f"'{info.name}' has {grid.width} x {grid.height} pixels, fewer than the window of {self.crop}; choose "
                "smaller windows or leave the scene out."
            )
        whole = Window(0, 0, grid.height, grid.width)
        how = {"scale": self._scale, "offset": self._offset}
        with OpticalReader(info, recognise(info, **how), grid) as reader:
            clear, bands = reader.read(whole), reader.bands
        cloudy = hidden = radar = None
        if scene.cloudy:
            other = describe(scene.cloudy)
            with OpticalReader(other, recognise(other, **how), grid, bands) as reader:
                cloudy = reader.read(whole)
            hidden = np.ones(grid.shape, bool)
        if scene.mask:
            with MaskReader(describe(scene.mask), grid) as reader:
                classes = reader.read(whole)
            hidden = (classes == CLOUD) | (classes == SHADOW)
        if scene.radar:
            with RadarReader(describe(scene.radar), grid) as reader:
                radar = reader.read(whole)
        return _Arrays(clear, bands, grid, cloudy, hidden, radar)

    def __getitem__(self, index: int) -> Example:
        """A window; see :meth:`example`."""
        return self.example(index)

    def example(self, index: int) -> Example:
        """A window with clouds and its truth.

        Raises:
            InputError: a raster cannot be used.
        """
        number = index % len(self.scenes)
        arrays = self._arrays(number)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        window = self._window(arrays, rng)
        example = self._cut(arrays, window, rng, Path(self.scenes[number].clear).stem)
        return _turned(example, int(rng.integers(8))) if self.augment else example

    def _window(self, arrays: _Arrays, rng: np.random.Generator) -> Window:
        height, width = arrays.grid.shape
        edge = self.crop or max(height, width)
        window = Window(0, 0, min(edge, height), min(edge, width))
        for _ in range(TRIES):
            row = int(rng.integers(0, height - window.height + 1))
            col = int(rng.integers(0, width - window.width + 1))
            window = Window(row, col, window.height, window.width)
            if np.isfinite(arrays.clear[(slice(None), *window.slices())]).mean() >= LEAST_CLEAR:
                break
        return window

    def _cut(self, arrays: _Arrays, window: Window, rng: np.random.Generator, name: str) -> Example:
        part = (slice(None), *window.slices())
        clear = arrays.clear[part].copy()
        is_real = arrays.cloudy is not None and (
            self.clouds == "real" or (self.clouds == "both" and bool(rng.integers(2)))
        )
        if is_real:
            cloudy, hidden = arrays.cloudy[part].copy(), arrays.hidden[part[1:]]
        else:
            layer = draw(clear.shape[1:], rng)
            cloudy = layer.over(clear, arrays.bands, rng.uniform(0.92, 1.08, len(arrays.bands)))
            hidden = layer.hidden()
        radar = None if arrays.radar is None else arrays.radar[(slice(None), *part)].copy()
        observation = Observation(
            optical=cloudy[None],
            cloud=hidden.astype(np.float32)[None],
            days=np.zeros(1),
            bands=arrays.bands,
            radar=radar,
            radar_days=np.zeros(0 if radar is None else len(radar)),
            pixel_m=arrays.grid.pixel_m,
            row=window.row,
            col=window.col,
        )
        transform = arrays.grid.window_transform(window.row, window.col)
        return Example(observation, clear, name, None, arrays.grid.crs_wkt, tuple(transform))


def _turned(example: Example, which: int) -> Example:
    """One of the eight turns and mirrorings; the georeference no longer holds then."""

    def turn(values: np.ndarray) -> np.ndarray:
        values = np.rot90(values, which % 4, axes=(-2, -1))
        return np.ascontiguousarray(values[..., ::-1] if which >= 4 else values)

    seen = example.observation
    turned = replace(
        seen,
        optical=turn(seen.optical),
        cloud=turn(seen.cloud),
        radar=None if seen.radar is None else turn(seen.radar),
    )
    return replace(example, observation=turned, target=turn(example.target), crs="", transform=())
