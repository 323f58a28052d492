"""A training's weights, imported on another computer, are the same file with the same record."""

from __future__ import annotations

from pathlib import Path

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.run import run
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import train
from cloud_removal_plugin.weights.folder import find
from cloud_removal_plugin.weights.origin import trained
from cloud_removal_plugin.weights.stored import read_header


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
