"""Options of the networks that no golden case covers, against the same networks by their formulas."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cloud_removal_plugin import models  # noqa: E402
from tests.models.plain_uncrtaints import uncrtaints  # noqa: E402
from tests.models.plain_utilise import DEFAULTS, utilise  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def randomised(name: str, config: dict[str, Any], gain: float = 2.0) -> torch.nn.Module:
    """A float64 network none of whose numbers is what it starts from."""
    generator = torch.Generator().manual_seed(11)
    network = models.create(name, **config).double()
    with torch.no_grad():
        for key, value in [*network.named_parameters(), *network.named_buffers()]:
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if key.endswith("running_var") or (value.dim() == 1 and value.numel() > 1 and key.endswith("weight")):
                value.copy_(1 + 0.2 * noise.abs())
            elif value.dim() > 1:
                value.copy_(noise * (gain / value[0].numel()) ** 0.5)
            else:
                value.copy_(0.2 * noise)
    return network


UNCRTAINTS = {
    "input_dim": 15, "encoder_widths": [16], "decoder_widths": [16, 16], "out_conv": [26], "out_nonlin_mean": True,
    "out_nonlin_var": "softplus", "agg_mode": "att_group", "encoder_norm": "group", "decoder_norm": "batch",
    "n_head": 4, "d_model": 32, "d_k": 4, "pad_value": 0, "positional_encoding": True, "covmode": "diag",
    "scale_by": 10.0, "separate_out": False, "use_v": False, "block_type": "mbconv", "is_mono": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"covmode": "uni", "n_head": 8, "d_model": 64, "d_k": 2}, (40, 36)),
        ({"covmode": "iso", "out_conv": [14], "separate_out": True, "input_dim": 13}, (33, 50)),
        ({"pad_value": -1, "agg_mode": "att_mean", "encoder_norm": "batch"}, (16, 16)),
        ({"out_nonlin_var": "elu", "scale_by": 1.0, "positional_encoding": False, "n_head": 1}, (8, 8)),
        ({"use_v": True, "agg_mode": "mean", "decoder_norm": "instance", "encoder_widths": [16, 16]}, (34, 20)),
        ({"block_type": "residual", "encoder_norm": "instance", "decoder_norm": "group", "out_conv": [13]}, (32, 32)),
        ({"is_mono": True, "out_nonlin_mean": False}, (7, 9)),
    ],
)
def test_uncrtaints_options(options: dict[str, Any], size: tuple[int, int]) -> None:
    config = {**UNCRTAINTS, **options}
    network = randomised("uncrtaints", config)
    dates = 1 if config["is_mono"] else 3
    generator = torch.Generator().manual_seed(5)
    x = 10 * torch.rand(2, dates, config["input_dim"], *size, generator=generator, dtype=torch.float64)
    days = torch.tensor([[1000.5, 1010.0, 1042.0], [3.0, 1500.0, 2100.5]], dtype=torch.float64)[:, :dates]
    if dates > 1:
        x[0, 2] = x[1, 0] = config["pad_value"]
    with torch.no_grad():
        got, expected = network(x, batch_positions=days), uncrtaints(network.state_dict(), config, x, days)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder_norm": "group", "n_groups": 8, "ltae_norm": "layer", "ltae_activation": "mish"},
        {"encoder_norm": "instance", "decoder_norm": "batch", "skip_norm": "instance", "activation": "gelu"},
        {"activation": "lrelu,0.2", "ltae_activation": "lrelu,0.3", "output_activation": True, "agg_mode": "att_mean"},
        {"activation": "tanh", "output_activation": False, "agg_mode": None, "padding_mode": "replicate"},
        {"activation": "prelu", "output_activation": "prelu", "ltae_activation": "prelu", "str_conv_k_up": None,
         "str_conv_p_up": None},
        {"norm_first": False, "n_temporal_encoding_layers": 2, "n_head": 2, "d_k": 3, "bias_qk": True},
        {"upconv_type": "bilinear", "decoder_norm": "group", "n_groups": -1, "dim_per_group": 2, "n_head": 8},
        {"agg_mode": "att_mean", "pad_value": 0.5, "str_conv_k": 2, "str_conv_p": 0, "padding_mode": "zeros"},
        {"skip_attention": True, "input_dim": 15, "output_dim": 13, "output_activation": "relu"},
        {"positional_encoding": False, "encoder_widths": [8, 12, 16], "decoder_widths": [4, 6, 16]},
    ],
)  # fmt: skip
def test_utilise_options(options: dict[str, Any]) -> None:
    config = {**DEFAULTS, **options}
    network = randomised("utilise_earthnet2021", config)
    generator = torch.Generator().manual_seed(6)
    x = torch.rand(2, 4, config["input_dim"], 16, 8, generator=generator, dtype=torch.float64)
    days = torch.tensor([[5.0, 30.0, 61.0, 0.0], [0.0, 7.0, 12.0, 300.0]], dtype=torch.float64)
    # One frame is padding; the other one's position says that it is not.
    x[0, 3] = x[1, 2] = config["pad_value"]
    with torch.no_grad():
        result = network(x, days, return_att=not config["skip_attention"])
        expected, attention = utilise(network.state_dict(), config, x, days)
    got = result if config["skip_attention"] else result[0]
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    if attention is not None:
        torch.testing.assert_close(result[1], attention, rtol=1e-9, atol=1e-9)


def test_uncrtaints_without_padding_value_takes_empty_frames_as_dates() -> None:
    network = randomised("uncrtaints", {**UNCRTAINTS, "pad_value": None, "agg_mode": "mean"})
    with_value = models.create("uncrtaints", **{**UNCRTAINTS, "agg_mode": "mean"}).double()
    with_value.load_state_dict(network.state_dict())
    x, days = torch.rand(1, 2, 15, 8, 8, dtype=torch.float64), torch.ones(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(network(x, days), with_value(x, days))
        x[:, 1] = 0
        assert not torch.allclose(network(x, days), with_value(x, days))


def test_uncrtaints_has_separate_means_without_variances() -> None:
    options = {"separate_out": True, "out_conv": [13], "is_mono": True}
    network = randomised("uncrtaints", {**UNCRTAINTS, **options})
    assert network(torch.rand(1, 1, 15, 4, 4, dtype=torch.float64)).shape == (1, 1, 13, 4, 4)


SMALL: list[tuple[str, dict[str, Any], tuple[tuple[int, ...], ...]]] = [
    ("glfcr", {"G0": 20, "D": 1, "C": 3, "G": 24, "mlp_ratio": 3}, ((2, 13, 32, 48), (2, 2, 32, 48))),
    ("glfcr", {"G0": 8, "D": 2, "C": 1, "G": 8, "input_size": (16, 64)}, ((1, 13, 16, 64), (1, 2, 16, 64))),
    ("aligncr", {"G0": 8, "D": 2, "C": 1, "G": 4, "num_heads": 2, "ks_2d": 3, "deformable_groups": 2,
                 "upnet_hidden": 16, "n_shallow_blocks": 1}, ((2, 4, 48, 48), (2, 2, 48, 48))),
    ("dsen2cr", {"num_layers": 1, "feature_size": 30, "res_scale": 1.0}, ((3, 13, 31, 24), (3, 2, 31, 24))),
    ("seq2point", {"resnet_F": 13, "resnet_B": 1, "n_input_samples": 4}, ((2, 4, 15, 31, 24),)),
    ("seq2point_pairwise", {"resnet_F": 13, "resnet_B": 1, "n_input_samples": 2}, ((2, 2, 15, 24, 31),)),
    ("tuacr", {"base_width": 16, "num_rrdb": 1}, ((1, 13, 31, 40), (1, 13, 31, 40), (1, 2, 31, 40), (1, 13, 31, 40))),
    ("clearvision_mask", {"n_classes": 3, "bilinear": False, "widths": (16, 32, 64, 128, 256)}, ((1, 3, 31, 40),)),
    ("clearvision_removal", {"n_head": 2, "d_k": 8, "widths": (16, 16, 24, 24)}, ((1, 3, 3, 32, 40),)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "shapes"), SMALL)
def test_inference_is_what_training_computes(
    name: str, config: dict[str, Any], shapes: tuple[tuple[int, ...], ...]
) -> None:
    """Inference in float32 takes faster ways (Winograd, fused filters and attention) than float64 with gradients."""
    exact = randomised(name, config, gain=0.5)
    network = models.create(name, **config)
    network.load_state_dict(exact.state_dict())
    generator = torch.Generator().manual_seed(7)
    inputs = [torch.rand(shape, generator=generator) for shape in shapes]
    with torch.inference_mode():
        got = network(*inputs)
    expected = exact(*(part.double() for part in inputs))
    pairs = [(got, expected)] if isinstance(got, torch.Tensor) else zip(got, expected, strict=True)
    for one, other in pairs:
        largest = float(other.detach().abs().max())
        torch.testing.assert_close(one.double(), other.detach(), rtol=0, atol=2e-5 * largest)
