"""The parts into which a scene is split: restored and kept, clear, cloud and shadow, by distance, by land cover."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..errors import InputError

DISTANCES = (2, 5, 10, 20, 50)
"""Pixels to the nearest clear pixel at which a new part begins."""

HALO = DISTANCES[-1] + 1
"""Pixels round a window that its distances depend on."""

STATES = ("kept", "restored")
CLASSES = ("clear", "cloud", "shadow")
CLOUD, SHADOW = 1, 2
"""Codes of class rasters."""

MOST_COVERS = 65
"""Land-cover codes that are told apart; place 0 is for pixels without one."""

WORLDCOVER = {
    10: "tree cover", 20: "shrubland", 30: "grassland", 40: "cropland", 50: "built-up", 60: "bare or sparse",
    70: "snow and ice", 80: "water", 90: "wetland", 95: "mangroves", 100: "moss and lichen",
}  # fmt: skip
"""ESA WorldCover 2021, product user manual."""


def distance_names(pixel_m: float) -> tuple[str, ...]:
    """Names of the distance parts, such as '20-50 m'."""
    edges = [0, *(round(step * pixel_m) for step in DISTANCES)]
    names = [f"{low:g}-{high:g} m" for low, high in itertools.pairwise(edges)]
    return (*names, f"over {edges[-1]:g} m")


@dataclass
class Splits:
    """Numbers every pixel by the parts that it belongs to.

    Attributes:
        states: whether it is known what was restored.
        classes: whether clouds and shadows are told apart.
        covers: land-cover codes in the order in which they were met.
        worldcover: whether all codes are ESA WorldCover's.
    """

    states: bool
    classes: bool
    covers: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many different numbers :meth:`keys` can give."""
        return MOST_COVERS * self._spots * len(CLASSES) * len(STATES)

    @property
    def _spots(self) -> int:
        return len(DISTANCES) + 2

    def keys(self, restored: np.ndarray, classes: np.ndarray, cover: np.ndarray | None) -> np.ndarray:
        """A number for every pixel.

        Args:
            restored: bool (H, W). classes: uint8 (H, W), 0 clear, 1 cloud, 2 shadow, others count as clear.
            cover: land-cover codes int (H, W), negative = none; None = no land cover.

        Returns:
            int32 (H, W), to be undone by :meth:`parts`.

        Raises:
            InputError: more land-cover codes than can be told apart.
        """
        spot = np.zeros(restored.shape, np.int32)
        if restored.any():
            far = ndimage.distance_transform_edt(restored) if not restored.all() else np.full(restored.shape, np.inf)
            spot = np.where(restored, 1 + np.digitize(far, DISTANCES, right=True), 0).astype(np.int32)
        kind = np.where(np.isin(classes, (CLOUD, SHADOW)), classes, 0).astype(np.int32)
        keys = np.zeros(restored.shape, np.int32) if cover is None else self._covers(cover)
        for more, count in ((spot, self._spots), (kind, len(CLASSES)), (restored.astype(np.int32), len(STATES))):
            keys = keys * count + more
        return keys

    def _covers(self, cover: np.ndarray) -> np.ndarray:
        """Places of the codes in :attr:`covers`, from 1; 0 = none."""
        places = np.zeros(cover.shape, np.int32)
        for code in np.unique(cover):
            if code < 0:
                continue
            if code not in self.covers:
                self.covers.append(int(code))
            places[cover == code] = 1 + self.covers.index(int(code))
        if len(self.covers) >= MOST_COVERS:
            raise InputError(
                f"LAND_COVER holds more than {MOST_COVERS - 1} classes. Give a raster with fewer, such as WorldCover."
            )
        return places

    def parts(self, pixel_m: float) -> Iterator[tuple[str, str, np.ndarray]]:
        """(split, part, numbers of :meth:`keys` that belong to it), for splits that are known."""
        every = np.arange(self.size)
        state = every % len(STATES)
        kind = every // len(STATES) % len(CLASSES)
        spot = every // (len(STATES) * len(CLASSES)) % self._spots
        cover = every // (len(STATES) * len(CLASSES) * self._spots)
        if self.states:
            for place, name in enumerate(STATES):
                yield "state", name, state == place
        if self.classes:
            for place, name in enumerate(CLASSES):
                yield "class", name, kind == place
        if self.states:
            for place, name in enumerate(distance_names(pixel_m), start=1):
                yield "distance to clear", name, spot == place
        for place, code in sorted(enumerate(self.covers, start=1), key=lambda item: item[1]):
            chosen = (cover == place) & ((state == 1) if self.states else True)
            yield "land cover", self.cover_name(code), chosen

    def cover_name(self, code: int) -> str:
        """WorldCover's name where all codes are WorldCover's, else the number."""
        known = set(self.covers) <= set(WORLDCOVER)
        return f"{code} {WORLDCOVER[code]}" if known else str(code)
