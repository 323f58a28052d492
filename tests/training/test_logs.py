"""The page and the event files: what is written is what the training did."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

from cloud_removal_plugin.errors import OutputError
from cloud_removal_plugin.training.events import Events, masked_crc
from cloud_removal_plugin.training.page import write_page
from tests.training.test_loop import run


def varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def message(data: bytes) -> dict[int, list[Any]]:
    """Fields of a protobuf message by number: numbers, or bytes."""
    found: dict[int, list[Any]] = {}
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = varint(data, place)
        elif kind == 2:
            length, place = varint(data, place)
            value, place = data[place : place + length], place + length
        else:
            size, code = {1: (8, "<d"), 5: (4, "<f")}[kind]
            value, place = struct.unpack(code, data[place : place + size])[0], place + size
        found.setdefault(key >> 3, []).append(value)
    return found


def events(path: Path) -> list[dict[int, list[Any]]]:
    """Every record of an event file; its checksums hold."""
    data, place, found = path.read_bytes(), 0, []
    while place < len(data):
        length, check = struct.unpack("<QI", data[place : place + 12])
        assert check == masked_crc(data[place : place + 8])
        content = data[place + 12 : place + 12 + length]
        assert struct.unpack("<I", data[place + 12 + length : place + 16 + length])[0] == masked_crc(content)
        found.append(message(content))
        place += 16 + length
    return found


def scalars(path: Path) -> dict[tuple[str, int], float]:
    """Figures by name and step."""
    found = {}
    for event in events(path):
        for summary in event.get(5, ()):
            for value in message(summary)[1]:
                parts = message(value)
                found[parts[1][0].decode(), event[2][0]] = parts[2][0]
    return found


def test_the_checksum_is_that_of_the_format() -> None:
    # CRC-32C of "123456789" is 0xE3069283 (RFC 3720, appendix B.4 has more); masked as records want it
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_tensorboard_reads_what_the_training_did(settings, tmp_path: Path) -> None:
    trainer = run(settings(steps=4, validate_every=2))
    folder = tmp_path / "run" / "tensorboard"
    (path,) = folder.iterdir()
    assert "tfevents" in path.name
    first, second, *_ = events(path)
    assert first[3] == [b"brain.Event:2"]
    assert (second[2], message(second[7][0])) == ([1], {1: [1]})
    found = scalars(path)
    for row in trainer.progress.history:
        if "loss" in row:
            assert found["training/loss", int(row["step"])] == pytest.approx(row["loss"], rel=1e-6)
        else:
            assert found["held_out/loss", int(row["step"])] == pytest.approx(row["validation"], rel=1e-6)
            assert found["held_out/psnr", int(row["step"])] == pytest.approx(row["psnr"], rel=1e-6)
    assert len(found) == 4 + 3 * 4
    run(settings(steps=6, resume=True))
    resumed = next(other for other in folder.iterdir() if other != path)
    assert {step for _, step in scalars(resumed)} == {5, 6}
    assert events(resumed)[1][2] == [5], "TensorBoard forgets what an interrupted run wrote from here on"


def test_a_real_tensorboard_agrees(settings, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard here")
    trainer = run(settings(steps=3))
    found = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [event.value for event in found.Scalars("training/loss")]
    assert losses == pytest.approx([row["loss"] for row in trainer.progress.history if "loss" in row], rel=1e-6)


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    log = Events(tmp_path / "file")
    log.add({"step": 1.0, "loss": 1.0})
    with pytest.raises(OutputError, match="cannot be written"):
        log.write()


def test_negative_losses_have_a_curve(tmp_path: Path) -> None:
    history = [{"step": 0.0, "validation": 2.0}, {"step": 1.0, "loss": -1.0}, {"step": 2.0, "loss": -3.0}]
    write_page(tmp_path / "a.html", "MGNLL", {"seed": "<1>"}, history)
    text = (tmp_path / "a.html").read_text()
    train = text.split('class="train"')[1].split('points="')[1].split('"')[0]
    assert len(train.split()) == 3
    assert "&lt;1&gt;" in text
    write_page(tmp_path / "b.html", "Nothing", {}, [])
    assert "No step was made yet" in (tmp_path / "b.html").read_text()


def test_figures_have_as_many_digits_as_they_mean(tmp_path: Path) -> None:
    figures = {"psnr": 31.23456, "mae": 0.0123456, "rmse": 0.02, "validation": 28.916432}
    write_page(tmp_path / "a.html", "T", {}, [{"step": 12.0, **figures}])
    text = (tmp_path / "a.html").read_text()
    for cell in ("12", "31.23", "0.0123", "0.0200", "28.916"):
        assert f"<td>{cell}</td>" in text
    assert "reflectance" in text
