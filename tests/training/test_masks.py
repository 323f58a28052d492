"""Clear Vision's mask network is evaluated and predicts like the others: figures, rasters, pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

pytest.importorskip("torch", reason="training needs PyTorch")

from cloud_removal_plugin.__main__ import main
from cloud_removal_plugin.datasets import EarthNet2021
from cloud_removal_plugin.datasets.example import Example
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.evaluation.classes import COUNTS, mask_counts, mask_figures
from cloud_removal_plugin.observation import Observation
from cloud_removal_plugin.training.feeds import feed_of
from cloud_removal_plugin.training.sources import Samples
from tests.datasets.conftest import write_patch

SMALL = {"widths": [4, 8, 16, 32, 64]}
MEASURES = [
    f"{measure}_{name}" for name in ("clear", "cloud") for measure in ("precision", "recall", "F1", "IoU")
]  # fmt: skip


def test_figures_by_hand() -> None:
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 255, 1], np.uint8)
    found = np.array([1, 1, 0, 1, 0, 0, 0, 1, 255], np.uint8)
    counts = mask_counts(found, truth)
    assert counts == {"TP": 2, "FP": 1, "FN": 1, "TN": 3}
    figures = mask_figures(counts)
    assert figures["accuracy"] == pytest.approx(5 / 7)
    assert [figures[f"{name}_cloud"] for name in ("precision", "recall", "F1", "IoU")] == pytest.approx(
        [2 / 3, 2 / 3, 2 / 3, 2 / 4]
    )
    assert [figures[f"{name}_clear"] for name in ("precision", "recall", "F1", "IoU")] == pytest.approx(
        [3 / 4, 3 / 4, 3 / 4, 3 / 5]
    )
    assert figures["mean_F1"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert figures["mean_IoU"] == pytest.approx((2 / 4 + 3 / 5) / 2)


def test_a_class_that_is_nowhere_has_no_figures() -> None:
    """A cloudless frame that is found cloudless is no failure; one in which clouds are invented is."""
    right = mask_figures(mask_counts(np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint8)))
    assert (right["accuracy"], right["F1_clear"], right["mean_F1"], right["mean_IoU"]) == (1, 1, 1, 1)
    assert all(np.isnan(right[f"{name}_cloud"]) for name in ("precision", "recall", "F1", "IoU"))
    invented = mask_figures(mask_counts(np.ones((3, 3), np.uint8), np.zeros((3, 3), np.uint8)))
    assert (invented["precision_cloud"], invented["F1_cloud"], invented["mean_F1"]) == (0, 0, 0)
    nothing = mask_figures(dict.fromkeys(COUNTS, 0))
    assert all(np.isnan(value) for value in nothing.values())


@pytest.fixture
def bright_clouds(tmp_path: Path) -> Path:
    """Four regions with a bright cloud each and its mask; the first has no data in a corner."""
    folder = tmp_path / "pairs"
    for number in range(4):
        stem = folder / f"roi{number}_p1"
        write_patch(Path(f"{stem}_s2_clear.tif"), 13, number, edge=32)
        write_patch(Path(f"{stem}_s2_cloudy.tif"), 13, number, edge=32)
        with rasterio.open(f"{stem}_s2_cloudy.tif", "r+") as file:
            pixels = file.read()
            pixels[:, 4 + 4 * number : 20 + 2 * number, 6:24] = 9000
            mask = (pixels[0] == 9000).astype(np.uint8)
            if number == 0:
                pixels[:, -6:, -6:] = 0
                file.nodata = 0
            file.write(pixels)
            profile = file.profile | {"count": 1, "dtype": "uint8", "nodata": None}
        with rasterio.open(f"{stem}_cloudmask.tif", "w", **profile) as file:
            file.write(mask, 1)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_masks_are_judged_and_written(bright_clouds: Path, tmp_path: Path) -> None:
    data = {
        "root": str(bright_clouds), "clouds": "real", "windows": 4, "reflectance_scale": 1e-4, "reflectance_offset": 0.0
    }  # fmt: skip
    values: dict[str, Any] = {
        "preset": "clearvision-mask", "output": str(tmp_path / "run"), "data": data, "network_config": SMALL,
        "batch": 4, "steps": 40, "lr": 3e-3, "crop": 32, "device": "cpu", "threads": 1,
    }  # fmt: skip
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    assert main(["train", str(config)]) == 0
    assert main(["evaluate", str(config), "--part", "train", "--images"]) == 0
    *samples, together, mean = rows_of(tmp_path / "run/evaluate/figures.csv")
    assert list(mean) == ["sample", "accuracy", *MEASURES, "mean_F1", "mean_IoU", *COUNTS]
    assert (len(samples), together["sample"], mean["sample"]) == (3, "all pixels", "mean")
    for name in list(mean)[1:]:
        assert float(mean[name]) == pytest.approx(np.mean([float(row[name]) for row in samples]))
    assert float(mean["mean_F1"]) > 0.9, "white squares are learned"
    summed = {name: sum(float(row[name]) for row in samples) for name in COUNTS}
    assert {name: float(together[name]) for name in summed} == summed
    assert float(together["mean_IoU"]) == pytest.approx(mask_figures(summed)["mean_IoU"])
    rasters = sorted((tmp_path / "run/evaluate").glob("*.tif"))
    assert len(rasters) == 3
    for row, path in zip(sorted(samples, key=lambda row: row["sample"]), rasters, strict=True):
        assert path.name == f"{row['sample']}_mask.tif"
        assert path.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
        _agrees(path, row, bright_clouds)


def _agrees(path: Path, row: dict[str, str], scenes: Path) -> None:
    """The raster that was written has the figures that stand in the table, and lies where the scene does."""
    stem = row["sample"].removesuffix("_s2_clear")
    with rasterio.open(path) as found, rasterio.open(scenes / f"{stem}_cloudmask.tif") as true:
        assert (found.dtypes, found.nodata, found.shape) == (("uint8",), 255, true.shape)
        assert (found.transform, found.crs) == (true.transform, true.crs)
        classes, wanted = found.read(1), true.read(1)
    assert (classes == 255).sum() == 0
    assert mask_counts(classes, wanted) == {name: int(float(row[name])) for name in COUNTS}


def test_pixels_without_data_take_no_part(bright_clouds: Path, tmp_path: Path) -> None:
    values = {
        "preset": "clearvision-mask", "output": str(tmp_path / "run"), "network_config": SMALL, "batch": 1, "steps": 1,
        "device": "cpu", "threads": 1, "crop": 32,
        "data": {"root": str(bright_clouds), "clouds": "real", "reflectance_scale": 1e-4, "reflectance_offset": 0.0},
    }  # fmt: skip
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    assert main(["train", str(config)]) == 0
    assert main(["predict", str(config)]) == 0
    with rasterio.open(tmp_path / "run/predict/roi0_p1_s2_clear_mask.tif") as file:
        classes = file.read(1)
    assert (classes[-6:, -6:] == 255).all()
    assert (classes == 255).sum() == 36
    assert main(["evaluate", str(config)]) == 0
    row = rows_of(tmp_path / "run/evaluate/figures.csv")[0]
    assert sum(float(row[name]) for name in COUNTS) == 32 * 32 - 36


@pytest.fixture
def cloudy_cubes(tmp_path: Path) -> Path:
    """EarthNet2021's iid and ood splits, two cubes of 32 x 32 pixels each; bright clouds on three of ten dates."""
    rng = np.random.default_rng(3)
    for split in ("iid_test_split", "ood_test_split"):
        for number in (1, 2):
            stack = rng.uniform(0.05, 0.3, (32, 32, 5, 10)).astype(np.float32)
            stack[..., 4, :] = 0
            stack[: 8 + 2 * number, :, :4, 1::3] = 0.9
            stack[: 8 + 2 * number, :, 4, 1::3] = 1
            name = f"context_32UQC_2018-09-03_2019-01-30_{number}_569_2745_2873_6_86_42_122.npz"
            path = tmp_path / "EarthNet" / split / "context" / "32UQC" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, highresdynamic=stack, highresstatic=np.zeros((32, 32, 1), np.float32))
    return tmp_path / "EarthNet"


