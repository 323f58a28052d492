"""Which samples judge a training: official splits, else whole regions that it never sees; never the test data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.training.sources import open_part
from tests.datasets.conftest import write_patch

PATCH = "ROIs1158_spring_{kind}/{kind}_{roi}/ROIs1158_spring_{kind}_{roi}_p{patch}.tif"


@pytest.fixture
def three_splits(triplet_tree: Path) -> Path:
    """SEN12MS-CR with a patch of ROI 17 (val) beside those of 1 (train) and 106 (test)."""
    for kind in ("s1", "s2", "s2_cloudy"):
        source = triplet_tree / PATCH.format(kind=kind, roi=1, patch=2)
        target = triplet_tree / PATCH.format(kind=kind, roi=17, patch=2)
        target.parent.mkdir(parents=True)
        shutil.copy(source, target)
    return triplet_tree


def names(reader) -> set[str]:
    return {reader.example(i).name for i in range(len(reader))}


def test_official_parts(three_splits: Path) -> None:
    data = {"root": str(three_splits), "cloud_masks": "cloud_cloudshadow_mask"}
    parts = {part: names(open_part(data, part, 0)) for part in ("train", "validation", "test")}
    for part, roi in (("train", "_1_p"), ("validation", "_17_p"), ("test", "_106_p")):
        assert parts[part]
        assert all(roi in name for name in parts[part])


def test_regions_of_a_folder_without_a_list(tmp_path: Path) -> None:
    for folder, bands, dtype in (("s1", 2, "float32"), ("s2_cloudfree", 13, "uint16"), ("s2_cloudy", 13, "uint16")):
        for roi in range(6):
            for patch in (1, 2):
                write_patch(tmp_path / folder / f"ROIs1970_fall_{roi}_p{patch}.tif", bands, roi, dtype, 8)
    data = {"root": str(tmp_path), "cloud_masks": "cloud_cloudshadow_mask"}
    train, held = open_part(data, "train", 0), open_part(data, "validation", 0)
    assert (len(train), len(held)) == (8, 4)
    assert {name.split("_p")[0] for name in names(held)} == {"ROIs1970_fall_0", "ROIs1970_fall_5"}
    assert not names(train) & names(held)
    chosen = open_part({**data, "held_out": ["ROIs1970_fall_3"]}, "validation", 0)
    assert names(chosen) == {"ROIs1970_fall_3_p1.tif", "ROIs1970_fall_3_p2.tif"}
    with pytest.raises(InputError, match="region 'nowhere'"):
        open_part({**data, "held_out": ["nowhere"]}, "train", 0)
    with pytest.raises(InputError, match="has no part 'test'"):
        open_part(data, "test", 0)


def test_tiles_of_earthnet(cube_tree: Path) -> None:
    with pytest.raises(InputError, match="all are of the region 29SND"):
        open_part({"root": str(cube_tree)}, "train", 0)
    (cube_tree / "train" / "32UQC").mkdir()
    first = sorted((cube_tree / "train" / "29SND").iterdir())[0]
    shutil.copy(first, cube_tree / "train" / "32UQC" / first.name.replace("29SND", "32UQC"))
    train, held = (open_part({"root": str(cube_tree)}, part, 0) for part in ("train", "validation"))
    assert (len(train), len(held)) == (1, 2)
    assert train.example(0).name.startswith("32UQC")
    assert all(name.startswith("29SND") for name in names(held))
    train.epoch = 3
    assert train.reader.epoch == train.epoch == 3
    assert "iid_test_split" in str(open_part({"root": str(cube_tree)}, "test", 0).cubes)
    # other data for the judgement: then nothing of the training split is held out
    other = {"root": str(cube_tree), "validation": {"split": "iid_test_split"}}
    assert len(open_part(other, "train", 0)) == 3


def test_areas_of_m3rcr(quintet_tree: Path) -> None:
    with pytest.raises(InputError, match=r"region fall_1\b"):
        open_part({"root": str(quintet_tree)}, "train", 0)
    for path in sorted(quintet_tree.glob("train/*/*_1/*")):
        target = Path(str(path).replace("_fall_1", "_fall_2"))
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    data = {"root": str(quintet_tree)}
    train, held, test = (names(open_part(data, part, 0)) for part in ("train", "validation", "test"))
    assert (train, held) == ({"planet_cloudfree_fall_2_p_7.tif"}, {"planet_cloudfree_fall_1_p_7.tif"})
    assert test == {"planet_cloudfree_summer_33_p_7.tif"}


def test_own_scenes(scene_folder: Path, tmp_path: Path) -> None:
    how = {"reflectance_scale": 1e-4, "reflectance_offset": 0.0}
    data = {"root": str(scene_folder), **how}
    train, held = (names(open_part(data, part, 0, 32)) for part in ("train", "validation"))
    assert held == {"roi0_p1_s2_clear"}
    assert train == {"roi1_p1_s2_clear", "roi2_p1_s2_clear"}
    with pytest.raises(InputError, match="no part 'test'"):
        open_part(data, "test", 0)
    other = tmp_path / "other"
    shutil.copytree(scene_folder, other)
    assert len(open_part({**data, "test": {"root": str(other)}}, "test", 0, 32)) == 3


@pytest.mark.parametrize(("preset", "needs"), [("dsen2cr-l1", False), ("dsen2cr-carl", True), ("seq2point", False)])
def test_clouds_are_looked_for_where_the_loss_wants_them(
    preset: str, needs: bool, triplet_tree, series_tree, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published detector takes longer than the step of a small network."""
    asked = []

    def cloud(dn: np.ndarray, kind: str | None) -> np.ndarray:
        asked.append(kind)
        return (dn[0] % 2).astype(np.float32)

    data = {"root": str(triplet_tree), "validation": {"split": "test"}}
    values = settings(preset=preset, data=data, crop=0, batch=1)
    if preset == "seq2point":
        values |= {"data": {"root": str(series_tree), "split": "val"},
                   "network_config": {"resnet_F": 4, "resnet_B": 1}}  # fmt: skip
    for module in ("sen12mscr", "sen12mscrts"):
        monkeypatch.setattr(f"cloud_removal_plugin.datasets.{module}.cloud_of", cloud)
    trainer = Trainer(from_dict(values))
    if preset == "seq2point":
        trainer.samples.reader.choice(0)  # the coverage of dates has to be known, once
    asked.clear()
    trainer.samples[0]
    trainer.held_out[0]
    assert (set(asked) == {"s2cloudless_mask"}) is needs
    assert needs or set(asked) == {None}
