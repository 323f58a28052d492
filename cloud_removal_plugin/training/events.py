"""The log of a training for TensorBoard: an event file, written without TensorBoard.

A file is a row of records: length (8 bytes), masked CRC-32C of these bytes, an Event message, masked CRC-32C of it
(https://www.tensorflow.org/tutorials/load_data/tfrecord). Of Event (tensorflow/core/util/event.proto) the fields
wall_time, step, file_version, summary and session_log are used, of Summary only scalars; protobuf's wire format is
described at https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import OutputError
from .held_out import LOSS

FOLDER = "tensorboard"
VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION = 1, 2, 3, 5, 7
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5


def _table() -> tuple[int, ...]:
    """CRC-32C (Castagnoli) of every byte, bits reflected."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()


def masked_crc(data: bytes) -> int:
    """CRC-32C, turned by 15 bits and shifted by a constant, as records store it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """One record of a file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _field(number: int, kind: int, value: bytes) -> bytes:
    content = _varint(len(value)) + value if kind == _BYTES else value
    return _varint(number << 3 | kind) + content


def _scalar(name: str, value: float) -> bytes:
    """Summary.Value with tag and simple_value, as a field of Summary."""
    inside = _field(1, _BYTES, name.encode()) + _field(2, _FLOAT, struct.pack("<f", value))
    return _field(1, _BYTES, inside)


def _event(step: int, *fields: bytes) -> bytes:
    when = _field(_WALL_TIME, _DOUBLE, struct.pack("<d", time.time()))
    return record(when + _field(_STEP, _VARINT, _varint(step)) + b"".join(fields))


class Events:
    """Curves of a run; the file appears with the first figure, one more after each resume.

    Args:
        folder: TensorBoard's ``--logdir``.
        first: the step that the run goes on from; TensorBoard then forgets what an interrupted one wrote beyond it.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder, self._first = folder, first
        self._path: Path | None = None
        self._waiting: list[bytes] = []

    def add(self, row: Mapping[str, float]) -> None:
        """One row of the history: ``step``, and figures of the training or of held-out samples."""
        prefix = "held_out" if LOSS in row else "training"
        names = {name: f"{prefix}/{'loss' if name == LOSS else name}" for name in row if name != "step"}
        summary = b"".join(_scalar(tag, row[name]) for name, tag in names.items() if not math.isnan(row[name]))
        self._waiting.append(_event(int(row["step"]), _field(_SUMMARY, _BYTES, summary)))

    def write(self) -> None:
        """Appends what was added since the last call.

        Raises:
            OutputError: the file cannot be written.
        """
        if not self._waiting:
            return
        start = b""
        if self._path is None:
            self._path = self._folder / f"events.out.tfevents.{int(time.time())}.{os.getpid()}.{self._first}"
            session = _field(_SESSION, _BYTES, _field(1, _VARINT, _varint(1)))
            start = _event(0, _field(_FILE_VERSION, _BYTES, VERSION)) + _event(self._first + 1, session)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(start + b"".join(self._waiting))
        except OSError as error:
            raise OutputError(
                f"The log '{self._path}' cannot be written ({error}). Make room or choose another folder; the last "
                "checkpoint is still whole."
            ) from error
        self._waiting.clear()
