"""Radar of many dates becomes one stack: units, pairing, order, dates, orbits, filters, the target's grid."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.errors import Cancelled, InputError
from cloud_removal_plugin.raster.crs import grid_of
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.orbits import direction
from cloud_removal_plugin.raster.radar import RadarReader
from cloud_removal_plugin.raster.windows import Window

GRID = Affine(10, 0, 300000, 0, -10, 4700000)
VV, VH = -10.0, -17.0


def write(path: Path, array: np.ndarray, names=(), transform=GRID, crs="EPSG:32633", nodata=None, **tags: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=array.shape[2], height=array.shape[1], count=len(array), dtype=array.dtype,
        crs=crs, transform=transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(array)
        if names:
            file.descriptions = names
        file.update_tags(**tags)
    return path


def scene(shape: tuple[int, int] = (40, 50), step: float = 0.0, seed: int = 0) -> np.ndarray:
    """dB (2, H, W): VV and VH with a little texture, raised by ``step``."""
    noise = np.random.default_rng(seed).normal(0, 0.5, (2, *shape))
    return (np.array([VV, VH])[:, None, None] + noise + step).astype(np.float32)


@pytest.fixture
def target(tmp_path) -> Path:
    return write(tmp_path / "S2_2024-06-10.tif", np.full((4, 40, 50), 900, np.uint16))


@pytest.fixture
def prepare(do, tmp_path, target):
    """``prepare(*radar, on=target, **settings)``: numbers and band names of the stack."""

    def call(*radar: Path, on: Path | None = target, **settings: object):
        job = Job(
            kind="prepare_radar", input=str(on or ""), output=str(tmp_path / "radar.tif"),
            products=tuple(map(str, radar)), settings=json.dumps(settings),
        )  # fmt: skip
        call.result = do(job)
        call.log = do.log
        with rasterio.open(tmp_path / "radar.tif") as file:
            call.tags = file.tags()
            return file.read(), file.descriptions

    return call


def test_db_goes_through_unchanged(prepare, tmp_path) -> None:
    db = scene()
    found, names = prepare(write(tmp_path / "S1_2024-06-08.tif", db, ("VV", "VH")))
    np.testing.assert_array_equal(found, db)
    assert names == ("VV 2024-06-08", "VH 2024-06-08")
    assert prepare.tags["UNITS"] == "dB"
    assert prepare.tags["ACQUISITION_DATE"] == "2024-06-08"


@pytest.mark.parametrize("order", [("VV", "VH"), ("VH", "VV")])
def test_power_becomes_db_and_vv_comes_first(prepare, tmp_path, order) -> None:
    db = scene()
    power = 10 ** (db / 10)
    path = write(tmp_path / "S1_RTC_2024-06-08_gamma0.tif", power if order[0] == "VV" else power[::-1], order)
    found, _ = prepare(path)
    np.testing.assert_allclose(found, db, atol=1e-4)
    assert prepare.tags["CALIBRATION"] == "gamma0"


def test_amplitude_is_a_choice(prepare, tmp_path) -> None:
    """Amplitude and power cannot be told apart by their numbers, so the analyst can say which."""
    db = scene()
    path = write(tmp_path / "S1_2024-06-08.tif", 10 ** (db / 20), ("VV", "VH"))
    np.testing.assert_allclose(prepare(path, unit="amplitude")[0], db, atol=1e-4)
    np.testing.assert_allclose(prepare(path, unit="power")[0], db / 2, atol=1e-4)


def test_polarisations_in_files_of_their_own(prepare, tmp_path) -> None:
    """As terrain-corrected products come: one GeoTIFF a polarisation, joined by name."""
    db = scene()
    vv = write(tmp_path / "S1A_IW_20240608T165512_DVP_RTC10_G_gpuned_VV.tif", 10 ** (db[:1] / 10), nodata=0)
    vh = write(tmp_path / "S1A_IW_20240608T165512_DVP_RTC10_G_gpuned_VH.tif", 10 ** (db[1:] / 10), nodata=0)
    found, names = prepare(vh, vv)
    np.testing.assert_allclose(found, db, atol=1e-4)
    assert names == ("VV 2024-06-08 ascending", "VH 2024-06-08 ascending")


def test_files_of_one_name_are_told_apart_by_their_products_folders(prepare, tmp_path) -> None:
    """As the Planetary Computer's RTC assets come: iw-vv.rtc.tiff and iw-vh.rtc.tiff, whatever the date."""
    for stamp, step in (("20240604T170601_20240604T170626", 0.0), ("20240610T053001_20240610T053026", 3.0)):
        folder = tmp_path / "s1" / f"S1A_IW_GRDH_1SDV_{stamp}_053716_068661_rtc" / "measurement"
        for name, plane in zip(("vv", "vh"), scene(step=step), strict=True):
            write(folder / f"iw-{name}.rtc.tiff", plane[None])
    found, names = prepare(tmp_path / "s1", pick="all")
    assert names == (
        "VV 2024-06-04 ascending", "VH 2024-06-04 ascending", "VV 2024-06-10 descending", "VH 2024-06-10 descending",
    )  # fmt: skip
    np.testing.assert_allclose(found.mean(axis=(1, 2)), [VV, VH, VV + 3, VH + 3], atol=0.1)


