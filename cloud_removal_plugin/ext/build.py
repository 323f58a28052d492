"""Finds the compiled kernel, or builds it.

The library lies in the user's cache folder, in a folder named after everything that it depends on: its sources, torch,
the compiler's flags and the processor. It is built by a child process with a time limit in a folder of the child's
own and moved into place when it is whole, so that a build that was killed leaves nothing that another waits for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import subprocess  # nosec B404
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
PACKAGE = __package__.split(".")[0]
FOLDER = "CLOUD_REMOVAL_CACHE"
"""Environment variable that names the cache folder."""

SWITCH = "CLOUD_REMOVAL_KERNEL"
"""Environment variable; ``off`` keeps to the torch version."""

LIBRARY = "cloud_removal_kernel.so"
LIMIT_S = 600.0
"""A build takes 30 seconds on an idle core; on a machine full of other work ten times that."""

FLAGS = ("-O3", "-march=native", "-fopenmp", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-g0")
_BOOTSTRAP = (
    "import sys; sys.path += sys.argv[1:3]; import importlib; "
    "sys.exit(importlib.import_module(sys.argv[3] + '.ext.compile').main(sys.argv[4:]))"
)


class NotBuilt(Exception):
    """There is no compiled kernel; the message says why, in half a sentence."""


def cache_folder() -> Path:
    """The user's cache folder for kernels."""
    chosen = os.environ.get(FOLDER)
    if chosen:
        return Path(chosen, "kernels")
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "cloud_removal" / "kernels"


def key() -> str:
    """Name of the build that fits this machine: torch's version and a digest of all that the library depends on."""
    import torch

    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    for part in (torch.__version__, str(torch.version.cuda), *FLAGS, platform.machine(), _processor()):
        digest.update(part.encode())
    return f"torch{torch.__version__.replace('+', '_')}-{digest.hexdigest()[:16]}"


def _processor() -> str:
    """What the compiler may use of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        return platform.processor()
    return platform.processor()


def library(may_build: bool, cancelled: Callable[[], bool], log: Callable[[str], None]) -> Path:
    """Path of the compiled library, built first where there is none.

    Args:
        may_build: whether a build may be started.
        cancelled: ends the build when it answers True.
        log: is told before a build.

    Raises:
        NotBuilt: there is none and it cannot be built, or not now.
    """
    if os.environ.get(SWITCH, "").lower() == "off":
        raise NotBuilt(f"{SWITCH} is off")
    try:
        path = cache_folder() / key() / LIBRARY
        if path.is_file():
            return path
        if not may_build:
            raise NotBuilt("it has not been built yet")
        missing = missing_tools()
        if missing:
            raise NotBuilt(missing)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(path.parent, cancelled):
            if not path.is_file():  # another process may have built it meanwhile
                log("Compiling the kernel of the networks, once for this version; this takes about half a minute.")
                _build(path, cancelled)
    except OSError as error:
        raise NotBuilt(f"the cache folder cannot be used: {error}") from error
    return path


def missing_tools() -> str:
    """What a build lacks on this machine, '' where nothing."""
    if os.name == "nt":
        return "it is written for GCC and Clang"
    found = search_path()
    for tools, name in (((os.environ.get("CXX") or "c++",), "a C++ compiler"), (("ninja",), "ninja")):
        if not any(shutil.which(tool, path=found) for tool in tools):
            return f"{name} was not found"
    return ""


def search_path() -> str:
    """Where programs are looked for: also beside the interpreter, where pip puts ninja."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), os.path.dirname(sys.executable)])


@contextlib.contextmanager
def _one_at_a_time(folder: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Lets one process build while the others wait. The system drops the lock with the process that holds it.

    Raises:
        NotBuilt: cancelled, or another process took longer than a build may take.
    """
    import fcntl  # not on Windows, where nothing is built

    until = time.monotonic() + LIMIT_S
    with (folder / "lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if cancelled():
                    raise NotBuilt("cancelled") from error
                if time.monotonic() > until:
                    raise NotBuilt("another process builds it and does not come to an end") from error
                time.sleep(0.1)
        yield


def _build(path: Path, cancelled: Callable[[], bool]) -> None:
    """Compile in a folder beside the target and move the library into place.

    Raises:
        NotBuilt: the compiler fails or takes too long, or cancelled.
    """
    for old in path.parent.glob("part-*"):  # of builds that were killed: whoever is here holds the lock
        shutil.rmtree(old, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=path.parent))
    try:
        _run_child(part, cancelled)
        os.replace(part / LIBRARY, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run_child(part: Path, cancelled: Callable[[], bool]) -> None:
    import torch

    folders = [str(Path(__file__).resolve().parents[2]), str(Path(torch.__file__).resolve().parents[1])]
    environment = {**os.environ, "PATH": search_path(), "MAX_JOBS": os.environ.get("MAX_JOBS", "2")}
    with (part / "log").open("w+", encoding="utf-8", errors="replace") as log:
        # never a shell: a list of arguments, this interpreter
        child = subprocess.Popen(  # nosec B603
            [sys.executable, "-I", "-c", _BOOTSTRAP, *folders, PACKAGE, str(part)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=part, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait(child, cancelled)
        finally:
            _end(child)
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    if child.returncode != 0:
        told = next((line for line in lines if "error:" in line), lines[-1] if lines else "no message")
        raise NotBuilt(f"the build failed: {told[:200]}")


def _wait(child: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while child.poll() is None:
        if cancelled():
            raise NotBuilt("cancelled")
        if time.monotonic() > until:
            raise NotBuilt(f"the build took longer than {LIMIT_S:.0f} s")
        time.sleep(0.05)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child and the compilers that it started, where it still runs."""
    if child.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
