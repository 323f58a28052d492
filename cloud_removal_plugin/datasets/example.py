"""What every reader yields for training: an observation, and what its target date should have been."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..observation import Observation


@dataclass(frozen=True)
class Example:
    """One sample in physical units.

    Attributes:
        observation: what a method may see. ``optical[0]`` is the target date as it was seen: cloudy, or NaN where only
            other dates serve as input.
        target: float32 (C, H, W), reflectance that the restoration should give, NaN = unknown.
        name: file or sample, for tables.
        series: float32 (T, C, H, W), the truth of every date of the observation where the data set has it
            (gaps are simulated), else None.
        crs: WKT, '' without georeference.
        transform: six numbers of the upper left corner's affine transform, () without.
        launch_day: day of the target date since 2014-04-03, NaN = unknown.
    """

    observation: Observation
    target: np.ndarray
    name: str
    series: np.ndarray | None = None
    crs: str = ""
    transform: tuple[float, ...] = field(default=())
    launch_day: float = float("nan")

    def __post_init__(self) -> None:
        """Refuse planes that do not lie over each other.

        Raises:
            InputError: height and width differ.
        """
        seen = self.observation
        planes = {"truth": self.target, "image": seen.optical, "cloud mask": seen.cloud, "radar": seen.radar}
        sizes = {name: plane.shape[-2:] for name, plane in planes.items() if plane is not None}
        odd = next((name for name, size in sizes.items() if size != sizes["truth"]), None)
        if odd is not None:
            (height, width), (rows, columns) = sizes[odd], sizes["truth"]
            raise InputError(
                f"The {odd} of the sample '{self.name}' has {width} x {height} pixels where its truth has {columns} x "
                f"{rows}; files of one sample must have one size."
            )
