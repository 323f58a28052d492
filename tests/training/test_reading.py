"""Processes that read samples: what they say, and that they end; sizes that networks cannot take."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

pytest.importorskip("torch", reason="training needs PyTorch")

import torch

from cloud_removal_plugin.__main__ import main
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.models.records import RECORDS
from cloud_removal_plugin.training import checkpoints
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.training.predicting import Predictor, predict, weights_of
from cloud_removal_plugin.training.sizes import cut, filled
from tests.datasets.conftest import write_patch
from tests.training.test_loop import quiet, run

ROOT = Path(__file__).resolve().parents[2]
GLF = {"G0": 16, "G": 8, "C": 1, "D": 1}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and groups of processes are POSIX")


def started(values: dict, tmp_path: Path) -> subprocess.Popen:
    """A training in a group of processes of its own, as a terminal would start it."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    command = [sys.executable, "-m", "cloud_removal_plugin", "train", str(config)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def readers_of(parent: int) -> list[int]:
    """Processes that a process has started to read samples."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (place / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[1]) == parent and b"spawn_main" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def is_there(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_ctrl_c_for_the_whole_group_keeps_the_step(settings, tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to readers, too; the step that waits for them comes to its end."""
    process = started(settings(steps=5000, workers=1, checkpoint_every=1, validate_every=5000), tmp_path)
    last = tmp_path / "run" / "last.pt"
    assert until(last.exists, 60)
    for reader in readers_of(process.pid):
        os.kill(reader, signal.SIGINT)
    reached = checkpoints.load(last)["step"]
    assert until(lambda: process.poll() is not None or checkpoints.load(last)["step"] > reached + 8, 60)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    assert "resume to go on" in said
    assert checkpoints.load(last)["step"] >= 1


@POSIX
def test_sigterm_keeps_the_step(settings, tmp_path: Path) -> None:
    """Batch systems send it some seconds before they kill."""
    process = started(settings(steps=5000, checkpoint_every=1, validate_every=5000), tmp_path)
    assert until((tmp_path / "run" / "last.pt").exists, 60)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "resume to go on" in said


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_no_reader_outlives_a_training_that_is_killed(settings, tmp_path: Path) -> None:
    """Killed while they are still starting, when PyTorch's own look for the parent begins too late."""
    process = started(settings(steps=5000, workers=1), tmp_path)
    readers: list[int] = []
    assert until(lambda: readers.extend(readers_of(process.pid)) or readers, 60)
    process.kill()
    process.wait()
    process.stderr.close()
    assert until(lambda: not any(is_there(reader) for reader in readers), 30)


def test_what_a_reader_says_is_one_sentence(settings, scene_folder: Path) -> None:
    for path in sorted(scene_folder.glob("*_clear.tif"))[1:]:
        with rasterio.open(path, "r+") as file:
            planes = file.read()
            planes[:, ::4, ::4] = 0
            file.write(planes)
    with pytest.raises(InputError, match=r"^The target of the sample .* without data") as caught:
        run(settings(workers=1))
    assert "\n" not in str(caught.value)


def test_samples_of_two_sizes_in_one_batch(settings, triplet_tree: Path) -> None:
    for path in triplet_tree.rglob("*_1_p2.tif"):
        radar = "_s1_" in path.name
        write_patch(path, 2 if radar else 13, 5, "float32" if radar else "uint16", 24)
    data = {"root": str(triplet_tree), "cloud_masks": None, "validation": {"split": "test"}}
    with pytest.raises(InputError, match=r"differ in 'optical'.*Set crop, or batch = 1"):
        run(settings(data=data, crop=0))


def test_a_size_that_a_network_cannot_learn_from(settings) -> None:
    data = settings()["data"] | {"crop": 40}
    values = settings(preset="glfcr", network_config=GLF, crop=40, batch=1, data=data)
    with pytest.raises(InputError, match=r"GLF-CR cannot learn from samples of 40 x 40 pixels.*multiple of 16"):
        run(values)


