"""The compiled operators against their torch versions and definitions: values, gradients, layouts, tracing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from cloud_removal_plugin.ext import operators, torch_versions  # noqa: E402
from cloud_removal_plugin.models import kernelconv  # noqa: E402

pytestmark = pytest.mark.usefixtures("kernel")
compiled = torch.ops.cloud_removal
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.05, torch.float16: 0.01}


def made(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def agree(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    tolerance = TOLERANCE[ours.dtype]
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


shapes = given(
    batch=st.integers(1, 3), channels=st.integers(1, 4), height=st.integers(1, 9), width=st.integers(1, 90),
    size=st.sampled_from([1, 3, 5, 7]), dtype=st.sampled_from(list(TOLERANCE)),
)  # fmt: skip
quickly = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@shapes
def test_convolution_and_its_gradients(batch, channels, height, width, size, dtype) -> None:
    padded = made(batch, channels, height + size - 1, width + size - 1, dtype=dtype)
    kernels = made(batch, channels * size**2, height, width, dtype=dtype)
    grad = made(batch, channels, height, width, dtype=dtype, seed=1)
    agree(compiled.kernel_convolution(padded, kernels, size), torch_versions.shifted_convolution(padded, kernels, size))
    agree(
        compiled.kernel_convolution_grad_input(grad, kernels, size),
        torch_versions.shifted_grad_input(grad, kernels, size),
    )
    agree(
        compiled.kernel_convolution_grad_kernels(grad, padded, size),
        torch_versions.shifted_grad_kernels(grad, padded, size),
    )


@quickly
@shapes
def test_fused_tail(batch, channels, height, width, size, dtype) -> None:
    features, slope = 11, 0.1
    padded = made(batch, channels, height + size - 1, width + size - 1, dtype=dtype)
    x = made(batch, features, height, width, dtype=dtype)
    weight, bias = made(channels * size**2, features, dtype=dtype) / 4, made(channels * size**2, dtype=dtype)
    got = compiled.predicted_convolution(padded, x, weight, bias, size, slope)
    filters = F.leaky_relu(F.conv2d(x.double(), weight.double()[:, :, None, None], bias.double()), slope)
    expected = torch_versions.shifted_convolution(padded.double(), filters, size)
    scale = expected.abs().max() + 1
    agree((got.double() / scale).to(dtype), (expected / scale).to(dtype))
    chunked = torch_versions.chunked_prediction(padded, x, weight, bias, size, slope)
    torch.testing.assert_close(got, chunked, rtol=0, atol=4 * TOLERANCE[dtype] * float(scale))


def test_gradients_of_every_batch_entry() -> None:
    """More entries than filter taps: the published backward pass is wrong from entry size * size on."""
    x = made(30, 2, 4, 3, dtype=torch.float64).requires_grad_()
    kernels = made(30, 50, 4, 3, dtype=torch.float64).requires_grad_()
    weights = made(30, 2, 4, 3, dtype=torch.float64, seed=2)
    (kernelconv.kernel_convolution(x, kernels, 5) * weights).sum().backward()
    ours = x.grad, kernels.grad
    x.grad = kernels.grad = None
    columns = F.unfold(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5).view(30, 2, 25, 4, 3)
    ((columns * kernels.view(30, 2, 25, 4, 3)).sum(2) * weights).sum().backward()
    agree(ours[0], x.grad)
    agree(ours[1], kernels.grad)


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "sliced", "expanded"])
def test_any_layout(layout: str) -> None:
    padded, kernels, x = made(2, 3, 12, 14), made(2, 27, 10, 12), made(2, 5, 10, 12)
    weight, bias, grad = made(27, 5), made(27), made(2, 3, 10, 12)

    def laid(t: torch.Tensor) -> torch.Tensor:
        if layout == "channels_last":
            return t.contiguous(memory_format=torch.channels_last)
        if layout == "transposed":
            return t.transpose(2, 3).contiguous().transpose(2, 3)
        if layout == "sliced":
            wide = F.pad(t, (1, 2, 3, 4, 1, 1))
            return wide[:, 1:-1, 3:-4, 1:-2]
        return t[:1].expand(t.shape)

    plain = [t[:1].expand(t.shape).contiguous() if layout == "expanded" else t for t in (padded, kernels, x, grad)]
    p, k, f, g = (laid(t) for t in (padded, kernels, x, grad))
    assert layout == "expanded" or not k.is_contiguous()
    for ours, theirs in (
        (compiled.kernel_convolution(p, k, 3), torch_versions.shifted_convolution(plain[0], plain[1], 3)),
        (compiled.kernel_convolution_grad_input(g, k, 3), torch_versions.shifted_grad_input(plain[3], plain[1], 3)),
        (compiled.kernel_convolution_grad_kernels(g, p, 3), torch_versions.shifted_grad_kernels(plain[3], plain[0], 3)),
        (
            compiled.predicted_convolution(p, f, weight.T.contiguous().T, bias, 3, 0.1),
            torch_versions.chunked_prediction(plain[0], plain[2], weight, bias, 3, 0.1),
        ),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def operands(name: str) -> tuple:
    def leaf(*shape: int) -> torch.Tensor:
        return made(*shape, dtype=torch.float64).requires_grad_()

    return {
        "kernel_convolution": lambda: (leaf(2, 3, 7, 6), leaf(2, 27, 5, 4), 3),
        "kernel_convolution_grad_input": lambda: (leaf(2, 3, 5, 4), leaf(2, 27, 5, 4), 3),
        "kernel_convolution_grad_kernels": lambda: (leaf(2, 3, 5, 4), leaf(2, 3, 7, 6), 3),
        "predicted_convolution": lambda: (leaf(2, 3, 7, 6), leaf(2, 4, 5, 4), leaf(27, 4), leaf(27), 3, 0.1),
    }[name]()


NAMES = ("kernel_convolution", "kernel_convolution_grad_input", "kernel_convolution_grad_kernels",
         "predicted_convolution")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_operators_are_registered_as_torch_wants_them(name: str) -> None:
    """Schema, shapes without data, autograd, and tracing through forward and backward."""
    found = torch.library.opcheck(getattr(compiled, name), operands(name))
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_finite_differences(name: str) -> None:
    assert torch.autograd.gradcheck(getattr(compiled, name), operands(name))


def test_second_gradients() -> None:
    inputs = made(1, 2, 5, 4, dtype=torch.float64).requires_grad_(), made(1, 18, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(compiled.kernel_convolution, (inputs[0], inputs[1].requires_grad_(), 3))


class Warp(torch.nn.Module):
    """A filter generator's tail, as the networks use it."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = torch.nn.Conv2d(4, 27, 1)

    def forward(self, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        weight, bias = self.tail.weight, self.tail.bias
        warped = kernelconv.predicted_kernel_convolution(x, features, weight, bias, 3, 0.1)
        return warped + kernelconv.kernel_convolution(x, self.tail(features), 3)


def test_export_and_compile_see_the_operators() -> None:
    torch.manual_seed(0)
    module, inputs = Warp().eval(), (made(1, 3, 8, 8), made(1, 4, 8, 8))
    with torch.no_grad():
        expected = module(*inputs)
        exported = torch.export.export(module, inputs)
        called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
        assert {"cloud_removal.predicted_convolution.default", "cloud_removal.kernel_convolution.default"} <= called
        agree(exported.module()(*inputs), expected)
        agree(torch.compile(module, backend="aot_eager", fullgraph=True)(*inputs), expected)


def test_training_through_a_compiled_graph() -> None:
    torch.manual_seed(0)
    module, inputs = Warp(), (made(1, 3, 8, 8), made(1, 4, 8, 8))
    module(*inputs).square().sum().backward()
    expected = module.tail.weight.grad.clone()
    module.tail.weight.grad = None
    torch.compile(module, backend="aot_eager", fullgraph=True)(*inputs).square().sum().backward()
    torch.testing.assert_close(module.tail.weight.grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("kernel_convolution", (made(1, 2, 6, 6), made(1, 18, 4, 5), 3)),
        ("kernel_convolution", (made(1, 2, 6, 6), made(1, 8, 5, 5), 2)),
        ("kernel_convolution", (made(1, 2, 6, 6), made(1, 18, 4, 4).double(), 3)),
        ("kernel_convolution", (made(1, 2, 2, 2), made(1, 18, 0, 0), 3)),
        ("kernel_convolution_grad_input", (made(1, 2, 4, 4), made(1, 17, 4, 4), 3)),
        ("kernel_convolution_grad_kernels", (made(1, 2, 4, 4), made(1, 2, 6, 7), 3)),
        ("predicted_convolution", (made(1, 2, 6, 6), made(1, 3, 4, 5), made(18, 3), made(18), 3, 0.1)),
        ("predicted_convolution", (made(1, 2, 6, 6), made(1, 3, 4, 4), made(18, 4), made(18), 3, 0.1)),
        ("predicted_convolution", (made(1, 2, 6, 6), made(1, 3, 4, 4), made(18, 3), made(17), 3, 0.1)),
    ],
)
def test_what_does_not_fit_is_refused_before_memory_is_touched(name: str, arguments: tuple) -> None:
    with pytest.raises(RuntimeError, match=r"fit|odd|smaller|one type|bias"):
        getattr(compiled, name)(*arguments)


