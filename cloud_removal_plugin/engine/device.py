"""What a job may compute on, and how much memory it may use."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import DependencyError

LEAST_MB = 512
"""A job gets at least this: below it, one window of one date does not fit."""

MOST_MB = 4096
"""What a job takes on its own account, however much there is; windows do not get faster by more."""

SHARE = 0.5
"""Share of the free memory that a job takes on its own account: QGIS and the analyst's other programs need theirs."""

_MiB = 1 << 20


def choose(requested: str) -> str:
    """The torch device for DEVICE: 'cpu' or 'cuda'. torch is imported only where there may be a graphics card.

    Args:
        requested: 'auto', 'cpu' or 'cuda'.

    Raises:
        DependencyError: 'cuda' is asked for, but cannot be had.
    """
    if requested == "cpu":
        return "cpu"
    if _has_cuda():
        return "cuda"
    if requested == "cuda":
        raise DependencyError(
            "DEVICE is 'cuda', but the Python that runs the job finds no usable graphics card. "
            "Choose 'auto' or 'cpu', or install the CUDA build of PyTorch and a current driver."
        )
    return "cpu"


def describe(requested: str) -> str:
    """One sentence for the log: what the job computes on, with name and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu = f"{_processor()}, {cores} cores, {available_memory_mb()} MB of memory free"
    if requested != "cpu" and _has_cuda():
        import torch

        card = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info(0)
        return f"Device: {card.name}, {free // _MiB} of {total // _MiB} MB of graphics memory free; {cpu}."
    return f"Device: processor ({cpu})."


def _has_cuda() -> bool:
    if "torch" not in sys.modules and not _may_have_cuda():
        return False
    try:
        import torch
    except (ImportError, OSError):
        return False
    return bool(torch.cuda.is_available())


def _may_have_cuda() -> bool:
    """Whether importing torch (more than a second) could find a graphics card at all."""
    if importlib.util.find_spec("torch") is None:
        return False
    try:
        if importlib.metadata.version("torch").endswith("+cpu"):
            return False
    except importlib.metadata.PackageNotFoundError:
        return True
    if os.name == "nt":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    # NVIDIA, NVIDIA under WSL, AMD
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def _processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_budget_mb(requested: int) -> int:
    """What a job may use in MiB.

    Args:
        requested: MEMORY_MB; 0 = automatic, half of what is free but at most :data:`MOST_MB`.

    Returns:
        At least :data:`LEAST_MB`; never more than nine tenths of what is free, unless that is less than the least.
    """
    available = available_memory_mb()
    wanted = requested if requested > 0 else min(int(available * SHARE), MOST_MB)
    return max(LEAST_MB, min(wanted, int(available * 0.9)))


def available_memory_mb() -> int:
    """Memory in MiB that this process can still get: what the system has free, within the limits of its container."""
    limits = [_system_bytes(), *_cgroup_bytes()]
    return max(0, min(limits)) // _MiB


def _system_bytes() -> int:
    if os.name == "nt":
        return _windows_bytes()
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        # macOS tells the installed memory only; what is in use elsewhere is swapped or compressed.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (ValueError, OSError, AttributeError):
        return MOST_MB * _MiB


def _windows_bytes() -> int:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows API."""

        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "p_total", "p_free", "v_total", "v_free", "x")),
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return int(status.free)


def _cgroup_bytes(proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Bytes left in each control group (versions 1 and 2) that holds this process and has a limit."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, inner = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = mount / "memory" if controllers else mount
        group = root / inner.lstrip("/")
        # In a container the path may be the host's and not exist below its own mount.
        places = [place for place in (group, *group.parents) if place.is_relative_to(root) and place.is_dir()]
        for place in places:
            left = _left(place, v2=not controllers)
            if left is not None:
                yield left


def _left(place: Path, v2: bool) -> int | None:
    """Limit less use of one control group; cache that the kernel drops on demand counts as free."""
    names = ("memory.max", "memory.current") if v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    try:
        limit, used = (int((place / name).read_text(encoding="ascii")) for name in names)
        stat = dict(line.split() for line in (place / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no limit reads "max"
        return None
    return limit - used + int(stat.get("inactive_file", stat.get("total_inactive_file", 0)))
