"""Files of the right name with another content: sizes, shapes, links, rights, tables."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets are PyTorch data sets")

from cloud_removal_plugin.datasets import M3RCR, SEN12MSCR, SEN12MSCRTS, EarthNet2021, SEN12MSCRTSFile
from cloud_removal_plugin.datasets import files as scanning
from cloud_removal_plugin.datasets.coverage import CoverageStore
from cloud_removal_plugin.errors import InputError
from tests.datasets.conftest import write_patch


def test_radar_of_another_size(triplet_tree: Path, cache: Path) -> None:
    for path in triplet_tree.rglob("*_s1_*.tif"):
        write_patch(path, 2, 1, "float32", 8)
    with pytest.raises(InputError, match=r"radar of the sample .* has 8 x 8 pixels where its truth has 16 x 16"):
        SEN12MSCR(triplet_tree, "train", cloud_masks=None, cache=cache).example(0)


def test_dates_of_another_size(series_tree: Path, cache: Path) -> None:
    for kind, bands in (("S2", 13), ("S1", 2)):
        path = next((series_tree / "ROIs1868/17" / kind / "1").glob("*_patch_2.tif"))
        before = path.read_bytes()
        write_patch(path, bands, 1, "uint16" if bands == 13 else "float64", 12)
        with pytest.raises(InputError, match=rf"{path.name}' has 12 x 12 pixels where 8 x 8 are expected"):
            SEN12MSCRTS(series_tree, "val", cloud_masks=None, cache=cache).example(0)
        path.write_bytes(before)


@pytest.mark.parametrize("shape", [(10, 10), (300, 300, 1), ()])
def test_a_mask_of_another_shape(shape: tuple[int, ...], quintet_tree: Path, cache: Path) -> None:
    np.save(next((quintet_tree / "train").rglob("*.npy")), np.zeros(shape, bool))
    reader = M3RCR(quintet_tree, crop=40, cache=cache)
    for read in (reader.example, reader.__getitem__):
        with pytest.raises(InputError, match="where 300 x 300 pixels are expected"):
            read(0)


def test_an_image_of_another_size(quintet_tree: Path, cache: Path) -> None:
    write_patch(next((quintet_tree / "train").rglob("planet_cloudy*.tif")), 4, 1, edge=200, pixel=3)
    with pytest.raises(InputError, match=r"200 x 200 pixels where 300 x 300 are expected"):
        M3RCR(quintet_tree, crop=40, cache=cache).example(0)


def test_cubes_that_are_damaged_inside(cube_tree: Path, cache: Path) -> None:
    """A zip's directory is at its end: such a cube looks whole."""
    first, second = sorted((cube_tree / "train/29SND").iterdir())
    content = first.read_bytes()
    first.write_bytes(content[:5000] + bytes(200) + content[5200:])
    with pytest.raises(InputError, match="missing or broken"):
        EarthNet2021(cube_tree, "train", cache=cache).cube(0)
    for shape, text in (((8, 8, 7, 30), "has 8 x 8 pixels where another"), ((16, 16, 7, 0), "has the shape")):
        np.savez(first, highresdynamic=np.zeros(shape, np.float32), highresstatic=np.zeros((*shape[:2], 1)))
        with pytest.raises(InputError, match=text):
            EarthNet2021(cube_tree, "train", cache=cache, max_length=8)[1]
    first.write_bytes(content)
    assert second.exists()


def test_an_entry_of_another_shape(series_files: Path) -> None:
    h5py = pytest.importorskip("h5py")
    name = "ROIs1868/36/ROIs1868_36_patch_2"
    for entry in ("S2/cloud_mask", "S1/S1"):
        with h5py.File(series_files / "train.hdf5", "r+") as file:
            kept = file[f"{name}/{entry}"][()]
            del file[f"{name}/{entry}"]
            file[f"{name}/{entry}"] = kept[:, :, :4]
        with pytest.raises(InputError, match=r"patch_2.* it is damaged"):
            SEN12MSCRTSFile(series_files, "train").cube(0)
        with h5py.File(series_files / "train.hdf5", "r+") as file:
            del file[f"{name}/{entry}"]
            file[f"{name}/{entry}"] = kept


def test_links_and_rights(triplet_tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (triplet_tree / "ROIs1158_spring_s1" / "again").symlink_to(triplet_tree)
    assert len(SEN12MSCR(triplet_tree, "train", cache=cache)) == 2, "a link to a folder above is not walked"
    elsewhere = triplet_tree.with_name("elsewhere")
    shutil.move(triplet_tree / "ROIs1158_spring_s1/s1_1", elsewhere)
    (triplet_tree / "ROIs1158_spring_s1/s1_1").symlink_to(elsewhere)
    assert len(SEN12MSCR(triplet_tree, "train", cache=cache)) == 2, "one to another place is"
    look = os.scandir

    def deny(folder):
        if "s2_cloudy" in str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return look(folder)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(InputError, match=r"cannot be looked through .*Permission denied"):
        SEN12MSCR(triplet_tree, "train", cache=cache / "other")


def test_a_cache_that_is_full_keeps_nothing_half_written(tmp_path: Path, cache: Path, monkeypatch) -> None:
    write_patch(tmp_path / "data" / "one.tif", 1, 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    assert len(scanning.scan(tmp_path / "data", cache).files) == 1
    assert not list(cache.iterdir())


def test_numbers_of_dates(series_tree: Path, cache: Path, tmp_path: Path) -> None:
    for wanted, sampler in ((0, "paper"), (31, "paper"), (30, "exclude-target"), (30, "random")):
        with pytest.raises(ValueError, match=f"n_input_samples is {wanted}"):
            SEN12MSCRTS(series_tree, "val", n_input_samples=wanted, sampler=sampler, cache=cache)
    table = tmp_path / "dates.json"
    for inputs, target in (([-3, 1, 2], 5), ([0, 1, 2], -4), ([0, 1, 30], 5)):
        table.write_text(json.dumps({0: {"input": inputs, "target": target}}))
        reader = SEN12MSCRTS(series_tree, "val", cloud_masks=None, import_data_path=table, cache=cache)
        with pytest.raises(InputError, match="date table does not fit"):
            reader.choice(0)


def test_cover_that_another_process_computes_is_taken_over(tmp_path: Path, cache: Path) -> None:
    """A second a date and process, otherwise: readers of a training see other series in every epoch."""
    write_patch(tmp_path / "one.tif", 1, 0)
    write_patch(tmp_path / "two.tif", 1, 0)
    first, second = (CoverageStore(tmp_path, "mask", cache) for _ in range(2))
    assert first.of("one.tif", lambda: np.full((2, 2), 0.25)) == 0.25
    assert second.of("one.tif", lambda: np.ones((2, 2))) == 0.25
    assert (first.computed, second.computed) == (1, 0)
    with first.path.open("a") as file:
        file.write('["half a li')
    assert second.of("two.tif", lambda: np.full((2, 2), 0.5)) == 0.5
    assert first.of("one.tif", lambda: np.ones((2, 2))) == 0.25
    third = CoverageStore(tmp_path, "mask", cache)
    assert third.of("one.tif", lambda: np.ones((2, 2))) == 0.25
