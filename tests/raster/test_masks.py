"""Masks that analysts bring: recognised by name and values, decoded, brought onto the grid."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from cloud_removal_plugin.errors import GridError, InputError
from cloud_removal_plugin.raster.crs import grid_of
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.masks import MaskReader, recognise_mask
from cloud_removal_plugin.raster.windows import Window


@pytest.fixture
def mask(write_image):
    """``mask(array, name, names=...)``: description of a written mask."""

    def build(array, name="mask.tif", names=None, **profile):
        path = write_image(np.asarray(array), name, **profile)
        if names:
            with rasterio.open(path, "r+") as file:
                file.descriptions = names
        return describe(str(path))

    return build


def classes(info, grid=None, window=None):
    grid = grid or grid_of(info)
    with MaskReader(info, grid) as reader:
        return reader.read(window or Window(0, 0, *grid.shape))


def row(values, dtype):
    return np.array([values], dtype)


@pytest.mark.parametrize(
    ("name", "dtype", "values", "nodata", "kind", "expected"),
    [
        ("mask.tif", "uint8", [0, 1, 1, 0], None, "binary", [0, 1, 1, 0]),
        ("mask.tif", "uint8", [0, 255, 255, 0], None, "binary", [0, 1, 1, 0]),
        ("mask.tif", "uint8", [0, 1, 1, 0], 0, "marks", [0, 1, 1, 0]),
        ("mask.tif", "uint8", [0, 1, 255, 0], 255, "classes", [0, 1, 255, 0]),
        ("mask.tif", "uint8", [0, 1, 2, 255], None, "classes", [0, 1, 2, 255]),
        ("mask.tif", "int16", [0, 1, 2, -1], -1, "classes", [0, 1, 2, 255]),
        ("mask.tif", "float32", [0.0, 0.4, 0.5, np.nan], None, "probability", [0, 0, 1, 255]),
        ("mask.tif", "float32", [0.0, 49.5, 50.5, -1], -1, "percent", [0, 0, 1, 255]),
        ("mask.tif", "float32", [0.0, 1.0, 1.0, np.nan], None, "binary", [0, 1, 1, 255]),
        ("mask.tif", "float32", [1.0, 1.0, np.nan, np.nan], np.nan, "marks", [1, 1, 0, 0]),
        ("mask.tif", "int16", [1, 1, -1, 1], -1, "marks", [1, 1, 0, 1]),
        ("mask.tif", "uint8", [255, 255, 0, 0], 0, "marks", [1, 1, 0, 0]),
        ("mask.tif", "uint8", [1, 1, 1, 1], 0, "binary", [1, 1, 1, 1]),
        ("mask.tif", "float32", [0.0, 0.0, np.nan, 0.0], None, "binary", [0, 0, 255, 0]),
        ("mask.tif", "uint8", [1, 255, 1, 255], 255, "marks", [1, 0, 1, 0]),
        ("MSK_CLDPRB_20m.tif", "uint8", [0, 49, 50, 100], None, "percent", [0, 0, 1, 1]),
        ("MSK_CLDPRB_20m.tif", "uint8", [0, 1, 2, 2], None, "percent", [0, 0, 0, 0]),
        ("cloud_probability.tif", "uint8", [10, 10, 80, 80], None, "percent", [0, 0, 1, 1]),
        ("clp.tif", "uint8", [0, 127, 128, 255], None, "byte_probability", [0, 0, 1, 1]),
        ("T33_SCL_20m.tif", "uint8", [0, 3, 4, 9], None, "scl", [255, 2, 0, 1]),
        ("classes.tif", "uint8", [4, 5, 8, 3], None, "scl", [0, 0, 1, 2]),
        ("LC09_QA_PIXEL.TIF", "uint16", [1, 21824, 22280, 23888], None, "qa_pixel", [255, 0, 1, 2]),
        ("quality.tif", "uint16", [1, 21824, 22280, 23888], None, "qa_pixel", [255, 0, 1, 2]),
        ("HLS.S30.T1.Fmask.tif", "uint8", [255, 64, 66, 8], None, "fmask", [255, 0, 1, 2]),
        ("HLS.S30.T1.Fmask.tif", "uint8", [255, 64, 66, 8], 255, "fmask", [255, 0, 1, 2]),
        ("QA60.tif", "uint16", [0, 1024, 2048, 3072], None, "qa60", [0, 1, 1, 1]),
        ("s.tif", "uint16", [0, 1024, 2048, 3072], None, "qa60", [0, 1, 1, 1]),
        ("cs_cdf.tif", "float32", [0.1, 0.59, 0.61, 1.0], None, "clear_score", [1, 1, 0, 0]),
        ("labels.tif", "uint8", [0, 7, 40, 200], None, "binary", [0, 1, 1, 1]),
    ],
)
def test_kinds(mask, name, dtype, values, nodata, kind, expected):
    info = mask(row(values, dtype), name, nodata=nodata)
    found = recognise_mask(info)
    assert found.name == kind
    assert found.note.startswith(info.name)
    assert classes(info)[0].tolist() == expected


def test_band_names_count(mask):
    stack = np.stack([np.full((2, 2), 500), np.full((2, 2), 9)]).astype(np.uint16)
    info = mask(stack, "stack.tif", names=("B02", "SCL"))
    assert recognise_mask(info).bands == (2,)
    assert (classes(info) == 1).all()
    with pytest.raises(InputError, match="2 bands"):
        recognise_mask(mask(stack, "plain.tif"))


def test_udm2(mask):
    planes = np.zeros((8, 1, 3), np.uint8)
    planes[0, 0, 0] = planes[5, 0, 1] = planes[2, 0, 2] = 1
    assert classes(mask(planes, "20230615_3B_udm2.tif"))[0].tolist() == [0, 1, 2]
    names = ("clear", "snow", "shadow", "haze_light", "haze_heavy", "cloud", "confidence", "unusable")
    assert classes(mask(planes, "q.tif", names=names))[0].tolist() == [0, 1, 2]


def test_no_mask_at_all(mask):
    with pytest.raises(InputError, match="neither a mask"):
        recognise_mask(mask(row([-3.2, 120.7], np.float32)))


def test_outside_is_no_data(mask):
    info = mask(np.ones((3, 3), np.uint8))
    out = classes(info, window=Window(-1, -1, 3, 3))
    assert (out[0] == 255).all()
    assert (out[1:, 1:] == 1).all()


def test_other_grids(mask, write_image):
    scene = describe(str(write_image(np.ones((1, 8, 8), np.uint16), "scene.tif")))
    coarse = np.array([[4, 9], [3, 0]], np.uint8)
    info = mask(coarse, "SCL.tif", transform=from_origin(600_000, 5_650_000, 40, 40))
    out = classes(info, grid_of(scene))
    assert (out[:4, :4] == 0).all()
    assert (out[:4, 4:] == 1).all()
    assert (out[4:, :4] == 2).all()
    assert (out[4:, 4:] == 255).all()


def test_zero_with_a_nodata_tag_is_clear_after_a_warp_too(mask, write_image):
    scene = describe(str(write_image(np.ones((1, 8, 8), np.uint16), "scene.tif")))
    coarse = np.array([[0, 1], [1, 0]], np.uint8)
    info = mask(coarse, "m.tif", nodata=0, transform=from_origin(600_000, 5_650_000, 40, 40))
    assert sorted(np.unique(classes(info, grid_of(scene)))) == [0, 1]


def test_partial_cover_is_no_data(mask, write_image):
    scene = describe(str(write_image(np.ones((1, 8, 8), np.uint16), "scene.tif")))
    info = mask(np.ones((2, 2), np.uint8), "m.tif", transform=from_origin(600_000, 5_650_000, 20, 20))
    out = classes(info, grid_of(scene))
    assert (out[:4, :4] == 1).all()
    assert (out[4:] == 255).all()


def test_another_size_without_georeference(mask, write_image):
    plain = {"crs": None, "transform": Affine.identity()}
    scene = describe(str(write_image(np.ones((1, 8, 8), np.uint16), "scene.tif", **plain)))
    with pytest.raises(GridError, match=r"mask\.tif.*4 x 4.*8 x 8"):
        MaskReader(mask(np.ones((4, 4), np.uint8), **plain), grid_of(scene))


def test_real_masks(data_root):
    info = describe(str(data_root / "s2_ts_lazio_2018" / "MASK_2018-07-05.tif"))
    out = classes(info)
    assert recognise_mask(info).name == "classes"
    assert (out == 1).mean() == pytest.approx(0.18, abs=0.01)
    assert (out == 2).mean() == pytest.approx(0.03, abs=0.01)
