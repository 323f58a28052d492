"""Products are recognised from their layout, names, metadata and numbers, and doubts are told."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.raster.findings import look
from tests.raster.product_trees import (
    BANDS,
    make_hls,
    make_landsat,
    make_planet,
    make_safe,
    make_stac,
    write_raster,
)

EARTH_SEARCH = {name: name for name in ("blue", "green", "red", "nir", "swir16", "rededge2", "scl")}
APPLIED = {"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}
COMPUTER = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "swir16": "B11", "rededge2": "B06", "scl": "SCL"}
DARK = {"blue": 300, "green": 400, "red": 300, "nir": 2500, "swir16": 1200, "rededge2": 1500, "scl": 0}
RAISED = {name: value + 1000 for name, value in DARK.items()}


def only(path: Path):
    found = look(str(path))
    assert not found.problems, found.problems
    assert len(found.deliveries) == 1
    return found.deliveries[0]


@pytest.mark.parametrize(
    ("level", "baseline", "offset", "quality", "bands"),
    [
        ("L2A", "05.11", -0.1, ["scl", "classi", "percent"], 12),
        ("L2A", "02.14", 0.0, ["scl", "percent", "gml"], 12),
        ("L1C", "05.00", -0.1, ["classi"], 13),
        ("L1C", "02.06", 0.0, ["gml"], 13),
    ],
)
def test_safe(tmp_path, level, baseline, offset, quality, bands) -> None:
    root = make_safe(tmp_path, level=level, baseline=baseline)
    found = only(tmp_path)
    assert (found.sensor, found.level, found.baseline, found.tile) == ("sentinel2", level, baseline, "33TUG")
    assert (found.platform, found.orbit, found.name, found.path) == ("Sentinel-2A", "122", root.name, str(root))
    assert found.when == datetime(2024, 6, 10, 10, 0, 31, tzinfo=timezone.utc)
    assert (found.sun.azimuth, found.sun.elevation) == (143.25, 65.25)
    assert [layer.kind for layer in found.quality] == quality
    assert [plane.name for plane in found.planes] == [b for b in BANDS if bands == 13 or b != "B10"]
    assert {plane.offset for plane in found.planes} == {offset}
    assert {plane.scale for plane in found.planes} == {1e-4}
    assert found.planes[1].wavelength_nm == 492.7  # the metadata's own
    assert not found.missing
    assert not found.doubts


def test_safe_from_anything_that_belongs_to_it(tmp_path) -> None:
    """The folder above, the SAFE, its metadata, a band inside it, a zip of it, a folder that holds the zip."""
    root = make_safe(tmp_path / "hub")
    archive = shutil.make_archive(str(tmp_path / "zips" / "product"), "zip", tmp_path / "hub")
    band = next(root.rglob("*_B03_10m.jp2"))
    for path in (tmp_path / "hub", root, root / "MTD_MSIL2A.xml", band, Path(archive), tmp_path / "zips"):
        found = only(path)
        assert found.name == root.name, path
        assert len(found.planes) == 12, path
    with rasterio.open(only(Path(archive)).planes[2].path) as inside, rasterio.open(band) as plain:
        np.testing.assert_array_equal(inside.read(), plain.read())


def test_safe_of_old_layout_holds_several_granules(tmp_path) -> None:
    """Before December 2016: long names, one product of several tiles."""
    root = tmp_path / "S2A_OPER_PRD_MSIL1C_PDMC_20160105T165433_R122_V20160105T100031_20160105T100031.SAFE"
    for tile, x in (("33TTG", 300000), ("33TUG", 301200)):
        name = f"S2A_OPER_MSI_L1C_TL_SGS__20160105T150000_A002829_T{tile}"
        granule = root / "GRANULE" / f"{name}_N02.01"
        for band in BANDS:
            path = granule / "IMG_DATA" / f"{name}_{band}.jp2"
            write_raster(path, np.full((20, 20), 900, np.uint16), Affine(60, 0, x, 0, -60, 4700000))
        (granule / f"S2A_OPER_MTD_L1C_TL_SGS__20160105T150000_A002829_T{tile}.xml").write_text(
            "<a><Mean_Sun_Angle><ZENITH_ANGLE>66.0</ZENITH_ANGLE><AZIMUTH_ANGLE>165.0</AZIMUTH_ANGLE></Mean_Sun_Angle></a>"
        )
    (root / "S2A_OPER_MTD_SAFL1C_PDMC_20160105T165433_R122_V20160105T100031_20160105T100031.xml").write_text(
        "<a><PROCESSING_BASELINE>02.01</PROCESSING_BASELINE><QUANTIFICATION_VALUE>10000</QUANTIFICATION_VALUE>"
        "<DATATAKE_SENSING_START>2016-01-05T10:00:31.000Z</DATATAKE_SENSING_START></a>"
    )
    found = look(str(tmp_path))
    assert not found.problems
    assert [delivery.tile for delivery in found.deliveries] == ["33TTG", "33TUG"]
    assert all(len(delivery.planes) == 13 and delivery.level == "L1C" for delivery in found.deliveries)
    assert found.deliveries[0].sun.elevation == 24.0
    assert found.deliveries[0].planes[0].offset == 0.0


def test_old_level_2_calls_its_quantification_otherwise(tmp_path) -> None:
    root = make_safe(tmp_path, baseline="02.05")
    text = (root / "MTD_MSIL2A.xml").read_text()
    (root / "MTD_MSIL2A.xml").write_text(text.replace("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"))
    assert only(tmp_path).planes[0].scale == 1e-4


def test_cut_metadata_is_a_sentence(tmp_path) -> None:
    root = make_safe(tmp_path)
    text = (root / "MTD_MSIL2A.xml").read_text()
    (root / "MTD_MSIL2A.xml").write_text(text[: text.index("BOA_QUANTIFICATION_VALUE")])
    (problem,) = look(str(tmp_path)).problems
    assert "QUANTIFICATION_VALUE" in problem
    assert "Fetch the product again" in problem


def test_offset_list_may_be_missing(tmp_path) -> None:
    """A new baseline without its list of offsets: assumed, and told."""
    root = make_safe(tmp_path)
    text = (root / "MTD_MSIL2A.xml").read_text()
    start, end = text.index("<BOA_ADD_OFFSET_VALUES_LIST>"), text.index("</BOA_ADD_OFFSET_VALUES_LIST>")
    (root / "MTD_MSIL2A.xml").write_text(text[:start] + text[end + 29 :])
    found = only(tmp_path)
    assert {plane.offset for plane in found.planes} == {-0.1}
    assert "-1000 was assumed" in found.doubts[0]


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar", "product.tar.gz", "nowhere"])
def test_damaged_archives_are_sentences(tmp_path, name) -> None:
    if name != "nowhere":
        (tmp_path / name).write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(InputError, match=name if name != "nowhere" else "does not exist"):
        look(str(tmp_path / name))


def test_damaged_archive_beside_others_is_told(tmp_path) -> None:
    make_hls(tmp_path)
    (tmp_path / "broken.zip").write_bytes(b"PK")
    found = look(str(tmp_path))
    assert len(found.deliveries) == 1
    assert "broken.zip" in found.problems[0]


@pytest.mark.parametrize(("kind", "bands", "nir"), [("S30", 13, "B8A"), ("L30", 8, "B05")])
def test_hls(tmp_path, kind, bands, nir) -> None:
    found = only(make_hls(tmp_path, kind))
    assert found.product == f"HLS {kind} v2.0"
    assert (found.tile, found.when.date().isoformat()) == ("15SWD", "2023-06-02")
    assert len(found.planes) == bands
    assert {plane.role: plane.name for plane in found.planes}["nir08"] == nir
    assert {(plane.scale, plane.offset, plane.nodata) for plane in found.planes} == {(1e-4, 0.0, -9999.0)}
    assert [layer.kind for layer in found.quality] == ["fmask"]
    assert (found.sun.azimuth, found.sun.elevation) == (128.5, 67.5)


@pytest.mark.parametrize(("number", "red", "nir"), [(9, "SR_B4", "SR_B5"), (5, "SR_B3", "SR_B4")])
def test_landsat_level_2(tmp_path, number, red, nir) -> None:
    found = only(make_landsat(tmp_path, number))
    roles = {plane.role: plane.name for plane in found.planes}
    assert (roles["red"], roles["nir08"]) == (red, nir)
    assert "ST_B10" not in roles.values()
    assert {(plane.scale, plane.offset) for plane in found.planes} == {(2.75e-5, -0.2)}
    assert [layer.kind for layer in found.quality] == ["qa_pixel"]
    assert found.when == datetime(2023, 7, 14, 9, 51, 23, tzinfo=timezone.utc)
    assert not found.missing


def test_landsat_level_1_is_corrected_for_the_sun(tmp_path) -> None:
    found = only(make_landsat(tmp_path, 8, level=1))
    with rasterio.open(found.planes[0].path) as file:
        dn = int(file.read(1)[10, 10])
    assert dn * found.planes[0].scale + found.planes[0].offset == pytest.approx(0.15, abs=1e-4)
    assert found.missing == ("B9",)


def test_landsat_in_a_tar(tmp_path) -> None:
    folder = make_landsat(tmp_path / "plain")
    with tarfile.open(tmp_path / "LC09.tar", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    found = only(tmp_path / "LC09.tar")
    assert len(found.planes) == 7
    with rasterio.open(found.planes[0].path) as file:
        assert file.read(1).max() > 0


def test_planet(tmp_path) -> None:
    found = only(make_planet(tmp_path / "four"))
    assert [plane.role for plane in found.planes] == ["blue", "green", "red", "nir08"]
    assert [plane.band for plane in found.planes] == [1, 2, 3, 4]
    assert [layer.kind for layer in found.quality] == ["udm2"]
    assert (found.sun.azimuth, found.sun.elevation) == (135.5, 60.25)
    eight = only(make_planet(tmp_path / "eight", eight=True))
    assert [plane.role for plane in eight.planes][-1] == "nir08"
    assert len(eight.planes) == 8
    radiance = only(make_planet(tmp_path / "radiance", surface=False))
    assert [plane.scale for plane in radiance.planes] == pytest.approx([2e-5, 4e-5, 6e-5, 8e-5])
    assert any("not surface reflectance" in doubt for doubt in radiance.doubts)


def test_planet_radiance_without_coefficients_is_refused(tmp_path) -> None:
    make_planet(tmp_path, surface=False)
    next(tmp_path.glob("*.xml")).unlink()
    found = look(str(tmp_path), singles=False)
    assert not found.deliveries
    assert "radiance" in found.problems[0]


@pytest.mark.parametrize(
    ("names", "numbers", "item", "offset", "doubt"),
    [
        # both namings; metadata and pixels agree
        (EARTH_SEARCH, DARK, APPLIED, 0.0, ""),
        (COMPUTER, RAISED, {"s2:processing_baseline": "05.09"}, -0.1, ""),
        (COMPUTER, DARK, {"s2:processing_baseline": "02.12"}, 0.0, ""),
        # the trap: the baseline says -1000, the pixels show that it is taken off
        (EARTH_SEARCH, DARK, {"s2:processing_baseline": "05.09"}, 0.0, "already applied"),
        # the other way round: said to be taken off, but no pixel is dark
        (EARTH_SEARCH, RAISED, APPLIED, -0.1, "inside still"),
        # nothing but pixels
        (COMPUTER, RAISED, None, -0.1, "taken to be inside"),
        (COMPUTER, DARK, None, 0.0, ""),
    ],
)  # fmt: skip
def test_stac_namings_and_the_offset_trap(tmp_path, names, numbers, item, offset, doubt) -> None:
    found = only(make_stac(tmp_path / "S2A_33TUG_20230714_0_L2A", names, numbers, item))
    assert (found.sensor, found.level, found.tile) == ("sentinel2", "L2A", "33TUG")
    assert [plane.role for plane in found.planes] == ["blue", "green", "red", "rededge2", "nir", "swir16"]
    assert {plane.offset for plane in found.planes} == {offset}
    assert found.when.date().isoformat() == "2023-07-14"
    assert [layer.kind for layer in found.quality] == ["scl"]
    assert doubt in " ".join(found.doubts)
    assert bool(found.doubts) == bool(doubt)


def test_bright_bands_of_a_late_date_hold_the_offset(tmp_path) -> None:
    """Nothing is dark (cloud, desert), and only the files' names tell when it was."""
    bright = {band: 3000 + 100 * place for place, band in enumerate(COMPUTER)}
    late = only(make_stac(tmp_path / "a", COMPUTER, bright, None, prefix="T33TUG_20230714T100559_"))
    early = only(make_stac(tmp_path / "b", COMPUTER, bright, None, prefix="T33TUG_20200714T100559_"))
    assert [found.planes[0].offset for found in (late, early)] == [-0.1, 0.0]
    assert late.doubts
    assert early.doubts


