"""The starter network's trained form and its recipe."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

import torch

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.datasets.scenes import scenes_of_folder
from cloud_removal_plugin.models.starter import Starter
from cloud_removal_plugin.training import starter
from tests.datasets.conftest import write_patch


@pytest.fixture
def pairs(tmp_path: Path) -> list[starter.Place]:
    folder = tmp_path / "large"
    for number in range(3):
        write_patch(folder / f"roi{number}_p1_s2_clear.tif", 13, number, edge=128)
        write_patch(folder / f"roi{number}_p1_s2_cloudy.tif", 13, 10 + number, edge=128)
        write_patch(folder / f"roi{number}_p1_s1.tif", 2, 20 + number, "float32", 128)
    return starter.places(scenes_of_folder(folder))


def test_what_is_not_there_changes_nothing() -> None:
    torch.manual_seed(0)
    network = Starter().eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    optical, radar, hidden = torch.rand(1, 13, 64, 64), -20 * torch.rand(1, 2, 64, 64), torch.rand(1, 64, 64)
    present = torch.tensor([[float(name in starter.SUBSETS[1]) for name in SENTINEL2_L1C]])
    no = torch.zeros(1)
    with torch.no_grad():
        one = network(optical, present, radar, no, hidden, no)
        there = present.bool()[0]
        assert one.shape == (1, 13, 64, 64)
        optical[:, ~there] = 7.0
        again = network(optical, present, radar + 9, no, 1 - hidden, no)
        torch.testing.assert_close(again[:, there], one[:, there])
        assert not torch.allclose(network(optical, present, radar, no + 1, hidden, no), one)
        assert not torch.allclose(network(optical, present, radar, no, hidden.round(), no + 1), one)


def test_untrained_it_keeps_what_is_clear_and_fills_the_rest() -> None:
    network = Starter().train()  # what is kept of a deviation is cut only after the training
    truth = network.mean[None, :, None, None] + 0.05 * torch.ones(1, 13, 64, 64)
    optical, hidden = truth.clone(), torch.zeros(1, 64, 64)
    optical[..., 20:40, 20:40] = 0.9
    hidden[..., 18:42, 18:42] = 1
    with torch.no_grad():
        found = network(optical, torch.ones(1, 13), torch.zeros(1, 2, 64, 64), torch.zeros(1), hidden, torch.ones(1))
    error, before = (image - truth for image in (found, optical))
    assert error.abs()[..., :12, :].mean() < 0.02
    assert error.abs()[..., 25:35, 25:35].mean() < 0.5 * before[..., 25:35, 25:35].mean()


def test_a_step_lowers_the_loss_it_is_made_of() -> None:
    truth, present = torch.full((2, 13, 64, 64), 0.2), torch.ones(2, 13)
    off = [starter.loss_of(truth + error, truth, present) for error in (0.0, 0.01, 0.1)]
    assert off[0] < off[1] < off[2]
    wrong = truth.clone()
    wrong[:, 5] = 3.0
    present[:, 5] = 0
    assert abs(starter.loss_of(wrong, truth, present) - off[0]) < 0.01, "a band that is not there counts"


def test_the_recipe_is_seeded_and_learns(pairs: list[starter.Place]) -> None:
    one, other = (starter.fit(pairs, pairs[:1], pairs[1:], 2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
    fresh = starter.start(pairs, pairs[:1]).state_dict()
    assert not torch.equal(one.state_dict()["third.weight"], fresh["third.weight"])


def test_regions_stay_together(pairs: list[starter.Place]) -> None:
    parts = starter.folds(pairs, 2)
    assert parts[0] & parts[1] == set()
    assert parts[0] | parts[1] == {place.region for place in pairs}
    assert all(region.startswith("roi") for region in parts[0])


def test_figures() -> None:
    found = starter.measure([np.full((2, 4, 4), 0.1), np.full((2, 4, 4), 0.2)], [np.zeros((2, 4, 4))] * 2)
    assert found.mae == pytest.approx(0.15)
    assert found.psnr == pytest.approx((20 - 20 * np.log10(0.2)) / 2)


@pytest.mark.skipif(importlib.util.find_spec("tools") is None, reason="not a checkout")
def test_weights_ship_only_where_every_promise_is_kept() -> None:
    from tools.train_starter import PLAIN, verdict

    plain = (*PLAIN, "gap_mean_fill", "gap_centre_fill", "gap_inpainting", "real_alone", "simulated_alone")
    mine = ("starter", "gap_starter", "real_alone_with_starter", "simulated_alone_with_starter")
    figures = {name: {"psnr": 20.0, "mae": 0.05, "images": 10} for name in (*plain, *mine)}
    assert "starter is not better than input" in verdict(figures)
    for name in mine:
        figures[name] = {"psnr": 21.0, "mae": 0.04, "images": 10}
    assert verdict(figures) == ""
    figures["simulated_alone_with_starter"]["mae"] = 0.07
    assert verdict(figures) == "alone_with_starter is not better than alone", "0.055 in the mean of both"
    figures["simulated_alone_with_starter"] |= {"mae": 0.04, "psnr": 18.5}
    assert verdict(figures) == "alone_with_starter is not better than alone", "19.75 dB in the mean of both"


@pytest.mark.skipif(importlib.util.find_spec("tools") is None, reason="not a checkout")
def test_snow_moves_the_mean_and_hardly_the_centre() -> None:
    from tools.train_starter import centre_of

    rng = np.random.default_rng(0)
    levels = [*rng.uniform(0.1, 0.2, 9), 0.9]
    images = [(level + 0.02 * rng.standard_normal((13, 32, 32))).astype(np.float32) for level in levels]
    pairs = [starter.Place(str(n), "", SENTINEL2_L1C, image, image, None, None) for n, image in enumerate(images)]
    mean, centre = np.mean([image.mean((1, 2)) for image in images], axis=0), centre_of(pairs)
    np.testing.assert_allclose(centre, np.mean(levels[:9]), atol=0.02)
    tried = {"centre": centre, "mean": mean, "brighter": centre + 0.01, "darker": centre - 0.01}
    found = {
        name: starter.measure([np.broadcast_to(value[:, None, None], image.shape) for image in images], images).psnr
        for name, value in tried.items()
    }
    assert max(found, key=found.get) == "centre"