def test_doors_refuse_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="do not make filters"):
        operators.predicted_convolution(made(1, 2, 6, 6), made(1, 3, 4, 4), made(18, 4), made(18), 3, 0.1)
    with pytest.raises(ValueError, match="smaller"):
        operators.kernel_convolution(made(1, 2, 2, 2), made(1, 18, 1, 1), 3)


@pytest.mark.parametrize(
    ("windows", "tokens", "width", "heads", "masks"),
    [(6, 64, 48, 8, 3), (4, 64, 96, 8, None), (6, 16, 12, 2, 2), (5, 7, 15, 3, None), (2, 1, 4, 1, 1)],
)
def test_gated_attention(windows: int, tokens: int, width: int, heads: int, masks: int | None) -> None:
    mask = None if masks is None else torch.where(made(masks, tokens, tokens) > 0.5, 0.0, -100.0)
    inputs = [2 * made(windows, tokens, 3 * width), 2 * made(windows, tokens, 3 * width, seed=1)]
    inputs += [made(heads, tokens, tokens), mask, made(heads, heads), made(heads)]
    exact = [None if x is None else x.double() for x in inputs]
    truth = torch_versions.gated_attention_by_torch(*exact, heads)
    for ours, theirs in zip(compiled.gated_attention(*inputs, heads), truth, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-5, atol=2e-5)
    swapped = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in inputs[:2]]
    assert torch.equal(
        compiled.gated_attention(*swapped, *inputs[2:], heads)[0], compiled.gated_attention(*inputs, heads)[0]
    )
    found = torch.library.opcheck(
        compiled.gated_attention, (*inputs, heads), test_utils=("test_schema", "test_faketensor")
    )
    assert set(found.values()) == {"SUCCESS"}