def test_scene_classes_beside_bands_tell_sentinel_2(tmp_path) -> None:
    """Assets without their item, in a folder of any name: the offset must not be passed over."""
    found = only(make_stac(tmp_path / "download", EARTH_SEARCH, RAISED, None))
    assert (found.sensor, found.level) == ("sentinel2", "L2A")
    assert "No metadata" in " ".join(found.doubts) or "taken to be inside" in " ".join(found.doubts)


def test_stac_offset_in_the_files_header(tmp_path) -> None:
    """earth-search's collection 1: scale and offset stand in the GeoTIFFs."""
    found = only(make_stac(tmp_path, COMPUTER, RAISED, None, prefix="T33TUG_20230714T100559_", scale=1e-4, offset=-0.1))
    assert {plane.offset for plane in found.planes} == {-0.1}
    assert not found.doubts
    assert found.when == datetime(2023, 7, 14, 10, 5, 59, tzinfo=timezone.utc)


def test_eo_browser_exports(tmp_path) -> None:
    """Sentinel Hub's raw downloads: one file a band, 16-bit stretched or float."""
    transform = Affine(10, 0, 300000, 0, -10, 4700000)
    for band in ("B02", "B04", "B08"):
        name = f"2023-07-14-00_00_2023-07-14-23_59_Sentinel-2_L2A_{band}_(Raw).tiff"
        write_raster(tmp_path / "float" / name, np.full((30, 30), 0.25, np.float32), transform)
        write_raster(tmp_path / "sixteen" / name, np.full((30, 30), 30000, np.uint16), transform)
    found = only(tmp_path / "float")
    assert (found.sensor, found.level) == ("sentinel2", "L2A")
    assert found.when.date().isoformat() == "2023-07-14"
    assert {(plane.scale, plane.offset) for plane in found.planes} == {(1.0, 0.0)}
    stretched = only(tmp_path / "sixteen")
    assert stretched.planes[0].scale == pytest.approx(1 / 65535)
    assert "32-bit float" in stretched.doubts[0]