def test_folders_without_a_date_keep_files_of_one_name_apart(prepare, tmp_path) -> None:
    for folder, step in (("first", 0.0), ("second", 3.0)):
        for name, plane in zip(("VV", "VH"), scene(step=step), strict=True):
            write(tmp_path / "s1" / folder / f"{name}.tif", plane[None])
    found, _ = prepare(tmp_path / "s1", pick="all")
    np.testing.assert_allclose(found.mean(axis=(1, 2)), [VV, VH, VV + 3, VH + 3], atol=0.1)


def test_frames_of_one_pass_are_one_acquisition(prepare, tmp_path) -> None:
    """The nearest pass covers the target with two frames; taking one would leave half of it empty."""
    whole = scene((40, 50))
    for seconds, rows in (("10", slice(0, 24)), ("35", slice(18, 40))):
        part = np.full_like(whole, np.nan)
        part[:, rows] = whole[:, rows]
        write(tmp_path / f"S1A_IW_20240610T0530{seconds}_RTC10.tif", part, ("VV", "VH"))
    write(tmp_path / "S1A_IW_20240608T053010_RTC10.tif", scene(step=5), ("VV", "VH"))
    found, names = prepare(*sorted(tmp_path.glob("S1A_*.tif")))
    assert names == ("VV 2024-06-10 descending", "VH 2024-06-10 descending")
    np.testing.assert_array_equal(found, whole)
    assert any("put together with" in text for _, text in prepare.log)


def test_only_backscatter_is_taken_of_a_folder(prepare, tmp_path) -> None:
    """Products bring elevation, incidence angles and pictures along."""
    db = scene()
    name = "S1A_IW_20240608T165512_DVP_RTC10_G_gpuned"
    for index, pol in enumerate(("VV", "VH")):
        write(tmp_path / "rtc" / f"{name}_{pol}.tif", 10 ** (db[index : index + 1] / 10), nodata=0)
    write(tmp_path / "rtc" / f"{name}_dem.tif", np.full((1, 40, 50), 300, np.float32))
    write(tmp_path / "rtc" / f"{name}_rgb.tif", np.full((3, 40, 50), 90, np.uint8))
    found, names = prepare(tmp_path / "rtc")
    np.testing.assert_allclose(found, db, atol=1e-4)
    assert len(names) == 2


def test_nearest_of_each_orbit(prepare, tmp_path) -> None:
    """Of many dates the one nearest to the target's, ascending and descending apart; a folder is as good as files."""
    days = {"20240601T050000": -3.0, "20240607T170000": 1.0, "20240612T050000": 2.0, "20240619T170000": 3.0}
    for stamp, step in days.items():
        write(tmp_path / "s1" / f"S1A_IW_{stamp}.tif", scene(step=step), ("VV", "VH"))
    found, names = prepare(tmp_path / "s1")
    assert names == (
        "VV 2024-06-07 ascending", "VH 2024-06-07 ascending", "VV 2024-06-12 descending", "VH 2024-06-12 descending",
    )  # fmt: skip
    assert found[0].mean() == pytest.approx(VV + 1, abs=0.1)
    assert found[3].mean() == pytest.approx(VH + 2, abs=0.1)
    _, names = prepare(tmp_path / "s1", orbit="descending", date="2024-06-02")
    assert names == ("VV 2024-06-01 descending", "VH 2024-06-01 descending")
    found, names = prepare(tmp_path / "s1", pick="all", orbit="ascending")
    assert names[::2] == ("VV 2024-06-07 ascending", "VV 2024-06-19 ascending")
    assert len(found) == 4


