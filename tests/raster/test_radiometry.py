"""Sensors, bands, scale and offset: found, said, and overridden."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.offsets import agree
from cloud_removal_plugin.raster.radiometry import recognise

S2_NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


@pytest.fixture
def make(write_image):
    """``make(planes, name, names=..., tags=...)``: a described GeoTIFF."""

    def build(planes, name="scene.tif", names=None, tags=None, band_tags=None, **profile):
        path = write_image(np.asarray(planes), name, **profile)
        with rasterio.open(path, "r+") as file:
            if names:
                file.descriptions = names
            file.update_tags(**(tags or {}))
            for i, own in enumerate(band_tags or (), start=1):
                file.update_tags(i, **own)
        return describe(str(path))

    return build


def reflectance(count, low=0.02, high=0.5, seed=0, size=40):
    """Random reflectance with a dark corner."""
    planes = np.random.default_rng(seed).uniform(low, high, (count, size, size))
    planes[:, :4, :4] = low
    return planes


def dn(count, add=0, **kwargs):
    return np.round(reflectance(count, **kwargs) * 10_000 + add).astype(np.uint16)


def roles(*names):
    return tuple(names)


class TestBands:
    @pytest.mark.parametrize("count", [13, 12, 10, 4])
    def test_sentinel2_names(self, make, count):
        keep = {
            13: S2_NAMES,
            12: tuple(n for n in S2_NAMES if n != "B10"),
            10: tuple(n for n in S2_NAMES if n not in ("B01", "B09", "B10")),
            4: ("B02", "B03", "B04", "B08"),
        }[count]
        found = recognise(make(dn(count), names=keep))
        assert found.sensor == "sentinel2"
        assert found.bands == tuple(SENTINEL2_L1C[S2_NAMES.index(n)] for n in keep)
        assert (found.scale, found.offset) == (1e-4, 0.0)

    def test_names_in_another_order_with_quality_bands(self, make):
        found = recognise(make(dn(5), names=("B8A", "SCL", "B2", "cloud_probability", "B11")))
        assert found.bands == ("nir08", "blue", "swir16")
        assert found.used_bands == (1, 3, 5)
        assert any("SCL" in note for note in found.notes)

    def test_stac_keys(self, make):
        found = recognise(make(dn(4), "sentinel-2.tif", names=("nir08", "swir16", "rededge1", "red")))
        assert found.bands == ("nir08", "swir16", "rededge1", "red")

    @pytest.mark.parametrize(
        ("count", "last"), [(13, "swir22"), (12, "swir22"), (10, "swir22"), (6, "swir22"), (4, "nir")]
    )
    def test_count_says_what_was_assumed(self, make, count, last):
        found = recognise(make(dn(count)))
        assert found.bands[-1] == last
        assert any("no names" in note for note in found.notes)

    def test_rgb_and_unknown_counts(self, make):
        assert recognise(make(dn(3), "three.tif")).bands == ("red", "green", "blue")
        assert recognise(make(dn(5), "five.tif")).bands == ("band1", "band2", "band3", "band4", "band5")

    def test_counted_names_are_no_names(self, make):
        assert recognise(make(dn(4), names=("B1", "B2", "B3", "B4"))).bands == ("blue", "green", "red", "nir")
        assert recognise(make(dn(4), "b.tif", names=tuple(f"Band {i}" for i in range(1, 5)))).bands[0] == "blue"

    def test_wavelengths(self, make):
        tags = [{"wavelength": w} for w in ("0.842", "0.665", "2190", "0.49")]
        found = recognise(make(dn(4), band_tags=tags))
        assert found.bands == ("nir", "red", "swir22", "blue")
        assert any("wavelength" in note for note in found.notes)

    def test_hls_numbers_mean_other_bands(self, make):
        names = ("B02", "B04", "B05", "B06")
        landsat = recognise(make(dn(4), "HLS.L30.T15SWD.2023153T170851.v2.0.tif", names=names))
        sentinel = recognise(make(dn(4), "HLS.S30.T15SWD.2023153T170851.v2.0.tif", names=names))
        assert landsat.bands == ("blue", "red", "nir08", "swir16")
        assert sentinel.bands == ("blue", "red", "rededge1", "rededge2")

    def test_landsat_generations(self, make):
        names = tuple(f"SR_B{i}" for i in (1, 2, 3, 4, 5, 7))
        assert recognise(make(dn(6), "LE07_L2SP_1.tif", names=names)).bands == (
            "blue", "green", "red", "nir08", "swir16", "swir22",
        )  # fmt: skip
        assert recognise(make(dn(6), "LC08_L2SP_1.tif", names=names)).bands[:2] == ("coastal", "blue")

    @pytest.mark.parametrize("name", ["LT05_190031_20040501.tif", "LE07_2004-05-01.tif", "stack.tif"])
    def test_earth_engines_older_landsat(self, make, name):
        """All bands of an export, ST_B6 among them, which Landsat 8 has not; and top-of-atmosphere bands without SR."""
        surface = ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", "SR_ATMOS_OPACITY", "ST_B6", "QA_PIXEL")
        older = ("blue", "green", "red", "nir08", "swir16", "swir22")
        found = recognise(make(dn(9) + 8000, name, names=surface))
        assert found.bands == older
        assert found.scale == 2.75e-5
        assert not found.warnings
        if name != "stack.tif":
            top = make(reflectance(7).astype(np.float32), name, names=("B1", "B2", "B3", "B4", "B5", "B6", "B7"))
            assert recognise(top).bands == older

    def test_a_landsat_that_nothing_tells(self, make):
        names = ("SR_B2", "SR_B3", "SR_B4", "SR_B5")
        found = recognise(make(dn(4) + 8000, "stack.tif", names=names))
        assert found.bands == ("blue", "green", "red", "nir08")
        assert any("nothing says of which Landsat" in sentence for sentence in found.warnings)
        told = make(dn(4) + 8000, "stack.tif", names=names, tags={"collection": "LANDSAT/LT05/C02/T1_L2"})
        assert recognise(told).bands == ("green", "red", "nir08", "swir16")
        assert not recognise(told).warnings
        newer = recognise(make(dn(4), "LC08_190031_20140501.tif", names=("B2", "B3", "B4", "B5")))
        assert newer.bands == ("blue", "green", "red", "nir08")
        assert newer.scale == 2e-5

    def test_modis_counts_otherwise(self, make):
        names = tuple(f"sur_refl_b0{number}" for number in range(1, 8))
        assert recognise(make(dn(7), names=names)).bands == (
            "red", "nir08", "blue", "green", "band5", "swir16", "swir22",
        )  # fmt: skip

    def test_planet(self, make):
        eight = ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir")
        found = recognise(make(dn(8), names=eight))
        assert found.sensor == "planet"
        assert found.bands == ("coastal", "blue", "band3", "green", "band5", "red", "rededge1", "nir08")
        assert recognise(make(dn(4), "20230615_3B_AnalyticMS_SR.tif")).bands == ("blue", "green", "red", "nir08")

    def test_one_band_by_file_name(self, make):
        assert recognise(make(dn(1), "T33UXP_20250302T095029_B8A.tif")).bands == ("nir08",)


class TestUnits:
    def test_float_reflectance(self, make):
        found = recognise(make(reflectance(4).astype(np.float32)))
        assert (found.scale, found.offset) == (1.0, 0.0)

    def test_float_times_ten_thousand(self, make):
        assert recognise(make((reflectance(4) * 1e4).astype(np.float32))).scale == 1e-4

    def test_a_sensor_that_cannot_be_is_told(self, make):
        """Chosen by mistake, it makes everything darker than black, and nothing would be found or restored."""
        info = make(dn(4), "S2_2018-07-05.tif", names=("B02", "B03", "B04", "B08"))
        wrong = recognise(info, sensor="landsat")
        assert any("would be reflectance -0.2 to -0.06, which is not plausible" in text for text in wrong.warnings)
        assert not recognise(info).warnings

    def test_landsat_by_name_and_by_numbers(self, make):
        stored = np.round((reflectance(7) + 0.2) / 2.75e-5).astype(np.uint16)
        named = recognise(make(stored, "LC09_L2SP_042034_20230615_20230620_02_T1_SR.tif"))
        assert (named.sensor, named.scale, named.offset) == ("landsat", 2.75e-5, -0.2)
        guessed = recognise(make(stored, "stack.tif"))
        assert (guessed.sensor, guessed.scale) == ("landsat", 2.75e-5)
        assert guessed.warnings

    def test_hls_int16(self, make):
        found = recognise(
            make(dn(4).astype(np.int16), "HLS.S30.T15SWD.2023153T1.tif", names=("B02", "B03", "B04", "B8A"))
        )
        assert (found.sensor, found.scale, found.nodata[0]) == ("hls", 1e-4, -9999.0)

    def test_pictures_are_refused_unless_wanted(self, make):
        info = make((reflectance(3) * 255).astype(np.uint8))
        with pytest.raises(InputError, match=r"8-bit picture.*generic"):
            recognise(info)
        assert recognise(info, sensor="generic").scale == pytest.approx(1 / 255)
        assert recognise(info, scale=0.004, offset=0.01).offset == 0.01

    @pytest.mark.parametrize("sensor", ["auto", "generic"])
    def test_colour_tables_are_refused(self, write_image, sensor):
        path = write_image(np.arange(64, dtype=np.uint8).reshape(8, 8), "map.tif", photometric="palette")
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {v: (v, 0, 255 - v, 255) for v in range(64)})
        info = describe(str(path))
        with pytest.raises(InputError, match="colour table"):
            recognise(info, sensor=sensor)
        assert recognise(info, sensor=sensor, scale=0.01).scale == 0.01

    def test_gdal_scale_if_plausible(self, make):
        good = make(dn(4), "good.tif")
        with rasterio.open(good.path, "r+") as file:
            file.scales, file.offsets = (1e-4,) * 4, (0.0,) * 4
        assert recognise(describe(good.path)).scale == 1e-4
        twice = make(reflectance(4).astype(np.float32), "twice.tif")
        with rasterio.open(twice.path, "r+") as file:
            file.scales = (1e-4,) * 4
        found = recognise(describe(twice.path))
        assert found.scale == 1.0
        assert any("ignored" in note for note in found.warnings)

    def test_eight_bits_whose_file_tells_a_scale_are_no_picture(self, make):
        info = make((reflectance(3) * 250).astype(np.uint8), "scaled.tif")
        with rasterio.open(info.path, "r+") as file:
            file.scales = (1 / 250,) * 3
        assert recognise(describe(info.path)).scale == pytest.approx(1 / 250)

    @pytest.mark.parametrize(
        ("dtype", "fill"), [("int16", -9999), ("int16", -32768), ("float32", -9999), ("float32", -3.4e38)]
    )
    def test_fill_without_a_tag(self, make, dtype, fill):
        planes = dn(4) if dtype == "int16" else reflectance(4)
        fill = np.finfo(np.float32).min if fill == -3.4e38 else fill
        found = recognise(make(planes.astype(dtype), "whole.tif"))
        assert found.nodata == (None,) * 4
        planes = planes.astype(dtype)
        planes[:, 10:20, 10:20] = fill
        holed = recognise(make(planes, "holed.tif"))
        assert holed.nodata == (float(fill),) * 4
        assert (holed.scale, holed.offset) == (found.scale, found.offset)
        assert any("no tag says so" in text for text in holed.warnings)
        planes[:3] = dn(3) if dtype == "int16" else reflectance(3)
        assert recognise(make(planes, "one_band.tif")).nodata == (None,) * 4

    def test_typed_wins(self, make):
        found = recognise(make(dn(13), names=S2_NAMES), scale=2e-4, offset=-0.05)
        assert (found.scale, found.offset) == (2e-4, -0.05)
        found = recognise(make(dn(13), "o.tif", names=S2_NAMES), offset=-0.1)
        assert (found.scale, found.offset) == (1e-4, -0.1)

    def test_bad_requests(self, make):
        info = make(dn(4))
        with pytest.raises(InputError, match="SENSOR"):
            recognise(info, sensor="modis")
        with pytest.raises(InputError, match="REFLECTANCE_SCALE"):
            recognise(info, scale=0.0)
        with pytest.raises(InputError, match="no reflectance"):
            recognise(make(dn(2), "radar.tif", names=("VV", "VH")))

    def test_all_nodata_is_not_an_error(self, make):
        found = recognise(make(np.zeros((13, 8, 8), np.uint16), names=S2_NAMES))
        assert (found.scale, found.offset) == (1e-4, 0.0)
        assert any("no pixel with data" in note for note in found.warnings)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 13)])
    def test_tiny(self, make, shape):
        assert recognise(make(np.full((3, *shape), 800, np.uint16))).scale == 1e-4


class TestOffset:
    def test_from_the_pixels(self, make):
        assert recognise(make(dn(13, add=1000), names=S2_NAMES)).offset == pytest.approx(-0.1)
        assert recognise(make(dn(13), "old.tif", names=S2_NAMES)).offset == 0.0

    @pytest.mark.parametrize(
        ("name", "tags"),
        [
            ("S2B_MSIL2A_20250302T095029_N0511_R079_T33UXP_20250302T104753.tif", {}),
            ("a.tif", {"BOA_ADD_OFFSET": "-1000"}),
            ("b.tif", {"RADIO_ADD_OFFSET_B2": "-1000"}),
            ("c.tif", {"PROCESSING_BASELINE": "04.00"}),
            ("d.tif", {"s2:processing_baseline": "05.09"}),
        ],
    )
    def test_from_metadata(self, make, name, tags):
        bright = dn(4, add=1000, low=0.3, high=0.6)
        assert recognise(make(bright, name, names=("B02", "B03", "B04", "B08"), tags=tags)).offset == pytest.approx(
            -0.1
        )

    def test_old_baseline(self, make):
        name = "S2B_MSIL1C_20190302T095029_N0207_R079_T33UXP_20190302T104753.tif"
        assert recognise(make(dn(13, add=1000), name, names=S2_NAMES)).offset == 0.0

    def test_declared_but_already_applied(self, make):
        found = recognise(make(dn(4), names=("B02", "B03", "B04", "B08"), tags={"BOA_ADD_OFFSET": "-1000"}))
        assert found.offset == 0.0
        assert any("already applied" in note for note in found.warnings)

    def test_gdal_offset_is_checked_too(self, make):
        for add, expected in ((1000, -0.1), (0, 0.0)):
            info = make(dn(4, add=add), f"g{add}.tif", names=("B02", "B03", "B04", "B08"))
            with rasterio.open(info.path, "r+") as file:
                file.scales, file.offsets = (1e-4,) * 4, (-0.1,) * 4
            assert recognise(describe(info.path)).offset == pytest.approx(expected)

    def test_a_cloudy_date_follows_its_series(self, make):
        names = ("B02", "B03", "B04", "B08")
        cloudy = dn(4, low=0.12, high=0.7)
        with_offset = [
            recognise(make(dn(4, add=1000), "clear.tif", names=names)),
            recognise(make(dn(4, add=1000, low=0.2, high=0.9), "cloud.tif", names=names)),
        ]
        assert [r.offset for r in with_offset] == [pytest.approx(-0.1), 0.0]
        assert [r.offset for r in agree(with_offset)] == [pytest.approx(-0.1)] * 2
        without = [recognise(make(dn(4), "c1.tif", names=names)), recognise(make(cloudy, "c2.tif", names=names))]
        assert [r.offset for r in without] == [0.0, pytest.approx(-0.1)]
        agreed = agree(without)
        assert [r.offset for r in agreed] == [0.0, 0.0]
        assert agreed[1].notes[-1].startswith("c2.tif: the other dates")
        # a series across 2022-01-25 may hold both
        assert agree(without, [date(2021, 6, 1), date(2023, 6, 1)])[1].offset == pytest.approx(-0.1)

    def test_typed_offsets_are_not_voted_on(self, make):
        names = ("B02", "B03", "B04", "B08")
        typed = recognise(make(dn(4, low=0.12), "t.tif", names=names), offset=-0.1)
        assert agree([recognise(make(dn(4), "c.tif", names=names)), typed])[1].offset == -0.1


class TestRealScenes:
    def test_no_offset_in_2018(self, data_root):
        found = [recognise(describe(str(p))) for p in sorted((data_root / "s2_ts_lazio_2018").glob("S2L1C*.tif"))]
        assert {(r.sensor, r.level, r.offset, len(r.bands)) for r in found} == {("sentinel2", "L1C", 0.0, 13)}

    @pytest.mark.parametrize(
        ("path", "sensor", "last"),
        [
            ("hls_missouri_2023/HLS_L30_2023-07-20.tif", "hls", "nir08"),
            ("hls_missouri_2023/HLS_S30_2023-06-12.tif", "hls", "nir08"),
            ("s2_monthly_california/S2_month06.tif", "sentinel2", "nir"),
            ("csmask_s2_labels/s2_6band.tif", "sentinel2", "swir22"),
            ("sen12mscr/s2_cloudy/ROIs1970_fall_139_p839.tif", "sentinel2", "swir22"),
            ("sen1floods11_spain/Spain_7370579_S2Hand.tif", "sentinel2", "swir22"),
        ],
    )
    def test_others(self, data_root, path, sensor, last):
        found = recognise(describe(str(data_root / path)))
        assert (found.sensor, found.bands[-1], found.scale, found.offset) == (sensor, last, 1e-4, 0.0)
