"""Reads DSen2-CR's published weights from Keras HDF5 files, in every layout that Keras has written.

Layer groups lie at the file's root (weights only) or under ``model_weights`` (whole model); a multi-GPU run nests all
of them in one group; TF-Keras counts from ``conv2d`` instead of ``conv2d_1``. Nothing in the file is evaluated: neither
``model_config``, which holds marshalled code, nor the optimizer's arrays, which have the weights' shapes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DependencyError, InputError

if TYPE_CHECKING:
    import h5py

LARGEST = 1 << 28
"""Numbers in one array above which a file is not believed."""


def _natural(name: str) -> list[object]:
    """Sort key that puts ``conv2d_10`` behind ``conv2d_9`` and ``conv2d`` before ``conv2d_1``."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", name) if part]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute, which Keras cuts into numbered pieces where it is long."""
    values = list(group.attrs.get(attribute, ()))
    piece = 0
    while f"{attribute}{piece}" in group.attrs:
        values += list(group.attrs[f"{attribute}{piece}"])
        piece += 1
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _found(group: h5py.Group) -> list[str]:
    """Paths of the kernels and biases below ``group`` by their natural order, where no attribute lists them."""
    paths: list[str] = []

    def collect(path: str, item: object) -> None:
        if hasattr(item, "shape") and path.rsplit("/", 1)[-1].split(":")[0] in ("kernel", "bias"):
            paths.append(path)

    group.visititems(collect)
    return sorted((p for p in paths if not p.startswith("optimizer_weights")), key=_natural)


def _paths(root: h5py.Group) -> list[str]:
    """Paths of all weights in the order of the layers."""
    paths = []
    for layer in _names(root, "layer_names") or []:
        if layer in root:
            paths += [f"{layer}/{weight}" for weight in _names(root[layer], "weight_names")]
    return paths or _found(root)


def _convolutions(file: h5py.File) -> list[tuple[np.ndarray, np.ndarray]]:
    """(kernel (out, in, 3, 3), bias (out,)) of every convolution in order.

    Raises:
        ValueError: what is there is not a list of convolutions.
    """
    root = file.get("model_weights", file)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for path in _paths(root):
        layer, _, name = path.rpartition("/")
        kind = name.split(":")[0]
        dataset = root.get(path)
        if kind not in ("kernel", "bias") or not hasattr(dataset, "size"):
            raise ValueError(f"{path} is not the kernel or bias of a convolution")
        if dataset.size > LARGEST or dataset.dtype.kind != "f":
            raise ValueError(f"{path} has the shape {dataset.shape} of {dataset.dtype}")
        arrays.setdefault(layer, {})[kind] = dataset[()].astype(np.float32)
    pairs = []
    for layer, parts in arrays.items():
        if set(parts) != {"kernel", "bias"} or parts["kernel"].ndim != 4:
            raise ValueError(f"{layer} lacks a kernel or a bias")
        # Keras keeps (row, column, in, out), also for channels-first networks; no flip.
        pairs.append((np.ascontiguousarray(parts["kernel"].transpose(3, 2, 0, 1)), parts["bias"]))
    return pairs


def _named(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Convolutions in order, under the network's names.

    Raises:
        ValueError: their number or shapes are not DSen2-CR's.
    """
    if len(pairs) < 2 or len(pairs) % 2:
        raise ValueError(f"it holds {len(pairs)} convolutions, where DSen2-CR has two and two more a block")
    blocks = (len(pairs) - 2) // 2
    names = ["model.0"]
    names += [f"model.{2 + block}.conv_block.{layer}" for block in range(blocks) for layer in (0, 2)]
    names.append(f"model.{2 + blocks}")
    width = pairs[0][0].shape[0]
    weights = {}
    for place, (name, (kernel, bias)) in enumerate(zip(names, pairs, strict=True)):
        inputs = kernel.shape[1] if place == 0 else width
        outputs = kernel.shape[0] if place == len(names) - 1 else width
        if kernel.shape != (outputs, inputs, 3, 3) or bias.shape != (outputs,):
            raise ValueError(f"convolution {place + 1} has the shape {kernel.shape}")
        weights |= {f"{name}.weight": kernel, f"{name}.bias": bias}
    return weights


def read_dsen2cr(path: str | Path) -> dict[str, np.ndarray]:
    """DSen2-CR's weights under the names of :class:`.dsen2cr.DSen2CR`, float32.

    Raises:
        DependencyError: h5py is not installed.
        InputError: the file is not HDF5, or does not hold a DSen2-CR.
    """
    name = Path(path).name
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(f"Reading {name} needs the Python package h5py. Install python3-h5py.") from error
    try:
        with h5py.File(path, "r") as file:
            return _named(_convolutions(file))
    except OSError as error:
        raise InputError(f"{name} is not a readable HDF5 file. Download it again.") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{name} does not hold the weights of DSen2-CR: {error}.") from error


def configuration(weights: dict[str, np.ndarray]) -> dict[str, int | bool]:
    """Constructor arguments of the network that ``weights`` belong to: blocks, width, with or without radar."""
    width, channels = weights["model.0.weight"].shape[:2]
    return {
        "num_layers": sum(key.endswith("conv_block.0.weight") for key in weights),
        "feature_size": width,
        "include_sar_input": channels == 15,
    }
