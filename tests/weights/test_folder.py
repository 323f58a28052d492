"""The analyst's weights folder: where it is, what is in it, and that nothing is lost when something fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud_removal_plugin.errors import InputError, OutputError
from cloud_removal_plugin.weights import folder as folders
from cloud_removal_plugin.weights.known import CHECKPOINTS, by_digest, of_network
from cloud_removal_plugin.weights.stored import read_header, text_of


def stored(path: Path, network: str = "dsen2cr", content: bytes = b"\0" * 8, **facts: str) -> None:
    """Writes a file of one entry as a safetensors writer would."""
    header = {
        "__metadata__": text_of(network, {"num_layers": 2, "widths": [1, 2]}, "model.pth", "ab" * 32) | facts,
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_environment_goes_before_the_setting_before_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    assert folders.weights_folder("elsewhere") == Path("elsewhere")
    own = folders.weights_folder("  ")
    assert own.is_absolute()
    assert own.parts[-2:] == ("cloud_removal", "weights")
    monkeypatch.setenv(folders.VARIABLE, "~/mine")
    assert folders.weights_folder("elsewhere") == Path.home() / "mine"


def test_a_stored_file_says_what_it_is(tmp_path: Path) -> None:
    assert folders.find("dsen2cr", tmp_path) is None
    stored(tmp_path / "dsen2cr.safetensors")
    found = folders.find("dsen2cr", tmp_path)
    assert found is not None
    assert found.config == {"num_layers": 2, "widths": (1, 2)}
    assert (found.source, found.sha256) == ("model.pth", "ab" * 32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: stored(p, content=b"\0" * 7), "damaged or incomplete"),
        (lambda p: p.write_bytes(b""), "damaged or incomplete"),
        (lambda p: p.write_bytes(b"\xff" * 40), "damaged or incomplete"),
        (lambda p: p.write_bytes((9).to_bytes(8, "little") + b'["a", 1]x'), "damaged or incomplete"),
        (lambda p: stored(p, network="glfcr"), "holds the weights of glfcr"),
        (lambda p: stored(p, form="7"), "was not made by importing"),
        (lambda p: stored(p, config="no json"), "damaged or incomplete"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, change, words: str) -> None:
    change(tmp_path / "dsen2cr.safetensors")
    with pytest.raises(InputError, match=words):
        folders.find("dsen2cr", tmp_path)


def test_weights_that_are_not_there_are_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There are no weights '.*gone\.safetensors'"):
        read_header(tmp_path / "gone.safetensors", "dsen2cr")


def test_new_weights_keep_the_old_ones_and_equal_ones_change_nothing(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder"
    path, kept = folders.publish("glfcr", place, lambda p: p.write_bytes(b"one"))
    assert (path.read_bytes(), kept) == (b"one", None)
    assert folders.publish("glfcr", place, lambda p: p.write_bytes(b"one"))[1] is None
    path, kept = folders.publish("glfcr", place, lambda p: p.write_bytes(b"two"))
    assert path.read_bytes() == b"two"
    assert kept is not None
    assert kept.read_bytes() == b"one"
    folders.publish("glfcr", place, lambda p: p.write_bytes(b"three"))
    assert sorted(p.name for p in place.iterdir()) == [
        "glfcr.old1.safetensors", "glfcr.old2.safetensors", "glfcr.safetensors",
    ]  # fmt: skip


def test_a_failed_write_leaves_everything_as_it_was(tmp_path: Path) -> None:
    folders.publish("glfcr", tmp_path, lambda p: p.write_bytes(b"one"))

    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        folders.publish("glfcr", tmp_path, full)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"glfcr.safetensors": b"one"}


def test_the_old_weights_come_back_if_the_last_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders.publish("glfcr", tmp_path, lambda p: p.write_bytes(b"one"))
    real = folders.os.replace

    def fails(source: Path, target: Path) -> None:
        if str(source).endswith(".part"):
            raise PermissionError(13, "in use")
        real(source, target)

    monkeypatch.setattr(folders.os, "replace", fails)
    with pytest.raises(OutputError, match="in use"):
        folders.publish("glfcr", tmp_path, lambda p: p.write_bytes(b"two"))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"glfcr.safetensors": b"one"}


def test_a_folder_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="CLOUD_REMOVAL_WEIGHTS"):
        folders.publish("glfcr", tmp_path / "file", lambda p: p.write_bytes(b"one"))


def test_the_table_is_whole() -> None:
    assert len({entry.name for entry in CHECKPOINTS}) == len(CHECKPOINTS)
    for entry in CHECKPOINTS:
        assert entry.address.startswith("https://"), entry.name
        assert entry.licence, entry.name
        assert len(entry.sha256) in (0, 64), entry.name
    assert [entry.file for entry in of_network("dsen2cr")] == ["model_SARcarl.hdf5", "model_SARplain.hdf5"]
    assert by_digest("") is None
