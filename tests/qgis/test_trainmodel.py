"""``trainmodel`` in QGIS and through ``qgis_process``: the job that goes down, bad input, a real training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from qgis.core import QgsProcessingException

from cloud_removal_plugin.algorithms.trainmodel import RECIPES, TrainModel
from tests.qgis.conftest import write_tif

pytest.importorskip("torch")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, list[str]]:
    """Two places of 13 bands: clear, cloudy, radar."""
    rng = np.random.default_rng(0)
    found: dict[str, list[str]] = {"CLEAR": [], "CLOUDY": [], "RADAR": []}
    for number in range(2):
        for key, high in (("CLEAR", 3000), ("CLOUDY", 8000)):
            values = rng.integers(200, high, (13, 48, 48)).astype(np.uint16)
            found[key].append(write_tif(tmp_path / f"{key}_{number}.tif", values))
        radar = rng.uniform(-20, -5, (2, 48, 48)).astype(np.float32)
        found["RADAR"].append(write_tif(tmp_path / f"s1_{number}.tif", radar))
    return found


def test_the_recipes_are_those_of_the_engine() -> None:
    from cloud_removal_plugin.training.presets import PRESETS

    assert set(RECIPES) == set(PRESETS)


def test_the_job_that_is_handed_down(provider, engine, context, feedback, places, tmp_path: Path) -> None:
    def stop(job, *_):
        from cloud_removal_plugin.errors import InputError

        raise InputError("That is enough.")

    engine.behave = stop
    parameters = {**places, "RECIPE": "glfcr", "STEPS": 7, "BATCH": 2, "OUTPUT": str(tmp_path / "run"), "SEED": 3,
                  "DEVICES": 2, "VALIDATE_EVERY": 5, "VALIDATION_SAMPLES": 9}  # fmt: skip
    with pytest.raises(QgsProcessingException, match="That is enough"):
        TrainModel().create().run(parameters, context, feedback, catchExceptions=False)
    job = engine.jobs[0]
    training = json.loads(job.training)
    assert (job.kind, job.method, training["preset"]) == ("train", "glfcr", "glfcr")
    assert (training["steps"], training["batch"], training["crop"], training["seed"]) == (7, 2, None, 3)
    assert (training["devices"], training["validate_every"], training["validation_samples"]) == (2, 5, 9)
    assert training["on_nan"] == "raise"
    second = {"clear": places["CLEAR"][1], "cloudy": places["CLOUDY"][1], "radar": places["RADAR"][1]}
    assert training["data"]["scenes"][1] == second


def test_relative_paths_are_those_of_the_caller(provider, engine, context, feedback, tmp_path, monkeypatch) -> None:
    """The worker stands in the temporary folder, where a training would be written and no data be found."""
    from cloud_removal_plugin.errors import InputError

    def stop(*_):
        raise InputError("That is enough.")

    engine.behave = stop
    monkeypatch.chdir(tmp_path)
    parameters = {"FOLDER": "data", "SKIP_INCOMPLETE": True, "START_WEIGHTS": "old/w.safetensors", "RECIPE": "glfcr"}
    for output in ("run", "TEMPORARY_OUTPUT"):
        with pytest.raises(QgsProcessingException, match="That is enough"):
            TrainModel().create().run({**parameters, "OUTPUT": output}, context, feedback, catchExceptions=False)
    given, temporary = (json.loads(job.training) for job in engine.jobs)
    assert given["output"] == str(tmp_path / "run")
    assert given["data"] == {"root": str(tmp_path / "data"), "on_problem": "skip"}
    assert given["on_nan"] == "skip"
    assert given["weights"] == str(tmp_path / "old" / "w.safetensors")
    assert Path(temporary["output"]).is_absolute()
    assert "TEMPORARY_OUTPUT" not in temporary["output"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"CLEAR": []}, "either a data set folder or clear layers"),
        ({"FOLDER": "/tmp"}, "either a data set folder or clear layers"),
        ({"CLOUDY": 1}, "1 cloudy layers for 2 clear layers"),
        ({"CLEAR": 1, "CLOUDY": [], "RADAR": []}, "One clear layer is not enough"),
    ],
)
def test_bad_input_is_a_sentence(provider, engine, context, places, changes, sentence, tmp_path: Path) -> None:
    given = {key: places[key][:value] if isinstance(value, int) else value for key, value in changes.items()}
    parameters = {**places, **given, "OUTPUT": str(tmp_path)}
    fine, text = TrainModel().create().checkParameterValues(parameters, context)
    assert not fine
    assert sentence in text


def test_a_training_headless(qgis_process, places, tmp_path: Path) -> None:
    output, weights = tmp_path / "run", tmp_path / "weights"
    arguments = [f"{key}={path}" for key, paths in places.items() for path in paths]
    done = qgis_process(
        "--json", "run", "cloudremoval:trainmodel", "--", *arguments, "RECIPE=uncrtaints-l2", "STEPS=1", "BATCH=1",
        "CROP=32", "DEVICE=cpu", f"OUTPUT={output}", CLOUD_REMOVAL_WEIGHTS=str(weights), CLOUD_REMOVAL_KERNEL="off",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["NETWORK"] == "uncrtaints_mono"
    assert Path(results["WEIGHTS"]) == weights / "uncrtaints_mono.safetensors"
    assert (weights / "uncrtaints_mono.safetensors").is_file()
    assert Path(results["LOG"]).read_text().startswith("<!doctype html>")
    assert (output / "last.pt").is_file()
