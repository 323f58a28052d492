"""Windows of optical rasters: values, holes, edges, other grids."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine, from_origin

from cloud_removal_plugin.errors import GridError, InputError
from cloud_removal_plugin.raster.align import check_together, place
from cloud_removal_plugin.raster.crs import grid_of
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.radiometry import recognise
from cloud_removal_plugin.raster.reader import OpticalReader
from cloud_removal_plugin.raster.windows import Window

NAMES = ("B02", "B03", "B04", "B08")
H, W = 23, 31


def numbers(count=4, h=H, w=W, seed=0):
    return np.random.default_rng(seed).integers(100, 4000, (count, h, w)).astype(np.uint16)


@pytest.fixture
def layer(write_image):
    """``layer(array, name, names=NAMES)``: description of a written raster."""

    def build(array, name="scene.tif", names=NAMES, mask=None, **profile):
        path = write_image(array, name, **profile)
        with rasterio.open(path, "r+") as file:
            if names:
                file.descriptions = names
            if mask is not None:
                file.write_mask(mask)
        return describe(str(path))

    return build


def read(info, window=None, grid=None, bands=None, **options):
    grid = grid or grid_of(info)
    with OpticalReader(info, recognise(info, **options), grid, bands) as reader:
        return reader.read(window or Window(0, 0, *grid.shape))


@given(st.integers(-9, H + 3), st.integers(-9, W + 3), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_any_window_is_a_cut_of_the_whole(tmp_path_factory, row, col, height, width):
    path = tmp_path_factory.getbasetemp() / "any_window.tif"
    dn = numbers()
    if not path.exists():
        profile = {"driver": "GTiff", "count": 4, "height": H, "width": W, "dtype": "uint16", "crs": "EPSG:32632"}
        blocks = {"tiled": True, "blockxsize": 16, "blockysize": 16}
        with rasterio.open(path, "w", transform=from_origin(6e5, 5e6, 10, 10), **profile, **blocks) as file:
            file.write(dn)
            file.descriptions = NAMES
    info = describe(str(path))
    window = Window(row, col, height, width)
    expected = np.full((4, height, width), np.nan, np.float32)
    inside = window.clip(H, W)
    if inside.pixels:
        rows, cols = inside.slices(window)
        expected[:, rows, cols] = dn[:, inside.row : inside.bottom, inside.col : inside.right] * np.float32(1e-4)
    with OpticalReader(info, recognise(info), grid_of(info)) as reader:
        np.testing.assert_array_equal(reader.read(window), expected)
        raw, values = reader.read_with_raw(window)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(raw, reader.read_raw(window))
        assert raw.dtype == np.uint16
        buffer = np.zeros_like(expected)
        assert reader.read(window, out=buffer) is buffer
        np.testing.assert_array_equal(buffer, expected)


class TestHoles:
    def test_zero_in_all_bands_is_no_data(self, layer):
        dn = numbers()
        dn[:, 3, 4] = 0
        dn[0, 5, 6] = 0
        out = read(layer(dn))
        assert np.isnan(out[:, 3, 4]).all()
        assert out[0, 5, 6] == 0.0
        assert np.isnan(out).sum() == 4

    def test_the_offset_comes_after_the_holes(self, layer):
        dn = numbers() + np.uint16(1000)
        dn[:, 3, 4] = 0
        out = read(layer(dn))
        assert np.isnan(out[:, 3, 4]).all()
        np.testing.assert_allclose(out[:, 0, 0], (dn[:, 0, 0] - 1000.0) / 1e4, atol=1e-6)

    def test_tag_per_band(self, layer):
        dn = numbers()
        dn[0, 5, 6] = 0
        dn[1, 1, 1] = 65535
        out = read(layer(dn, nodata=0))
        assert np.isnan(out[0, 5, 6])
        assert np.isnan(out[1, 1, 1])
        assert np.isnan(out).sum() == 2

    def test_clear_air_in_the_cirrus_band_is_no_hole(self, layer):
        dn = numbers(3)
        dn[2] = 0
        dn[:, 0, 0] = 0
        out = read(layer(dn, names=("B02", "B10", "B04"), nodata=0))
        assert np.isnan(out).sum() == 3 + (H * W - 1)  # the red band is 0 everywhere and says so
        dn[1], dn[2] = 0, 700
        dn[:, 0, 0] = 0
        out = read(layer(dn, "clear.tif", names=("B02", "B10", "B04"), nodata=0))
        assert np.isnan(out).sum() == 3

    def test_floats(self, layer):
        values = np.random.default_rng(1).uniform(0.02, 0.4, (4, H, W)).astype(np.float32)
        values[0, 0, 0], values[1, 1, 1], values[2, 2, 2], values[3, 3, 3] = np.nan, np.inf, -np.inf, -9999
        out = read(layer(values, nodata=-9999))
        assert np.isnan(out).sum() == 4
        assert not np.isinf(out).any()
        np.testing.assert_array_equal(out[0, 5], values[0, 5])

    def test_float64_with_the_lowest_float_as_nodata(self, layer):
        lowest = float(np.finfo(np.float32).min)
        values = np.full((4, 6, 6), 0.2, np.float32)
        values[:, 2, 2] = lowest
        assert np.isnan(read(layer(values, nodata=lowest))).sum() == 4

    def test_alpha_band(self, layer):
        planes = np.full((4, 6, 6), 40, np.uint8)
        planes[3] = 255
        planes[3, 2, 2] = 0
        info = layer(planes, names=None, photometric="RGB", alpha="YES")
        radiometry = recognise(info, sensor="generic")
        assert radiometry.bands == ("red", "green", "blue")
        out = read(info, sensor="generic")
        assert np.isnan(out).sum() == 3
        assert np.isnan(out[:, 2, 2]).all()

    def test_mask_band(self, layer):
        mask = np.ones((H, W), bool)
        mask[1, 2] = False
        out = read(layer(numbers(), mask=mask))
        assert np.isnan(out).sum() == 4
        assert np.isnan(out[:, 1, 2]).all()


class TestBands:
    def test_order_and_missing(self, layer):
        dn = numbers()
        info = layer(dn, names=("B08", "B04", "B03", "B8A"))
        with OpticalReader(info, recognise(info), grid_of(info), ("blue", "red", "nir")) as reader:
            out = reader.read(Window(0, 0, H, W))
            assert any("has no blue" in note for note in reader.notes)
        assert np.isnan(out[0]).all()
        np.testing.assert_array_equal(out[1], dn[1] * np.float32(1e-4))
        np.testing.assert_array_equal(out[2], dn[0] * np.float32(1e-4))

    def test_nir_stands_in(self, layer):
        dn = numbers()
        info = layer(dn, "HLS.S30.T1.2023153T1.tif", names=("B02", "B03", "B04", "B8A"))
        with OpticalReader(info, recognise(info), grid_of(info), ("blue", "green", "red", "nir")) as reader:
            assert np.isfinite(reader.read(Window(0, 0, H, W))).all()
            assert any("nir08 for nir" in note for note in reader.notes)

    def test_nothing_in_common(self, layer):
        info = layer(numbers())
        with pytest.raises(InputError, match=r"scene\.tif.*none of"):
            OpticalReader(info, recognise(info), grid_of(info), ("swir16", "swir22"))

    def test_wrong_buffer(self, layer):
        info = layer(numbers())
        with OpticalReader(info, recognise(info), grid_of(info)) as reader, pytest.raises(ValueError, match="float32"):
            reader.read(Window(0, 0, 2, 2), out=np.zeros((4, 2, 2)))


class TestGrids:
    def test_shifted_by_whole_pixels(self, layer):
        dn = numbers()
        base = layer(dn, "base.tif")
        shifted = layer(dn, "shifted.tif", transform=from_origin(600_030, 5_650_000 + 20, 10, 10))
        grid = grid_of(base)
        with OpticalReader(shifted, recognise(shifted), grid) as reader:
            assert reader.same_grid
            out = reader.read(Window(0, 0, H, W))
        np.testing.assert_array_equal(out[:, : H - 2, 3:], dn[:, 2:, : W - 3] * np.float32(1e-4))
        assert np.isnan(out[:, H - 2 :]).all()
        assert np.isnan(out[:, :, :3]).all()

    def test_cropped_scene(self, layer):
        dn = numbers()
        info = layer(dn)
        grid, row, col = grid_of(info).crop((600_050, 5_649_800, 600_150, 5_649_900))
        assert (row, col) == (10, 5)
        out = read(info, Window(-1, -1, 4, 4), grid)
        assert np.isnan(out[:, 0]).all()
        np.testing.assert_array_equal(out[:, 1:, 1:], dn[:, 10:13, 5:8] * np.float32(1e-4))

    def test_finer_layer_is_averaged(self, layer):
        coarse = layer(numbers(), "coarse.tif", transform=from_origin(600_000, 5_650_000, 10, 10))
        fine = np.kron(numbers(), np.ones((4, 4), np.uint16)).astype(np.uint16)
        fine[:, ::2] += 50
        fine[:, 1::2] -= 50
        info = layer(fine, "fine.tif", transform=from_origin(600_000, 5_650_000, 2.5, 2.5))
        placement = place(info, grid_of(coarse))
        assert placement.ratio == pytest.approx(4.0, rel=1e-3)
        np.testing.assert_allclose(read(info, grid=grid_of(coarse)), read(coarse), atol=2e-4)

    def test_coarser_layer_and_holes_do_not_bleed(self, layer):
        target = layer(numbers(h=40, w=40), "target.tif")
        values = np.full((4, 24, 24), 2000, np.uint16)
        values[:, 5:8, 5:8] = 0
        info = layer(values, "coarse.tif", transform=from_origin(599_980, 5_650_020, 20, 20))
        out = read(info, grid=grid_of(target))
        assert np.isnan(out).any()
        assert np.isnan(out).mean() < 0.2
        np.testing.assert_allclose(out[np.isfinite(out)], 0.2, atol=1e-6)

    @pytest.mark.parametrize("fill", ["tag", "zero", "negative", "nan", "mask", "65535"])
    def test_every_kind_of_hole_survives_a_warp(self, layer, fill):
        target = layer(numbers(h=40, w=40), "target.tif")
        values = np.full((4, 40, 40), 0.25, np.float32)
        hole = np.zeros((40, 40), bool)
        hole[10:20, 10:20] = True
        options = {}
        if fill == "mask":
            options["mask"] = ~hole
        elif fill == "65535":
            values = np.full((4, 40, 40), 2500, np.uint16)
            values[:, hole] = 65535
        elif fill == "zero":
            values[:, hole] = 0
        elif fill == "nan":
            values[:, hole] = np.nan
        elif fill == "negative":
            values[:, hole], options["nodata"] = -9999, -9999
        else:
            values[:, hole], options["nodata"] = 0, 0
        info = layer(values, f"{fill}.tif", transform=from_origin(600_004, 5_650_003, 10, 10), **options)
        out = read(info, grid=grid_of(target))
        assert 70 * 4 <= np.isnan(out[:, 5:25, 5:25]).sum() <= 150 * 4
        np.testing.assert_allclose(out[np.isfinite(out)], 0.25, atol=1e-5)

    def test_another_crs(self, layer):
        target = layer(numbers(h=60, w=60), "utm.tif")
        with rasterio.open(target.path) as file:
            lon, lat = rasterio.warp.transform(file.crs, "EPSG:4326", [600_300], [5_649_700])
        step = 1e-4
        y, x = np.mgrid[0:120, 0:120]
        plane = (1000 + 8 * x + 4 * y).astype(np.uint16)
        info = layer(
            np.stack([plane] * 4), "lonlat.tif", crs="EPSG:4326",
            transform=from_origin(lon[0] - 60 * step, lat[0] + 60 * step, step, step),
        )  # fmt: skip
        out = read(info, grid=grid_of(target), offset=0.0)
        assert np.isfinite(out).all()
        centre = out[0, 29:31, 29:31].mean()
        assert centre == pytest.approx((1000 + 8 * 59.5 + 4 * 59.5) / 1e4, abs=2e-3)

    def test_windows_of_a_warp_agree(self, layer):
        target = layer(numbers(h=50, w=50), "target.tif")
        info = layer(numbers(h=60, w=60, seed=3), "other.tif", transform=from_origin(599_953, 5_650_047, 10, 10))
        whole = read(info, grid=grid_of(target))
        part = read(info, Window(17, 20, 20, 25), grid_of(target))
        np.testing.assert_array_equal(part, whole[:, 17:37, 20:45])

    def test_pixels_without_georeference(self, layer):
        plain = {"crs": None, "transform": Affine.identity()}
        first, twin = layer(numbers(), "a.tif", **plain), layer(numbers(seed=2), "b.tif", **plain)
        other = layer(numbers(h=10, w=10), "small.tif", **plain)
        np.testing.assert_array_equal(read(twin, grid=grid_of(first)), read(twin))
        check_together(first, [twin])
        with pytest.raises(GridError, match=r"small\.tif.*10 x 10.*31 x 23"):
            place(other, grid_of(first))
        with pytest.raises(GridError, match=r"small\.tif.*a\.tif"):
            check_together(first, [other])

    def test_crs_on_one_side(self, layer):
        with_crs = layer(numbers(), "with.tif")
        without = layer(numbers(), "without.tif", crs=None)
        for first, second in ((with_crs, without), (without, with_crs)):
            with pytest.raises(GridError, match="has none"):
                place(second, grid_of(first))
            with pytest.raises(GridError, match=r"with\.tif.*without\.tif"):
                check_together(first, [second])

    def test_no_overlap(self, layer):
        here = layer(numbers(), "here.tif")
        there = layer(numbers(), "there.tif", transform=from_origin(700_000, 5_650_000, 10, 10))
        far = layer(numbers(), "far.tif", crs="EPSG:4326", transform=from_origin(100, -20, 1e-4, 1e-4))
        for other in (there, far):
            with pytest.raises(GridError, match="does not overlap"):
                place(other, grid_of(here))
            with pytest.raises(GridError, match=r"does not overlap layer 'here\.tif'"):
                check_together(here, [other])

    def test_no_bit_for_bit_copy_of_a_warped_layer(self, layer):
        target = layer(numbers(), "target.tif")
        info = layer(numbers(), "other.tif", transform=from_origin(600_003, 5_650_000, 10, 10))
        with OpticalReader(info, recognise(info), grid_of(target)) as reader, pytest.raises(InputError, match="copied"):
            reader.read_raw(Window(0, 0, 2, 2))


def test_reopened_and_shared_readers_agree(layer):
    info = layer(numbers(h=64, w=64))
    windows = [Window(r, c, 20, 24) for r in range(0, 60, 10) for c in range(0, 60, 10)]
    with OpticalReader(info, recognise(info), grid_of(info)) as reader, reader.reopen() as other:
        alone = [other.read(w) for w in windows]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(reader.read, windows))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_damaged_pixels_are_one_sentence(layer):
    rng = np.random.default_rng(0)
    info = layer(rng.integers(0, 9999, (4, 300, 300)).astype(np.uint16), names=None, compress="deflate", tiled=True)
    radiometry = recognise(info)
    os.truncate(info.path, os.path.getsize(info.path) // 2)
    with OpticalReader(info, radiometry, grid_of(info)) as reader, pytest.raises(InputError, match="damaged"):
        reader.read(Window(0, 0, 300, 300))


def test_a_real_series_shares_one_grid(data_root):
    paths = sorted((data_root / "hls_missouri_2023").glob("HLS_*2023-06-*.tif"))
    infos = [describe(str(p)) for p in paths]
    check_together(infos[0], infos[1:])
    for info, path in zip(infos, paths, strict=True):
        out = read(info, grid=grid_of(infos[0]), bands=("blue", "green", "red", "nir08"))
        with rasterio.open(path) as file:
            raw = file.read()
        np.testing.assert_allclose(out, np.where(raw == 0, np.nan, raw * 1e-4), atol=1e-6)
