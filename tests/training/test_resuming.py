"""A resumed training with other settings: refused, or said; and what an earlier or broken-off one leaves behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

import torch

from cloud_removal_plugin.errors import Cancelled, InputError, OutputError
from cloud_removal_plugin.models.conversion import load as load_network
from cloud_removal_plugin.training import checkpoints
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer, train
from cloud_removal_plugin.training.predicting import weights_of
from cloud_removal_plugin.weights.stored import read_header
from tests.training.test_loop import quiet, run, same_weights


def notes(values: dict) -> str:
    trainer = Trainer(from_dict(values | {"resume": True}))
    return " ".join(trainer.notes)


def test_another_rate_is_taken_and_said(settings, tmp_path: Path) -> None:
    run(settings(steps=2))
    assert not notes(settings(steps=4)), "the same settings need no remark"
    said = notes(settings(steps=4, lr=2e-3))
    assert "lr 0.001, now 0.002" in said
    assert "will not equal an unbroken one" in said
    trainer = Trainer(from_dict(settings(steps=4, lr=2e-3, resume=True)))
    assert [group["lr"] for group in trainer.optimiser.param_groups] == [2e-3]
    assert trainer.schedule.get_last_lr() == [1e-3], "of the step before"
    trainer.schedule.step()
    assert trainer.schedule.get_last_lr() == [2e-3]


def test_another_rate_in_mid_schedule(settings, tmp_path: Path) -> None:
    """UnCRtainTS' rate falls by a fifth an epoch, and the new one begins where the old one stood."""
    small = {"encoder_widths": [16], "decoder_widths": [16], "n_head": 1, "d_model": 16}
    values = {"preset": "uncrtaints-l2", "crop": 0, "batch": 4, "network_config": small}
    first = run(settings(**values, steps=4))
    assert first.optimiser.param_groups[0]["lr"] == pytest.approx(1e-3 * 0.8**2)
    other = Trainer(from_dict(settings(**values, steps=6, lr=1e-2, resume=True)))
    assert other.optimiser.param_groups[0]["lr"] == pytest.approx(1e-2 * 0.8**2)


def test_what_else_may_change_is_said(settings) -> None:
    run(settings(steps=2))
    for changes, text in (
        ({"clip": 0.5}, "clip 0.0, now 0.5"),
        ({"crop": 24}, "crop 32, now 24"),
        ({"precision": "bf16"}, "precision fp32, now bf16"),
        ({"augment": False}, "augment True, now False"),
        ({"steps": 1}, "made 2 of 1 steps already; there is nothing to train"),
    ):
        assert text in notes(settings(**({"steps": 4} | changes)))


def test_another_recipe_or_loss_is_refused(settings) -> None:
    run(settings(steps=1))
    for changes, text in (
        ({"preset": "dsen2cr-l1"}, "other settings .preset"),
        ({"options": {"lambda_L1": 5.0}}, "other settings .options"),
    ):
        with pytest.raises(InputError, match=text):
            Trainer(from_dict(settings(steps=2, resume=True, **changes)))


def test_an_older_checkpoint_that_names_fewer_settings_goes_on(settings, tmp_path: Path) -> None:
    run(settings(steps=1))
    last = tmp_path / "run" / "last.pt"
    state = checkpoints.load(last)
    del state["settings"], state["form"]
    state["settled"] = {name: state["settled"][name] for name in ("seed", "batch", "accumulate")}
    checkpoints.save(last, state)
    resumed = run(settings(steps=3, resume=True))
    assert same_weights(resumed, run(settings(steps=3, output=str(tmp_path / "whole"))))


def test_a_file_of_our_form_without_a_state(settings, tmp_path: Path) -> None:
    last = tmp_path / "run" / "last.pt"
    last.parent.mkdir()
    torch.save({"form": checkpoints.FORM}, last)
    with pytest.raises(InputError, match="no checkpoint of this trainer"):
        Trainer(from_dict(settings(resume=True)))


def test_an_earlier_training_is_kept(settings, tmp_path: Path) -> None:
    train(from_dict(settings(steps=2)), quiet, lambda: False, quiet)
    output, said = tmp_path / "run", []
    before = (output / "last.pt").read_bytes()
    train(from_dict(settings(steps=1)), quiet, lambda: False, lambda *what: said.append(what))
    assert (output / "earlier-last.pt").read_bytes() == before
    assert checkpoints.load(output / "last.pt")["step"] == 1
    assert [level for level, text in said if "holds an earlier training" in text] == ["warning"]
    train(from_dict(settings(steps=3, resume=True)), quiet, lambda: False, quiet)
    assert (output / "earlier-last.pt").read_bytes() == before, "a resumed one replaces nothing"


