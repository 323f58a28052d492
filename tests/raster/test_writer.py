"""What is written is what was given, in the look of the input; whole or not at all."""
# ruff: noqa: PT012 - what is tested is how the with block of a writer ends

from __future__ import annotations

import errno
import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from cloud_removal_plugin.errors import Cancelled, OutputError
from cloud_removal_plugin.raster import parts, writer
from cloud_removal_plugin.raster import target as target_module
from cloud_removal_plugin.raster.grid import Grid
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.windows import Window, cores
from cloud_removal_plugin.raster.writer import RasterWriter, check_target, to_stored

SENTINEL2 = SimpleNamespace(scale=1e-4, offset=-0.1)


@pytest.fixture
def like(tmp_path):
    """A 70 x 45 raster of 4 bands with everything that should survive."""
    path = str(tmp_path / "in.tif")
    profile = {
        "driver": "GTiff", "width": 70, "height": 45, "count": 4, "dtype": "uint16", "nodata": 0,
        "crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 4_600_000), "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as made:
        made.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
        made.descriptions = ("B4", "B3", "B2", "B8")
        made.scales, made.offsets = (1e-4,) * 4, (-0.1,) * 4
        made.update_tags(PRODUCT="S2A_MSIL2A", TIFFTAG_DATETIME="2018:07:05 10:00:00", AREA_OR_POINT="Point")
        made.update_tags(4, wavelength="833", STATISTICS_MEAN="12")
        made.write(np.arange(4 * 45 * 70, dtype=np.uint16).reshape(4, 45, 70))
    return describe(path)


def grid_of(info):
    return Grid(info.crs_wkt, info.transform, info.width, info.height)


def pixels(info, seed=0):
    return np.random.default_rng(seed).integers(1, 60_000, (info.count, info.height, info.width)).astype(info.dtype)


def listing(folder):
    return sorted(name for name in os.listdir(folder) if name != "in.tif")


def test_keeps_everything_of_the_input(like, tmp_path):
    path, data = str(tmp_path / "out.tif"), pixels(like)
    with RasterWriter(path, like, grid_of(like), forbid=(like.path,)) as out:
        for core in cores(Window(0, 0, 45, 70), 32, 1):
            out.write(data[(slice(None), *core.slices())], core)
        assert not os.path.exists(path), "nothing is at the target before it is whole"
    assert listing(tmp_path) == ["out.tif"]
    back = describe(path)
    same = "width height count dtypes crs_wkt transform nodata scales offsets descriptions wavelengths_nm colorinterp"
    for name in same.split():
        assert getattr(back, name) == getattr(like, name), name
    assert like.tags.items() <= back.tags.items()
    assert back.band_tags[3] == {"wavelength": "833"}, "statistics of the old pixels are not copied"
    assert back.block_shape == (256, 256)
    with rasterio.open(path) as made:
        np.testing.assert_array_equal(made.read(), data)
        assert made.profile["compress"] == writer.default_codec()
        assert made.get_tag_item("PREDICTOR", "IMAGE_STRUCTURE") == "2" or made.tags(ns="IMAGE_STRUCTURE")


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 13), (300, 257)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_any_size_and_dtype(like, tmp_path, shape, dtype):
    data = np.random.default_rng(1).uniform(0, 100, (2, *shape)).astype(dtype)
    grid = Grid(like.crs_wkt, like.transform, shape[1], shape[0])
    path = str(tmp_path / "out.TIFF")
    with RasterWriter(path, like, grid, dtype=dtype, count=2, nodata=None, compress="deflate") as out:
        out.write(data, Window(0, 0, *shape))
    with rasterio.open(path) as made:
        np.testing.assert_array_equal(made.read(), data)
        assert made.nodata is None
        assert made.descriptions == (None, None)
        assert made.profile["compress"] == "deflate"


def test_other_bands_and_labels(like, tmp_path):
    path = str(tmp_path / "classes.tif")
    with RasterWriter(
        path, like, grid_of(like), dtype="uint8", count=1, nodata=255, descriptions=["classes"], tags={"A": "b"}
    ) as out:
        out.write(np.full((45, 70), 2, np.uint8), Window(0, 0, 45, 70), bands=[1])
    back = describe(path)
    assert (back.dtypes, back.nodata, back.descriptions) == (("uint8",), (255.0,), ("classes",))
    assert back.tags["A"] == "b"
    assert "PRODUCT" not in back.tags
    assert back.scales == (1.0,)


