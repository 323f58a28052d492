"""Checkpoints as published become stored weights; what does not fit is refused, and what is hostile never runs."""

from __future__ import annotations

import datetime
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save_file  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.errors import InputError  # noqa: E402
from cloud_removal_plugin.models.conversion import convert, entry_shapes, load  # noqa: E402
from cloud_removal_plugin.models.recognition import recognise  # noqa: E402
from cloud_removal_plugin.weights.folder import find, publish  # noqa: E402
from cloud_removal_plugin.weights.known import CHECKPOINTS  # noqa: E402
from tests.models.golden_files import Case, all_cases, golden_folders  # noqa: E402

TINY: dict[str, dict[str, Any]] = {
    "dsen2cr": {"num_layers": 1, "feature_size": 4},
    "dsen2cr_nosar": {"num_layers": 3, "feature_size": 4},
    "glfcr": {"G0": 8, "G": 8, "C": 2, "D": 2},
    "uncrtaints_mono": {"encoder_widths": (8,), "decoder_widths": (8, 8)},
    "uncrtaints": {"encoder_widths": (8,), "decoder_widths": (8,), "n_head": 4, "d_model": 16},
    "tuacr": {"base_width": 16, "num_rrdb": 1},
    "utilise_earthnet2021": {"encoder_widths": (8, 8, 16), "decoder_widths": (8, 8, 16)},
    "utilise_sen12mscrts": {"encoder_widths": (8, 8, 16), "decoder_widths": (8, 8, 16)},
    "utilise_sen12mscrts_s1": {"encoder_widths": (8, 8, 16), "decoder_widths": (8, 8, 16)},
    "clearvision_mask": {"widths": (4, 8, 16, 16, 32)},
    "clearvision_removal": {"widths": (4, 8, 8, 8), "n_head": 2, "d_k": 4},
    "aligncr": {"G0": 16, "G": 8, "C": 1, "D": 2, "upnet_hidden": 16, "n_shallow_blocks": 1},
    "seq2point": {"resnet_F": 4, "resnet_B": 1},
    "seq2point_nosar": {"resnet_F": 4, "resnet_B": 2, "n_input_samples": 4},
    "seq2point_pairwise": {"resnet_F": 2, "resnet_B": 1},
    "baseline_resnet": {"resnet_F": 4, "resnet_B": 2},
}
OTHERS = ("seq2point_discriminator", "seq2point_train", "seq2point_perceptual")
WITH_WEIGHTS = [
    case
    for case in all_cases()
    if not any(name in case.name for name in OTHERS) and any(key.startswith("w.") for key in case.stored)
]


def state(name: str) -> dict[str, Any]:
    torch.manual_seed(1)
    return dict(models.create(name, **TINY[name]).state_dict())


def same(path: Path, expected: dict[str, Any], folder: Path) -> None:
    """Importing ``path`` gives a network with exactly these weights."""
    made = convert(path)
    publish(made.record.name, folder, made.write)
    network = load(find(made.record.name, folder))
    got = network.state_dict()
    assert set(got) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", TINY)
def test_every_network_is_recognised_by_its_entries(name: str) -> None:
    found = recognise(entry_shapes(name, TINY[name]))
    assert found is not None
    assert found.network == name
    assert entry_shapes(name, {**dict(models.record(name).config), **found.config}) == entry_shapes(name, TINY[name])


@pytest.mark.parametrize("name", TINY)
def test_published_sizes_are_recognised_with_the_published_arguments(name: str) -> None:
    found = recognise(entry_shapes(name, {}))
    assert found is not None
    assert found.network == name
    assert entry_shapes(name, {**dict(models.record(name).config), **found.config}) == entry_shapes(name, {})
    assert {entry.network for entry in CHECKPOINTS} == set(TINY) == set(models.names())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uncrtaints", {"separate_out": True, "out_conv": (13,)}),
        ("utilise_earthnet2021", {"n_head": 2, "d_k": 3}),
        ("utilise_earthnet2021", {"activation": "prelu", "output_activation": "prelu"}),
        ("utilise_earthnet2021", {"decoder_norm": "group", "encoder_norm": "batch", "skip_norm": "group"}),
    ],
)
def test_options_are_recognised(name: str, options: dict[str, Any]) -> None:
    shapes = entry_shapes(name, {**TINY[name], **options})
    found = recognise(shapes)
    assert found is not None
    assert entry_shapes(found.network, {**dict(models.record(found.network).config), **found.config}) == shapes
    if "output_activation" not in options:
        assert "output_activation" not in found.config


