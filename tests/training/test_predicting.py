"""What `evaluate` measures beside the plain case: several input dates, simple baselines, Clear Vision's figures."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import rasterio

pytest.importorskip("torch", reason="training needs PyTorch")

from cloud_removal_plugin.__main__ import main
from cloud_removal_plugin.datasets import SEN12MSCRTS
from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.run import run
from cloud_removal_plugin.methods.learned_inputs import wants
from cloud_removal_plugin.models.records import RECORDS
from cloud_removal_plugin.training.baselines import MISSING, least_cloudy, mosaic
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.weights.folder import find, weights_folder
from tests.training.test_loop import quiet, write_larger


def rows_of(path: Path) -> dict[str, dict[str, float]]:
    with path.open() as file:
        return {row.pop("sample"): {k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)}


@pytest.fixture
def points(series_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Config of a trained small sequence-to-point network; a date's clouds are one half of it, by its number."""
    write_larger(series_tree)

    def cloud(dn: np.ndarray, _: object) -> np.ndarray:
        found = np.zeros(dn.shape[1:], np.float32)
        found[:: int(dn[0, 0, 0]) % 4 + 2] = 1
        return found

    monkeypatch.setattr("cloud_removal_plugin.datasets.sen12mscrts.cloud_of", cloud)
    values = {
        "preset": "seq2point", "output": str(tmp_path / "run"), "network_config": {"resnet_F": 4, "resnet_B": 1},
        "crop": 0, "batch": 1, "steps": 1, "device": "cpu", "threads": 1, "validation_samples": 1,
        "data": {"root": str(series_tree), "split": "val"},
    }  # fmt: skip
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    assert main(["train", str(config)]) == 0
    return config


def test_covered_is_what_any_input_date_hides(points: Path, tmp_path: Path) -> None:
    """The target date itself is unseen and counts as hidden everywhere, but it is no input."""
    assert main(["evaluate", str(points), "--baselines", "--images"]) == 0
    found = rows_of(tmp_path / "run/evaluate/figures.csv")["ROIs1868_17_patch_2"]
    reader = SEN12MSCRTS(json.loads(points.read_text())["data"]["root"], "val", n_input_samples=3)
    sample = reader[0]
    covered = np.stack(sample["input"]["masks"]).any(axis=0)
    assert 0 < covered.mean() < 1
    share = covered.mean()
    whole = share * found["RMSE_cloudy"] ** 2 + (1 - share) * found["RMSE_cloudfree"] ** 2
    assert whole == pytest.approx(found["RMSE"] ** 2, rel=1e-6)
    truth = sample["target"]["S2"][0].astype(np.float64)
    clearest = int(np.argmin(sample["input"]["coverage"]))
    simple = rows_of(tmp_path / "run/evaluate/figures_least_cloudy.csv")["ROIs1868_17_patch_2"]
    assert simple["MAE"] == pytest.approx(np.abs(sample["input"]["S2"][clearest] - truth).mean(), rel=1e-5)
    masks, frames = np.stack(sample["input"]["masks"]), np.stack(sample["input"]["S2"]).astype(np.float64)
    mixed = np.ma.array(frames, mask=np.repeat(masks[:, None] > 0, 13, axis=1)).mean(axis=0).filled(MISSING)
    simple = rows_of(tmp_path / "run/evaluate/figures_mosaic.csv")["mean"]
    others = [np.abs(mixed - truth).mean()]
    sample = reader[1]
    masks, frames = np.stack(sample["input"]["masks"]), np.stack(sample["input"]["S2"]).astype(np.float64)
    mixed = np.ma.array(frames, mask=np.repeat(masks[:, None] > 0, 13, axis=1)).mean(axis=0).filled(MISSING)
    others.append(np.abs(mixed - sample["target"]["S2"][0]).mean())
    assert simple["MAE"] == pytest.approx(np.mean(others), rel=1e-5)


def test_baselines_of_gaps() -> None:
    frames = np.array([[[[0.2, 0.0, np.nan, 0.4]]], [[[0.6, 0.3, 0.2, 0.8]]]], np.float32)
    covered = np.array([[[False, False, False, True]], [[False, False, True, True]]])
    np.testing.assert_allclose(mosaic(frames, covered)[0, 0], [0.4, 0.3, MISSING, MISSING])
    np.testing.assert_allclose(least_cloudy(frames, covered)[0, 0], [0.2, 0, 0, 0.4])


def series_recipe(cube_tree: Path, tmp_path: Path) -> Path:
    """The configuration file of one step of a small network that restores whole series."""
    values = {
        "preset": "clearvision-removal", "output": str(tmp_path / "run"), "network_config": {"widths": [8, 8, 8, 8]},
        "batch": 1, "steps": 1, "device": "cpu", "threads": 1, "data": {"root": str(cube_tree), "max_length": 4,
        "validation": {"split": "train", "root": str(cube_tree)}},
    }  # fmt: skip
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    return config


