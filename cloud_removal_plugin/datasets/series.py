"""Series of a place for networks that rebuild every frame: clear frames, real or simulated gaps, positions in the year.

As U-TILISE is trained: Stucker et al. 2023, doi 10.1109/TGRS.2023.3333391. Where the series come from is a reader's
matter.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..clouds.simulated_gaps import choose_frames, dilated, filled, impaired, overlay
from ..errors import InputError
from ..observation import Observation
from .example import Example

LEAST_COVERAGE = 0.1
MASK_TRIES = 20
FILTERS = ("none", "cloud-free", "cloud-free_consecutive")
GAPS = ("random_clouds", "own_clouds", "real_clouds")


@dataclass(frozen=True)
class Cube:
    """One series in physical units.

    Attributes:
        name: of the cube.
        optical: float32 (T, C, H, W), reflectance, NaN = no data.
        mask: bool (T, H, W), True = bad (cloud or missing).
        percent: float32 (T, H, W), cloud probability 0..100, None where it is not known.
        dates: of every image.
        radar: float32 (T, 2, H, W), VV and VH in dB, one for each image, or None.
        elevation: float32 (H, W) as stored, or None.
    """

    name: str
    optical: np.ndarray
    mask: np.ndarray
    percent: np.ndarray | None
    dates: tuple[datetime.date, ...]
    radar: np.ndarray | None = None
    elevation: np.ndarray | None = None


@dataclass(frozen=True)
class SeriesChoices:
    """What of a cube becomes a sample.

    Attributes:
        frames: which frames stay: of :data:`FILTERS`; with ``none`` all of them.
        min_length: cubes with fewer kept frames count as empty.
        max_length: a random run of at most so many kept frames; 0 = all.
        gaps: ``random_clouds`` (masks of other cubes of the region, as U-TILISE draws them), ``own_clouds`` (masks of
            the same cube's cloudy frames over its clear ones, as Clear Vision's authors do) or ``real_clouds`` (each
            frame's own mask).
        augment: quarter turns and flips, the same for all frames of a sample.
        seed: of all draws; with epoch and index it fixes a sample.
        strong: the stricter filter for clear frames (SEN12MS-CR-TS).
        longest_gap: days between clear frames at most; the longest run is kept; 0 = any.
    """

    frames: str = "cloud-free"
    min_length: int = 5
    max_length: int = 10
    gaps: str = "random_clouds"
    augment: bool = False
    seed: int = 0
    strong: bool = False
    longest_gap: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown words.

        Raises:
            ValueError: an unknown choice.
        """
        for value, known in ((self.frames, FILTERS), (self.gaps, GAPS)):
            if value not in known:
                raise ValueError(f"'{value}' is unknown; choose one of {', '.join(known)}.")


class SeriesDataset(Dataset):
    """Base of the readers: a reader finds cubes and reads one.

    Args:
        choices: what of a cube becomes a sample.
        bands: role names of the cubes.
        pixel_m: edge of a pixel.

    Attributes:
        epoch: set it to have gaps and runs drawn anew.
    """

    def __init__(self, choices: SeriesChoices, bands: tuple[str, ...], pixel_m: float) -> None:
        self.choices, self.bands, self.pixel_m, self.epoch = choices, bands, pixel_m, 0
        self._groups: dict[str, list[int]] = {}

    def __len__(self) -> int:
        raise NotImplementedError

    def cube(self, index: int) -> Cube:
        """Reads a cube.

        Raises:
            InputError: a file is broken or has another layout.
        """
        raise NotImplementedError

    def group_of(self, index: int) -> str:
        """Region of a cube: clouds of others of the same region are laid over it."""
        raise NotImplementedError

    def _donors(self, index: int) -> list[int]:
        if not self._groups:
            for i in range(len(self)):
                self._groups.setdefault(self.group_of(i), []).append(i)
        return [i for i in self._groups[self.group_of(index)] if i != index] or [index]

    def _kept(self, cube: Cube) -> np.ndarray:
        """Indices of the frames that serve as a truth."""
        how = self.choices
        if how.frames == "none":
            return np.arange(len(cube.optical))
        percent = None if cube.percent is None else cube.percent[:, None]
        clear = np.flatnonzero(~impaired(cube.optical, cube.mask[:, None], percent, how.strong))
        if how.frames == "cloud-free_consecutive":
            clear = _longest(clear, np.diff(clear) > 1)
        if how.longest_gap:
            days = np.array([cube.dates[i].toordinal() for i in clear])
            clear = _longest(clear, np.diff(days) > how.longest_gap)
        return clear

    def _masks_for(
        self, index: int, wanted: tuple[int, ...], rng: np.random.Generator, size: tuple[int, ...]
    ) -> dict[int, np.ndarray]:
        """A real cloud mask for each frame, from random cubes of the same tile, covering at least a tenth.

        Raises:
            InputError: a cube of the tile has another size.
        """
        donors = self._donors(index)
        masks = {}
        for frame in wanted:
            for _ in range(MASK_TRIES):
                donor = self.cube(int(rng.choice(donors)))
                if donor.mask.shape[-2:] != size:
                    height, width = donor.mask.shape[-2:]
                    raise InputError(
                        f"The cube {donor.name} has {width} x {height} pixels where another of its region has "
                        f"{size[1]} x {size[0]}. Fetch it again, or leave it out."
                    )
                mask = donor.mask[int(rng.integers(len(donor.mask)))]
                if mask.mean() >= LEAST_COVERAGE:
                    masks[frame] = mask[None]
                    break
        return masks

    def _gaps(self, index: int, cube: Cube, kept: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """bool (T, 1, H, W): what is hidden of the frames that serve as a truth."""
        real = cube.mask[kept][:, None]
        if self.choices.gaps == "real_clouds" or not len(kept):
            return real
        if self.choices.gaps == "own_clouds":
            return own_clouds(cube.mask, kept, rng)[:, None]
        drawn = choose_frames(len(kept), rng).masked
        return dilated(overlay(np.zeros_like(real), self._masks_for(index, drawn, rng, real.shape[-2:])))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A series for training.

        Returns:
            ``x`` and ``y`` float32 (T, C, H, W) in 0..1, ``masks`` (T, 1, H, W; 1 = hidden in x), ``cloud_mask``
            (the same of y), ``masks_valid_obs`` (T,), ``position_days`` (day of the year, 1 January = 0), ``days``
            since the first frame, ``name``, ``bands``, and ``radar`` (T, 2, H, W; dB) where there is some. T is 0
            where fewer than ``min_length`` frames are clear.

        Raises:
            InputError: a file is broken.
        """
        rng = np.random.default_rng([self.choices.seed, self.epoch, index])
        how, cube = self.choices, self.cube(index)
        kept = self._kept(cube)
        kept = kept if len(kept) >= how.min_length else kept[:0]
        if how.max_length and len(kept) > how.max_length:
            start = int(rng.integers(0, len(kept) - how.max_length + 1))
            kept = kept[start : start + how.max_length]
        truth = np.clip(np.nan_to_num(cube.optical[kept]), 0, 1)
        real, masks = cube.mask[kept][:, None], self._gaps(index, cube, kept, rng)
        sample = {"x": filled(truth, masks), "y": truth, "masks": masks, "cloud_mask": real}
        if cube.radar is not None:
            sample["radar"] = cube.radar[kept]
        if how.augment:
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
            "bands": self.bands,
        }

    def example(self, index: int) -> Example:
        """A series with gaps; the frame with the largest gap is the target.

        Raises:
            InputError: fewer than ``min_length`` frames are clear, or a file is broken.
        """
        sample = self[index]
        if not len(sample["x"]):
            raise InputError(
                f"The cube {sample['name']} has fewer than {self.choices.min_length} clear frames; leave it out, or "
                "lower min_length."
            )
        hidden = sample["masks"][:, 0].numpy()
        target = int(hidden.mean(axis=(1, 2)).argmax())
        order = [target, *(t for t in range(len(hidden)) if t != target)]
        truth = sample["y"].numpy()[order]
        optical = np.where(hidden[order][:, None] > 0, np.float32(np.nan), truth)
        days = sample["days"].numpy()[order].astype(np.float64)
        radar = sample["radar"].numpy()[order] if "radar" in sample else None
        observation = Observation(
            optical, hidden[order], days - days[0], self.bands, radar=radar,
            radar_days=days - days[0] if radar is not None else np.zeros(0), pixel_m=self.pixel_m,
        )  # fmt: skip
        return Example(observation, truth[0], sample["name"], truth)


def own_clouds(masks: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaps as Clear Vision's authors simulate them (https://github.com/caoymg/Clear-Vision).

    The first few cloudy frames lend their masks, one to half as many as there are kept frames; with empty masks for the
    others they are shuffled over the kept frames, the first of which may get one, too.

    Args:
        masks: bool (T, H, W), of all frames of a cube. kept: indices of the clear ones. rng: source of the draws.

    Returns:
        bool (len(kept), H, W).
    """
    cloudy = np.setdiff1d(np.flatnonzero(masks.any(axis=(1, 2))), kept)
    most = min(len(kept) // 2, len(cloudy))
    gaps = np.zeros((len(kept), *masks.shape[1:]), bool)
    if most:
        lent = masks[cloudy[: int(rng.integers(1, most + 1))]]
        gaps[rng.permutation(len(kept))[: len(lent)]] = lent
    return gaps


def _longest(indices: np.ndarray, breaks: Sequence[bool] | np.ndarray) -> np.ndarray:
    """The longest run of indices without a break between neighbours, the first of equals."""
    if not len(indices):
        return indices
    return max(np.split(indices, np.flatnonzero(breaks) + 1), key=len)


def _turned(values: np.ndarray, turns: int, flips: np.ndarray) -> np.ndarray:
    values = np.rot90(values, turns, axes=(-2, -1))
    values = values[..., ::-1, :] if flips[0] else values
    return values[..., ::-1] if flips[1] else values
