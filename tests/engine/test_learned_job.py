"""A published network as METHOD of a whole job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")
rasterio = pytest.importorskip("rasterio")

from cloud_removal_plugin.engine.job import Job  # noqa: E402
from cloud_removal_plugin.errors import InputError  # noqa: E402
from tests.methods.networks import land, store  # noqa: E402

SHAPE = (150, 170)


@pytest.fixture
def scene(write_image, tmp_path: Path) -> dict[str, str]:
    """A 13-band Sentinel-2 L1C image with a cloud and its mask, and a radar pair of the day."""
    stack = np.clip(land(SHAPE, 13, 1) * 10_000, 1, 12_000).astype(np.uint16)
    cloud = np.zeros(SHAPE, np.uint8)
    cloud[40:90, 50:120] = 1
    stack[:, cloud > 0] = 6000
    image = write_image(stack, "S2A_MSIL1C_20180705.tif")
    with rasterio.open(image, "r+") as file:
        file.descriptions = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
    radar = write_image((-14 + land(SHAPE, 2, 4)).astype(np.float32), "S1_20180704.tif")
    with rasterio.open(radar, "r+") as file:
        file.descriptions = ("VV", "VH")
    return {"input": str(image), "cloud_mask": str(write_image(cloud, "MASK.tif")), "radar": str(radar)}


def job(scene: dict[str, str], tmp_path: Path, method: str, **changes) -> Job:
    given = {"kind": "restore", "output": str(tmp_path / "out.tif"), "uncertainty": str(tmp_path / "sigma.tif")}
    return Job(**{**scene, **given, "method": method, "weights": str(tmp_path / "weights"), **changes})


def test_a_network_restores_a_layer(scene, tmp_path: Path, do) -> None:
    store("dsen2cr", tmp_path / "weights")
    result = do(job(scene, tmp_path, "dsen2cr"))
    with rasterio.open(tmp_path / "out.tif") as out, rasterio.open(scene["input"]) as source:
        restored, before = out.read(), source.read()
    with rasterio.open(scene["cloud_mask"]) as file:
        gap = file.read(1) > 0
    np.testing.assert_array_equal(restored[:, ~gap], before[:, ~gap])
    assert (restored[:, gap] != before[:, gap]).mean() > 0.9
    assert result.method_used.startswith("DSen2-CR (weights abababab)")
    assert result.restored_share > 0.1
    assert result.expected_rmse > 0


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        (
            "glfcr",
            {},
            r"The weights of GLF-CR are not in '.*weights'. Get CR_net\.pth from https://github\.com/xufangchn",
        ),
        ("dsen2cr", {"radar": ""}, r"DSen2-CR needs a radar layer with VV and VH"),
        ("seq2point", {}, r"needs 3 dates, this one and 2 more"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_written(scene, tmp_path: Path, do, method, changes, words) -> None:
    if method != "glfcr":
        store(method, tmp_path / "weights")
    with pytest.raises(InputError, match=words):
        do(job(scene, tmp_path, method, **changes))
    assert not (tmp_path / "out.tif").exists()
    assert not list(tmp_path.glob("*.part*"))
