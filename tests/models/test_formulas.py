"""Networks of other widths, depths, sizes and batches than the golden cases, against the same by their formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.models.utilise_temporal import PositionalEncoder  # noqa: E402
from tests.models import plain_fusion, plain_series  # noqa: E402
from tests.models.plain_layers import sinusoids  # noqa: E402
from tests.models.plain_tuacr import tuacr  # noqa: E402
from tests.models.test_options import randomised  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

ALIGNCR = {"G0": 16, "D": 2, "C": 2, "G": 8, "num_heads": 8, "ks_2d": 5, "deformable_groups": 8, "upnet_hidden": 32}
HEAD = {"base_width": 8, "num_rrdb": 1}


def channels(batch: int, size: tuple[int, int], *bands: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of images of one size."""
    return tuple((batch, count, *size) for count in bands)


CASES: list[tuple[str, Callable[..., Any], dict[str, Any], tuple[tuple[int, ...], ...]]] = [
    ("glfcr", plain_fusion.glfcr, {"G0": 16, "D": 2, "C": 3, "G": 8}, channels(2, (48, 32), 13, 2)),
    ("glfcr", plain_fusion.glfcr, {"G0": 8, "D": 1, "C": 4, "G": 24}, channels(1, (64, 96), 13, 2)),
    ("glfcr", plain_fusion.glfcr, {"G0": 10, "D": 3, "C": 1, "G": 16, "fac_kernel": 3}, channels(1, (16, 80), 13, 2)),
    ("glfcr", plain_fusion.glfcr, {"G0": 16, "D": 1, "C": 2, "G": 8, "input_size": 4}, channels(2, (4, 4), 13, 2)),
    ("glfcr", plain_fusion.glfcr, {"G0": 8, "D": 1, "C": 2, "G": 8, "input_size": (24, 12)},
     channels(1, (24, 12), 13, 2)),
    ("glfcr", plain_fusion.glfcr,
     {"G0": 8, "D": 1, "C": 3, "G": 8, "window_size": 4, "fac_kernel": 7, "mlp_ratio": 1.5},
     channels(1, (24, 40), 13, 2)),
    ("aligncr", plain_fusion.aligncr, ALIGNCR, channels(2, (32, 48), 4, 2)),
    ("aligncr", plain_fusion.aligncr, {**ALIGNCR, "input_size": 16}, channels(2, (16, 48), 4, 2)),
    ("aligncr", plain_fusion.aligncr, {**ALIGNCR, "input_size": 8, "C": 3, "D": 3}, channels(1, (8, 8), 4, 2)),
    ("aligncr", plain_fusion.aligncr, {**ALIGNCR, "G0": 24, "deformable_groups": 3, "n_shallow_blocks": 2, "ks_2d": 3,
                                       "upnet_hidden": 16}, channels(1, (48, 32), 4, 2)),
    ("tuacr", tuacr, HEAD, channels(2, (32, 48), 13, 13, 2, 13)),
    ("tuacr", tuacr, {"base_width": 16, "num_rrdb": 2, "out_channels": 13}, channels(1, (17, 23), 13, 13, 2, 13)),
    ("tuacr", tuacr, {**HEAD, "num_rrdb": 0, "ensemble_num": 1}, channels(2, (37, 16), 13, 13, 2, 13)),
    ("tuacr", tuacr, {**HEAD, "ensemble_num": 2, "in_channels_s2": 10, "in_channels_sar": 1},
     channels(1, (33, 47), 10, 10, 1, 10)),
    ("dsen2cr", plain_series.dsen2cr, {"num_layers": 3, "feature_size": 20}, channels(2, (1, 1), 13, 2)),
    ("dsen2cr", plain_series.dsen2cr, {"num_layers": 1, "feature_size": 7, "res_scale": 0.3},
     channels(1, (2, 33), 13, 2)),
    ("dsen2cr", plain_series.dsen2cr, {"num_layers": 2, "feature_size": 16, "include_sar_input": False},
     channels(3, (17, 5), 13)),
    ("dsen2cr", plain_series.dsen2cr, {"num_layers": 4, "feature_size": 32}, channels(1, (64, 61), 13, 2)),
    ("seq2point", plain_series.seq2point, {"resnet_F": 16, "resnet_B": 1, "n_input_samples": 6}, ((2, 6, 15, 33, 40),)),
    ("seq2point", plain_series.seq2point,
     {"resnet_F": 5, "resnet_B": 0, "n_input_samples": 7, "include_S1": False, "output_nc": 4}, ((1, 7, 13, 2, 3),)),
    ("seq2point_pairwise", plain_series.pairwise,
     {"resnet_F": 4, "resnet_B": 2, "n_input_samples": 4, "include_S1": False}, ((2, 4, 13, 11, 8),)),
    ("baseline_resnet", plain_series.baseline, {"resnet_F": 6, "resnet_B": 4, "include_S1": False}, ((2, 13, 7, 5),)),
    ("clearvision_mask", plain_series.clearvision_mask,
     {"bilinear": True, "n_classes": 3, "n_channels": 5, "widths": (8, 16, 32, 64, 128)}, ((2, 5, 47, 33),)),
    ("clearvision_mask", plain_series.clearvision_mask, {"bilinear": False, "widths": (4, 8, 16, 32, 64)},
     ((2, 3, 16, 31),)),
    ("clearvision_removal", plain_series.clearvision_removal,
     {"n_head": 8, "d_k": 4, "n_channels": 4, "widths": (4, 8, 12, 16), "mlp_hidden": 20}, ((2, 4, 10, 16, 8),)),
    ("clearvision_removal", plain_series.clearvision_removal, {"n_head": 1, "d_k": 5, "widths": (8, 8, 8, 8)},
     ((1, 3, 1, 8, 24),)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "formula", "config", "shapes"), CASES)
def test_network_is_its_formula(
    name: str, formula: Callable[..., Any], config: dict[str, Any], shapes: tuple[tuple[int, ...], ...]
) -> None:
    exact = randomised(name, config, gain=0.5)
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    with torch.no_grad():
        expected, got = formula(exact.state_dict(), config, *inputs), exact(*inputs)
    network = models.create(name, **config)
    network.load_state_dict(exact.state_dict())
    with torch.inference_mode():
        fast = network(*(part.float() for part in inputs))
    as_list = (lambda value: [value]) if isinstance(expected, torch.Tensor) else list
    for wanted, slow, quick in zip(as_list(expected), as_list(got), as_list(fast), strict=True):
        torch.testing.assert_close(slow, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(quick.double(), wanted, rtol=0, atol=1e-5)


def test_positions_without_copies() -> None:
    days = torch.tensor([[3.0, 812.5, 1400.0]], dtype=torch.float64)
    torch.testing.assert_close(PositionalEncoder(6, 1000, None)(days), sinusoids(days, 6, 1))
