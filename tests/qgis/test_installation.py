"""The report on the installation: complete, honest, with a cure for whatever is missing."""

from __future__ import annotations

import os
import stat
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from qgis.core import QgsApplication

from cloud_removal_plugin.algorithms import installation, report
from cloud_removal_plugin.algorithms.report import BAD, GOOD, HINT, Item


def run(context, feedback, **parameters) -> dict:
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:checkinstallation")
    results, fine = made.run(parameters, context, feedback, {}, False)
    assert fine, feedback.errors
    return results


def test_report_of_this_machine(provider, context, feedback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", sys.executable)
    page = tmp_path / "report.html"
    results = run(context, feedback, OUTPUT_HTML_FILE=str(page))
    wanted = "QGIS: 3|Python|GDAL|PROJ|rasterio|torch|Devices|Compiled kernel|Weights|Version"
    for words in wanted.split("|"):
        assert words in results["REPORT"], words
    assert "from CLOUD_REMOVAL_PYTHON" in results["REPORT"]
    assert results["PROBLEMS"] == 0
    assert results["OUTPUT_HTML_FILE"] == str(page)
    HTMLParser().feed(page.read_text(encoding="utf-8"))
    assert feedback.progress() == 100
    monkeypatch.setattr(installation, "worker_side", lambda cancelled: [])
    assert "OUTPUT_HTML_FILE" not in run(context, feedback)


def fake_python(folder: Path, script: str) -> str:
    """An 'interpreter' that is a shell script."""
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="uses a shell script as interpreter")
@pytest.mark.parametrize(
    ("script", "words"),
    [("exit 3", "exit status 3"), ("echo not json", "does not answer"), ("echo broken >&2; exit 1", "broken")],
)
def test_a_broken_interpreter_is_one_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", fake_python(tmp_path, script))
    items = installation.worker_side(lambda: False)
    assert report.problems(items) == 1
    assert words in report.as_text(items)
    assert "Options" in items[-1].cure


def test_a_missing_interpreter_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", str(tmp_path / "python3"))
    (item,) = installation.worker_side(lambda: False)
    assert item.state == BAD
    assert "does not exist" in item.cure


@pytest.mark.skipif(os.name == "nt", reason="uses a shell script as interpreter")
def test_cancel_ends_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", fake_python(tmp_path, "exec sleep 60"))
    items = installation.worker_side(lambda: True)
    assert [item.state for item in items] in ([], [GOOD])


def test_every_missing_package_comes_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("numpy", "rasterio", "torch", "s2cloudless", "lightgbm")
    packages = {name: {"error": "not installed"} for name in names}
    answer = {"python": "3.11", "platform": "here", "native": {}, "devices": [], "packages": packages}
    monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", sys.executable)
    monkeypatch.setattr(installation, "_ask", lambda path, cancelled: answer)
    items = {item.name: item for item in installation.worker_side(lambda: False)}
    assert items["rasterio"].state == items["numpy"].state == BAD
    assert items["torch"].state == items["s2cloudless"].state == HINT
    for name in answer["packages"]:
        assert f"-m pip install {name}" in items[name].cure


@pytest.mark.parametrize(
    ("kernel", "state", "words"),
    [
        ({"state": "compiled", "text": "in use (here.so)", "missing": ""}, GOOD, "in use"),
        ({"state": "buildable", "text": "", "missing": ""}, GOOD, "not built yet"),
        ({"state": "torch", "text": "not in use", "missing": "ninja was not found"}, HINT, "ninja was not found"),
        ({}, GOOD, "needs torch"),
    ],
)
def test_the_kernel_is_reported_as_it_is(kernel: dict[str, str], state: str, words: str) -> None:
    (item,) = installation._kernel("Worker", kernel)
    assert item.state == state
    assert words in item.found
    assert bool(item.cure) == (state == HINT)


def test_a_broken_proj_is_a_problem() -> None:
    (item,) = installation._native("Worker", {"gdal": "3.9", "proj": "9.4", "crs": "EPSG codes are lost"})
    assert item.state == BAD
    assert "PROJ" in item.cure


def test_pages_show_text_as_text() -> None:
    items = [Item("A", "b<c", "<script>", HINT, "do & go"), Item("A", "d", "e")]
    page = report.as_html("T", items)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "do &amp; go" in page
    text = report.as_text(items)
    assert text.splitlines()[0] == "A"
    assert "-> do & go" in text


def test_a_report_that_cannot_be_written_is_a_sentence(provider, context, feedback, tmp_path: Path) -> None:
    made = QgsApplication.processingRegistry().createAlgorithmById("cloudremoval:checkinstallation")
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match="cannot be written"):
        made._write(str(tmp_path / "file" / "report.html"), "page")


def test_a_numpy_without_blas_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 once got one, compiled by pip: it crashed the worker, and nothing said why."""
    import numpy as np

    from cloud_removal_plugin.algorithms import probe_worker

    for fault, problems in (("", 0), ("was compiled without a BLAS library", 1)):
        answer = {"python": "3.13", "platform": "here", "native": {}, "devices": [], "packages": {}, "algebra": fault}
        monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", sys.executable)
        monkeypatch.setattr(installation, "_ask", lambda path, cancelled, answer=answer: answer)
        items = installation.worker_side(lambda: False)
        assert report.problems(items) == problems
        assert ("--only-binary" in report.as_text(items)) == bool(problems)
    assert probe_worker.algebra() == ""
    nothing = {"Build Dependencies": {"blas": {"name": "none", "found": False}}}
    monkeypatch.setattr(np, "show_config", lambda mode: nothing)
    assert "BLAS" in probe_worker.algebra()
