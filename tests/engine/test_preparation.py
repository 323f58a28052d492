"""Products become stacks: numbers, offsets, tags, clouds, crops, mosaics; and what cannot be prepared says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from cloud_removal_plugin.engine import preparation
from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.errors import Cancelled, CloudRemovalError, GridError, InputError
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.radiometry import recognise
from cloud_removal_plugin.raster.sun import sun_of
from cloud_removal_plugin.raster.windows import cores
from tests.raster.product_trees import BANDS, make_hls, make_landsat, make_planet, make_safe, make_stac, on_grid, smooth
from tests.raster.test_cubes import make_cube

ORIGIN = (300000.0, 4700000.0)


@pytest.fixture
def prepare(do, tmp_path):
    """``prepare(*products, clouds=False, extent=None, **settings)``: path of the stack."""

    def call(*products: Path, clouds: bool = False, extent=None, name: str = "stack.tif", **settings: object) -> Path:
        layer = str(tmp_path / "clouds.tif") if clouds else ""
        job = Job(
            kind="prepare", input="", output=str(tmp_path / name), clouds=layer,
            products=tuple(map(str, products)), extent=extent, settings=json.dumps(settings),
        )  # fmt: skip
        call.result = do(job)
        call.log = do.log
        return tmp_path / name

    return call


def read(path: Path) -> tuple[np.ndarray, dict, tuple[str, ...]]:
    """Numbers, profile with tags, band names."""
    with rasterio.open(path) as file:
        return (
            file.read(),
            {**file.profile, "tags": file.tags(), "scales": file.scales, "offsets": file.offsets},
            file.descriptions,
        )


def truth(band: str, origin=ORIGIN, edge_m: float = 1200.0) -> np.ndarray:
    x, y, _ = on_grid(origin, 10, edge_m)
    return smooth(band, x, y)


@pytest.mark.parametrize(
    ("level", "baseline"), [("L2A", "05.11"), ("L2A", "02.14"), ("L1C", "05.00"), ("L1C", "02.06")]
)
def test_a_stack_of_10_m(prepare, tmp_path, level, baseline) -> None:
    """Every band on 10 m pixels in reflectance, whatever its baseline and native resolution."""
    numbers, profile, names = read(prepare(make_safe(tmp_path, level=level, baseline=baseline)))
    assert names == tuple(b for b in BANDS if level == "L1C" or b != "B10")
    assert (profile["width"], profile["height"], profile["dtype"], profile["nodata"]) == (120, 120, "uint16", 0)
    assert (set(profile["scales"]), set(profile["offsets"])) == ({1e-4}, {0.0})
    for plane, name in zip(numbers, names, strict=True):
        inner = np.s_[6:-6, 6:-6]  # beyond the rim, where coarser pixels end, bilinear resampling of a plane is exact
        np.testing.assert_allclose(plane[inner] * 1e-4, truth(name)[inner], atol=0.6e-4)


def test_the_stack_reads_itself(prepare, tmp_path) -> None:
    """Bands, level, date, sun, wavelengths, and that no offset is left, are found again from the file alone."""
    path = prepare(make_safe(tmp_path))
    info = describe(str(path))
    found = recognise(info)
    assert (found.sensor, found.level, found.scale, found.offset) == ("sentinel2", "L2A", 1e-4, 0.0)
    assert found.bands[:4] == ("coastal", "blue", "green", "red")
    assert not found.warnings
    assert info.wavelengths_nm[1] == 492.7
    sun = sun_of(info)
    assert (sun.azimuth, sun.elevation) == (143.25, 65.25)
    assert info.tags["ACQUISITION_DATE"] == "2024-06-10T10:00:31Z"
    assert info.tags["PROCESSING_BASELINE"] == "05.11"
    recorded = prepare(make_safe(tmp_path / "again"), numbers="recorded", name="recorded.tif")
    again = recognise(describe(str(recorded)))
    assert (again.scale, again.offset) == pytest.approx((1e-4, -0.1))


def test_recorded_offset_leaves_the_numbers(prepare, tmp_path) -> None:
    """With the offset recorded, bands of 10 m are the product's own numbers, bit for bit."""
    root = make_safe(tmp_path)
    numbers, profile, names = read(prepare(root, numbers="recorded"))
    with rasterio.open(next(root.rglob("*_B03_10m.jp2"))) as band:
        np.testing.assert_array_equal(numbers[names.index("B03")], band.read(1))
    assert set(profile["offsets"]) == {-0.1}
    assert profile["tags"]["BOA_ADD_OFFSET"] == "-1000"


