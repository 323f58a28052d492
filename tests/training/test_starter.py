"""The starter network and its recipe."""

from __future__ import annotations

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
def pairs(tmp_path: Path):
    folder = tmp_path / "large"
    for number in range(5):
        write_patch(folder / f"roi{number}_p1_s2_clear.tif", 13, number, edge=128)
        write_patch(folder / f"roi{number}_p1_s2_cloudy.tif", 13, 10 + number, edge=128)
        write_patch(folder / f"roi{number}_p1_s1.tif", 2, 20 + number, "float32", 128)
    return scenes_of_folder(folder)


def test_size_and_what_is_not_there_changes_nothing() -> None:
    torch.manual_seed(0)
    network = Starter().eval()
    assert 300_000 <= sum(p.numel() for p in network.parameters()) <= 600_000
    optical, radar = torch.rand(1, 13, 48, 32), -20 * torch.rand(1, 2, 48, 32)
    present = torch.tensor([[float(name in starter.SUBSETS[1]) for name in SENTINEL2_L1C]])
    with torch.no_grad():
        one = network(optical, present, radar, torch.zeros(1))
        there = present.bool()[0]
        assert one.shape == (1, 13, 48, 32)
        optical[:, ~there] = 7.0
        radar = radar + 9
        torch.testing.assert_close(network(optical, present, radar, torch.zeros(1))[:, there], one[:, there])
        assert not torch.allclose(network(optical, present, radar, torch.ones(1)), one)


def test_the_recipe_is_seeded_and_leaves_whole_regions_out(pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = starter.folds(pairs, 2)
    assert parts[0] & parts[1] == set()
    assert parts[0] | parts[1] == {scene.group for scene in pairs}
    monkeypatch.setattr(starter, "CROP", 32)
    one, other = (starter.fit(pairs, [], 2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))
    examples = starter.whole_examples(pairs[:2])
    restored = [starter.restore(one, example) for example in examples]
    found = starter.measure(restored, [example.target for example in examples])
    errors = np.stack([a - e.target for a, e in zip(restored, examples)])
    assert found.mae == pytest.approx(float(np.abs(errors).mean()), rel=1e-4)
    few = starter.restore(one, examples[0], starter.SUBSETS[3], radar=False)
    assert np.isfinite(few).all()
    assert not np.array_equal(few, restored[0])
