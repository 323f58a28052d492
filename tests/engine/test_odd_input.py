"""Layers that hold little: constant images, bands and dates without a number, masks that select nothing or no data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.transform import from_origin

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.errors import CloudRemovalError

SHAPE = (96, 80)


def pixels(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture
def changed(write_image):
    """``changed(path, change, name)``: the raster with its numbers changed, its bands' names kept."""

    def make(path, change, name: str, **profile):
        with rasterio.open(path) as file:
            numbers, names = file.read(), file.descriptions
        made = write_image(change(numbers), name, **profile)
        with rasterio.open(made, "r+") as file:
            file.descriptions = names
        return made

    return make


@pytest.mark.parametrize("method", ["fast", "interpolation", "inpainting", "gaussian"])
@pytest.mark.parametrize("which", ["target", "others", "all"])
def test_constant_images(method: str, which: str, make_series, make_job, do, changed) -> None:
    """No variance to learn from, no similarity: the gap gets the constant, or at least something sane."""
    series = make_series()

    def flat(path, level):
        return changed(path, lambda numbers: np.full_like(numbers, level), path.name)

    if which != "others":
        target = changed(series.target, lambda n: np.where(series.cloud, n, 1500).astype(n.dtype), series.target.name)
        series = replace(series, target=target)
    if which != "target":
        series = replace(series, others=tuple(flat(path, 1500) for path in series.others))
    result = do(make_job(series, method=method))
    found = pixels(result.output)[:, series.cloud]
    if which != "others":
        # interpolation in time alone believes the other dates
        assert np.abs(found.astype(float) - 1500).max() < (2500 if which == "target" else 30)
    sigma = pixels(result.uncertainty)
    assert (sigma[:, series.cloud] > 0).all()
    assert (sigma[:, ~series.cloud] == 0).all()