def test_a_typed_offset_is_used(do, tmp_path) -> None:
    """Band files of which nothing tells whether +1000 is inside: what the analyst types counts, and is no doubt."""
    names, numbers = {"blue": "B02", "green": "B03"}, {"blue": 1500, "green": 1700}
    folder = make_stac(tmp_path / "in", names, numbers, None, prefix="T33TUG_20230714T100559_")
    job = Job("prepare", "", str(tmp_path / "stack.tif"), products=(str(folder),))
    do(job)
    assert any("+1000" in text for level, text in do.log if level == "warning")
    found, _, _ = read(tmp_path / "stack.tif")
    do(replace(job, reflectance_offset=0.0))
    assert not any(level == "warning" for level, _ in do.log)
    typed, _, _ = read(tmp_path / "stack.tif")
    np.testing.assert_array_equal(typed, found + 1000)
    with pytest.raises(InputError, match="REFLECTANCE_OFFSET -1000 is not possible"):
        do(replace(job, reflectance_offset=-1000.0))


def test_bands_are_chosen_in_the_order_asked_for(prepare, tmp_path) -> None:
    root = make_safe(tmp_path)
    assert read(prepare(root, bands="B08, red;b2"))[2] == ("B08", "B04", "B02")
    with pytest.raises(InputError, match="lacks the band 'B10'"):
        prepare(root, bands="B02,B10")
    with pytest.raises(InputError, match="a band twice"):
        prepare(root, bands="B02,blue")