def test_gated_attention_holds_extreme_logits() -> None:
    """Logits of thousands, as an untrained network may make them, give no infinity and no NaN."""
    inputs = 100 * made(2, 64, 36), 100 * made(2, 64, 36, seed=1), made(2, 64, 64), None, made(2, 2), made(2), 2
    exact = [x.double() if isinstance(x, torch.Tensor) else x for x in inputs]
    for ours, theirs in zip(
        compiled.gated_attention(*inputs), torch_versions.gated_attention_by_torch(*exact), strict=True
    ):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-2, atol=1e-1)


@pytest.mark.parametrize("change", ["heads", "radar", "position", "mask", "gate", "type"])
def test_attention_that_does_not_fit_is_refused(change: str) -> None:
    inputs = [made(4, 9, 12), made(4, 9, 12), made(2, 9, 9), made(2, 9, 9), made(2, 2), made(2), 2]
    place, wrong = {
        "heads": (6, 5), "radar": (1, made(4, 8, 12)), "position": (2, made(2, 9, 8)), "mask": (3, made(3, 9, 9)),
        "gate": (4, made(2, 3)), "type": (0, made(4, 9, 12).double()),
    }[change]  # fmt: skip
    inputs[place] = wrong
    with pytest.raises(RuntimeError, match=r"fit|expected|float32|masks"):
        compiled.gated_attention(*inputs)


def test_numbers_do_not_depend_on_threads() -> None:
    padded, x, weight, bias = made(1, 6, 36, 44), made(1, 8, 32, 40), made(150, 8), made(150)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(compiled.predicted_convolution(padded, x, weight, bias, 5, 0.1))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
