"""The command line: a result as JSON, one sentence and a status for everything else."""

from __future__ import annotations

import json
import os
import sys

import pytest

from cloud_removal_plugin import __main__ as command_line
from cloud_removal_plugin.engine import run as engine
from cloud_removal_plugin.engine.interpreter import ALLOCATOR
from cloud_removal_plugin.engine.job import Job, Result
from cloud_removal_plugin.errors import Cancelled, GridError

JOB = Job("restore", "in.tif", "out.tif")


@pytest.fixture(params=["utf-8", "utf-8-sig"])
def job_file(tmp_path, request):
    """As editors save it, with and without a mark of its encoding."""
    path = tmp_path / "job.json"
    path.write_text(JOB.to_json(), encoding=request.param)
    return str(path)


def pretend(monkeypatch, outcome):
    """Let the engine's run end with ``outcome``."""

    def run(job, report, cancelled, log):
        assert job == JOB
        report(0.5, "Half")
        log("warning", "Look out.")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(engine, "run", run)


def test_result_on_standard_output(monkeypatch, capsys, job_file):
    pretend(monkeypatch, Result("out.tif", cloud_share=0.5))
    assert command_line.main(["run", job_file]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["cloud_share"] == 0.5
    assert "50.0 %  Half" in shown.err
    assert "warning: Look out." in shown.err


@pytest.mark.parametrize(
    ("outcome", "status", "sentence"),
    [
        (GridError("No overlap."), 1, "No overlap."),
        (Cancelled(), 130, "Cancelled"),
        (KeyboardInterrupt(), 130, "Cancelled"),
    ],
)
def test_other_ends(monkeypatch, capsys, job_file, outcome, status, sentence):
    pretend(monkeypatch, outcome)
    assert command_line.main(["run", job_file]) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert sentence in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(("text", "sentence"), [("{", "not valid JSON"), (None, "cannot be read")])
def test_bad_job_files(capsys, tmp_path, text, sentence):
    path = tmp_path / "job.json"
    if text is not None:
        path.write_text(text)
    assert command_line.main(["run", str(path)]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc reads these settings")
def test_run_starts_itself_again_once_with_the_workers_memory_settings(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    monkeypatch.setattr(sys, "argv", ["__main__.py", "run", "job.json"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "cloud_removal_plugin", "run", "job.json"])
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    command_line.with_allocator()
    ((path, arguments, environment),) = started
    assert path == arguments[0] == sys.executable
    assert arguments[1:] == ["-m", "cloud_removal_plugin", "run", "job.json"]
    assert environment == {**os.environ, **{k: v for k, v in ALLOCATOR.items() if k != "MALLOC_ARENA_MAX"}}
    monkeypatch.setattr(os, "environ", environment)
    command_line.with_allocator()
    monkeypatch.setattr(sys, "argv", ["__main__.py", "worker"])
    monkeypatch.setattr(os, "environ", {})
    command_line.with_allocator()
    assert len(started) == 1
