"""The starter network in NumPy, and how METHOD=auto uses it for a date that stands alone."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.methods import registry, starter
from cloud_removal_plugin.methods.alone import (
    PRIOR,
    UNTRIED,
    AloneOrJoined,
    FittedAlone,
    estimate,
    joined,
    suits,
    weights_of,
)
from cloud_removal_plugin.methods.inpainting import Inpainting
from cloud_removal_plugin.models.starter_facts import BANDS, HIDDEN, MEAN
from cloud_removal_plugin.weights.stored import text_of

from .scenes import scene

SEED = (1, 2, 3)
RMSE = (0.04,) * BANDS


def numbers(seed: int = 0, size: float = 0.1) -> dict[str, np.ndarray]:
    """Random weights of the right shapes; with ``size`` 0 as before any training."""
    rng = np.random.default_rng(seed)
    shapes = {
        "first": (HIDDEN, 2 * BANDS + 13), "second": (HIDDEN, HIDDEN), "third": (BANDS + 3, HIDDEN),
        "radar": (BANDS, 4),
    }  # fmt: skip
    out = {f"{name}.weight": size * rng.standard_normal(shape) for name, shape in shapes.items()}
    out |= {f"{name}.bias": size * rng.standard_normal(shape[0]) for name, shape in shapes.items()}
    out["third.bias"][BANDS:] -= 4
    mixing = rng.standard_normal((BANDS, 4))
    out |= {
        "mean": np.array(MEAN), "covariance": 0.02 * (mixing @ mixing.T) + 0.01 * np.eye(BANDS),
        "trust": np.array([1.5, -5.0]), "stiffness": np.log([0.15, 0.03, 0.05, 0.1, 0.1]),
        "basis": rng.standard_normal((2, BANDS)),
    }  # fmt: skip
    return {name: values.astype(np.float32) for name, values in out.items()}


def write(folder: Path, **facts: str) -> Path:
    """A stored file as the training writes it."""
    header, data = {"__metadata__": text_of("starter", {}, "test", "0", **facts)}, b""
    for name, values in numbers().items():
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    path = folder / "starter.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture
def network() -> starter.StarterNetwork:
    """Before any training, but sure of what a mask says."""
    return starter.StarterNetwork(numbers(size=0.0) | {"trust": np.array([1.5, -9.0], np.float32)}, RMSE)


@pytest.mark.parametrize(("bands", "heard", "masked"), [
    (SENTINEL2_L1C, True, True), (SENTINEL2_L1C, False, False), (("blue", "green", "red"), False, True),
])  # fmt: skip
def test_numpy_and_torch_agree(bands: tuple[str, ...], heard: bool, masked: bool) -> None:
    torch = pytest.importorskip("torch", reason="the trained form needs PyTorch")
    from cloud_removal_plugin.models.starter import Starter

    trained = Starter().eval()
    trained.load_state_dict({name: torch.from_numpy(values) for name, values in numbers().items()})
    rng = np.random.default_rng(5)
    image, radar = rng.uniform(0, 0.5, (13, 128, 64)), rng.normal(-14, 4, (2, 128, 64))
    hidden = rng.random((128, 64)) < 0.3
    there = np.array([name in bands for name in SENTINEL2_L1C], np.float32)
    given = (image, there, radar, float(heard), hidden, float(masked))
    with torch.no_grad():
        truth = trained(*(torch.from_numpy(np.asarray(value, np.float32))[None] for value in given))[0].numpy()
    at = np.flatnonzero(there)
    found = starter.StarterNetwork(numbers()).restore(
        image[at].astype(np.float32), bands, hidden if masked else None, radar if heard else None
    )
    np.testing.assert_allclose(found, np.maximum(truth[at], 0), atol=2e-6)
    assert found.std() > 0.01


def test_odd_sizes_and_missing_numbers(network: starter.StarterNetwork) -> None:
    image = np.random.default_rng(0).uniform(0, 0.4, (4, 50, 71)).astype(np.float32)
    image[:, :20] = np.nan
    found = network.restore(image, ("blue", "green", "red", "nir"), np.zeros((50, 71), bool), None)
    assert found.shape == image.shape
    assert np.isfinite(found).all()
    with pytest.raises(InputError, match="band1"):
        network.restore(image, ("band1", "green", "red", "nir"), None, None)


def test_stored_weights_are_read_and_damage_is_named(tmp_path: Path) -> None:
    write(tmp_path, rmse_by_band=json.dumps(RMSE))
    found = starter.shipped(tmp_path)
    assert found is not None
    np.testing.assert_array_equal(found.numbers["basis"], numbers()["basis"])
    np.testing.assert_allclose(found.rmse_of(("red",)), [0.04])
    path = write(tmp_path)
    with pytest.raises(InputError, match="damaged"):
        starter.shipped(tmp_path)
    path.write_bytes(write(tmp_path, rmse_by_band=json.dumps(RMSE)).read_bytes()[:-200])
    with pytest.raises(InputError, match="damaged"):
        starter.shipped(tmp_path)


def test_a_covered_date_is_the_networks_alone(network: starter.StarterNetwork) -> None:
    obs, truth = scene(days=np.zeros(1))
    covered = replace(obs, cloud=np.ones_like(obs.cloud), optical=np.full_like(obs.optical, 0.9))
    fitted = joined(Inpainting().fit([covered], seed=SEED), network, [covered], SEED, None)
    found = fitted.restore(covered)
    assert fitted.summary.endswith("starter network 1.00")
    assert fitted.expected_rmse == pytest.approx(0.04)
    np.testing.assert_allclose(found.sigma, 0.04, rtol=1e-5)
    assert np.abs(found.reflectance - truth).mean() < 0.3, "not the clouds' 0.9"


def test_beside_clear_pixels_the_scene_keeps_its_say(network: starter.StarterNetwork) -> None:
    obs, truth = scene((128, 128), days=np.zeros(1))
    base = Inpainting().fit([obs], seed=SEED)
    fitted = joined(base, network, [obs], SEED, None)
    gap, found = obs.gap(), fitted.restore(obs)
    assert isinstance(fitted, FittedAlone)
    assert (fitted.weights < 1).all()
    errors = [np.abs(part - truth)[:, gap].mean() for part in (found.reflectance, estimate(network, obs))]
    assert errors[0] < errors[1] * 1.02
    assert (found.sigma[:, gap] > 0).all()
    assert fitted.expected_rmse == pytest.approx(np.sqrt(np.square(found.reflectance - truth)[:, gap].mean()), rel=0.6)


def test_weights_follow_the_trial_and_the_prior() -> None:
    rng = np.random.default_rng(0)
    small, large = 0.01 * rng.standard_normal((2, 500)), 0.1 * rng.standard_normal((2, 500))
    assert (weights_of(small, large) < 0.1).all()
    assert (weights_of(large, small) > 0.9).all()
    np.testing.assert_allclose(weights_of(small, small), PRIOR, rtol=1e-5)


def test_where_little_is_clear_both_have_a_say(network: starter.StarterNetwork) -> None:
    obs, _ = scene((64, 64), days=np.zeros(1))
    cloud = np.ones_like(obs.cloud)
    cloud[:, :, :4] = 0
    little = replace(obs, cloud=cloud, optical=np.nan_to_num(obs.optical, nan=0.2))
    fitted = joined(Inpainting().fit([little], seed=SEED), network, [little], SEED, None)
    np.testing.assert_allclose(fitted.weights, UNTRIED)
    cloud = np.zeros_like(obs.cloud)
    cloud[:, 30:34, 30:34] = 1
    base = Inpainting().fit([replace(little, cloud=cloud)], seed=SEED)
    assert joined(base, network, [replace(little, cloud=cloud)], SEED, None) is base, "a small gap"


def test_auto_takes_it_only_for_a_date_alone(tmp_path: Path) -> None:
    write(tmp_path, rmse_by_band=json.dumps(RMSE))
    obs, _ = scene((128, 128), days=np.array([0.0, -20.0]))
    alone = replace(obs, optical=obs.optical[:1], cloud=obs.cloud[:1], days=obs.days[:1])
    assert suits([alone])
    assert not suits([replace(obs, days=np.array([0.0, -400.0]))]), "even another season's fields tell more"

    def took(observation, choice: str = "") -> bool:
        fitted = registry.create("auto", tmp_path, ensemble=choice).fit([observation], seed=SEED)
        return isinstance(fitted, FittedAlone)

    choices = ("", "starter", "-dsen2cr", "none", "-starter")
    assert [took(alone, choice) for choice in choices] == [True, True, True, False, False]
    assert not suits([replace(alone, pixel_m=250.0)])
    assert not suits([replace(alone, bands=("band1", "band2", "band3", "band4"))])
    with pytest.raises(InputError, match="no network"):
        AloneOrJoined(tmp_path, 0, "nonsense")
