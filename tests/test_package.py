"""What the plugin site asks of the zip and of metadata.txt, and the house rules."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cloud_removal_plugin.weights import folder, shipped
from cloud_removal_plugin.weights.shipped import INSTALLED
from tools import house_rules, package

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = (
    "name", "description", "version", "qgisMinimumVersion", "qgisMaximumVersion", "author", "email", "about",
    "tracker", "repository", "homepage", "hasProcessingProvider", "category", "tags", "changelog",
)  # fmt: skip


@pytest.fixture(scope="module")
def in_git() -> None:
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--git-dir"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout: the package is made from what git tracks")


@pytest.fixture(scope="module")
def archive(in_git: None, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("package") / "plugin.zip"
    return zipfile.ZipFile(package.build(target, package.working_tree(ROOT)))


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(ROOT / "metadata.txt", encoding="utf-8")
    return dict(parser["general"])


def test_one_folder_with_what_the_site_requires(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"cloud_removal_plugin"}
    required = ("__init__.py", "metadata.txt", "LICENSE", "README.md")
    assert {f"cloud_removal_plugin/{name}" for name in required} <= set(names)
    assert len(names) == len(set(names))
    assert archive.testzip() is None


def test_nothing_in_it_that_the_site_refuses(archive: zipfile.ZipFile) -> None:
    for entry in archive.infolist():
        is_weights = entry.filename.startswith(f"cloud_removal_plugin/{INSTALLED}/")
        assert is_weights or not entry.filename.endswith(package.REFUSED_SUFFIXES)
        assert not re.search(r"__pycache__|/\.|/tests?/", entry.filename), entry.filename
        mode = entry.external_attr >> 16
        assert not mode & 0o111, f"{entry.filename} is executable"
        assert mode & 0o170000 != 0o120000, f"{entry.filename} is a link"
    assert sum(entry.compress_size for entry in archive.infolist()) < package.MOST_BYTES


def test_the_same_files_make_the_same_zip(in_git: None, tmp_path: Path) -> None:
    first = package.build(tmp_path / "a.zip", package.working_tree(ROOT))
    second = package.build(tmp_path / "b.zip", package.working_tree(ROOT))
    assert first.read_bytes() == second.read_bytes()


def test_a_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="must not ship"):
        package.build(tmp_path / "a.zip", iter([("cloud_removal_plugin/kernel.so", b"")]))


def weights(**facts: str) -> bytes:
    """A small safetensors file of the network 'starter' with one number."""
    text = {"form": "1", "network": "starter", "config": "{}", "source": "test", "sha256": "", **facts}
    entry = {"__metadata__": text, "bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(entry).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 4


def test_weights_ship_with_their_cards_and_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "cloud_removal_plugin/__init__.py": b"", "weights/README.md": b"about",
        "weights/starter.safetensors": weights(), "weights/starter.json": b"{}", "weights/starter.md": b"# Card",
    }  # fmt: skip
    target = package.build(tmp_path / "plugin.zip", iter(files.items()))
    with zipfile.ZipFile(target) as archive:
        archive.extractall(tmp_path / "installed")
    plugin = tmp_path / "installed" / "cloud_removal_plugin"
    assert sorted(p.name for p in (plugin / INSTALLED).iterdir()) == [
        "starter.json", "starter.md", "starter.safetensors"
    ]  # fmt: skip
    checkout = tmp_path / "checkout"
    (checkout / "weights").mkdir(parents=True)
    (checkout / "weights" / "starter.safetensors").write_bytes(weights())
    assert shipped.shipped_folder(checkout / "cloud_removal_plugin") is None, "weights of another plugin"
    (checkout / "metadata.txt").write_text("[general]")
    for place in (plugin, checkout / "cloud_removal_plugin"):
        monkeypatch.setattr(folder, "shipped_folder", lambda place=place: shipped.shipped_folder(place))
        found = folder.find("starter", tmp_path / "nothing")
        assert found is not None
        assert found.path.is_relative_to(place.parent)
        assert folder.find("dsen2cr", tmp_path / "nothing") is None
    own = tmp_path / "own"
    own.mkdir()
    (own / "starter.safetensors").write_bytes(weights(source="mine"))
    assert folder.find("starter", own).source == "mine", "the analyst's own weights go before"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.safetensors": weights()}, "no card"),
        ({"a.safetensors": weights(reader="m3rcr"), "a.json": b""}, "may not be passed on"),
        ({"a.safetensors": weights(trained_with="aligncr"), "a.json": b""}, "may not be passed on"),
        ({"a.safetensors": weights(data="EarthNet2021/train"), "a.md": b""}, "may not be passed on"),
        ({"a.safetensors": weights() + bytes(5_000_000), "a.md": b""}, "5 may ship"),
        ({"a.safetensors": b"x", "a.md": b""}, "header"),
    ],
)
def test_weights_that_must_not_ship(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        package.build(tmp_path / "a.zip", iter((f"weights/{name}", content) for name, content in files.items()))
    assert not (tmp_path / "a.zip").exists()


def test_the_zip_holds_what_its_metadata_names(archive: zipfile.ZipFile, metadata: dict[str, str]) -> None:
    names = set(archive.namelist())
    assert f"cloud_removal_plugin/{metadata['icon']}" in names
    inside = archive.read("cloud_removal_plugin/metadata.txt")
    assert inside == (ROOT / "metadata.txt").read_bytes()
    assert b"classFactory" in archive.read("cloud_removal_plugin/__init__.py")
    assert "cloud_removal_plugin/provider.py" in names, "hasProcessingProvider=yes"
    # what the code reads from its own folder is there too
    for kind in ("help/*.json", "evaluation/templates/*", "evaluation/citations.json"):
        for path in (ROOT / "cloud_removal_plugin").glob(kind):
            assert path.is_dir() or path.relative_to(ROOT).as_posix() in names, path


def test_metadata_is_complete(metadata: dict[str, str]) -> None:
    for key in REQUIRED:
        assert metadata.get(key, "").strip(), f"metadata.txt lacks {key}"
    assert metadata["hasProcessingProvider"].lower() in ("yes", "true")
    assert metadata["qgisMinimumVersion"] == "3.22"
    assert metadata["category"] == "Raster"
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", metadata["version"])
    assert "supportsQt6" not in metadata
    assert metadata.get("license", "GPL").startswith("GPL")


def test_metadata_reads_with_interpolation_and_without_markup() -> None:
    text = (ROOT / "metadata.txt").read_text(encoding="utf-8")
    assert "%" not in text
    assert not re.search(r"<[a-zA-Z/]", text)
    assert "torch" in text.lower(), "the page must say which libraries are needed"


def test_metadata_and_changelog_agree(metadata: dict[str, str]) -> None:
    assert f"## [{metadata['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_versions_agree(metadata: dict[str, str]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{metadata["version"]}"' in project


def test_house_rules(in_git: None) -> None:
    assert not house_rules.complaints()


def test_bandit_finds_nothing() -> None:
    pytest.importorskip("bandit", reason="bandit is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "--quiet", "--recursive", str(ROOT / "cloud_removal_plugin")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_every_dependency_is_explained() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        name = re.match(r"[A-Za-z][\w-]*", line)
        if name:
            assert name.group().lower() in readme, f"the README does not say what {name.group()} is for"
