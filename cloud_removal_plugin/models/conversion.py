"""A checkpoint as published becomes a stored file: recognised, checked entry by entry, converted to safetensors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..weights.known import by_digest
from ..weights.stored import Stored, read_record, text_of
from .checkpoint_files import CheckpointFile, read
from .recognition import Recognised, family, recognise
from .records import RECORDS, Record
from .registry import create, record

COMPUTED = ("relative_position_index", "attn_mask")
"""Entries that follow from the image's size; the networks make them anew."""

_COUNTER = "num_batches_tracked"
_SHOWN = 4
"""Names listed of each kind of complaint."""


@dataclass(frozen=True)
class Converted:
    """Weights under the network's names, ready to be stored.

    Attributes:
        record: of the network.
        config: constructor arguments.
        entries: arrays by name.
        source: the file that they came from.
        facts: the header's text.
    """

    record: Record
    config: dict[str, Any]
    entries: dict[str, np.ndarray]
    source: CheckpointFile
    facts: dict[str, str]

    def write(self, path: Path) -> None:
        """Write a safetensors file.

        Raises:
            OSError: the disk says no.
        """
        from safetensors.numpy import save_file

        entries = {name: np.ascontiguousarray(value) for name, value in self.entries.items()}
        save_file(entries, str(path), metadata=self.facts)


def convert(path: str | Path, network: str = "auto") -> Converted:
    """Read a checkpoint and bring it into the form in which weights are stored.

    A file that this plugin wrote, of a training or an import elsewhere, keeps its record as it is.

    Args:
        path: a checkpoint as published, or the folder of a training run.
        network: name in the registry, or ``auto`` to recognise it.

    Raises:
        InputError: no such network, not a checkpoint, or one that does not fit: the entries that are missing or odd.
        DependencyError: a library that reads the file is missing.
    """
    if network != "auto" and network not in RECORDS:
        raise InputError(f"There is no network '{network}'. Choose auto or one of: {', '.join(RECORDS)}.")
    file = read(path)
    entries = {name: value for name, value in _renamed(file.entries).items() if not name.endswith(COMPUTED)}
    shapes = {name: tuple(value.shape) for name, value in entries.items()}
    kept = _own_record(file, network)
    if kept is not None:
        entry, config = record(kept.network), kept.config
    else:
        found = _identified(file.path.name, shapes, network)
        entry = record(found.network)
        config = _completed(entry, found.config, file.options)
    wanted = entry_shapes(entry.name, config)
    shapes |= {name: () for name in wanted if name.endswith(_COUNTER) and name not in shapes}
    complaint = _complaint(shapes, wanted)
    if complaint:
        raise InputError(f"{file.path.name} does not fit {entry.title}: {complaint}. {_CURE}")
    entries = {name: entries.get(name, np.zeros((), np.int64)) for name in wanted}
    facts = kept.facts if kept is not None else _published_facts(entry, config, file)
    return Converted(entry, config, entries, file, facts)


def _own_record(file: CheckpointFile, network: str) -> Stored | None:
    """The record of a file that this plugin wrote, None for the files of others.

    Raises:
        InputError: it is of another network than the one that was chosen.
    """
    kept = read_record(file.path) if file.form == "safetensors" else None
    if kept is None or kept.network not in RECORDS:
        return None
    _check_chosen(file.path.name, kept.network, network)
    return kept


def _published_facts(entry: Record, config: dict[str, Any], file: CheckpointFile) -> dict[str, str]:
    """What is stored with a file that says nothing of itself: whose network it is, and what its authors ask."""
    published = by_digest(file.sha256)
    return text_of(
        entry.name, config, file.path.name, file.sha256, known=published.name if published else "",
        title=entry.title, paper=entry.paper, link=entry.link, licence=entry.licence, weights=entry.weights,
        sensor=entry.sensor, source_form=file.form,
    )  # fmt: skip


_CURE = "Download it again, or choose the network that it belongs to."


def load(stored: Stored) -> Any:
    """A network with stored weights, in evaluation mode, on the processor.

    Raises:
        InputError: the file is damaged, or does not fit this release.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network = create(stored.network, **stored.config)
        network.load_state_dict(load_file(str(stored.path)), strict=True)
    except (SafetensorError, RuntimeError, TypeError, ValueError, OSError) as error:
        raise InputError(
            f"'{stored.path}' does not fit this release ({error}). Import the checkpoint again."
        ) from error
    return network.eval().requires_grad_(False)


def entry_shapes(network: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the entries of a network's state dict; takes no memory for them.

    Raises:
        InputError: the arguments do not make a network.
    """
    import torch

    try:
        with torch.device("meta"):
            made = create(network, **config)
    except (TypeError, ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
        raise InputError(f"These weights belong to no {record(network).title} that can be built: {error}.") from error
    return {name: tuple(value.shape) for name, value in made.state_dict().items()}


def _identified(name: str, shapes: Mapping[str, tuple[int, ...]], network: str) -> Recognised:
    """What the file holds; where it cannot be told, what it should hold, so that the complaint can name entries."""
    try:
        found = recognise(shapes)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        found = None
        if network == "auto":
            network = family(shapes)
    if found is None and network == "auto":
        raise InputError(
            f"{name} holds none of the known networks; its first entries are: {_listed(sorted(shapes))}. "
            "Choose the file that the authors publish (of a network with a discriminator, the generator's)."
        )
    if found is None:
        return Recognised(network, dict(RECORDS[network].config))
    _check_chosen(name, found.network, network)
    return found


def _check_chosen(name: str, found: str, chosen: str) -> None:
    if chosen not in ("auto", found):
        raise InputError(
            f"{name} holds {RECORDS[found].title}, not {RECORDS[chosen].title}. Choose '{found}' or 'auto'."
        )


def _completed(entry: Record, config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as recognised; what shapes cannot tell from conf.json, else as published."""
    builder = getattr(import_module(f".{entry.module}", __package__), entry.builder)
    known = inspect.signature(builder).parameters
    beside = {key: value for key, value in options.items() if key in known and value is not None}
    return {**dict(entry.config), **beside, **config}


def _renamed(entries: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Older or newer names as the networks have them."""
    out = {}
    for name, value in entries.items():
        # UnCRtainTS: in_block1. and out_block1. of the first releases
        name = re.sub(r"^(in|out)_block(\d)\.", lambda m: f"{m[1]}_block.{int(m[2]) - 1}.", name)
        # weight norm as newer torch stores it
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        out[name] = value
    return out


def _complaint(shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """What is missing, too much or of another shape, '' = nothing."""
    missing = sorted(set(wanted) - set(shapes))
    odd = sorted(set(shapes) - set(wanted))
    bent = [
        f"{name} has the shape {shapes[name]} instead of {wanted[name]}"
        for name in sorted(set(wanted) & set(shapes))
        if shapes[name] != wanted[name]
    ]
    parts = [(f"missing {_listed(missing)}", missing), (f"unknown {_listed(odd)}", odd), (_listed(bent, "; "), bent)]
    return "; ".join(text for text, names in parts if names)


def _listed(names: list[str], between: str = ", ") -> str:
    more = len(names) - _SHOWN
    return between.join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
