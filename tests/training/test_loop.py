"""The loop: exact resume, whole checkpoints, cancel, accumulation, and what it refuses."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

pytest.importorskip("torch", reason="training needs PyTorch")

import torch

from cloud_removal_plugin.errors import Cancelled, InputError, OutputError
from cloud_removal_plugin.models.conversion import load as load_network
from cloud_removal_plugin.training import checkpoints
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer, train
from cloud_removal_plugin.weights.stored import read_header

ROOT = Path(__file__).resolve().parents[2]


def quiet(*_: object) -> None:
    """Takes reports and sentences of a log."""


def run(settings: dict, stop_after: int = 0) -> Trainer:
    """Trains; stops after some steps where asked to."""
    trainer = Trainer(from_dict(settings))
    if stop_after:
        with pytest.raises(Cancelled):
            trainer.run(quiet, lambda: trainer.progress.step >= stop_after, quiet)
    else:
        trainer.run(quiet, lambda: False, quiet)
    return trainer


def same_weights(one: Trainer, other: Trainer) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(one.network.state_dict().values(), other.network.state_dict().values())
    )


SERIES = {"input_dim": 4, "encoder_widths": [8, 8], "decoder_widths": [8, 8], "n_head": 2}


@pytest.mark.parametrize("kind", ["dsen2cr", "dropout", "gan"])
@pytest.mark.parametrize("stop", [1, 5])
def test_resumed_equals_unbroken(kind: str, stop: int, settings, tmp_path, cube_tree, series_tree, monkeypatch) -> None:
    changes: dict = {"steps": 6}
    if kind == "dropout":
        data = {"root": str(cube_tree), "max_length": 4, "validation": {"split": "iid_test_split"}}
        changes |= {"preset": "utilise", "network_config": SERIES, "crop": 0, "batch": 1, "data": data}
    if kind == "gan":
        monkeypatch.setattr("cloud_removal_plugin.datasets.sen12mscrts.cloud_of", lambda dn, _: dn[0] % 2)
        changes |= {"preset": "seq2point-gan", "network_config": {"resnet_F": 4, "resnet_B": 1}, "crop": 0, "batch": 1,
                    "data": {"root": str(series_tree), "split": "val"}, "options": {"ndf": 2, "unfreeze_iter": 3},
                    "validation_samples": 1}  # fmt: skip
        write_larger(series_tree)
    unbroken = run(settings(output=str(tmp_path / "whole"), **changes))
    run(settings(output=str(tmp_path / "parts"), **changes), stop_after=stop)
    resumed = run(settings(output=str(tmp_path / "parts"), resume=True, **changes))
    assert resumed.progress.step == unbroken.progress.step == 6
    assert same_weights(resumed, unbroken)
    losses = [[row["loss"] for row in t.progress.history if "loss" in row] for t in (unbroken, resumed)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) > 1


def write_larger(tree: Path) -> None:
    """A PatchGAN needs 24 pixels and more."""
    from tests.datasets.conftest import write_patch

    for path in tree.rglob("*.tif"):
        bands, dtype = (2, "float64") if path.name.startswith("s1") else (13, "uint16")
        write_patch(path, bands, hash(path.name) % 1000, dtype, 32)


def test_best_and_last_are_kept_and_the_weights_are_usable(settings, tmp_path: Path) -> None:
    trainer, outcome = train(from_dict(settings(steps=6, validate_every=2)), quiet, lambda: False, quiet)
    output = tmp_path / "run"
    assert sorted(p.name for p in output.iterdir()) == [
        "best.pt", "last.pt", "log.html", "tensorboard", "weights.safetensors"
    ]  # fmt: skip
    stored = read_header(outcome.weights, "dsen2cr")
    assert stored.config["feature_size"] == 8
    assert stored.facts["trained_with"] == "dsen2cr-carl"
    best = checkpoints.load(output / "best.pt")
    rows = {row["step"]: row["validation"] for row in trainer.progress.history if "validation" in row and row["step"]}
    assert min(rows, key=rows.get) == best["step"]
    assert float(stored.facts["held_out_validation"]) == pytest.approx(min(rows.values()), rel=1e-4)
    again = load_network(stored).state_dict()
    assert all(torch.equal(value, best["weights"][key]) for key, value in again.items())
    page = (output / "log.html").read_text()
    assert page.count("<polyline") == 3
    assert page.count("<tr class=best>") == 1
    assert page.count("<tr class=best><td>" + f"{best['step']:.5g}</td>") == 1
    assert "http" not in page


def test_best_is_chosen_on_held_out_samples(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training loss falls at every step; the held-out one rises again, and its lowest point is kept."""
    found = iter([3.0, 2.0, 1.0, 4.0, 5.0])
    monkeypatch.setattr(Trainer, "validate", lambda self: {"validation": next(found), "psnr": 20.0})
    said: list[str] = []
    values = from_dict(settings(steps=4, validate_every=1))
    _, outcome = train(values, quiet, lambda: False, lambda level, text: said.append(text))
    assert (outcome.best["step"], outcome.best["validation"]) == (2, 1.0)
    assert checkpoints.load(tmp_path / "run" / "best.pt")["step"] == 2
    facts = read_header(outcome.weights, "dsen2cr").facts
    assert (facts["held_out_step"], facts["held_out_psnr"], facts["held_out_samples"]) == ("2", "20", "2")
    assert facts["reader"] == "scenes"
    assert [text for text in said if "best so far" in text] == [
        f"Step {step}: held out validation {loss}, psnr 20, the best so far." for step, loss in ((1, 2), (2, 1))
    ]