@pytest.mark.skipif(not golden_folders(), reason="no folder of golden cases is there")
@pytest.mark.parametrize("case", WITH_WEIGHTS, ids=lambda case: case.name)
def test_golden_weights_are_recognised(case: Case) -> None:
    weights = case.tensors("w")
    shapes = {k: tuple(v.shape) for k, v in weights.items() if not k.endswith(("relative_position_index", "attn_mask"))}
    found = recognise(shapes)
    assert found is not None
    config = {**dict(models.record(found.network).config), **found.config}
    assert entry_shapes(found.network, config) == shapes


@pytest.mark.skipif(not golden_folders(), reason="no folder of golden cases is there")
def test_keras_files_of_all_layouts(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    files = [(case, entry) for case in all_cases() for entry in case.meta.get("h5_files", ())]
    for case, entry in files:
        same(case.path.with_name(entry.split()[0]), case.tensors("w"), tmp_path)


WRAPPINGS = {
    "bare": lambda s: s,
    "network": lambda s: {"network": s, "epoch": 3, "optimizer": {"state": {}, "lr": 1e-4}},
    "module": lambda s: {"network": {"module." + k: v for k, v in s.items()}},
    "netG": lambda s: {"epoch": 1, "state_dict": {"netG." + k: v for k, v in s.items()}, "optimizer_G": {}},
    "model_state_dict": lambda s: {"best_loss": np.float64(0.5), "iter": np.int64(7), "model_state_dict": s},
    "half": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("legacy", [False, True])
def test_wrappers_are_taken_off(tmp_path: Path, wrapping: str, legacy: bool) -> None:
    expected = state("uncrtaints")
    path = tmp_path / "model.pth.tar"
    torch.save(WRAPPINGS[wrapping](expected), path, _use_new_zipfile_serialization=not legacy)
    if wrapping == "half":
        expected = {k: v.half().float() if v.is_floating_point() else v for k, v in expected.items()}
    same(path, expected, tmp_path)


def test_computed_entries_are_dropped_and_old_names_renamed(tmp_path: Path) -> None:
    expected = state("glfcr")
    extra = {
        "RDBs.0.convs.1.attn_mask": torch.zeros(64, 64, 64),
        "RDBs.0.convs.0.attn.relative_position_index": torch.zeros(64, 64, dtype=torch.int64),
    }
    torch.save({"network": expected | extra}, tmp_path / "CR_net.pth")
    same(tmp_path / "CR_net.pth", expected, tmp_path)
    expected = state("aligncr")
    new = {
        k.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): v
        for k, v in expected.items()
    }
    torch.save(new, tmp_path / "Align_CR.pth")
    same(tmp_path / "Align_CR.pth", expected, tmp_path)
    expected = state("uncrtaints_mono")
    old = {k.replace("in_block.0", "in_block1").replace("out_block.0", "out_block1"): v for k, v in expected.items()}
    old = {k.replace("out_block.1", "out_block2"): v for k, v in old.items() if "num_batches" not in k}
    torch.save(old, tmp_path / "old.pth")
    same(tmp_path / "old.pth", expected, tmp_path)


def test_what_shapes_cannot_tell_comes_from_conf_json(tmp_path: Path) -> None:
    torch.save({"state_dict": state("uncrtaints")}, tmp_path / "model.pth.tar")
    beside = {"scale_by": 1.0, "agg_mode": "att_mean", "encoder_widths": "[8]", "lr": 0.1, "n_head": 99}
    (tmp_path / "conf.json").write_text(json.dumps(beside))
    config = convert(tmp_path).config
    assert (config["scale_by"], config["agg_mode"]) == (1.0, "att_mean")
    assert (config["n_head"], config["encoder_widths"]) == (4, (8,))
    assert "lr" not in config


def test_of_a_training_run_the_last_generator_is_taken(tmp_path: Path) -> None:
    wanted, other = state("seq2point"), state("seq2point_nosar")
    torch.save(other, tmp_path / "9_net_G.pth")
    torch.save(wanted, tmp_path / "20_net_G.pth")
    torch.save(other, tmp_path / "iter_5000_net_G.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "20_net_D.pth")
    assert convert(tmp_path).source.path.name == "20_net_G.pth"
    torch.save(other, tmp_path / "latest_net_G.pth")
    assert convert(tmp_path).record.name == "seq2point_nosar"


def test_safetensors_and_the_network_that_was_asked_for(tmp_path: Path) -> None:
    expected = state("dsen2cr_nosar")
    save_file(expected, str(tmp_path / "a.safetensors"))
    same(tmp_path / "a.safetensors", expected, tmp_path)
    assert convert(tmp_path / "a.safetensors", "dsen2cr_nosar").record.name == "dsen2cr_nosar"
    with pytest.raises(
        InputError, match=r"holds DSen2-CR without radar, not GLF-CR\. Choose 'dsen2cr_nosar' or 'auto'"
    ):
        convert(tmp_path / "a.safetensors", "glfcr")


def test_missing_and_odd_entries_are_named(tmp_path: Path) -> None:
    weights = state("utilise_earthnet2021")
    weights.pop("up_blocks.0.skip_conv.conv.conv.0.bias")
    weights["surprise"] = torch.zeros(3)
    weights["down_blocks.1.conv2.conv.0.bias"] = torch.zeros(5)
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(InputError) as found:
        convert(tmp_path / "a.pth")
    text = str(found.value)
    assert "a.pth does not fit U-TILISE, EarthNet2021" in text
    assert "missing up_blocks.0.skip_conv.conv.conv.0.bias" in text
    assert "unknown surprise" in text
    assert "down_blocks.1.conv2.conv.0.bias has the shape (5,) instead of (16,)" in text


def test_a_mixture_of_two_networks_is_refused(tmp_path: Path) -> None:
    torch.save(state("glfcr") | state("dsen2cr"), tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"does not fit GLF-CR: unknown model\.0\.bias.* and \d+ more"):
        convert(tmp_path / "a.pth")


def test_a_network_that_stops_in_the_middle_is_named(tmp_path: Path) -> None:
    whole = state("seq2point")
    torch.save({k: v for k, v in whole.items() if k.startswith("model_initial.")}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"does not fit .*: missing model_final"):
        convert(tmp_path / "a.pth")


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_never_runs(tmp_path: Path, legacy: bool) -> None:
    mark = tmp_path / "ran"
    content = {"network": state("dsen2cr"), "more": Hostile(mark)}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"a\.pth wants to run code when it is read \((posix|nt)\.system\)"):
        convert(tmp_path / "a.pth")
    assert not mark.exists()
    torch.save({"network": state("dsen2cr"), "when": datetime.date(2024, 1, 1)}, tmp_path / "b.pth")
    with pytest.raises(InputError, match="wants to run code"):
        convert(tmp_path / "b.pth")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
@pytest.mark.parametrize("kind", ["pth", "legacy", "safetensors", "h5"])
def test_truncated_files_get_a_sentence(tmp_path: Path, kind: str, share: float) -> None:
    weights, path = state("dsen2cr"), tmp_path / f"a.{kind}"
    if kind == "safetensors":
        save_file(weights, str(path))
    elif kind == "h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["conv2d_1/conv2d_1/kernel:0"] = np.zeros((3, 3, 15, 64), np.float32)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "pth")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    words = "damaged or incomplete|not a checkpoint|not a readable HDF5|does not hold the weights"
    with pytest.raises(InputError, match=words):
        convert(path)


def test_other_things_are_refused(tmp_path: Path) -> None:
    cases: dict[str, tuple[Any, str]] = {
        "empty": ({}, "holds no weights of a network"),
        "list": ([torch.zeros(2)], "holds no weights of a network"),
        "image": ({"image": torch.zeros(3, 4)}, "holds none of the known networks; its first entries are: image"),
        "number": ({"network": {"a": 1}}, "holds no weights of a network"),
    }
    for name, (content, words) in cases.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(InputError, match=words):
            convert(tmp_path / f"{name}.pth")
    weights = state("dsen2cr")
    weights["model.0.bias"][1] = float("nan")
    torch.save(weights, tmp_path / "nan.pth")
    with pytest.raises(InputError, match=r"not finite in 'model\.0\.bias'"):
        convert(tmp_path / "nan.pth")
    with pytest.raises(InputError, match="There is no file"):
        convert(tmp_path / "nowhere.pth")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint"):
        convert(tmp_path / "none")
    with pytest.raises(InputError, match="There is no network 'yolo'"):
        convert(tmp_path / "nan.pth", "yolo")


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (1 << 26))
    with pytest.raises(InputError, match="unpacks to 64 MB"):
        convert(tmp_path / "a.pth")
