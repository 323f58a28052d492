"""SEN12MS-CR-TS: 30 dates of Sentinel-1 and Sentinel-2 Level-1C a patch.

Ebel, Xu, Schmitt, Zhu 2022, IEEE TGRS 60, doi 10.1109/TGRS.2022.3146246; mediaTUM 1639953 and 1659251.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..bands import SENTINEL2_L1C
from ..errors import InputError
from ..observation import Observation
from .coverage import CoverageStore
from .date_table import DateTable, read_date_table, table_names, write_date_table
from .example import Example
from .files import Problems, natural_key, place_of, read_raster, scan
from .names import PatchFile, days_since_launch, series_file
from .rescaling import DN, RESCALINGS, check_choices, cloud_of
from .sampling import DateChoice, choose_dates, draw_dates
from .splits import sen12mscrts_rois

DATES = 30
SAMPLE_TYPES = ("cloudy_cloudfree", "generic")
SAMPLERS = ("paper", "exclude-target", "random")


@dataclass(frozen=True)
class Series:
    """The files of one patch, by time index: relative path and day number since 2014-04-03."""

    key: tuple[str, int, int]
    radar: tuple[str, ...]
    optical: tuple[str, ...]
    radar_days: tuple[int, ...]
    optical_days: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the series in tables."""
        scene, roi, patch = self.key
        return f"{scene}_{roi}_patch_{patch}"


