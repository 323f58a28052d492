"""The published model gives the published numbers, with LightGBM and without."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import s2cloudless
from cloud_removal_plugin.errors import DependencyError

SHARED = Path(__file__).resolve().parents[3] / "shared"
GOLDENS = sorted((SHARED / "reference" / "goldens").glob("detector_s2cloudless_*.json"))

needs_model = pytest.mark.skipif(s2cloudless.model_path() is None, reason="the package s2cloudless is not installed")


@pytest.fixture(scope="module", params=["booster", "numpy"])
def model(request: pytest.FixtureRequest) -> s2cloudless.Model:
    path = s2cloudless.model_path()
    if request.param == "numpy":
        return s2cloudless.parse(path.read_text())
    pytest.importorskip("lightgbm", exc_type=ImportError)
    return s2cloudless.BoosterModel(path)


@needs_model
@pytest.mark.skipif(not GOLDENS, reason="the reference goldens are not on this machine")
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_goldens(golden: Path, model: s2cloudless.Model) -> None:
    rasterio = pytest.importorskip("rasterio")
    load_file = pytest.importorskip("safetensors.numpy").load_file
    record, tensors = json.loads(golden.read_text()), load_file(golden.with_suffix(".safetensors"))
    row, col, height, width = record["window_row_col_h_w"]
    with rasterio.open(SHARED / "data" / record["sample"]) as file:
        numbers = file.read()[:, row : row + height, col : col + width]
    optical = np.clip(numbers, 0, 10000).astype(np.float32) / np.float32(10000)
    prob = s2cloudless.probability(optical, SENTINEL2_L1C, model)
    np.testing.assert_allclose(prob, tensors["y.prob"], atol=1e-5)
    for name, expected in tensors.items():
        found = re.fullmatch(r"y\.mask_t(\d+)_a(\d+)_d(\d+)", name)
        if found:
            threshold, average, dilation = (int(number) for number in found.groups())
            mask = s2cloudless.mask(prob, threshold / 100, average, dilation)
            np.testing.assert_array_equal(mask, expected.astype(bool), err_msg=name)


@needs_model
def test_numpy_and_lightgbm_agree() -> None:
    pytest.importorskip("lightgbm", exc_type=ImportError)
    features = np.random.default_rng(0).random((300, 10)) * 0.6
    path = s2cloudless.model_path()
    own = s2cloudless.parse(path.read_text()).predict(features)
    np.testing.assert_allclose(own, s2cloudless.BoosterModel(path).predict(features), atol=1e-7)


@needs_model
def test_no_data_stays_no_data_and_the_package_is_not_imported() -> None:
    optical = np.full((13, 3, 4), 0.2, dtype=np.float32)
    optical[5, 1, 2] = np.nan  # rededge2, not among the ten bands
    optical[10, 0, 0] = np.nan
    prob = s2cloudless.probability(optical, SENTINEL2_L1C)
    assert np.isnan(prob[0, 0])
    assert np.isfinite(prob).sum() == 11
    assert "cv2" not in sys.modules
    assert "s2cloudless" not in sys.modules


def test_parse_reads_a_small_tree_and_refuses_what_it_does_not_know() -> None:
    text = (
        "tree\nversion=v2\nobjective=binary sigmoid:1\n\nTree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 1\n"
        "threshold=0.5 0.25\ndecision_type=2 2\nleft_child=1 -1\nright_child=-3 -2\nleaf_value=1 2 3\n\nend of trees\n"
    )
    prob = s2cloudless.parse(text).predict(np.array([[0.5, 0.25], [0.5, 0.3], [0.6, 0.0]]))
    np.testing.assert_allclose(np.log(prob / (1 - prob)), [1, 2, 3])
    with pytest.raises(ValueError, match="splits"):
        s2cloudless.parse(text.replace("decision_type=2 2", "decision_type=2 10"))
    with pytest.raises(ValueError, match="binary"):
        s2cloudless.parse("tree\n")


def test_absent_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install s2cloudless"):
        s2cloudless.load()


def test_applicable_to_level_1c_stacks_alone() -> None:
    assert s2cloudless.applicable(SENTINEL2_L1C, "L1C")
    assert s2cloudless.applicable(SENTINEL2_L1C, "")
    assert not s2cloudless.applicable(SENTINEL2_L1C, "L2A")
    assert not s2cloudless.applicable([b for b in SENTINEL2_L1C if b != "cirrus"], "L1C")
