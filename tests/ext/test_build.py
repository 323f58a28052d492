"""Finding and building the compiled kernel: what is missing, fails, hangs, is cancelled, or is done twice at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from cloud_removal_plugin import ext  # noqa: E402
from cloud_removal_plugin.ext import build  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="nothing is built on Windows")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv(build.FOLDER, str(tmp_path / "cache"))
    monkeypatch.delenv(build.SWITCH, raising=False)
    return tmp_path / "cache"


def find(may_build: bool = True, cancelled=lambda: False) -> Path:
    return build.library(may_build, cancelled, lambda text: None)


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


NETWORK = """
import logging, os, sys
logging.basicConfig(level=logging.WARNING, format="LOG %(message)s", stream=sys.stdout)
import torch
from cloud_removal_plugin import ext, models
torch.manual_seed(3)
network = models.create("glfcr", G0=16, D=2, C=2, G=8)
optical, sar = torch.rand(1, 13, 64, 64), torch.rand(1, 2, 64, 64)
with torch.inference_mode():
    network(optical, sar)
    out = network(optical, sar)
torch.save(out, sys.argv[1])
print("COMPILED", ext.loaded())
"""


def run_network(out: Path, **environment: str) -> tuple[list[str], torch.Tensor]:
    """What a process that runs a small GLF-CR twice prints, and its result."""
    done = subprocess.run(
        [sys.executable, "-c", NETWORK, str(out)], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return done.stdout.splitlines(), torch.load(out, weights_only=True)


@posix
def test_without_a_compiler_the_numbers_are_the_same_and_one_line_says_so(kernel, tmp_path: Path) -> None:
    empty = program(tmp_path / "bin", "nothing", "exit 1").parent
    said, slow = run_network(tmp_path / "a.pt", PATH=str(empty), CXX="", CLOUD_REMOVAL_CACHE=str(tmp_path / "cache"))
    assert said[-1] == "COMPILED False"
    lines = [line for line in said if line.startswith("LOG")]
    assert len(lines) == 1
    assert "a C++ compiler was not found" in lines[0]
    said, fast = run_network(tmp_path / "b.pt")
    assert said == ["COMPILED True"]
    assert not torch.equal(fast, slow)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


@posix
def test_what_is_missing_is_named(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "c++", "exit 1")
    monkeypatch.setattr(build, "search_path", lambda: str(tmp_path / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.NotBuilt, match="ninja was not found"):
        find()
    monkeypatch.setenv("CXX", "c++-of-another-planet")
    with pytest.raises(build.NotBuilt, match=r"a C\+\+ compiler was not found"):
        find()
    assert not list(cache.rglob("*.so"))


def needs_tools() -> None:
    if missing := build.missing_tools():
        pytest.skip(missing)


@posix
def test_a_failing_compiler_is_quoted(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tools()
    failing = program(
        tmp_path, "failing", 'case "$*" in *version*) echo 12.2.0;; *) echo "x.cpp: error: no"; exit 1;; esac'
    )
    monkeypatch.setenv("CXX", str(failing))
    with pytest.raises(build.NotBuilt, match=r"the build failed: x\.cpp: error: no"):
        find()
    assert not list(cache.rglob("part-*"))
    assert not list(cache.rglob("*.so"))


def ended(pid: int) -> bool:
    """Whether a process is gone, now or within five seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@posix
@pytest.mark.parametrize("how", ["limit", "cancel"])
def test_a_hanging_compiler_is_ended_with_all_it_started(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    needs_tools()
    pids = tmp_path / "pids"
    hanging = program(tmp_path, "hanging", f"echo $$ >> {pids}\nexec sleep 600")
    monkeypatch.setenv("CXX", str(hanging))
    until = time.monotonic() + 60

    def started() -> bool:
        assert time.monotonic() < until, "the compiler was not started"
        return pids.exists()

    if how == "limit":
        monkeypatch.setattr(build, "LIMIT_S", 3.0)
    with pytest.raises(build.NotBuilt, match="longer than 3 s" if how == "limit" else "cancelled"):
        find(cancelled=started if how == "cancel" else lambda: False)
    for pid in pids.read_text().split() if pids.exists() else ():
        assert ended(int(pid))
    assert not list(cache.rglob("part-*"))


def quick_child(delay: float, calls: list[Path]):
    """Stands for the child that compiles."""

    def run(part: Path, cancelled) -> None:
        calls.append(part)
        time.sleep(delay)
        (part / build.LIBRARY).write_bytes(b"library")

    return run


@posix
def test_two_at_once_build_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tools()
    calls: list[Path] = []
    monkeypatch.setattr(build, "_run_child", quick_child(0.5, calls))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(find())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(set(found)) == 1
    assert found[0].read_bytes() == b"library"


@posix
def test_what_a_killed_build_left_behind_stops_nobody(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tools()
    folder = build.cache_folder() / build.key()
    (folder / "part-dead").mkdir(parents=True)
    for stale in (folder / "lock", folder / "part-dead" / "lock", folder / "part-dead" / build.LIBRARY):
        stale.touch()
    monkeypatch.setattr(build, "_run_child", quick_child(0.0, []))
    began = time.monotonic()
    assert find().read_bytes() == b"library"
    assert time.monotonic() - began < 5
    assert not (folder / "part-dead").exists()


@posix
def test_a_build_that_another_never_ends_is_not_waited_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    needs_tools()
    folder = build.cache_folder() / build.key()
    folder.mkdir(parents=True)
    monkeypatch.setattr(build, "LIMIT_S", 0.3)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(build.NotBuilt, match="another process"):
            find()
        with pytest.raises(build.NotBuilt, match="cancelled"):
            find(cancelled=lambda: True)


def test_a_cache_that_cannot_be_used_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tools()
    (tmp_path / "file").touch()
    monkeypatch.setenv(build.FOLDER, str(tmp_path / "file"))
    with pytest.raises(build.NotBuilt, match="cache folder cannot be used"):
        find()


def test_other_sources_are_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.key()
    assert first == build.key()
    (tmp_path / "a.cpp").write_text("int main;")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    second = build.key()
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert len({first, second, build.key()}) == 3


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not looked for the kernel yet."""
    monkeypatch.setattr(ext, "_state", None)


def test_nothing_is_built_inside_qgis(cache: Path, fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qgis.core", object())
    monkeypatch.setattr(build, "_run_child", lambda part, cancelled: pytest.fail("built inside QGIS"))
    found = ext.load()
    assert not found.compiled
    assert "has not been built" in found.sentence
    assert ext.load() is found


def test_can_be_switched_off(cache: Path, fresh, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setenv(build.SWITCH, "off")
    assert "CLOUD_REMOVAL_KERNEL is off" in ext.load(allow_build=True).sentence
    assert not ext.loaded()
    assert len(caplog.messages) == 1


def test_a_broken_library_is_not_fatal(cache: Path, fresh) -> None:
    folder = build.cache_folder() / build.key()
    folder.mkdir(parents=True)
    (folder / build.LIBRARY).write_bytes(b"not a library")
    found = ext.load(allow_build=False)
    assert not found.compiled
    assert "\n" not in found.sentence


def test_a_cancelled_build_is_tried_again(cache: Path, fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelled_child(part: Path, cancelled) -> None:
        raise build.NotBuilt("cancelled")

    needs_tools()
    monkeypatch.setattr(build, "_run_child", cancelled_child)
    assert not ext.load(allow_build=True, cancelled=lambda: True).compiled
    assert ext._state is None


def test_importing_the_package_leaves_torch_alone() -> None:
    code = "import sys; from cloud_removal_plugin import ext; ext.loaded(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
