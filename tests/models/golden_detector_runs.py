"""How the golden cases of the published detectors are run: score and shadow, s2cloudless, bit tables."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import s2cloudless, score, toolbox
from cloud_removal_plugin.raster import quality
from tests.models.golden_files import Case, data_folder, real_patch

DN = np.float32(10000)


def differing(got: np.ndarray, expected: np.ndarray) -> float:
    """Share of pixels that are not the same."""
    assert got.shape == expected.shape
    return float((got != expected).mean())


def _dn_of(case: Case) -> np.ndarray:
    stored = case.tensors("x")
    if stored:
        return stored["s2_dn"].numpy() / DN
    meta = case.meta
    return real_patch(meta["image"], meta["sample"], meta.get("window_row_col_h_w", [0, 0, 10**6, 10**6]))


def run_score(case: Case) -> None:
    """Score, cloud, shadow, both, and both as 0/1, in the two variants."""
    meta, expected = case.meta, case.tensors("y")
    optical, most = _dn_of(case), meta["tolerance"]["mask_mismatch_fraction"]
    moisture, threshold = meta.get("use_moist_check", False), meta.get("threshold", score.THRESHOLD)
    checked = 0
    for name, base in (("dsen2", score.DSEN2CR), ("unc", score.TOOLBOX)):
        variant = score.Variant(base.haze, base.clip, moisture)
        planes = score.prepare(optical, SENTINEL2_L1C, variant)
        values = score.cloud_score(planes, variant)
        cloud, shadow = values >= threshold, score.shadow_mask(planes)
        both = score.combine(cloud, shadow)
        found = {"cloud": cloud, "shadow": -shadow.astype(np.int8), "combined": both, "binary": both != 0}
        wanted = expected[f"{name}_score"].numpy()
        np.testing.assert_allclose(values, wanted, rtol=0, atol=meta["tolerance"]["score_atol"])
        for part, got in found.items():
            golden = expected[f"{name}_{part}"].numpy()
            assert differing(got.astype(golden.dtype), golden) <= most, f"{name}_{part}"
            checked += 1
    assert checked + 2 == len(expected), "a golden tensor was not compared"


def _pair_patch(case: Case) -> np.ndarray:
    stored = case.tensors("x")
    if stored:
        return np.clip(next(iter(stored.values())).numpy().astype(np.float32), 0, 10000) / DN
    rasterio = pytest.importorskip("rasterio")
    file = data_folder() / case.meta["sample"]
    if not file.exists():
        pytest.skip(f"the real patch {file.name} is not there")
    row, col, height, width = case.meta["window_row_col_h_w"]
    with rasterio.open(file) as source:
        dn = source.read().astype(np.float32)[:, row : row + height, col : col + width]
    return np.clip(dn, 0, 10000) / DN


def run_s2cloudless(case: Case) -> None:
    """Probability, masks with the named settings, and the toolbox' two other maps."""
    if s2cloudless.model_path() is None:
        pytest.skip("the package s2cloudless is not installed")
    meta, expected = case.meta, case.tensors("y")
    optical, most = _pair_patch(case), meta["tolerance"]["mask_mismatch_fraction"]
    prob = s2cloudless.probability(optical, SENTINEL2_L1C)
    for name, wanted in expected.items():
        golden = wanted.numpy()
        named = re.fullmatch(r"mask_t(\d+)_a(\d+)_d(\d+)", name)
        if name == "prob":
            np.testing.assert_allclose(prob, golden, rtol=0, atol=meta["tolerance"]["prob_atol"])
        elif named:
            threshold, average, dilation = (int(part) for part in named.groups())
            got = s2cloudless.mask(prob, threshold / 100, average, dilation)
            assert differing(got.astype(golden.dtype), golden) <= most, name
        elif name == "toolbox_map":
            got = toolbox.cloud_map(optical, SENTINEL2_L1C, "s2cloudless_map")
            np.testing.assert_allclose(got, golden, rtol=0, atol=meta["tolerance"]["map_atol"])
        elif name == "toolbox_cloudshadow":
            got = toolbox.cloud_map(optical, SENTINEL2_L1C, "cloud_cloudshadow_mask")
            assert differing(got.astype(golden.dtype), golden) <= most, name
        else:
            pytest.fail(f"nothing knows how to compute {name}")


def _check_bits(rows: list[dict[str, Any]], table: quality.Bits, fill: int | None = None) -> None:
    for row in rows:
        if row["value"] == fill:
            assert row["fill"] == 1
            continue
        for name, (first, length) in table.items():
            got = int(quality.field(np.array([row["value"]]), {name: (first, length)}, name)[0])
            assert got == row[name], f"{name} of {row['value']}"
        assert set(row) - set(table) - {"value", "fill"} == set()


def run_qa_tables(case: Case) -> None:
    """Every bit field of every vector, and what the classes make of it."""
    meta = case.meta
    _check_bits(meta["landsat_c2_qa_pixel"], quality.QA_PIXEL)
    _check_bits(meta["hls_v2_fmask"], quality.FMASK, fill=quality.FMASK_FILL)
    _check_bits(meta["gee_qa60"], quality.QA60)
    for row in meta["landsat_c2_qa_pixel"]:
        hidden = quality.qa_pixel_classes(np.array([row["value"]], np.uint16))[0] != 0
        assert hidden == any(row[k] for k in ("fill", "dilated_cloud", "cirrus", "cloud", "cloud_shadow"))
    for row in meta["hls_v2_fmask"]:
        got = quality.fmask_classes(np.array([row["value"]], np.uint8))[0]
        assert (got == 255) == bool(row["fill"])
        if not row["fill"]:
            assert (got != 0) == any(row[k] for k in ("cloud", "adjacent", "cloud_shadow"))
    for row in meta["gee_qa60"]:
        assert quality.qa60_classes(np.array([row["value"]]))[0] == (row["opaque"] or row["cirrus"])
    for row in meta["s2_scl"]:
        wanted = {"invalid": 255, "shadow": 2, "cloud": 1}.get(row["default_mask"], 0)
        assert quality.scl_classes(np.array([row["value"]]))[0] == wanted, row
