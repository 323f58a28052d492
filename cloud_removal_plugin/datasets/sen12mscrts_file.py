"""SEN12MS-CR-TS in one HDF5 file a split, as the toolbox's converter writes it and U-TILISE reads it.

Ebel et al. 2022, doi 10.1109/TGRS.2022.3146246; Stucker et al. 2023, doi 10.1109/TGRS.2023.3333391. A series is a
group ``/ROIs1868/17/ROIs1868_17_patch_3`` with ``S2/{S2, cloud_prob, cloud_mask, S2_dates}`` and ``S1/{S1, S1_dates}``.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..bands import SENTINEL2_L1C
from ..errors import InputError
from .files import natural_key
from .hdf5 import open_hdf5, text, values
from .rescaling import DN
from .series import Cube, SeriesChoices, SeriesDataset
from .truncation import is_whole

SPLITS = ("train", "val", "test")
LONGEST_GAP_DAYS = 28
"""Clear frames of one series are at most so far apart (Stucker et al. 2023)."""


class SEN12MSCRTSFile(SeriesDataset):
    """Series of a split; indexing gives a sample as U-TILISE is trained on it, with radar in dB where the file has it.

    Args:
        root: folder that holds ``train.hdf5`` and so on, or one such file.
        split: of :data:`SPLITS`.
        choices: of :class:`~.series.SeriesChoices`; the filter is the stricter one, clear frames at most 28 days apart,
            unless ``strong`` or ``longest_gap`` say otherwise.

    Raises:
        InputError: the file is missing, broken, of another layout, or holds no series.
        DependencyError: h5py is not installed.
        ValueError: an unknown choice.
    """

    def __init__(self, root: str | Path, split: str = "train", **choices: Any) -> None:
        if split not in SPLITS:
            raise ValueError(f"'{split}' is unknown; choose one of {', '.join(SPLITS)}.")
        wanted = SeriesChoices(**({"strong": True, "longest_gap": LONGEST_GAP_DAYS} | choices))
        super().__init__(wanted, SENTINEL2_L1C, 10.0)
        place = Path(root)
        self.path = place / f"{split}.hdf5" if place.is_dir() else place
        if self.path.is_file() and not is_whole(self.path):
            raise InputError(f"The file '{self.path}' ends before its data do. Fetch or convert it again.")
        with open_hdf5(self.path) as file:
            found = [
                f"{scene}/{roi}/{patch}"
                for scene, rois in file.items() if hasattr(rois, "items")
                for roi, patches in rois.items() if hasattr(patches, "items")
                for patch, series in patches.items() if hasattr(series, "items") and "S2" in series
            ]  # fmt: skip
        self.series = sorted(found, key=natural_key)
        if not self.series:
            raise InputError(
                f"'{self.path}' holds no series; expected are groups such as /ROIs1868/17/ROIs1868_17_patch_3/S2."
            )

    def __len__(self) -> int:
        return len(self.series)

    def group_of(self, index: int) -> str:
        """Region of interest of a series."""
        return self.series[index].rsplit("/", 1)[0]

    def cube(self, index: int) -> Cube:
        """Reads a series; images that are black everywhere show nothing.

        Raises:
            InputError: the file is broken or has another layout.
        """
        name = self.series[index]
        with open_hdf5(self.path) as file:
            group = file[name]["S2"]
            dn = np.asarray(values(group, "S2", self.path), np.float32)
            bad = np.asarray(values(group, "cloud_mask", self.path))[:, 0] > 0.5
            percent = 100 * np.asarray(values(group, "cloud_prob", self.path), np.float32)[:, 0]
            dates = tuple(_day(value, self.path) for value in values(group, "S2_dates", self.path))
            radar = None
            if "S1" in file[name]:
                radar = np.asarray(values(file[name]["S1"], "S1", self.path), np.float32)
        fits = dn.ndim == 4 and dn.shape[1] == len(SENTINEL2_L1C) and len(dn) == len(dates)
        fits = fits and bad.shape == percent.shape == (len(dn), *dn.shape[2:])
        if not fits or (radar is not None and radar.shape != (len(dn), 2, *dn.shape[2:])):
            raise InputError(
                f"The series '{name}' of '{self.path}' has images of the shape {dn.shape}, masks of {bad.shape} and "
                f"radar of {None if radar is None else radar.shape} for {len(dates)} dates; it is damaged."
            )
        black = (dn == 0).all(axis=(1, 2, 3))
        optical = dn / np.float32(DN)
        optical[black] = np.nan
        return Cube(name.rsplit("/", 1)[1], optical, bad | black[:, None, None], percent, dates, radar)


def _day(value: Any, path: Path) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text(value)[:10])
    except ValueError as error:
        raise InputError(f"A date of '{path}' cannot be read ({error}); ISO dates are expected.") from error