def test_holes_stay_holes_and_dark_is_no_hole(prepare, tmp_path) -> None:
    """0 means no data in the stack; what is dark or below zero becomes 1."""

    def dark(band: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.full(x.shape, -0.02)

    numbers, _, _ = read(prepare(make_safe(tmp_path, values=dark, hole=True), bands="B02,B11"))
    assert (numbers[0, :30, :30] == 0).all()
    assert (numbers[0, 30:] == 1).all()
    assert (numbers[1, :29, :29] == 0).all()
    assert (numbers[1, 32:] == 1).all()


def test_crop_in_any_crs(prepare, tmp_path) -> None:
    root = make_safe(tmp_path)
    box = (300205.0, 4699005.0, 300595.0, 4699495.0)
    numbers, _, _ = read(prepare(root, bands="B03", extent=box))
    assert numbers.shape == (1, 50, 40)  # snapped outward to whole pixels
    np.testing.assert_allclose(numbers[0] * 1e-4, truth("B03")[50:100, 20:60], atol=0.6e-4)
    degrees = transform_bounds("EPSG:32633", "EPSG:4326", *box)
    turned, _, _ = read(prepare(root, bands="B03", extent=degrees, extent_crs="EPSG:4326"))
    assert turned.shape[1] >= 50
    assert turned.shape[2] >= 40
    with pytest.raises(GridError, match=r"does not touch|does not meet"):
        prepare(root, extent=(0, 0, 10, 10))


def test_other_pixel_sizes(prepare, tmp_path) -> None:
    numbers, profile, _ = read(prepare(make_safe(tmp_path), bands="B04,B8A", pixel=20.0))
    assert numbers.shape == (2, 60, 60)
    assert profile["transform"].a == 20
    x, y, _ = on_grid(ORIGIN, 20, 1200)
    for plane, name in zip(numbers, ("B04", "B8A"), strict=True):
        np.testing.assert_allclose(plane[1:-1, 1:-1] * 1e-4, smooth(name, x, y)[1:-1, 1:-1], atol=1e-4)


def test_granules_of_a_pass_with_mixed_baselines(prepare, tmp_path) -> None:
    """Two tiles that overlap, one of them reprocessed: each by its own offset, without a seam."""
    west = make_safe(tmp_path / "west", tile="33TUG", baseline="05.11")
    east = make_safe(tmp_path / "east", tile="33TVG", baseline="02.14", origin=(301000.0, 4700000.0))
    numbers, profile, _ = read(prepare(west, east, bands="B02,B11", clouds=True))
    assert numbers.shape == (2, 120, 220)
    x, y = np.meshgrid(300000 + 10 * (np.arange(220) + 0.5), 4700000 - 10 * (np.arange(120) + 0.5))
    np.testing.assert_allclose(numbers[0] * 1e-4, smooth("B02", x, y), atol=0.6e-4)
    np.testing.assert_allclose(numbers[1, 2:-2, 2:-2] * 1e-4, smooth("B11", x, y)[2:-2, 2:-2], atol=1.6e-4)
    assert profile["tags"]["TILES"] == "33TUG 33TVG"
    assert profile["tags"]["PROCESSING_BASELINE"] == "02.14 05.11"
    assert read(tmp_path / "clouds.tif")[0].shape == (3, 120, 220)


def test_newest_of_a_tile_that_came_twice(prepare, tmp_path) -> None:
    make_safe(tmp_path / "a", baseline="02.14", values=lambda b, x, y: np.full(x.shape, 0.3))
    make_safe(tmp_path / "b", baseline="05.11")
    numbers, _, _ = read(prepare(tmp_path / "a", tmp_path / "b", bands="B03"))
    np.testing.assert_allclose(numbers[0] * 1e-4, truth("B03"), atol=0.6e-4)
    assert any("is there twice" in text for level, text in prepare.log if level == "warning")


def test_clouds_of_a_level_2_product(prepare, tmp_path) -> None:
    scl = np.full((60, 60), 4, np.uint8)
    scl[10:20, 10:20], scl[30:35, 10:20], scl[40:45], scl[50:] = 9, 3, 11, 0
    prepare(make_safe(tmp_path, scl=scl), bands="B03", clouds=True)
    planes, profile, names = read(tmp_path / "clouds.tif")
    assert names == ("clouds", "SCL", "cloud_probability")
    assert profile["nodata"] == 255
    on_10_m = scl.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(planes[1], on_10_m)
    expected = np.select([on_10_m == 9, on_10_m == 3, on_10_m == 0], [1, 2, 255], 0)
    np.testing.assert_array_equal(planes[0], expected)
    np.testing.assert_array_equal(planes[2], np.where(on_10_m == 9, 90, 3))


@pytest.mark.parametrize(("baseline", "cloudy"), [("02.06", {(0, 0)}), ("05.00", {(0, 0), (-1, -1)})])
def test_clouds_of_a_level_1_product(prepare, tmp_path, baseline, cloudy) -> None:
    """Polygons before baseline 04.00, a raster of opaque, cirrus and snow after; both cover 300 m here."""
    prepare(make_safe(tmp_path, level="L1C", baseline=baseline), bands="B03", clouds=True)
    planes, _, names = read(tmp_path / "clouds.tif")
    assert names == ("clouds",)
    corners = {corner for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if planes[0][corner] == 1}
    assert corners == cloudy
    assert (planes[0] == 1).sum() == 900 * len(cloudy)
    assert planes[0].max() == 1


def test_zip(prepare, tmp_path) -> None:
    make_safe(tmp_path / "hub", level="L1C", baseline="05.00")
    archive = shutil.make_archive(str(tmp_path / "product"), "zip", tmp_path / "hub")
    numbers, _, _ = read(prepare(Path(archive), bands="B02,B10", clouds=True))
    np.testing.assert_allclose(numbers[0] * 1e-4, truth("B02"), atol=0.6e-4)
    assert (read(tmp_path / "clouds.tif")[0] == 1).any()


@pytest.mark.parametrize(
    ("make", "names", "values"),
    [
        (make_hls, ("B04", "B8A"), (0.13, 0.18)),
        (make_landsat, ("SR_B4", "SR_B5"), (0.3, 0.35)),
        (make_planet, ("red", "nir08"), (0.2, 0.25)),
    ],
)
def test_other_sensors(prepare, tmp_path, make, names, values) -> None:
    """HLS, Landsat and PlanetScope go the same way; the first row is fill, a cloud lies at row and column 5 to 7."""
    numbers, profile, found = read(prepare(make(tmp_path / "in"), bands=",".join(names), clouds=True))
    assert found == names
    assert (numbers[:, 0] == 0).all()
    np.testing.assert_allclose(numbers[:, 10, 10] * 1e-4, values, atol=0.6e-4)
    clouds = read(tmp_path / "clouds.tif")[0][0]
    assert (clouds[5:8, 5:8] == 1).all()
    assert (clouds == 1).sum() == 9
    again = recognise(describe(str(tmp_path / "stack.tif")))
    assert again.bands == ("red", "nir08")
    assert (again.scale, again.offset) == (1e-4, 0.0)
    assert float(profile["tags"]["SUN_ELEVATION"]) > 50


def test_the_only_near_infrared_is_nir(prepare, tmp_path) -> None:
    """Landsat's is nir08 by role; whoever asks for nir means it. What is not known of a product is not said."""
    product = make_landsat(tmp_path / "in", 5)
    assert read(prepare(product, bands="red,NIR"))[2] == ("SR_B3", "SR_B4")
    assert not any("not told" in text for _, text in prepare.log)
    with pytest.raises(InputError, match=r"lacks the band 'rededge1'. It has SR_B1 \(blue\), SR_B2 \(green\)"):
        prepare(product, bands="red,rededge1")
    with pytest.raises(InputError, match="names a band twice"):
        prepare(product, bands="nir,nir08")


def test_products_of_several_kinds_and_days_are_told_by_their_dates(prepare, tmp_path) -> None:
    make_hls(tmp_path / "in")
    make_hls(tmp_path / "in", "L30", "2023155T170000")
    with pytest.raises(InputError, match=r"2 acquisitions .2023-06-02 HLS S30 v2.0, 2023-06-04 HLS L30.*Choose a DATE"):
        prepare(tmp_path / "in")
    assert read(prepare(tmp_path / "in", date="2023-06-04", bands="nir"))[2] == ("B05",)


def test_a_season_of_products_is_not_listed_whole(prepare, tmp_path) -> None:
    for day in range(10, 30):
        make_hls(tmp_path / "in", stamp=f"20230{day}T170851")
    with pytest.raises(InputError, match=r"20 acquisitions \(2023-01-10, .*, 2023-01-21 and 8 more\)"):
        prepare(tmp_path / "in")


def test_missing_bands_are_named(prepare, tmp_path) -> None:
    root = make_safe(tmp_path, leave_out=("B05", "B11"))
    with pytest.raises(InputError, match="lacks the bands B05, B11"):
        prepare(root)
    assert read(prepare(root, bands="B04"))[2] == ("B04",)


@pytest.mark.parametrize("keep", [0.4, 0.97])
def test_cut_jp2_is_refused_before_anything_is_written(prepare, tmp_path, keep) -> None:
    rng = np.random.default_rng(0)
    root = make_safe(tmp_path, values=lambda b, x, y: rng.uniform(0.05, 0.4, x.shape))
    band = next(root.rglob("*_B08_10m.jp2"))
    whole = band.read_bytes()
    band.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match=r"B08_10m.jp2.*(is cut|cannot be read)"):
        prepare(root, clouds=True)
    assert not (tmp_path / "stack.tif").exists()
    assert not (tmp_path / "clouds.tif").exists()
    assert not list(tmp_path.glob(".*"))


