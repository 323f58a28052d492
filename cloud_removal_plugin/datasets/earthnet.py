"""EarthNet2021: cubes of 128 x 128 pixels at 20 m every five days, without georeference.

Requena-Mesa, Benson, Reichstein, Runge, Denzler 2021, CVPR Workshops, arXiv 2104.10066; licence CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import datetime
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .files import Problems, scan
from .series import Cube, SeriesChoices, SeriesDataset

SPLITS = ("train", "iid_test_split", "ood_test_split", "extreme_test_split", "seasonal_test_split")
BANDS = ("blue", "green", "red", "nir08")
"""B2, B3, B4 and B8A, the narrow near infrared."""
PIXEL_M = 20.0
FIRST_DAY, STEP_DAYS = 4, 5
"""Image i was taken 4 + 5 i days after the date in the name, which is that of the daily weather."""

_CUBE = re.compile(
    r"^(?:context_|target_)?(?P<cube>(?P<tile>\d{2}[A-Z]{3})_(?P<start>\d{4}-\d\d-\d\d)_\d{4}-\d\d-\d\d(?:_\d+){8})"
    r"\.npz$"
)


class EarthNet2021(SeriesDataset):
    """Cubes of a split; indexing gives a series as U-TILISE is trained on it.

    Stucker et al. 2023, doi 10.1109/TGRS.2023.3333391: clear frames are kept, cloud masks of other cubes of the
    same tile are laid over some of them, hidden pixels are set to 1.

    Args:
        root: folder that holds the splits.
        split: of :data:`SPLITS`.
        part: of the test splits: ``context``, ``target`` or ``all`` (both, in time order).
        on_problem: ``raise`` or ``skip`` missing, truncated and extra files.
        cache: folder of remembered scans.
        choices: of :class:`~.series.SeriesChoices`: which frames stay, what hides them, augmentation, seed.

    Raises:
        InputError: another layout, problems in the files, or an empty split.
        ValueError: an unknown choice.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        part: str = "context",
        on_problem: str = "raise",
        cache: Path | None = None,
        **choices: Any,
    ) -> None:
        for value, known in ((split, SPLITS), (part, ("context", "target", "all"))):
            if value not in known:
                raise ValueError(f"'{value}' is unknown; choose one of {', '.join(known)}.")
        super().__init__(SeriesChoices(**choices), BANDS, PIXEL_M)
        self.root, self.split, self.part = Path(root), split, part
        self.cubes, self.skipped = self._find(on_problem, cache)
        if not self.cubes:
            raise InputError(
                f"No cube of the split '{split}' is in '{root}'; expected are files such as "
                "train/29SND/29SND_2018-09-03_..."
                ".npz, and context/ and target/ in the test splits."
            )

    def _find(self, on_problem: str, cache: Path | None) -> tuple[list[tuple[str, ...]], int]:
        """Files of each cube: one in train, context and target elsewhere."""
        found = scan(self.root, cache)
        problems = Problems()
        parts = ("",) if self.split == "train" else ("context", "target") if self.part == "all" else (self.part,)
        groups: dict[str, dict[str, str]] = {}
        for name in found.files:
            pieces = name.split("/")
            if pieces[0] != self.split:
                continue
            match = _CUBE.match(pieces[-1])
            where = "" if self.split == "train" else pieces[1]
            if match is None or len(pieces) != (3 if self.split == "train" else 4) or pieces[-2] != match["tile"]:
                problems.extra.append(name)
            elif where in parts:
                groups.setdefault(match["cube"], {})[where] = name
        whole = []
        for cube, files in groups.items():
            lost = [f"{self.split}/{where}/*{cube}.npz" for where in parts if where not in files]
            broken = [name for name in files.values() if name in found.truncated]
            problems.missing += lost
            problems.truncated += broken
            if not lost and not broken:
                whole.append(tuple(files[where] for where in parts))
        return whole, problems.settle(on_problem, "EarthNet2021", self.root, len(groups))

    def __len__(self) -> int:
        return len(self.cubes)

    def group_of(self, index: int) -> str:
        """Tile of a cube."""
        return _tile(self.cubes[index][0])

    def cube(self, index: int) -> Cube:
        """Reads a cube.

        Raises:
            InputError: a file is broken or has another layout.
        """
        files = self.cubes[index]
        parts = [_read(self.root / name) for name in files]
        stack = np.concatenate([dynamic for dynamic, _ in parts])
        match = _CUBE.match(Path(files[0]).name)
        first = datetime.date.fromisoformat(match["start"]) + datetime.timedelta(FIRST_DAY)
        if self.split != "train" and self.part == "target":
            first += datetime.timedelta(STEP_DAYS * self._context_length(files[0]))
        dates = tuple(first + datetime.timedelta(STEP_DAYS * i) for i in range(len(stack)))
        optical, flag = stack[:, :4], stack[:, -1]
        bad = ~(flag < 0.5) | np.isnan(optical).any(axis=1)
        percent = stack[:, 4] if stack.shape[1] == 7 else None
        return Cube(match["cube"], optical, bad, percent, dates, elevation=parts[0][1])

    def _context_length(self, target: str) -> int:
        pieces = target.split("/")
        context = "/".join((pieces[0], "context", pieces[2], pieces[3].replace("target_", "context_", 1)))
        return len(_read(self.root / context)[0])


def _tile(path: str) -> str:
    return path.split("/")[-2]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Dynamic stack float32 (T, C, H, W) and elevation (H, W)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            dynamic, static = arrays["highresdynamic"], arrays["highresstatic"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"The cube '{path}' is missing or broken ({error}). Fetch it again.") from error
    if dynamic.ndim != 4 or dynamic.shape[2] not in (5, 7) or not dynamic.shape[3]:
        raise InputError(f"The cube '{path}' has the shape {dynamic.shape}; (128, 128, 5 or 7, dates) is expected.")
    return np.ascontiguousarray(dynamic.transpose(3, 2, 0, 1), np.float32), static[..., 0].astype(np.float32)
