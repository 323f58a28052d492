"""``importweights`` and ``listmodels`` in QGIS and through ``qgis_process``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from qgis.core import QgsProcessingException, QgsSettings

from cloud_removal_plugin import models
from cloud_removal_plugin.algorithms.importweights import NETWORKS, ImportWeights
from cloud_removal_plugin.gui import settings
from cloud_removal_plugin.weights.folder import VARIABLE

pytest.importorskip("torch")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small DSen2-CR as PyTorch would save it."""
    import torch

    from cloud_removal_plugin import models

    network = models.create("dsen2cr", num_layers=1, feature_size=4)
    torch.save({"network": network.state_dict()}, tmp_path / "CR_net.pth")
    return tmp_path / "CR_net.pth"


def test_the_folder_is_a_setting_that_the_environment_overrides(provider, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    before = QgsSettings().value(settings.WEIGHTS_KEY, "")
    try:
        settings.set_weights_folder(f" {tmp_path} ")
        assert settings.weights_folder() == str(tmp_path)
        monkeypatch.setenv(VARIABLE, str(tmp_path / "other"))
        assert settings.weights_folder() == str(tmp_path / "other")
    finally:
        QgsSettings().setValue(settings.WEIGHTS_KEY, before)


def test_import_and_list(qgis_process, checkpoint: Path, tmp_path: Path) -> None:
    folder, page, table = tmp_path / "weights", tmp_path / "report.html", tmp_path / "table.html"
    there = {VARIABLE: str(folder)}
    done = qgis_process(
        "--json", "run", "cloudremoval:importweights", "--", f"CHECKPOINT={checkpoint.parent}",
        f"OUTPUT_HTML_FILE={page}", **there,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["NETWORK_FOUND"] == "dsen2cr"
    assert Path(results["WEIGHTS"]) == folder / "dsen2cr.safetensors"
    assert (folder / "dsen2cr.safetensors").is_file()
    assert "SHA-256" in results["REPORT"]
    assert "GPL-3.0" in page.read_text(encoding="utf-8")
    done = qgis_process("--json", "run", "cloudremoval:listmodels", "--", f"OUTPUT_HTML_FILE={table}", **there)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["WITH_WEIGHTS"] == 1
    assert "Weights: there: dsen2cr.safetensors, imported from CR_net.pth" in results["REPORT"]
    assert table.read_text(encoding="utf-8").count("<tr>") == len(NETWORKS) + 1  # head, starter, no auto


def test_the_job_that_is_handed_down(provider, engine, context, feedback, checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, str(checkpoint.parent))

    def stop(job, *_):
        from cloud_removal_plugin.errors import InputError

        raise InputError("That is enough.")

    engine.behave = stop
    made = ImportWeights().create()
    with pytest.raises(QgsProcessingException, match="That is enough"):
        made.run({"NETWORK": "glfcr", "CHECKPOINT": str(checkpoint)}, context, feedback, catchExceptions=False)
    job = engine.jobs[0]
    assert (job.kind, job.method, job.input) == ("import", "glfcr", str(checkpoint))
    assert (job.weights, job.output) == (str(checkpoint.parent), "")


def test_methods_are_those_of_the_registry() -> None:
    from cloud_removal_plugin.algorithms.removeclouds import METHODS
    from cloud_removal_plugin.methods import registry

    assert (*registry.names(), *registry.networks(), *registry.pipelines()) == METHODS
    assert NETWORKS[1:] == tuple(models.names())
