"""Jobs in a worker process: replies, cancel, crashes, warm workers, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_removal_plugin.engine import interpreter, launch
from cloud_removal_plugin.engine.job import Job, Result
from cloud_removal_plugin.errors import Cancelled, DependencyError, GridError, InputError, WorkerError

ROOT = Path(__file__).resolve().parents[2]
FAKE = str(Path(__file__).with_name("fake_worker.py"))
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class Heard:
    """Collects what a run reports."""

    def __init__(self) -> None:
        self.progress: list[tuple[float, str]] = []
        self.lines: list[str] = []
        self.cancel = threading.Event()

    def report(self, fraction, phase):
        self.progress.append((fraction, phase))

    def log(self, level, text):
        self.lines.append(text)

    def run(self, job, **more):
        return launch.run_job(job, self.report, self.cancel.is_set, self.log, **more)

    @property
    def pid(self):
        return int(next(line for line in reversed(self.lines) if line.startswith("pid ")).split()[1])


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def job(tmp_path):
    return Job("restore", "in.tif", str(tmp_path / "out.tif"))


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Workers run the fake job with this test's Python, and end after the test."""
    idle = "300"
    monkeypatch.delenv("CLOUD_REMOVAL_RUN", raising=False)
    monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", sys.executable)
    monkeypatch.setattr(launch, "command", lambda python: [python, "-I", FAKE, str(ROOT), idle])
    yield
    launch.shutdown()


