"""A disk that is really full, and a process that is killed in the midst of writing: the checkpoint before stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

from cloud_removal_plugin.errors import OutputError
from cloud_removal_plugin.training import checkpoints
from cloud_removal_plugin.training.predictions import Prediction, write_images
from tests.training.test_loop import run, same_weights

ROOT = Path(__file__).resolve().parents[2]
FULL = """
import resource, sys
from cloud_removal_plugin.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
sys.exit(main(["train", sys.argv[1], "--resume"]))
"""
KILLED = """
import os, signal, sys, torch
from pathlib import Path
from cloud_removal_plugin.__main__ import main
def half(state, path):
    Path(path).write_bytes(b"half a checkpoint")
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
main(["train", sys.argv[1], "--resume"])
"""


@pytest.fixture
def begun(settings, tmp_path: Path) -> dict:
    """Settings of a training of six steps, of which two are done; the rest writes after every step."""
    values = settings(steps=2, checkpoint_every=1, validate_every=100)
    run(values)
    return values | {"steps": 6}


def again(values: dict, program: str, *arguments: str) -> subprocess.CompletedProcess:
    config = Path(values["output"]).parent / "config.json"
    config.write_text(json.dumps(values))
    command = [sys.executable, "-c", program, str(config), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_disk_that_is_full_in_the_midst_of_a_checkpoint(begun, tmp_path: Path) -> None:
    last = tmp_path / "run" / "last.pt"
    before = last.read_bytes()
    done = again(begun, FULL, str(len(before) // 2))
    assert done.returncode == 1, done.stderr
    assert "'last.pt' cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert last.read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
@pytest.mark.parametrize("limit", [0.0, 0.5, 0.97])
def test_a_disk_that_is_full_in_the_midst_of_a_prediction(limit: float, tmp_path: Path) -> None:
    """GDAL says nothing of blocks that it could not write as it closed a file."""
    import resource

    rng = np.random.default_rng(0)
    one = Prediction("one", *(rng.random((4, 64, 64), np.float32) for _ in range(3)), np.zeros((64, 64), bool),
                     ("blue", "green", "red", "nir"))  # fmt: skip
    write_images(one, tmp_path / "whole")
    size = (tmp_path / "whole" / "one_restored.tif").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit * size), before[1]))
    try:
        with pytest.raises(OutputError, match=r"one_restored.tif' cannot be written"):
            write_images(one, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list((tmp_path / "full").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_in_the_midst_of_a_checkpoint(begun, tmp_path: Path) -> None:
    output = tmp_path / "run"
    before = (output / "last.pt").read_bytes()
    done = again(begun, KILLED)
    assert done.returncode == -signal.SIGKILL
    assert (output / "last.pt").read_bytes() == before
    assert len(list(output.glob(".last.pt.*.part"))) == 1, "a killed process cannot clean up"
    resumed = run(begun | {"resume": True})
    unbroken = run(begun | {"output": str(tmp_path / "whole")})
    assert same_weights(resumed, unbroken)
    assert not list(output.glob(".*")), "the next one does"
    assert checkpoints.load(output / "last.pt")["step"] == 6
