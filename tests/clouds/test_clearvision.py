"""Clear Vision's mask network as a detector: frames, scaling, windows, resolution, missing weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloud_removal_plugin import models
from cloud_removal_plugin.clouds.morphology import dilate
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.models.conversion import convert
from cloud_removal_plugin.weights.folder import publish
from tests.clouds.test_detect import run

torch = pytest.importorskip("torch", reason="the network needs PyTorch")
pytest.importorskip("safetensors", reason="weights are stored as safetensors")

BANDS = ("red", "green", "blue", "nir")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(4)
    made = models.create("clearvision_mask", widths=(8, 16, 32, 64, 128)).eval()
    for part in made.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.weight.data = 1.3 * torch.nn.init.kaiming_normal_(part.weight.data)
    logits = _logits(made, _scaled(scene(96)))
    assert (logits[:, 1] - logits[:, 0]).std() > 0.1  # it looks at the image
    with torch.no_grad():  # half of the pixels cloud, so that a test can see a difference
        made.outc.conv.bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return made


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(network.state_dict(), folder / "mF1_test.pth")
    made = convert(str(folder / "mF1_test.pth"), "clearvision_mask")
    publish(made.record.name, folder, made.write)
    return str(folder)


def scene(size: int, seed: int = 0) -> np.ndarray:
    """Reflectance (4, H, W) with bright blobs."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size] / 24
    cloud = np.clip(np.sin(rows) * np.cos(1.3 * cols), 0, 1)
    return (0.08 + 0.7 * cloud + rng.normal(0, 0.01, (4, size, size))).astype(np.float32)


def _scaled(optical: np.ndarray) -> np.ndarray:
    clipped = np.clip(optical, 0, 1)
    return clipped / (clipped[:3].max() - clipped[:3].min())


def _logits(made, optical: np.ndarray):
    bgr = optical[[2, 1, 0]]
    padded = np.pad(bgr, ((0, 0), (16, 16), (16, 16)), mode="symmetric")
    with torch.inference_mode():
        return made(torch.from_numpy(padded[None].astype(np.float32)))[1]


def test_one_frame_is_the_network(network, weights) -> None:
    """96 pixels of 20 m are the middle of one frame; beyond the border the image is mirrored."""
    optical = scene(96)
    classes, probability, notes = run(optical[None], BANDS, "", method="clearvision", pixel_m=20.0, weights=weights)
    logits = _logits(network, _scaled(optical))
    wanted = torch.softmax(logits, 1)[0, 1, 16:-16, 16:-16].numpy()
    np.testing.assert_allclose(probability[0], wanted, atol=1e-4)
    sure = np.abs(wanted - 0.5) > 1e-3
    cloud = logits.argmax(1)[0, 16:-16, 16:-16].numpy() == 1
    np.testing.assert_array_equal((classes[0] == 1)[sure], cloud[sure])
    assert 0 < (classes == 1).mean() < 1
    assert "no shadows" in notes[0]


@pytest.mark.parametrize(("pixel_m", "dilation"), [(10.0, 5), (20.0, 0)])
def test_windows_do_not_show(weights, pixel_m, dilation) -> None:
    optical = scene(400 if pixel_m == 10 else 210)
    optical[:, 20:30, 50:60] = np.nan
    options = {"method": "clearvision", "pixel_m": pixel_m, "weights": weights, "dilate": dilation}
    whole, probability, _ = run(optical[None], BANDS, "", core=1024, **options)
    parts, _, _ = run(optical[None], BANDS, "", core=100, **options)
    np.testing.assert_array_equal(parts, whole)
    assert (whole[0, 20:30, 50:60] == 255).all()
    if dilation:
        plain, _, _ = run(optical[None], BANDS, "", core=1024, **{**options, "dilate": 0})
        grown = dilate(np.nan_to_num(probability[0]) > 0.5, dilation)
        seen = whole[0] != 255
        assert (whole[0][seen] == 1).sum() > (plain[0][seen] == 1).sum()
        assert (grown & seen & (whole[0] != 1)).sum() == 0


def test_missing_weights_and_bands_are_sentences(weights, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights of Clear Vision.*mF1_.*Import weights"):
        run(scene(40)[None], BANDS, "", method="clearvision", weights=str(tmp_path))
    with pytest.raises(InputError, match="a red, a green and a blue band"):
        run(scene(40)[None], ("nir", "swir16", "swir22", "nir08"), "", method="clearvision", weights=weights)
