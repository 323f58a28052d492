"""LPIPS with weights in a folder: its properties, and that it is left out, with a sentence, where there are none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.evaluation import lpips

torch = pytest.importorskip("torch", reason="LPIPS needs PyTorch")

SHAPES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder with weights of the right shapes, drawn at random."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("CLOUD_REMOVAL_WEIGHTS", str(folder))
    draw = torch.Generator().manual_seed(0)
    backbone, linear = {}, {}
    for place, (number, (out, into, size)) in enumerate(SHAPES.items()):
        backbone[f"features.{number}.weight"] = torch.randn((out, into, size, size), generator=draw) / size / into**0.5
        backbone[f"features.{number}.bias"] = torch.zeros(out)
        linear[f"lin{place}.model.1.weight"] = torch.rand((1, out, 1, 1), generator=draw)
    torch.save(backbone, folder / lpips.BACKBONE)
    torch.save(linear, folder / lpips.LINEAR)
    return folder


def test_distance_grows_with_the_difference(weights) -> None:
    network = lpips.load(weights)
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 0.5, (3, 64, 80)).astype(np.float32)
    noise = rng.normal(0, 1, truth.shape).astype(np.float32)
    found = [network.distance(truth + off * noise, truth) for off in (0, 0.01, 0.1)]
    assert found[0] == 0
    assert found[0] < found[1] < found[2]
    assert network.distance(truth, truth + 0.1 * noise) == pytest.approx(found[2], rel=1e-4)


def test_one_layer_by_hand(weights) -> None:
    """The first layer's share, written out."""
    network = lpips.load(weights)
    rng = np.random.default_rng(1)
    pair = rng.uniform(0, 1, (2, 3, 64, 64)).astype(np.float32)
    shift, scale = (np.array(part, np.float32)[:, None, None] for part in (lpips.SHIFT, lpips.SCALE))
    scaled = torch.from_numpy((2 * pair - 1 - shift) / scale)
    features = torch.nn.functional.conv2d(scaled, network.kernels[0], network.biases[0], stride=4, padding=2).relu()
    unit = features / features.norm(dim=1, keepdim=True)
    expected = float((network.linear[0][0] * (unit[0] - unit[1]) ** 2).sum(dim=0).mean())
    alone = lpips.Perception(network.kernels[:1], network.biases[:1], network.linear[:1])
    assert alone.distance(*pair) == pytest.approx(expected, rel=1e-4)


def test_only_whole_squares_count() -> None:
    truth = np.zeros((3, 300, 256), np.float32)
    assert len(list(lpips.tiles(truth, truth))) == 1
    truth[0, 5, 5] = np.nan
    assert not list(lpips.tiles(truth, truth))


def test_the_evaluation_has_it_where_the_weights_are(weights, reference, disc, write, judge, tmp_path) -> None:
    figures = tmp_path / "figures.json"
    wrong = write(np.where(disc, 0.3, reference), "wrong.tif")
    judge([write(reference, "same.tif"), wrong], write(reference, "reference.tif"), figures=figures)
    first, second = json.loads(figures.read_text())["layers"]
    assert first["lpips"] == 0
    assert second["lpips"] > 0.001


def test_it_is_left_out_with_a_sentence(weights, reference, write, judge, tmp_path) -> None:
    (weights / lpips.LINEAR).unlink()
    figures = tmp_path / "figures.json"
    judge(write(reference, "same.tif"), write(reference, "reference.tif"), figures=figures)
    found = json.loads(figures.read_text())
    assert found["lpips"] is None
    assert any("LPIPS was left out: lpips_alex.pth" in note for note in found["notes"])


def test_other_files_are_refused(weights) -> None:
    (weights / lpips.LINEAR).write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read as weights"):
        lpips.load(weights)
    torch.save({"a": torch.zeros(1)}, weights / lpips.LINEAR)
    with pytest.raises(InputError, match="lack the entry"):
        lpips.load(weights)
