"""Which dates each sample uses, kept in a file: our JSON, or the toolbox's pickled ``.npy`` read without trust.

A ``.npy`` of the SEN12MS-CR-TS toolbox or of UnCRtainTS holds a pickled dictionary. Unpickling runs whatever the file
says, so it is read by :mod:`.plain_pickle`, which builds data and calls nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .names import series_of
from .plain_pickle import read_plain

Series = tuple[str, int, int]
"""Scene, ROI and patch."""


@dataclass(frozen=True)
class DateEntry:
    """One sample of a table.

    Attributes:
        inputs, target: time indices; empty and -1 where only coverage is stored.
        coverage: of every date, () where it is not stored.
    """

    inputs: tuple[int, ...] = ()
    target: int = -1
    coverage: tuple[float, ...] = ()


@dataclass(frozen=True)
class DateTable:
    """Entries by series where the file names paths, else by number."""

    by_series: Mapping[Series, DateEntry]
    by_index: Mapping[int, DateEntry]

    def entry(self, series: Series, index: int) -> DateEntry | None:
        """The entry of a series; by its place in the data set only where the table names no paths."""
        if self.by_series:
            return self.by_series.get(series)
        return self.by_index.get(index)


def read_date_table(path: Path) -> DateTable:
    """Reads a table.

    Raises:
        InputError: the file is missing, no such table, or asks for more than data.
    """
    try:
        raw = _read_json(path) if path.suffix == ".json" else _read_npy(path)
        if not isinstance(raw, dict):
            raise TypeError("it holds no dictionary")
        entries = {int(index): (_entry(value), _series(value)) for index, value in raw.items()}
    except (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError) as error:
        raise InputError(
            f"The date table '{path}' cannot be used ({error}). Give the table that the toolbox exported, or ours "
            "(JSON)."
        ) from error
    by_series = {series: entry for entry, series in entries.values() if series is not None}
    return DateTable(by_series, {index: entry for index, (entry, _) in entries.items()})


def write_date_table(path: Path, rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Writes a table as JSON, beside its place and then moved there."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(rows, indent=0), encoding="utf-8")
    part.replace(path)


def table_names(inputs: int, split: str, region: str, cloud_masks: str | None) -> Iterator[str]:
    """File names that a table in a folder may have, ours first."""
    toolbox = f"{inputs}_{split}_{cloud_masks}"
    yield from (f"{toolbox}.json", f"{toolbox}.npy", f"generic_{inputs}_{split}_{region}_{cloud_masks}.npy")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_npy(path: Path) -> Any:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if not dtype.hasobject or shape != ():
            raise ValueError("it holds numbers, not a table")
        return read_plain(file)


def _numbers(value: Any) -> list[float]:
    return [float(number) for number in np.ravel(np.asarray(value, dtype=np.float64))]


def _entry(value: Mapping[str, Any]) -> DateEntry:
    coverage = tuple(_numbers(value["coverage"])) if "coverage" in value else ()
    if "input" not in value:
        return DateEntry(coverage=coverage)
    target = _numbers(value["target"])
    return DateEntry(tuple(int(number) for number in _numbers(value["input"])), int(target[0]), coverage)


def _texts(value: Any) -> Iterator[str]:
    """Every text inside nested dictionaries, lists and arrays."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple, np.ndarray)):
        for part in value:
            yield from _texts(part)


def _series(value: Mapping[str, Any]) -> Series | None:
    return next((found for text in _texts(value) if (found := series_of(text)) is not None), None)
