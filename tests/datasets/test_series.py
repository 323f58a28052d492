"""EarthNet2021x and SEN12MS-CR-TS as HDF5: series as U-TILISE is trained on them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets are PyTorch data sets")
pytest.importorskip("h5py", reason="these data sets are HDF5")

import h5py

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.datasets import EarthNet2021, EarthNet2021x, SEN12MSCRTSFile, open_dataset
from cloud_removal_plugin.datasets.series import own_clouds
from cloud_removal_plugin.datasets.truncation import is_whole
from cloud_removal_plugin.errors import InputError

EDGE, DAYS = 16, 150
FIRST = datetime.date(2018, 9, 4)


def write_minicube(path: Path, seed: int, packed: bool = False, hours: bool = False) -> None:
    """150 days, Sentinel-2 every fifth; the first five rows of each third pass are cloudy."""
    rng = np.random.default_rng(seed)
    passes = np.arange(3, DAYS, 5)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["time"] = np.arange(DAYS) * (24 if hours else 1)
        file["time"].attrs["units"] = f"{'hours' if hours else 'days'} since {FIRST} 00:00:00"
        for name in ("s2_B02", "s2_B03", "s2_B04", "s2_B8A"):
            plane = np.full((DAYS, EDGE, EDGE), np.nan, np.float32)
            plane[passes] = rng.uniform(0.05, 0.4, (len(passes), EDGE, EDGE))
            if packed:
                stored = np.where(np.isnan(plane), -32768, np.nan_to_num(plane) * 10000).astype(np.int16)
                file[name] = stored
                file[name].attrs.update({"_FillValue": np.int16([-32768]), "scale_factor": [1e-4], "add_offset": [0.0]})
            else:
                file[name] = plane
        mask = np.zeros((DAYS, EDGE, EDGE), np.float32)
        mask[passes[::3], :5] = 1
        file["s2_mask"] = mask
        avail = np.zeros(DAYS, np.float32)
        avail[passes] = 1
        file["s2_avail"] = avail


@pytest.fixture
def minicubes(tmp_path: Path) -> Path:
    root = tmp_path / "EarthNet2021x"
    for tile, seed in (("29SND", 1), ("29SND", 2), ("32UQC", 3)):
        name = f"{tile}_2018-09-04_2019-01-31_{seed}_569_2745_2873_6_86_42_122.nc"
        write_minicube(root / "train" / tile / name, seed, packed=seed == 2, hours=seed == 3)
    write_minicube(root / "iid" / "29SND_2018-09-04_2019-01-31_9_569_2745_2873_6_86_42_122.nc", 9)
    return root


def test_minicubes(minicubes: Path, cache: Path) -> None:
    found = EarthNet2021x(minicubes, cache=cache, max_length=8)
    assert [found.group_of(i) for i in range(3)] == ["29SND", "29SND", "32UQC"]
    for index in range(3):
        cube = found.cube(index)
        assert cube.optical.shape == (30, 4, EDGE, EDGE)
        assert cube.dates[:2] == (FIRST + datetime.timedelta(3), FIRST + datetime.timedelta(8))
        assert cube.mask[0, :5].all()
        assert not cube.mask[0, 5:].any()
        assert 0.0499 < float(cube.optical.min()) <= float(cube.optical.max()) < 0.4001
    sample = found[0]
    assert sample["x"].shape == sample["y"].shape == (8, 4, EDGE, EDGE)
    hidden = sample["masks"].bool().expand_as(sample["x"])
    assert hidden.any()
    assert (sample["x"][hidden] == 1).all()
    assert len(EarthNet2021x(minicubes, "iid", cache=cache)) == 1
    flat = minicubes.parent / "flat"
    flat.mkdir()
    (minicubes / "iid").rename(flat / "train")
    assert len(open_dataset(flat, cache=cache)) == 1
    assert isinstance(open_dataset(minicubes, cache=cache), EarthNet2021x)
    example = found.example(0)
    assert example.observation.bands == ("blue", "green", "red", "nir08")


def test_broken_minicubes(minicubes: Path, cache: Path, truncate: Callable[[Path], None]) -> None:
    first, second = sorted((minicubes / "train" / "29SND").iterdir())
    assert is_whole(first)
    (minicubes / "train" / "29SND" / "notes.nc").write_bytes(first.read_bytes())
    truncate(first)
    with pytest.raises(InputError, match=r"1 truncated .*; 1 extra \(train/29SND/notes.nc\)"):
        EarthNet2021x(minicubes, cache=cache)
    rest = EarthNet2021x(minicubes, cache=cache, on_problem="skip")
    assert (len(rest), rest.skipped) == (2, 2)
    with h5py.File(second, "a") as file:
        del file["s2_mask"]
    with pytest.raises(InputError, match="lacks '/s2_mask'"):
        rest.cube(0)
    with h5py.File(second, "a") as file:
        file["time"].attrs["units"] = "fortnights"
    with pytest.raises(InputError, match="since when it counts"):
        rest.cube(0)
    with pytest.raises(InputError, match="split 'ood'"):
        EarthNet2021x(minicubes, "ood", cache=cache, on_problem="skip")
    with pytest.raises(ValueError, match="unknown"):
        EarthNet2021x(minicubes, "iid_test_split")


def test_series_of_a_file(series_files: Path) -> None:
    found = SEN12MSCRTSFile(series_files)
    assert [name.rsplit("_", 1)[1] for name in found.series] == ["2", "10"]
    assert found.group_of(0) == "ROIs1868/36"
    cube = found.cube(0)
    assert cube.dates[1] == FIRST + datetime.timedelta(12)
    assert (found.bands, cube.optical.shape, cube.radar.shape) == (SENTINEL2_L1C, (30, 13, 16, 16), (30, 2, 16, 16))
    assert float(cube.percent.max()) == pytest.approx(90)
    assert np.isnan(cube.optical[-1]).all()
    # 20 of 30 are clear, one of them is black; neighbours are 12 and 24 days apart
    assert len(SEN12MSCRTSFile(series_files, max_length=0)[0]["x"]) == 19
    assert len(SEN12MSCRTSFile(series_files, max_length=0, longest_gap=20, min_length=1)[0]["x"]) == 2
    sample = found[0]
    assert sample["x"].shape == (10, 13, 16, 16)
    assert sample["radar"].shape == (10, 2, 16, 16)
    example = found.example(0)
    assert example.observation.radar.shape == (10, 2, 16, 16)
    assert len(SEN12MSCRTSFile(series_files / "val.hdf5")) == 2
    assert isinstance(open_dataset(series_files), SEN12MSCRTSFile)


def test_broken_files(series_files: Path, tmp_path: Path, truncate: Callable[[Path], None]) -> None:
    with pytest.raises(InputError, match=r"test\.hdf5' is missing or broken"):
        SEN12MSCRTSFile(series_files, "test")
    with h5py.File(series_files / "test.hdf5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(InputError, match="holds no series"):
        SEN12MSCRTSFile(series_files, "test")
    with h5py.File(series_files / "val.hdf5", "a") as file:
        del file["ROIs1868/17/ROIs1868_17_patch_2/S2/cloud_mask"]
    with pytest.raises(InputError, match=r"lacks '.*cloud_mask'"):
        SEN12MSCRTSFile(series_files, "val")[0]
    truncate(series_files / "train.hdf5")
    with pytest.raises(InputError, match="ends before its data do"):
        SEN12MSCRTSFile(series_files)


def test_hdf5_ends_are_seen(tmp_path: Path) -> None:
    for version in ("earliest", "latest"):
        path = tmp_path / f"{version}.nc"
        with h5py.File(path, "w", libver=version) as file:
            file["x"] = np.zeros((50, 50))
        assert is_whole(path)
        content = path.read_bytes()
        for share in (0.0, 0.01, 0.5, 0.99):
            path.write_bytes(content[: int(share * len(content))])
            assert not is_whole(path), (version, share)


def test_gaps_of_the_cubes_own_clouds(cube_tree: Path, cache: Path) -> None:
    """As Clear Vision's authors: masks of the first cloudy frames, undilated, over any of the clear ones."""
    for path in (cube_tree / "train/29SND").iterdir():
        with np.load(path) as arrays:
            found = dict(arrays)
        for place, date in enumerate(range(1, 30, 3)):  # each of another size, all too large for a truth
            found["highresdynamic"][: 12 + place % 4, :, -1, date] = 1
            found["highresdynamic"][: 12 + place % 4, :, 4, date] = 90
        np.savez(path, **found)
    reader = EarthNet2021(cube_tree, "train", cache=cache, gaps="own_clouds", max_length=0)
    cube = reader.cube(0)
    cloudy = np.flatnonzero(cube.mask.any(axis=(1, 2)))
    assert len(reader[0]["masks"]) == 20
    found, firsts = set(), set()
    for reader.epoch in range(40):
        masks = reader[0]["masks"].numpy()[:, 0] > 0
        hidden = np.flatnonzero(masks.any(axis=(1, 2)))
        assert 1 <= len(hidden) <= min(len(masks) // 2, len(cloudy))
        assert all(any(np.array_equal(masks[t], cube.mask[c]) for c in cloudy[: len(hidden)]) for t in hidden)
        found.add(len(hidden))
        firsts.add(0 in hidden)
    assert len(found) > 3
    assert firsts == {True, False}
    reader.epoch = 3
    assert np.array_equal(reader[0]["masks"], reader[0]["masks"]), "a draw follows from seed, epoch and index"
    none = own_clouds(np.ones((3, 4, 4), bool), np.arange(3), np.random.default_rng(0))
    assert not none.any(), "without a cloudy frame there is no gap"
