"""Half precision: only after windows of the scene were computed both ways. Tried on the processor, in bfloat16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from cloud_removal_plugin.errors import InputError  # noqa: E402
from cloud_removal_plugin.methods import precision, registry  # noqa: E402
from tests.methods.networks import SMALL, scene, store  # noqa: E402
from tests.methods.test_learned import native, prepared  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = {"seq2point": 3, "seq2point_nosar": 3, "seq2point_pairwise": 3, "uncrtaints": 3, "clearvision_removal": 6}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in SMALL:
        store(name, folder)
    return folder


def runner_of(name: str, folder: Path):
    dates = FRAMES.get(name, 5 if name.startswith("utilise") else 1)
    obs = native(name, scene((96, 112), dates))
    return prepared(name, folder, obs).runner([obs], "cpu", None, None)[0], obs


@pytest.mark.parametrize("name", registry.networks())
def test_every_network_computes_in_half_precision(name: str, weights: Path) -> None:
    runner, obs = runner_of(name, weights)
    found = precision.check(runner, [obs], "bfloat16")
    assert found.windows == 1
    # 8 bits of mantissa, through the depth of the network; the same bits would mean that nothing was lowered. The
    # pairwise network's signals grow with its depth where weights are random
    assert 1e-6 < found.deviation < (1 if name == "seq2point_pairwise" else 0.1)


def test_it_is_used_only_where_it_changes_nothing(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, obs = runner_of("dsen2cr", weights)
    monkeypatch.setattr(precision, "LIMIT", 1.0)
    allowed, said = precision.settled(runner, [obs], "bfloat16")
    assert allowed.precision == "bfloat16"
    assert said.startswith(
        "DSen2-CR computes in bfloat16: in 1 window of the scene 99.9% of the values differ by at most"
    )
    gap = obs.gap()
    full, half = (one.restore(obs, gap, None)[0][:, gap] for one in (runner, allowed))
    assert not np.array_equal(full, half)
    monkeypatch.setattr(precision, "LIMIT", 1e-7)
    refused, said = precision.settled(runner, [obs], "bfloat16")
    assert refused is runner
    assert "computes in float32, not in bfloat16" in said
    assert "(limit 1e-07)" in said


def test_numbers_that_overflow_are_refused(weights: Path) -> None:
    runner, obs = runner_of("dsen2cr", weights)
    with torch.no_grad():
        for layer in (runner.network.model[0], runner.network.model[-1]):
            layer.weight *= 1e20
    refused, said = precision.settled(runner, [obs], "bfloat16")
    assert refused is runner
    assert "not finite" in said or "float32, not in" in said


def test_nothing_to_try_it_on(weights: Path) -> None:
    runner, obs = runner_of("dsen2cr", weights)
    obs.cloud[:] = 0
    refused, said = precision.settled(runner, [obs], "bfloat16")
    assert refused is runner
    assert "no window to try" in said


def test_what_is_tried_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert precision.wanted("cuda", {}) == ("float16", "")
    assert precision.wanted("cuda", {precision.VARIABLE: "float32"}) == ("float32", "")
    assert precision.wanted("cpu", {}) == ("float32", "")
    monkeypatch.setattr(precision, "native_bfloat16", lambda: True)
    assert precision.wanted("cpu", {precision.VARIABLE: "bfloat16"}) == ("bfloat16", "")
    monkeypatch.setattr(precision, "native_bfloat16", lambda: False)
    chosen, said = precision.wanted("cpu", {precision.VARIABLE: "bfloat16"})
    assert chosen == "float32"
    assert "does not multiply bfloat16 natively" in said
    with pytest.raises(InputError, match="must be one of auto, float32"):
        precision.wanted("cpu", {precision.VARIABLE: "int8"})


def test_native_is_what_the_processor_says(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("processor: 0\nflags\t: fpu avx512f avx512_bf16\n")
    (tmp_path / "old").write_text("processor: 0\nflags\t: fpu avx2 avx512f\n")
    assert precision.native_bfloat16(tmp_path / "new")
    assert not precision.native_bfloat16(tmp_path / "old")
    assert not precision.native_bfloat16(tmp_path / "absent")


def test_the_job_says_what_was_decided(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runner_of("glfcr", weights)[0].precision == "float32", "the processor keeps it by itself"
    monkeypatch.setattr(precision, "native_bfloat16", lambda: True)
    monkeypatch.setenv(precision.VARIABLE, "bfloat16")
    obs = native("dsen2cr", scene((96, 112), 1))
    fitted = prepared("dsen2cr", weights, obs).fit([obs], seed=(0, 0, 0))
    said = [note for note in fitted.notes if "bfloat16" in note]
    assert len(said) == 1
    assert (fitted.runner.precision == "bfloat16") == ("computes in bfloat16" in said[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
@pytest.mark.parametrize("name", registry.networks())
def test_on_a_card(name: str, weights: Path) -> None:
    dates = FRAMES.get(name, 5 if name.startswith("utilise") else 1)
    obs = native(name, scene((96, 112), dates))
    on_card, notes = prepared(name, weights, obs).runner([obs], "cuda", None, None)
    assert any("computes in float" in note for note in notes)
    gap = obs.gap()
    processor = prepared(name, weights, obs).runner([obs], "cpu", None, None)[0]
    full, half = (one.restore(obs, gap, None)[0][:, gap] for one in (processor, on_card))
    assert np.quantile(np.abs(full - half), 0.99) < 5e-3