def test_steps_that_are_left_out_are_counted(settings) -> None:
    said: list[tuple[str, str]] = []
    trainer = Trainer(from_dict(settings(preset="dsen2cr-l1", steps=4)))
    base = trainer.step.loss
    trainer.step.loss = lambda feed, output, batch: (
        base(feed, output, batch) * (float("nan") if trainer.progress.step in (1, 2) else 1)
    )
    trainer.run(quiet, lambda: False, lambda *what: said.append(what))
    assert ("warning", "2 steps gave no finite gradient and were left out; a lower lr may help.") in said


def test_a_fine_tuning_that_made_nothing_better_says_so(settings, tmp_path: Path, monkeypatch) -> None:
    _, outcome = train(from_dict(settings(steps=1)), quiet, lambda: False, quiet)
    found = iter([1.0, 3.0, 2.0])
    monkeypatch.setattr(Trainer, "validate", lambda self: {"validation": next(found)})
    said: list[tuple[str, str]] = []
    values = settings(weights=str(outcome.weights), output=str(tmp_path / "tuned"), steps=2, validate_every=1)
    _, tuned = train(from_dict(values), quiet, lambda: False, lambda *what: said.append(what))
    assert any(level == "warning" and "No step was better" in text for level, text in said)
    facts = read_header(tuned.weights, "dsen2cr").facts
    assert (facts["before_validation"], facts["held_out_validation"]) == ("1", "2")
    assert facts["tuned_from"] == "weights.safetensors"