def test_the_report_of_a_constant_scene(make_series, make_job, do, changed, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    series = make_series()
    paths = [changed(path, lambda n: np.full_like(n, 1500), path.name) for path in (series.target, *series.others)]
    series = replace(series, target=paths[0], others=tuple(paths[1:]))
    result = do(make_job(series, page=str(tmp_path / "report.html")))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert result.page
    assert ">nan<" not in page.lower()


@pytest.mark.parametrize("method", ["fast", "interpolation", "inpainting"])
def test_a_band_of_another_date_without_a_number(method: str, make_series, make_job, do, changed) -> None:
    series = make_series()

    def hollow(numbers):
        out = numbers.astype(np.float32)
        out[2] = np.nan
        return out / 10_000

    float_target = changed(series.target, lambda n: (n / 10_000).astype(np.float32), series.target.name)
    others = tuple(changed(path, lambda n: (n / 10_000).astype(np.float32), path.name) for path in series.others[1:])
    first = changed(series.others[0], hollow, series.others[0].name)
    result = do(make_job(replace(series, target=float_target, others=(first, *others)), method=method))
    error = np.abs(pixels(result.output) - series.truth / 10_000)[:, series.cloud]
    assert np.isfinite(error).all()
    assert error.mean() < (0.005 if method != "inpainting" else 0.05)


def test_a_band_of_the_target_without_a_number_does_not_spoil_the_others(make_series, make_job, do, changed) -> None:
    series = make_series()

    def hollow(numbers):
        out = (numbers / 10_000).astype(np.float32)
        out[2] = np.nan
        return out

    target = changed(series.target, hollow, series.target.name)
    others = tuple(changed(path, lambda n: (n / 10_000).astype(np.float32), path.name) for path in series.others)
    result = do(make_job(replace(series, target=target, others=others)))
    assert any("holds no number in red" in warning for warning in result.warnings)
    out = pixels(result.output)
    kept = [0, 1, 3]
    np.testing.assert_array_equal(out[kept][:, ~series.cloud], pixels(target)[kept][:, ~series.cloud])
    assert np.abs(out[kept] - series.truth[kept] / 10_000)[:, series.cloud].mean() < 0.03


def test_another_date_without_any_number_is_passed_over(make_series, make_job, do, changed) -> None:
    series = make_series()
    empty = changed(series.others[0], np.zeros_like, "S2_2024-06-02.tif", nodata=0)
    result = do(make_job(replace(series, others=(empty, *series.others[1:])), other_masks=()))
    assert np.abs(pixels(result.output).astype(float) - series.truth)[:, series.cloud].mean() < 60


def test_another_grid_is_warped_and_said(make_series, make_job, do, write_image, changed) -> None:
    series = make_series()

    def coarse(numbers):
        return numbers.reshape(4, 48, 2, 40, 2).mean(axis=(2, 4)).astype(np.uint16)

    other = changed(series.others[0], coarse, "S2_2024-06-02.tif", transform=from_origin(600_000, 5_650_000, 20, 20))
    result = do(make_job(replace(series, others=(other, *series.others[1:])), other_masks=()))
    assert any("S2_2024-06-02.tif: warped to the input's grid" in text for _, text in do.log)
    assert np.abs(pixels(result.output).astype(float) - series.truth)[:, series.cloud].mean() < 60


def test_a_date_that_lies_beside_the_gap(make_series, make_job, do, changed) -> None:
    """The other date covers the clear half of the scene alone, nothing of the gap, which is filled from its rim."""
    series = make_series(cloud=np.arange(80)[None] < 20 + np.zeros((96, 1)))
    half = changed(
        series.others[0], lambda n: n[:, :, 40:], "S2_2024-06-02.tif", transform=from_origin(600_400, 5_650_000, 10, 10)
    )
    result = do(make_job(replace(series, others=(half,)), other_masks=()))
    assert result.restored_share == result.cloud_share
    assert np.isfinite(pixels(result.uncertainty)[:, series.cloud]).all()


def test_a_mask_without_a_number_is_refused_by_its_name(make_series, make_job, do, write_image, tmp_path) -> None:
    series = make_series()
    blank = write_image(np.full(SHAPE, np.nan, np.float32), "blank.tif", nodata=float("nan"))
    with pytest.raises(CloudRemovalError, match=r"its mask blank\.tif, holds no data"):
        do(make_job(series, cloud_mask=str(blank)))
    assert not (tmp_path / "out.tif").exists()


def test_a_mask_that_selects_nothing_copies_the_layer(make_series, make_job, do, write_image) -> None:
    series = make_series()
    nothing = write_image(np.zeros(SHAPE, np.uint8), "nothing.tif")
    result = do(make_job(series, cloud_mask=str(nothing)))
    assert any("copied as it is" in warning for warning in result.warnings)
    np.testing.assert_array_equal(pixels(result.output), pixels(series.target))
    assert (pixels(result.uncertainty) == 0).all()


def test_a_mask_that_holds_a_number_only_under_clouds(make_series, make_job, do, write_image) -> None:
    """1 and NaN, as a raster calculator divides them: the rest is clear and teaches, it is not missing."""
    series = make_series()
    marks = write_image(np.where(series.cloud, 1, np.nan).astype(np.float32), "marks.tif", nodata=np.nan)
    plain = do(make_job(series))
    expected = pixels(plain.output)
    marked = do(make_job(series, cloud_mask=str(marks)))
    np.testing.assert_array_equal(pixels(marked.output), expected)
    assert marked.warnings == plain.warnings == ()


def test_a_mask_of_a_part_of_the_scene_is_said(make_series, make_job, do, write_image) -> None:
    series = make_series()
    half = write_image(series.cloud[:48].astype(np.uint8), "half.tif")
    result = do(make_job(series, cloud_mask=str(half)))
    assert [w for w in result.warnings if "half.tif says nothing of 50% of the pixels" in w]
    found = pixels(result.output)
    np.testing.assert_array_equal(found[:, 48:], pixels(series.target)[:, 48:])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_layer_without_georeference_has_the_pixels_of_its_sensor(do, write_image, tmp_path) -> None:
    """Clouds, shadows and margins in metres come out as on the same layer with its georeference."""
    rng = np.random.default_rng(3)
    image = (900 + 200 * rng.standard_normal((13, 160, 160))).astype(np.uint16)
    image[:, 40:90, 50:110] = 6_500
    nowhere = {"crs": None, "transform": Affine.identity()}
    layers = write_image(image, "S2_here.tif"), write_image(image, "S2_nowhere.tif", **nowhere)
    classes = []
    for layer in layers:
        out = str(tmp_path / f"clouds_{layer.stem}.tif")
        do(Job(kind="detect", input=str(layer), output=out, method="rules", sensor="sentinel2"))
        classes.append(pixels(out))
    assert (classes[0] == 1).any()
    np.testing.assert_array_equal(*classes)
    assert any("no georeference: its pixels are taken as 10 m" in text for _, text in do.log)


def stack(path, parts):
    """A VRT of whole-path single bands, as gdalbuildvrt -separate makes one; returns its path."""
    with rasterio.open(parts[0]) as first:
        grid = (first.width, first.height, first.crs.to_wkt(), ", ".join(str(v) for v in first.transform.to_gdal()))
    bands = ""
    for number, part in enumerate(parts, start=1):
        with rasterio.open(part) as file:
            kind = {"uint8": "Byte", "uint16": "UInt16"}[file.dtypes[0]]
            nodata = "" if file.nodata is None else f"<NoDataValue>{file.nodata:g}</NoDataValue>"
            name = file.descriptions[0]
        bands += (
            f'<VRTRasterBand dataType="{kind}" band="{number}"><Description>{name}</Description>{nodata}<SimpleSource>'
            f'<SourceFilename relativeToVRT="0">{part}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
            "</VRTRasterBand>"
        )
    path.write_text(
        f'<VRTDataset rasterXSize="{grid[0]}" rasterYSize="{grid[1]}"><SRS>{grid[2]}</SRS>'
        f"<GeoTransform>{grid[3]}</GeoTransform>{bands}</VRTDataset>"
    )
    return path


@pytest.fixture
def as_stack(write_image, tmp_path):
    """``as_stack(path, front=None, nodata=())``: a layer as a VRT of one file a band, with another band before them."""

    def make(path, front=None, nodata=(), hole=None):
        with rasterio.open(path) as file:
            numbers, names = file.read(), file.descriptions
        planes = list(zip(names, numbers, nodata or [None] * len(names), strict=True))
        if front is not None:
            planes.insert(0, ("SCL", front, None))
        parts = []
        for name, plane, value in planes:
            if hole is not None and value is not None:
                plane[plane == value] += 2
                plane[hole] = value
            part = write_image(plane, f"{path.stem}_{name}.tif", nodata=value)
            with rasterio.open(part, "r+") as file:
                file.descriptions = (name,)
            parts.append(part)
        return stack(tmp_path / f"{path.stem}.vrt", parts), parts

    return make


def test_a_stack_of_bands_and_a_small_classification(make_series, make_job, do, as_stack) -> None:
    """An 8-bit SCL before 16-bit bands: the result holds the numbers of both, kept ones bit for bit."""
    series = make_series()
    classes = np.full(SHAPE, 4, np.uint8)
    target, _ = as_stack(series.target, front=classes)
    others = tuple(as_stack(path, front=classes)[0] for path in series.others)
    result = do(make_job(replace(series, target=target, others=others)))
    before, after = pixels(series.target), pixels(result.output)
    assert after.dtype == np.uint16
    assert (after[0] == 4).all()
    np.testing.assert_array_equal(after[1:][:, ~series.cloud], before[:, ~series.cloud])
    error = after[1:][:, series.cloud].astype(float) - series.truth[:, series.cloud]
    assert np.abs(error).mean() < 60


def test_bands_that_mark_holes_by_different_numbers(make_series, make_job, do, as_stack) -> None:
    """A GeoTIFF has one nodata number: what was a hole stays one, and a valid pixel does not become one."""
    series = make_series()
    hole = np.zeros(SHAPE, bool)
    hole[:6, :9] = True
    target, parts = as_stack(series.target, nodata=(0, 65535, 7, 9), hole=hole)
    with rasterio.open(parts[1], "r+") as file:
        plane = file.read(1)
        plane[10, 10] = 0
        file.write(plane, 1)
    result = do(make_job(replace(series, target=target)))
    with rasterio.open(result.output) as file:
        assert file.nodata == 0
        for band in range(1, 5):
            np.testing.assert_array_equal(file.read_masks(band) == 0, hole)
        assert file.read(2)[10, 10] == 1
    assert any("different numbers (0, 65535, 7, 9)" in text for _, text in do.log)


def test_a_file_inside_the_input_is_not_overwritten(make_series, make_job, do, as_stack) -> None:
    """An output that is a part of the VRT which is read."""
    series = make_series()
    target, parts = as_stack(series.target)
    before = parts[2].read_bytes()
    with pytest.raises(CloudRemovalError, match="would overwrite a layer that the job reads"):
        do(make_job(replace(series, target=target), output=str(parts[2])))
    assert parts[2].read_bytes() == before


def test_a_stack_whose_file_is_gone_says_so(make_series, make_job, do, as_stack) -> None:
    series = make_series()
    target, parts = as_stack(series.target)
    parts[1].unlink()
    with pytest.raises(CloudRemovalError, match="a file that it is made of is not there"):
        do(make_job(replace(series, target=target)))


def test_reflectance_in_percent(make_series, make_job, do, changed) -> None:
    """Floats from 0 to 100 are percent, not reflectance x 10,000 of a black scene."""
    series = make_series()

    def percent(path):
        return changed(path, lambda numbers: (numbers / 100).astype(np.float32), f"p_{path.name}")

    series = replace(series, target=percent(series.target), others=tuple(percent(path) for path in series.others))
    result = do(make_job(series, cloud_mask="", other_masks=()))
    found = pixels(result.output)[:, series.cloud]
    assert np.abs(found * 100 - series.truth[:, series.cloud]).mean() < 60
    said = [text for level, text in do.log if level == "warning" and "in percent" in text]
    assert len(said) == 1
    assert "p_S2_2024-06-10.tif and 3 more" in said[0]


def test_guesses_are_warnings_and_say_so_once(make_job, do, changed, make_series) -> None:
    """What an analyst should check is not hidden among the first lines of the log."""
    series = make_series()
    names = {path: f"scene_{letter}.tif" for path, letter in zip((series.target, *series.others), "abcd", strict=True)}
    made = [changed(path, lambda numbers: numbers, name) for path, name in names.items()]
    do(make_job(replace(series, target=made[0], others=tuple(made[1:]))))
    warned = [text for level, text in do.log if level == "warning"]
    assert [text for text in warned if text.startswith("no acquisition date was found")]
    assert len([text for text in warned if "an unknown product" in text]) == 1
    assert not [text for level, text in do.log if level == "info" and "an unknown product" in text]


def test_nothing_is_learned_from_what_a_mask_does_not_cover(make_series, make_job, do, write_image) -> None:
    """Under the other half of the cloud the target shows the cloud; the half that is restored must not look like it."""
    series = make_series()
    half = write_image(series.cloud[:, :40].astype(np.uint8), "half.tif")
    result = do(make_job(series, cloud_mask=str(half)))
    restored = series.cloud.copy()
    restored[:, 40:] = False
    assert np.abs(pixels(result.output).astype(float) - series.truth)[:, restored].mean() < 30
    np.testing.assert_array_equal(pixels(result.output)[:, ~restored], pixels(series.target)[:, ~restored])
    assert any("half.tif says nothing of 50%" in text for _, text in do.log)


def test_a_side_file_tells_where_the_holes_are(make_series, make_job, do) -> None:
    """What QGIS and GDAL keep in .aux.xml beside a raster counts, and reading writes no such file."""
    series = make_series()
    hole = np.zeros(SHAPE, bool)
    hole[44:52, 30:38] = True
    for path in (series.target, *series.others[1:]):
        with rasterio.open(path, "r+") as file:
            numbers = file.read()
            numbers[:, hole] = 55_537
            file.write(numbers)
        bands = "".join(
            f'<PAMRasterBand band="{band}"><NoDataValue>55537</NoDataValue></PAMRasterBand>' for band in range(1, 5)
        )
        path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>", encoding="utf-8")
    before = {path for path in series.target.parent.iterdir() if path.suffix == ".xml"}
    result = do(make_job(series))
    with rasterio.open(result.output) as file:
        assert file.nodata == 55_537
        assert np.abs(file.read().astype(float) - series.truth)[:, series.cloud].mean() < 60
    assert {path for path in series.target.parent.iterdir() if path.suffix == ".xml"} == before


def test_a_local_crs_in_feet(make_series, make_job, do) -> None:
    """An engineering CRS is neither geographic nor projected; its unit counts all the same."""
    series = make_series(crs='LOCAL_CS["site",UNIT["US survey foot",0.304800609601219]]')
    result = do(make_job(series))
    assert any("pixels of 3.048 m" in text for _, text in do.log)
    with rasterio.open(result.output) as file, rasterio.open(series.target) as before:
        assert file.crs == before.crs
