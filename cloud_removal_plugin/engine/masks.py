"""Cloud classes of every date on the scene's grid: from the analyst's masks, else detected."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ..clouds.detect import expand_given_mask
from ..raster.classes import ClassStore
from ..raster.info import describe
from ..raster.masks import MaskReader, recognise_mask
from ..raster.windows import Window
from .detecting import detect_dates
from .job import Job
from .progress import Progress
from .scene import Scene


class Masks:
    """Where the classes (0 clear, 1 cloud, 2 shadow, 255 no data) of every date come from; a context manager.

    Attributes:
        notes: sentences about how masks were read or detected.
    """

    def __init__(self, job: Job, scene: Scene, folder: Path, pool: Executor) -> None:
        self._job, self._scene = job, scene
        self._store = ClassStore(folder, scene.grid)
        self._stack = ExitStack()
        self._given: dict[int, MaskReader] = {}
        self.notes: list[str] = []
        paths = {date: path for date, path in enumerate((job.cloud_mask, *job.other_masks)) if path}
        infos = [describe(path) for path in paths.values()]
        for date, info, kind in zip(paths, infos, pool.map(recognise_mask, infos), strict=True):
            reader = self._stack.enter_context(MaskReader(info, scene.grid, kind))
            self.notes += reader.notes
            self._given[date] = reader

    def __enter__(self) -> Masks:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._store.close()

    @property
    def complete(self) -> bool:
        """Whether every date has a mask from the analyst, so that nothing is left to detect."""
        return len(self._given) == len(self._scene.layers)

    def detect(self, progress: Progress, phase: str, pool: Executor) -> None:
        """Detect clouds on the dates that have no mask, into temporary rasters."""
        if self.complete:
            return
        self.notes += detect_dates(
            self._scene.readers,
            self._scene.grid,
            self._scene.days,
            method="auto",
            threshold=self._job.threshold,
            dilate=self._job.dilate if self._job.dilate >= 0 else None,
            wanted=set(range(len(self._scene.layers))) - set(self._given),
            report=progress.phase(phase),
            cancelled=progress.asked,
            pool=pool,
            write=self._keep,
        )

    def _keep(self, date: int, window: Window, classes: np.ndarray, _probability: np.ndarray) -> None:
        self._store.write(date, window, classes)

    def read(self, date: int, window: Window) -> np.ndarray:
        """Classes uint8 (H, W) of one date in a window that lies inside the scene."""
        reader = self._given.get(date)
        if reader is None:
            return self._store.read(date, window)
        margin = max(self._job.dilate, 0)
        if not margin:
            return reader.read(window)
        wide = window.pad(margin, margin, margin, margin).clip(*self._scene.grid.shape)
        return expand_given_mask(reader.read(wide), margin)[window.slices(wide)]