def test_the_best_weights_of_a_broken_off_training_are_usable(settings, tmp_path: Path) -> None:
    values = from_dict(settings(steps=50, validate_every=2))
    trainer = Trainer(values)
    with pytest.raises(Cancelled):
        trainer.run(quiet, lambda: trainer.progress.step >= 5, quiet)
    best = checkpoints.load(tmp_path / "run" / "best.pt")
    stored = weights_of(values, "")
    assert stored.facts["held_out_step"] == str(best["step"])
    found = load_network(read_header(stored.path, "dsen2cr")).state_dict()
    assert all(torch.equal(value, best["weights"][key]) for key, value in found.items())


@pytest.mark.skipif(checkpoints.fcntl is None, reason="locks of files are POSIX")
def test_parts_that_somebody_writes_are_left_alone(tmp_path: Path) -> None:
    left, written, strange, image = (
        tmp_path / name
        for name in (".last.pt.abcdefgh.part", ".best.pt.abcdefgh.part", ".movie.mp4.part", ".a.tif.abcdefgh.part")
    )
    for path in (left, written, strange, image):
        path.touch()
    with written.open("rb") as file:
        checkpoints.fcntl.flock(file, checkpoints.fcntl.LOCK_EX)
        checkpoints.clear_parts(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted((written, strange, image))
    os.utime(image, (0, time.time() - 2 * checkpoints.HOUR_S))
    checkpoints.clear_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [strange], "what is not ours stays for ever"


@pytest.mark.skipif(checkpoints.fcntl is None, reason="locks of files are POSIX")
def test_a_part_is_locked_while_it_is_written(tmp_path: Path) -> None:
    there = []

    def write(part: Path) -> None:
        part.write_bytes(b"half")
        checkpoints.clear_parts(tmp_path)
        there.append(part.exists())
        part.write_bytes(b"whole")

    checkpoints.write_whole(tmp_path / "last.pt", write)
    assert there == [True]
    assert (tmp_path / "last.pt").read_bytes() == b"whole"


def test_broken_off_before_a_judgement_it_is_made_up_for(settings, tmp_path: Path) -> None:
    """The best step of a resumed training is that of an unbroken one, too, wherever it was stopped."""
    values = {"steps": 6, "validate_every": 2}
    whole = run(settings(**values, output=str(tmp_path / "whole")))
    run(settings(**values), stop_after=4)
    resumed = run(settings(**values, resume=True))
    rows = [[row for row in trainer.progress.history if "validation" in row] for trainer in (whole, resumed)]
    assert rows[0] == rows[1]
    assert [row["step"] for row in rows[1]] == [0, 2, 4, 6]


@pytest.mark.parametrize("step", [0, 2])
def test_cancel_is_answered_while_it_judges(step: int, settings, tmp_path: Path) -> None:
    said, reports = [], []
    trainer = Trainer(from_dict(settings(steps=4, validate_every=2)))

    def cancelled() -> bool:
        return trainer.progress.step == step and "judging held-out samples: 1 of 2" in reports[-1]

    with pytest.raises(Cancelled):
        trainer.run(lambda _, text: reports.append(text), cancelled, lambda *what: said.append(what[1]))
    assert f"Stopped after step {step}" in said[-1]
    last = tmp_path / "run" / "last.pt"
    assert last.exists() == bool(step)
    if step:
        resumed = run(settings(steps=4, validate_every=2, resume=True))
        assert same_weights(resumed, run(settings(steps=4, validate_every=2, output=str(tmp_path / "whole"))))


def test_files_that_are_left_out_are_counted(settings, triplet_tree: Path) -> None:
    next(iter(triplet_tree.glob("ROIs1158_spring_s1/s1_1/*_p2.tif"))).unlink()
    data = {"root": str(triplet_tree), "cloud_masks": None, "validation": {"split": "test"}}
    values = settings(data=data, crop=0, batch=1)
    with pytest.raises(InputError, match="1 missing"):
        Trainer(from_dict(values))
    trainer = Trainer(from_dict(values | {"data": data | {"on_problem": "skip"}}))
    assert len(trainer.samples) == 1
    assert trainer.notes == ["Of the files for training 1 are missing, truncated or extra; their samples are left out."]
    own = settings()["data"] | {"on_problem": "skip"}
    assert not Trainer(from_dict(settings(data=own))).notes, "own scenes have nothing to leave out"


@pytest.mark.skipif(checkpoints.fcntl is None, reason="locks of files are POSIX")
def test_two_trainings_in_one_folder(settings, tmp_path: Path) -> None:
    values = from_dict(settings(steps=1))
    train(values, quiet, lambda: False, quiet)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with checkpoints.alone_in(tmp_path / "run"), pytest.raises(InputError, match="Another process trains in"):
        train(values, quiet, lambda: False, quiet)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    train(values, quiet, lambda: False, quiet)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        train(from_dict(settings(output=str(tmp_path / "file" / "run"))), quiet, lambda: False, quiet)


def test_weights_of_a_network_without_a_record(tmp_path: Path) -> None:
    """The starter network has no entry among the published ones."""
    checkpoints.write_weights(tmp_path / "w.safetensors", torch.nn.Linear(2, 2), "starter", {"a": 1}, {}, "test")
    assert read_header(tmp_path / "w.safetensors", "starter").config == {"a": 1}
