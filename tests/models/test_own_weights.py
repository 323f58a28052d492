"""Weights that this plugin trained are imported with their record, and shown by it instead of by the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save_file  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.engine.job import Job  # noqa: E402
from cloud_removal_plugin.engine.run import run  # noqa: E402
from cloud_removal_plugin.errors import InputError  # noqa: E402
from cloud_removal_plugin.models.conversion import convert, load  # noqa: E402
from cloud_removal_plugin.training.presets import PRESETS  # noqa: E402
from cloud_removal_plugin.weights.folder import find  # noqa: E402
from cloud_removal_plugin.weights.known import CHECKPOINTS  # noqa: E402
from cloud_removal_plugin.weights.stored import read_record, text_of  # noqa: E402
from tests.methods.networks import SMALL, small  # noqa: E402
from tools import package  # noqa: E402

TRAINED = {
    "title": "DSen2-CR", "trained_with": "dsen2cr-l1", "reader": "scenes", "data": "7 scenes", "samples": "5",
    "steps": "300", "held_out_samples": "2", "held_out_step": "200", "held_out_psnr": "31.25", "held_out_mae": "0.0125",
    "held_out_rmse": "0.0274", "held_out_validation": "0.0125",
}  # fmt: skip


def own(path: Path, name: str, config: dict[str, Any] | None = None, **facts: str) -> Path:
    """A file as a training leaves it."""
    made = {**dict(models.record(name).config), **SMALL[name], **(config or {})}
    text = text_of(name, made, "dsen2cr-l1, 300 steps", "ab" * 32, **{**TRAINED, **facts})
    path.parent.mkdir(exist_ok=True)
    save_file(models.create(name, **made).state_dict(), str(path), metadata=text)
    return path


def done(job: Job) -> str:
    return run(job, lambda *_: None, lambda: False, lambda *_: None).report


def imported(source: Path, folder: Path, settings: str = "", page: Path | None = None) -> str:
    output = str(page) if page else ""
    return done(Job(kind="import", input=str(source), output=output, weights=str(folder), settings=settings))


def listed(folder: Path, network: str) -> dict[str, str]:
    """What the table says of a network, by column."""
    report = done(Job(kind="models", input="", output="", weights=str(folder)))
    rows = [dict(line.split(": ", 1) for line in part.splitlines()) for part in report.split("\n\n")[1:]]
    return next(row for row in rows if row["Network"] == network)


def test_the_record_of_a_training_is_kept_as_it_is(tmp_path: Path) -> None:
    source, folder = own(tmp_path / "run" / "weights.safetensors", "dsen2cr"), tmp_path / "weights"
    report = imported(source, folder, page=tmp_path / "page.html")
    stored = find("dsen2cr", folder)
    assert stored.facts == read_record(source).facts
    assert "trained here: recipe dsen2cr-l1, 300 steps on 5 samples of 7 scenes (scenes)" in report
    assert (
        "PSNR 31.25 dB, MAE 0.0125, RMSE 0.0274 (its own, on 2 samples kept out of the training, at step 200)" in report
    )
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (report, page):
        assert "trained here" in text
        assert "GPL" not in text
        assert "28.7" not in text
    assert imported(source, folder).count("kept as") == 0
    assert [path.name for path in folder.iterdir()] == ["dsen2cr.safetensors"]


def test_the_folder_of_a_training_is_enough(tmp_path: Path) -> None:
    source = own(tmp_path / "run" / "weights.safetensors", "dsen2cr")
    for name in ("best.pt", "last.pt"):
        (source.parent / name).write_bytes(b"a checkpoint to go on with")
    assert convert(source.parent).facts == read_record(source).facts


def test_its_own_configuration_goes_before_what_shapes_tell(tmp_path: Path) -> None:
    config = {"output_activation": "relu", "ltae_activation": "relu"}
    source = own(tmp_path / "run" / "w.safetensors", "utilise_earthnet2021", config)
    made = convert(source)
    assert {key: made.config[key] for key in config} == config
    imported(source, tmp_path / "weights")
    stored = find("utilise_earthnet2021", tmp_path / "weights")
    assert {key: stored.config[key] for key in config} == config
    load(stored)


def test_what_an_import_knew_is_kept_by_the_next_one(tmp_path: Path) -> None:
    torch.save(small("dsen2cr").state_dict(), tmp_path / "model.pth")
    imported(tmp_path / "model.pth", tmp_path / "one")
    report = imported(tmp_path / "one" / "dsen2cr.safetensors", tmp_path / "two")
    first, second = (find("dsen2cr", tmp_path / name) for name in ("one", "two"))
    assert first.facts == second.facts
    assert second.source == "model.pth"
    assert f"imported from model.pth, SHA-256 {first.sha256}" in report
    assert "GPL-3.0" in report


def test_a_record_does_not_excuse_what_does_not_fit(tmp_path: Path) -> None:
    source = own(tmp_path / "run" / "w.safetensors", "dsen2cr")
    with pytest.raises(InputError, match="holds DSen2-CR, not GLF-CR"):
        convert(source, "glfcr")
    facts = read_record(source).facts
    state = dict(small("dsen2cr").state_dict())
    state["model.0.bias"] = state["model.0.bias"][:-1].clone()
    save_file(state, str(source), metadata=facts)
    with pytest.raises(InputError, match=r"does not fit DSen2-CR: model\.0\.bias has the shape"):
        convert(source)


def test_the_list_shows_what_the_record_says(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    before = listed(folder, "dsen2cr")
    assert ("28.7 dB" in before["Accuracy"], before["Licence"]) == (True, "GPL-3.0 (repository)")
    tuned = {"tuned_from": "dsen2cr.safetensors", "before_psnr": "28.5", "reader": "sen12mscr"}
    imported(own(tmp_path / "run" / "w.safetensors", "dsen2cr", **tuned), folder)
    row = listed(folder, "dsen2cr")
    assert row["Weights"].startswith("there: dsen2cr.safetensors, trained here: recipe dsen2cr-l1, begun with dsen2cr.")
    assert "imported" not in row["Weights"]
    assert "28.7" not in row["Accuracy"]
    assert "PSNR 31.25 dB" in row["Accuracy"]
    assert "before the fine-tuning PSNR 28.5 dB" in row["Accuracy"]
    assert "GPL" not in row["Licence"]
    assert "begun with dsen2cr.safetensors, whose licence still holds; SEN12MS-CR is CC BY 4.0" in row["Licence"]


def test_the_list_asks_for_what_these_weights_need(tmp_path: Path) -> None:
    assert "radar (VV and VH)" in listed(tmp_path, "dsen2cr")["Needs"]
    imported(own(tmp_path / "run" / "a.safetensors", "dsen2cr", {"include_sar_input": False}), tmp_path)
    assert "radar" not in listed(tmp_path, "dsen2cr")["Needs"]
    imported(own(tmp_path / "run" / "b.safetensors", "seq2point", {"n_input_samples": 5}), tmp_path)
    assert listed(tmp_path, "seq2point")["Needs"].endswith("radar (VV and VH); 5 dates")
    imported(own(tmp_path / "run" / "c.safetensors", "dsen2cr_nosar", {"optical_channels": 4}), tmp_path)
    row = listed(tmp_path, "dsen2cr_nosar")
    assert row["Weights"].startswith("not usable: The stored weights of DSen2-CR without radar are for 4 bands")
    assert "27.6 dB" in row["Accuracy"]


def test_members_of_an_ensemble_are_told_apart(tmp_path: Path) -> None:
    folder, name = tmp_path / "weights", "uncrtaints_mono"
    torch.save(small(name).state_dict(), tmp_path / "model.pth")
    imported(tmp_path / "model.pth", folder)
    imported(own(tmp_path / "run" / "w.safetensors", name, reader="sen12mscr"), folder, settings='{"add": true}')
    row = listed(folder, name)
    assert f"{name}.safetensors, imported from model.pth; {name}.member2.safetensors, trained here" in row["Weights"]
    assert f"{name}.safetensors: MAE 0.027" in row["Accuracy"]
    assert f"{name}.member2.safetensors: PSNR 31.25 dB" in row["Accuracy"]
    assert f"{name}.safetensors: MIT" in row["Licence"]


@pytest.mark.parametrize("reader", ["earthnet2021", "earthnet2021x", "m3rcr"])
def test_the_package_refuses_imported_weights_whose_data_forbid_it(tmp_path: Path, reader: str) -> None:
    allowed = own(tmp_path / "run" / "a.safetensors", "clearvision_removal", reader="sen12mscrts_hdf5")
    refused = own(tmp_path / "run" / "b.safetensors", "clearvision_removal", reader=reader)
    for source in (allowed, refused):
        folder = tmp_path / source.stem
        report = imported(source, folder)
        content = find("clearvision_removal", folder).path.read_bytes()
        files = {"weights/a.safetensors": content, "weights/a.md": b"# Card"}
        if source == allowed:
            assert len(package.shippable_weights(files)) == 2
        else:
            assert "NC" in report or "academic use only" in report
            with pytest.raises(RuntimeError, match=rf"may not be passed on \(reader: {reader}\)"):
                package.shippable_weights(files)


@pytest.mark.parametrize("name", ["clearvision_removal", "utilise_earthnet2021", "aligncr"])
def test_the_package_refuses_published_weights_of_such_data(tmp_path: Path, name: str) -> None:
    torch.save(small(name).state_dict(), tmp_path / "model.pth")
    convert(tmp_path / "model.pth").write(tmp_path / "a.safetensors")
    files = {"weights/a.safetensors": (tmp_path / "a.safetensors").read_bytes(), "weights/a.md": b"# Card"}
    with pytest.raises(RuntimeError, match="may not be passed on"):
        package.shippable_weights(files)


def test_where_no_weights_are_published_a_recipe_is_named(tmp_path: Path) -> None:
    places = {name: listed(tmp_path, name)["Where to get them"] for name in ("seq2point", "aligncr", "seq2point_nosar")}
    assert places["seq2point"].endswith("train one with trainmodel, RECIPE seq2point or seq2point-gan")
    assert places["aligncr"].endswith("train one with trainmodel, RECIPE aligncr")
    assert places["seq2point_nosar"].endswith("train one with the authors' code")
    pages = Path(__file__).resolve().parents[2] / "docs" / "models"
    for entry in CHECKPOINTS:
        recipes = [name for name, recipe in PRESETS.items() if recipe.network == entry.network]
        if not entry.published and recipes:
            assert entry.network in ("seq2point", "aligncr")
            text = (pages / f"{entry.network}.md").read_text(encoding="utf-8")
            named = " or ".join(f"`{name}`" for name in recipes)
            assert f"train one with [`trainmodel`](../training.md#recipes), RECIPE {named}" in text