def test_a_few_scenes_are_not_judged_at_every_step(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_removal_plugin.training.loop.LEAST_BETWEEN", 5)
    trainer = run(settings(steps=12, batch=8, network_config={"num_layers": 1, "feature_size": 2}))
    assert trainer.per_epoch == 1
    assert [row["step"] for row in trainer.progress.history if "validation" in row] == [0, 5, 10, 12]


def test_an_older_best_checkpoint_is_not_taken_for_this_runs(settings, tmp_path: Path, monkeypatch) -> None:
    train(from_dict(settings(steps=1)), quiet, lambda: False, quiet)
    monkeypatch.setattr(Trainer, "validate", lambda self: {"validation": float("nan")})
    trainer, outcome = train(from_dict(settings(steps=2, seed=5)), quiet, lambda: False, quiet)
    stored = load_network(read_header(outcome.weights, "dsen2cr")).state_dict()
    assert all(torch.equal(value, stored[key]) for key, value in trainer.network.state_dict().items())
    assert not (tmp_path / "run" / "best.pt").exists()
    old = checkpoints.load(tmp_path / "run" / "earlier-best.pt")["weights"]
    assert not all(torch.equal(value, stored[key]) for key, value in old.items())


def test_fine_tuning_starts_from_the_weights(settings, tmp_path: Path) -> None:
    _, outcome = train(from_dict(settings()), quiet, lambda: False, quiet)
    path = outcome.weights
    tuned = Trainer(from_dict(settings(weights=str(path), network_config={}, output=str(tmp_path / "tuned"))))
    assert all(
        torch.equal(v, tuned.network.state_dict()[k])
        for k, v in load_network(read_header(path, "dsen2cr")).state_dict().items()
    )
    with pytest.raises(InputError, match=r"belong to another feature_size \(8\)"):
        Trainer(from_dict(settings(weights=str(path), network_config={"feature_size": 16})))
    tuned.run(quiet, lambda: False, quiet)
    assert all(p.grad is not None for p in tuned.network.parameters())


def test_cancel_keeps_the_step(settings, tmp_path: Path) -> None:
    trainer = run(settings(steps=50), stop_after=3)
    state = checkpoints.load(tmp_path / "run" / "last.pt")
    assert state["step"] == 3
    assert all(torch.equal(v, state["weights"][k]) for k, v in trainer.network.state_dict().items())


def test_a_full_disk_leaves_the_last_checkpoint(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(settings(steps=2, checkpoint_every=1))
    before = (tmp_path / "run" / "last.pt").read_bytes()

    def full(state: dict, path: Path) -> None:
        Path(path).write_bytes(b"half a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        run(settings(steps=4, checkpoint_every=1, resume=True))
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))


def test_a_killed_process_can_be_resumed(settings, tmp_path: Path) -> None:
    import json

    values = settings(steps=1000, checkpoint_every=1, validate_every=1000)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values))
    process = subprocess.Popen(
        [sys.executable, "-m", "cloud_removal_plugin", "train", str(config)], cwd=ROOT, stderr=subprocess.PIPE
    )
    last = tmp_path / "run" / "last.pt"
    deadline = time.monotonic() + 60
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert last.exists(), process.stderr.read()
    step = checkpoints.load(last)["step"]
    resumed = run(values | {"steps": step + 2, "resume": True})
    unbroken = run(values | {"steps": step + 2, "output": str(tmp_path / "other")})
    assert same_weights(resumed, unbroken)


