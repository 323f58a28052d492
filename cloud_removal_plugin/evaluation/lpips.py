"""Perceptual distance (LPIPS v0.1 on AlexNet: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a
perceptual metric") with weights that the analyst has: none come with the plugin.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

BACKBONE = "alexnet-owt-7be5be79.pth"
"""AlexNet as torchvision publishes it."""
LINEAR = "lpips_alex.pth"
"""``alex.pth`` of the authors' repository, version 0.1."""

COLOURS = ("red", "green", "blue")
LAYERS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
"""Number of each convolution in AlexNet, its stride and padding; a pooling goes before the second and the third."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""The authors' statistics of images in -1..1."""
TILE = 256
LEAST = 64
EPSILON = 1e-10


@dataclass(frozen=True)
class Perception:
    """The network's weights.

    Attributes:
        kernels, biases: of the five convolutions. linear: (1, C, 1, 1) for each, not negative.
    """

    kernels: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    linear: tuple[Tensor, ...]

    def distance(self, estimate: np.ndarray, truth: np.ndarray) -> float:
        """LPIPS of two colour images.

        Args:
            estimate, truth: (3, H, W) reflectance, red first, without NaN; cut to 0..1.
        """
        import torch

        pair = torch.from_numpy(np.stack([estimate, truth]).clip(0, 1).astype(np.float32)) * 2 - 1
        shift, scale = (torch.tensor(part)[None, :, None, None] for part in (SHIFT, SCALE))
        total = 0.0
        with torch.inference_mode():
            for features, linear in zip(self._features((pair - shift) / scale), self.linear, strict=True):
                unit = features / (features.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)
                total += float((linear * (unit[0] - unit[1]).square()).sum(dim=1).mean())
        return total

    def _features(self, images: Tensor) -> Iterator[Tensor]:
        """Activations (2, C, h, w) behind every convolution."""
        from torch.nn import functional

        for place, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if place in (1, 2):
                images = functional.max_pool2d(images, 3, 2)
            _, stride, padding = LAYERS[place]
            images = functional.relu(functional.conv2d(images, kernel, bias, stride=stride, padding=padding))
            yield images


def tiles(estimate: np.ndarray, truth: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Squares of two images (3, H, W) that hold data throughout; rests below :data:`LEAST` pixels are left out."""
    height, width = truth.shape[1:]
    for row in range(0, height, TILE):
        for col in range(0, width, TILE):
            part = (slice(None), slice(row, row + TILE), slice(col, col + TILE))
            one, other = estimate[part], truth[part]
            if min(one.shape[1:]) >= LEAST and np.isfinite(one).all() and np.isfinite(other).all():
                yield one, other


def folders(weights: Path) -> list[Path]:
    """Where the two files are looked for: the weights folder, and where torch keeps what it has fetched."""
    home = os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch"
    return [weights, Path(home) / "hub" / "checkpoints"]


def missing(weights: Path) -> str:
    """Why there can be no LPIPS, as a sentence; '' = there can."""
    from importlib.util import find_spec

    lacking = [name for name in (BACKBONE, LINEAR) if _found(name, weights) is None]
    if lacking:
        return f"LPIPS was left out: {' and '.join(lacking)} are not in the weights folder ({weights})."
    return "" if find_spec("torch") else "LPIPS was left out: it needs PyTorch."


def _found(name: str, weights: Path) -> Path | None:
    return next((folder / name for folder in folders(weights) if (folder / name).is_file()), None)


def load(weights: Path) -> Perception:
    """Read the two files; nothing in them is run.

    Raises:
        InputError: a file is damaged, or is something else.
    """
    backbone, linear = (_read(_found(name, weights)) for name in (BACKBONE, LINEAR))
    try:
        return Perception(
            tuple(backbone[f"features.{number}.weight"].float() for number, _, _ in LAYERS),
            tuple(backbone[f"features.{number}.bias"].float() for number, _, _ in LAYERS),
            tuple(linear[f"lin{place}.model.1.weight"].float() for place in range(len(LAYERS))),
        )
    except KeyError as error:
        raise InputError(
            f"The weights of LPIPS lack the entry {error}. Put the files {BACKBONE} and {LINEAR} as their authors "
            "publish them into the weights folder, or remove them."
        ) from error


def _read(path: Path | None) -> dict[str, Tensor]:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts raise
        raise InputError(f"{path} cannot be read as weights ({type(error).__name__}). Fetch it again.") from error


class Tally:
    """LPIPS of several layers, added square by square and weighted by pixels."""

    def __init__(self, network: Perception, layers: int, colours: list[int]) -> None:
        """Args:
        network: the weights. layers: how many are compared. colours: places of red, green and blue among the bands.
        """
        self._network, self._colours = network, colours
        self._sums, self._pixels = np.zeros(layers), np.zeros(layers)

    def add(self, layer: int, estimate: np.ndarray, truth: np.ndarray) -> None:
        """Add one window of a layer, (C, H, W) of all bands."""
        for one, other in tiles(estimate[self._colours], truth[self._colours]):
            self._sums[layer] += self._network.distance(one, other) * other[0].size
            self._pixels[layer] += other[0].size

    def values(self) -> list[float | None]:
        """One a layer; None where no square held data throughout."""
        return [float(s / n) if n else None for s, n in zip(self._sums, self._pixels, strict=True)]


def tally(weights: Path, layers: int, bands: tuple[str, ...]) -> tuple[Tally | None, str]:
    """A tally where LPIPS can be had, else None and the sentence that says why not.

    Raises:
        InputError: the weights are there but damaged.
    """
    why = missing(weights)
    if not why and not set(COLOURS) <= set(bands):
        why = "LPIPS was left out: it needs bands named red, green and blue."
    if why:
        return None, why
    return Tally(load(weights), layers, [bands.index(name) for name in COLOURS]), ""
