"""Cubes as the input of a series: dates, masks, places and offsets of NetCDF files and Zarr stores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.series_settings import SeriesSettings
from cloud_removal_plugin.errors import GridError, InputError
from tests.raster.test_cubes import make_cube
from tests.raster.zarr_files import make_store, zipped

SHAPE = (40, 48)
DATES = 5


def planes() -> dict[str, np.ndarray]:
    """Five dates of four bands whose land is known, and clouds (SCL 9) on each."""
    rng = np.random.default_rng(0)
    land = rng.integers(600, 3000, SHAPE)
    out = {
        band: np.stack([land + 100 * number + 10 * t for t in range(DATES)]).astype(np.uint16)
        for number, band in enumerate(("B02", "B03", "B04", "B08"))
    }
    scl = np.full((DATES, *SHAPE), 4, np.uint8)
    for t in range(DATES):
        scl[t, 4 + 6 * t : 10 + 6 * t, 5:20] = 9
        for values in out.values():
            values[t][scl[t] == 9] = 8000
    return {**out, "SCL": scl}


def job(tmp_path: Path, *products: Path, **changes) -> Job:
    settings = SeriesSettings(**changes.pop("settings", {})).to_json()
    given = {"method": "interpolation", "output": str(tmp_path / "out"), "dilate": 0, **changes}
    return Job(kind="series", input="", products=tuple(map(str, products)), settings=settings, **given)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize("kind", ["version 2", "version 3", "zip", "south up"])
def test_every_date_of_a_zarr_store_is_restored(kind: str, tmp_path: Path, do) -> None:
    made = planes()
    version, up = (3 if kind == "version 3" else 2), kind == "south up"
    days = tuple(range(12000, 12050, 10))
    store = make_store(tmp_path / "in" / "cube.zarr", version, planes=made, days=days, south_up=up)
    result = do(job(tmp_path, zipped(store) if kind == "zip" else store))
    scl = made.pop("SCL")
    assert result.cloud_share == pytest.approx((scl == 9).mean())
    assert result.restored_share == pytest.approx(result.cloud_share)
    assert any("5 dates of B02, B03, B04, B08, with its scene classes (SCL) as masks" in text for _, text in do.log)
    for t, day in enumerate(("20221109", "20221119", "20221129", "20221209", "20221219")):
        path = tmp_path / "out" / f"restored_{day}.tif"
        after = read(path)
        after = after[:, ::-1] if up else after
        with rasterio.open(path) as file:
            assert file.descriptions == tuple(made)
            assert file.crs.to_epsg() == 32633
            assert file.bounds == (300000, 4700000 - 400, 300480, 4700000) or up
            assert file.scales == (1e-4,) * 4
        for values, found in zip(made.values(), after, strict=True):
            clear = scl[t] != 9
            np.testing.assert_array_equal(found[clear], values[t][clear])
            assert found[~clear].max() < 4000


def test_a_netcdf_file_and_a_raster_together(tmp_path: Path, write_image, do) -> None:
    cube = make_cube(tmp_path / "cube.nc")
    values = np.full((3, 24, 30), 450, np.uint16)
    place = rasterio.transform.from_origin(300000, 4700000, 10, 10)
    other = write_image(values, "S2_2022-11-25.tif", crs="EPSG:32633", transform=place, nodata=65535)
    with rasterio.open(other, "r+") as file:
        file.descriptions = ("B02", "B04", "B8A")
    do(job(tmp_path, cube, other))
    assert len(list((tmp_path / "out").glob("restored_*.tif"))) == 4
    second = read(tmp_path / "out" / "restored_20221114.tif")
    assert (second[1].ravel()[1:] == 410).all(), "clear pixels as they came, gaps on the line between dates"


def test_clouds_are_detected_where_that_is_wanted(tmp_path: Path, do) -> None:
    store = make_store(tmp_path / "cube.zarr", planes=planes(), days=tuple(range(12000, 12050, 10)))
    do(job(tmp_path, store, settings={"detector": "rules"}))
    said = " ".join(text for _, text in do.log)
    assert "read as a Sentinel-2 scene classification" not in said


def test_an_extent_in_another_reference_system(tmp_path: Path, do) -> None:
    store = make_store(tmp_path / "cube.zarr", planes=planes(), days=tuple(range(12000, 12050, 10)))
    inside = rasterio.warp.transform_bounds("EPSG:32633", "EPSG:4326", 300100, 4699700, 300300, 4699900)
    do(job(tmp_path, store, extent=inside, settings={"extent_crs": "EPSG:4326"}))
    assert 20 <= read(tmp_path / "out" / "restored_20221109.tif").shape[1] <= 23
    with pytest.raises(GridError, match="does not touch"):
        do(job(tmp_path, store, extent=(0, 0, 1, 1), settings={"extent_crs": "EPSG:4326"}))


def test_cubes_that_cannot_be_read_are_one_sentence(tmp_path: Path, do) -> None:
    store = make_store(tmp_path / "cube.zarr")
    (store / "B02" / ".zattrs").write_text(json.dumps({}))
    with pytest.raises(InputError, match="does not have the dimensions time, y and x"):
        do(job(tmp_path, store))
    empty = make_store(tmp_path / "empty.zarr", planes={"elevation": np.ones((3, 4, 4), np.uint16)})
    with pytest.raises(InputError, match="holds no variables called after bands over several dates"):
        do(job(tmp_path, empty))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".cloud-removal*"))


def test_a_cut_chunk_is_one_sentence(tmp_path: Path, do) -> None:
    store = make_store(tmp_path / "cube.zarr", planes=planes(), days=tuple(range(12000, 12050, 10)))
    chunk = store / "B04" / "2.0.0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(InputError, match="is damaged: its pixels cannot be read"):
        do(job(tmp_path, store))
    assert not (tmp_path / "out").exists()
