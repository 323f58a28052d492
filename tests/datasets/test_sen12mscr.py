"""SEN12MS-CR, lists and folders of triplets: layout, exact splits, problems, units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets are PyTorch data sets")

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.datasets import SEN12MSCR, FileListTriplets, open_dataset
from cloud_removal_plugin.datasets.splits import SEN12MSCR as SPLITS
from cloud_removal_plugin.datasets.splits import SEN12MSCRTS as REGIONS
from cloud_removal_plugin.datasets.splits import sen12mscrts_rois
from cloud_removal_plugin.errors import InputError
from tests.datasets.conftest import write_patch

RULES = "cloud_cloudshadow_mask"


def test_splits_are_disjoint_and_complete() -> None:
    sizes = {name: len(rois) for name, rois in SPLITS.items()}
    assert sizes == {"test": 10, "val": 10, "train": 155}
    assert len(frozenset().union(*SPLITS.values())) == 175
    parts = [rois for splits in REGIONS.values() for rois in splits.values()]
    assert sum(map(len, parts)) == len(frozenset().union(*parts)) == 53
    assert [len(sen12mscrts_rois(split)) for split in ("train", "val", "test")] == [35, 5, 13]


def test_split_matches_rois_exactly(triplet_tree: Path, cache: Path) -> None:
    train = SEN12MSCR(triplet_tree, "train", cloud_masks=RULES, cache=cache)
    test = SEN12MSCR(triplet_tree, "test", cloud_masks=RULES, cache=cache)
    # the published loader takes spring 106 for spring 1
    assert [Path(t[1]).name for t in train.triplets] == [f"ROIs1158_spring_s2_1_p{p}.tif" for p in (2, 10)]
    assert {Path(t[1]).parent.name for t in test.triplets} == {"s2_106"}
    assert len(SEN12MSCR(triplet_tree, cloud_masks=RULES, cache=cache)) == 4


def test_sample_and_example(triplet_tree: Path, cache: Path) -> None:
    for method, top, vh in (("default", 1.0, -25.0), ("resnet", 5.0, -32.5)):
        dataset = SEN12MSCR(triplet_tree, "train", cloud_masks=RULES, rescale_method=method, cache=cache)
        sample, example = dataset[0], dataset.example(0)
        seen = example.observation
        np.testing.assert_allclose(sample["input"]["S2"], seen.optical[0] * top, rtol=1e-5)
        np.testing.assert_allclose(sample["target"]["S2"], example.target * top, rtol=1e-5)
        scale = 1 if method == "default" else 2
        np.testing.assert_allclose(sample["input"]["S1"][1], scale * (seen.radar[0, 1] - vh) / -vh, rtol=1e-4)
    assert seen.bands == SENTINEL2_L1C
    assert seen.optical.dtype == np.float32
    assert 0.01 <= float(seen.optical.min()) <= float(seen.optical.max()) <= 0.3
    assert example.transform[:3] == (10.0, 0.0, 600_000.0)
    assert sample["input"]["coverage"] == pytest.approx(float(sample["input"]["masks"].mean()))


def test_problems_are_named_in_one_error_or_counted(
    triplet_tree: Path, cache: Path, truncate: Callable[[Path], None]
) -> None:
    (triplet_tree / "ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p2.tif").unlink()
    truncate(triplet_tree / "ROIs1158_spring_s2/s2_106/ROIs1158_spring_s2_106_p2.tif")
    write_patch(triplet_tree / "ROIs1158_spring_s2/s2_106/copy of p2.tif", 13, 0)
    with pytest.raises(InputError) as caught:
        SEN12MSCR(triplet_tree, cloud_masks=RULES, cache=cache)
    text = str(caught.value)
    assert "1 missing (ROIs1158_spring_s1/s1_1/ROIs1158_spring_s1_1_p2.tif)" in text
    assert "1 truncated (ROIs1158_spring_s2/s2_106/ROIs1158_spring_s2_106_p2.tif)" in text
    assert "1 extra (ROIs1158_spring_s2/s2_106/copy of p2.tif)" in text
    rest = SEN12MSCR(triplet_tree, cloud_masks=RULES, on_problem="skip", cache=cache)
    assert (len(rest), rest.skipped) == (2, 3)


def test_empty_split_and_wrong_choices(triplet_tree: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="split 'val'"):
        SEN12MSCR(triplet_tree, "val", cloud_masks=RULES, cache=cache)
    with pytest.raises(InputError, match="no split 'valid'"):
        SEN12MSCR(triplet_tree, "valid", cache=cache)
    with pytest.raises(ValueError, match="cloud_masks"):
        SEN12MSCR(triplet_tree, cloud_masks="fmask", cache=cache)


@pytest.mark.parametrize("form", ["{}, {}, {}, {}, {}", "{}\t{}\t{}\t{}\t{}", '"{}, {}, {}, {}, {}"'])
def test_file_list_with_commas_or_tabs(tmp_path: Path, cache: Path, form: str) -> None:
    for name in ("a.tif", "b.tif"):
        write_patch(tmp_path / "s1" / name, 2, 1, "float32")
        write_patch(tmp_path / "s2_cloudFree" / name, 13, 2)
        write_patch(tmp_path / "s2_cloudy" / name, 13, 3)
    folders = ("s1", "s2_cloudFree", "s2_cloudy")
    rows = [form.format(1, *folders, "a.tif"), "", form.format(3, *folders, "b.tif")]
    listing = tmp_path / "datasetfilelist.csv"
    listing.write_text("\n".join(rows))
    assert [t[2] for t in FileListTriplets(tmp_path, listing, "train").triplets] == ["s2_cloudy/a.tif"]
    assert [t[2] for t in FileListTriplets(tmp_path, listing, "test").triplets] == ["s2_cloudy/b.tif"]
    with pytest.raises(InputError, match="'val' holds no triplet"):
        FileListTriplets(tmp_path, listing, "val")
    assert len(open_dataset(tmp_path, cache=cache)) == 2
    listing.write_text(form.format(4, "s1", "s2_cloudFree", "s2_cloudy", "a.tif"))
    with pytest.raises(InputError, match="split code '4'"):
        FileListTriplets(tmp_path, listing)


def test_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the known data sets"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
