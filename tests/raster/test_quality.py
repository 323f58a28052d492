"""Bit tables against test vectors made from the published tables, and what each code means to us."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from cloud_removal_plugin.raster import quality as q

ROOT = Path(__file__).resolve().parents[2]


TABLES = ("landsat_c2_qa_pixel", "hls_v2_fmask", "gee_qa60", "s2_scl")


@pytest.fixture(scope="module")
def golden():
    named = [Path(part) for part in os.environ.get("CLOUD_REMOVAL_GOLDENS", "").split(":") if part]
    folders = named or [ROOT.parent / "shared" / "reference" / "goldens"]
    found = [path for folder in folders for path in sorted(folder.rglob("*detector_qa_tables*.json"))]
    if not found:
        pytest.skip(f"no test vectors in {', '.join(map(str, folders))} (set CLOUD_REMOVAL_GOLDENS)")
    tables = [json.loads(path.read_text()) for path in found]
    return {key: [row for table in tables for row in table.get(key, ())] for key in TABLES}


@pytest.mark.parametrize(
    ("key", "table", "fill"),
    [("landsat_c2_qa_pixel", q.QA_PIXEL, None), ("hls_v2_fmask", q.FMASK, q.FMASK_FILL), ("gee_qa60", q.QA60, None)],
)
def test_fields_match_the_vectors(golden, key, table, fill):
    for row in golden[key]:
        value = np.array([row["value"]])
        if fill is not None and row["value"] == fill:
            assert row["fill"] == 1
            continue
        for name, expected in row.items():
            if name in table:
                assert q.field(value, table, name)[0] == expected, (row["value"], name)
        assert set(row) - {"value", "fill"} <= set(table)


def test_classes_match_the_vectors(golden):
    meaning = {"invalid": 255, "shadow": 2, "cloud": 1}
    for row in golden["s2_scl"]:
        assert q.scl_classes(np.array([row["value"]]))[0] == meaning.get(row["default_mask"], 0)
    for row in golden["landsat_c2_qa_pixel"]:
        hidden = row["cloud"] or row["dilated_cloud"] or row["cirrus"]
        expected = 255 if row["fill"] else 1 if hidden else 2 if row["cloud_shadow"] else 0
        assert q.qa_pixel_classes(np.array([row["value"]], np.uint16))[0] == expected
    for row in golden["hls_v2_fmask"]:
        if row["value"] == 255:
            expected = 255
        else:
            expected = 1 if row["cloud"] else 2 if row["cloud_shadow"] else 1 if row["adjacent"] else 0
        assert q.fmask_classes(np.array([row["value"]], np.uint8))[0] == expected
    for row in golden["gee_qa60"]:
        assert q.qa60_classes(np.array([row["value"]]))[0] == int(bool(row["opaque"] or row["cirrus"]))


def test_scl():
    assert q.scl_classes(np.arange(13)).tolist() == [255, 255, 0, 2, 0, 0, 0, 0, 1, 1, 1, 0, 255]


def test_udm2():
    planes = np.zeros((8, 1, 7), np.uint8)
    for pixel in range(6):
        planes[pixel, 0, pixel] = 1
    planes[7, 0, 6] = 1
    assert q.udm2_classes(planes)[0].tolist() == [0, 0, 2, 0, 1, 1, 255]


def test_small_ones():
    assert q.udm_classes(np.array([0, 1, 2, 4])).tolist() == [0, 255, 1, 0]
    assert q.classi_classes(np.eye(3, dtype=np.uint8)[:, None])[0].tolist() == [1, 1, 0]
