"""Reads checkpoint files as they are published, without running anything that they hold.

Keras HDF5 (DSen2-CR), PyTorch archives with whatever wrapping their authors gave them, safetensors. A file that wants
to run code when it is read is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DependencyError, InputError

MOST_BYTES = 1 << 33
"""Numbers of all entries above which a file is not believed: the largest published network has 0.8 GB."""

WRAPPERS = ("network", "state_dict_G", "state_dict", "model_state_dict", "netG", "net", "model", "params")
"""Keys under which authors put the weights, in the order in which they are looked for."""

PREFIXES = ("module.", "netG.", "_orig_mod.")
"""What parallel training, UnCRtainTS' trainer and torch.compile put before every name."""

OWN_TRAINING = "weights.safetensors"
"""What a training with this plugin leaves beside its checkpoints: the best weights, with their record."""

SAFE_TORCH = (2, 6)
"""torch.load(weights_only=True) could be tricked before this release (CVE-2025-32434)."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_EPOCH = re.compile(r"(?P<iteration>iter_)?(?P<number>\d+)_net_G\.pth")


@dataclass(frozen=True)
class CheckpointFile:
    """What a checkpoint file holds.

    Attributes:
        path: the file itself (of a folder, the one that was chosen).
        sha256: hexadecimal digest.
        form: how it was stored, for people.
        entries: arrays by name, wrappers and prefixes taken off.
        options: constructor arguments that the authors keep beside it (conf.json); empty where there are none.
    """

    path: Path
    sha256: str
    form: str
    entries: dict[str, np.ndarray]
    options: dict[str, Any] = field(default_factory=dict)


def read(path: str | Path) -> CheckpointFile:
    """Read a checkpoint.

    Args:
        path: the file, or the folder of a training run.

    Raises:
        InputError: there is no such file, it is damaged, not a checkpoint, or wants to run code.
        DependencyError: a library that reads this kind of file is missing.
    """
    file = _chosen(Path(path))
    try:
        with file.open("rb") as stream:
            start = stream.read(16)
            stream.seek(0)
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"'{file}' cannot be read ({error.strerror}). Choose the checkpoint file.") from error
    if start.startswith(_HDF5):
        from .keras_hdf5 import read_dsen2cr

        form, entries = "Keras HDF5", read_dsen2cr(file)
    elif start[8:9] == b"{":
        form, entries = "safetensors", _safetensors(file)
    elif start.startswith((b"PK\x03\x04", b"\x80")):
        form, entries = "PyTorch", _torch(file)
    else:
        raise InputError(
            f"{file.name} is not a checkpoint: it is neither a PyTorch file, nor Keras HDF5, nor safetensors. Choose "
            "the file that the authors of the network publish."
        )
    return CheckpointFile(file, digest.hexdigest(), form, _plain(file.name, entries), _options(file))


def _chosen(path: Path) -> Path:
    """The file itself; of a folder, the generator of the last epoch, or the only checkpoint in it."""
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"There is no file '{path}'. Choose the checkpoint file, or the folder that it lies in.")
        return path
    names = {item.name: item for item in path.iterdir() if item.is_file()}
    for name in ("latest_net_G.pth", "model.pth.tar", OWN_TRAINING):
        if name in names:
            return names[name]
    epochs = [(not m["iteration"], int(m["number"]), m.group()) for m in map(_EPOCH.fullmatch, names) if m]
    if epochs:
        return names[max(epochs)[2]]
    suffixes = (".pth", ".pt", ".tar", ".hdf5", ".h5", ".safetensors")
    found = sorted(name for name in names if name.lower().endswith(suffixes))
    if len(found) != 1:
        what = f"{len(found)} checkpoints ({', '.join(found[:4])})" if found else "no checkpoint"
        raise InputError(f"The folder '{path}' holds {what}. Choose the file itself.")
    return names[found[0]]


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        # Through torch, because NumPy has no bfloat16.
        with safe_open(file, framework="pt") as opened:
            return {name: _array(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(file.name) from error


def _torch(file: Path) -> dict[str, np.ndarray]:
    """The entries of a PyTorch file; nothing in it is run."""
    torch = _safe_torch(file.name)
    _refuse_bomb(file)
    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes the reader stumble over
        raise _refusal(file.name, str(error)) from error
    return {name: _array(value) for name, value in _weights(file.name, content, torch.Tensor).items()}


def _safe_torch(name: str) -> Any:
    import torch

    release = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if release < SAFE_TORCH:
        raise DependencyError(
            f"Reading {name} safely needs PyTorch {SAFE_TORCH[0]}.{SAFE_TORCH[1]} or later; this Python has "
            f"{torch.__version__}. Install a newer one for the worker."
        )
    return torch


def _harmless() -> list[Any]:
    """NumPy numbers, which some authors store beside the weights (the best loss)."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8", "?")}
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, np.dtype, *(kind for kind in kinds if kind is not np.dtype)]


