"""The registry and its records, the names of checkpoint entries, and what the networks promise beyond the goldens."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.models.clearvision_removal import masked_series  # noqa: E402
from cloud_removal_plugin.models.deform import deformable_convolution  # noqa: E402
from cloud_removal_plugin.models.scaling import fill_with_mean  # noqa: E402
from cloud_removal_plugin.models.seq2point import PatchDiscriminator  # noqa: E402
from tests.models.golden_files import ROOT  # noqa: E402

REFERENCE = ROOT.parent / "shared/reference"
CHECKPOINT_KEYS = {
    "dsen2cr": ("dsen2cr", ("port_state_dict",)),
    "glfcr": ("glfcr", ("state_dict",)),
    "uncrtaints_mono": ("uncrtaints", ("state_dict_G_mono",)),
    "uncrtaints": ("uncrtaints", ("state_dict_G_multi_diag",)),
    "tuacr": ("tuacr_ensemble", ("state_dict",)),
    "utilise_earthnet2021": ("utilise", ("configs", "earthnet2021", "keys")),
    "utilise_sen12mscrts": ("utilise", ("configs", "sen12mscrts_wo_s1", "keys")),
    "utilise_sen12mscrts_s1": ("utilise", ("configs", "sen12mscrts_w_s1", "keys")),
    "clearvision_mask": ("clearvision", ("stages", "mask", "keys")),
    "clearvision_removal": ("clearvision", ("stages", "removal", "keys")),
    "aligncr": ("aligncr", ("state_dict",)),
    "seq2point": ("sen12mscrts_seq2point", ("state_dict_G_T3_S1",)),
    "seq2point_pairwise": ("sen12mscrts_seq2point", ("state_dict_pairwise2d_T3_S1",)),
    "baseline_resnet": ("sen12mscrts_seq2point", ("state_dict_baseline_resnet",)),
}


def published_entries(file: str, path: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published checkpoint."""
    found = REFERENCE / f"{file}.keys.json"
    if not found.exists():
        pytest.skip("the lists of checkpoint entries are not there")
    entries: Any = json.loads(found.read_text())
    for step in path:
        entries = entries[step]
    return {entry[0]: tuple(entry[1]) for entry in entries}


def on_meta(name: str) -> torch.nn.Module:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return models.create(name)


def inputs_of(name: str, edge: int, device: str) -> tuple[Any, ...]:
    """Inputs of the network's form, of ``edge`` pixels."""
    record = models.record(name)
    bands, dates = len(record.bands), record.dates_counted

    def made(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, edge, edge, device=device)

    channels = bands + (2 if record.radar == "required" else 0)
    days = 1 + torch.arange(dates, dtype=torch.float32, device=device)[None]
    if record.module in ("uncrtaints", "utilise"):
        return made(1, dates, channels), days
    if record.module == "tuacr":
        return made(1, bands), made(1, bands), made(1, 2), made(1, bands)
    if record.module == "clearvision_removal":
        return (made(1, bands, dates),)
    if record.builder in ("Seq2Point", "PairwiseResNet"):
        return ([made(1, channels) for _ in range(dates)],)
    if record.builder in ("BaselineResNet", "CloudMaskUNet"):
        return (made(1, channels),)
    return (made(1, bands), made(1, 2)) if record.radar == "required" else (made(1, bands),)


@pytest.mark.parametrize("name", CHECKPOINT_KEYS)
def test_entries_are_those_of_the_checkpoint(name: str) -> None:
    published = published_entries(*CHECKPOINT_KEYS[name])
    network = on_meta(name)
    entries = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    computed = {key for key in published if key.endswith(("relative_position_index", "attn_mask"))}
    assert entries == {key: shape for key, shape in published.items() if key not in computed}


def test_discriminator_has_the_published_entries() -> None:
    published = published_entries("sen12mscrts_seq2point", ("state_dict_D_basic_T3_S1",))
    assert {key: tuple(value.shape) for key, value in PatchDiscriminator().state_dict().items()} == published


@pytest.mark.parametrize("name", ["glfcr", "aligncr"])
def test_published_files_load_strictly_with_their_computed_entries(name: str) -> None:
    published = published_entries(*CHECKPOINT_KEYS[name])
    stored = {key: torch.zeros(shape) for key, shape in published.items()}
    models.create(name).load_state_dict(stored, strict=True)


@pytest.mark.parametrize("name", models.names())
def test_record_counts_what_the_network_has(name: str) -> None:
    record = models.record(name)
    network = on_meta(name)
    assert sum(p.numel() for p in network.parameters()) == record.parameters
    # U-TILISE looks for padded frames in the values, which only real tensors have.
    device, edge = ("cpu", 64) if record.module == "utilise" else ("meta", 256)
    network = models.create(name) if device == "cpu" else network
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs_of(name, edge, device))
    counted = counter.get_total_flops() / 2 * (256 / edge) ** 2
    assert counted == pytest.approx(record.multiply_adds, rel=0.005)


