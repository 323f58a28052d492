"""Clear Vision's mask network as a detector: frames of 128 x 128 pixels of 20 m in blue, green, red.

Frames lie on a lattice of the scene and overlap, and only their middles are kept, so that the result does not depend on
how the scene is cut. Frames are scaled as its training data were: reflectance limited to 0..1, divided by the range of
the whole date; pixels without data are white. Source: https://github.com/caoymg/Clear-Vision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DependencyError, InputError
from ..weights.folder import find, weights_folder
from ..weights.known import of_network
from .morphology import dilate
from .shadows import shrink

NETWORK = "clearvision_mask"
BANDS: tuple[str, ...] = ("blue", "green", "red")
FRAME_PX, KEPT_PX = 128, 96
PIXEL_M = 20.0
THRESHOLD = 0.5
"""The larger of two classes: a probability above one half."""

_RIM_PX = (FRAME_PX - KEPT_PX) // 2
_TOGETHER = 4
"""Frames that the network sees at once."""


class ClearVisionDetector:
    """The mask network on one date; see :class:`published.Detector`."""

    def __init__(self, pixel_m: float, threshold: float | None, dilation: int | None, weights: str = "") -> None:
        """Load the network.

        Args:
            pixel_m: pixel size of the scene; it is averaged to about 20 m.
            threshold: cloud probability; None = 0.5.
            dilation: pixels by which the mask is grown; None = as published, not at all.
            weights: folder of the weights, '' = the analyst's.

        Raises:
            InputError: the weights are not there, or damaged.
            DependencyError: torch or safetensors is missing.
        """
        self._network = _load(weights)
        self._factor = max(1, round(PIXEL_M / pixel_m))
        self._threshold = THRESHOLD if threshold is None else threshold
        self._dilation = dilation or 0
        self.step = self._factor * KEPT_PX
        # what grows into a window comes from whole frames beside it, which need their own rim
        self._beside = -(-self._dilation // self.step) * self.step
        self.halo = self._factor * _RIM_PX + self._beside
        self.survey_share = 0.1
        self.notes = ["Clear Vision's network finds clouds only, no shadows; it was made for RGB of 20 m."]
        self._least, self._most = np.inf, -np.inf

    def survey(self, optical: np.ndarray) -> None:
        """Range of the date over its bands."""
        known = optical[np.isfinite(optical)]
        if known.size:
            clipped = np.clip(known, 0, 1)
            self._least, self._most = min(self._least, clipped.min()), max(self._most, clipped.max())

    def classify(
        self, optical: np.ndarray, inner: tuple[slice, slice], map_pool: Callable[[Callable, Iterable], Iterable]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See :class:`published.Detector`."""
        height, width = optical.shape[-2:]
        frames = list(self._frames(optical, inner))
        batches = [frames[first : first + _TOGETHER] for first in range(0, len(frames), _TOGETHER)]
        found = map_pool(lambda batch: self._probability(np.stack([frame for _, _, frame in batch])), batches)
        out = np.zeros((height, width), np.float32)
        for batch, probability in zip(batches, found, strict=True):
            for (row, col, _), part in zip(batch, probability, strict=True):
                kept = part[_RIM_PX : _RIM_PX + KEPT_PX, _RIM_PX : _RIM_PX + KEPT_PX]
                fine = kept.repeat(self._factor, 0).repeat(self._factor, 1)
                rows, cols = slice(max(row, 0), row + self.step), slice(max(col, 0), col + self.step)
                place = out[rows, cols]
                top, left = rows.start - row, cols.start - col
                place[...] = fine[top : top + place.shape[0], left : left + place.shape[1]]
        cloud = dilate(out > self._threshold, self._dilation)
        return cloud, np.zeros_like(cloud), out

    def _frames(self, optical: np.ndarray, inner: tuple[slice, slice]) -> Iterator[tuple[int, int, np.ndarray]]:
        """Row and column of each frame's middle in the window, and the frame (3, 128, 128) in network units."""
        rim = self._factor * _RIM_PX
        starts = [self._starts(part, length) for part, length in zip(inner, optical.shape[-2:], strict=True)]
        white = np.where(np.isfinite(optical), np.clip(optical, 0, 1), np.float32(1))
        scale = np.float32(1 / max(self._most - self._least, 1e-6))
        edge = self._factor * FRAME_PX
        for row in starts[0]:
            for col in starts[1]:
                raw = _mirrored(white, row - rim, col - rim, edge)
                yield row, col, shrink(raw, self._factor) * scale

    def _starts(self, part: slice, length: int) -> range:
        """Where middles start along one side: on the lattice, over the window and what may grow into it."""
        before = min(self._beside, part.start // self.step * self.step)
        return range(part.start - before, min(part.stop + self._beside, length), self.step)

    def _probability(self, frames: np.ndarray) -> np.ndarray:
        """Cloud probability float32 (N, 128, 128) of frames (N, 3, 128, 128)."""
        import torch

        with torch.inference_mode():
            _, logits = self._network(torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32)))
            return torch.softmax(logits, dim=1)[:, 1].numpy()


def _mirrored(values: np.ndarray, row: int, col: int, edge: int) -> np.ndarray:
    """A square of ``values`` (C, H, W); beyond the border the image is mirrored."""
    height, width = values.shape[-2:]
    rows, cols = _reflected(row, edge, height), _reflected(col, edge, width)
    return values[:, rows[:, None], cols[None]]


def _reflected(start: int, count: int, length: int) -> np.ndarray:
    """Indices ``start`` .. of a mirrored row of ``length`` pixels (the edge pixel repeated)."""
    index = np.mod(np.arange(start, start + count), 2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def _load(folder: str) -> Any:
    for package in ("torch", "safetensors"):
        if find_spec(package) is None:
            raise DependencyError(
                f"The detection method 'clearvision' needs the Python package {package}, which the Python that runs "
                "the job lacks. Install it there, or choose 'auto'."
            )
    place = Path(folder) if folder else weights_folder()
    stored = find(NETWORK, place)
    if stored is None:
        file = of_network(NETWORK)[0]
        raise InputError(
            f"The weights of Clear Vision's mask network are not in '{place}'. Get {file.file} from {file.address} and "
            "import it with 'Import weights of a network', or choose the detection method 'auto'."
        )
    import torch

    from ..models.conversion import load

    torch.set_num_threads(1)  # frames run side by side instead
    return load(stored)
