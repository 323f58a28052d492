"""Checkpoints that are whole or not there, and the weights file that a training leaves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError, OutputError
from ..models.records import RECORDS
from ..weights.stored import text_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORM = 1
LAST, BEST = "last.pt", "best.pt"
WEIGHTS = "weights.safetensors"
PART = ".part"
_OURS = re.compile(r"^\..+\.(?:pt|safetensors|html|csv|tif|png)\.[a-z0-9_]{8}\.part$")
_REPLACED = ".tif."
"""In names of files that GDAL makes anew under the same name, so that the lock is not theirs."""
HOUR_S, DAY_S = 3_600, 86_400
ENTRIES = frozenset(
    ("network", "config", "settled", "weights", "optimiser", "schedule", "stepping", "step", "best", "history")
)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the target and moves it into place; whatever goes wrong, what was there before stays.

    Raises:
        OutputError: the file cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        temporary = Path(name)
        with _in_use(handle):
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch's writer turns a full disk into a RuntimeError about its own source
        why = str(error) if isinstance(error, OSError) else "the disk may be full"
        raise OutputError(
            f"'{path.name}' cannot be written to '{path.parent}' ({why}). Make room or choose another folder; the "
            "checkpoint before it is still whole."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()


@contextlib.contextmanager
def _in_use(handle: int) -> Iterator[None]:
    """Holds a part's lock, which ends with this process, however that ends; then closes the handle.

    On Windows, which has no such locks, the handle is closed at once: an open file could not be moved there.
    """
    try:
        if fcntl is None:
            os.close(handle)
        else:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        if fcntl is not None:
            os.close(handle)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other trainings out of a folder: two would take each other's best step for their own.

    Where there are no such locks (Windows, some network disks) nothing is kept out.

    Raises:
        InputError: another process trains there.
        OutputError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder '{folder}' cannot be made ({error.strerror}). Choose another one.") from error
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"Another process trains in '{folder}'. Wait for its end, or choose another folder."
                ) from error
        yield
    finally:
        os.close(handle)


def clear_parts(folder: Path) -> None:
    """Removes what a process that was ended in the midst of :func:`write_whole` has left.

    Only our own names, and only what nobody is writing: where locks do not tell, what has been left alone for long.
    """
    for part in folder.glob(f".*{PART}"):
        if _OURS.match(part.name) and _is_left(part):
            with contextlib.suppress(OSError):
                part.unlink()


def _is_left(part: Path) -> bool:
    """Whether no process is writing a part."""
    try:
        age = time.time() - part.stat().st_mtime
        if fcntl is None or _REPLACED in part.name:
            return age > (DAY_S if fcntl is None else HOUR_S)
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


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
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"The checkpoint '{path}' cannot be read ({error.strerror}).") from error
    except Exception as error:  # torch names no common class for what a damaged file brings about
        raise InputError(f"The checkpoint '{path}' is damaged. Resume another one, or start anew.") from error
    if not isinstance(state, dict) or state.get("form") != FORM or not set(state) >= ENTRIES:
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
        name, config: of the network; what differs from the configuration of its record, which is stored beside it.
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
    # whoever reads the file asks its configuration what the network needs, without knowing the record's
    published = RECORDS[name].config if name in RECORDS else {}
    header = text_of(name, {**published, **config}, source, digest.hexdigest(), **facts)
    write_whole(path, lambda part: save_file(state, str(part), metadata=header))
