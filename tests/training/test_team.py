"""Several processes that share a training: they equal one alone, resume exactly, stop together, and one writes."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

pytest.importorskip("torch", reason="training needs PyTorch")

import torch

from cloud_removal_plugin.__main__ import main
from cloud_removal_plugin.errors import Cancelled, InputError, OutputError, WorkerError
from cloud_removal_plugin.training import checkpoints, launching, losses
from cloud_removal_plugin.training.batches import Batches
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.team import Team
from cloud_removal_plugin.weights.stored import read_header
from tests.training import team_runs

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this PyTorch has no gloo, so processes cannot train together", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
SERIES = {
    "input_dim": 4, "encoder_widths": [8, 8], "decoder_widths": [8, 8], "n_head": 2, "dropout": 0.0,
    "attn_dropout": 0.0,
}  # fmt: skip


@pytest.fixture
def plans(settings, cube_tree, series_tree, tmp_path) -> Callable[[int], list[team_runs.Plan]]:
    """Trainings whose every loss goes another way through a step: plain and accumulated, series, two optimisers."""
    from tests.training.test_loop import write_larger

    write_larger(series_tree)
    image = {"preset": "dsen2cr-l1", "batch": 2, "accumulate": 2, "steps": 4, "clip": 0.05, "validate_every": 2}
    shorten(sorted(cube_tree.glob("train/*/*.npz"))[1])
    cubes = {"root": str(cube_tree), "frames": "none", "min_length": 1, "max_length": 4,
             "validation": {"split": "iid_test_split"}}  # fmt: skip
    series = {"preset": "utilise", "network_config": SERIES, "crop": 0, "batch": 2, "steps": 3, "data": cubes}
    gan = {
        "preset": "seq2point-gan", "network_config": {"resnet_F": 4, "resnet_B": 1}, "crop": 0, "batch": 2, "steps": 4,
        "data": {"root": str(series_tree), "split": "val"}, "validation_samples": 1,
        "options": {"ndf": 2, "unfreeze_iter": 2, "norm": "instance"},
    }  # fmt: skip

    # every network whose batch norm sees the whole batch: a U-Net on images, and the judge of a GAN
    norms = {
        "preset": "clearvision-mask", "network_config": {"widths": [4, 8, 16, 32, 64]}, "batch": 4, "steps": 2,
        "accumulate": 2, "sync_batchnorm": True,
    }  # fmt: skip
    judge = gan | {"options": {"ndf": 2}, "sync_batchnorm": True}

    def make(count: int) -> list[team_runs.Plan]:
        def plan(name: str, changes: dict[str, Any], stop: int = 0, folder: str = "", **more: Any) -> team_runs.Plan:
            output = str(tmp_path / f"{folder or name}_{count}")
            return name, settings(output=output, **changes, **more), stop

        whole = [
            plan("image", image), plan("series", series), plan("gan", gan), plan("norms", norms), plan("judge", judge),
        ]  # fmt: skip
        if count == 1:
            return whole
        whole.append(plan("apart", norms | {"sync_batchnorm": False}))
        parts = [plan("image_half", image, 2, "image_parts"), plan("gan_half", gan, 1, "gan_parts"),
                 plan("norms_half", norms, 1, "norms_parts")]  # fmt: skip
        rest = [
            plan("image_rest", image, 0, "image_parts", resume=True),
            plan("gan_rest", gan, 0, "gan_parts", resume=True),
            plan("norms_rest", norms, 0, "norms_parts", resume=True),
        ]  # fmt: skip
        return whole + parts + rest

    return make


def shorten(path: Path) -> None:
    """Two dates are left of a cube, so that two processes see unequal numbers of frames."""
    with np.load(path) as arrays:
        stack, static = arrays["highresdynamic"], arrays["highresstatic"]
    np.savez(path, highresdynamic=stack[..., :2], highresstatic=static)


def together(count: int, plans: list[team_runs.Plan], folder: Path) -> None:
    """Runs the plans in so many processes."""
    context = multiprocessing.get_context("spawn")
    meeting = (folder / "meeting").as_uri()
    processes = [
        context.Process(target=team_runs.work, args=(rank, count, meeting, plans, str(folder))) for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * count


def test_two_processes_equal_one_and_resume_exactly(plans, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("cloud_removal_plugin.datasets.sen12mscrts.cloud_of", team_runs.even_cover)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    for plan in plans(1):
        team_runs.trained(plan, Team(), tmp_path)
    together(2, plans(2), tmp_path)

    def result(name: str, count: int = 2, rank: int = 0) -> dict[str, Any]:
        return torch.load(tmp_path / f"{name}_{count}_{rank}.pt", weights_only=True)

    for name in ("image", "series", "gan", "norms", "judge"):
        alone, shared = result(name, 1), result(name)
        assert len(alone["history"]) == len(shared["history"])
        for one, two in zip(alone["history"], shared["history"], strict=True):
            assert two == pytest.approx(one, rel=2e-4), name
        for key, value in alone["weights"].items():
            assert torch.equal(result(name, rank=1)["weights"][key], shared["weights"][key]), (name, key)
            # a bias that a norm takes away again has no gradient but rounding, which Adam makes a step of
            if name == "norms":
                continue
            torch.testing.assert_close(shared["weights"][key], value, rtol=1e-3, atol=2e-4, msg=f"{name}: {key}")
    losses_of = {name: [row["loss"] for row in result(name)["history"] if "loss" in row] for name in ("norms", "apart")}
    assert losses_of["apart"] != pytest.approx(losses_of["norms"], rel=1e-3), "each process normed its own share"
    for name in ("image", "gan", "norms"):
        # the second process alone asked for the stop; the first, too, ended after that step
        assert all(result(f"{name}_half", rank=rank)["stopped"] for rank in (0, 1))
        assert checkpoints.load(tmp_path / f"{name}_parts_2" / "last.pt")["settled"]["processes"] == 2
        whole, rest = result(name), result(f"{name}_rest")
        assert all(torch.equal(value, rest["weights"][key]) for key, value in whole["weights"].items()), name
        assert [row for row in whole["history"] if "loss" in row] == [row for row in rest["history"] if "loss" in row]


def test_a_step_sees_the_same_samples_whatever_the_team() -> None:
    batches = Batches(seed=3, samples=26, batch=4, accumulate=2)
    alone = list(batches.keys(0, 7, Team()))
    shares = [list(batches.keys(0, 7, Team(rank, 2))) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert sorted(whole) == sorted(parts[0] + parts[1])
        assert len(parts[0]) == len(parts[1])
    assert {epoch for keys in alone for epoch, _ in keys} == {0, 1, 2}
    with pytest.raises(InputError, match="cannot be shared evenly by 3"):
        batches.check_shares(Team(0, 3))
    with pytest.raises(InputError, match="A batch of 1 samples"):
        Batches(3, 26, 1, 1).check_shares(Team(0, 2))


def test_the_shares_of_mgnll_average_to_the_whole_batch() -> None:
    torch.manual_seed(0)
    mean, truth = torch.rand(4, 1, 3, 5, 5), torch.rand(4, 1, 3, 5, 5)

    def gradient(part: slice, processes: int) -> torch.Tensor:
        scale = torch.tensor(0.7, requires_grad=True)
        losses.multivariate_nll(mean[part], truth[part], scale * mean[part] + 0.1, processes=processes).backward()
        return scale.grad

    shares = [gradient(part, 2) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(sum(shares) / 2, gradient(slice(None), 1), rtol=1e-5, atol=1e-6)


def test_devices_in_the_settings_start_processes(settings, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(settings(devices=2, steps=2)))
    assert main(["train", str(config)]) == 0
    said = capfd.readouterr()
    assert said.out.startswith("Weights: "), "standard output is the result's alone"
    assert "2 x cpu" in said.err
    assert said.err.count("Step 2: held out") == 1, "the leader alone reports"
    output = tmp_path / "run"
    assert sorted(p.name for p in output.iterdir()) == [
        "best.pt", "last.pt", "log.html", "tensorboard", "weights.safetensors"
    ]  # fmt: skip
    assert len(list((output / "tensorboard").iterdir())) == 1
    assert read_header(output / "weights.safetensors", "dsen2cr").facts["steps"] == "2"


def test_what_several_processes_say_of_a_failure(settings) -> None:
    crew = launching._Crew(from_dict(settings()), 2)
    for kind, failed in (("Cancelled", False), ("InputError", True)):
        crew._failures = [(1, kind, "")]
        assert crew._has_failed() is failed, "a cancel leaves the leader time for its checkpoint"
    for said, error, text in (
        ([(0, "RuntimeError", "connection closed"), (1, "OutputError", "the disk is full")], OutputError, "disk"),
        ([(1, "InputError", "second"), (0, "InputError", "first")], InputError, "first"),
        ([(1, "Cancelled", ""), (0, "Cancelled", "")], Cancelled, "^$"),
        ([(0, "RuntimeError", "connection closed")], WorkerError, "RuntimeError: connection closed"),
        ([], WorkerError, "without a word"),
    ):
        crew._failures = said
        with pytest.raises(error, match=text):
            crew._verdict()


def test_one_process_fails_and_the_others_end(settings, scene_folder: Path, tmp_path: Path) -> None:
    with rasterio.open(scene_folder / "roi1_p1_s2_clear.tif", "r+") as file:
        planes = file.read()
        planes[:, 20:28, 20:28] = 0
        file.write(planes)
    values = settings(devices=2, steps=10_000, checkpoint_every=10_000, validate_every=10_000)
    started = time.monotonic()
    with pytest.raises(InputError, match=r"roi1_p1_s2_clear.*without data"):
        launching.start(from_dict(values), team_runs.quiet, lambda: False, team_runs.quiet)
    assert time.monotonic() - started < 60
    assert not list((tmp_path / "run").glob(".*"))


def test_torchrun_and_ctrl_c(settings, tmp_path: Path) -> None:
    config, output = tmp_path / "config.json", tmp_path / "run"
    config.write_text(json.dumps(settings(steps=100_000, checkpoint_every=100_000, validate_every=100_000)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "cloud_removal_plugin", "train", str(config)]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 90
    seen = ""
    while "step 5 of" not in seen and time.monotonic() < deadline and process.poll() is None:
        seen += process.stderr.read(200)
    process.send_signal(signal.SIGINT)
    seen += process.communicate(timeout=60)[1]
    state = checkpoints.load(output / "last.pt")
    assert state["settled"]["processes"] == 2, seen
    assert 5 <= state["step"] < 100_000
    assert f"Stopped after step {state['step']}" in seen
    assert not list(output.glob(".*"))
