"""From the data sets to samples for one network: crop, augment, scale; every draw follows from seed, epoch and "
"index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..datasets.example import Example
from ..datasets.files import PROBLEM_ACTIONS
from ..datasets.opening import reader_of, recognise_layout
from ..datasets.part import Part, held_out_groups
from ..datasets.scenes import SceneFiles, ScenesDataset, scenes_of_folder
from ..datasets.series import Cube, SeriesDataset
from ..errors import InputError
from ..observation import Observation
from .feeds import Feed, MaskFeed

PARTS = ("train", "validation", "test")
SPLITS: Mapping[str, Mapping[str, str]] = {
    "sen12mscr": {"train": "train", "validation": "val", "test": "test"},
    "sen12mscrts": {"train": "train", "validation": "val", "test": "test"},
    "filelist": {"train": "train", "validation": "val", "test": "test"},
    "m3rcr": {"train": "train", "test": "test"},
    "earthnet2021": {"train": "train", "test": "iid_test_split"},
    "earthnet2021x": {"train": "train", "test": "iid"},
    "sen12mscrts_hdf5": {"train": "train", "validation": "val", "test": "test"},
}
"""Official splits. Where there is none for validation, regions of the training split are held out: a step chosen on
test data would make its figures there worthless."""
UNCHECKED = ("scenes", "sen12mscrts_hdf5")
"""Data that are no folders of many files: none of them can be missing beside others."""
SERIES = ("earthnet2021", "earthnet2021x", "sen12mscrts_hdf5")
OTHER_DATA = ("split", "root", "file_list", "csv_list")
"""Options of ``[data.validation]`` that name other samples than those of the training."""
DRAWS = 0x5EED
"""Tells the draws of crops and turns from those of the readers, which use the same seed."""


def reader_name(data: Mapping[str, Any]) -> str:
    """Name of the reader of the data: as given, or recognised by the layout.

    Raises:
        InputError: the layout is none of the known ones.
    """
    return data.get("reader") or ("scenes" if "scenes" in data else recognise_layout(data.get("root", "")))


def open_part(
    data: Mapping[str, Any], part: str, seed: int, crop: int = 0, whole: bool = False, augment: bool = False
) -> Any:
    """The reader of one part of the data.

    Args:
        data: the table of :class:`.config.TrainingConfig`.
        part: of :data:`PARTS`: the official split (:data:`SPLITS`) unless the table says otherwise; ``validation`` is
            regions of the training data where there is no such split.
        seed: of the readers' own draws.
        crop: of the training; own scenes are read in windows of that size, unless the table says otherwise.
        whole: own scenes come whole and unturned, each once, whatever the table says: to be restored, not learned from.
        augment: series are turned and flipped by their readers, all frames alike, unless the table says otherwise.

    Raises:
        InputError: an unknown reader or option, a part that the data set lacks, or what the reader says.
    """
    name = reader_name(data)
    shared = {key: value for key, value in data.items() if key not in (*PARTS, "reader", "root", "scenes", "held_out")}
    options = {**shared, **data.get(part, {})}
    root = options.pop("root", data.get("root", ""))
    if name in UNCHECKED and options.get("on_problem") in PROBLEM_ACTIONS:
        del options["on_problem"]
    if "cache" in options:
        options["cache"] = Path(options["cache"])
    if name == "scenes":
        as_wanted = {"crop": 0, "windows": 1, "augment": False} if whole else {}
        return _scenes(data, root, part, {"seed": seed, "crop": crop, **options, **as_wanted})
    splits = {"train": "all"} if name == "filelist" and "file_list" not in options else SPLITS.get(name, {})
    divided = "validation" not in splits and not any(key in data.get("validation", {}) for key in OTHER_DATA)
    split = splits.get("train" if divided and part == "validation" else part, "")
    if not split and "split" not in options:
        raise InputError(
            f"The data set '{name}' has no part '{part}'; name a split or other files under [data.{part}]."
        )
    reader = _reader(name, root, {"split": split, **_habits(name, seed, augment), **options})
    if not divided or part == "test":
        return reader
    held = held_out_groups([reader.group_of(i) for i in range(len(reader))], data.get("held_out") or ())
    return Part(reader, held, part == "validation")


def skipped_of(reader: Any) -> int:
    """Files that a reader was asked to leave out with their samples."""
    return int(getattr(getattr(reader, "reader", reader), "skipped", 0))


def spare_clouds(reader: Any) -> None:
    """Has a reader leave out the cloud maps of its examples, where it would have to compute them."""
    inside = getattr(reader, "reader", reader)
    if hasattr(inside, "with_clouds"):
        inside.with_clouds = False


def _habits(name: str, seed: int, augment: bool) -> dict[str, Any]:
    """Options that a training gives a reader unless the table does."""
    found: dict[str, Any] = {"augment": augment} if name in SERIES else {}
    found |= {"seed": seed} if name in (*SERIES, "m3rcr", "sen12mscrts") else {}
    return found | ({"crop": 300} if name == "m3rcr" else {})


def _reader(name: str, root: str, options: dict[str, Any]) -> Any:
    try:
        return reader_of(name)(root, **options)
    except (TypeError, ValueError) as error:
        raise InputError(f"The data set '{name}' does not take these options ({error}).") from error


def _scenes(data: Mapping[str, Any], root: str, part: str, options: dict[str, Any]) -> ScenesDataset:
    """Own scenes; whole regions (``held_out``, else every fifth) are kept for validation."""
    try:
        elsewhere = "root" in data.get(part, {})
        if part == "test" and not elsewhere:
            raise InputError("Own scenes have no part 'test'; name its folder as root under [data.test].")
        is_listed = "scenes" in data and not elsewhere
        chosen = [SceneFiles(**entry) for entry in data["scenes"]] if is_listed else scenes_of_folder(root)
        if part != "test" and "root" not in data.get("validation", {}):
            held = held_out_groups([scene.group for scene in chosen], data.get("held_out") or ())
            chosen = [scene for scene in chosen if (scene.group in held) == (part == "validation")]
        if part != "train":
            options.setdefault("augment", False)
        return ScenesDataset(chosen, **options)
    except (TypeError, ValueError) as error:
        raise InputError(f"The scenes do not take these options ({error}).") from error


class Samples(Dataset):
    """A reader's samples as one network wants them.

    Args:
        reader: with ``example(index)``, or with U-TILISE's series as samples where the feed asks for them.
        feed: of the network.
        crop: edge in pixels, 0 = whole; smaller samples are refused.
        augment: a flip (none, vertical, horizontal), then a quarter turn (DSen2-CR's order).
        seed: with :attr:`epoch` and the index it fixes crop and turn.
        on_nan: ``raise``, or ``skip``: the next sample takes the place of one whose target holds no data somewhere.

    Attributes:
        by_frame: a network that looks for clouds gets frames of the series as they were seen, with their own masks;
            examples of such readers show the gaps of a restoration instead.
    """

    def __init__(self, reader: Any, feed: Feed, crop: int, augment: bool, seed: int, on_nan: str = "raise") -> None:
        self.reader, self.feed, self.crop, self.augment = reader, feed, crop, augment
        self.seed, self.on_nan, self.epoch = seed, on_nan, 0
        self._series_reader = getattr(reader, "reader", reader)
        self.by_frame = isinstance(feed, MaskFeed) and isinstance(self._series_reader, SeriesDataset)

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        """One sample; a key (epoch, index) draws for that epoch, whatever process asks."""
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if hasattr(self.reader, "epoch"):
            self.reader.epoch = epoch
        if self.feed.wants_series:
            return self.feed.from_series(self._series(index))
        for step in range(len(self)):
            example = self._prepared(epoch, (index + step) % len(self))
            if np.isfinite(example.target).all():
                return self.feed.tensors(example) | {"replaced": np.float32(step > 0)}
            if self.on_nan == "raise":
                raise InputError(
                    f"The target of the sample '{example.name}' has pixels without data. Fill them, or leave such "
                    "samples out with on_nan='skip' (in QGIS SKIP_INCOMPLETE)."
                )
        raise InputError("Every sample of the data has pixels without data in its target; there is nothing to learn.")

    def series(self, index: int) -> Mapping[str, Any]:
        """The reader's series behind an index, empty where too few of its frames are clear.

        Raises:
            InputError: the data hold no series.
        """
        sample = self.reader[index % len(self)]
        if not isinstance(sample, Mapping) or "x" not in sample:
            raise InputError(
                f"{self.feed.record.title} learns from series with simulated gaps; choose EarthNet2021, "
                "EarthNet2021x or SEN12MS-CR-TS as HDF5."
            )
        return sample

    def example(self, index: int) -> Example:
        """The physical sample behind an index, cropped as for training."""
        return self._prepared(self.epoch, index)

    def frames(self, index: int) -> list[Example]:
        """The sample behind an index for a network that judges frames: all of a series, else the one image."""
        if not self.by_frame:
            return [self.example(index)]
        cube = self.reader.cube(index)
        return [self._frame(cube, t) for t in range(len(cube.optical))]

    def _frame(self, cube: Cube, t: int) -> Example:
        """One date of a series with its real clouds; there is no truth below them."""
        source = self._series_reader
        observation = Observation(
            cube.optical[t : t + 1], cube.mask[t : t + 1].astype(np.float32), np.zeros(1), source.bands,
            pixel_m=source.pixel_m,
        )  # fmt: skip
        return Example(observation, np.nan_to_num(cube.optical[t]), cube.name, cube.optical)

    def _series(self, index: int) -> Mapping[str, Any]:
        for step in range(len(self)):
            sample = self.series(index + step)
            if len(sample["x"]):
                return sample
        raise InputError("No series of the data has enough clear frames; lower min_length or choose frames = 'none'.")

    def _prepared(self, epoch: int, index: int) -> Example:
        rng = np.random.default_rng([self.seed, epoch, index, DRAWS])
        if self.by_frame:
            cube = self.reader.cube(index)
            example = self._frame(cube, int(rng.integers(len(cube.optical))))
        else:
            example = self.reader.example(index)
        edge, size = self.crop, example.target.shape[-2:]
        if edge and min(size) < edge:
            raise InputError(
                f"The sample '{example.name}' has {size[1]} x {size[0]} pixels, fewer than the crop of {edge}."
            )
        if edge and max(size) > edge:
            # as published, the last offset is never drawn
            row, col = (int(rng.integers(0, max(1, length - edge))) for length in size)
            example = _each(example, lambda v: v[..., row : row + edge, col : col + edge])
        if not self.augment:
            return example
        flip, turns = int(rng.integers(3)), int(rng.integers(4))
        return _each(example, lambda v: _turned(v, flip, turns))


def _turned(values: np.ndarray, flip: int, turns: int) -> np.ndarray:
    if flip:
        values = np.flip(values, axis=-2 if flip == 1 else -1)
    return np.rot90(values, turns, axes=(-2, -1))


def _each(example: Example, change: Any) -> Example:
    """The same change of every plane; the georeference no longer holds."""
    seen = example.observation
    changed = replace(
        seen,
        optical=change(seen.optical),
        cloud=change(seen.cloud),
        radar=None if seen.radar is None else change(seen.radar),
    )
    return replace(example, observation=changed, target=change(example.target), crs="", transform=())
