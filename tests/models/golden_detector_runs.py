"""How the golden cases of the published detectors are run: score and shadow, s2cloudless, bit tables."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import s2cloudless, score, toolbox
from cloud_removal_plugin.raster import quality
from tests.models.golden_files import Case, only_known
from tests.models.golden_inputs import DN, WHOLE, WINDOW, kind_in, real_patch

VARIANTS = {"dsen2": score.DSEN2CR, "unc": score.TOOLBOX}


def differing(got: np.ndarray, expected: np.ndarray) -> float:
    """Share of pixels that are not the same."""
    assert got.shape == expected.shape
    return float((got != expected).mean())


def _reflectance_of(case: Case) -> np.ndarray:
    """float32 (13, H, W): stored digital numbers, or the patch that the json names."""
    stored, meta = case.tensors("x"), case.meta
    if stored:
        (dn,) = stored.values()
        return dn.numpy().astype(np.float32) / DN
    kind = meta.get("image") or kind_in(meta["sample"])
    return real_patch(kind, meta["sample"], meta.get(WINDOW, WHOLE))


def run_score(case: Case) -> None:
    """Score, cloud, shadow, both, and both as 0/1, in the two variants."""
    meta, expected = case.meta, case.tensors("y")
    optical, most = _reflectance_of(case), meta["tolerance"]["mask_mismatch_fraction"]
    moisture, threshold = meta.get("use_moist_check", False), meta.get("threshold", score.THRESHOLD)
    found: dict[str, np.ndarray] = {}
    for name, base in VARIANTS.items():
        variant = score.Variant(base.haze, base.clip, moisture)
        planes = score.prepare(optical, SENTINEL2_L1C, variant)
        values = score.cloud_score(planes, variant)
        cloud, shadow = values >= threshold, score.shadow_mask(planes)
        both = score.combine(cloud, shadow)
        parts = {"score": values, "cloud": cloud, "shadow": -shadow.astype(np.int8), "combined": both}
        found |= {f"{name}_{part}": got for part, got in {**parts, "binary": both != 0}.items()}
    assert expected, "nothing to compare with"
    for name, wanted in expected.items():
        golden = wanted.numpy()
        if name.endswith("_score"):
            np.testing.assert_allclose(found[name], golden, rtol=0, atol=meta["tolerance"]["score_atol"])
        else:
            assert differing(found[name].astype(golden.dtype), golden) <= most, name


def run_s2cloudless(case: Case) -> None:
    """Probability, masks with the named settings, and the toolbox' two other maps."""
    if s2cloudless.model_path() is None:
        pytest.skip("the package s2cloudless is not installed")
    meta, expected = case.meta, case.tensors("y")
    optical, most = np.clip(_reflectance_of(case), 0, 1), meta["tolerance"]["mask_mismatch_fraction"]
    assert expected, "nothing to compare with"
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
        said = set(row) - ({"value"} if "fill" in table else {"value", "fill"})
        assert said
        for name in said:
            got = int(quality.field(np.array([row["value"]]), table, name)[0])
            assert got == row[name], f"{name} of {row['value']}"


def _check_landsat(rows: list[dict[str, Any]]) -> None:
    _check_bits(rows, quality.QA_PIXEL)
    for row in rows:
        hidden = quality.qa_pixel_classes(np.array([row["value"]], np.uint16))[0] != 0
        assert hidden == any(row[k] for k in ("fill", "dilated_cloud", "cirrus", "cloud", "cloud_shadow"))


def _check_fmask(rows: list[dict[str, Any]]) -> None:
    _check_bits(rows, quality.FMASK, fill=quality.FMASK_FILL)
    for row in rows:
        got = quality.fmask_classes(np.array([row["value"]], np.uint8))[0]
        assert (got == 255) == bool(row["fill"])
        if not row["fill"]:
            assert (got != 0) == any(row[k] for k in ("cloud", "adjacent", "cloud_shadow"))


def _check_qa60(rows: list[dict[str, Any]]) -> None:
    _check_bits(rows, quality.QA60)
    for row in rows:
        assert quality.qa60_classes(np.array([row["value"]]))[0] == (row["opaque"] or row["cirrus"])


def _check_scl(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        wanted = {"invalid": 255, "shadow": 2, "cloud": 1}.get(row["default_mask"], 0)
        assert quality.scl_classes(np.array([row["value"]]))[0] == wanted, row


QA_TABLES = {
    "landsat_c2_qa_pixel": _check_landsat,
    "hls_v2_fmask": _check_fmask,
    "gee_qa60": _check_qa60,
    "s2_scl": _check_scl,
}


def run_qa_tables(case: Case) -> None:
    """Every bit field of every vector, and what the classes make of it."""
    vectors = {name: rows for name, rows in case.meta.items() if isinstance(rows, (list, dict)) and name != "tolerance"}
    assert vectors
    only_known(vectors, QA_TABLES, "the list of tables")
    for name, rows in vectors.items():
        assert rows
        QA_TABLES[name](rows)
