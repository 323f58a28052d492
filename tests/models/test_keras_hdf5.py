"""DSen2-CR's weights from Keras files: layouts beside the golden ones, and files that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloud_removal_plugin.errors import InputError

torch = pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.models.keras_hdf5 import configuration, read_dsen2cr  # noqa: E402


def write_keras(path: Path, network: torch.nn.Module, *, names: str = "conv2d_{}", nested: str = "", first: int = 1):
    """Writes a network's convolutions as Keras would; without the attributes that list them where ``nested`` is '-'."""
    state = network.state_dict()
    layers = [key[: -len(".weight")] for key in state if key.endswith(".weight")]
    with h5py.File(path, "w") as file:
        listed, weights = [], []
        for place, layer in enumerate(layers):
            label = names.format(first + place)
            listed.append(label.encode())
            prefix = f"{nested}/{label}" if nested not in ("", "-") else f"{label}/{label}"
            file[f"{prefix}/kernel:0"] = state[f"{layer}.weight"].permute(2, 3, 1, 0).numpy()
            file[f"{prefix}/bias:0"] = state[f"{layer}.bias"].numpy()
            weights += [f"{label}/kernel:0".encode(), f"{label}/bias:0".encode()]
            if nested == "":
                file[label].attrs["weight_names"] = weights[-2:]
        if nested == "":
            file.attrs["layer_names"] = listed
        elif nested != "-":
            file.attrs["layer_names"] = [b"input_1", nested.encode()]
            file[nested].attrs["weight_names"] = weights


@pytest.mark.parametrize("nested", ["", "model_1", "-"])
def test_order_of_many_layers(tmp_path: Path, nested: str) -> None:
    network = models.create("dsen2cr", num_layers=6, feature_size=4)
    write_keras(tmp_path / "a.hdf5", network, nested=nested, first=7)
    weights = read_dsen2cr(tmp_path / "a.hdf5")
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(weights[key], value.numpy())


def test_without_radar(tmp_path: Path) -> None:
    network = models.create("dsen2cr_nosar", num_layers=1, feature_size=4)
    write_keras(tmp_path / "a.hdf5", network)
    assert configuration(read_dsen2cr(tmp_path / "a.hdf5")) == {
        "num_layers": 1,
        "feature_size": 4,
        "include_sar_input": False,
    }


def test_wrong_files_get_a_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.hdf5"
    text.write_text("no weights")
    with pytest.raises(InputError, match=r"text\.hdf5 is not a readable HDF5 file"):
        read_dsen2cr(text)
    empty = tmp_path / "empty.hdf5"
    h5py.File(empty, "w").close()
    with pytest.raises(InputError, match=r"empty\.hdf5 does not hold the weights of DSen2-CR"):
        read_dsen2cr(empty)
    odd = tmp_path / "odd.hdf5"
    network = models.create("dsen2cr", num_layers=1, feature_size=4)
    write_keras(odd, network)
    with h5py.File(odd, "a") as file:
        del file["conv2d_2/conv2d_2/kernel:0"]
        file["conv2d_2/conv2d_2/kernel:0"] = np.zeros((3, 3, 4, 5), np.float32)
    with pytest.raises(InputError, match="convolution 2 has the shape"):
        read_dsen2cr(odd)