def single(path: Path):
    found = look(str(path))
    assert not found.deliveries
    assert len(found.singles) == 1
    return found.singles[0]


def stack(path: Path, names: tuple[str, ...], value: float, dtype: str = "uint16", **tags: str) -> Path:
    rng = np.random.default_rng(1)
    noise = rng.uniform(0.8, 1.2, (len(names), 40, 40))
    write_raster(path, (value * noise).astype(dtype), Affine(10, 0, 300000, 0, -10, 4700000))
    with rasterio.open(path, "r+") as file:
        file.descriptions = names
        file.update_tags(**tags)
    return path


def test_single_rasters_are_described(tmp_path) -> None:
    engine = single(stack(tmp_path / "20230714T100559_20230714T101223_T33TUG.tif", ("B2", "B3", "B4", "B8A"), 900))
    assert engine.product == "Earth Engine export, sentinel2"
    assert engine.date == "2023-07-14"
    mine = single(stack(tmp_path / "S2_2023-07-14.tif", ("B2", "B3", "B4", "B8A"), 900))
    assert mine.product == "bands named as by Earth Engine, sentinel2"
    hub = single(stack(tmp_path / "sentinelhub_2023-07-14_Sentinel-2_L2A.tif", ("B02", "B03", "B04"), 0.2, "float32"))
    assert hub.product == "Sentinel Hub export, sentinel2 L2A"
    assert hub.units == "reflectance = DN x 1 + 0"
    ours = single(stack(tmp_path / "stack.tif", ("B02", "B03"), 900, CLOUD_REMOVAL="prepared"))
    assert ours.product.startswith("a stack of this plugin")
    assert any("No acquisition date" in doubt for doubt in ours.doubts)
    radar = single(stack(tmp_path / "S1_2023-07-14.tif", ("VV", "VH"), -12.0, "float32"))
    assert (radar.kind, radar.bands, radar.units) == ("radar", ("VV 2023-07-14", "VH 2023-07-14"), "db")
    mask = single(stack(tmp_path / "MASK_2023-07-14.tif", ("cloud mask",), 1.2, "uint8"))
    assert mask.kind == "mask"
    picture = single(stack(tmp_path / "photo.tif", ("", "", ""), 120, "uint8"))
    assert picture.kind == "unknown"
    assert "8-bit picture" in picture.doubts[0]
    (tmp_path / "cut.tif").write_bytes(b"II*\x00")
    assert "cannot be read" in single(tmp_path / "cut.tif").doubts[0]


