"""Every recipe makes a step on data of its kind; settings, schedules, and the commands of the terminal."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

pytest.importorskip("torch", reason="training needs PyTorch")

import torch

from cloud_removal_plugin import models
from cloud_removal_plugin.__main__ import main
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.training import checkpoints
from cloud_removal_plugin.training.config import from_dict, read_config
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.training.optimisers import OPTIMISERS, SCHEDULES, create_optimiser, create_schedule
from cloud_removal_plugin.training.presets import PRESETS
from cloud_removal_plugin.weights.folder import find, publish
from tests.training.conftest import TINY

ISSUE = {
    "dsen2cr-carl", "dsen2cr-l1", "glfcr", "uncrtaints-l2", "uncrtaints-mgnll", "utilise", "clearvision-mask",
    "clearvision-removal", "aligncr", "seq2point", "tuacr",
}  # fmt: skip
GLF = {"G0": 16, "G": 8, "C": 1, "D": 1}
SERIES = {"input_dim": 4, "encoder_widths": [8, 8], "decoder_widths": [8, 8], "n_head": 2}
UNCERTAIN = {"encoder_widths": [16], "decoder_widths": [16], "n_head": 4, "d_model": 16}
CONFIGS: dict[str, dict[str, Any]] = {
    "dsen2cr-carl": TINY,
    "dsen2cr-l1": TINY,
    "glfcr": GLF,
    "uncrtaints-l2": {**UNCERTAIN, "n_head": 1},
    "uncrtaints-mgnll": UNCERTAIN,
    "utilise": SERIES,
    "clearvision-mask": {"widths": [4, 8, 16, 32, 64]},
    "clearvision-removal": {"widths": [8, 8, 8, 8]},
    "aligncr": {"G0": 16, "G": 8, "C": 1, "D": 1},
    "seq2point": {"resnet_F": 4, "resnet_B": 1},
    "seq2point-gan": {"resnet_F": 4, "resnet_B": 1},
    "tuacr": {"base_width": 8, "num_rrdb": 1},
    "utilise-sen12mscrts": {**SERIES, "input_dim": 13},
    "utilise-sen12mscrts-s1": {**SERIES, "input_dim": 15},
}


def quiet(*_: object) -> None:
    """Takes reports and sentences of a log."""


def test_the_recipes_of_the_papers_are_there() -> None:
    assert set(PRESETS) >= ISSUE
    assert set(CONFIGS) == set(PRESETS)
    for name, recipe in PRESETS.items():
        assert recipe.network in models.names(), name
        assert recipe.optimiser in OPTIMISERS
        assert recipe.schedule in SCHEDULES


@pytest.fixture
def data_for(request, scene_folder, cube_tree, quintet_tree, series_tree, monkeypatch) -> Callable[[str], dict]:
    """Data of the kind that a recipe learns from."""
    monkeypatch.setattr("cloud_removal_plugin.datasets.sen12mscrts.cloud_of", lambda dn, _: dn[0] % 2)

    def choose(name: str) -> dict:
        if name.startswith("utilise-sen12"):
            return {"root": str(request.getfixturevalue("series_files")), "max_length": 4}
        if name in ("utilise", "clearvision-removal"):
            return {"root": str(cube_tree), "max_length": 4, "validation": {"split": "iid_test_split"}}
        if name == "aligncr":
            return {"root": str(quintet_tree), "crop": 32, "validation": {"split": "test"}}
        if name.startswith("seq2point") or name == "uncrtaints-mgnll":
            from tests.training.test_loop import write_larger

            write_larger(series_tree)
            return {"root": str(series_tree), "split": "val"}
        return {"root": str(scene_folder), "crop": 32, "reflectance_scale": 1e-4, "reflectance_offset": 0.0}

    return choose


def _members(folder: Path) -> None:
    for name, config in (("dsen2cr", TINY), ("glfcr", GLF)):
        network = models.create(name, **config)
        publish(
            name, folder, lambda path, n=network, k=name, c=config: checkpoints.write_weights(path, n, k, c, {}, "test")
        )


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_recipe_makes_steps(name: str, data_for, tmp_path: Path) -> None:
    if name == "tuacr":
        _members(tmp_path / "weights")
    crop = 0 if name.startswith("utilise") or name == "clearvision-removal" else 32
    options = {"ndf": 2} if name == "seq2point-gan" else {}
    values = {
        "preset": name, "output": str(tmp_path / "run"), "data": data_for(name), "network_config": CONFIGS[name],
        "crop": crop, "batch": 1, "steps": 2, "device": "cpu", "threads": 1, "validation_samples": 1,
        "options": options,
    }  # fmt: skip
    trainer = Trainer(from_dict(values))
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    trainer.run(quiet, lambda: False, quiet)
    after = trainer.network.state_dict()
    moved = [key for key in after if after[key].is_floating_point() and not torch.equal(before[key], after[key])]
    assert len(moved) > len(after) / 3
    rows = [row for row in trainer.progress.history if "validation" in row]
    assert len(rows) >= 2
    assert all(np.isfinite(value) for row in rows for value in row.values())


def test_series_are_turned_by_the_recipe_and_chosen_by_band(cube_tree, series_files, tmp_path: Path) -> None:
    def trainer(preset: str, root: Path, **more: Any) -> Trainer:
        data = {"root": str(root), "max_length": 4, "validation": {"split": "val"}}
        if root == cube_tree:
            data["validation"]["split"] = "iid_test_split"
        values = {"preset": preset, "output": str(tmp_path), "data": data, "network_config": CONFIGS[preset], "crop": 0,
                  "batch": 1, "steps": 1, "device": "cpu", **more}  # fmt: skip
        return Trainer(from_dict(values))

    for augment in (None, False):
        found = trainer("utilise", cube_tree, augment=augment)
        assert found.samples.reader.choices.augment is (augment is None)
        assert not found.held_out.reader.choices.augment
    first, second = (trainer("utilise", cube_tree, seed=seed, augment=False).samples[0]["x"] for seed in (1, 2))
    assert not torch.equal(first, second), "the seed draws the gaps"
    chosen = trainer("clearvision-removal", series_files)
    bands = [chosen.samples.reader.bands.index(role) for role in ("blue", "green", "red")]
    sample, raw = chosen.samples[0], chosen.samples.reader[0]
    assert torch.equal(sample["y"][:4], raw["y"][:, bands])
    radar = trainer("utilise-sen12mscrts-s1", series_files).samples[0]
    assert radar["x"].shape[1] == 15
    assert 0 <= float(radar["x"][:, 13:].min()) <= float(radar["x"][:, 13:].max()) <= 1
    assert radar["y"].shape[1] == 13
    with pytest.raises(InputError, match="lacks the band"):
        trainer("utilise-sen12mscrts", cube_tree).samples[0]


def test_aligncr_learns_its_alignment_slower(data_for, tmp_path: Path) -> None:
    values = {"preset": "aligncr", "output": str(tmp_path), "data": data_for("aligncr"),
              "network_config": CONFIGS["aligncr"], "crop": 32, "steps": 1, "device": "cpu"}  # fmt: skip
    groups = Trainer(from_dict(values)).optimiser.param_groups
    assert [group["lr"] for group in groups] == [1e-4, 1e-5]
    assert all(len(group["params"]) > 5 for group in groups)


def test_schedules() -> None:
    def rates(name: str, **options: Any) -> list[float]:
        optimiser = create_optimiser("adam", [torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = create_schedule(name, optimiser, 6, **options)
        found = []
        for _ in range(6):
            found.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        return found

    assert rates("constant") == [1] * 6
    assert rates("exponential", gamma=0.8) == pytest.approx([0.8**e for e in range(6)])
    assert rates("steps", gamma=0.5, milestones=(2, 4)) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rates("halving", gamma=0.5, every=3) == [1, 1, 1, 0.5, 0.5, 0.5]
    assert rates("linear", final=0.1) == pytest.approx([1, 0.82, 0.64, 0.46, 0.28, 0.1])
    assert rates("cosine")[-1] == pytest.approx(0)
    for make in (lambda: create_schedule("none", None, 1), lambda: create_optimiser("lion", [], 1)):
        with pytest.raises(ValueError, match="Unknown"):
            make()


def test_settings_are_checked(settings, tmp_path: Path) -> None:
    for changes, text in (
        ({"preset": "dsen2"}, "no training recipe 'dsen2'"),
        ({"speed": 1}, "unknown settings: speed"),
        ({"batch": 0}, "'batch' is 0"),
        ({"steps": "many"}, "'steps' of the training cannot be 'many'"),
        ({"precision": "int8"}, "choose one of fp32"),
        ({"data": {}}, "where its data are"),
        ({"accumulate": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=text):
            from_dict(settings(**changes))
    text = 'preset = "glfcr"\noutput = "run"\n[data]\nroot = "here"\n[training]\nsteps = 5\nlr = 1e-3\n'
    (tmp_path / "a.toml").write_text(text)
    read = read_config(tmp_path / "a.toml")
    assert (read.steps, read.lr, read.output) == (5, 1e-3, str(tmp_path / "run"))
    assert read.data["root"] == str(tmp_path / "here")
    assert from_dict(read.to_dict()) == read
    (tmp_path / "b.toml").write_text("preset = ")
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "b.toml")


def test_train_evaluate_predict_from_the_terminal(settings, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(settings()))
    assert main(["train", str(config), "--install"]) == 0
    assert find("dsen2cr", tmp_path / "weights").facts["trained_with"] == "dsen2cr-carl"
    assert main(["evaluate", str(config)]) == 0
    with (tmp_path / "run/evaluate/figures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["sample"] == "mean"
    values = [float(row["mean_absolute_error"]) for row in rows[:-1]] if "mean_absolute_error" in rows[0] else None
    names = [name for name in rows[0] if name != "sample"]
    first = names[0]
    assert float(rows[-1][first]) == pytest.approx(np.mean([float(row[first]) for row in rows[:-1]]), rel=1e-5)
    assert values is None or all(value > 0 for value in values)
    assert main(["predict", str(config), "--part", "validation"]) == 0
    tiffs = sorted((tmp_path / "run/predict").glob("*.tif"))
    assert tiffs
    with rasterio.open(tiffs[0]) as file:
        assert (file.count, file.dtypes[0]) == (13, "float32")
        assert file.crs.to_epsg() == 32632
    assert tiffs[0].with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert main(["train", str(tmp_path / "nothing.toml")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_evaluation_of_series(cube_tree: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    data = {"root": str(cube_tree), "validation": {"split": "iid_test_split"}}
    values = {"preset": "utilise", "output": str(tmp_path / "run"), "network_config": SERIES, "batch": 1, "steps": 1,
              "data": data, "device": "cpu", "threads": 1}  # fmt: skip
    config.write_text(json.dumps(values))
    assert main(["train", str(config)]) == 0
    assert main(["evaluate", str(config), "--images"]) == 0
    text = (tmp_path / "run/evaluate/figures.csv").read_text()
    assert "occluded_input_pixels" in text
    assert len(list((tmp_path / "run/evaluate").glob("*.tif"))) == 1
