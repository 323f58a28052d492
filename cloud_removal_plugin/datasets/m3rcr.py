"""M3R-CR: PlanetScope at 3 m with Sentinel-1 and land cover at 10 m.

Xu, Shi, Ebel, Yang, Zhu 2024, IEEE TGRS 62, doi 10.1109/TGRS.2023.3337845. The data are for academic use only.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import InputError
from ..models.records import RGB_NIR
from ..models.scaling import ALIGNCR
from ..observation import Observation
from .example import Example
from .files import Problems, place_of, read_array, read_raster, scan

MODALITIES = ("planet_cloudfree", "planet_cloudy", "S1", "landcover", "cloudmask")
LOAD_SIZE, NATIVE_SIZE = 300, 90
PIXEL_M = 3.0
STEP = 10
"""A window of 10 px at 3 m covers 3 px at 10 m; native crops move in such steps."""

_CLASSES = {
    "1": {10: 0, 20: 1, 30: 1, 40: 2, 50: 3, 60: 4, 80: 5, 90: 5, 70: 6, 95: 6, 100: 6},
    "2": {code: place for place, code in enumerate((10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100))},
}
_NAME = re.compile(r"^(?P<split>[^/]+)/(?P<mod>[A-Za-z0-9_]+?)_(?P<season>[a-z]+)/(?P=mod)_(?P=season)_(?P<aoi>\w+)/"
                   r"(?P=mod)_(?P=season)_(?P=aoi)_p_(?P<patch>\d+)\.(?:tif|npy)$")  # fmt: skip


def land_cover_classes(codes: np.ndarray, level: str) -> np.ndarray:
    """WorldCover codes to class numbers, float32.

    Args:
        codes: any shape, 10, 20 .. 100.
        level: ``1`` (forest, rangeland, agriculture, urban, barren, water, unknown) or ``2`` (0..10 in code order).

    Raises:
        InputError: a code that WorldCover does not have.
    """
    table = np.full(256, -1, np.int16)
    table[list(_CLASSES[level])] = list(_CLASSES[level].values())
    classes = table[codes.astype(np.uint8)]
    if (classes < 0).any():
        strange = ", ".join(str(int(code)) for code in np.unique(codes[classes < 0])[:5])
        raise InputError(f"The land cover holds codes that WorldCover does not have ({strange}).")
    return classes.astype(np.float32)


class M3RCR(Dataset):
    """Quartets of cloudy and clear PlanetScope, Sentinel-1 and land cover, with a cloud mask.

    Indexing gives the published loader's sample (``cloudy_data`` ... scaled tensors); :meth:`example` gives physical
    units.

    Args:
        root: folder that holds ``train`` and ``test``.
        split: folder below the root, or ``all``.
        csv_list: list without header, five relative paths a line (clear, cloudy, S1, land cover, cloud mask); None to
            find the files.
        crop: edge of the crop in 3 m pixels; 300 = none.
        crop_position: ``random`` or ``centre``.
        upsample_radar, upsample_landcover: to 300 px, nearest neighbour; else at their native 90 px.
        level: of the land cover classes.
        seed: of the random crops; together with epoch and index it fixes each of them.
        on_problem: ``raise`` or ``skip`` samples with missing, truncated or extra files.
        cache: folder of remembered scans.

    Attributes:
        skipped: files with a problem.

    Raises:
        InputError: another layout, problems in the files, or an empty split.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        csv_list: str | Path | None = None,
        crop: int = 160,
        crop_position: str = "random",
        upsample_radar: bool = True,
        upsample_landcover: bool = True,
        level: str = "1",
        seed: int = 7,
        on_problem: str = "raise",
        cache: Path | None = None,
    ) -> None:
        self.root, self.split, self.seed, self.epoch = Path(root), split, seed, 0
        self.crop, self.crop_position, self.level = crop, crop_position, level
        self.upsample_radar, self.upsample_landcover = upsample_radar, upsample_landcover
        if crop_position not in ("random", "centre"):
            raise ValueError("crop_position must be 'random' or 'centre'.")
        if crop > LOAD_SIZE or (not self._whole_resolution and crop % STEP):
            raise ValueError(f"A crop of {crop} px does not fit: at most {LOAD_SIZE}, at 10 m a multiple of {STEP}.")
        found = scan(self.root, cache)
        problems = Problems()
        listed = self._listed(Path(csv_list)) if csv_list else self._found(found.files, problems)
        present = set(found.files)
        self.samples: list[tuple[str, ...]] = []
        for quintet in listed:
            lost = [name for name in quintet if name not in present]
            broken = [name for name in quintet if name in found.truncated]
            problems.missing += lost
            problems.truncated += broken
            if not lost and not broken:
                self.samples.append(quintet)
        self.skipped = problems.settle(on_problem, "M3R-CR", self.root, len(listed))
        if not self.samples:
            raise InputError(
                f"No M3R-CR sample of the split '{split}' is in '{root}'; expected are folders such as "
                "train/planet_cloudy_summer/planet_cloudy_summer_33/."
            )

    @property
    def _whole_resolution(self) -> bool:
        return self.upsample_radar and self.upsample_landcover

    def _listed(self, path: Path) -> list[tuple[str, ...]]:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"The list '{path}' cannot be read ({error}).") from error
        if any(len(row) != len(MODALITIES) for row in rows):
            raise InputError(f"The list '{path}' must have {len(MODALITIES)} paths a line: {', '.join(MODALITIES)}.")
        return [tuple(f"{self.split}/{cell}" for cell in row) for row in rows]

    def _found(self, files: tuple[str, ...], problems: Problems) -> list[tuple[str, ...]]:
        groups: dict[tuple[str, ...], None] = {}
        for name in files:
            match = _NAME.match(name)
            if match is None or match["mod"] not in MODALITIES:
                if self.split in ("all", name.split("/")[0]):
                    problems.extra.append(name)
            elif self.split in ("all", match["split"]):
                groups[(match["split"], match["season"], match["aoi"], match["patch"])] = None
        return [_quintet(*group) for group in groups]

    def __len__(self) -> int:
        return len(self.samples)

    def group_of(self, index: int) -> str:
        """Season and area of interest of a sample."""
        return Path(self.samples[index][0]).parent.name.removeprefix(f"{MODALITIES[0]}_")

    def _read(self, index: int) -> dict[str, np.ndarray]:
        """Arrays as stored, radar and land cover at the loading size."""
        clear, cloudy, radar, cover, mask = (self.root / name for name in self.samples[index])
        up = (LOAD_SIZE, LOAD_SIZE)
        return {
            "cloudfree": read_raster(clear, 4, stored=(LOAD_SIZE, LOAD_SIZE)),
            "cloudy": read_raster(cloudy, 4, stored=(LOAD_SIZE, LOAD_SIZE)),
            "radar": read_raster(radar, 2, up if self.upsample_radar else None),
            "landcover": read_raster(cover, 1, up if self.upsample_landcover else None)[0],
            "cloudmask": _mask(mask).astype(np.float32),
        }

    def _offset(self, index: int) -> tuple[int, int]:
        """Row and column of the crop in 3 m pixels."""
        free = LOAD_SIZE - self.crop
        step = 1 if self._whole_resolution else STEP
        if self.crop_position == "centre":
            return (free // step // 2 * step,) * 2
        rng = np.random.default_rng([self.seed, self.epoch, index])
        row, col = rng.integers(0, free // step + 1, 2) * step
        return int(row), int(col)

    def _cut(self, plane: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
        """The crop of a plane (..., 300, 300), or of a native one (..., 90, 90)."""
        ratio = plane.shape[-1] / LOAD_SIZE
        row, col, edge = (round(value * ratio) for value in (*offset, self.crop))
        return plane[..., row : row + edge, col : col + edge]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The published loader's sample: float32 tensors in 0..1, masks as 0 and 1, classes as numbers."""
        arrays, offset = self._read(index), self._offset(index)
        scaled = {
            "cloudy_data": ALIGNCR.optical(arrays["cloudy"].astype(np.float32) / np.float32(10000)),
            "cloudfree_data": ALIGNCR.optical(arrays["cloudfree"].astype(np.float32) / np.float32(10000)),
            "SAR_data": ALIGNCR.radar(arrays["radar"].astype(np.float32)),
            "landcover_data": land_cover_classes(arrays["landcover"], self.level),
            "cloudmask_data": arrays["cloudmask"],
        }
        sample: dict[str, Any] = {
            name: torch.from_numpy(np.ascontiguousarray(self._cut(plane, offset), np.float32))
            for name, plane in scaled.items()
        }
        return {**sample, "file_name": Path(self.samples[index][0]).name}

    def example(self, index: int) -> Example:
        """The sample in physical units, radar on the 3 m pixels; nodata (0 in all bands) is NaN.

        Raises:
            InputError: a file cannot be read.
        """
        clear, cloudy, radar, _, mask = (self.root / name for name in self.samples[index])
        offset = self._offset(index)
        place = place_of(clear)

        def reflectance(path: Path) -> np.ndarray:
            dn = self._cut(read_raster(path, 4, stored=(LOAD_SIZE, LOAD_SIZE)), offset).astype(np.float32)
            return np.where((dn == 0).all(axis=0), np.float32(np.nan), dn / np.float32(10000))

        decibel = self._cut(read_raster(radar, 2, (LOAD_SIZE, LOAD_SIZE)), offset)
        observation = Observation(
            optical=reflectance(cloudy)[None],
            cloud=self._cut(_mask(mask), offset).astype(np.float32)[None],
            days=np.zeros(1),
            bands=RGB_NIR,
            radar=decibel.astype(np.float32)[None],
            radar_days=np.zeros(1),
            pixel_m=PIXEL_M,
            row=offset[0],
            col=offset[1],
        )
        return Example(observation, reflectance(clear), clear.name, crs=place.crs, transform=place.transform)


def _mask(path: Path) -> np.ndarray:
    """A cloud mask (300, 300).

    Raises:
        InputError: the file is missing, broken, or of another shape.
    """
    found = read_array(path)
    if found.shape != (LOAD_SIZE, LOAD_SIZE):
        raise InputError(f"The cloud mask '{path}' has the shape {found.shape} where {LOAD_SIZE} x {LOAD_SIZE} pixels "
                         "are expected. Fetch it again, or leave its sample out.")  # fmt: skip
    return found


def _quintet(split: str, season: str, aoi: str, patch: str) -> tuple[str, ...]:
    names = []
    for modality in MODALITIES:
        stem = f"{modality}_{season}"
        suffix = "npy" if modality == "cloudmask" else "tif"
        names.append(f"{split}/{stem}/{stem}_{aoi}/{stem}_{aoi}_p_{patch}.{suffix}")
    return tuple(names)