def test_folder_with_many_kinds(tmp_path) -> None:
    """Every product once, what belongs to one is not described again, the rest is."""
    make_safe(tmp_path)
    make_hls(tmp_path)
    make_landsat(tmp_path)
    make_planet(tmp_path / "planet")
    stack(tmp_path / "S2_2023-07-14.tif", ("B02", "B03", "B04", "B08"), 900)
    found = look(str(tmp_path))
    assert sorted(d.sensor for d in found.deliveries) == ["hls", "landsat", "planet", "sentinel2"]
    assert [Path(s.path).name for s in found.singles] == ["S2_2023-07-14.tif"]
    assert look(str(tmp_path), cancelled=lambda: True).deliveries == ()


@pytest.mark.parametrize(
    "name",
    [
        "HLS.L30.T15SWD.2023153T170851.v2.0.tif",
        "HLS.S30.T15SWD.2023153T170851.v2.0.stack.tif",
        "LC09_L2SP_190031_20230714_20230716_02_T1_stack.tif",
    ],
)
def test_a_stack_that_is_called_after_its_product_is_described(tmp_path, name: str) -> None:
    """It is no band file, so no reader claims it; it must not vanish either."""
    stack(
        tmp_path / name, ("B02", "B03", "B04", "B05") if "HLS" in name else ("SR_B2", "SR_B3", "SR_B4", "SR_B5"), 9000
    )
    found = look(str(tmp_path))
    assert not found.deliveries
    assert [single.kind for single in found.singles] == ["optical"]
    assert found.singles[0].bands[-1] == ("rededge1" if "S30" in name else "nir08")


