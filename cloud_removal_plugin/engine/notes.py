"""What was recognised of many layers, in few lines of the log."""

from __future__ import annotations

from collections.abc import Iterable


def folded(notes: Iterable[str]) -> list[str]:
    """Say once what holds for several layers.

    Args:
        notes: sentences; those about one layer start with its file name and a colon.

    Returns:
        The sentences in order, equal ones about different layers joined: "a.tif and 2 more: ...".
    """
    layers: dict[str, list[str]] = {}
    for note in notes:
        name, colon, sentence = note.partition(": ")
        named = colon and " " not in name and "." in name
        found = layers.setdefault(sentence if named else note, [])
        if named and name not in found:
            found.append(name)
    return [f"{_named(names)}: {sentence}" if names else sentence for sentence, names in layers.items()]


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