def test_frames_of_a_series_with_their_own_clouds(cloudy_cubes: Path, tmp_path: Path) -> None:
    """EarthNet2021 as the authors train: real masks of the iid cubes; a row a cube, a band a frame."""
    values = {
        "preset": "clearvision-mask", "output": str(tmp_path / "run"), "network_config": SMALL, "batch": 2,
        "steps": 60, "lr": 3e-3, "device": "cpu", "threads": 1,
        "data": {
            "root": str(cloudy_cubes),
            "train": {"split": "iid_test_split"},
            "validation": {"split": "ood_test_split"},
        },
    }  # fmt: skip
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    assert main(["train", str(config)]) == 0
    assert main(["evaluate", str(config), "--images"]) == 0
    *samples, together, mean = rows_of(tmp_path / "run/evaluate/figures.csv")
    cloudy = [float(row["TP"]) + float(row["FN"]) for row in samples]
    assert cloudy == [3 * 10 * 32, 3 * 12 * 32]
    assert sum(float(together[name]) for name in COUNTS) == 2 * 10 * 32 * 32
    assert float(mean["F1_cloud"]) > 0.9
    paths = sorted((tmp_path / "run/evaluate").glob("*.tif"))
    assert len(paths) == 2
    with rasterio.open(paths[0]) as file:
        assert (file.count, file.shape) == (10, (32, 32))
        truth = np.zeros((10, 32, 32), np.uint8)
        truth[1::3, :10] = 1
        assert mask_counts(file.read(), truth) == {name: int(float(samples[0][name])) for name in COUNTS}


def test_what_the_network_sees_of_a_series(cube_tree: Path, tmp_path: Path) -> None:
    """Missing pixels are white; all is divided by the range of the whole series, not of the frame."""
    feed = feed_of("clearvision_mask", {})
    samples = Samples(EarthNet2021(cube_tree, "train", frames="none"), feed, 0, False, 0)
    cube = samples.reader.cube(0)
    known = cube.optical[:, :3][np.isfinite(cube.optical[:, :3])]
    reach = known.max() - known.min()
    frames = samples.frames(0)
    assert len(frames) == 30
    cloudy = feed.tensors(frames[1])
    np.testing.assert_allclose(cloudy["optical"][:, :5], 1 / reach, rtol=1e-5)
    np.testing.assert_allclose(cloudy["optical"][:, 5:], cube.optical[1, :3, 5:] / reach, rtol=1e-5)
    assert cloudy["mask"][:5].all()
    assert not cloudy["mask"][5:].any()
    drawn = {tuple(samples[epoch, 0]["mask"].sum(dim=1).tolist()) for epoch in range(12)}
    assert len(drawn) == 2, "cloudy and clear frames come in turns of chance"
    again = [samples[3, 0]["optical"] for _ in range(2)]
    assert again[0].equal(again[1])


def test_a_date_that_was_not_seen_is_refused() -> None:
    blind = Observation(np.full((1, 3, 16, 16), np.nan, np.float32), np.ones((1, 16, 16), np.float32), np.zeros(1),
                        ("blue", "green", "red"))  # fmt: skip
    with pytest.raises(InputError, match="shows nothing of its own date"):
        feed_of("clearvision_mask", {}).tensors(Example(blind, np.zeros((3, 16, 16), np.float32), "unseen"))
