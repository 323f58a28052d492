"""What stands in the header of a stored file, read without its numbers.

A safetensors file begins with the length of its header (8 bytes, little endian) and the header in JSON; under
``__metadata__`` it holds text by name (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError

MOST_HEADER_BYTES = 1 << 24
"""A header longer than this is not believed; those of the published networks have some 100 kB."""

FORM = "1"
"""Written into every file; a later form would be another number."""


@dataclass(frozen=True)
class Stored:
    """One stored set of weights.

    Attributes:
        path: the file.
        network: name in the registry.
        config: constructor arguments that the weights belong to.
        source: name of the file that was imported.
        sha256: digest of that file.
        known: name in the table of published files, '' = the digest is not in it.
        facts: all text of the header.
    """

    path: Path
    network: str
    config: dict[str, Any]
    source: str
    sha256: str
    known: str = ""
    facts: dict[str, str] = field(default_factory=dict)


def text_of(network: str, config: dict[str, Any], source: str, sha256: str, **more: str) -> dict[str, str]:
    """The header's text for a set of weights; :func:`read_header` reads it back."""
    facts = {"form": FORM, "network": network, "config": json.dumps(config), "source": source, "sha256": sha256}
    return facts | more


def read_header(path: Path, network: str) -> Stored:
    """Read what a stored file says of itself.

    Args:
        path: a file of the weights folder.
        network: whose weights it should hold.

    Raises:
        InputError: the file is damaged, was not written by an import, or holds another network.
    """
    stored = read_record(path)
    if stored is None:
        raise InputError(f"'{path}' was not made by importing weights. Remove it, and import the checkpoint.")
    if stored.network != network:
        raise InputError(f"'{path}' holds the weights of {stored.network}. Remove it, and import the checkpoint.")
    return stored


def read_record(path: Path) -> Stored | None:
    """Read what a safetensors file says of itself where an import or a training of this plugin wrote it, else None.

    Raises:
        InputError: the file is damaged.
    """
    facts = _metadata(path)
    if facts.get("form") != FORM or "network" not in facts:
        return None
    try:
        config = json.loads(facts["config"])
        config = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
    except (KeyError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    return Stored(
        path, facts["network"], config, facts.get("source", ""), facts.get("sha256", ""), facts.get("known", ""), facts
    )


def _metadata(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MOST_HEADER_BYTES:
                raise _damaged(path)
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        facts = {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}
    except FileNotFoundError:
        raise InputError(f"There are no weights '{path}'. Choose a file that is there.") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise _damaged(path) from error
    if path.stat().st_size != 8 + length + max(ends, default=0):
        raise _damaged(path)
    return facts


def _damaged(path: Path) -> InputError:
    return InputError(
        f"The weights '{path}' are damaged or incomplete. Remove the file, and import the checkpoint again."
    )
