"""EarthNet2021: cubes of 128 x 128 pixels at 20 m every five days, without georeference.

Requena-Mesa, Benson, Reichstein, Runge, Denzler 2021, CVPR Workshops, arXiv 2104.10066; licence CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..clouds.simulated_gaps import choose_frames, dilated, filled, impaired, overlay
from ..errors import InputError
from ..observation import Observation
from .example import Example
from .files import Problems, scan

SPLITS = ("train", "iid_test_split", "ood_test_split", "extreme_test_split", "seasonal_test_split")
BANDS = ("blue", "green", "red", "nir08")
"""B2, B3, B4 and B8A, the narrow near infrared."""
PIXEL_M = 20.0
FIRST_DAY, STEP_DAYS = 4, 5
"""Image i was taken 4 + 5 i days after the date in the name, which is that of the daily weather."""
LEAST_COVERAGE = 0.1
MASK_TRIES = 20
FILTERS = ("none", "cloud-free", "cloud-free_consecutive")
GAPS = ("random_clouds", "real_clouds")

_CUBE = re.compile(
    r"^(?:context_|target_)?(?P<cube>(?P<tile>\d{2}[A-Z]{3})_(?P<start>\d{4}-\d\d-\d\d)_\d{4}-\d\d-\d\d(?:_\d+){8})"
    r"\.npz$"
)


@dataclass(frozen=True)
class Cube:
    """One cube in physical units.

    Attributes:
        name: of the cube.
        optical: float32 (T, 4, H, W), reflectance, NaN = no data.
        mask: bool (T, H, W), True = bad (cloud or missing).
        percent: float32 (T, H, W), cloud probability 0..100, None in test splits.
        dates: of every image.
        elevation: float32 (H, W) as stored.
    """

    name: str
    optical: np.ndarray
    mask: np.ndarray
    percent: np.ndarray | None
    dates: tuple[datetime.date, ...]
    elevation: np.ndarray


class EarthNet2021(Dataset):
    """Cubes of a split; indexing gives a series as U-TILISE is trained on it.

    Stucker et al. 2023, doi 10.1109/TGRS.2023.3333391: clear frames are kept, cloud masks of other cubes of the
    same tile are laid over some of them, hidden pixels are set to 1.

    Args:
        root: folder that holds the splits.
        split: of :data:`SPLITS`.
        part: of the test splits: ``context``, ``target`` or ``all`` (both, in time order).
        frames: which frames stay: of :data:`FILTERS`; with ``none`` all of them.
        min_length: cubes with fewer kept frames count as empty.
        max_length: a random run of at most so many kept frames; 0 = all.
        gaps: ``random_clouds`` (simulated) or ``real_clouds`` (the cube's own masks).
        augment: quarter turns and flips, the same for all frames of a sample.
        seed: of all draws; with :attr:`epoch` and index it fixes a sample.
        on_problem: ``raise`` or ``skip`` missing, truncated and extra files.
        cache: folder of remembered scans.

    Raises:
        InputError: another layout, problems in the files, or an empty split.
        ValueError: an unknown choice.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        part: str = "context",
        frames: str = "cloud-free",
        min_length: int = 5,
        max_length: int = 10,
        gaps: str = "random_clouds",
        augment: bool = False,
        seed: int = 0,
        on_problem: str = "raise",
        cache: Path | None = None,
    ) -> None:
        for value, known in (
            (split, SPLITS),
            (part, ("context", "target", "all")),
            (frames, FILTERS),
            (gaps, GAPS),
        ):
            if value not in known:
                raise ValueError(f"'{value}' is unknown; choose one of {', '.join(known)}.")
        self.root, self.split, self.part, self.frames = Path(root), split, part, frames
        self.min_length, self.max_length, self.gaps, self.augment = min_length, max_length, gaps, augment
        self.seed, self.epoch = seed, 0
        self.cubes, self.skipped = self._find(on_problem, cache)
        if not self.cubes:
            raise InputError(
                f"No cube of the split '{split}' is in '{root}'; expected are files such as "
                "train/29SND/29SND_2018-09-03_..."
                ".npz, and context/ and target/ in the test splits."
            )
        self.tiles: dict[str, list[int]] = {}
        for index, files in enumerate(self.cubes):
            self.tiles.setdefault(_tile(files[0]), []).append(index)

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
        return whole, problems.settle(on_problem, "EarthNet2021", self.root)

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
        return Cube(match["cube"], optical, bad, percent, dates, parts[0][1])

    def _context_length(self, target: str) -> int:
        pieces = target.split("/")
        context = "/".join((pieces[0], "context", pieces[2], pieces[3].replace("target_", "context_", 1)))
        return len(_read(self.root / context)[0])

    def _kept(self, cube: Cube) -> np.ndarray:
        """Indices of the frames that serve as a truth."""
        if self.frames == "none":
            return np.arange(len(cube.optical))
        percent = None if cube.percent is None else cube.percent[:, None]
        clear = np.flatnonzero(~impaired(cube.optical, cube.mask[:, None], percent))
        if self.frames == "cloud-free" or not len(clear):
            return clear
        runs = np.split(clear, np.flatnonzero(np.diff(clear) > 1) + 1)
        return max(runs, key=len)

    def _masks_for(self, index: int, wanted: tuple[int, ...], rng: np.random.Generator) -> dict[int, np.ndarray]:
        """A real cloud mask for each frame, from random cubes of the same tile, covering at least a tenth."""
        donors = [i for i in self.tiles[_tile(self.cubes[index][0])] if i != index] or [index]
        masks = {}
        for frame in wanted:
            for _ in range(MASK_TRIES):
                donor = self.cube(int(rng.choice(donors)))
                mask = donor.mask[int(rng.integers(len(donor.mask)))]
                if mask.mean() >= LEAST_COVERAGE:
                    masks[frame] = mask[None]
                    break
        return masks

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A series for training.

        Returns:
            ``x`` and ``y`` float32 (T, 4, H, W) in 0..1, ``masks`` (T, 1, H, W; 1 = hidden in x), ``cloud_mask``
            (the same of y), ``masks_valid_obs`` (T,), ``position_days`` (day of the year, 1 January = 0), ``days``
            since the first frame, ``name``. T is 0 where fewer than ``min_length`` frames are clear.

        Raises:
            InputError: a file is broken.
        """
        rng = np.random.default_rng([self.seed, self.epoch, index])
        cube = self.cube(index)
        kept = self._kept(cube)
        kept = kept if len(kept) >= self.min_length else kept[:0]
        if self.max_length and len(kept) > self.max_length:
            start = int(rng.integers(0, len(kept) - self.max_length + 1))
            kept = kept[start : start + self.max_length]
        truth = np.clip(np.nan_to_num(cube.optical[kept]), 0, 1)
        real = cube.mask[kept][:, None]
        masks = real
        if self.gaps == "random_clouds":
            masks = np.zeros_like(real)
            if len(kept):
                drawn = choose_frames(len(kept), rng).masked
                masks = dilated(overlay(masks, self._masks_for(index, drawn, rng)))
        sample = {"x": filled(truth, masks), "y": truth, "masks": masks, "cloud_mask": real}
        if self.augment:
            turns, flips = int(rng.integers(4)), rng.integers(0, 2, 2).astype(bool)
            sample = {name: _turned(values, turns, flips) for name, values in sample.items()}
        dates = [cube.dates[i] for i in kept]
        days = np.array([(date - dates[0]).days for date in dates], np.float32)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for name, v in sample.items()}
        return {
            **tensors,
            "masks_valid_obs": torch.ones(len(kept)),
            "position_days": torch.tensor([float(date.timetuple().tm_yday - 1) for date in dates]),
            "days": torch.from_numpy(days),
            "name": cube.name,
        }

    def example(self, index: int) -> Example:
        """A series with gaps; the frame with the largest gap is the target.

        Raises:
            InputError: fewer than ``min_length`` frames are clear, or a file is broken.
        """
        sample = self[index]
        if not len(sample["x"]):
            raise InputError(
                f"The cube {sample['name']} has fewer than {self.min_length} clear frames; leave it out, or lower "
                "min_length."
            )
        hidden = sample["masks"][:, 0].numpy()
        target = int(hidden.mean(axis=(1, 2)).argmax())
        order = [target, *(t for t in range(len(hidden)) if t != target)]
        truth = sample["y"].numpy()[order]
        optical = np.where(hidden[order][:, None] > 0, np.float32(np.nan), truth)
        days = sample["days"].numpy()[order].astype(np.float64)
        observation = Observation(optical, hidden[order], days - days[0], BANDS, pixel_m=PIXEL_M)
        return Example(observation, truth[0], sample["name"], truth)


def _tile(path: str) -> str:
    return path.split("/")[-2]


def _turned(values: np.ndarray, turns: int, flips: np.ndarray) -> np.ndarray:
    values = np.rot90(values, turns, axes=(-2, -1))
    values = values[..., ::-1, :] if flips[0] else values
    return values[..., ::-1] if flips[1] else values


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Dynamic stack float32 (T, C, H, W) and elevation (H, W)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            dynamic, static = arrays["highresdynamic"], arrays["highresstatic"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"The cube '{path}' is missing or broken ({error}). Fetch it again.") from error
    if dynamic.ndim != 4 or dynamic.shape[2] not in (5, 7):
        raise InputError(f"The cube '{path}' has the shape {dynamic.shape}; (128, 128, 5 or 7, dates) is expected.")
    return np.ascontiguousarray(dynamic.transpose(3, 2, 0, 1), np.float32), static[..., 0].astype(np.float32)