def gone(pid, within_s=5.0):
    """Whether a process has ended, in time; a zombie has."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def left(job):
    return os.listdir(os.path.dirname(job.output))


def test_result_progress_log_and_prints(heard, job, monkeypatch):
    monkeypatch.setenv("GDAL_DATA", "/nowhere")
    result = heard.run(job)
    assert result == Result(job.output, cloud_share=0.5, warnings=("Etwas ist über.",), method_used="auto")
    assert heard.progress == [(0.25, "Pretending"), (1.0, "Done")]
    assert "PyTorch" in heard.lines[0]
    assert heard.lines[1].endswith("with None"), "GDAL's variables must not reach the worker"
    assert str(ROOT) not in heard.lines[1], "the worker's folder is not the caller's"
    assert os.environ["GDAL_DATA"] == "/nowhere"
    assert left(job) == []


def test_second_run_finds_the_worker_warm_also_after_an_error(heard, job):
    heard.run(job)
    first = heard.pid
    with pytest.raises(GridError, match="schräg"):
        heard.run(replace(job, method="grid"))
    heard.run(job)
    assert heard.pid == first


def test_worker_survives_the_thread_that_asked_for_it(heard, job):
    thread = threading.Thread(target=heard.run, args=(job,))
    thread.start()
    thread.join()
    time.sleep(0.3)
    first = heard.pid
    heard.run(job)
    assert heard.pid == first


@pytest.mark.parametrize(
    ("method", "error", "sentence"),
    [
        ("bug", WorkerError, "KeyError"),
        ("memory", WorkerError, "out of memory"),
        pytest.param("killed", WorkerError, "ran out of memory", marks=posix),
        pytest.param("crash", WorkerError, r"crashed \(signal 6\).*about to crash", marks=posix),
        ("leave", WorkerError, "exit code 3"),
    ],
)
def test_failures_are_sentences_and_leave_nothing(heard, job, method, error, sentence):
    with pytest.raises(error, match=sentence):
        heard.run(replace(job, method=method))
    assert left(job) == []
    assert heard.run(job).method_used == "auto", "the next run works"


def test_trace_of_a_bug_goes_to_the_log(heard, job):
    with pytest.raises(WorkerError):
        heard.run(replace(job, method="bug"))
    assert any("fake_worker.py" in line for line in heard.lines)


@pytest.mark.parametrize("method", ["slow", "stuck"])
def test_cancel_answers_within_two_seconds_and_leaves_nothing(heard, job, method):
    heard.run(job)  # warm, so that the cancel comes in the middle of the job
    heard.progress.clear()
    thread = threading.Timer(0.5, heard.cancel.set)
    thread.start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        heard.run(replace(job, method=method))
    assert 0.4 < time.monotonic() - start < 2.5
    assert heard.progress, "the job had begun"
    assert left(job) == []
    heard.cancel.clear()
    assert heard.run(job).output == job.output


def test_cancel_while_the_worker_starts(heard, job):
    heard.cancel.set()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        heard.run(job)
    assert time.monotonic() - start < 2


@posix
def test_warm_worker_that_died_meanwhile_is_replaced(heard, job):
    heard.run(job)
    first = heard.pid
    os.kill(first, signal.SIGKILL)
    heard.run(job)
    assert heard.pid != first


def test_idle_worker_ends_by_itself(heard, job, monkeypatch):
    monkeypatch.setattr(launch, "command", lambda python: [python, "-I", FAKE, str(ROOT), "0.3"])
    heard.run(job)
    assert gone(heard.pid)
    heard.run(job)


def test_shutdown_ends_warm_workers(heard, job):
    heard.run(job)
    launch.shutdown()
    assert gone(heard.pid)


def test_second_job_waits_says_so_and_stays_cancellable(heard, job):
    ended = []

    def first():
        with pytest.raises(Cancelled):
            heard.run(replace(job, method="slow"))
        ended.append("cancelled")

    thread = threading.Thread(target=first)
    thread.start()
    while not heard.progress:
        time.sleep(0.02)
    second = Heard()
    threading.Timer(0.4, second.cancel.set).start()
    with pytest.raises(Cancelled):
        second.run(job)
    assert "Waiting" in second.progress[0][1]
    heard.cancel.set()
    thread.join()
    assert ended == ["cancelled"]
    second.cancel.clear()
    assert second.run(job).output == job.output


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_worker_outlives_a_killed_parent(job):
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from cloud_removal_plugin.engine import launch\n"
        "from cloud_removal_plugin.engine.job import Job\n"
        "launch.command = lambda python: [python, '-I', sys.argv[2], sys.argv[1], '300']\n"
        "job = Job('restore', 'in.tif', sys.argv[3], method='slow')\n"
        "launch.run_job(job, lambda f, p: None, lambda: False, lambda l, t: print(t, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(ROOT), FAKE, job.output], stdout=subprocess.PIPE, text=True
    ) as parent:
        line = next(line for line in parent.stdout if line.startswith("pid "))
        parent.kill()
    assert gone(int(line.split()[1]))
    assert left(job) == []


def test_interpreters_that_cannot_work(heard, job, monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "command", lambda python: [python, "-c", "raise SystemExit('no such luck')"])
    with pytest.raises(DependencyError, match=r"cannot run the worker.*no such luck"):
        heard.run(job)
    monkeypatch.setattr(
        launch, "command", lambda python: [
            python, "-c", "import json; print(json.dumps({'hello': {'missing': {'rasterio': 'x'}, 'torch': False}}))",
        ],
    )  # fmt: skip
    with pytest.raises(DependencyError, match="lacks rasterio"):
        heard.run(job)
    monkeypatch.setenv("CLOUD_REMOVAL_PYTHON", str(tmp_path / "python3"))
    with pytest.raises(DependencyError, match=r"does not exist.*CLOUD_REMOVAL_PYTHON"):
        heard.run(job)
    (tmp_path / "python3").write_text("not a program")
    with pytest.raises(DependencyError, match="cannot be started"):
        heard.run(job)
    (tmp_path / "qgis.bin").write_text("")
    monkeypatch.delenv("CLOUD_REMOVAL_PYTHON")
    with pytest.raises(DependencyError, match="not a Python interpreter"):
        heard.run(job, interpreter=str(tmp_path / "qgis.bin"))


def test_variable_wins_over_setting_and_own_python_comes_last(tmp_path):
    mine = tmp_path / "bin" / "python3"
    mine.parent.mkdir()
    mine.write_text("")
    assert interpreter.find("/elsewhere/python", {"CLOUD_REMOVAL_PYTHON": str(mine)}) == str(mine)
    assert interpreter.find(str(tmp_path), {}) == str(mine), "the folder of an environment will do"
    own = interpreter.find(None, {})
    assert Path(own).is_relative_to(sys.prefix)


def test_clean_environment():
    dirty = {
        "PATH": "/bin", "HOME": "/h", "PYTHONHOME": "x", "PYTHONPATH": "x", "PROJ_LIB": "x", "GDAL_DATA": "x",
        "QGIS_PREFIX_PATH": "x", "QT_QPA_PLATFORM": "x", "LD_LIBRARY_PATH": "x", "DYLD_LIBRARY_PATH": "x",
        "PIP_TARGET": "x", "OMP_NUM_THREADS": "8", "CUDA_VISIBLE_DEVICES": "1", "CLOUD_REMOVAL_X": "y",
    }  # fmt: skip
    clean = interpreter.clean_environment(dirty)
    assert "x" not in clean.values()
    assert {"PATH", "HOME", "CUDA_VISIBLE_DEVICES", "CLOUD_REMOVAL_X"} <= set(clean)
    assert clean["OMP_NUM_THREADS"] == "1"
    assert clean["OMP_WAIT_POLICY"] == "passive"
    assert dirty["PYTHONHOME"] == "x"


def test_in_process(heard, job, monkeypatch):
    monkeypatch.setenv("CLOUD_REMOVAL_RUN", "inprocess")
    with pytest.raises(InputError, match=r"in\.tif"):
        heard.run(job)
    before = dict(os.environ)  # some libraries write to it when they are imported first
    with pytest.raises(InputError):
        heard.run(job)
    assert dict(os.environ) == before


def test_relative_paths_are_those_of_the_caller(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.tif").write_text("")
    full = launch._absolute(replace(job, output="o.tif", other_dates=("in.tif", 'NETCDF:"x.nc":v')))
    assert full.output == str(tmp_path / "o.tif")
    assert full.input == str(tmp_path / "in.tif")
    assert full.other_dates == (str(tmp_path / "in.tif"), 'NETCDF:"x.nc":v')
    assert full.clouds == ""


def test_relative_files_inside_names_and_all_outputs(job, tmp_path, monkeypatch):
    """The worker stands in another folder: QGIS hands on ``/vsizip/a.zip`` of a file that was typed as ``a.zip``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.zip", "sub/b.tif.gz", "x.nc"):
        (tmp_path / name).write_text("")
    whole = f"/vsizip/{tmp_path}/sub/a.zip/b.tif"
    given = (
        "/vsizip/sub/a.zip/in/b.tif",
        "/vsigzip/sub/b.tif.gz",
        'NETCDF:"x.nc":v',
        "NETCDF:x.nc:v",
        whole,
        "/vsizip/no.zip",
    )
    full = launch._absolute(replace(job, other_dates=given, attention="a.tif", probability="p.tif"))
    here = str(tmp_path)
    assert full.other_dates == (
        f"/vsizip/{here}/sub/a.zip/in/b.tif",
        f"/vsigzip/{here}/sub/b.tif.gz",
        f'NETCDF:"{here}/x.nc":v',
        f"NETCDF:{here}/x.nc:v",
        whole,
        "/vsizip/no.zip",
    )
    assert all(os.path.isabs(path) for path in full.outputs)
