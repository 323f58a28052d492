"""What a raster says about itself, and what is refused in which words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from cloud_removal_plugin.errors import GridError, InputError
from cloud_removal_plugin.raster.info import RasterInfo, castable, describe


def test_everything_survives_json(write_image):
    path = write_image(np.ones((2, 5, 7), np.uint16), nodata=0)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B02", "B03")
        file.update_tags(1, wavelength="0.49")
        file.scales, file.offsets = (1e-4, 1e-4), (-0.1, -0.1)
    info = describe(str(path))
    assert (info.height, info.width, info.count, info.dtype) == (5, 7, 2, "uint16")
    assert info.nodata == (0.0, 0.0)
    assert info.descriptions == ("B02", "B03")
    assert info.wavelengths_nm == (490.0, None)
    assert info.scales == (1e-4, 1e-4)
    assert RasterInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_wavelength_in_a_description(write_image):
    path = write_image(np.ones((2, 4, 4), np.uint16))
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("Red (0.665 Micrometers)", "B8, central wavelength 842 nm")
    assert describe(str(path)).wavelengths_nm == (665.0, 842.0)


def test_alpha_and_mask_are_seen(write_image):
    plain = describe(str(write_image(np.ones((3, 4, 4), np.uint16), "plain.tif")))
    assert not plain.has_mask
    rgba = describe(str(write_image(np.ones((4, 4, 4), np.uint8), "rgba.tif", photometric="RGB", alpha="YES")))
    assert rgba.has_mask
    assert rgba.alpha == 4
    path = write_image(np.ones((1, 4, 4), np.uint16), "masked.tif")
    with rasterio.open(path, "r+") as file:
        file.write_mask(np.eye(4, dtype=bool))
    assert describe(str(path)).has_mask


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "No raster layer"),
        ("/nowhere/scene.tif", "does not exist"),
        ("crs=EPSG:3857&type=xyz&url=https://tiles.example/{z}/{x}/{y}.png", "web service"),
        ("contextualWMSLegend=0&layers=a&url=https://wms.example/", "web service"),
        ("dbname='gis' host=localhost table=\"scenes\"", "database"),
        ("PG: dbname='gis' table='scenes'", "database"),
    ],
)
def test_what_is_no_file(path, words):
    with pytest.raises(InputError, match=words):
        describe(path)


def test_folder_and_text_file(tmp_path):
    with pytest.raises(InputError, match="folder"):
        describe(str(tmp_path))
    (tmp_path / "scene.tif").write_text("not a raster")
    with pytest.raises(InputError, match=r"'scene\.tif' cannot be read"):
        describe(str(tmp_path / "scene.tif"))


def test_rotated_and_complex(write_image):
    rotated = write_image(np.ones((1, 4, 4), np.uint16), "r.tif", transform=Affine(10, 3, 0, 3, -10, 0))
    with pytest.raises(GridError, match="rotated"):
        describe(str(rotated))
    slc = write_image(np.ones((1, 4, 4), np.complex64), "slc.tif")
    with pytest.raises(InputError, match="complex"):
        describe(str(slc))


@pytest.mark.parametrize(
    ("value", "dtype", "kept"),
    [
        (None, "uint16", None),
        (0.0, "uint16", 0),
        (-9999.0, "uint16", None),
        (-9999.0, "int16", -9999),
        (0.5, "uint8", None),
        (float("nan"), "uint8", None),
    ],
)
def test_nodata_that_a_dtype_cannot_hold(value, dtype, kept):
    assert castable(value, np.dtype(dtype)) == kept


def test_nodata_of_floats_is_rounded_like_the_pixels():
    lowest = -3.4028234663852886e38
    assert castable(lowest, np.dtype("float32")) == np.float32(lowest)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("T33TUG_20180705T100031_B02_10m.jp2", "T33TUG_20180705T100031_B8A_20m.jp2"), ("B02_10m", "B8A_20m")),
        (("LC08_X_SR_B2.TIF", "LC08_X_SR_B3.TIF", "LC08_X_QA_PIXEL.TIF"), ("SR_B2", "SR_B3", "QA_PIXEL")),
        (("s2.red.tif", "s2.nir.tif"), ("red", "nir")),
        (("date_1.tif", "date_2.tif"), ("", "")),
        (("stack.tif", "stack.tif"), ("", "")),
    ],
)
def test_bands_of_a_vrt_are_called_after_their_files(tmp_path, files, names):
    """gdalbuildvrt -separate of GDAL before 3.7 gives no names."""
    band = (
        '<VRTRasterBand dataType="UInt16" band="{}"><SimpleSource><SourceFilename relativeToVRT="1">{}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
    )
    bands = "".join(band.format(number, f"in/{file}") for number, file in enumerate(files, start=1))
    path = tmp_path / "stack.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>600000, 10, 0, 5650000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    assert describe(str(path)).descriptions == names