def _refuse_bomb(file: Path) -> None:
    """A small archive that unpacks to more than any network would fill memory before its error is seen."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > min(MOST_BYTES, 50 * file.stat().st_size + (1 << 20)):
        raise InputError(f"{file.name} unpacks to {size >> 20} MB, which no network here has. It is not a checkpoint.")


def _weights(name: str, content: Any, tensor: type, depth: int = 0) -> Mapping[str, Any]:
    """The state dict somewhere inside what a file holds."""
    if isinstance(content, Mapping) and depth < 4:
        values = list(content.values())
        if values and all(isinstance(value, tensor) for value in values):
            return content
        for key in WRAPPERS:
            if isinstance(content.get(key), Mapping):
                return _weights(name, content[key], tensor, depth + 1)
    keys = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
    raise InputError(f"{name} holds no weights of a network where one is looked for; it holds: {keys or 'nothing'}.")


def _array(value: Any) -> np.ndarray:
    """A tensor as float32, or as it is where it counts."""
    if value.is_sparse or value.is_quantized or value.is_complex():
        raise ValueError("a sparse, quantised or complex entry")
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).contiguous().numpy()


def _plain(name: str, entries: Mapping[Any, np.ndarray]) -> dict[str, np.ndarray]:
    """Entries without the prefixes that all of them share; every number must be finite."""
    plain = {str(key): value for key, value in entries.items()}
    changed = True
    while changed and plain:
        changed = False
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in plain):
                plain = {key[len(prefix) :]: value for key, value in plain.items()}
                changed = True
    for key, value in plain.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise InputError(
                f"{name} holds numbers that are not finite in '{key}': its training failed. Choose another."
            )
    return plain


def _options(file: Path) -> dict[str, Any]:
    """Arguments from a conf.json beside the file; lists may be written as text, such as "[128]"."""
    beside = file.with_name("conf.json")
    if not beside.is_file() or beside.stat().st_size > (1 << 20):
        return {}
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
        return {key: _value(value) for key, value in found.items()} if isinstance(found, dict) else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{beside.name} beside {file.name} cannot be read ({error}). Repair or remove it.") from error


def _value(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("["):
        value = json.loads(value)
    return tuple(value) if isinstance(value, list) else value


def _refusal(name: str, words: str) -> InputError:
    """A sentence for what torch says of a file that it will not read."""
    wanted = re.search(r"[Uu]nsupported (?:global: |class: )?GLOBAL ([\w.]+)", words)
    if wanted or "Weights only load failed" in words:
        what = f" ({wanted[1]})" if wanted else ""
        return InputError(
            f"{name} wants to run code when it is read{what}; that is refused, because it could do anything. Ask its "
            "authors for a file that holds weights alone."
        )
    return _damaged(name)


def _damaged(name: str) -> InputError:
    return InputError(f"{name} is damaged or incomplete. Download it again.")
