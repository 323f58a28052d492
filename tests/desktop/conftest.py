"""A screen without a monitor, and QGIS on it in a profile of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "[PythonPlugins]\ncloud_removal_plugin=true\nprocessing=true\n[qgis]\ncheckVersion=false\nshowTips{}=false\n"
PATIENCE_S = 240


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """DISPLAY of an Xvfb with a window manager; skips where Xvfb is missing."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed (apt install xvfb openbox)")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    xvfb = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as told:
        number = told.readline().strip()
    if not number:
        pytest.fail("Xvfb does not start")
    display = f":{number}"
    manager = None
    if shutil.which("openbox"):
        manager = subprocess.Popen(
            ["openbox"], env={**os.environ, "DISPLAY": display}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
    yield display
    for process in (manager, xvfb):
        if process is not None:
            process.terminate()
            process.wait(timeout=10)


@pytest.fixture
def drive_desktop(screen: str, tmp_path: Path) -> Callable[[dict], dict]:
    """``drive_desktop(plan)`` runs QGIS with tests/desktop/drive.py and gives its report."""
    program = shutil.which("qgis.bin") or shutil.which("qgis")
    if program is None:
        pytest.skip("the QGIS desktop is not installed")
    link = ROOT / "cloud_removal_plugin" / "metadata.txt"
    if not link.exists():
        link.symlink_to(Path("..") / "metadata.txt")
    settings = tmp_path / "gui" / "profiles" / "ci" / "QGIS" / "QGIS3.ini"
    settings.parent.mkdir(parents=True)
    version = pytest.importorskip("qgis.core", reason="PyQGIS is not installed").Qgis.QGIS_VERSION_INT // 100
    settings.write_text(PROFILE.format(version), encoding="utf-8")
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    dropped = ("QT_QPA_PLATFORM", "PYTHONPATH", "QGIS_CUSTOM_CONFIG_PATH", "CLOUD_REMOVAL_RUN")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    ours = ROOT / ".venv" / "bin" / "python"
    if ours.exists():
        environment.setdefault("CLOUD_REMOVAL_PYTHON", str(ours))

    def drive(plan: dict) -> dict:
        folder = Path(plan["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        done = subprocess.run(
            [
                program, "--noversioncheck", "--nologo", "--profiles-path", str(tmp_path / "gui"), "--profile", "ci",
                "--code", str(Path(__file__).parent / "drive.py"),
            ],
            env={
                **environment, "DISPLAY": screen, "QGIS_PLUGINPATH": str(ROOT), "XDG_RUNTIME_DIR": str(run),
                "CLOUD_REMOVAL_DESKTOP": str(tmp_path / "plan.json"),
            },
            capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        report = folder / "report.json"
        if not report.is_file():
            pytest.fail(f"QGIS ended with {done.returncode} and no report:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return {**json.loads(report.read_text(encoding="utf-8")), "status": done.returncode}

    return drive
