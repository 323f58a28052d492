"""Radar: units, polarisations, acquisitions, other grids."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.raster.crs import grid_of
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.radar import RadarReader
from cloud_removal_plugin.raster.windows import Window

SIZE = 24


@pytest.fixture
def radar(write_image):
    """``radar(array, name, names=...)``: description of a written radar raster."""

    def build(array, name="s1.tif", names=None, **profile):
        path = write_image(np.asarray(array), name, **profile)
        if names:
            with rasterio.open(path, "r+") as file:
                file.descriptions = names
        return describe(str(path))

    return build


def backscatter(count=1, seed=0):
    """dB (2 * count, H, W): VV about -10, VH about -17."""
    rng = np.random.default_rng(seed)
    levels = np.array([-10.0, -17.0] * count)[:, None, None]
    return (levels + rng.normal(0, 2, (2 * count, SIZE, SIZE))).astype(np.float32)


def read(info, **options):
    with RadarReader(info, grid_of(info), **options) as reader:
        return reader.read(Window(0, 0, *info.shape)), reader


class TestUnits:
    def test_db(self, radar):
        db = backscatter()
        out, reader = read(radar(db, names=("VV", "VH")))
        np.testing.assert_array_equal(out[0], db)
        assert any("dB" in note for note in reader.notes)

    def test_linear_power(self, radar):
        db = backscatter()
        out, reader = read(radar(10 ** (db / 10), names=("VV", "VH")))
        np.testing.assert_allclose(out[0], db, atol=1e-4)
        assert any("linear power" in note for note in reader.notes)

    @pytest.mark.parametrize("factor", [100, 10_000])
    def test_scaled_integers(self, radar, factor):
        db = backscatter()
        out, _ = read(radar(np.round(db * factor).astype(np.int32), names=("VV", "VH")))
        np.testing.assert_allclose(out[0], db, atol=0.006)

    @pytest.mark.parametrize(("dtype", "scale", "offset"), [("uint16", 1e-3, -45.0), ("uint8", 0.2, -41.0)])
    def test_scale_and_offset_of_the_file(self, radar, dtype, scale, offset):
        db = backscatter()
        stored = radar(np.round((db - offset) / scale).clip(1, np.iinfo(dtype).max).astype(dtype), names=("VV", "VH"))
        with rasterio.open(stored.path, "r+") as file:
            file.scales, file.offsets = (scale,) * 2, (offset,) * 2
        out, reader = read(describe(stored.path))
        np.testing.assert_allclose(out[0], db, atol=0.11)
        assert any("as the file says" in note for note in reader.notes)

    @pytest.mark.parametrize("names", [("blue", "green", "red", "nir"), ("B02", "B03", "B04", "B08")])
    def test_optical_bands_are_refused(self, radar, names):
        with pytest.raises(InputError, match="has optical bands"):
            read(radar(np.full((4, 8, 8), 900, np.uint16), names=names))
        read(radar(backscatter(2), "plain.tif", names=("B1", "B2", "B3", "B4")))

    def test_sixteen_bit_amplitude(self, radar):
        db = backscatter()
        out, reader = read(radar(np.round(10 ** ((db + 83) / 20)).astype(np.uint16), names=("VV", "VH")))
        np.testing.assert_allclose(out[0], db, atol=0.02)
        assert any("amplitude" in note for note in reader.notes)

    def test_refused(self, radar):
        with pytest.raises(InputError, match="8-bit"):
            read(radar(np.full((2, 4, 4), 90, np.uint8), names=("VV", "VH")))
        with pytest.raises(InputError, match="5 bands"):
            read(radar(np.full((5, 4, 4), -9.0, np.float32)))


class TestBands:
    def test_order_by_name(self, radar):
        db = backscatter()
        out, _ = read(radar(db[::-1], names=("VH_dB", "VV_dB")))
        np.testing.assert_array_equal(out[0], db)

    def test_order_by_darkness(self, radar):
        db = backscatter()
        np.testing.assert_array_equal(read(radar(db))[0][0], db)
        np.testing.assert_array_equal(read(radar(db[::-1]))[0][0], db)

    @pytest.mark.parametrize(("names", "filled"), [(("VH",), 1), (("VV",), 0), (None, 0)])
    def test_one_band(self, radar, names, filled):
        db = backscatter()[:1]
        out, _ = read(radar(db, names=names))
        assert out.shape == (1, 2, SIZE, SIZE)
        np.testing.assert_array_equal(out[0, filled], db[0])
        assert np.isnan(out[0, 1 - filled]).all()

    def test_angle_is_dropped(self, radar):
        stack = np.concatenate([backscatter(), np.full((1, SIZE, SIZE), 38.0, np.float32)])
        out, _ = read(radar(stack, names=("VV", "VH", "angle")))
        np.testing.assert_array_equal(out[0], stack[:2])


class TestAcquisitions:
    def test_dates_in_band_names(self, radar):
        db = backscatter(2)
        names = ("VV 2018-07-11", "VV 2018-06-29", "VH 2018-07-11", "VH 2018-06-29")
        out, reader = read(radar(db[[0, 2, 1, 3]], names=names))
        assert reader.days(date(2018, 7, 5)).tolist() == [-6.0, 6.0]
        np.testing.assert_array_equal(out[0], db[2:])
        np.testing.assert_array_equal(out[1], db[:2])

    def test_as_many_as_optical_dates(self, radar):
        days = [date(2018, 7, 5), date(2018, 6, 25)]
        _, reader = read(radar(backscatter(2)), dates=days)
        assert reader.count == 2
        assert reader.days(days[0]).tolist() == [0.0, -10.0]

    def test_optical_days_where_no_date_is_known(self, radar):
        _, reader = read(radar(backscatter(2)))
        assert reader.days(None, [0.0, 10.0]).tolist() == [0.0, 10.0]
        assert reader.days(None).tolist() == [0.0, 0.0]

    def test_one_acquisition_with_a_date_in_its_name(self, radar):
        _, reader = read(radar(backscatter(), "S1A_IW_20180703T050000.tif", names=("VV", "VH")))
        assert reader.days(date(2018, 7, 5)).tolist() == [-2.0]

    def test_pairs_that_cannot_be_made(self, radar):
        with pytest.raises(InputError, match="2 VV and 1 VH"):
            read(radar(backscatter(2)[:3], names=("VV", "VV", "VH")))


class TestHoles:
    def test_nodata_zero_nan_and_absurd(self, radar):
        db = backscatter()
        db[0, 0, 0], db[1, 1, 1], db[0, 2, 2] = -32768, np.nan, -np.inf
        db[:, 3, 3], db[0, 4, 4] = 0, 999
        out, _ = read(radar(db, names=("VV", "VH"), nodata=-32768))
        assert np.isnan(out).sum() == 6

    def test_linear_zero(self, radar):
        power = 10 ** (backscatter() / 10)
        power[0, 0, 0] = 0
        out, _ = read(radar(power, names=("VV", "VH")))
        assert np.isnan(out).sum() == 1

    def test_beyond_the_edge(self, radar):
        info = radar(backscatter(), names=("VV", "VH"))
        with RadarReader(info, grid_of(info)) as reader, reader.reopen() as other:
            out = reader.read(Window(-2, -3, 6, 7))
            np.testing.assert_array_equal(other.read(Window(-2, -3, 6, 7)), out)
            assert np.isnan(reader.read(Window(100, 100, 2, 2))).all()
        assert np.isnan(out[:, :, :2]).all()
        assert np.isfinite(out[:, :, 2:, 3:]).all()


class TestWarp:
    def test_averages_power_not_decibels(self, radar, write_image):
        scene = describe(str(write_image(np.ones((1, 8, 8), np.uint16), "scene.tif")))
        fine = np.tile(np.array([[0.0, -20.0], [-20.0, 0.0]], np.float32), (40, 40))
        info = radar(
            np.stack([fine - 5, fine - 12]), names=("VV", "VH"), transform=from_origin(599_900, 5_650_100, 5, 5)
        )
        with RadarReader(info, grid_of(scene)) as reader:
            out = reader.read(Window(0, 0, 8, 8))
        expected = 10 * np.log10((1 + 0.01) / 2)
        np.testing.assert_allclose(out[0, 0], expected - 5, atol=0.01)
        np.testing.assert_allclose(out[0, 1], expected - 12, atol=0.01)

    def test_windows_agree_and_holes_stay_small(self, radar, write_image):
        scene = describe(str(write_image(np.ones((1, 40, 40), np.uint16), "scene.tif")))
        rng = np.random.default_rng(0)
        db = rng.normal(-12, 2, (2, 40, 40)).astype(np.float32)
        db[:, 9:12, 9:12] = np.nan
        info = radar(db, names=("VV", "VH"), transform=from_origin(599_965, 5_650_035, 12, 12))
        with RadarReader(info, grid_of(scene)) as reader:
            whole = reader.read(Window(0, 0, 40, 40))
            part = reader.read(Window(10, 12, 20, 22))
        np.testing.assert_allclose(part, whole[:, :, 10:30, 12:34], atol=1e-3)
        assert 0 < np.isnan(whole).mean() < 0.06


def test_real_radar_of_another_resolution(data_root):
    folder = data_root / "m3rcr" / "test"
    planet = describe(str(next((folder / "planet_cloudy_summer").rglob("*.tif"))))
    s1 = describe(str(next((folder / "S1_summer").rglob("*.tif"))))
    with RadarReader(s1, grid_of(planet)) as reader:
        out = reader.read(Window(0, 0, *planet.shape))
    assert np.isfinite(out).mean() > 0.95
    assert np.nanmean(out[0, 0]) == pytest.approx(-11.2, abs=0.3)
    assert np.nanmean(out[0, 1]) == pytest.approx(-17.9, abs=0.3)
