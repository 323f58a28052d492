"""What the plugin site asks of the zip and of metadata.txt, and the house rules."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
        assert not entry.filename.endswith(package.REFUSED_SUFFIXES)
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