def _two(tmp_path: Path, **second: object) -> tuple[Path, Path]:
    return make_safe(tmp_path / "a"), make_safe(tmp_path / "b", **{"tile": "33TVG", **second})


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ({"start": "2024-06-15T10:00:31"}, "2 acquisitions .*2024-06-10 orbit 122, 2024-06-15.*Choose a DATE"),
        ({"level": "L1C"}, "several processing levels \\(L1C, L2A\\)"),
        ({"epsg": 32632, "tile": "32TQM"}, "tile 32TQM and tile 33TUG lie in different coordinate reference systems"),
    ],
)
def test_what_does_not_go_together_is_refused(prepare, tmp_path, second, sentence) -> None:
    with pytest.raises(CloudRemovalError, match=sentence):
        prepare(*_two(tmp_path, **second), bands="B03")
    assert not (tmp_path / "stack.tif").exists()


def test_a_date_is_chosen(prepare, tmp_path) -> None:
    both = _two(tmp_path, start="2024-06-15T10:00:31")
    assert read(prepare(*both, bands="B03", date="2024-06-15"))[1]["tags"]["TILES"] == "33TVG"
    with pytest.raises(InputError, match="No product of 2024-07-01"):
        prepare(*both, date="2024-07-01")
    with pytest.raises(InputError, match="is not a date"):
        prepare(*both, date="June")