def test_replaces_an_older_result_and_what_described_it(like, tmp_path):
    path = tmp_path / "out.tif"
    path.write_text("old")
    for ending in (".aux.xml", ".ovr"):
        (tmp_path / f"out.tif{ending}").write_text("about the old pixels")
    with RasterWriter(str(path), like, grid_of(like)) as out:
        out.write(pixels(like), Window(0, 0, 45, 70))
    assert listing(tmp_path) == ["out.tif"]


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, ValueError, MemoryError])
def test_any_exception_leaves_the_old_file_and_nothing_else(like, tmp_path, error):
    path = tmp_path / "out.tif"
    path.write_text("old")
    with pytest.raises(error), RasterWriter(str(path), like, grid_of(like)) as out:
        out.write(pixels(like), Window(0, 0, 45, 70))
        raise error
    assert listing(tmp_path) == ["out.tif"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "no file name"),
        ("out.jp2", "not a GeoTIFF name"),
        ("out", "not a GeoTIFF name"),
        ("missing/out.tif", "does not exist"),
        ("folder.tif", "is a folder"),
        ("in.tif", "overwrite a layer"),
        ("link.tif", "overwrite a layer"),
        ("hard.tif", "overwrite a layer"),
        (300 * "x" + ".tif", "is too long"),
    ],
)
def test_targets_that_cannot_be(like, tmp_path, name, sentence):
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "link.tif").symlink_to(like.path)
    os.link(like.path, tmp_path / "hard.tif")
    path = str(tmp_path / name) if name else ""
    before = listing(tmp_path)
    with pytest.raises(OutputError, match=sentence):
        check_target(path, ("", "/nowhere.tif", like.path))
    with pytest.raises(OutputError, match=sentence):
        RasterWriter(path, like, grid_of(like), forbid=(like.path,))
    assert listing(tmp_path) == before


def test_folder_that_refuses(like, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="permission denied"):
        check_target(str(tmp_path / "out.tif"))


def test_target_open_in_another_program(like, tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    out = RasterWriter(str(tmp_path / "out.tif"), like, grid_of(like))
    out.write(pixels(like), Window(0, 0, 45, 70))
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OutputError, match="open in another program"):
        out.finish()
    assert listing(tmp_path) == []


def test_disk_that_is_too_small_is_refused_at_once(like, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "free_bytes", lambda folder: 1 << 20)
    with pytest.raises(OutputError, match="1 MiB left"):
        RasterWriter(str(tmp_path / "out.tif"), like, grid_of(like))
    assert listing(tmp_path) == []


def test_disk_that_fills_meanwhile(like, tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="is full"), RasterWriter(str(tmp_path / "o.tif"), like, grid_of(like)) as out:
        monkeypatch.setattr(writer, "free_bytes", lambda folder: 1000)
        out.write(pixels(like), Window(0, 0, 45, 70))
    assert listing(tmp_path) == []


def test_file_that_lost_blocks_is_not_a_result(like, tmp_path, monkeypatch):
    out = RasterWriter(str(tmp_path / "out.tif"), like, grid_of(like))
    out.write(pixels(like), Window(0, 0, 45, 70))
    close = out._dataset.close

    def close_and_cut():
        close()
        os.truncate(out._part, os.path.getsize(out._part) - 100)

    out._dataset = SimpleNamespace(close=close_and_cut)
    with pytest.raises(OutputError, match=r"out\.tif"):
        out.finish()
    assert listing(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 6 MiB; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("compress", ["zstd", "none"])
def test_full_disk_for_real(like, tiny_disk, monkeypatch, compress):
    """GDAL reports it when it closes the file, on its log alone."""
    monkeypatch.setattr(writer, "LEAST_FREE_BYTES", 0)
    grid = Grid(like.crs_wkt, like.transform, 1024, 1024)
    noise = np.random.default_rng(0).integers(1, 65_535, (4, 256, 1024)).astype(np.uint16)
    with (
        pytest.raises(OutputError, match="disk"),
        RasterWriter(str(tiny_disk / "out.tif"), like, grid, compress=compress) as out,
    ):
        for row in range(0, 1024, 256):
            out.write(noise, Window(row, 0, 256, 1024))
    assert listing(tiny_disk) == []


def test_refuses_what_does_not_fit(like, tmp_path):
    with RasterWriter(str(tmp_path / "out.tif"), like, grid_of(like)) as out:
        data = pixels(like)
        for array, window in (
            (data[:3], Window(0, 0, 45, 70)),
            (data.astype(np.float32), Window(0, 0, 45, 70)),
            (data, Window(1, 0, 45, 70)),
        ):
            with pytest.raises(ValueError, match="Window"):
                out.write(array, window)


def test_sweep_takes_the_parts_of_one_process_only(tmp_path):
    target = str(tmp_path / "out[1].tif")
    mine = parts.part_path(target)
    other = mine.replace(f".{os.getpid()}-", ".1-")
    scratch = tmp_path / f"{parts.scratch_prefix()}x.part"
    scratch.mkdir()
    for path in (mine, other, str(scratch / "mask.tif"), target):
        with open(path, "w") as file:
            file.write("x")
    assert parts.part_path(target) != mine
    parts.sweep([target], os.getpid())
    assert listing(tmp_path) == sorted([os.path.basename(other), "out[1].tif"])


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]),
    nodata=st.sampled_from([None, 0.0, 255.0, -9999.0, 65535.0, float("nan"), 0.5]),
    values=st.lists(st.floats(-1e12, 1e12) | st.just(float("nan")) | st.just(float("inf")), min_size=1, max_size=20),
)
def test_stored_numbers_are_in_range_and_never_nodata(dtype, nodata, values):
    array = np.array(values, np.float32)
    stored = to_stored(array, SimpleNamespace(scale=0.5, offset=0.0), dtype, nodata)
    assert stored.dtype == dtype
    assert stored.shape == array.shape
    valid = ~np.isnan(array)
    kind = np.dtype(dtype).kind
    whole = np.iinfo(dtype) if kind in "iu" else None
    holds = nodata is not None and (whole is None or (nodata % 1 == 0 and whole.min <= nodata <= whole.max))
    if holds and not np.isnan(nodata):
        assert (stored[valid] != nodata).all()
        assert (stored[~valid] == nodata).all()
    exact = array[valid].astype(np.float64) / 0.5
    if kind in "iu":
        limits = np.iinfo(dtype)
        exact = np.clip(np.rint(exact), limits.min, limits.max)
    np.testing.assert_allclose(stored[valid].astype(np.float64), exact, rtol=1e-6, atol=1)