def test_a_far_date_is_told(prepare, tmp_path) -> None:
    prepare(write(tmp_path / "S1_2024-03-01.tif", scene(), ("VV", "VH")))
    assert any("101 days from 2024-06-10" in text for level, text in prepare.log if level == "warning")


def test_the_stack_reads_itself(prepare, tmp_path, target) -> None:
    for day in ("2024-06-08", "2024-06-14"):
        write(tmp_path / "s1" / f"S1_{day}_desc.tif", scene(), ("VV", "VH"))
    prepare(tmp_path / "s1", pick="all")
    with RadarReader(describe(str(tmp_path / "radar.tif")), grid_of(describe(str(target)))) as reader:
        assert [a.day for a in reader.acquisitions] == [date(2024, 6, 8), date(2024, 6, 14)]
        assert reader.unit.kind == "db"
        assert reader.read(Window(0, 0, 40, 50)).shape == (2, 2, 40, 50)


def test_on_the_targets_grid(prepare, tmp_path) -> None:
    """20 m pixels of another origin, in linear power: aligned, and the level kept."""
    coarse = 10 ** (scene((40, 40)) / 10)
    path = write(tmp_path / "S1_2024-06-08.tif", coarse, ("VV", "VH"), Affine(20, 0, 299895, 0, -20, 4700105))
    found, _ = prepare(path)
    assert found.shape == (2, 40, 50)
    assert np.isfinite(found).all()
    assert 10 * np.log10((10 ** (found[0] / 10)).mean()) == pytest.approx(VV, abs=0.2)


def test_half_covered_target(prepare, tmp_path) -> None:
    path = write(tmp_path / "S1_2024-06-08.tif", scene()[:, :, :25].copy(), ("VV", "VH"))
    found, _ = prepare(path)
    assert np.isfinite(found[:, :, :25]).all()
    assert np.isnan(found[:, :, 25:]).all()


@pytest.mark.parametrize("speckle", ["refined_lee", "quegan"])
def test_filters_calm_and_keep_the_level(prepare, tmp_path, speckle) -> None:
    rng = np.random.default_rng(3)
    for number in range(6):
        power = 10 ** (np.array([VV, VH]) / 10)[:, None, None] * rng.gamma(4.4, 1 / 4.4, (2, 300, 310))
        name = f"S1_2024-06-{number + 1:02d}_asc.tif"
        write(tmp_path / "s1" / name, power.astype(np.float32), ("VV", "VH"))
    big = write(tmp_path / "S2_2024-06-06.tif", np.full((1, 300, 310), 900, np.uint16))
    plain, _ = prepare(tmp_path / "s1", on=big)
    assert prepare.tags["SPECKLE_FILTER"] == "none"
    found, _ = prepare(tmp_path / "s1", on=big, speckle=speckle)
    assert prepare.tags["SPECKLE_FILTER"] == speckle
    for calm, rough, level in zip(found, plain, (VV, VH), strict=True):
        assert calm.std() < 0.55 * rough.std()
        assert 10 * np.log10((10 ** (calm / 10)).mean()) == pytest.approx(level, abs=0.1)


def test_filter_does_not_mix_orbits(prepare, tmp_path) -> None:
    """Descending dates, 6 dB brighter, change nothing in the ascending result."""
    for number in range(3):
        write(tmp_path / "s1" / f"S1_2024-06-0{number + 1}_asc.tif", scene(seed=number), ("VV", "VH"))
    alone, _ = prepare(tmp_path / "s1", speckle="quegan", orbit="ascending")
    for number in range(3):
        write(tmp_path / "s1" / f"S1_2024-06-1{number}_desc.tif", scene(step=6, seed=9 + number), ("VV", "VH"))
    both, names = prepare(tmp_path / "s1", speckle="quegan", orbit="ascending")
    assert len(names) == 2
    np.testing.assert_array_equal(alone, both)


