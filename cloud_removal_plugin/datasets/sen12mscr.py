"""SEN12MS-CR: one cloudy and one clear Sentinel-2 Level-1C patch with Sentinel-1.

Ebel, Meraner, Schmitt, Zhu 2020, IEEE TGRS, doi 10.1109/TGRS.2020.3024744; mediaTUM 1554803, CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..bands import SENTINEL2_L1C
from ..errors import InputError
from ..observation import Observation
from .example import Example
from .files import Problems, place_of, read_raster, scan
from .names import PatchFile, triplet_file
from .rescaling import DN, RESCALINGS, check_choices, cloud_of
from .splits import SEASONS, sen12mscr_rois

KINDS = ("s1", "s2", "s2_cloudy")


class TripletDataset(Dataset):
    """Base of the mono-temporal readers: paths of radar, clear and cloudy patch.

    Args:
        root: folder that the paths are relative to.
        triplets: (radar, clear, cloudy), relative to the root; radar may be ''.
        cloud_masks: map of the cloudy patch: ``s2cloudless_mask``, ``s2cloudless_map``, ``cloud_cloudshadow_mask`` or
            None for none.
        rescale_method: ``default`` or ``resnet``.

    Attributes:
        with_clouds: False spares :meth:`example` the cloud map, which takes s2cloudless a second a patch: all hidden.

    Raises:
        ValueError: an unknown map or rescaling.
    """

    def __init__(
        self, root: Path, triplets: list[tuple[str, str, str]], cloud_masks: str | None, rescale_method: str
    ) -> None:
        check_choices(cloud_masks, rescale_method)
        self.root, self.triplets = root, triplets
        self.cloud_masks, self.rescale_method, self.with_clouds = cloud_masks, rescale_method, True

    def __len__(self) -> int:
        return len(self.triplets)

    def _patch(self, name: str, bands: int) -> np.ndarray:
        return read_raster(self.root / name, bands).astype(np.float32)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The toolbox's sample: ``input`` and ``target`` with rescaled float32 arrays (C, H, W), masks and coverage."""
        radar, clear, cloudy = self.triplets[index]
        wanted = RESCALINGS[self.rescale_method]
        dn = self._patch(cloudy, 13)
        mask = cloud_of(dn, self.cloud_masks)
        coord = list(place_of(self.root / cloudy).bounds)
        inputs = {
            "S2": wanted.optical(dn / DN),
            "masks": mask,
            "coverage": float(mask.mean(dtype=np.float64)),
            "S2 path": str(self.root / cloudy),
            "coord": coord,
        }
        if radar:
            inputs |= {"S1": wanted.radar(self._patch(radar, 2)), "S1 path": str(self.root / radar)}
        target = {
            "S2": wanted.optical(self._patch(clear, 13) / DN),
            "S2 path": str(self.root / clear),
            "coord": list(place_of(self.root / clear).bounds),
        }
        return {"input": inputs, "target": target}

    def example(self, index: int) -> Example:
        """The sample in physical units.

        Raises:
            InputError: a file cannot be read.
            DependencyError: the cloud map needs s2cloudless, which is not installed.
        """
        radar, clear, cloudy = self.triplets[index]
        place = place_of(self.root / clear)
        dn = self._patch(cloudy, 13)
        backscatter = self._patch(radar, 2)[None] if radar else None
        observation = Observation(
            optical=(dn / DN)[None],
            cloud=cloud_of(dn, self.cloud_masks if self.with_clouds else None)[None],
            days=np.zeros(1),
            bands=SENTINEL2_L1C,
            radar=backscatter,
            radar_days=np.zeros(1 if radar else 0),
        )
        return Example(observation, self._patch(clear, 13) / DN, Path(clear).name, None, place.crs, place.transform)


class SEN12MSCR(TripletDataset):
    """The data set as its archives unpack.

    Args:
        root: folder that holds ``ROIs1158_spring_s1`` and so on.
        split: ``all``, ``train``, ``val`` or ``test``: official, matched exactly.
        region: ``all``; the data set knows no regions (the published loader takes and ignores the word).
        cloud_masks, rescale_method: see :class:`TripletDataset`.
        sample_type: ``pretrain``, the only one.
        on_problem: ``raise`` or ``skip`` patches without all three files, and broken ones; the published data hold
            some that are unpaired.
        cache: folder of remembered scans.

    Attributes:
        skipped: files with a problem.

    Raises:
        InputError: another layout, problems in the files, or an empty split.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "all",
        region: str = "all",
        cloud_masks: str | None = "s2cloudless_mask",
        sample_type: str = "pretrain",
        rescale_method: str = "default",
        on_problem: str = "raise",
        cache: Path | None = None,
    ) -> None:
        if sample_type != "pretrain":
            raise ValueError("SEN12MS-CR has the sample type 'pretrain' only; series are in SEN12MS-CR-TS.")
        if region != "all":
            raise InputError("SEN12MS-CR is not divided into regions; use region='all', or SEN12MS-CR-TS.")
        wanted = sen12mscr_rois(split)
        found = scan(Path(root), cache)
        problems = Problems()
        groups: dict[tuple[str, int, int], dict[str, str]] = {}
        for name in found.files:
            file = triplet_file(name)
            if file is None or SEASONS.get(file.scene) != file.season:
                problems.extra.append(name)
            elif (file.scene, file.roi) in wanted:
                groups.setdefault((file.scene, file.roi, file.patch), {})[file.kind] = name
        whole = []
        for (scene, roi, patch), files in groups.items():
            lost = [kind for kind in KINDS if kind not in files]
            broken = [name for name in files.values() if name in found.truncated]
            problems.missing += [_path(PatchFile(kind, scene, roi, patch, SEASONS[scene])) for kind in lost]
            problems.truncated += broken
            if not lost and not broken:
                whole.append((files["s1"], files["s2"], files["s2_cloudy"]))
        self.skipped = problems.settle(on_problem, "SEN12MS-CR", Path(root), len(found.files) - len(problems.extra))
        if not whole:
            raise InputError(
                f"No SEN12MS-CR patch of the split '{split}' is in '{root}'; expected are folders such as "
                "ROIs1158_spring_s2_cloudy/s2_cloudy_31/."
            )
        super().__init__(Path(root), whole, cloud_masks, rescale_method)


def _path(file: PatchFile) -> str:
    stem = f"{file.scene}_{file.season}_{file.kind}"
    return f"{stem}/{file.kind}_{file.roi}/{stem}_{file.roi}_p{file.patch}.tif"
