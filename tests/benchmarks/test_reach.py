"""The records' halos are enough, and not more than is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from benchmarks import reach  # noqa: E402
from cloud_removal_plugin import models  # noqa: E402

NARROW = {"dsen2cr": {"feature_size": 32}, "seq2point": {"resnet_F": 12}, "baseline_resnet": {"resnet_F": 32}}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", ["dsen2cr", "glfcr", "seq2point", "baseline_resnet"])
def test_the_records_halo_is_enough_and_half_of_it_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "NARROW", reach.NARROW | NARROW)
    monkeypatch.setattr(reach, "PATCHES", ())  # made-up land, so that no data are needed
    worst = reach.deviations(name, reach.build(name, 1.0))
    halo = models.record(name).halo
    assert worst[halo] < reach.LIMIT < worst[halo // 2]


def test_windows_compute_little_twice() -> None:
    """With the memory of a job by default: goal G10."""
    limits = {
        "dsen2cr": 1.15,
        "baseline_resnet": 1.15,
        "glfcr": 1.35,
        "seq2point": 1.35,
        "uncrtaints_mono": 1.35,
        "uncrtaints": 1.35,
    }
    for name, limit in limits.items():
        assert reach.windows_of(models.record(name), compiled=True)[1] <= limit, name
    wide = replace(models.record("dsen2cr"), halo=16)
    assert reach.windows_of(wide)[1] > 1.15, "what a larger halo costs"