def test_whole_scenes_of_any_size_are_predicted(settings, scene_folder: Path, tmp_path: Path) -> None:
    """GLF-CR's windows want a multiple of 16: what lies beyond the edge is reflected and cut off again."""
    for number, path in enumerate(sorted(scene_folder.glob("roi0*"))):
        radar = path.stem.endswith("_s1")
        path.unlink()
        write_patch(path, 2 if radar else 13, number, "float32" if radar else "uint16", 41)
    values = settings(preset="glfcr", network_config=GLF, crop=32, batch=1, steps=1)
    trainer = run(values)
    weights = tmp_path / "w.safetensors"
    checkpoints.write_weights(weights, trainer.network, "glfcr", trainer.network_config, {}, "test")
    config = from_dict(values)
    assert predict(config, str(weights), "validation", tmp_path / "out", quiet) == 1
    with rasterio.open(tmp_path / "out" / "roi0_p1_s2_clear_restored.tif") as file:
        assert file.shape == (41, 41)
        assert file.descriptions[:3] == ("coastal", "blue", "green")
        assert np.isfinite(file.read()).all()
    (one,) = Predictor(config, weights_of(config, str(weights)), "validation")
    assert one.estimate.shape == one.truth.shape == (13, 41, 41)


def test_filling_up_and_cutting() -> None:
    batch = {"optical": torch.arange(5 * 7.0).reshape(1, 1, 5, 7), "days": torch.zeros(1, 3)}
    found = filled(batch, RECORDS["glfcr"])
    assert found["optical"].shape == (1, 1, 16, 16)
    torch.testing.assert_close(found["optical"][0, 0, :9, :7], batch["optical"][0, 0, [0, 1, 2, 3, 4, 3, 2, 1, 0]])
    assert found["days"].shape == (1, 3)
    torch.testing.assert_close(cut(found["optical"], (5, 7)), batch["optical"])
    assert filled(batch, RECORDS["baseline_resnet"])["optical"] is batch["optical"], "any size will do"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[1, 2]", "table of settings"),
        ("null", "table of settings"),
        ('{"training": 3}', "table of settings"),
        ('{"data": {"root": 5}}', r"'data.root' is 5; it must be a text"),
        ('{"data": {"root": "x", "train": "y"}}', r"'data.train' is 'y'; it must be a table"),
        ('{"data": {"root": "x", "train": {"cache": 3}}}', r"'data.train.cache' is 3; it must be a text"),
        ('{"data": {"root": "x", "held_out": "roi1"}}', r"'data.held_out' is 'roi1'; it must be a list"),
        ('{"data": {"scenes": ["a.tif"]}}', r"Each of 'data.scenes' must be a table"),
        ('{"lr": NaN}', "'lr' is nan"),
        ('{"lr": Infinity}', "'lr' is inf"),
        ('{"clip": Infinity}', "'clip' is inf"),
        ('{"crop": -1}', "'crop' is -1; it must be at least 0"),
        ('{"seed": -1}', "'seed' is -1; it must be at least 0"),
        ('{"seed": 1e30}', "'seed' of the training cannot be"),
        ('{"seed": 9999999999999999999999}', "'seed' is 9999999999999999999999; it must be at most"),
        ('{"output": ""}', "does not say where to write"),
        ('{"options": {"lambda_L1": "much"}}', "option 'lambda_L1' is 'much'; it must be a number"),
        ('{"options": {"vgg16": 3}}', "option 'vgg16' is 3; it must be a text"),
    ],
)
def test_files_that_are_no_training(content: str, text: str, tmp_path: Path, capsys) -> None:
    values = json.loads(content)
    if isinstance(values, dict):
        values = {"preset": "dsen2cr-l1", "output": "run", "data": {"root": "x"}} | values
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    assert main(["train", str(config)]) == 1
    said = capsys.readouterr().err
    assert re.search(text, said)
    assert "Traceback" not in said


def test_a_network_that_cannot_be_built(settings) -> None:
    with pytest.raises(InputError, match="network_config does not make a dsen2cr"):
        Trainer(from_dict(settings(network_config={"feature_size": -3})))
