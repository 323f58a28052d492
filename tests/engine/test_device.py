"""What a job may compute on, and how much memory it may use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cloud_removal_plugin.engine import device
from cloud_removal_plugin.errors import DependencyError

ROOT = Path(__file__).resolve().parents[2]


def test_cpu_is_never_asked_of_torch():
    code = (
        "import sys; sys.path.append(sys.argv[1]); from cloud_removal_plugin.engine import device; "
        "assert device.choose('cpu') == 'cpu'; device.describe('cpu'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT)], check=True)


def test_without_a_card(monkeypatch):
    monkeypatch.setattr(device, "_has_cuda", lambda: False)
    assert device.choose("auto") == "cpu"
    assert "processor" in device.describe("auto")
    with pytest.raises(DependencyError, match="no usable graphics card"):
        device.choose("cuda")


def test_with_a_card(monkeypatch):
    monkeypatch.setattr(device, "_has_cuda", lambda: True)
    assert device.choose("auto") == "cuda"
    assert device.choose("cuda") == "cuda"
    assert device.choose("cpu") == "cpu"


@pytest.mark.parametrize(
    ("available", "requested", "budget"),
    [(10_000, 0, 4096), (4000, 0, 2000), (600, 0, 512), (10_000, 1500, 1500), (1000, 5000, 900), (100, 5000, 512)],
)
def test_memory_budget(monkeypatch, available, requested, budget):
    monkeypatch.setattr(device, "available_memory_mb", lambda: available)
    assert device.memory_budget_mb(requested) == budget


def test_available_memory_is_plausible():
    assert 50 < device.available_memory_mb() < 64_000_000


def test_container_limit_version_2(tmp_path):
    group = tmp_path / "box" / "job"
    group.mkdir(parents=True)
    for place, limit in ((group, "max"), (group.parent, str(1000 << 20))):
        (place / "memory.max").write_text(limit)
        (place / "memory.current").write_text(str(700 << 20))
        (place / "memory.stat").write_text(f"anon 5\ninactive_file {200 << 20}\n")
    (tmp_path / "self").write_text("0::/box/job\n")
    assert list(device._cgroup_bytes(tmp_path / "self", tmp_path)) == [500 << 20]


def test_container_limit_version_1_with_a_path_of_the_host(tmp_path):
    root = tmp_path / "memory"
    root.mkdir()
    (root / "memory.limit_in_bytes").write_text(str(300 << 20))
    (root / "memory.usage_in_bytes").write_text(str(100 << 20))
    (root / "memory.stat").write_text("total_inactive_file 0\n")
    (tmp_path / "self").write_text("5:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    assert list(device._cgroup_bytes(tmp_path / "self", tmp_path)) == [200 << 20]


def test_no_container(tmp_path):
    assert list(device._cgroup_bytes(tmp_path / "none", tmp_path)) == []
