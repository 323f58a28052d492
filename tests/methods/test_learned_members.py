"""Several checkpoints of one network: imported one after the other, run as one, with the total variance."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.engine.job import Job  # noqa: E402
from cloud_removal_plugin.engine.run import run  # noqa: E402
from cloud_removal_plugin.errors import InputError  # noqa: E402
from cloud_removal_plugin.evaluation.calibration import total_variance  # noqa: E402
from cloud_removal_plugin.methods import learned_window, registry  # noqa: E402
from cloud_removal_plugin.methods.learned import _facts_of  # noqa: E402
from cloud_removal_plugin.methods.learned_members import Members, mixture  # noqa: E402
from cloud_removal_plugin.weights.folder import find, others  # noqa: E402
from tests.methods.networks import SMALL, scene  # noqa: E402

NAME = "uncrtaints"
SEED = (0, 0, 0)
DAY = date(2018, 7, 5)


def checkpoint(path: Path, seed: int, **changes: object) -> Path:
    """A trained network as PyTorch saves it."""
    torch.manual_seed(seed)
    network = models.create(NAME, **SMALL[NAME], **changes)
    torch.save({"state_dict": network.state_dict()}, path)
    return path


def imported(path: Path, folder: Path, add: bool = True, network: str = NAME) -> str:
    settings = '{"add": true}' if add else ""
    job = Job(kind="import", input=str(path), output="", method=network, weights=str(folder), settings=settings)
    return run(job, lambda *_: None, lambda: False, lambda *_: None).report


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints in one folder."""
    place = tmp_path_factory.mktemp("checkpoints")
    folder = tmp_path_factory.mktemp("weights")
    reports = [imported(checkpoint(place / f"{seed}.pth", seed), folder) for seed in (1, 2, 3)]
    assert "ensemble" not in reports[0]
    assert "ensemble of 3 sets of weights" in reports[2]
    return folder


def prepared(folder: Path, obs):
    made = registry.create(NAME, folder, 4096)
    made.prepare(replace(_facts_of(obs), target_date=DAY, shape=obs.shape[2:]))
    return made


def test_checkpoints_are_added_and_listed(weights: Path) -> None:
    first = find(NAME, weights)
    names = [first.path.name, *(one.path.name for one in others(NAME, weights, first))]
    assert names == ["uncrtaints.safetensors", "uncrtaints.member2.safetensors", "uncrtaints.member3.safetensors"]
    job = Job(kind="models", input="", output="", weights=str(weights))
    report = run(job, lambda *_: None, lambda: False, lambda *_: None).report
    assert f"there: {names[0]}, imported from 1.pth; {names[1]}, imported from 2.pth; {names[2]}" in report
    assert "imported from 3.pth; run as an ensemble" in report


def test_the_same_checkpoint_counts_once(weights: Path, tmp_path: Path) -> None:
    before = {path.name for path in weights.iterdir()}
    imported(checkpoint(tmp_path / "2.pth", 2), weights)
    assert {path.name for path in weights.iterdir()} == before


def test_without_add_the_first_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    for seed in (1, 2):
        imported(checkpoint(tmp_path / f"{seed}.pth", seed), folder, add=False)
    first = find(NAME, folder)
    assert first.source == "2.pth"
    assert others(NAME, folder, first) == []


def test_a_head_has_no_members(tmp_path: Path) -> None:
    torch.save(models.create("tuacr", base_width=4, num_rrdb=1).state_dict(), tmp_path / "tua_cr.pth")
    with pytest.raises(InputError, match="works with one set of weights"):
        imported(tmp_path / "tua_cr.pth", tmp_path / "weights", network="tuacr")
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("settings", ["{", "[1]", '{"add": 1}', '{"more": true}'])
def test_settings_that_nobody_knows_are_refused(settings: str, tmp_path: Path) -> None:
    job = Job(kind="import", input=str(checkpoint(tmp_path / "1.pth", 1)), output="", settings=settings)
    with pytest.raises(InputError, match="settings of an import"):
        run(job, lambda *_: None, lambda: False, lambda *_: None)


def test_mean_and_total_variance_over_a_scene(weights: Path, tmp_path: Path, monkeypatch) -> None:
    """The ensemble over a scene against each of its members alone."""
    obs = scene((96, 112), 3)
    gap = obs.gap()
    runner, _ = prepared(weights, obs).runner([obs], "cpu", None, None)
    assert isinstance(runner.network, Members)
    assert runner.wants.variance
    mean, deviation = runner.restore(obs, gap, None)
    alone = [replace(runner, network=part, config=its).restore(obs, gap, None) for part, its in runner.network.parts]
    means, variances = (np.stack([each[k][:, gap] for each in alone]) for k in (0, 1))
    wanted, _, epistemic, both = total_variance(means, variances**2)
    assert epistemic.mean() > 0
    np.testing.assert_allclose(mean[:, gap], wanted, atol=1e-5)
    np.testing.assert_allclose(deviation[:, gap], np.sqrt(both), rtol=1e-3)


def test_networks_without_a_variance_announce_their_spread() -> None:
    means = np.array([[[[0.1]]], [[[0.3]]]], np.float32)
    middle, deviation = mixture([(means[0], None), (means[1], None)])
    assert middle == pytest.approx(0.2)
    assert deviation == pytest.approx(0.1)


def test_members_that_need_other_layers_are_refused(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    imported(checkpoint(tmp_path / "1.pth", 1), folder)
    imported(checkpoint(tmp_path / "blind.pth", 2, input_dim=13), folder)
    with pytest.raises(InputError, match="cannot be members of one ensemble"):
        prepared(folder, scene((96, 96), 3))


@pytest.mark.parametrize("told", [0.1, 4.0])
def test_a_networks_own_variance_is_calibrated_on_the_scene(told: float, weights: Path, monkeypatch) -> None:
    """It announces its error in the right places, but far too small or too large; the interval holds all the same."""
    obs = scene((120, 130), 3)
    obs = replace(obs, optical=np.where(obs.cloud[:, None] > 0, obs.optical, np.float32(0.2)).astype(np.float32))
    rng = np.random.default_rng(4)
    error = np.where((np.indices((256, 256)) // 10).sum(axis=0) % 2, 0.005, 0.03)
    noise = error * rng.standard_normal((13, 256, 256))

    def noisy(network, record, config, frames, device):
        height, width = frames.optical.shape[-2:]
        mean = (0.2 + noise[:, :height, :width]).astype(np.float32)
        return mean, np.broadcast_to(told * error[:height, :width], mean.shape).astype(np.float32)

    monkeypatch.setattr(learned_window, "predict", noisy)
    found = prepared(weights, obs).fit([obs], seed=SEED).restore(obs)
    gap = obs.gap()
    inside = np.abs(found.reflectance - 0.2) < 1.645 * np.where(gap, found.sigma, 0)
    bad = (np.indices(gap.shape) // 10).sum(axis=0) % 2 == 0
    assert 0.86 < inside[:, gap].mean() < 0.94
    for part in (bad, ~bad):
        assert 0.8 < inside[:, gap & part].mean() < 0.97
    assert found.sigma[:, gap & bad].mean() > 3 * found.sigma[:, gap & ~bad].mean()
