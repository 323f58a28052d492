"""The attention of a method over a whole scene, streamed beside the restoration into a raster of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..methods.attention import Attention, Attentive
from ..methods.protocol import Restorer
from ..observation import Observation
from ..raster.windows import Window
from ..raster.writer import RasterWriter
from .job import Job
from .scene import Scene


def check_attentive(job: Job, restorer: Restorer) -> None:
    """Refuse an attention that the method does not have.

    Raises:
        InputError: it has none.
    """
    if job.attention and not isinstance(restorer, Attentive):
        raise InputError(
            f"ATTENTION asks for the attention mask of CR_system's network, and the method '{job.method}' has none. "
            "Choose METHOD crsystem, or leave ATTENTION empty."
        )


class Attending:
    """The attention raster of one job in the making; a context manager that leaves nothing after an error.

    Args:
        job: names the raster.
        scene: what is looked at.
        attention: what looks.

    Raises:
        OutputError: the raster cannot be written or equals an input.
    """

    def __init__(self, job: Job, scene: Scene, attention: Attention) -> None:
        self._scene, self._attention = scene, attention
        tags = {"METHOD": job.method, "NETWORK": attention.title, "WEIGHTS_SHA256": " ".join(attention.weights)}
        self._writer = RasterWriter(
            job.attention, scene.layers[0].info, scene.grid, forbid=job.inputs, dtype="float32", count=1,
            nodata=float("nan"), descriptions=["attention"], scales=[1.0], offsets=[0.0],
            tags={**tags, "SOURCE": Path(job.input).name}, band_tags=[{"RANGE": "0 clear to 1 cloud"}],
            colorinterp=["gray"],
        )  # fmt: skip

    def __enter__(self) -> Attending:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)

    def seal(self) -> None:
        """Make the raster whole, without moving it; raises OutputError."""
        self._writer.seal()

    def look(self, core: Window) -> Observation:
        """Read what the attention over ``core`` depends on: the target alone, with its surroundings."""
        halo, scene = self._attention.halo, self._scene
        wide = core.pad(halo, halo, halo, halo).clip(*scene.grid.shape)
        optical = scene.readers[0].read(wide)[None]
        nothing = np.zeros((1, wide.height, wide.width), np.float32)
        return Observation(
            optical, nothing, np.zeros(1), scene.bands, pixel_m=scene.grid.pixel_m, row=wide.row, col=wide.col
        )

    def write(
        self, core: Window, seen: Observation, pool: Executor, cancelled: Callable[[], bool]
    ) -> Callable[[], None]:
        """Compute one window; returns what the writing thread is to do with it.

        Raises:
            Cancelled: ``cancelled()`` said so.
        """
        found = self._attention.over(seen, pool, cancelled)
        top, left = core.row - seen.row, core.col - seen.col
        own = np.ascontiguousarray(found[top : top + core.height, left : left + core.width])
        return lambda: self._writer.write(own, core)
