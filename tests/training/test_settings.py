"""Every setting of a training does what it says; one that could do nothing is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

import torch

from cloud_removal_plugin.__main__ import main
from cloud_removal_plugin.errors import Cancelled, InputError
from cloud_removal_plugin.training import checkpoints
from cloud_removal_plugin.training.config import TrainingConfig, from_dict
from cloud_removal_plugin.training.feeds import feed_of
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.training.perceptual import VGG16Encoder, perceptual
from cloud_removal_plugin.training.predicting import evaluate, figures_of, predict
from cloud_removal_plugin.training.predictions import Prediction
from cloud_removal_plugin.training.stepping import GeneratorStep, PlainStep
from cloud_removal_plugin.training.tasks import loss_of
from tests.training.conftest import TINY
from tests.training.team_runs import even_cover
from tests.training.test_loop import quiet, run, same_weights, write_larger

CHANGES: dict[str, Any] = {
    "lr": 2e-3, "seed": 9, "augment": False, "crop": 24, "batch": 1, "accumulate": 2, "clip": 1e-3,
    "precision": "bf16", "options": {"lambda_L1": 3.0}, "epochs": None, "steps": 3,
    "network_config": {**TINY, "num_layers": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "epochs"])
def test_a_setting_changes_the_weights(name: str, settings, tmp_path: Path) -> None:
    base = run(settings(steps=2, output=str(tmp_path / "base")))
    other = run(settings(**({"steps": 2} | {name: CHANGES[name]}), output=str(tmp_path / "other")))
    shapes = [[v.shape for v in t.network.state_dict().values()] for t in (base, other)]
    assert shapes[0] != shapes[1] or not same_weights(base, other)


def test_settings_that_change_no_weights(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(from_dict(settings(steps=0, epochs=3, batch=4)))
    assert (trainer.per_epoch, trainer.steps) == (2, 6)
    Trainer(from_dict(settings(threads=2)))
    assert torch.get_num_threads() == 2
    kept: list[int] = []
    save = checkpoints.save

    def noting(path: Path, state: dict) -> None:
        kept.extend([state["step"]] if path.name == "last.pt" else [])
        save(path, state)

    monkeypatch.setattr(checkpoints, "save", noting)
    trainer = run(settings(steps=5, checkpoint_every=2, validate_every=3, threads=1))
    assert kept == [2, 4, 5]
    assert [row["step"] for row in trainer.progress.history if "validation" in row] == [0, 3, 5]
    looked: list[int] = []
    monkeypatch.setattr(trainer.held_out.reader, "windows", 12)
    read = type(trainer.held_out).__getitem__
    monkeypatch.setattr(
        type(trainer.held_out), "__getitem__", lambda self, index: looked.append(index) or read(self, index)
    )
    trainer.validate()
    assert looked == [0, 6], "two of twelve, spread over all"


def test_every_setting_is_looked_at_here() -> None:
    covered = {*CHANGES, "threads", "checkpoint_every", "validate_every", "validation_samples"}
    elsewhere = {
        "preset", "output", "data", "weights", "resume", "on_nan", "workers",  # test_loop
        "device", "devices",  # test_team
        "sync_batchnorm",  # test_shared_norm
    }  # fmt: skip
    assert covered | elsewhere == set(TrainingConfig.__dataclass_fields__)


def test_perceptual_loss_is_the_same_on_every_scale(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = VGG16Encoder()
    torch.save({"model_state_dict": encoder.state_dict()}, tmp_path / "vgg.pth")
    options = {"lambda_L1": 0.0, "lambda_perceptual": 2.0, "vgg16": str(tmp_path / "vgg.pth")}
    image, truth = torch.rand(1, 13, 32, 32), torch.rand(1, 13, 32, 32)
    wanted = 2 * float(perceptual(encoder, 5 * image, 5 * truth).detach())
    for name, top in (("dsen2cr", 5.0), ("glfcr", 1.0), ("uncrtaints_mono", 10.0)):
        feed = feed_of(name, {})
        assert feed.scaling.top == top
        raw = (image * top)[:, None] if name == "uncrtaints_mono" else image * top  # one of several dates
        found = float(loss_of("l1", options, "cpu")(feed, raw, {"target": truth * top}))
        assert found == pytest.approx(wanted, rel=1e-4), name
    with pytest.raises(InputError, match="no perceptual_features 'deep'"):
        loss_of("l1", {**options, "perceptual_features": "deep"}, "cpu")
    with pytest.raises(InputError, match="13-band VGG16"):
        loss_of("l1", {**options, "vgg16": str(tmp_path / "none.pth")}, "cpu")


@pytest.fixture
def point(settings, series_tree, monkeypatch):
    """Settings of a small sequence to point."""
    monkeypatch.setattr("cloud_removal_plugin.datasets.sen12mscrts.cloud_of", even_cover)
    write_larger(series_tree)

    def make(preset: str = "seq2point-gan", **changes: Any) -> dict[str, Any]:
        base = {"preset": preset, "network_config": {"resnet_F": 4, "resnet_B": 1}, "crop": 0, "batch": 1, "steps": 1,
                "data": {"root": str(series_tree), "split": "val"}, "validation_samples": 1}  # fmt: skip
        return settings(**(base | changes))

    return make


def test_the_gan_and_its_options(point, tmp_path: Path) -> None:
    plain = Trainer(from_dict(point("seq2point")))
    assert isinstance(plain.step, PlainStep)
    losses = {}
    for name, options in (
        ("base", {}), ("weight", {"lambda_GAN": 50.0}), ("vanilla", {"gan_mode": "vanilla"}), ("width", {"ndf": 4}),
        ("wgangp", {"gan_mode": "wgangp"}), ("instance", {"norm": "instance"}), ("none", {"lambda_GAN": 0.0}),
    ):  # fmt: skip
        options = {"ndf": 2} | options
        trainer = run(point(options=options, output=str(tmp_path / name)))
        losses[name] = trainer.progress.history[1]["loss"]
        if name == "base":
            assert isinstance(trainer.step, GeneratorStep)
            fresh = Trainer(from_dict(point(options=options))).step.judge.state_dict()
            moved = trainer.step.judge.state_dict()
            assert any(not torch.equal(fresh[key], moved[key]) for key in fresh), "the discriminator learns, too"
    assert len(set(losses.values())) == len(losses)
    clipped = run(point(options={"ndf": 2}, clip=1e-9, output=str(tmp_path / "clip")))
    norm = sum(float(p.grad.norm() ** 2) for p in clipped.network.parameters() if p.grad is not None) ** 0.5
    assert norm == pytest.approx(1e-9, rel=1e-2)


def test_what_would_do_nothing_is_refused(point, settings) -> None:
    for values, text in (
        (settings(options={"lambda_GAN": 1.0}), "'dsen2cr-carl' has no option 'lambda_GAN'"),
        (settings(options={"lambda": 1.0}), "no option 'lambda'"),
        (settings(preset="utilise", options={"lambda_perceptual": 1.0}), "no option 'lambda_perceptual'"),
        (point(precision="bf16"), "trains as published"),
        (point(accumulate=2), "trains as published"),
        (settings(devices=-1), "'devices' is -1"),
    ):
        with pytest.raises(InputError, match=text):
            from_dict(values)
    with pytest.raises(InputError, match="norm is 'layer'"):
        Trainer(from_dict(point(options={"norm": "layer"})))
    from_dict(point("seq2point", precision="bf16", accumulate=2))


def some(shape: tuple[int, ...], bands: tuple[str, ...], variance: Any = None) -> Prediction:
    rng = np.random.default_rng(0)
    one, two = (rng.uniform(0, 0.5, shape).astype(np.float32) for _ in range(2))
    return Prediction("a", one, two, one, one[0] > 0.2, bands, variance=variance)


def test_each_network_is_measured_as_its_paper_does() -> None:
    from cloud_removal_plugin.bands import SENTINEL2_L1C

    image = some((13, 16, 16), SENTINEL2_L1C)
    series = some((3, 4, 16, 16), ("blue", "green", "red", "nir08"))
    assert set(figures_of(image, "tuacr")) == {"ssim", "psnr", "l1"}
    assert figures_of(image, "tuacr")["l1"] == pytest.approx(np.abs(image.estimate - image.truth)[1:4].mean(), rel=1e-5)
    assert "carl_error" in figures_of(image, "dsen2cr")
    assert {"psnr", "ssim", "mae"} == set(figures_of(image, "glfcr"))
    assert "SAM" in figures_of(image, "uncrtaints_mono")
    assert any("occluded" in name for name in figures_of(replace(series, hidden=series.truth[:, 0] > 0.3), "utilise"))


def test_variances_are_judged(point, tmp_path: Path) -> None:
    config = {"encoder_widths": [16], "decoder_widths": [16], "n_head": 4, "d_model": 16}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(point("uncrtaints-mgnll", network_config=config)))
    assert main(["train", str(path)]) == 0
    means = evaluate(from_dict(json.loads(path.read_text())), "", "validation", tmp_path / "figures", quiet)
    assert {"RMSE", "SSIM", "mean var", "UCE", "AUCE"} <= set(means)
    assert means["mean var"] > 0
    header = (tmp_path / "figures" / "figures.csv").read_text().splitlines()[0]
    assert header.endswith("UCE,AUCE")


def test_predictions_are_whole_unturned_and_each_has_its_file(settings, scene_folder: Path, tmp_path: Path) -> None:
    import rasterio

    values = settings(steps=1)
    run(values)
    path = tmp_path / "run" / "best.pt"
    trainer = Trainer(from_dict(values))
    trainer.network.load_state_dict(checkpoints.load(path)["weights"])
    checkpoints.write_weights(
        tmp_path / "w.safetensors", trainer.network, "dsen2cr", trainer.network_config, {}, "test"
    )
    said: list[float] = []
    config = from_dict(values)
    count = predict(
        config, str(tmp_path / "w.safetensors"), "train", tmp_path / "out", lambda share, _: said.append(share)
    )
    assert (count, said) == (2, [0.5, 1.0])
    assert len(list((tmp_path / "out").glob("*_restored.png"))) == 2
    for place in (tmp_path / "out").glob("*.tif"):
        source = scene_folder / f"{place.stem.removesuffix('_restored')}.tif"
        with rasterio.open(place) as found, rasterio.open(source) as wanted:
            assert (found.shape, found.transform, found.crs) == (wanted.shape, wanted.transform, wanted.crs)
    with pytest.raises(Cancelled):
        predict(config, str(tmp_path / "w.safetensors"), "train", tmp_path / "out", quiet, lambda: True)
