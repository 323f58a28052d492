"""The per-pixel kernel convolution against its definition, its gradients, and inputs that do not fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from cloud_removal_plugin.models.kernelconv import kernel_convolution, valid_kernel_convolution  # noqa: E402


def by_definition(x: torch.Tensor, kernels: torch.Tensor, size: int) -> torch.Tensor:
    """The same through im2col, whose column order is the filters' order."""
    batch, channels, height, width = x.shape
    reach = size // 2
    padded = torch.nn.functional.pad(x, (reach,) * 4, mode="replicate")
    columns = torch.nn.functional.unfold(padded, size).view(batch, channels, size * size, height, width)
    return (columns * kernels.reshape(batch, channels, size * size, height, width)).sum(2)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    size=st.sampled_from([1, 3, 5]),
)
def test_equals_definition(batch: int, channels: int, height: int, width: int, size: int) -> None:
    generator = torch.Generator().manual_seed(batch * 1000 + channels * 100 + height * 10 + width)
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    kernels = torch.randn(batch, channels * size * size, height, width, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(kernel_convolution(x, kernels, size), by_definition(x, kernels, size))


def test_gradients_of_every_batch_entry() -> None:
    x = torch.randn(10, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(10, 18, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: kernel_convolution(a, b, 3), (x, kernels))


def test_inputs_need_not_be_contiguous() -> None:
    x = torch.randn(2, 4, 5, 3).transpose(1, 3)
    kernels = torch.randn(2, 5, 4, 27).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        kernel_convolution(x, kernels.transpose(2, 3).contiguous().transpose(2, 3), 3), by_definition(x, kernels, 3)
    )


@pytest.mark.parametrize(("shape", "size"), [((1, 18, 4, 4), 2), ((1, 17, 4, 4), 3), ((1, 18, 4, 5), 3)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], size: int) -> None:
    with pytest.raises(ValueError, match=r"Filters|filter size"):
        valid_kernel_convolution(torch.zeros(1, 2, 6, 6), torch.zeros(shape), size)
