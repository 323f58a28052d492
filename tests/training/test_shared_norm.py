"""Batch norm over all processes: PyTorch's own numbers, the same names of weights, refused where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

import torch
from torch import nn

from cloud_removal_plugin import models
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.training.config import from_dict
from cloud_removal_plugin.training.loop import Trainer
from cloud_removal_plugin.training.shared_norm import SharedBatchNorm, has_norms, share_norms
from cloud_removal_plugin.training.team import join
from tests.training.team_runs import quiet

if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
    pytest.skip("this PyTorch has no gloo, so processes cannot train together", allow_module_level=True)

MASKS = {"preset": "clearvision-mask", "network_config": {"widths": [4, 8, 16, 32, 64]}}


@pytest.fixture
def alone_in_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of this process; several are in ``test_team``."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    join(0, 1, 0, "cpu", (tmp_path / "meeting").as_uri())
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone_in_a_group")
@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(3), (6, 3)),
        (nn.BatchNorm2d(3, eps=1e-3, momentum=0.3), (4, 3, 5, 6)),
        (nn.BatchNorm2d(3, momentum=None), (4, 3, 5, 6)),
        (nn.BatchNorm2d(3, affine=False, track_running_stats=False), (4, 3, 5, 6)),
        (nn.BatchNorm3d(3), (2, 3, 4, 5, 6)),
    ],
)
def test_it_computes_what_pytorch_does(norm: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    plain, shared = nn.Sequential(norm), share_norms(nn.Sequential(norm))
    assert (type(plain[0]), type(shared[0])) == (type(norm), SharedBatchNorm)
    for _ in range(2):
        values = torch.randn(shape) * 3 + 20
        weights = torch.randn(shape)
        inputs = [values.clone().requires_grad_() for _ in range(2)]
        outputs = [network.train()(given) for network, given in zip((plain, shared), inputs, strict=True)]
        for output in outputs:
            (output * weights).sum().backward()
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-5)
    for one, two in zip(plain.parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-4)
    state, other = plain.state_dict(), shared.state_dict()
    assert list(state) == list(other)
    for key, value in state.items():
        torch.testing.assert_close(other[key], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(plain.eval()(values), shared.eval()(values))


@pytest.mark.usefixtures("alone_in_a_group")
def test_half_precision_is_summed_in_full() -> None:
    norm = nn.Sequential(nn.BatchNorm2d(2))
    shared = share_norms(nn.Sequential(nn.BatchNorm2d(2)))
    values = (torch.rand(2, 2, 64, 64) + 100).bfloat16()
    found = shared(values)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), norm(values.float()), rtol=0.02, atol=0.02)


def test_names_and_values_of_weights_stay() -> None:
    torch.manual_seed(2)
    network = models.create("clearvision_mask", **MASKS["network_config"]).eval()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    frame = torch.rand(1, 3, 32, 32)
    before = network(frame)[1]
    shared = share_norms(network)
    assert [type(part) for part in shared.modules()].count(SharedBatchNorm) == 18
    assert list(shared.state_dict()) == list(state)
    assert all(value.equal(state[key]) for key, value in shared.state_dict().items())
    assert shared(frame)[1].equal(before)
    assert models.create("clearvision_mask", **MASKS["network_config"]).load_state_dict(shared.state_dict())


def test_where_it_says_nothing_or_too_much(settings) -> None:
    with pytest.raises(InputError, match=r"DSen2-CR has no batch norm.*leave sync_batchnorm out"):
        Trainer(from_dict(settings(sync_batchnorm=True)))
    trainer = Trainer(from_dict(settings(**MASKS, steps=1, sync_batchnorm=True)))
    assert has_norms(trainer.network)
    assert not any(isinstance(part, SharedBatchNorm) for part in trainer.network.modules()), "one process sees it all"
    trainer.run(quiet, lambda: False, quiet)
    with pytest.raises(InputError, match=r"trained with other settings .sync_batchnorm"):
        Trainer(from_dict(settings(**MASKS, steps=2, resume=True)))
    Trainer(from_dict(settings(**MASKS, steps=2, resume=True, sync_batchnorm=True)))