def test_networks_of_series_have_no_such_baselines(cube_tree: Path, tmp_path: Path, capsys) -> None:
    config = series_recipe(cube_tree, tmp_path)
    Trainer(from_dict(json.loads(config.read_text()))).run(quiet, lambda: False, quiet)
    assert main(["evaluate", str(config), "--baselines"]) == 1
    assert "restore one image" in capsys.readouterr().err
    assert main(["evaluate", str(config)]) == 0
    found = rows_of(tmp_path / "run/evaluate/figures.csv")
    together = found.pop("all pixels")
    found.pop("mean")
    assert len(found) == 2
    values = sum(row["values"] for row in found.values())
    square = sum(row["mse"] * row["values"] for row in found.values()) / values
    peak = max(row["peak"] for row in found.values())
    assert 0.3 < peak <= 1
    assert together["rmse"] == pytest.approx(math.sqrt(square))
    assert together["psnr_of_peak"] == pytest.approx(20 * math.log10(peak) - 10 * math.log10(square))


def test_one_date_is_enough_for_the_trained_network_of_one_date(scene_folder: Path, tmp_path: Path) -> None:
    """The weights file says all that a restoration asks of the network: one date, no variance."""
    small = {"encoder_widths": [16], "decoder_widths": [16], "d_model": 16}
    values = {
        "preset": "uncrtaints-l2", "output": str(tmp_path / "run"), "network_config": small, "batch": 1, "steps": 1,
        "device": "cpu", "threads": 1, "crop": 32, "validation_samples": 1,
        "data": {"root": str(scene_folder), "crop": 32, "reflectance_scale": 1e-4, "reflectance_offset": 0.0},
    }  # fmt: skip
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    assert main(["train", str(config), "--install"]) == 0
    stored = find("uncrtaints_mono", weights_folder())
    needed = wants(RECORDS["uncrtaints_mono"], stored.config)
    assert (needed.dates, needed.variance) == ((1, 1), False)
    clear, radar = (scene_folder / f"roi0_p1_{name}.tif" for name in ("s2_cloudy", "s1"))
    mask = np.zeros((1, 48, 48), np.uint8)
    mask[:, 10:30, 10:30] = 1
    with rasterio.open(clear) as like, rasterio.open(tmp_path / "mask.tif", "w", driver="GTiff", count=1, height=48,
            width=48, dtype="uint8", crs=like.crs, transform=like.transform) as file:  # fmt: skip
        file.write(mask)
    job = Job("restore", str(clear), str(tmp_path / "out.tif"), method="uncrtaints_mono", radar=str(radar),
              cloud_mask=str(tmp_path / "mask.tif"))  # fmt: skip
    assert run(job, quiet, lambda: False, quiet).method_used.startswith("UnCRtainTS, one date")


def test_series_with_too_few_clear_frames_are_no_others_twice(cube_tree: Path, tmp_path: Path, capsys) -> None:
    """A training takes the next series in their place; an evaluation counts every series once, by its name."""
    first, second = sorted((cube_tree / "train/29SND").iterdir())
    with np.load(first) as arrays:
        cloudy = dict(arrays)
    cloudy["highresdynamic"][:, :, -1] = 1
    np.savez(first, **cloudy)
    config = series_recipe(cube_tree, tmp_path)
    assert main(["train", str(config)]) == 0
    capsys.readouterr()
    for command in ("evaluate", "predict"):
        assert main([command, str(config)]) == 0
        assert "1 of 2 samples were left out: too few clear frames" in capsys.readouterr().err
    assert list(rows_of(tmp_path / "run/evaluate/figures.csv"))[:1] == [second.stem]
    assert len(rows_of(tmp_path / "run/evaluate/figures.csv")) == 3
    assert [path.name for path in (tmp_path / "run/predict").glob("*.tif")] == [f"{second.stem}_restored.tif"]
    np.savez(second, **cloudy)
    assert main(["evaluate", str(config)]) == 1
    assert "Nothing can be judged. 2 of 2 samples" in capsys.readouterr().err


def test_dates_out_of_the_wanted_range_are_left_out_as_in_the_toolbox(points: Path, capsys) -> None:
    values = json.loads(points.read_text())
    values["data"] |= {"min_cov": 0.99, "max_cov": 1.0}
    points.write_text(json.dumps(values))
    assert main(["evaluate", str(points)]) == 1
    assert "too few dates within min_cov and max_cov" in capsys.readouterr().err
