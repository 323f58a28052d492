"""A training's weights, imported on another computer, are the same file with the same record."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.run import run
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import train
from cloud_removal_plugin.weights.folder import find
from cloud_removal_plugin.weights.origin import trained
from cloud_removal_plugin.weights.stored import read_header
from tools import package


def quiet(*_: object) -> None:
    """Takes reports and sentences of a log."""


def test_the_folder_of_a_training_is_imported_with_its_record(settings, scene_folder: Path, tmp_path: Path) -> None:
    _, outcome = train(from_dict(settings(steps=2)), quiet, lambda: False, quiet)
    there = tmp_path / "elsewhere"
    job = Job(kind="import", input=str(outcome.weights.parent), output="", weights=str(there))
    report = run(job, quiet, lambda: False, quiet).report
    stored = find("dsen2cr", there)
    assert trained(stored)
    assert stored.facts == read_header(outcome.weights, "dsen2cr").facts
    assert f"recipe dsen2cr-carl, 2 steps on {stored.facts['samples']} samples of {scene_folder} (scenes)" in report
    assert f"PSNR {outcome.best['psnr']:.4g} dB" in report
    assert "at step 2)" in report
    assert "the published one does not apply; mind the licence of the data" in report


def test_terms_of_the_weights_it_began_with_go_along(settings, tmp_path: Path) -> None:
    """Else own scenes would wash weights clean that may not be passed on."""
    _, outcome = train(from_dict(settings(steps=2)), quiet, lambda: False, quiet)
    bound = read_header(outcome.weights, "dsen2cr").facts | {"reader": "earthnet2021", "tuned_from_reader": "m3rcr"}
    save_file(load_file(outcome.weights), tmp_path / "bound.safetensors", metadata=bound)
    values = settings(weights=str(tmp_path / "bound.safetensors"), output=str(tmp_path / "tuned"), steps=2)
    _, tuned = train(from_dict(values), quiet, lambda: False, quiet)
    facts = read_header(tuned.weights, "dsen2cr").facts
    assert facts["reader"] == "scenes"
    assert facts["tuned_from_reader"] == "earthnet2021"
    assert facts["tuned_from_tuned_from_reader"] == "m3rcr"
    files = {"weights/a.safetensors": tuned.weights.read_bytes(), "weights/a.md": b"# Card"}
    with pytest.raises(RuntimeError, match="may not be passed on"):
        package.shippable_weights(files)