class SEN12MSCRTS(Dataset):
    """The merged archives; ``SEN12MSCRTS(root, split='all', region='all', n_input_samples=3)`` as with the toolbox.

    Coverage of each date is computed once and kept, and cloud maps are made only for the dates that a sample uses.

    Args:
        root: folder that holds ``ROIs1158`` and so on. ROIs that are not there are left out.
        split, region: official, see :mod:`.splits`.
        cloud_masks: ``s2cloudless_mask``, ``s2cloudless_map``, ``cloud_cloudshadow_mask`` or None (all covered).
        sample_type: ``cloudy_cloudfree`` (inputs and a clear target) or ``generic`` (the whole series).
        n_input_samples: input dates.
        rescale_method: ``default`` or ``resnet``.
        min_cov, max_cov: wanted coverage of the inputs.
        import_data_path: table of dates, or a folder that holds it; see :mod:`.date_table`.
        export_data_path: where to write the table of this data set (JSON), or a folder for it.
        sampler: ``paper`` (the target may be among the inputs), ``exclude-target``, or ``random`` (UnCRtainTS; drawn
            anew in every :attr:`epoch`).
        seed: of ``random``.
        on_problem: ``raise`` or ``skip`` series with missing or truncated files.
        cache: folder of remembered scans and coverage.

    Attributes:
        skipped: files with a problem.
        epoch: set it to have the random sampler draw anew.
        with_clouds: False spares :meth:`example` the cloud maps, which take s2cloudless a second a date: all hidden.

    Raises:
        InputError: another layout, problems in the files, or an empty split.
        ValueError: an unknown choice.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "all",
        region: str = "all",
        cloud_masks: str | None = "s2cloudless_mask",
        sample_type: str = "cloudy_cloudfree",
        n_input_samples: int = 3,
        rescale_method: str = "default",
        min_cov: float = 0.0,
        max_cov: float = 1.0,
        import_data_path: str | Path | None = None,
        export_data_path: str | Path | None = None,
        sampler: str = "paper",
        seed: int = 1,
        on_problem: str = "raise",
        cache: Path | None = None,
    ) -> None:
        check_choices(cloud_masks, rescale_method)
        for value, known in ((sample_type, SAMPLE_TYPES), (sampler, SAMPLERS)):
            if value not in known:
                raise ValueError(f"'{value}' is unknown; choose one of {', '.join(known)}.")
        most = DATES if sampler == "paper" else DATES - 1
        if not 1 <= n_input_samples <= most:
            raise ValueError(f"n_input_samples is {n_input_samples}; the series have dates for 1 to {most}.")
        self.root, self.split, self.region = Path(root), split, region
        self.cloud_masks, self.rescale_method, self.sample_type = cloud_masks, rescale_method, sample_type
        self.n_input_samples, self.min_cov, self.max_cov = n_input_samples, min_cov, max_cov
        self.sampler, self.seed, self.epoch, self.with_clouds = sampler, seed, 0, True
        self.series, self.skipped = _find(self.root, sen12mscrts_rois(split, region), on_problem, cache)
        if not self.series:
            raise InputError(
                f"No SEN12MS-CR-TS series of the split '{split}' and region '{region}' is in '{root}'; expected are "
                "folders such as ROIs1868/17/S2/0/. Merge the unpacked archives into one folder."
            )
        self._store = CoverageStore(self.root, str(cloud_masks), cache)
        self._table = self._imported(import_data_path)
        if export_data_path is not None:
            self.export_dates(export_data_path)

    def __len__(self) -> int:
        return len(self.series)

    def _imported(self, path: str | Path | None) -> DateTable | None:
        if path is None:
            return None
        place = Path(path)
        if place.is_dir():
            names = list(table_names(self.n_input_samples, self.split, self.region, self.cloud_masks))
            found = next((place / name for name in names if (place / name).is_file()), None)
            if found is None:
                raise InputError(f"The folder '{place}' holds no date table; expected is {' or '.join(names)}.")
            place = found
        return read_date_table(place)

    def export_dates(self, path: str | Path) -> Path:
        """Writes coverage and chosen dates of every sample as JSON; returns the file."""
        place = Path(path)
        if place.is_dir():
            place /= next(table_names(self.n_input_samples, self.split, self.region, self.cloud_masks))
        rows = {}
        for index, series in enumerate(self.series):
            choice = self.choice(index)
            rows[index] = {
                "input": list(choice.inputs),
                "target": choice.target,
                "coverage": self.coverage(index),
                "paths": {"input": {"S2": [series.optical[t] for t in choice.inputs]}},
            }
        write_date_table(place, rows)
        return place

    def coverage(self, index: int) -> list[float]:
        """Cloud share 0..1 of every date of a series."""
        entry = self._table.entry(self.series[index].key, index) if self._table else None
        if entry is not None and entry.coverage:
            return list(entry.coverage)
        names = self.series[index].optical
        return [self._store.of(name, lambda name=name: self._cloud(name)) for name in names]

    def choice(self, index: int) -> DateChoice:
        """The dates of a sample: imported ones, else by the sampler.

        Raises:
            InputError: an imported table speaks of dates that the series does not have.
        """
        entry = self._table.entry(self.series[index].key, index) if self._table else None
        if entry is not None and entry.inputs:
            known = all(0 <= date < DATES for date in (*entry.inputs, entry.target))
            if not known or len(entry.inputs) != self.n_input_samples:
                raise InputError(
                    f"The date table does not fit {self.series[index].name}: it names the dates {entry.inputs} and "
                    f"{entry.target} where {self.n_input_samples} of {DATES} are wanted."
                )
            return DateChoice(entry.inputs, entry.target, True)
        coverage = self.coverage(index)
        if self.sampler == "random":
            rng = np.random.default_rng([self.seed, self.epoch, index])
            return draw_dates(coverage, self.n_input_samples, rng)
        return choose_dates(coverage, self.n_input_samples, self.min_cov, self.max_cov, self.sampler)

    def _dn(self, name: str, size: tuple[int, ...] | None = None) -> np.ndarray:
        return read_raster(self.root / name, 13, stored=size).astype(np.float32)

    def _cloud(self, name: str) -> np.ndarray:
        return cloud_of(self._dn(name), self.cloud_masks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The toolbox's sample: lists over dates of rescaled float32 arrays (C, H, W)."""
        if self.sample_type == "generic":
            return self._dates(index, tuple(range(DATES)))
        choice = self.choice(index)
        target = self._dates(index, (choice.target,))
        return {"input": self._dates(index, choice.inputs), "target": target, "coverage bin": choice.in_range}

    def _dates(self, index: int, times: tuple[int, ...]) -> dict[str, Any]:
        series, wanted = self.series[index], RESCALINGS[self.rescale_method]
        stored = [self._dn(series.optical[t]) for t in times]
        masks = [cloud_of(dn, self.cloud_masks) for dn in stored]
        radar = [read_raster(self.root / series.radar[t], 2).astype(np.float32) for t in times]
        return {
            "S1": [wanted.radar(values) for values in radar],
            "S2": [wanted.optical(dn / DN) for dn in stored],
            "masks": masks,
            "coverage": [float(mask.mean(dtype=np.float64)) for mask in masks],
            "S1 TD": [series.radar_days[t] for t in times],
            "S2 TD": [series.optical_days[t] for t in times],
            "S1 path": [str(self.root / series.radar[t]) for t in times],
            "S2 path": [str(self.root / series.optical[t]) for t in times],
            "idx": list(times),
            "coord": [list(place_of(self.root / series.optical[t]).bounds) for t in times],
        }

    def example(self, index: int) -> Example:
        """Inputs and target in physical units; the target date itself is not seen (NaN, all cloud)."""
        choice, series = self.choice(index), self.series[index]
        target = self._dn(series.optical[choice.target]) / DN
        edge = target.shape[-2:]
        stored = [self._dn(series.optical[t], edge) for t in choice.inputs]
        hidden = np.full((1, *target.shape), np.nan, np.float32)
        clouds = [np.ones((1, *target.shape[1:]), np.float32)]
        clouds += [cloud_of(dn, self.cloud_masks if self.with_clouds else None)[None] for dn in stored]
        today = series.optical_days[choice.target]
        dates = [today, *(series.optical_days[t] for t in choice.inputs)]
        times = (choice.target, *choice.inputs)
        radar = np.stack([read_raster(self.root / series.radar[t], 2, stored=edge).astype(np.float32) for t in times])
        place = place_of(self.root / series.optical[choice.target])
        observation = Observation(
            optical=np.concatenate((hidden, *(dn[None] / DN for dn in stored))),
            cloud=np.concatenate(clouds),
            days=np.asarray(dates, np.float64) - today,
            bands=SENTINEL2_L1C,
            radar=radar,
            radar_days=np.asarray([series.radar_days[t] for t in times], np.float64) - today,
        )
        return Example(observation, target, series.name, None, place.crs, place.transform, float(today))