def test_stored_numbers_round_trip_exactly():
    numbers = np.arange(1, 65_536, dtype=np.uint16)
    reflectance = (numbers * np.float32(1e-4) - np.float32(0.1)).astype(np.float32)
    np.testing.assert_array_equal(to_stored(reflectance, SENTINEL2, "uint16", 0), numbers)


def test_stored_numbers_round_half_to_even_and_step_off_nodata():
    one = SimpleNamespace(scale=1.0, offset=0.0)
    halves = np.array([0.5, 1.5, 2.5, -0.2, 70_000, np.nan], np.float32)
    np.testing.assert_array_equal(to_stored(halves, one, "uint16", 0), [1, 2, 2, 1, 65_535, 0])
    np.testing.assert_array_equal(to_stored(halves, one, "uint16", 65_535), [0, 2, 2, 0, 65_534, 65_535])
    np.testing.assert_array_equal(to_stored(halves, one, "uint16", None), [0, 2, 2, 0, 65_535, 0])
    np.testing.assert_array_equal(to_stored(halves, one, "float32", None), halves)


def test_the_longest_name_leaves_room_while_it_is_written(like, tmp_path):
    """A name of 255 bytes is a file's right; what is added to it meanwhile must not be the reason to refuse it."""
    target = str(tmp_path / ("\u00e4" * 120 + "x" * 11 + ".tif"))
    assert len(os.fsencode(os.path.basename(target))) == 255
    with RasterWriter(target, like, grid_of(like)) as out:
        out.write(np.zeros((like.count, *like.shape), like.dtype), Window(0, 0, *like.shape))
    assert os.path.exists(target)
    half = parts.part_path(target)
    with open(half, "w") as file:
        file.write("x")
    parts.sweep([target], os.getpid())
    assert listing(tmp_path) == [os.path.basename(target)]


def test_a_disk_that_forbids_writing_is_not_called_full(tmp_path, monkeypatch):
    """Read-only disks show no free space either."""
    monkeypatch.setattr(target_module, "free_bytes", lambda folder: 0)
    for error in (PermissionError(errno.EACCES, "denied"), OSError(errno.EROFS, "read-only")):
        assert "permission denied" in str(target_module.failure("o.tif", str(tmp_path), error))
    assert "is full" in str(target_module.failure("o.tif", str(tmp_path), OSError("write failed")))


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (OSError(errno.ENOSPC, "No space left"), "is full"),
        (RuntimeError("block 3: refused.\nmore"), "(block 3: refused)"),
    ],
)
def test_a_failure_tells_what_went_wrong_first_however_often_it_was_chained(tmp_path, first, says):
    middle, last = RuntimeError("Write failed. See previous exception for details."), OSError("Read or write failed.")
    middle.__cause__, last.__cause__ = first, middle
    assert says in str(target_module.failure("out.tif", str(tmp_path), last))
