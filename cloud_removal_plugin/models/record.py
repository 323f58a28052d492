"""The form of a record of a published network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .scaling import Scaling


@dataclass(frozen=True)
class Record:
    """An immutable record of one network.

    Attributes:
        name: what :func:`registry.create` calls it.
        title: for people.
        paper, link: the publication and its address.
        module, builder: where it is implemented.
        config: published constructor arguments.
        sensor: sensor of the training data, with processing level.
        bands: optical band roles in the network's order.
        radar: ``no`` or ``required``.
        radar_first: whether VV, VH are stacked before the optical bands.
        dates: least and largest number of dates of one call (0 = no upper limit).
        scaling: value ranges in and out.
        gsd_m: ground sampling distance of the training data in metres.
        halo: the fewest pixels of context beside a window with which its core changes by less than 1e-3 reflectance, as
            measured (benchmarks/reach.py); a multiple of half of ``size_multiple``. With ``whole_statistics``: what
            does not count at all at a window's border; the ramp over ``fade`` begins behind it.
        fade: pixels over which windows of a network with ``whole_statistics`` pass over into each other: as many as
            keep steps of usual corrections below 3e-3 reflectance (benchmarks/seams.py).
        size_multiple, size_least: height and width must be a multiple of the first and at least the second.
        parameters: trainable numbers.
        multiply_adds: of convolutions and matrix products for 256 x 256 pixels and ``dates_counted`` dates, as counted
            on this implementation (parts that the originals compute in vain are left out).
        licence: of the original weights, as far as its authors state one.
        weights: address where the authors publish the weights.
        accuracy, accuracy_source: published figures and where they stand; empty where none was verified.
        whole_statistics: the network sees means over the window, or its size, so that windows never join exactly.
        window: edge in pixels of the windows that such a network was trained on and is run on; 0 = any.
        memory_kib: KiB a pixel that one pass takes at ``dates_counted`` dates, as measured; ``memory_base``: MiB beside
            that, weights included.
        memory_compiled: both with the compiled kernel on the processor, where that takes less.
    """

    name: str
    title: str
    paper: str
    link: str
    module: str
    builder: str
    sensor: str
    bands: tuple[str, ...]
    scaling: Scaling
    gsd_m: float
    halo: int
    size_multiple: int
    size_least: int
    parameters: int
    multiply_adds: float
    licence: str
    weights: str
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    radar: str = "no"
    radar_first: bool = False
    dates: tuple[int, int] = (1, 1)
    dates_counted: int = 1
    accuracy: str = ""
    accuracy_source: str = ""
    whole_statistics: bool = False
    fade: int = 0
    window: int = 0
    memory_kib: float = 10.0
    memory_base: float = 100.0
    memory_compiled: tuple[float, float] | None = None

    def memory_mb(self, height: int, width: int, dates: int = 1, compiled: bool = False) -> float:
        """MiB that a pass over a window of ``dates`` frames takes; more frames than were counted take their share.

        Args:
            height, width, dates: of the window.
            compiled: whether the compiled kernel runs, on the processor.
        """
        kib, base = (compiled and self.memory_compiled) or (self.memory_kib, self.memory_base)
        share = max(dates / self.dates_counted, 1 / self.dates_counted)
        return base + kib * share * height * width / 1024