def test_without_a_target_the_first_raster_is_the_grid(prepare, tmp_path) -> None:
    found, _ = prepare(write(tmp_path / "S1_2024-06-08.tif", scene((20, 30)), ("VV", "VH")), on=None)
    assert found.shape == (2, 20, 30)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"orbit": "ascending"}, "No ascending acquisition.*descending"),
        ({"speckle": "quegan"}, "has 1 acquisition of the descending orbit; it needs 3. Give more dates"),
        ({"unit": "power"}, "hold no data on the target.*or UNIT auto"),
        ({"date": "June"}, "is not a date"),
        ({"speckle": "median"}, "'median' is none of"),
        ({"looks": 0}, "'looks' must be"),
        ({"colour": "red"}, "settings of the job"),
    ],
)
def test_refused_in_a_sentence(prepare, tmp_path, settings, sentence) -> None:
    path = write(tmp_path / "S1_2024-06-08_desc.tif", scene(), ("VV", "VH"))
    with pytest.raises(InputError, match=sentence):
        prepare(path, **settings)
    assert not (tmp_path / "radar.tif").exists()


@pytest.mark.parametrize("unit", ["db", "amplitude"])
def test_a_chosen_unit_keeps_what_is_known_of_such_integers(prepare, tmp_path, unit) -> None:
    """Hundredths of a dB are dB, digital numbers are amplitudes: choosing the unit that is found changes nothing."""
    db = scene().astype(np.float64)
    stored = np.round(db * 100).astype(np.int16) if unit == "db" else np.round(10 ** ((db + 83) / 20)).astype(np.uint16)
    path = write(tmp_path / "S1_2024-06-08.tif", stored, ("VV", "VH"))
    found, _ = prepare(path, unit=unit)
    np.testing.assert_allclose(found, db, atol=0.02)


def test_unusable_rasters_are_refused(prepare, tmp_path) -> None:
    points = [
        GroundControlPoint(r, c, 300000 + 10 * c, 4700000 - 10 * r) for r, c in ((0, 0), (0, 50), (40, 0), (40, 50))
    ]
    raw = tmp_path / "s1a-iw-grd-vv-20240608t165512.tiff"
    with rasterio.open(raw, "w", driver="GTiff", width=50, height=40, count=1, dtype="uint16") as file:
        file.write(np.full((1, 40, 50), 200, np.uint16))
        file.gcps = (points, rasterio.crs.CRS.from_epsg(32633))
    with pytest.raises(InputError, match="radar geometry, uncalibrated"):
        prepare(raw)
    undated = write(tmp_path / "radar_a.tif", scene(), ("VV", "VH"))
    dated = write(tmp_path / "S1_2024-06-08.tif", scene(), ("VV", "VH"))
    with pytest.raises(InputError, match="nearest date cannot be picked"):
        prepare(undated, dated)
    empty = write(tmp_path / "S1_2024-06-09.tif", np.zeros((2, 40, 50), np.float32), ("VV", "VH"))
    with pytest.raises(InputError, match="hold no data on the target"):
        prepare(empty)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no raster"):
        prepare(tmp_path / "nothing")
    assert not list(tmp_path.glob(".*"))


def test_cancel_leaves_nothing(do, tmp_path) -> None:
    path = write(tmp_path / "in" / "S1_2024-06-08.tif", scene(), ("VV", "VH"))
    job = Job(kind="prepare_radar", input="", output=str(tmp_path / "radar.tif"), products=(str(path),))
    with pytest.raises(Cancelled):
        do(job, cancelled=lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("name", "tags", "wanted"),
    [
        ("radar.tif", {"ORBIT_DIRECTION": "ASCENDING"}, "ascending"),
        ("radar.tif", {"sat:orbit_state": "descending"}, "descending"),
        ("S1_DES_2024.tif", {}, "descending"),
        ("S1A_IW_GRDH_1SDV_20240608T165512_x.tif", {}, "ascending"),
        ("S1A_IW_GRDH_1SDV_20240608T051012_x.tif", {}, "descending"),
        ("S1_2024-06-08.tif", {}, ""),
    ],
)
def test_direction_of_the_orbit(tmp_path, name, tags, wanted) -> None:
    assert direction(describe(str(write(tmp_path / name, scene(), ("VV", "VH"), **tags))))[0] == wanted
