"""UnCRtainTS' likelihoods by their formulas: clamped variances, shared ones, batches, sums."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from cloud_removal_plugin.training import losses  # noqa: E402

REDUCED = {"mean": torch.mean, "sum": torch.sum, "none": lambda values: values}


@pytest.mark.parametrize("reduction", REDUCED)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", ["independent", "diagonal", "shared"])
def test_likelihoods(kind: str, batch: int, reduction: str) -> None:
    generator = torch.Generator().manual_seed(batch)
    bands = 1 if kind == "shared" else 13
    p, t, v = (torch.rand(batch, 1, count, 3, 4, generator=generator, dtype=torch.float64) for count in (13, 13, bands))
    v.view(-1)[:3] = 1e-12
    p.requires_grad_()
    v.requires_grad_()
    raised = v + (v.detach().clamp(min=1e-8) - v.detach())
    spread, square = raised.expand_as(p), (p - t) ** 2
    if kind == "independent":
        values = 0.5 * (spread.log() + square / spread + math.log(2 * math.pi))
        got = losses.gaussian_nll(p, t, v, reduction)
    else:
        # The published code adds up the logarithms of the whole batch.
        logarithm = spread.log().sum(2).sum(0, keepdim=True)
        values = 0.5 * (13 * math.log(2 * math.pi) + logarithm + (square / spread).sum(2))
        got = losses.multivariate_nll(p, t, v, reduction=reduction)
    expected = REDUCED[reduction](values)
    torch.testing.assert_close(got, expected)
    for one, other in zip(
        torch.autograd.grad(got.sum(), (p, v)), torch.autograd.grad(expected.sum(), (p, v)), strict=True
    ):
        torch.testing.assert_close(one, other)
