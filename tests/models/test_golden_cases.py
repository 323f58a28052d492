"""What runs the golden cases must hold on cases that lie elsewhere and say other things than those at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save_file  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.models import scaling  # noqa: E402
from cloud_removal_plugin.models.seq2point import PatchDiscriminator, PixelDiscriminator  # noqa: E402
from tests.models import golden_files, golden_inputs, golden_weights, test_goldens  # noqa: E402
from tests.models import golden_runs as runs  # noqa: E402
from tests.models import golden_training_runs as training  # noqa: E402
from tests.models.golden_files import Case  # noqa: E402


def write_case(folder: Path, name: str, meta: dict, tensors: dict | None = None) -> Case:
    """A case as the goldens have them."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"name": name, **meta}))
    if tensors:
        save_file({key: value.contiguous().clone() for key, value in tensors.items()}, folder / f"{name}.safetensors")
    return Case(folder / f"{name}.json")


def parts(prefix: str, tensors: dict) -> dict:
    """Tensors under a prefix."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def test_cases_are_found_below_the_named_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(tmp_path / "deep", "glfcr_a", {})
    (tmp_path / "glfcr.keys.json").write_text("[]")
    monkeypatch.setenv("CLOUD_REMOVAL_GOLDENS", str(tmp_path))
    assert [case.name for case in golden_files.all_cases()] == ["glfcr_a"]
    monkeypatch.setenv("CLOUD_REMOVAL_GOLDENS", f"{tmp_path / 'nowhere'}")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        golden_files.golden_folders()


def test_no_name_means_the_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(tmp_path, "not_a_golden", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUD_REMOVAL_GOLDENS", "")
    assert Path(".") not in golden_files.golden_folders()


def test_a_case_refers_to_one_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"w.a": torch.ones(1), "x.b": torch.ones(2), "y.c": torch.ones(3)}
    write_case(tmp_path / "public", "tuacr_a", {"config": {"base_width": 8}, "tolerance": {"atol": 1.0}}, whole)
    meta = {"of": "tuacr_a", "tolerance": {"atol": 2.0}}
    apart = write_case(tmp_path / "apart", "tuacr_a_grads", meta, {"g.a": torch.zeros(1)})
    monkeypatch.setenv("CLOUD_REMOVAL_GOLDENS", f"{tmp_path / 'apart'}:{tmp_path / 'public'}")
    assert apart.meta["config"] == {"base_width": 8}
    assert apart.meta["tolerance"] == {"atol": 2.0}
    assert set(apart.tensors("w")) == {"a"}
    assert not apart.tensors("y")


@pytest.mark.parametrize(
    ("tolerance", "name", "expected"),
    [
        ({"rtol": 1e-5, "atol": 1e-4}, "out", (1e-5, 1e-4)),
        ({"atol": 1e-4}, "out", (0.0, 1e-4)),
        ({"*": {"atol": 1, "rtol": 2}, "*_sum": {"atol": 3, "rtol": 4}}, "SAR_data_sum", (4, 3)),
        ({"grad": {"atol": 1}, "grad0.*": {"atol": 2}}, "grad0.a.weight", (0.0, 2)),
        ({"pred": {"atol": 1e-3, "rtol": 0}}, "features", (1e-4, 1e-3)),
    ],
)
def test_the_closest_tolerance_counts(tolerance: dict, name: str, expected: tuple[float, float]) -> None:
    assert golden_files.tolerance_for({"tolerance": tolerance}, name) == expected


@pytest.mark.parametrize(("name", "meta"), [("a_sub3", {}), ("a", {"sub_sampling": 3}), ("a", {})])
def test_thinned_goldens_keep_every_third_pixel(tmp_path: Path, name: str, meta: dict) -> None:
    full = torch.arange(2 * 31 * 40.0).view(1, 2, 31, 40)
    kept = full[..., ::3, ::3]
    case = write_case(tmp_path, name, {**meta, "tolerance": {"atol": 0.0}}, {"y.out_sub": kept})
    golden_files.compare(case, {"out": full})
    with pytest.raises(AssertionError):
        golden_files.compare(case, {"out": full + 1})


def test_a_case_without_numbers_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nothing to compare"):
        golden_files.compare(write_case(tmp_path, "a", {}), {"out": torch.zeros(1)})


PATCHES = (
    "sen12mscr/s1/A_p1",
    "sen12mscr/s2_cloudy/A_p1",
    "sen12mscr/s2_cloudfree/A_p1",
    "sen12mscr_pairs/B_p2_s2_clear",
    "sen12mscr_pairs/B_p2_s2_cloudy",
    "sen12mscr_triplets/00316_s1",
    "new/s2_cloudy/C_p3",
)


@pytest.mark.parametrize(
    ("kind", "sample", "found"),
    [
        ("s2_cloudfree", "A_p1.tif", "sen12mscr/s2_cloudfree/A_p1.tif"),
        ("s1", "sen12mscr/s2_cloudy/A_p1.tif", "sen12mscr/s1/A_p1.tif"),
        ("s2_cloudfree", "sen12mscr_pairs/B_p2_s2_cloudy.tif", "sen12mscr_pairs/B_p2_s2_clear.tif"),
        ("s1", "00316", "sen12mscr_triplets/00316_s1.tif"),
        ("s2_cloudy", "C_p3.tif", "new/s2_cloudy/C_p3.tif"),
    ],
)
def test_patches_are_found_in_every_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sample: str, found: str
) -> None:
    for place in PATCHES:
        file = tmp_path / f"{place}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setenv("CLOUD_REMOVAL_DATA", str(tmp_path))
    assert golden_inputs.patch_file(kind, sample) == tmp_path / found


def test_recipes_in_words_are_read() -> None:
    radar = "VV clip[-25,0], VH clip[-32.5,0], each -> [0,2]"
    assert golden_inputs.said_scaling(scaling.GLFCR, "s2_cloudy clip 0..10000 /2000", radar) == scaling.DSEN2CR
    both = "UnCRtainTS default: BOTH channels clip[-25,0] -> (v+25)/25"
    wanted = golden_inputs.said_scaling(scaling.UNCRTAINTS_RESNET, "clip 0..10000 /10000", both)
    assert (wanted.top, wanted.vv, wanted.vh) == (1.0, scaling.VV_RANGE, scaling.VV_RANGE)
    assert golden_inputs.numbers(r"betas #/#", "(lr 0.07, betas .9/.999, eps 1e-8)") == [0.9, 0.999]


def test_networks_are_computed_in_the_dtype_of_their_weights(tmp_path: Path) -> None:
    config = {"num_layers": 1, "feature_size": 4}
    network = models.create("dsen2cr", **config).double()
    x = {"opt": torch.rand(1, 13, 6, 7).double(), "sar": torch.rand(1, 2, 6, 7).double()}
    with torch.no_grad():
        y = {"pred": network(*x.values())}
    meta = {"config": config, "tolerance": {"rtol": 0.0, "atol": 1e-13}}
    tensors = parts("w", network.state_dict()) | parts("x", x) | parts("y", y)
    runs.run_dsen2cr(write_case(tmp_path, "dsen2cr_f64", meta, tensors))


def test_nadam_takes_its_settings_from_the_case(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    start, gradients = torch.randn(3, generator=generator), torch.randn(4, 3, generator=generator)
    # Dozat 2016, algorithm 8, with Keras' schedule of the momentum.
    rate, beta1, beta2, eps, decay = 0.02, 0.8, 0.99, 1e-7, 0.01
    p, m, v, product, expected = start.double(), torch.zeros(3).double(), torch.zeros(3).double(), 1.0, []
    for step, g in enumerate(gradients.double(), start=1):
        now, after = (beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        product *= now
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        p = p - rate * ahead / ((v / (1 - beta2**step)).sqrt() + eps)
        expected.append(p.float())
    what = f"Nadam (lr {rate}, betas .8/.99, eps {eps}, schedule_decay {decay})"
    tensors = {"x.p0": start, "x.grads": gradients, "y.trajectory": torch.stack(expected)}
    meta = {"what": what, "tolerance": {"rtol": 1e-5, "atol": 1e-6}}
    training.run_nadam(write_case(tmp_path, "dsen2cr_nadam_b", meta, tensors))


@pytest.mark.parametrize("kind", ["batch", "instance", "pixel", "pixel_instance"])
def test_discriminators_follow_from_their_weights(kind: str) -> None:
    norm = "instance" if kind.endswith("instance") else "batch"
    network = PixelDiscriminator(7, 5, norm) if kind.startswith("pixel") else PatchDiscriminator(7, 5, 2, norm)
    again = golden_weights.discriminator_of(network.state_dict())
    x = torch.rand(2, 7, 24, 24)
    assert torch.equal(network.eval()(x), again.eval()(x))


def test_losses_are_reduced_as_the_case_says(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    p, t, v = (torch.rand(2, 1, 13, 2, 3, generator=generator) + 0.1 for _ in range(3))
    logarithm = np.log(v.numpy()).sum(axis=2).sum(axis=0, keepdims=True)
    distance = ((p - t) ** 2 / v).numpy().sum(axis=2)
    values = 0.5 * (13 * np.log(2 * np.pi) + logarithm + distance)
    for reduction, expected in (("sum", values.sum()), ("none", values), ("mean", values.mean())):
        meta = {"loss": "MGNLL", "reduction": reduction, "tolerance": {"rtol": 1e-5, "atol": 1e-5}}
        y = {"loss": torch.from_numpy(np.asarray(expected, np.float32))}
        tensors = parts("x", {"pred": p, "target": t, "var": v}) | parts("y", y)
        training.run_uncrtaints_loss(write_case(tmp_path, f"uncrtaints_loss_{reduction}", meta, tensors))


def test_more_precise_days_leave_the_network_as_it_is(tmp_path: Path) -> None:
    x = {"x": torch.zeros(1, 2, 4, 4, 4), "batch_positions": torch.zeros(1, 2, dtype=torch.float64)}
    assert golden_weights.dtype_of(write_case(tmp_path, "utilise_days", {}, parts("x", x))) == torch.float32


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.bool])
def test_masks_of_every_type_are_compared(tmp_path: Path, dtype: torch.dtype) -> None:
    mask = torch.tensor([[0, 1], [1, 0]])
    case = write_case(tmp_path, "preproc_mask", {"tolerance": {"atol": 0.0}}, {"y.mask": mask.to(dtype)})
    golden_files.compare(case, {"mask": mask})
    with pytest.raises(AssertionError):
        golden_files.compare(case, {"mask": 1 - mask})


@pytest.mark.parametrize(
    ("name", "meta", "family"),
    [
        ("dsen2cr_tiny_nosar_seed7", {}, "dsen2cr_"),
        ("other_dsen2cr_metrics_b", {}, "dsen2cr_metrics"),
        ("B-utilise_train_three_sgd_steps", {}, "utilise_train"),
        ("a17", {"name": "new_metrics_real_C"}, "metrics_"),
        ("a18", {"name": "", "model": "utilise", "case": "interpolators_2"}, "utilise_interpolators"),
        ("notmetrics_a", {}, ""),
    ],
)
def test_families_are_found_in_longer_names(tmp_path: Path, name: str, meta: dict, family: str) -> None:
    assert test_goldens._prefix(write_case(tmp_path, name, meta)) == family


def test_gradients_that_nothing_compares_fail(tmp_path: Path) -> None:
    config = {"resnet_F": 4, "resnet_B": 1, "include_S1": False}
    network, x = models.create("baseline_resnet", **config), torch.rand(2, 13, 7, 9)
    with torch.no_grad():
        tensors = parts("w", network.state_dict()) | {"x.input": x, "y.out": network(x)}
    meta = {"config": config, "tolerance": {"atol": 1e-5}}
    test_goldens.test_golden(write_case(tmp_path, "seq2point_baseline_b", meta, tensors))
    with pytest.raises(pytest.fail.Exception, match="gradients"):
        test_goldens.test_golden(
            write_case(tmp_path, "seq2point_baseline_c", meta, tensors | {"g.model.0.bias": torch.ones(4)})
        )


def test_patches_may_lie_beside_the_goldens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "data/sen12mscr/s2_cloudy/Q_p9.tif"
    place.parent.mkdir(parents=True)
    place.touch()
    (tmp_path / "reference/goldens").mkdir(parents=True)
    monkeypatch.setenv("CLOUD_REMOVAL_GOLDENS", str(tmp_path / "reference/goldens"))
    assert golden_inputs.patch_file("s2_cloudy", "Q_p9.tif") == place


def test_weights_of_another_case_may_follow_from_a_recipe(tmp_path: Path) -> None:
    config = {"num_layers": 1, "feature_size": 4}
    recipe = {"id": golden_weights.CRC32, "salt": "a:", "gain": 1.0}
    write_case(tmp_path, "dsen2cr_whole", {"config": config, "weights_recipe": recipe})
    case = write_case(tmp_path, "dsen2cr_part", {"weights_from": "dsen2cr_whole"})
    network = golden_weights.network_of("dsen2cr", case, case.meta["config"])
    shapes = golden_weights.checkpoint_shapes(network)
    for key, value in golden_weights.crc32_weights(shapes, recipe).items():
        assert torch.equal(network.state_dict()[key], value)


def test_a_share_of_entries_may_lie_farther_off(tmp_path: Path) -> None:
    expected = torch.zeros(1000)
    got = expected.clone()
    got[3] = 0.5
    said = {"atol": 1e-3, "allow_fraction_outside": 0.002, "outside_atol": 0.6}
    case = write_case(tmp_path, "a", {"tolerance": {"out*": said}}, {"y.out": expected})
    golden_files.compare(case, {"out": got})
    for wrong in (got + 1, torch.where(torch.arange(1000) < 3, 0.5, got)):
        with pytest.raises(AssertionError):
            golden_files.compare(case, {"out": wrong})


def test_half_a_frame_is_no_frame(tmp_path: Path) -> None:
    case = write_case(tmp_path, "a", {"tolerance": {"atol": 0.0}}, {"y.start": torch.tensor([4])})
    golden_files.compare(case, {"start": torch.tensor([4])})
    with pytest.raises(AssertionError):
        golden_files.compare(case, {"start": torch.tensor([4.5])})


def test_the_head_is_trained_on_the_loss_in_the_words_of_the_case() -> None:
    out, target, mask = torch.rand(1, 3, 4, 5), torch.rand(1, 13, 4, 5), torch.rand(1, 1, 4, 5)
    tensors = {"out": out, "t": target, "mask": mask, "attn3": mask / 2}
    got = runs.tuacr_loss("2*L1(out*mask,t[1:4]*mask) + 0.5*MSE(attn3,mask)", tensors)
    expected = 2 * ((out - target[:, 1:4]) * mask).abs().mean() + 0.5 * (mask / 2).pow(2).mean()
    torch.testing.assert_close(got, expected)
    with pytest.raises(KeyError):
        runs.tuacr_loss("2*LPIPS(out,t[1:4])", tensors)


def test_day_numbers_are_no_patches() -> None:
    where = {"samples": ["a.tif", "b.tif"], "dates": [1200.5, 1210], "s2": "s2_cloudfree clip 0..10000 /10000"}
    assert golden_inputs.samples_of(where) == [("s2_cloudfree", "a.tif"), ("s2_cloudfree", "b.tif")]
    assert golden_inputs.days_of(where).tolist() == [[1200.5, 1210.0]]
    assert golden_inputs.days_of({"dates": [["s2_cloudy", "a.tif"]]}) is None


@pytest.mark.parametrize(
    ("run", "meta"),
    [
        (training.run_series_losses, {"config": {"l1_loss": True, "l3_loss": True}}),
        (training.run_seq2point_steps, {"config": {"resnet_F": 4, "lambda_percep": 1.0}}),
        (training.run_date_choices, {"cases": [{"coverage": [0.1, 0.2], "sampler": "random"}]}),
        (training.run_m3rcr_loader, {"config": {"split": "test", "flip": True}}),
    ],
)
def test_a_setting_that_nothing_applies_fails(tmp_path: Path, run: object, meta: dict) -> None:
    with pytest.raises(AssertionError, match="nothing applies"):
        run(write_case(tmp_path, "a", meta, {"x.pred": torch.zeros(1)}))
