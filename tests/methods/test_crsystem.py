"""CR_system's pipeline over a scene: three networks as one, fed as published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save_file  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.errors import InputError  # noqa: E402
from cloud_removal_plugin.methods import registry  # noqa: E402
from cloud_removal_plugin.methods.learned import _facts_of  # noqa: E402
from cloud_removal_plugin.models import scaling  # noqa: E402
from cloud_removal_plugin.models.tuacr import final_image, stack_inputs  # noqa: E402
from cloud_removal_plugin.weights.folder import path_of, publish  # noqa: E402
from cloud_removal_plugin.weights.stored import text_of  # noqa: E402
from tests.methods.networks import scene, store  # noqa: E402

SEED = (0, 0, 0)
WIDTH = 4


def head() -> torch.nn.Module:
    torch.manual_seed(7)
    return models.create("tuacr", base_width=WIDTH, num_rrdb=1).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in ("dsen2cr", "glfcr"):
        store(name, folder)
    facts = text_of("tuacr", {"base_width": WIDTH, "num_rrdb": 1}, "tua_cr.pth", "cd" * 32)
    publish("tuacr", folder, lambda path: save_file(head().state_dict(), str(path), metadata=facts))
    return folder


def fitted(obs, weights: Path):
    made = registry.create("crsystem", weights, 2048)
    made.prepare(replace(_facts_of(obs), shape=obs.shape[2:]))
    return made.fit([obs], seed=SEED)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]


def test_one_window_is_the_published_pipeline(weights: Path) -> None:
    """A scene of one window: each network by hand, its file's numbers, the head, the final clip."""
    from cloud_removal_plugin.models.conversion import load
    from cloud_removal_plugin.weights.folder import find

    obs = scene((128, 128), 3)
    first, second = (load(find(name, weights)).eval() for name in ("dsen2cr", "glfcr"))
    radar = obs.radar[int(np.abs(obs.radar_days).argmin())]
    with torch.inference_mode():
        a = first(tensor(scaling.DSEN2CR.optical(obs.optical[0])), tensor(scaling.DSEN2CR.radar(radar)))[0].numpy()
        b = second(tensor(scaling.GLFCR.optical(obs.optical[0])), tensor(scaling.GLFCR.radar(radar)))[0].numpy()
        # DSen2-CR's file holds its output (0..5) times 2000
        out = head()(*map(tensor, stack_inputs(a * 2000, b, radar, obs.optical[0] * 10000))).out[0].numpy()
    wanted = final_image(out)
    found = fitted(obs, weights).restore(obs)
    gap = obs.gap()
    np.testing.assert_allclose(found.reflectance[1:4][:, gap], wanted[:, gap], atol=2e-5)


def test_the_other_ten_bands_come_from_the_scene_ensemble(weights: Path) -> None:
    obs = scene((96, 96), 3)
    mine = fitted(obs, weights)
    assert any("does not restore coastal" in note and "'auto'" in note for note in mine.notes)
    plain = registry.create("auto", weights, 2048, "none").fit([obs], seed=SEED).restore(obs)
    gap, rest = obs.gap(), [0, *range(4, 13)]
    np.testing.assert_array_equal(mine.restore(obs).reflectance[rest][:, gap], plain.reflectance[rest][:, gap])
    assert np.isfinite(mine.restore(obs).sigma[:, gap]).all()


@pytest.mark.parametrize("name", ["dsen2cr", "glfcr", "tuacr"])
def test_missing_weights_of_a_part_are_named(name: str, weights: Path, tmp_path: Path) -> None:
    for other in {"dsen2cr", "glfcr", "tuacr"} - {name}:
        path_of(other, tmp_path).write_bytes(path_of(other, weights).read_bytes())
    with pytest.raises(InputError, match=r"The weights of .* are not in"):
        fitted(scene((96, 96), 1), tmp_path)


def test_radar_is_needed(weights: Path) -> None:
    with pytest.raises(InputError, match="a radar layer with VV and VH"):
        fitted(replace(scene((96, 96), 1), radar=None, radar_days=None), weights)
