"""Runs with an engine that answers at once: jobs, results, log, progress, cancel, errors, batch, models, looks."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import numpy as np
import pytest
from qgis.core import (
    QgsApplication,
    QgsContrastEnhancement,
    QgsMultiBandColorRenderer,
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterRasterLayer,
    QgsProject,
    QgsRasterLayer,
    QgsSettings,
    QgsSingleBandGrayRenderer,
    QgsSingleBandPseudoColorRenderer,
)

from cloud_removal_plugin.errors import Cancelled, InputError
from cloud_removal_plugin.gui import settings, styling


def make(name: str = "removeclouds"):
    return QgsApplication.processingRegistry().createAlgorithmById(f"cloudremoval:{name}")


def run(parameters: dict, context, feedback, name: str = "removeclouds") -> tuple[dict, bool]:
    # catchExceptions=False: a test sees the sentence
    return make(name).run({"OUTPUT": "TEMPORARY_OUTPUT", **parameters}, context, feedback, {}, False)


def on_map(path: str, context: QgsProcessingContext) -> QgsRasterLayer:
    """Load an output as the desktop does after a run."""
    details = context.layerToLoadOnCompletionDetails(path)
    loaded = QgsRasterLayer(path, "result")
    QgsProject.instance().addMapLayer(loaded)
    if details.postProcessor():
        details.postProcessor().postProcessLayer(loaded, context, QgsProcessingFeedback())
    return loaded


def test_the_job_says_what_was_chosen(
    provider, engine, context, feedback, cloudy: str, other: str, tmp_path: Path
) -> None:
    results, fine = run(
        {
            "INPUT": cloudy, "OTHER_DATES": [other], "CLOUD_MASK": other, "OTHER_MASKS": [other], "RADAR": other,
            "METHOD": "gaussian", "DATES": "2018-07-05;2018-06-25",
            "EXTENT": "300100,300200,4649800,4649900 [EPSG:32633]",
            "SENSOR": "sentinel2", "REFLECTANCE_SCALE": 0.0001, "REFLECTANCE_OFFSET": 0, "DILATE": 3, "DEVICE": "cpu",
            "MEMORY_MB": 900, "SEED": 7, "OUTPUT": str(tmp_path / "out.tif"),
        },
        context,
        feedback,
    )  # fmt: skip
    (job,) = engine.jobs
    assert fine
    assert (job.kind, job.input, job.other_dates) == ("restore", cloudy, (other,))
    assert (job.radar, job.cloud_mask, job.other_masks) == (other, other, (other,))
    assert (job.method, job.dates, job.sensor) == ("gaussian", "2018-07-05;2018-06-25", "sentinel2")
    assert job.extent == (300100, 4649800, 300200, 4649900)
    assert (job.reflectance_scale, job.reflectance_offset) == (0.0001, 0.0)
    assert (job.dilate, job.device, job.memory_mb, job.seed) == (3, "cpu", 900, 7)
    assert (job.output, job.uncertainty, job.clouds) == (str(tmp_path / "out.tif"), "", "")
    assert set(results) == {"OUTPUT", "CLOUD_SHARE", "RESTORED_SHARE", "EXPECTED_RMSE", "SECONDS", "METHOD_USED"}
    assert results["EXPECTED_RMSE"] is None


def test_defaults_and_the_extent_in_another_crs(provider, engine, context, feedback, cloudy: str) -> None:
    layer = QgsRasterLayer(cloudy, "cloudy")
    QgsProject.instance().addMapLayer(layer)
    wide = "12.0,13.0,41.0,43.0 [EPSG:4326]"
    run({"INPUT": layer.id(), "EXTENT": wide, "UNCERTAINTY": "TEMPORARY_OUTPUT"}, context, feedback)
    (job,) = engine.jobs
    assert job.input == cloudy
    assert job.extent[0] < 300_000 < job.extent[2]
    assert (job.method, job.sensor, job.device, job.dilate, job.memory_mb) == ("auto", "auto", "auto", -1, 0)
    assert job.reflectance_scale is None
    assert job.reflectance_offset is None
    assert job.uncertainty.endswith("UNCERTAINTY.tif")
    assert job.clouds == ""


def test_detection(provider, engine, context, feedback, cloudy: str, other: str) -> None:
    parameters = {"INPUT": cloudy, "OTHER_DATES": [other], "THRESHOLD": 0.3, "PROBABILITY": "TEMPORARY_OUTPUT"}
    results, fine = run(parameters, context, feedback, "detectclouds")
    (job,) = engine.jobs
    assert fine
    assert (job.kind, job.threshold, job.method, job.other_dates) == ("detect", 0.3, "auto", (other,))
    assert Path(results["OUTPUT"]).is_file()
    assert Path(results["PROBABILITY"]).is_file()
    run({"INPUT": cloudy}, context, feedback, "detectclouds")
    assert engine.jobs[1].threshold is None


def test_the_log_names_the_inputs_first(provider, engine, context, feedback, cloudy: str, other: str) -> None:
    run({"INPUT": cloudy, "OTHER_DATES": [other]}, context, feedback)
    assert feedback.infos[0] == "INPUT: S2_20180705.tif: 40 x 30 px, 4 bands, EPSG:32633"
    assert feedback.infos[1].startswith("OTHER_DATES: S2_20180625.tif")
    assert feedback.warnings == ["A sentence to read."]
    assert feedback.phases[0] == "restoring"
    assert feedback.progress() == 100


def test_a_crs_set_in_qgis_alone_is_not_used_and_said(provider, engine, context, feedback, make_image) -> None:
    from qgis.core import QgsCoordinateReferenceSystem

    bare = QgsRasterLayer(make_image("bare.tif", np.ones((1, 8, 9), np.uint16), epsg=0), "bare")
    bare.setCrs(QgsCoordinateReferenceSystem("EPSG:32633"))
    QgsProject.instance().addMapLayer(bare)
    run({"INPUT": bare.id()}, context, feedback)
    assert "EPSG:32633" in feedback.warnings[0]
    assert "Assign Projection" in feedback.warnings[0]


def test_cancel_returns_nothing(provider, engine, context, feedback, cloudy: str) -> None:
    def cancel(job, report, cancelled, log) -> None:
        feedback.cancel()
        if cancelled():
            raise Cancelled

    engine.behave = cancel
    results, _fine = run({"INPUT": cloudy}, context, feedback)
    assert results == {}
    assert "Cancelled; nothing was written." in feedback.infos


def test_errors_become_one_sentence(provider, engine, context, feedback, cloudy: str) -> None:
    def fail(job, report, cancelled, log) -> None:
        raise InputError("The raster 'x.tif' is rotated. Warp it first.")

    engine.behave = fail
    with pytest.raises(QgsProcessingException, match=r"The raster 'x.tif' is rotated"):
        run({"INPUT": cloudy}, context, feedback)


def test_the_interpreter_setting_reaches_the_engine(
    provider, engine, context, feedback, cloudy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLOUD_REMOVAL_PYTHON", raising=False)
    python = tmp_path / "python3"
    python.touch()
    before = QgsSettings().value(settings.INTERPRETER_KEY)
    try:
        settings.set_interpreter(f" {python} ")
        run({"INPUT": cloudy}, context, feedback)
        settings.set_interpreter("")
        run({"INPUT": cloudy}, context, feedback)
        settings.set_interpreter(str(tmp_path / "gone" / "python3"))
        assert make().canExecute()[0] is False
        assert "does not exist" in make().canExecute()[1]
    finally:
        QgsSettings().setValue(settings.INTERPRETER_KEY, before)
    assert engine.chosen == [str(python), None]


def test_the_bar_never_goes_back_and_is_not_flooded(feedback) -> None:
    from cloud_removal_plugin.algorithms.running import Reporter

    now = [0.0]
    moves: list[float] = []
    feedback.progressChanged.connect(moves.append)
    reporter = Reporter(feedback, clock=lambda: now[0])
    for step in range(1000):  # 10 s
        now[0] += 0.01
        reporter.report(max(0.0, (step - 5 * (step % 3)) / 1000), "fitting" if step < 500 else "restoring")
    reporter.report(1.0, "restoring")
    assert moves == sorted(moves)
    assert len(moves) <= 110
    assert feedback.progress() == 100
    assert feedback.phases[0] == "fitting"
    assert any(phase.startswith("restoring (about ") for phase in feedback.phases)
    assert len(feedback.phases) <= 4


def test_minutes_left() -> None:
    from cloud_removal_plugin.algorithms.running import Reporter

    class Silent:
        def __getattr__(self, name):
            return lambda *_: spoken.append(_)

    spoken: list[tuple] = []
    now = [0.0]
    reporter = Reporter(Silent(), clock=lambda: now[0])
    now[0] = 100.0
    reporter.report(0.1, "restoring")
    assert ("restoring (about 15 min left)",) in spoken


@pytest.fixture
def styled_input(context, cloudy: str) -> QgsRasterLayer:
    """The cloudy raster in the project, drawn in bands 3, 2, 1 with a stretch of its own."""
    layer = QgsRasterLayer(cloudy, "cloudy")
    renderer = QgsMultiBandColorRenderer(layer.dataProvider(), 3, 2, 1)
    for band, setter in ((3, renderer.setRedContrastEnhancement), (2, renderer.setGreenContrastEnhancement),
                         (1, renderer.setBlueContrastEnhancement)):  # fmt: skip
        stretch = QgsContrastEnhancement(layer.dataProvider().dataType(band))
        stretch.setMinimumValue(100 + band)
        stretch.setMaximumValue(3000 + band)
        stretch.setContrastEnhancementAlgorithm(
            QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum
        )
        setter(stretch)
    layer.setRenderer(renderer)
    QgsProject.instance().addMapLayer(layer)
    return layer


def load_all(parameters: dict, context: QgsProcessingContext) -> dict:
    from qgis.core import QgsProcessingOutputLayerDefinition

    wanted = {}
    for key in parameters["load"]:
        wanted[key] = QgsProcessingOutputLayerDefinition("TEMPORARY_OUTPUT", context.project())
    return {**{key: value for key, value in parameters.items() if key != "load"}, **wanted}


def test_results_look_as_they_should(provider, engine, context, feedback, styled_input) -> None:
    parameters = load_all({"INPUT": styled_input.id(), "load": ("OUTPUT", "UNCERTAINTY", "CLOUDS")}, context)
    results, _ = run(parameters, context, feedback)
    gc.collect()
    restored = on_map(results["OUTPUT"], context).renderer()
    assert isinstance(restored, QgsMultiBandColorRenderer)
    assert (restored.redBand(), restored.greenBand(), restored.blueBand()) == (3, 2, 1)
    red = restored.redContrastEnhancement()
    assert (red.minimumValue(), red.maximumValue()) == (103, 3003)
    assert restored.blueContrastEnhancement().maximumValue() == 3001
    sigma = on_map(results["UNCERTAINTY"], context).renderer()
    assert isinstance(sigma, QgsSingleBandPseudoColorRenderer)
    assert sigma.band() == 3
    assert (sigma.classificationMin(), sigma.classificationMax()) == (0, 40)
    clouds = on_map(results["CLOUDS"], context).renderer()
    assert isinstance(clouds, QgsPalettedRasterRenderer)
    assert {int(item.value): item.label for item in clouds.classes()} == {
        0: "clear", 1: "cloud", 2: "shadow", 255: "no data",
    }  # fmt: skip
    assert clouds.classes()[0].color.alpha() == 0
    shown = [node.isVisible() for node in QgsProject.instance().layerTreeRoot().findLayers() if node.name() == "result"]
    assert sorted(shown) == [False, False, True] or hasattr(QgsProcessingContext.LayerDetails(), "layerSortKey")


def test_attention_loads_as_a_ramp(provider, engine, context, feedback, cloudy: str) -> None:
    parameters = load_all({"INPUT": cloudy, "METHOD": "crsystem", "load": ("ATTENTION",)}, context)
    results, _ = run(parameters, context, feedback)
    ramp = on_map(results["ATTENTION"], context).renderer()
    assert isinstance(ramp, QgsSingleBandPseudoColorRenderer)
    assert (ramp.classificationMin(), ramp.classificationMax()) == (0, 1)
    assert engine.jobs[0].attention == results["ATTENTION"]


@pytest.mark.parametrize(("value", "rounded"), [(0.012892, 0.013), (40.0, 40.0), (99.2, 100.0), (1.01e-5, 1.1e-5)])
def test_legends_end_in_two_digits(value: float, rounded: float) -> None:
    assert styling._round_up(value) == pytest.approx(rounded)


def test_a_grey_layer_gives_a_grey_result(provider, engine, context, feedback, cloudy: str) -> None:
    layer = QgsRasterLayer(cloudy, "grey")
    layer.setRenderer(QgsSingleBandGrayRenderer(layer.dataProvider(), 4))
    QgsProject.instance().addMapLayer(layer)
    results, _ = run(load_all({"INPUT": layer.id(), "load": ("OUTPUT",)}, context), context, feedback)
    renderer = on_map(results["OUTPUT"], context).renderer()
    assert isinstance(renderer, QgsSingleBandGrayRenderer)
    assert renderer.grayBand() == 4


def test_detection_loads_as_classes_and_ramp(provider, engine, context, feedback, cloudy: str) -> None:
    parameters = load_all({"INPUT": cloudy, "load": ("OUTPUT", "PROBABILITY")}, context)
    results, _ = run(parameters, context, feedback, "detectclouds")
    assert isinstance(on_map(results["OUTPUT"], context).renderer(), QgsPalettedRasterRenderer)
    ramp = on_map(results["PROBABILITY"], context).renderer()
    assert isinstance(ramp, QgsSingleBandPseudoColorRenderer)
    assert ramp.classificationMax() == 1


def test_stylers_are_kept_until_used_and_then_let_go(provider, engine, context, feedback, cloudy: str) -> None:
    results, _ = run(load_all({"INPUT": cloudy, "load": ("OUTPUT",)}, context), context, feedback)
    (pending,) = [styler for styler in styling._PENDING if not styler.done]
    on_map(results["OUTPUT"], context)
    assert pending.done
    run({"INPUT": cloudy, "load": ()}, QgsProcessingContext(), feedback)
    run(load_all({"INPUT": cloudy, "load": ("OUTPUT",)}, context), context, feedback)
    assert pending not in styling._PENDING


def test_an_output_of_other_bands_keeps_its_own_look(cloudy: str, make_image) -> None:
    look = styling.Look.of(QgsRasterLayer(cloudy, "four bands"))
    single = QgsRasterLayer(make_image("one.tif", np.ones((1, 9, 9), np.uint16)), "one band")
    before = single.renderer().type()
    look.apply(single)
    assert single.renderer().type() == before


def test_a_ramp_for_rasters_without_uncertainty(make_image) -> None:
    path = make_image("zeros.tif", np.zeros((2, 40, 33), np.float32))
    layer = QgsRasterLayer(path, "zeros")
    styling.uncertainty_style(path, 5)(layer)
    assert layer.renderer().band() == 2
    assert layer.renderer().classificationMax() == 1
    assert styling.uncertainty_style("", 1) is None


def build_model() -> QgsProcessingModelAlgorithm:
    """Cloudy raster -> removeclouds -> result, as the graphical modeler builds it."""
    model = QgsProcessingModelAlgorithm("restore", "tests")
    model.addModelParameter(QgsProcessingParameterRasterLayer("scene", "Scene"), QgsProcessingModelParameter("scene"))
    child = QgsProcessingModelChildAlgorithm("cloudremoval:removeclouds")
    child.setChildId("remove")
    child.addParameterSources("INPUT", [QgsProcessingModelChildParameterSource.fromModelParameter("scene")])
    child.addParameterSources("METHOD", [QgsProcessingModelChildParameterSource.fromStaticValue("interpolation")])
    outputs = {}
    for key in ("OUTPUT", "UNCERTAINTY"):
        output = QgsProcessingModelOutput(key.lower(), key.lower())
        output.setChildId("remove")
        output.setChildOutputName(key)
        outputs[key.lower()] = output
    child.setModelOutputs(outputs)
    model.addChildAlgorithm(child)
    return model


def test_a_saved_model_runs_and_styles(provider, engine, context, feedback, styled_input, tmp_path: Path) -> None:
    path = tmp_path / "restore.model3"
    assert build_model().toFile(str(path))
    model = QgsProcessingModelAlgorithm()
    assert model.fromFile(str(path))
    names = {item.name().rsplit(":", 1)[-1]: item.name() for item in model.destinationParameterDefinitions()}
    wanted = dict.fromkeys(names.values())
    parameters = load_all({"scene": styled_input.id(), "load": tuple(wanted)}, context)
    results, fine = model.create().run(parameters, context, feedback, {}, False)
    del model
    gc.collect()
    assert fine
    assert engine.jobs[0].method == "interpolation"
    restored = on_map(results[names["output"]], context).renderer()
    assert (restored.redBand(), restored.redContrastEnhancement().maximumValue()) == (3, 3003)
    assert isinstance(on_map(results[names["uncertainty"]], context).renderer(), QgsSingleBandPseudoColorRenderer)


def test_batch_of_two(provider, engine, feedback, cloudy: str, other: str, tmp_path: Path) -> None:
    import processing
    from processing.gui.AlgorithmExecutor import execute

    made = make()
    for index, scene in enumerate((cloudy, other)):
        context = QgsProcessingContext()
        fine, results = execute(made, {"INPUT": scene, "OUTPUT": str(tmp_path / f"out{index}.tif")}, context, feedback)
        assert fine
        assert Path(results["OUTPUT"]).is_file()
    assert [job.input for job in engine.jobs] == [cloudy, other]
    assert processing is not None


def test_results_turn_into_json(provider, engine, context, feedback, cloudy: str) -> None:
    results, _ = run({"INPUT": cloudy}, context, feedback)
    assert json.loads(json.dumps(results))["EXPECTED_RMSE"] is None


def test_the_result_is_raised_above_what_comes_with_it(cloudy: str, make_image) -> None:
    """QGIS 3.32 and later puts sorted outputs upside down where a layer is selected."""
    pixels = np.ones((1, 4, 4), np.uint8)
    names = ("sigma", "clouds", "result")
    made = [QgsRasterLayer(make_image(f"{name}.tif", pixels), name) for name in names]
    other = QgsRasterLayer(cloudy, "other")
    project = QgsProject()
    for layer in (*made[::-1], other):
        project.addMapLayer(layer, False)
    root = project.layerTreeRoot()
    for layer in (other, *made):
        root.addLayer(layer)

    styling._raise_above(root.findLayer(made[2].id()), {layer.source() for layer in made[:2]})

    assert [node.name() for node in root.findLayers()] == ["other", "result", "sigma", "clouds"]
    styling._raise_above(root.findLayer(made[2].id()), {layer.source() for layer in made[:2]})
    assert [node.name() for node in root.findLayers()] == ["other", "result", "sigma", "clouds"]