@pytest.mark.parametrize("name", models.names())
def test_record_is_whole_and_cannot_be_changed(name: str) -> None:
    record = models.record(name)
    assert record.name == name
    assert record.link.startswith("https://")
    assert record.weights.startswith("https://")
    assert bool(record.accuracy) <= bool(record.accuracy_source)
    assert record.size_least >= record.size_multiple or record.size_least % record.size_multiple == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.halo = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        record.config["x"] = 1  # type: ignore[index]


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(KeyError, match="dsen2cr"):
        models.create("dsen3cr")
    with pytest.raises(TypeError):
        models.create("dsen2cr", colour="blue")
    with pytest.raises(ValueError, match="at least 3 dates"):
        models.create("seq2point", n_input_samples=2)


def test_importing_the_package_leaves_torch_alone() -> None:
    code = "import sys; from cloud_removal_plugin import models; models.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_glfcr_takes_any_size_of_whole_windows() -> None:
    network = models.create("glfcr", G0=16, D=1, C=2, G=8)
    optical, sar = torch.rand(1, 13, 48, 32), torch.rand(1, 2, 48, 32)
    with torch.inference_mode():
        assert network(optical, sar).shape == optical.shape
        with pytest.raises(ValueError, match="windows"):
            network(optical[..., :40, :], sar[..., :40, :])


def test_a_mask_made_for_inference_serves_training() -> None:
    network = models.create("glfcr", G0=16, D=1, C=2, G=8)
    optical, sar = torch.rand(1, 13, 64, 32), torch.rand(1, 2, 64, 32)
    with torch.inference_mode():
        network(optical, sar)
    network.train()(optical, sar).sum().backward()


def test_deformable_convolution_without_moves_is_a_convolution() -> None:
    x, weight, bias = torch.randn(2, 8, 5, 7), torch.randn(8, 8, 3, 3), torch.randn(8)
    offsets, mask = torch.zeros(2, 2 * 4 * 9, 5, 7), torch.ones(2, 4 * 9, 5, 7)
    expected = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(deformable_convolution(x, offsets, mask, weight, bias), expected, rtol=1e-4, atol=1e-5)


def test_deformable_convolution_samples_as_defined() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(1, 4, 4, 5, generator=generator, dtype=torch.float64)
    offsets = 2 * torch.randn(1, 2 * 2 * 9, 4, 5, generator=generator, dtype=torch.float64)
    mask = torch.rand(1, 2 * 9, 4, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 4, 3, 3, generator=generator, dtype=torch.float64)
    got = deformable_convolution(x, offsets, mask, weight, torch.zeros(3, dtype=torch.float64))

    def at(channel: int, y: float, col: float) -> float:
        total = 0.0
        for row in range(4):
            for column in range(5):
                near = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(col - column))
                total += near * float(x[0, channel, row, column])
        return total

    for row, column in ((0, 0), (1, 3), (3, 4)):
        expected = np.zeros(3)
        for channel in range(4):
            group = channel // 2
            for tap in range(9):
                dy, dx = (float(offsets[0, 2 * (9 * group + tap) + axis, row, column]) for axis in (0, 1))
                value = at(channel, row - 1 + tap // 3 + dy, column - 1 + tap % 3 + dx)
                value *= float(mask[0, 9 * group + tap, row, column])
                expected += value * weight[:, channel, tap // 3, tap % 3].numpy()
        np.testing.assert_allclose(got[0, :, row, column].numpy(), expected, atol=1e-9)


def test_utilise_leaves_padding_out_of_the_other_frames() -> None:
    torch.manual_seed(0)
    config = {"encoder_widths": (8, 8, 16), "decoder_widths": (8, 8, 16), "agg_mode": "att_group"}
    network = models.create("utilise_earthnet2021", **config)
    x, days = torch.rand(1, 3, 4, 16, 16), torch.tensor([[5.0, 10.0, 20.0]])
    longer = torch.cat((x, torch.zeros(1, 2, 4, 16, 16)), dim=1)
    with torch.inference_mode():
        alone = network(x, days)
        padded = network(longer, torch.cat((days, torch.zeros(1, 2)), dim=1))
    torch.testing.assert_close(padded[:, :3], alone, rtol=1e-4, atol=1e-5)
    assert not padded[:, 3:].any()


def test_clear_vision_series_is_filled_up() -> None:
    frames, masks = np.full((5, 3, 8, 8), 0.25, np.float32), np.zeros((5, 8, 8), np.uint8)
    masks[1, 2, 3] = 1
    series = masked_series(frames, masks)
    assert series.shape == (1, 3, 10, 8, 8)
    assert (series[0, :, 1, 2, 3] == 1).all()
    assert not series[:, :, 5:].any()
    with pytest.raises(ValueError, match="up to 10"):
        masked_series(np.zeros((11, 3, 8, 8), np.float32), np.zeros((11, 8, 8)))


def test_nothing_but_missing_values_becomes_zero() -> None:
    assert not fill_with_mean(np.full((2, 3), np.nan, np.float32)).any()


@pytest.mark.parametrize("norm", ["group", "none"])
def test_uncrtaints_in_place_gives_the_same_bits(norm: str) -> None:
    """Inference overwrites maps; the input and the result are those of training."""
    torch.manual_seed(0)
    network = models.create(
        "uncrtaints_mono", encoder_widths=(8,), decoder_widths=(8, 8), encoder_norm=norm, decoder_norm=norm
    ).eval()
    x = torch.rand(1, 1, 15, 24, 20)
    kept = x.clone()
    with torch.no_grad():
        found = network(x)
    assert torch.equal(x, kept)
    assert torch.equal(found, network(x))
