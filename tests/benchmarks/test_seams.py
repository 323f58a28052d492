"""What borders of windows add is found where they are, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from benchmarks import seams  # noqa: E402
from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.methods.facts import SceneFacts  # noqa: E402
from cloud_removal_plugin.methods.learned import Learned  # noqa: E402
from cloud_removal_plugin.methods.learned_window import Runner  # noqa: E402
from cloud_removal_plugin.observation import Observation  # noqa: E402
from tests.methods.networks import scene, store  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def runner_of(name: str, folder: Path, **lattice) -> tuple[Runner, Observation]:
    """A small network on made-up land with a cloud in a part of it, in windows of 64 px."""
    obs = scene((160, 160), 1)
    store(name, folder)
    method = Learned(name, folder, 1024)
    method.prepare(SceneFacts(obs.bands, 1, seams.DAY, "VV VH", models.record(name).gsd_m, obs.shape[2:]))
    runner = method.runner([obs], "cpu", None, None)[0]
    return replace(runner, lattice=replace(runner.lattice, **({"edge": 64} | lattice))), obs


def test_a_local_network_in_enough_surroundings_has_no_seams(tmp_path: Path) -> None:
    found = seams.measured("dsen2cr", *runner_of("dsen2cr", tmp_path))
    assert found.steps.max() < 1e-3
    assert found.elsewhere < 1e-5
    without = seams.measured("dsen2cr", *runner_of("dsen2cr", tmp_path, halo=0))
    assert without.steps.max() > 1e-2


def test_fading_spreads_what_windows_differ_by(tmp_path: Path) -> None:
    name, how = "uncrtaints_mono", {"fixed": True}
    narrow = seams.measured(name, *runner_of(name, tmp_path, fade=4, halo=14, **how))
    wide = seams.measured(name, *runner_of(name, tmp_path, fade=24, halo=4, **how))
    assert max(narrow.elsewhere, wide.elsewhere) < 1e-5
    assert np.quantile(wide.steps, 0.999) < 0.4 * np.quantile(narrow.steps, 0.999)
    assert np.median(wide.heights) > 0.5 * np.median(narrow.heights), "they lie as far apart as before"
