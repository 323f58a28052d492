"""The rasters that a restoration writes: the restored layer, its uncertainty, the cloud classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..raster.classes import NO_DATA
from ..raster.info import open_up
from ..raster.together import Together
from ..raster.windows import Window
from ..raster.writer import RasterWriter, to_stored, unify_nodata
from .job import Job
from .scene import Scene, hidden


@dataclass
class Shares:
    """Pixels counted while they are written."""

    valid: int = 0
    hidden: int = 0
    restored: int = 0
    unknown: int = 0
    """Valid, but of no class: a given mask does not reach there."""


class Outputs:
    """Open writers of one job; on an error or a cancel nothing is left. Use as a context manager.

    Attributes:
        shares: what has been written so far.
    """

    def __init__(self, job: Job, scene: Scene) -> None:
        """Open the temporary files beside the targets.

        Raises:
            OutputError: a target cannot be written or equals an input.
        """
        self._info = scene.layers[0].info
        self._radiometry = scene.layers[0].radiometry
        self._bands = [band - 1 for band in self._radiometry.used_bands]
        self._alpha = self._info.transparency(self._radiometry.used_bands)
        self.shares = Shares()
        self._stack = Together()
        info, grid, forbid = self._info, scene.grid, job.inputs
        try:
            self._restored = self._stack.writer(
                RasterWriter(job.output, info, grid, mask=info.mask_band, forbid=forbid)
            )
            self._sigma = self._clouds = None
            if job.uncertainty:
                names = [info.descriptions[band] or f"Band {band + 1}" for band in self._bands]
                self._sigma = self._stack.writer(
                    RasterWriter(
                        job.uncertainty, info, grid, forbid=forbid, dtype="float32", count=len(self._bands),
                        nodata=float("nan"), descriptions=[f"{name} standard deviation" for name in names],
                        scales=[info.scales[band] for band in self._bands], offsets=[0.0] * len(self._bands),
                        tags={}, colorinterp=[],
                    )
                )  # fmt: skip
            if job.clouds:
                self._clouds = self._stack.writer(
                    RasterWriter(
                        job.clouds, info, grid, forbid=forbid, dtype="uint8", count=1, nodata=NO_DATA,
                        descriptions=["0 clear, 1 cloud, 2 shadow, 255 no data"], scales=[1.0], offsets=[0.0],
                        tags={}, colorinterp=[],
                    )
                )  # fmt: skip
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def seal(self) -> None:
        """Make all files whole, without moving any.

        Raises:
            OutputError: one could not be made whole.
        """
        self._stack.seal()

    def copy(self, window: Window, raw: np.ndarray, outside: np.ndarray | None, classes: np.ndarray) -> None:
        """Write a window without gaps as it came.

        Args:
            window: in pixels of the grid.
            raw: (count, H, W) numbers as the input stores them; changed in place where bands mark holes differently.
            outside: bool (H, W), pixels that the input's mask band hides; None without such a band.
            classes: uint8 (H, W), none of them hidden.
        """
        valid = self._valid(raw, outside)
        unify_nodata(raw, self._info, self._restored.nodata)
        self._write_restored(raw, valid, window)
        self.shares.valid += int(valid.sum())
        self.shares.unknown += int((valid & (classes == NO_DATA)).sum())
        if self._sigma:
            self._sigma.write(_masked_zeros(len(self._bands), valid), window)
        if self._clouds:
            self._clouds.write(np.where(valid, classes, NO_DATA)[None].astype(np.uint8), window)

    def merge(
        self,
        window: Window,
        raw: np.ndarray,
        outside: np.ndarray | None,
        classes: np.ndarray,
        reflectance: np.ndarray,
        sigma: np.ndarray,
    ) -> None:
        """Write a window with gaps: kept pixels bit for bit, hidden ones restored where the method knew how.

        Args:
            window: in pixels of the grid.
            raw: (count, H, W) numbers as the input stores them; changed in place.
            outside: bool (H, W), pixels that the input's mask band hides; None without such a band.
            classes: uint8 (H, W).
            reflectance, sigma: float32 (C, H, W); NaN = unknown.
        """
        gap = hidden(classes)
        seen = self._valid(raw, outside)
        valid = seen | gap
        known = gap & np.isfinite(reflectance).all(axis=0)
        unify_nodata(raw, self._info, self._restored.nodata)
        stored = to_stored(reflectance[:, known], self._radiometry, raw.dtype, self._restored.nodata)
        for place, band in enumerate(self._bands):
            raw[band][known] = stored[place]
        if self._alpha:
            open_up(raw[self._alpha - 1], known)
        self._write_restored(raw, seen | known, window)
        self.shares.valid += int(valid.sum())
        self.shares.unknown += int((valid & (classes == NO_DATA)).sum())
        self.shares.hidden += int(gap.sum())
        self.shares.restored += int(known.sum())
        if self._sigma:
            out = _masked_zeros(len(self._bands), valid)
            for place in range(len(self._bands)):
                out[place][gap] = np.where(known[gap], sigma[place][gap] / abs(self._radiometry.pair(place)[0]), np.nan)
            self._sigma.write(out, window)
        if self._clouds:
            self._clouds.write(np.where(valid, classes, NO_DATA)[None].astype(np.uint8), window)

    def _write_restored(self, raw: np.ndarray, valid: np.ndarray, window: Window) -> None:
        self._restored.write(raw, window)
        if self._info.mask_band:
            self._restored.write_mask(valid, window)

    def _valid(self, raw: np.ndarray, outside: np.ndarray | None) -> np.ndarray:
        """True (H, W) where at least one reflectance band of the input's own numbers holds data."""
        empty = np.ones(raw.shape[1:], bool)
        for band, nodata in zip(self._bands, self._radiometry.nodata, strict=True):
            empty &= _without_data(raw[band], nodata, self._radiometry.zero_is_nodata)
            if not empty.any():
                break
        if self._alpha:
            empty |= raw[self._alpha - 1] == 0
        if outside is not None:
            empty |= outside
        return ~empty


def _without_data(plane: np.ndarray, nodata: float | None, zero_is_nodata: bool) -> np.ndarray:
    """True (H, W) where one band holds no number of its own."""
    empty = ~np.isfinite(plane) if plane.dtype.kind == "f" else np.zeros(plane.shape, bool)
    if nodata is not None and nodata == nodata:
        empty |= plane == nodata
    return empty | (plane == 0) if zero_is_nodata else empty


def _masked_zeros(count: int, valid: np.ndarray) -> np.ndarray:
    """float32 (count, H, W): zero on valid pixels (kept: no error is added), NaN elsewhere."""
    return np.broadcast_to(np.where(valid, np.float32(0), np.float32(np.nan)), (count, *valid.shape)).copy()