def _find(
    root: Path, wanted: frozenset[tuple[str, int]], on_problem: str, cache: Path | None
) -> tuple[list[Series], int]:
    """Whole series in natural order, and the number of files with a problem."""
    found = scan(root, cache)
    problems = Problems()
    groups: dict[tuple[str, int, int], dict[tuple[str, int], tuple[str, PatchFile]]] = {}
    for name in found.files:
        file = series_file(name)
        if file is None or file.time >= DATES:
            problems.extra.append(name)
        elif (file.scene, file.roi) in wanted:
            group = groups.setdefault((file.scene, file.roi, file.patch), {})
            if (file.kind, file.time) in group:
                problems.extra.append(name)
            group[file.kind, file.time] = (name, file)
    whole = []
    for key, group in groups.items():
        slots = [(kind, time) for kind in ("S1", "S2") for time in range(DATES)]
        lost = [
            f"{key[0]}/{key[1]}/{kind}/{time}/*_patch_{key[2]}.tif" for kind, time in slots if (kind, time) not in group
        ]
        broken = [name for name, _ in group.values() if name in found.truncated]
        problems.missing += lost
        problems.truncated += broken
        if not lost and not broken:
            whole.append(_series(key, group))
    whole.sort(key=lambda series: natural_key(series.name))
    return whole, problems.settle(on_problem, "SEN12MS-CR-TS", root)


def _series(key: tuple[str, int, int], group: dict[tuple[str, int], tuple[str, PatchFile]]) -> Series:
    def of(kind: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        rows = [group[kind, time] for time in range(DATES)]
        return tuple(name for name, _ in rows), tuple(days_since_launch(file.date) for _, file in rows)

    (radar, radar_days), (optical, optical_days) = of("S1"), of("S2")
    return Series(key, radar, optical, radar_days, optical_days)