def test_other_inputs_are_refused(prepare, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no product that is known"):
        prepare(tmp_path / "empty")
    with pytest.raises(InputError, match="settings of the job"):
        prepare(make_safe(tmp_path), colour="red")
    with pytest.raises(InputError, match="'numbers' is"):
        prepare(tmp_path, numbers="doubled")
    bare = make_hls(tmp_path / "bare")
    next(bare.glob("*.Fmask.tif")).unlink()
    with pytest.raises(InputError, match="without a quality layer"):
        prepare(bare, clouds=True)


def test_empty_extent_writes_nothing(prepare, tmp_path) -> None:
    root = make_safe(tmp_path, hole=True)
    with pytest.raises(InputError, match="no data in this extent"):
        prepare(root, bands="B03", extent=(300000.0, 4699800.0, 300200.0, 4700000.0))
    assert not (tmp_path / "stack.tif").exists()


def test_description_is_json(do, tmp_path) -> None:
    make_safe(tmp_path / "in", leave_out=("B09",))
    (tmp_path / "in" / "broken.zip").write_bytes(b"PK")
    result = do(Job(kind="describe", input="", output="", products=(str(tmp_path / "in"),)))
    (found,) = json.loads(result.report)
    (product,) = found["products"]
    assert product["missing_bands"] == ["B09"]
    assert "It lacks the bands B09." in product["doubts"]
    assert [band["role"] for band in product["bands"]][:2] == ["coastal", "blue"]
    assert "broken.zip" in found["problems"][0]
    hls, safe = make_hls(tmp_path / "hub" / "hls"), make_safe(tmp_path / "hub" / "safe")
    (found,) = json.loads(do(Job("describe", "", "", products=(str(tmp_path / "hub"),))).report)
    assert {product["path"] for product in found["products"]} == {str(hls), str(safe)}
    with pytest.raises(InputError, match="names no product"):
        Job(kind="describe", input="", output="")


def test_a_date_of_a_cube(prepare, tmp_path) -> None:
    cube = make_cube(tmp_path / "cube.nc")
    numbers, profile, names = read(prepare(cube, date="2022-11-14", clouds=True))
    assert names == ("B02", "B04", "B8A")
    assert numbers[:, 5, 5].tolist() == [310, 410, 510]
    assert numbers[:, 0, 0].tolist() == [0, 0, 0]
    assert tuple(profile["transform"])[:6] == (10, 0, 300000, 0, -10, 4700000)
    assert (read(tmp_path / "clouds.tif")[0][0, 5:9, 5:9] == 1).all()
    with pytest.raises(InputError, match="3 acquisitions"):
        prepare(cube)


@pytest.mark.parametrize("after", [0, 3, 6])
def test_cancel_leaves_nothing(do, tmp_path, after) -> None:
    root = make_safe(tmp_path / "in")
    asked = iter(range(100))
    job = Job(
        kind="prepare", input="", output=str(tmp_path / "stack.tif"), clouds=str(tmp_path / "clouds.tif"),
        products=(str(root),),
    )  # fmt: skip
    with pytest.raises(Cancelled):
        do(job, cancelled=lambda: next(asked) >= after)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_windows_do_not_show(prepare, tmp_path, monkeypatch) -> None:
    """Native, finer and coarser bands and the clouds are the same however the scene is cut."""
    rng = np.random.default_rng(1)
    scl = rng.choice([4, 9, 3, 5], (60, 60)).astype(np.uint8)
    root = make_safe(tmp_path / "in", scl=scl, hole=True, values=lambda b, x, y: rng.uniform(0.05, 0.6, x.shape))
    whole, _, _ = read(prepare(root, bands="B02,B11,B01", clouds=True))
    masks, _, _ = read(tmp_path / "clouds.tif")
    monkeypatch.setattr(preparation, "CORE_PX", 48)
    monkeypatch.setattr(preparation, "cores", lambda window, size: cores(window, size, 8))
    parts, _, _ = read(prepare(root, bands="B02,B11,B01", clouds=True))
    np.testing.assert_array_equal(parts, whole)
    np.testing.assert_array_equal(read(tmp_path / "clouds.tif")[0], masks)
