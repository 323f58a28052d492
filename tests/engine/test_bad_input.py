"""What cannot work is one sentence that names the layer and the cure, before anything is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine, from_origin

from cloud_removal_plugin.errors import CloudRemovalError, DateError, GridError, InputError, OutputError

SHAPE = (96, 80)


def refused(do, job, tmp_path, match: str, kind: type = CloudRemovalError) -> None:
    """The job is refused with one sentence, and the folder holds what it held."""
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(kind, match=match) as caught:
        do(job)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("key", ["input", "radar", "cloud_mask"])
def test_missing_file(key, make_series, make_job, do, tmp_path):
    refused(do, make_job(make_series(), **{key: str(tmp_path / "gone.tif")}), tmp_path, "gone.tif", InputError)


def test_file_that_is_no_raster(make_series, make_job, do, tmp_path):
    (tmp_path / "notes.tif").write_text("not a raster", encoding="utf-8")
    refused(do, make_job(make_series(), input=str(tmp_path / "notes.tif")), tmp_path, "notes.tif", InputError)


def test_no_overlap(make_series, make_job, do, tmp_path, write_image):
    elsewhere = from_origin(100_000, 1_000_000, 10, 10)
    far = write_image(np.ones((4, *SHAPE), np.uint16), "far_2024-06-03.tif", transform=elsewhere)
    job = make_job(make_series(), other_dates=(str(far),), other_masks=())
    refused(do, job, tmp_path, "far_2024-06-03.tif", GridError)


def test_one_layer_without_crs(make_series, make_job, do, tmp_path, write_image):
    bare = write_image(np.ones((4, *SHAPE), np.uint16), "bare_2024-06-03.tif", crs=None)
    job = make_job(make_series(), other_dates=(str(bare),), other_masks=())
    refused(do, job, tmp_path, "coordinate reference system", GridError)


def test_rotated_geotransform(make_series, make_job, do, tmp_path, write_image):
    turned = write_image(
        np.ones((4, *SHAPE), np.uint16), "turned.tif", transform=Affine(10, 2, 600_000, 2, -10, 5_650_000)
    )
    refused(do, make_job(make_series(), input=str(turned)), tmp_path, "rotated", CloudRemovalError)


def test_ground_control_points_are_no_grid(make_series, make_job, do, tmp_path):
    """What is written on the pixels of such a layer would be placed nowhere."""
    raw = tmp_path / "raw_2024-06-10.tif"
    points = [GroundControlPoint(r, c, 600_000 + 10 * c, 5_650_000 - 10 * r) for r in (0, 96) for c in (0, 80)]
    with rasterio.open(raw, "w", driver="GTiff", width=80, height=96, count=4, dtype="uint16") as file:
        file.write(np.full((4, *SHAPE), 900, np.uint16))
        file.gcps = (points, rasterio.crs.CRS.from_epsg(32632))
    job = make_job(make_series(), input=str(raw), other_dates=(), other_masks=(), cloud_mask="")
    refused(do, job, tmp_path, "raw_2024-06-10.tif.*ground control points.*Warp", GridError)


def test_mask_of_another_place(make_series, make_job, do, tmp_path, write_image):
    mask = write_image(np.ones(SHAPE, np.uint8), "elsewhere.tif", transform=from_origin(0, 1_000_000, 10, 10))
    refused(do, make_job(make_series(), cloud_mask=str(mask)), tmp_path, "elsewhere.tif", GridError)


@pytest.mark.parametrize(
    ("dates", "match"),
    [
        ("2024-06-10;yesterday;2024-06-20;2024-07-05", "yesterday"),
        ("2024-06-10;2024-06-01", "2"),
        ("2024-06-10;2024-06-01;2024-06-01;2024-07-05", "2024-06-01"),
    ],
)
def test_dates_that_do_not_fit(dates, match, make_series, make_job, do, tmp_path):
    refused(do, make_job(make_series(), dates=dates), tmp_path, match, DateError)


def test_eight_bit_picture(make_series, make_job, do, tmp_path, write_image):
    picture = write_image(np.full((3, *SHAPE), 90, np.uint8), "picture_2024-06-10.tif", photometric="RGB")
    refused(do, make_job(make_series(), input=str(picture)), tmp_path, "picture_2024-06-10.tif", InputError)


def test_all_nodata(make_series, make_job, do, tmp_path, write_image):
    empty = write_image(np.zeros((4, *SHAPE), np.uint16), "empty_2024-06-10.tif", nodata=0)
    series = replace(make_series(), target=empty)
    refused(do, make_job(series, cloud_mask=""), tmp_path, "no data", InputError)


def test_extent_without_area_or_outside(make_series, make_job, do, tmp_path):
    series = make_series()
    refused(do, make_job(series, extent=(600_100, 5_649_500, 600_100, 5_649_600)), tmp_path, "area", GridError)
    refused(do, make_job(series, extent=(0, 0, 10, 10)), tmp_path, "does not touch", GridError)


def test_complex_radar(make_series, make_job, do, tmp_path, write_image):
    radar = write_image(np.ones((1, *SHAPE), np.complex64), "slc.tif")
    refused(do, make_job(make_series(), radar=str(radar)), tmp_path, "complex", InputError)


def test_radar_with_one_band_is_used_and_said(make_series, make_job, do, write_image):
    rng = np.random.default_rng(0)
    radar = write_image(rng.normal(-11, 2, (1, *SHAPE)).astype(np.float32), "s1_vv.tif")
    do(make_job(make_series(), radar=str(radar)))
    assert any("s1_vv.tif" in text for _, text in do.log)


def test_output_equal_to_an_input(make_series, make_job, do, tmp_path):
    series = make_series()
    before = series.target.read_bytes()
    refused(do, make_job(series, output=str(series.target)), tmp_path, "another file name", OutputError)
    refused(do, make_job(series, clouds=str(series.mask)), tmp_path, "another file name", OutputError)
    assert series.target.read_bytes() == before


def test_two_outputs_of_one_name(make_series, make_job, do, tmp_path):
    refused(do, make_job(make_series(), clouds=str(tmp_path / "out.tif")), tmp_path, "same file", OutputError)
    (tmp_path / "sub").mkdir()
    again = str(tmp_path / "sub" / ".." / "out.tif")
    refused(do, make_job(make_series(), clouds=again), tmp_path, "same file", OutputError)


def test_folder_of_the_output_is_missing(make_series, make_job, do, tmp_path):
    job = make_job(make_series(), output=str(tmp_path / "no" / "out.tif"))
    refused(do, job, tmp_path, "does not exist", OutputError)


def test_disk_full_while_writing_keeps_the_old_result(make_series, make_job, do, tmp_path, monkeypatch):
    series = make_series()
    job = make_job(series)
    do(job)
    old = (tmp_path / "out.tif").read_bytes()

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rasterio.io.DatasetWriter, "write", full)
    refused(do, job, tmp_path, "full", OutputError)
    assert (tmp_path / "out.tif").read_bytes() == old


def test_input_named_again_as_another_date(make_series, make_job, do, tmp_path):
    series = make_series()
    job = make_job(series, other_dates=(str(series.target), str(series.others[0])), other_masks=())
    refused(do, job, tmp_path, "also one of the other dates", InputError)
    (tmp_path / "link_2024-06-11.tif").symlink_to(series.target)
    job = make_job(series, other_dates=(str(tmp_path / "link_2024-06-11.tif"),), other_masks=())
    refused(do, job, tmp_path, "also one of the other dates", InputError)
    twice = (str(series.others[0]), str(series.others[0].parent / "." / series.others[0].name))
    refused(do, make_job(series, other_dates=twice, other_masks=()), tmp_path, "twice among the other", InputError)


def test_unknown_method(make_series, make_job, do, tmp_path):
    refused(do, make_job(make_series(), method="magic"), tmp_path, "magic", InputError)
