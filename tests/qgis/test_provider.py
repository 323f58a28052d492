"""Identity: ids, keys, static strings, help; and a plugin that loads at once and leaves nothing behind."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from qgis.core import (
    QgsApplication,
    QgsProcessingAlgorithm,
    QgsProcessingDestinationParameter,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
)

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cloud_removal_plugin"
SYSTEM_PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
FOLDERS = (PACKAGE, PACKAGE / "algorithms", PACKAGE / "gui")
QGIS_SOURCES = sorted(path for folder in FOLDERS for path in folder.glob("*.py"))

KEYS = {
    "removeclouds": (
        "INPUT", "OTHER_DATES", "RADAR", "CLOUD_MASK", "OTHER_MASKS", "METHOD", "DATES", "EXTENT", "SENSOR",
        "REFLECTANCE_SCALE", "REFLECTANCE_OFFSET", "DILATE", "ENSEMBLE", "DEVICE", "MEMORY_MB", "SEED", "OUTPUT",
        "UNCERTAINTY", "CLOUDS", "ATTENTION", "REPORT",
    ),
    "detectclouds": (
        "INPUT", "OTHER_DATES", "METHOD", "THRESHOLD", "DILATE", "CLOUD_MASK", "DILATE_M", "OUTPUT", "PROBABILITY",
    ),
    "evaluaterestoration": (
        "RESTORED", "REFERENCE", "CLOUDY", "CLOUD_MASK", "UNCERTAINTY", "LAND_COVER", "METRICS_AS", "SENSOR",
        "REFLECTANCE_SCALE", "REFLECTANCE_OFFSET", "MEMORY_MB", "REPORT", "FIGURES", "ERROR",
    ),
    "simulateclouds": (
        "INPUT", "MASKS", "COVER", "SIZE_M", "HAZE", "SEED", "SUN_AZIMUTH", "SUN_ELEVATION", "SENSOR",
        "REFLECTANCE_SCALE", "REFLECTANCE_OFFSET", "OUTPUT", "MASK",
    ),
    "describelayers": ("INPUT", "FILES", "LAYERS", "OUTPUT_HTML_FILE", "OUTPUT_JSON_FILE"),
    "preparesentinel2": (
        "INPUT", "FILES", "BANDS", "DATE", "EXTENT", "OFFSET", "REFLECTANCE_OFFSET", "PIXEL", "OUTPUT", "CLOUDS",
    ),
    "prepareradar": ("RADAR", "INPUT", "TARGET", "DATE", "PICK", "ORBIT", "SPECKLE", "LOOKS", "UNITS", "OUTPUT"),
    "removecloudsseries": (
        "INPUTS", "CUBES", "CLOUD_MASKS", "RADAR_SERIES", "DATES", "BANDS_PER_DATE", "METHOD", "OUTPUT_DATES", "TARGET",
        "COMPOSITE", "EXTENT", "DETECTOR", "SENSOR", "REFLECTANCE_SCALE", "REFLECTANCE_OFFSET", "DILATE", "DEVICE",
        "MEMORY_MB", "SEED", "LOAD", "OUTPUT", "UNCERTAINTY",
    ),
    "checkinstallation": ("OUTPUT_HTML_FILE",),
    "importweights": ("NETWORK", "CHECKPOINT", "ADD", "OUTPUT_HTML_FILE"),
    "trainmodel": (
        "RECIPE", "FOLDER", "SKIP_INCOMPLETE", "CLEAR", "CLOUDY", "RADAR", "STEPS", "BATCH", "CROP", "LEARNING_RATE",
        "START_WEIGHTS", "RESUME", "INSTALL", "DEVICE", "DEVICES", "VALIDATE_EVERY", "VALIDATION_SAMPLES", "SEED",
        "OUTPUT",
    ),
    "listmodels": ("OUTPUT_HTML_FILE",),
}  # fmt: skip
OUTPUTS = {
    "removeclouds": (
        "OUTPUT", "UNCERTAINTY", "CLOUDS", "ATTENTION", "REPORT", "CLOUD_SHARE", "RESTORED_SHARE", "EXPECTED_RMSE",
        "SECONDS", "METHOD_USED",
    ),
    "detectclouds": ("OUTPUT", "PROBABILITY", "CLOUD_SHARE", "SECONDS", "METHOD_USED"),
    "evaluaterestoration": ("REPORT", "FIGURES", "ERROR", "MAE", "RMSE", "PSNR", "SSIM", "SAM", "SECONDS"),
    "simulateclouds": ("OUTPUT", "MASK", "CLOUD_SHARE", "SECONDS"),
    "describelayers": ("OUTPUT_HTML_FILE", "OUTPUT_JSON_FILE", "REPORT", "PRODUCTS", "DOUBTS"),
    "preparesentinel2": ("OUTPUT", "CLOUDS", "SECONDS", "PRODUCT"),
    "prepareradar": ("OUTPUT", "SECONDS", "ACQUISITIONS"),
    "removecloudsseries": (
        "OUTPUT", "UNCERTAINTY", "OUTPUT_STACK", "OUTPUT_LAYERS", "CLOUD_SHARE", "RESTORED_SHARE", "EXPECTED_RMSE",
        "SECONDS", "METHOD_USED",
    ),
    "checkinstallation": ("OUTPUT_HTML_FILE", "REPORT", "PROBLEMS"),
    "trainmodel": ("OUTPUT", "WEIGHTS", "LOG", "NETWORK", "PSNR", "REPORT"),
    "importweights": ("OUTPUT_HTML_FILE", "WEIGHTS", "NETWORK_FOUND", "REPORT"),
    "listmodels": ("OUTPUT_HTML_FILE", "REPORT", "WITH_WEIGHTS"),
}  # fmt: skip
DETECTORS = [
    "auto", "s2cloudless", "rules", "dsen2cr", "sen12mscrts", "cloud_cloudshadow", "uncrtaints", "clearvision",
]  # fmt: skip
CHOICES = {
    ("removeclouds", "METHOD"): [
        "auto",
        "fast",
        "gaussian",
        "scene_networks",
        "interpolation",
        "inpainting",
        "dsen2cr",
        "dsen2cr_nosar",
        "glfcr",
        "uncrtaints_mono",
        "uncrtaints",
        "utilise_earthnet2021",
        "utilise_sen12mscrts",
        "utilise_sen12mscrts_s1",
        "clearvision_removal",
        "aligncr",
        "seq2point",
        "seq2point_nosar",
        "seq2point_pairwise",
        "baseline_resnet",
        "crsystem",
    ],
    ("removecloudsseries", "METHOD"): [
        "auto",
        "fast",
        "gaussian",
        "scene_networks",
        "interpolation",
        "harmonic",
        "whittaker",
        "inpainting",
        "utilise",
        "clearvision",
    ],
    ("removecloudsseries", "COMPOSITE"): ["medoid", "best_pixel"],
    ("removecloudsseries", "DETECTOR"): DETECTORS,
    ("removecloudsseries", "SENSOR"): ["auto", "sentinel2", "landsat", "hls", "planet", "generic"],
    ("removecloudsseries", "DEVICE"): ["auto", "cpu", "cuda"],
    ("removeclouds", "SENSOR"): ["auto", "sentinel2", "landsat", "hls", "planet", "generic"],
    ("removeclouds", "DEVICE"): ["auto", "cpu", "cuda"],
    ("trainmodel", "RECIPE"): [
        "dsen2cr-carl",
        "dsen2cr-l1",
        "glfcr",
        "uncrtaints-l2",
        "uncrtaints-mgnll",
        "utilise",
        "clearvision-mask",
        "clearvision-removal",
        "aligncr",
        "seq2point",
        "seq2point-gan",
        "tuacr",
        "utilise-sen12mscrts",
        "utilise-sen12mscrts-s1",
    ],
    ("trainmodel", "DEVICE"): ["auto", "cpu", "cuda"],
    ("importweights", "NETWORK"): [
        "auto",
        "dsen2cr",
        "dsen2cr_nosar",
        "glfcr",
        "uncrtaints_mono",
        "uncrtaints",
        "tuacr",
        "utilise_earthnet2021",
        "utilise_sen12mscrts",
        "utilise_sen12mscrts_s1",
        "clearvision_mask",
        "clearvision_removal",
        "aligncr",
        "seq2point",
        "seq2point_nosar",
        "seq2point_pairwise",
        "baseline_resnet",
    ],
    ("detectclouds", "METHOD"): DETECTORS,
}
ADVANCED = {"SENSOR", "REFLECTANCE_SCALE", "REFLECTANCE_OFFSET", "DILATE", "ENSEMBLE", "DEVICE", "MEMORY_MB", "SEED"}


def algorithm(name: str) -> QgsProcessingAlgorithm:
    return QgsApplication.processingRegistry().createAlgorithmById(f"cloudremoval:{name}")


def test_the_provider_lists_exactly_these(provider) -> None:
    assert provider.id() == "cloudremoval"
    assert {item.name() for item in provider.algorithms()} == set(KEYS)
    for item in provider.algorithms():
        assert re.fullmatch(r"[a-z0-9]+", item.name())
        assert re.fullmatch(r"[a-z0-9]*", item.groupId())
        assert (PACKAGE / "algorithms" / f"{item.name()}.py").is_file()


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_for_ever(provider, name: str) -> None:
    made = algorithm(name)
    assert tuple(item.name() for item in made.parameterDefinitions()) == KEYS[name]
    assert tuple(item.name() for item in made.outputDefinitions()) == OUTPUTS[name]


@pytest.mark.parametrize(("name", "key"), CHOICES)
def test_choices_are_static_strings(provider, name: str, key: str) -> None:
    made = algorithm(name)
    parameter = made.parameterDefinition(key)
    assert isinstance(parameter, QgsProcessingParameterEnum)
    assert parameter.usesStaticStrings()
    assert parameter.options() == CHOICES[name, key]
    assert parameter.defaultValue() == CHOICES[name, key][0]


@pytest.mark.parametrize("name", KEYS)
def test_help_is_complete_and_shared(provider, name: str) -> None:
    made = algorithm(name)
    texts = json.loads((PACKAGE / "help" / f"{name}.json").read_text(encoding="utf-8"))
    for item in made.parameterDefinitions():
        assert item.help() == texts["parameters"][item.name()], item.name()
        assert item.help(), item.name()
    assert set(texts["parameters"]) == set(KEYS[name])
    assert set(texts["outputs"]) | set(texts["parameters"]) >= set(OUTPUTS[name])
    assert made.shortHelpString().startswith(texts["summary"])
    assert made.tags()
    assert "<" not in made.shortHelpString()


def test_flags_of_parameters(provider) -> None:
    made = algorithm("removeclouds")
    advanced = QgsProcessingParameterDefinition.Flag.FlagAdvanced
    optional = QgsProcessingParameterDefinition.Flag.FlagOptional
    for item in made.parameterDefinitions():
        assert bool(item.flags() & advanced) == (item.name() in ADVANCED), item.name()
    maybe = "OTHER_DATES RADAR CLOUD_MASK OTHER_MASKS DATES EXTENT UNCERTAINTY CLOUDS ATTENTION"
    for key in maybe.split():
        assert made.parameterDefinition(key).flags() & optional, key
    assert not made.parameterDefinition("INPUT").flags() & optional
    for key in ("CLOUDS", "ATTENTION"):
        assert isinstance(made.parameterDefinition(key), QgsProcessingDestinationParameter)
        assert not made.parameterDefinition(key).createByDefault(), key
    assert made.parameterDefinition("OUTPUT").defaultFileExtension() == "tif"


@pytest.mark.parametrize("name", KEYS)
def test_default_flags_are_kept(provider, name: str) -> None:
    class Plain(QgsProcessingAlgorithm):
        pass

    assert algorithm(name).flags() == Plain().flags()


def test_two_objects_share_nothing(provider) -> None:
    one, two = algorithm("removeclouds"), algorithm("removeclouds")
    assert one is not two
    assert one.create() is not one
    mutable = [key for key, value in vars(type(one)).items() if isinstance(value, (list, dict, set))]
    assert mutable == []


def test_enums_are_fully_scoped() -> None:
    """``QgsX.Type.Integer``, never ``QgsX.Integer``: only the former exists in QGIS 4."""
    offences = set()
    for path in QGIS_SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = [node for node in ast.walk(tree) if isinstance(node, (ast.Attribute, ast.Call))]
        scopes = {id(node.value) for node in used if isinstance(node, ast.Attribute)}
        scopes |= {id(node.func) for node in used if isinstance(node, ast.Call)}
        for node in used:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node) not in scopes:
                owner, member = node.value.id, node.attr
                if re.fullmatch(r"Qgs?[A-Z]\w*|Qgis|Qt|Q[A-Z]\w*", owner) and re.fullmatch(r"[A-Z][a-z]\w*", member):
                    offences.add(f"{owner}.{member}")
    # a whole enum in an annotation
    assert offences <= {"QgsContrastEnhancement.ContrastEnhancementAlgorithm"}


def test_qt_only_through_qgis() -> None:
    for path in QGIS_SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(PyQt5|PyQt6|PySide\d)\b", text), path
        assert "exec_(" not in text, path
        assert not re.search(r"^from qgis\.utils import iface", text, re.MULTILINE), path


def run_python(code: str) -> str:
    """Output of a Python of QGIS without our virtual environment."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import qgis.core, qgis.gui, qgis.PyQt.QtWidgets, qgis.utils\n"
        "before = set(sys.modules)\n"
        "import cloud_removal_plugin\n"
        "plugin = cloud_removal_plugin.classFactory(None)\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'torch', 'numpy', 'rasterio', 'scipy', 'osgeo', 'lightgbm', 'processing'}))\n"
    )
    assert run_python(code).splitlines()[-1] == "[]"