def test_maps_beside_radar_are_no_backscatter(tmp_path) -> None:
    key = "S1A_IW_20240510T053010_DVP_RTC10_G_gpuned_A1B2"
    for ending, value in (("VV", 0.1), ("VH", 0.03), ("inc_map", 0.6), ("dem", 400.0)):
        stack(tmp_path / f"{key}_{ending}.tif", ("",), value, "float32")
    kinds = {Path(single.path).stem.removeprefix(f"{key}_"): single.kind for single in look(str(tmp_path)).singles}
    assert kinds == {"VV": "radar", "VH": "radar", "inc_map": "map", "dem": "map"}


def test_zip_of_bands_reads_like_the_folder(tmp_path) -> None:
    folder = make_hls(tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "granule.zip", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"inner/{file.name}")
    assert [p.name for p in only(tmp_path / "granule.zip").planes] == [p.name for p in only(folder).planes]


def test_a_file_of_an_unknown_kind_is_not_its_folder(tmp_path) -> None:
    """A vector file beside rasters: it is told of itself, not of its neighbours."""
    write_raster(tmp_path / "S2_2024-06-10.tif", np.full((3, 8, 8), 900, np.uint16), Affine(10, 0, 0, 0, -10, 0))
    (tmp_path / "fields.gpkg").write_bytes(b"SQLite format 3")
    found = look(str(tmp_path / "fields.gpkg"))
    assert [single.product for single in found.singles] == ["not readable"]
    assert "fields.gpkg" in found.singles[0].doubts[0]
