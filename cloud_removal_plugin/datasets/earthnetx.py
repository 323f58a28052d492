"""EarthNet2021x: the places of EarthNet2021 once more, as netCDF minicubes with daily time axis.

Published at earthnet.tech beside Requena-Mesa et al. 2021, CVPR Workshops, arXiv 2104.10066; licence CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .earthnet import BANDS, PIXEL_M
from .files import Problems, scan
from .hdf5 import open_hdf5, plain, text, values
from .series import Cube, SeriesChoices, SeriesDataset

SPLITS = ("train", "iid", "ood", "extreme", "seasonal")
VARIABLES = ("s2_B02", "s2_B03", "s2_B04", "s2_B8A")
_NAME = re.compile(r"^(?P<tile>\d{2}[A-Z]{3})_.+\.nc$")
_SINCE = re.compile(r"^\s*(?P<unit>days|hours|minutes|seconds)\s+since\s+(?P<day>\d{4}-\d\d-\d\d)")
_PER_DAY = {"days": 1, "hours": 24, "minutes": 1440, "seconds": 86400}


class EarthNet2021x(SeriesDataset):
    """Minicubes of a split; indexing gives a series as U-TILISE is trained on it.

    The days on which Sentinel-2 passed (``s2_avail``, else those that show something) are the frames.

    Args:
        root: folder that holds the splits, cubes in them or in folders of tiles.
        split: of :data:`SPLITS`.
        on_problem: ``raise`` or ``skip`` truncated and extra files.
        cache: folder of remembered scans.
        choices: of :class:`~.series.SeriesChoices`: which frames stay, what hides them, augmentation, seed.

    Raises:
        InputError: another layout, problems in the files, or an empty split.
        DependencyError: h5py is not installed.
        ValueError: an unknown choice.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        on_problem: str = "raise",
        cache: Path | None = None,
        **choices: Any,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"'{split}' is unknown; choose one of {', '.join(SPLITS)}.")
        super().__init__(SeriesChoices(**choices), BANDS, PIXEL_M)
        self.root, self.split = Path(root), split
        found, problems = scan(self.root, cache), Problems()
        self.cubes: list[str] = []
        for name in found.files:
            first, *rest = name.split("/")
            if first != split:
                continue
            if not 1 <= len(rest) <= 2 or not _NAME.match(rest[-1]):
                problems.extra.append(name)
            elif name in found.truncated:
                problems.truncated.append(name)
            else:
                self.cubes.append(name)
        self.skipped = problems.settle(
            on_problem, "EarthNet2021x", self.root, len(self.cubes) + len(problems.truncated)
        )
        if not self.cubes:
            raise InputError(
                f"No minicube of the split '{split}' is in '{root}'; expected are files such as "
                "train/29SND/29SND_....nc."
            )

    def __len__(self) -> int:
        return len(self.cubes)

    def group_of(self, index: int) -> str:
        """Tile of a cube."""
        return Path(self.cubes[index]).name.split("_")[0]

    def cube(self, index: int) -> Cube:
        """Reads a minicube.

        Raises:
            InputError: a file is broken or has another layout.
            DependencyError: h5py is not installed.
        """
        path = self.root / self.cubes[index]
        with open_hdf5(path) as file:
            dates = _dates(file, path)
            optical = np.stack([plain(file, name, path) for name in VARIABLES], axis=1)
            flag = plain(file, "s2_mask", path)
            if optical.ndim != 4 or len(optical) != len(dates) or flag.shape != (len(dates), *optical.shape[2:]):
                raise InputError(
                    f"The minicube '{path}' holds bands of shape {optical.shape[:1] + optical.shape[2:]} and a mask of "
                    f"shape {flag.shape} for {len(dates)} days; time, latitude, longitude are expected."
                )
            passed = plain(file, "s2_avail", path) > 0.5 if "s2_avail" in file else np.isfinite(optical).any((1, 2, 3))
        frames = np.flatnonzero(passed)
        optical = optical[frames]
        bad = ~(flag[frames] < 0.5) | np.isnan(optical).any(axis=1)
        return Cube(Path(path).stem, optical, bad, None, tuple(dates[i] for i in frames))


def _dates(file: Any, path: Path) -> list[datetime.date]:
    """The time axis, in the unit that it names.

    Raises:
        InputError: it names none that is known.
    """
    numbers = np.asarray(values(file, "time", path), np.float64)
    unit = _SINCE.match(text(file["time"].attrs.get("units", "")))
    if unit is None:
        raise InputError(f"The time axis of '{path}' does not say since when it counts; it has another layout.")
    start = datetime.date.fromisoformat(unit["day"])
    return [start + datetime.timedelta(int(number // _PER_DAY[unit["unit"]])) for number in numbers]