def test_plugin_life_without_a_desktop() -> None:
    code = (
        "from qgis.core import QgsApplication\n"
        "application = QgsApplication([], False)\n"
        "application.initQgis()\n"
        "import cloud_removal_plugin\n"
        "registry = QgsApplication.processingRegistry()\n"
        "plugin = cloud_removal_plugin.classFactory(None)\n"
        "plugin.unload()\n"  # half-initialised
        "plugin.initGui()\n"
        "plugin.initProcessing()\n"
        "print(registry.algorithmById('cloudremoval:removeclouds') is not None)\n"
        "plugin.unload()\n"
        "plugin.unload()\n"
        "print(registry.providerById('cloudremoval') is None)\n"
        "application.exitQgis()\n"
    )
    assert run_python(code).split()[-2:] == ["True", "True"]


def test_metadata_is_what_qgis_and_the_site_want() -> None:
    text = (ROOT / "metadata.txt").read_text(encoding="utf-8")
    parser = configparser.ConfigParser()
    parser.read_string(text)
    card = parser["general"]
    assert "%" not in text
    assert card["name"] == "Cloud Removal"
    assert card["qgisMinimumVersion"] == "3.22"
    assert card["hasProcessingProvider"] == "yes"
    assert (PACKAGE / card["icon"]).is_file()
    assert not re.search(r"<[a-z/]", card["about"])
