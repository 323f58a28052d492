"""The 3x3 convolution with fewer multiplications, compiled and in torch, and where the networks use it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.ext import operators, torch_versions  # noqa: E402
from cloud_removal_plugin.models import winograd  # noqa: E402
from cloud_removal_plugin.models.winograd import Conv3d3x3, Conv3x3, ReflectedConv3d3x3  # noqa: E402


def relative_rms(ours: torch.Tensor, truth: torch.Tensor) -> float:
    return float((ours.double() - truth).square().mean().sqrt() / truth.square().mean().sqrt())


@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "height", "width"),
    [(1, 1, 1, 1, 1), (2, 3, 7, 5, 9), (1, 13, 20, 33, 260), (3, 50, 6, 8, 4), (1, 100, 13, 64, 64), (1, 2, 2, 3, 301)],
)
def test_is_a_convolution(kernel, batch, inputs, outputs, height, width) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(batch, inputs, height, width), torch.randn(outputs, inputs, 3, 3)
    bias = torch.randn(outputs)
    truth = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    for version in (operators.winograd_convolution, torch_versions.winograd_by_torch):
        assert relative_rms(version(x, weight, bias), truth) < 3e-6
    strided = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert relative_rms(operators.winograd_convolution(strided, weight, bias), truth) < 3e-6


def test_is_registered_as_torch_wants_it(kernel) -> None:
    torch.manual_seed(1)
    arguments = [torch.randn(*shape, requires_grad=True) for shape in ((2, 3, 6, 9), (5, 3, 3, 3), (5,))]
    found = torch.library.opcheck(torch.ops.cloud_removal.winograd_convolution, arguments, atol=1e-4, rtol=1e-4)
    assert set(found.values()) == {"SUCCESS"}
    ours = torch.autograd.grad(operators.winograd_convolution(*arguments).square().sum(), arguments)
    theirs = torch.autograd.grad(F.conv2d(*arguments, padding=1).square().sum(), arguments)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_what_does_not_fit_is_refused(kernel) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        operators.winograd_convolution(torch.zeros(1, 2, 8, 8), torch.zeros(4, 3, 3, 3), torch.zeros(4))
    for wrong in (torch.zeros(4, 2, 5, 5), torch.zeros(4, 2, 3, 3, dtype=torch.float64)):
        with pytest.raises(RuntimeError, match=r"fit|float32"):
            torch.ops.cloud_removal.winograd_convolution(torch.zeros(1, 2, 8, 8), wrong, torch.zeros(4))


def uses_winograd(layer: Conv3x3, x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> bool:
    used: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(operators, "winograd_convolution", lambda x, weight, bias: used.append(True) or x)
        layer(x)
    return bool(used)


def test_is_used_where_nobody_asks_for_gradients(kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Conv3x3(64, 64), torch.randn(1, 64, 32, 32)
    assert not uses_winograd(layer, x, monkeypatch)
    with torch.no_grad():
        assert uses_winograd(layer, x, monkeypatch)
        assert not uses_winograd(layer, x[..., :8, :8], monkeypatch), "too small to pay"
        assert not uses_winograd(layer.double(), x.double(), monkeypatch), "float64 is asked for its exactness"
        layer.float()
        monkeypatch.setattr(winograd.ext, "loaded", lambda: False)
        assert not uses_winograd(layer, x, monkeypatch), "in torch it pays for wide layers only"


@pytest.mark.parametrize(("bias", "padding"), [(False, 1), (True, 0)])
def test_without_bias_or_padding(kernel, bias: bool, padding: int) -> None:
    layer, x = Conv3x3(20, 17, bias=bias, padding=padding), torch.randn(2, 20, 30, 33)
    plain = torch.nn.Conv2d(20, 17, 3, padding=padding, bias=bias)
    plain.load_state_dict(layer.state_dict(), strict=True)
    with torch.no_grad():
        fast, truth = layer(x), plain(x)
    assert fast.shape == truth.shape
    assert not torch.equal(fast, truth)
    assert relative_rms(fast, truth.double()) < 3e-6


def check_fast(layer: torch.nn.Module, x: torch.Tensor, plain: torch.nn.Module, given: torch.Tensor) -> None:
    """The compiled layer on ``x`` is another computation than torch's on ``given``, with the same numbers."""
    with torch.no_grad():
        fast, truth = layer(x), plain(given)
    assert fast.shape == truth.shape
    assert not torch.equal(fast, truth)
    assert relative_rms(fast, truth.double()) < 3e-6
    assert torch.equal(layer(x), plain(given)), "with gradients the plain one"


@pytest.mark.parametrize(
    ("times", "padding", "frames"), [(1, (0, 1), 4), (3, (1, 1), 3), (3, (0, 0), 5), (3, (0, 0), 3), (4, (0, 0), 4)]
)
def test_three_dimensions_frame_by_frame(kernel, times: int, padding: tuple[int, int], frames: int) -> None:
    layer, x = Conv3d3x3(16, 14, times, padding), torch.randn(2, 16, frames, 26, 31)
    plain = torch.nn.Conv3d(16, 14, (times, 3, 3), padding=(padding[0], padding[1], padding[1]))
    plain.load_state_dict(layer.state_dict(), strict=True)
    check_fast(layer, x, plain, x)


@pytest.mark.parametrize(("times", "repeat", "frames"), [(3, 1, 3), (3, 1, 5), (3, 0, 3), (4, 0, 4)])
def test_reflected_frame_by_frame(kernel, times: int, repeat: int, frames: int) -> None:
    layer, x = ReflectedConv3d3x3(16, 14, times, repeat), torch.randn(2, 16, frames, 26, 31)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1, 0, 0), mode="reflect")
    padded = torch.nn.functional.pad(padded, (0, 0, 0, 0, repeat, repeat), mode="replicate")
    plain = torch.nn.Conv3d(16, 14, (times, 3, 3))
    plain.load_state_dict(layer.state_dict(), strict=True)
    check_fast(layer, x, plain, padded)


def test_dsen2cr_is_the_same_network(kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: relative rms <= 1e-5 of the change that the network makes, compiled and in torch."""
    torch.manual_seed(1)
    network = models.create("dsen2cr", num_layers=3, feature_size=160)
    optical, sar = 5 * torch.rand(1, 13, 40, 56), 2 * torch.rand(1, 2, 40, 56)
    with torch.no_grad():
        fast = network(optical, sar) - optical
        with monkeypatch.context() as patch:
            patch.setattr(operators, "winograd_convolution", torch_versions.winograd_by_torch)
            in_torch = network(optical, sar) - optical
        monkeypatch.setattr(winograd, "_may_be_fast", lambda x, weight: False)
        plain = network(optical, sar) - optical
    for version in (fast, in_torch):
        assert not torch.equal(version, plain)
        assert relative_rms(version, plain.double()) < 1e-5
