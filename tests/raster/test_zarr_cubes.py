"""Zarr cubes: folders and zip files, versions 2 and 3, and what they do not tell."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.raster import container, zarr_store
from cloud_removal_plugin.raster.findings import look
from tests.raster.zarr_files import make_store, zipped


@pytest.fixture(autouse=True)
def driver() -> None:
    with rasterio.Env() as env:
        if "Zarr" not in env.drivers():
            pytest.skip("this GDAL has no Zarr driver")


def check(path) -> None:
    found = look(str(path))
    assert not found.problems
    assert not found.singles
    assert [d.when for d in found.deliveries] == [datetime(2022, 11, day, tzinfo=timezone.utc) for day in (9, 14, 19)]
    second = found.deliveries[1]
    assert (second.product, second.sensor, second.level) == ("Zarr cube", "sentinel2", "L2A")
    assert second.name == "cube 2022-11-14"
    assert [(p.role, p.name, p.band) for p in second.planes] == [
        ("blue", "B02", 2),
        ("red", "B04", 2),
        ("nir08", "B8A", 2),
    ]
    assert {(p.scale, p.offset, p.nodata) for p in second.planes} == {(1e-4, 0.0, 65535.0)}
    assert all(p.source.startswith("ZARR:") for p in second.planes)
    with rasterio.open(second.planes[1].path) as plane:
        values = plane.read(2)
        assert plane.crs.to_epsg() == 32633
        assert plane.transform[:6] == (10.0, 0.0, 300000.0, 0.0, -10.0, 4700000.0)
    assert values[0, 0] == 65535
    assert (values.ravel()[1:] == 410).all()
    assert [(q.kind, q.bands) for q in second.quality] == [("scl", (2,))]
    with rasterio.open(second.quality[0].path) as classes:
        assert (classes.read(2) == 9).sum() == 16


@pytest.mark.parametrize("version", [2, 3])
def test_every_date_is_a_product(tmp_path, version: int) -> None:
    store = make_store(tmp_path / "cube.zarr", version)
    check(store)
    check(tmp_path)
    (store / "B02").joinpath(".zarray" if version == 2 else "zarr.json").write_text("{cut")
    assert "cannot be read" in look(str(store)).problems[0]


@pytest.mark.parametrize("inside", [False, True])
def test_zip_files(tmp_path, inside: bool) -> None:
    check(zipped(make_store(tmp_path / "one" / "cube.zarr"), inside))


def test_south_up_stores_lie_where_they_lie(tmp_path) -> None:
    plane = look(str(make_store(tmp_path / "cube.zarr", south_up=True))).deliveries[0].planes[0]
    with rasterio.open(plane.path) as source:
        assert source.transform[:6] == (10.0, 0.0, 300000.0, 0.0, 10.0, 4699760.0)
        assert source.read(1)[-1, 0] == 65535


def test_chunks_are_not_counted_as_files(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of a hundred thousand chunks is no folder with too many files."""
    store = make_store(tmp_path / "cube.zarr", 3)
    make_store(tmp_path / "two.zarr", 2)
    monkeypatch.setattr(container, "MOST_FILES", 30)
    assert len(list(store.rglob("*"))) > 60
    assert len(look(str(tmp_path)).deliveries) == 6


@pytest.mark.parametrize(
    ("missing", "sentence"), [("placed", "where its pixels lie"), ("timed", "with a time axis in 'days since")]
)
@pytest.mark.parametrize("version", [2, 3])
def test_what_a_store_does_not_tell_is_a_sentence(tmp_path, missing, sentence, version) -> None:
    make_store(tmp_path / "cube.zarr", version, **{missing: False})
    found = look(str(tmp_path), singles=False)
    assert not found.deliveries
    assert sentence in found.problems[0]


def test_bands_along_a_dimension_are_a_sentence(tmp_path) -> None:
    store = make_store(tmp_path / "cube.zarr", planes={"B02": np.ones((3, 4, 4), np.uint16)})
    text = json.loads((store / "B02" / ".zarray").read_text())
    (store / "B02" / ".zarray").write_text(json.dumps(text | {"shape": [3, 1, 4, 4], "chunks": [3, 1, 4, 4]}))
    (store / "B02" / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["t", "band", "y", "x"]}))
    assert "keeps its bands along a dimension" in look(str(store)).problems[0]


def test_uneven_coordinates_are_a_sentence(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_store, "coordinate", lambda store, key: 10.0 * np.arange(30) ** 1.1)
    assert "no even grid" in look(str(make_store(tmp_path / "cube.zarr"))).problems[0]


def test_what_gdal_cannot_read_of_version_3_is_a_sentence(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_store, "_opens", lambda store: False)  # as GDAL 3.6 to 3.10 answer
    sharded = make_store(tmp_path / "a" / "cube.zarr", 3, codec="sharding_indexed")
    assert "is of version 3, and 'B02' is encoded with bytes, sharding_indexed" in look(str(sharded)).problems[0]
    archive = zipped(make_store(tmp_path / "b" / "cube.zarr", 3))
    assert "is of version 3, and it is a zip file" in look(str(archive)).problems[0]
