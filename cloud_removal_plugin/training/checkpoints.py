"""Checkpoints that are whole or not there, and the weights file that a training leaves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError, OutputError
from ..weights.stored import text_of

FORM = 1
LAST, BEST = "last.pt", "best.pt"
WEIGHTS = "weights.safetensors"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the target and moves it into place; whatever goes wrong, what was there before stays.

    Raises:
        OutputError: the file cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch's writer turns a full disk into a RuntimeError
        raise OutputError(
            f"'{path.name}' cannot be written to '{path.parent}' ({error}). Make room or choose another folder; the "
            "checkpoint before it is still whole."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()


def clear_parts(folder: Path) -> None:
    """Removes what a process that was ended in the midst of :func:`write_whole` has left."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(path, lambda part: torch.save({"form": FORM, **state}, part))


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; nothing in it is executed.

    Raises:
        InputError: it is missing, damaged, or no checkpoint of this trainer.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"There is no checkpoint '{path}' to resume; start the training without resume.") from None
    except Exception as error:  # torch names no common class for what a damaged file brings about
        raise InputError(f"The checkpoint '{path}' is damaged ({error}). Resume another one, or start anew.") from error
    if not isinstance(state, dict) or state.get("form") != FORM:
        raise InputError(f"'{path}' is no checkpoint of this trainer; import published weights with importweights.")
    return state


def check_same_network(state: Mapping[str, Any], network: str, config: Mapping[str, Any], path: Path) -> None:
    """Refuses a checkpoint of another network.

    Raises:
        InputError: name or configuration differ.
    """
    if state["network"] != network:
        raise InputError(
            f"The checkpoint '{path}' belongs to {state['network']}, but {network} is to be trained. Choose its "
            "recipe, or "
            "another output folder."
        )
    if dict(state["config"]) != dict(config):
        odd = sorted(k for k in {*state["config"], *config} if state["config"].get(k) != config.get(k))
        raise InputError(
            f"The checkpoint '{path}' belongs to a {network} that is built differently ({', '.join(odd)}). Use the "
            "same "
            "network_config, or another output folder."
        )


def write_weights(
    path: Path, network: nn.Module, name: str, config: Mapping[str, Any], facts: Mapping[str, str], source: str
) -> None:
    """A weights file as the folder of weights holds it, with the record of its training.

    Args:
        path: to write, whole or not at all.
        network: whose state is stored.
        name, config: of the registry.
        facts: text by name: data, steps, figures on held-out samples.
        source: what the file calls its origin.

    Raises:
        OutputError: the file cannot be written.
    """
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].numpy().tobytes())
    header = text_of(name, dict(config), source, digest.hexdigest(), **facts)
    write_whole(path, lambda part: save_file(state, str(part), metadata=header))
