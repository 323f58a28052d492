"""The layers of an evaluation, opened on the grid of the first restored layer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluation.conventions import Convention
from ..raster.align import check_together
from ..raster.categories import CategoryReader
from ..raster.classes import CLEAR, NO_DATA
from ..raster.crs import on_ground
from ..raster.dates import date_of
from ..raster.info import RasterInfo, describe
from ..raster.masks import MaskReader
from ..raster.offsets import agree
from ..raster.products import declared_offset
from ..raster.radiometry import Radiometry, recognise
from ..raster.reader import OpticalReader
from ..raster.windows import Window
from .job import Job
from .scene import crop, hidden
from .series_sigma import SUFFIX, in_reflectance

COLOURS = ("red", "green", "blue")

SAME_REFLECTANCE = 2e-5
"""Two layers that differ by less than this show the same pixel: a fifth of one unit of a 16-bit product."""


@dataclass(frozen=True)
class Sight:
    """One window of everything.

    Attributes:
        restored: float32 (R, C, H, W), reflectance. reference: float32 (C, H, W). Values count where none is NaN.
        changed: bool (H, W), restored pixels. classes: uint8 (H, W), 0 clear, 1 cloud, 2 shadow.
        cover: int (H, W) or None. sigma: float32 (C, H, W) in reflectance, or None.
    """

    restored: np.ndarray
    reference: np.ndarray
    changed: np.ndarray
    classes: np.ndarray
    cover: np.ndarray | None
    sigma: np.ndarray | None


class Judged:
    """Opened layers; use as a context manager.

    Attributes:
        grid: that of the first restored layer, cut to the job's extent.
        bands: roles that are compared. names: one for each restored layer.
        paths, infos, radiometries: of the restored layers, then of the reference.
        dates: acquisition dates of the same, None where not known.
        knows_restored, knows_classes: whether it is known what was restored, and what is cloud and what shadow.
        notes, warnings: sentences.
    """

    def __init__(self, job: Job, convention: Convention) -> None:
        """Open everything.

        Raises:
            InputError, GridError: a layer cannot be used, in a sentence that names it.
        """
        if not job.restored:
            raise InputError("There is no restored layer to judge. Give one or several (RESTORED).")
        self.paths = (*job.restored, job.input)
        self.infos = [describe(path) for path in self.paths]
        extras = [describe(path) for path in (job.cloudy, job.cloud_mask, job.sigma, job.land_cover) if path]
        check_together(self.infos[0], [*self.infos[1:], *extras])
        self.grid = crop(self.infos[0], job.extent)
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.dates = [date_of(info) for info in self.infos]
        self.names = _distinct([Path(path).stem for path in job.restored])
        self.radiometries = self._recognised(job)
        self.grid, said = on_ground(self.grid, self.radiometries[-1].sensor)
        self.notes += said
        self.bands = self._bands(convention)
        self._stack = ExitStack()
        try:
            self._open(job)
        except BaseException:
            self._stack.close()
            raise

    def _recognised(self, job: Job) -> list[Radiometry]:
        """How each layer stores reflectance; layers like the reference are read like the reference."""
        options = {"sensor": job.sensor, "scale": job.reflectance_scale, "offset": job.reflectance_offset}
        found = agree([recognise(info, **options) for info in self.infos], self.dates)
        reference = found[-1]
        for place, info in enumerate(self.infos[:-1]):
            own = found[place]
            differs = (own.scale, own.offset, own.pairs) != (reference.scale, reference.offset, reference.pairs)
            if differs and _stored_alike(info, self.infos[-1]):
                found[place] = _like(own, reference)
                self.notes.append(f"{info.name}: stored like the reference, so its numbers are read like those.")
            elif differs:
                self.notes.append(
                    f"{info.name}: reflectance = {own.in_words()}; of the reference {reference.in_words()}."
                )
        self.notes += [note for radiometry in found for note in radiometry.notes]
        return found

    def _bands(self, convention: Convention) -> tuple[str, ...]:
        """Bands that all layers have; red, green and blue where the convention looks at no others."""
        wanted = self.radiometries[0].bands
        shared = tuple(role for role in wanted if all(role in other.bands for other in self.radiometries[1:]))
        missing = [role for role in wanted if role not in shared]
        if not shared:
            raise InputError(
                f"The restored layers and {self.infos[-1].name} have no band in common. Name the bands in the files, "
                "or choose SENSOR."
            )
        if missing:
            self.warnings.append(f"Not every layer has {', '.join(missing)}; only shared bands are compared.")
        if not convention.colours:
            return shared
        if not set(COLOURS) <= set(shared):
            raise InputError(
                f"METRICS_AS '{convention.name}' looks at red, green and blue, but the layers share only "
                f"{', '.join(shared)}. Choose 'field', or layers with named bands."
            )
        return COLOURS

    def _open(self, job: Job) -> None:
        enter = self._stack.enter_context
        self._readers = [
            enter(OpticalReader(info, radiometry, self.grid, self.bands))
            for info, radiometry in zip(self.infos, self.radiometries, strict=True)
        ]
        for reader in self._readers:
            if not reader.same_grid:
                self.warnings.append(
                    f"{reader.info.name} lies on another grid than {self.infos[0].name}; it was warped, which smooths "
                    "it and changes its errors."
                )
        self.cloudy = self._optical(job.cloudy, self.radiometries[0]) if job.cloudy else None
        self.sigma = self._sigma_reader(job.sigma) if job.sigma else None
        self.mask = enter(MaskReader(describe(job.cloud_mask), self.grid)) if job.cloud_mask else None
        self.cover = enter(CategoryReader(describe(job.land_cover), self.grid)) if job.land_cover else None
        self.knows_restored = bool(job.cloudy or job.cloud_mask or job.sigma)
        self.knows_classes = self.mask is not None
        self.notes += list(self.mask.notes) if self.mask else []

    def _optical(self, path: str, like: Radiometry) -> OpticalReader:
        info = describe(path)
        found = recognise(info)
        if _stored_alike(info, self.infos[0]):
            found = _like(found, like)
        return self._stack.enter_context(OpticalReader(info, found, self.grid, self.bands))

    def _sigma_reader(self, path: str) -> OpticalReader:
        """Standard deviations in the units of the first restored layer (its scale alone).

        Those of a series were in reflectance at first, the bands in the order of its first raster.
        """
        info, like = describe(path), self.radiometries[0]
        old = in_reflectance(info)
        roles = tuple(text.removesuffix(SUFFIX) for text in info.descriptions) if old else ()
        bands = roles if set(self.bands) <= set(roles) else like.bands
        if info.count != len(bands):
            raise InputError(
                f"UNCERTAINTY '{info.name}' has {info.count} bands, but {self.infos[0].name} has {len(like.bands)} "
                "bands of reflectance. Give the uncertainty that was made with the first restored layer."
            )
        units = replace(like, scale=1.0, offset=0.0, pairs=()) if old else like.units()
        radiometry = replace(
            units, bands=bands, used_bands=tuple(range(1, info.count + 1)), nodata=info.nodata, zero_is_nodata=False,
            saturated=None,
        )  # fmt: skip
        return self._stack.enter_context(OpticalReader(info, radiometry, self.grid, self.bands))

    def read(self, window: Window, pool: Executor) -> Sight:
        """One window, inside the scene, of all layers."""
        shape = (len(self.bands), window.height, window.width)
        stack = np.empty((len(self._readers), *shape), np.float32)
        jobs = [pool.submit(reader.read, window, stack[place]) for place, reader in enumerate(self._readers)]
        others = {name: pool.submit(reader.read, window) for name, reader in self._extras()}
        for job in jobs:
            job.result()
        found = {name: future.result() for name, future in others.items()}
        restored, reference = stack[:-1], stack[-1]
        classes = found.get("mask", np.full(shape[1:], CLEAR, np.uint8))
        changed = self._changed(restored, found, classes)
        unknown = ~np.isfinite(stack).all(axis=0)
        restored[:, unknown], reference[unknown] = np.nan, np.nan
        return Sight(
            restored, reference, changed, np.where(classes == NO_DATA, CLEAR, classes), found.get("cover"),
            found.get("sigma"),
        )  # fmt: skip

    def _extras(self) -> list[tuple[str, OpticalReader | MaskReader | CategoryReader]]:
        given = (("cloudy", self.cloudy), ("mask", self.mask), ("sigma", self.sigma), ("cover", self.cover))
        return [(name, reader) for name, reader in given if reader is not None]

    def _changed(self, restored: np.ndarray, found: dict[str, np.ndarray], classes: np.ndarray) -> np.ndarray:
        """Restored pixels: what the mask hides, else what differs from the cloudy layer, else what has a sigma."""
        if self.mask is not None:
            return hidden(classes)
        if self.cloudy is not None:
            before = found["cloudy"]
            with np.errstate(invalid="ignore"):
                same = np.abs(restored - before) <= SAME_REFLECTANCE
            same |= ~np.isfinite(before) & ~np.isfinite(restored)
            return ~same.all(axis=(0, 1))
        if self.sigma is not None:
            with np.errstate(invalid="ignore"):
                return (found["sigma"] > 0).any(axis=0)
        return np.zeros(restored.shape[-2:], bool)

    def __enter__(self) -> Judged:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _like(own: Radiometry, other: Radiometry) -> Radiometry:
    """Numbers read like those of another layer; a scale for each band only where the bands are the same."""
    pairs = other.pairs if own.bands == other.bands else own.pairs
    return replace(own, scale=other.scale, offset=other.offset, pairs=pairs)


def _stored_alike(one: RasterInfo, other: RasterInfo) -> bool:
    """Whether two files hold numbers of one kind as far as they say."""
    return (
        one.dtypes[0] == other.dtypes[0]
        and (one.scales[0], one.offsets[0]) == (other.scales[0], other.offsets[0])
        and declared_offset(one)[0] == declared_offset(other)[0]
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with a number where one occurs twice."""
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, start=1)]