def test_accumulated_gradients_equal_a_larger_batch(settings, tmp_path: Path) -> None:
    # Adam would blow rounding up; plain descent shows the gradients themselves
    preset = {"preset": "dsen2cr-l1", "steps": 2}
    with pytest.MonkeyPatch.context() as patch:
        descent = "cloud_removal_plugin.training.loop.create_optimiser"
        patch.setattr(descent, lambda _, groups, lr, **options: torch.optim.SGD(groups, lr=lr))
        whole = run(settings(batch=4, output=str(tmp_path / "a"), **preset))
        parts = run(settings(batch=2, accumulate=2, output=str(tmp_path / "b"), **preset))
    for one, other in zip(whole.network.parameters(), parts.network.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_samples_do_not_depend_on_workers(settings, tmp_path: Path) -> None:
    alone = run(settings(steps=2, output=str(tmp_path / "a")))
    helped = run(settings(steps=2, workers=1, output=str(tmp_path / "b")))
    assert same_weights(alone, helped)


def test_precision_and_clipping(settings, tmp_path: Path) -> None:
    exact = run(settings(output=str(tmp_path / "a")))
    rough = run(settings(precision="bf16", output=str(tmp_path / "b")))
    assert not same_weights(exact, rough)
    for one, other in zip(exact.network.parameters(), rough.network.parameters()):
        torch.testing.assert_close(one, other, rtol=0, atol=0.01)
    with pytest.raises(InputError, match="CUDA only"):
        Trainer(from_dict(settings(precision="fp16")))
    clipped = run(settings(clip=1e-9, output=str(tmp_path / "c"), steps=1))
    total = sum(float(p.grad.norm() ** 2) for p in clipped.network.parameters()) ** 0.5
    assert total == pytest.approx(1e-9, rel=1e-2)


def test_it_learns(settings) -> None:
    trainer = run(settings(preset="dsen2cr-l1", steps=60, lr=3e-3, batch=4))
    rows = [row["validation"] for row in trainer.progress.history if "validation" in row]
    assert rows[-1] < 0.8 * rows[0]


def test_nan_in_targets(settings, scene_folder: Path) -> None:
    # regions are sorted; the first is held out
    path = scene_folder / "roi1_p1_s2_clear.tif"
    with rasterio.open(path, "r+") as file:
        planes = file.read()
        planes[:, 20:28, 20:28] = 0
        file.write(planes)
    with pytest.raises(InputError, match=r"roi1_p1_s2_clear.*without data"):
        run(settings(steps=8))
    said: list[str] = []
    trainer = Trainer(from_dict(settings(steps=8, on_nan="skip")))
    trainer.run(quiet, lambda: False, lambda level, text: said.append(text))
    assert trainer.progress.replaced
    assert any("were replaced" in text for text in said)
    assert all(np.isfinite(row["loss"]) for row in trainer.progress.history if "loss" in row)


def test_other_checkpoints_are_refused(settings, tmp_path: Path, truncated: Callable[[Path], None]) -> None:
    run(settings())
    last = tmp_path / "run" / "last.pt"
    for changes, text in (
        ({"preset": "glfcr", "network_config": {}, "crop": 32}, "belongs to dsen2cr, but glfcr"),
        ({"network_config": {"num_layers": 3, "feature_size": 8}}, "built differently .num_layers"),
        ({"seed": 5}, "other settings .seed"),
    ):
        with pytest.raises(InputError, match=text):
            Trainer(from_dict(settings(resume=True, **changes)))
    truncated(last)
    with pytest.raises(InputError, match="damaged"):
        Trainer(from_dict(settings(resume=True)))
    last.unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        Trainer(from_dict(settings(resume=True)))


@pytest.fixture
def truncated() -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:500])

    return cut


def test_another_number_of_processes_goes_on_and_says_so(settings, tmp_path: Path) -> None:
    run(settings(steps=1))
    last = tmp_path / "run" / "last.pt"
    state = checkpoints.load(last)
    state["settled"]["processes"] = 2
    checkpoints.save(last, state)
    said: list[str] = []
    trainer = Trainer(from_dict(settings(steps=2, resume=True)))
    trainer.run(quiet, lambda: False, lambda level, text: said.append(text))
    assert "made by 2 processes, 1 go on: equal up to rounding" in said[0]


def test_bad_data_are_refused(settings, tmp_path: Path, scene_folder: Path, triplet_tree: Path) -> None:
    (tmp_path / "empty").mkdir()
    base = settings()["data"]
    for data, text in (
        ({"root": str(tmp_path / "empty")}, "layout of none of the known data sets"),
        (
            {"root": str(scene_folder), "reader": "sen12mscr"},
            "another layout than SEN12MS-CR: none of its 9 data files",
        ),
        ({"root": str(scene_folder), "reader": "earthnet2021"}, "No cube of the split 'train'"),
        ({"root": str(scene_folder), "reader": "sen12mscrts", "on_problem": "skip"}, "No SEN12MS-CR-TS series"),
        ({"root": str(triplet_tree), "cloud_masks": "cloud_cloudshadow_mask"}, "split 'val'"),
        (base | {"held_out": ["roi0", "roi1", "roi2"]}, "No sample is left for the part 'train'"),
        (base | {"held_out": ["nowhere"]}, "region 'nowhere'"),
        (base | {"cloud": "real"}, "does not take|do not take"),
    ):
        with pytest.raises(InputError, match=text):
            Trainer(from_dict(settings(data=data)))
    with pytest.raises(InputError, match=r"crop of 64|window of 64"):
        run(settings(crop=64))
