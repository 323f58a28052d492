"""M3R-CR, EarthNet2021, own scenes, simulated clouds, and the scan of files."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="data sets are PyTorch data sets")

import torch

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.datasets import M3RCR, EarthNet2021, ScenesDataset, open_dataset
from cloud_removal_plugin.datasets.cloud_layer import draw, fractal
from cloud_removal_plugin.datasets.collate import pad_series
from cloud_removal_plugin.datasets.files import scan
from cloud_removal_plugin.datasets.scenes import SceneFiles, scenes_of_folder
from cloud_removal_plugin.datasets.truncation import is_whole
from cloud_removal_plugin.errors import InputError
from tests.datasets.conftest import write_patch


def test_m3rcr_by_folder_and_by_list(quintet_tree: Path, cache: Path, tmp_path: Path) -> None:
    found = M3RCR(quintet_tree, "train", cache=cache)
    assert len(found) == 1
    sample = found[0]
    assert sample["cloudy_data"].shape == (4, 160, 160)
    assert sample["SAR_data"].shape == (2, 160, 160)
    assert sample["landcover_data"].unique().tolist() == [0, 1, 2, 5]
    found.epoch = 1
    assert not torch.equal(found[0]["cloudy_data"], sample["cloudy_data"])
    found.epoch = 0
    assert torch.equal(found[0]["cloudy_data"], sample["cloudy_data"])
    listing = tmp_path / "list.csv"
    listing.write_text(",".join(name.removeprefix("train/") for name in found.samples[0]))
    assert M3RCR(quintet_tree, "train", csv_list=listing, cache=cache).samples == found.samples


def test_m3rcr_native_radar_and_example(quintet_tree: Path, cache: Path) -> None:
    native = M3RCR(quintet_tree, "test", upsample_radar=False, upsample_landcover=False, cache=cache)[0]
    assert native["SAR_data"].shape == (2, 48, 48)
    example = M3RCR(quintet_tree, "test", crop=300, crop_position="centre", cache=cache).example(0)
    assert example.observation.bands == ("blue", "green", "red", "nir")
    assert example.observation.pixel_m == 3.0
    assert -25 < float(example.observation.radar.min()) < float(example.observation.radar.max()) < -2
    assert float(example.target.max()) <= 0.3


def test_m3rcr_problems(quintet_tree: Path, cache: Path, truncate: Callable[[Path], None]) -> None:
    truncate(next(quintet_tree.glob("train/cloudmask_fall/*/*.npy")))
    with pytest.raises(InputError, match="1 truncated"):
        M3RCR(quintet_tree, "train", cache=cache)
    with pytest.raises(InputError, match="No M3R-CR sample of the split 'train'"):
        M3RCR(quintet_tree, "train", on_problem="skip", cache=cache)
    next(quintet_tree.glob("test/S1_summer/*/*.tif")).unlink()
    with pytest.raises(InputError, match=r"1 missing \(test/S1_summer"):
        M3RCR(quintet_tree, "test", cache=cache)


def test_earthnet_series(cube_tree: Path, cache: Path) -> None:
    dataset = EarthNet2021(cube_tree, "train", cache=cache, max_length=8)
    cube = dataset.cube(0)
    assert cube.dates[:2] == (datetime.date(2018, 9, 7), datetime.date(2018, 9, 12))
    assert cube.optical.shape == (30, 4, 16, 16)
    assert cube.mask[1, :5].all()
    assert not cube.mask[1, 5:].any()
    sample = dataset[0]
    assert sample["x"].shape == (8, 4, 16, 16)
    hidden = sample["masks"].bool().expand_as(sample["x"])
    assert 0 < float(sample["masks"].mean()) < 1
    assert not sample["masks"][0].any()
    assert (sample["x"][hidden] == 1).all()
    assert torch.equal(sample["x"][~hidden], sample["y"][~hidden])
    assert (
        float(sample["position_days"][0])
        == (datetime.date(2018, 9, 7) - datetime.date(2018, 1, 1)).days + int(sample["days"][0])
        or float(sample["position_days"][0]) < 366
    )
    assert torch.equal(dataset[0]["x"], sample["x"])
    dataset.epoch = 1
    assert dataset[0]["days"].tolist() != sample["days"].tolist() or not torch.equal(dataset[0]["x"], sample["x"])
    batch = pad_series([{**dataset[0]}, {**EarthNet2021(cube_tree, "train", cache=cache, max_length=5)[1]}])
    assert batch["x"].shape == (2, 8, 4, 16, 16)
    assert batch["masks_valid_obs"].sum(1).tolist() == [8, 5]


def test_earthnet_test_splits(cube_tree: Path, cache: Path) -> None:
    context = EarthNet2021(cube_tree, "iid_test_split", cache=cache, frames="none", gaps="real_clouds", max_length=0)
    target = EarthNet2021(cube_tree, "iid_test_split", "target", cache=cache)
    both = EarthNet2021(cube_tree, "iid_test_split", "all", cache=cache)
    assert len(context.cube(0).dates) == 10
    assert target.cube(0).dates[0] == context.cube(0).dates[-1] + datetime.timedelta(5)
    assert both.cube(0).dates == (*context.cube(0).dates, *target.cube(0).dates)
    assert context[0]["masks"][1, 0, :5].all()
    example = context.example(0)
    assert np.isnan(example.observation.optical[0]).any()
    assert example.series.shape == (10, 4, 16, 16)
    np.testing.assert_array_equal(example.series[0], example.target)
    next(cube_tree.glob("iid_test_split/target/*/*.npz")).unlink()
    with pytest.raises(InputError, match="1 missing"):
        EarthNet2021(cube_tree, "iid_test_split", "all", cache=cache)
    with pytest.raises(InputError, match="No cube of the split 'ood_test_split'"):
        EarthNet2021(cube_tree, "ood_test_split", cache=cache)


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    for number in (1, 2):
        write_patch(folder / f"roi_{number}_p{number}_s2_clear.tif", 13, number, edge=96)
        write_patch(folder / f"roi_{number}_p{number}_s2_cloudy.tif", 13, 10 + number, edge=96)
    write_patch(folder / "roi_1_p1_s1.tif", 2, 3, "float32", 96)
    return folder


def test_scenes_with_real_and_simulated_clouds(scene_folder: Path) -> None:
    scenes = scenes_of_folder(scene_folder)
    assert [scene.group for scene in scenes] == ["roi_1", "roi_2"]
    how = {"reflectance_scale": 1e-4, "reflectance_offset": 0.0}
    real = ScenesDataset(scenes, crop=64, clouds="real", augment=False, **how)
    example = real[0]
    assert example.observation.optical.shape == (1, 13, 64, 64)
    assert example.observation.bands == SENTINEL2_L1C
    assert example.observation.radar.shape == (1, 2, 64, 64)
    assert real[1].observation.radar is None
    assert float(np.abs(example.observation.optical[0] - example.target).mean()) > 0.05
    simulated = ScenesDataset(scenes, crop=64, clouds="simulated", windows=3, **how)
    assert len(simulated) == 6
    one = simulated[4]
    hidden = one.observation.gap()
    clear = ~hidden & (np.abs(one.observation.optical[0] - one.target).max(0) > 0.1)
    assert not clear.any()
    np.testing.assert_array_equal(simulated[4].observation.optical, one.observation.optical)
    simulated.epoch = 1
    assert not np.array_equal(simulated[4].observation.optical, one.observation.optical)
    assert len(open_dataset(scene_folder, crop=32)) == 2


def test_scenes_refuse_bad_choices(scene_folder: Path) -> None:
    scenes = scenes_of_folder(scene_folder)
    with pytest.raises(InputError, match="no scene"):
        ScenesDataset([])
    with pytest.raises(InputError, match="fewer than the window of 128"):
        ScenesDataset(scenes, crop=128)[0]
    with pytest.raises(InputError, match="no cloudy raster"):
        ScenesDataset([SceneFiles(scenes[0].clear)], clouds="real")
    with pytest.raises(InputError, match=r"_clear\.tif"):
        scenes_of_folder(scene_folder.parent)


def test_simulated_clouds() -> None:
    rng = np.random.default_rng(1)
    assert abs(float(fractal((64, 64), rng).std()) - 1) < 1e-3
    for cover in (0.2, 0.8):
        layer = draw((64, 64), np.random.default_rng(2), cover)
        assert abs(float((layer.opacity > 0).mean()) - cover) < 0.05 or cover >= 0.5
        clear = np.full((2, 64, 64), 0.1, np.float32)
        cloudy = layer.over(clear, ("blue", "swir16"))
        untouched = (layer.opacity == 0) & (layer.shadow == 0)
        np.testing.assert_allclose(cloudy[:, untouched], 0.1, rtol=1e-5)
        thick = layer.opacity > 0.9
        assert (cloudy[0, thick] > cloudy[1, thick]).all()


def test_scan_is_remembered(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "data"
    for name in ("a/x_10.tif", "a/x_2.tif"):
        write_patch(root / name, 1, 0)
    first, second = scan(root, cache), scan(root, cache)
    assert first.files == ("a/x_2.tif", "a/x_10.tif")
    assert (first.cached, second.cached) == (False, True)
    assert second.files == first.files
    write_patch(root / "a/x_3.tif", 1, 0)
    assert len(scan(root, cache).files) == 3
    next(cache.glob("*.json")).write_text("{")
    assert len(scan(root, cache).files) == 3


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"BIGTIFF": "YES"}])
def test_truncation_is_seen(tmp_path: Path, options: dict) -> None:
    import rasterio

    path = tmp_path / "x.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 40, "width": 40, "dtype": "uint16", "compress": "deflate"}
    with rasterio.open(path, "w", **profile, **options) as file:
        file.write(np.random.default_rng(0).integers(0, 9999, (3, 40, 40)).astype("uint16"))
    content = path.read_bytes()
    assert is_whole(path)
    for share in (0.0, 0.3, 0.7, 0.98):
        path.write_bytes(content[: int(share * len(content))])
        assert not is_whole(path), share
    array = tmp_path / "x.npy"
    np.save(array, np.zeros((30, 30)))
    assert is_whole(array)
    array.write_bytes(array.read_bytes()[:-1])
    assert not is_whole(array)
