"""NetCDF cubes as openEO writes them: dates, bands, places, nodata; made here, and real ones."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.raster.findings import look

DAYS = (12000, 12005, 12010)
"""Days since 1990-01-01: 2022-11-09, 14 and 19."""


def make_cube(path: Path, *, placed: bool = True, timed: bool = True) -> Path:
    """Three dates of B02, B04, B8A and SCL on 30 x 24 pixels of 10 m, values by date and band; one pixel is fill."""
    h5py = pytest.importorskip("h5py", reason="writes the NetCDF file of this test")
    with rasterio.Env() as env:
        if "netCDF" not in env.drivers():
            pytest.skip("this GDAL has no netCDF driver")
    with h5py.File(path, "w") as file:
        axes = {
            "t": np.array(DAYS, np.int64),
            "y": 4700000 - 10.0 * (np.arange(24) + 0.5),
            "x": 300000 + 10.0 * (np.arange(30) + 0.5),
        }
        for name, values in axes.items():
            file[name] = values
            file[name].make_scale(name)
        if timed:
            file["t"].attrs["units"] = np.bytes_("days since 1990-01-01")
        for name in "xy" if placed else "":
            file[name].attrs["standard_name"] = np.bytes_(f"projection_{name}_coordinate")
            file[name].attrs["units"] = np.bytes_("m")
        file["crs"] = np.int32(0)
        file["crs"].attrs["crs_wkt"] = np.bytes_(rasterio.crs.CRS.from_epsg(32633).to_wkt())
        file["crs"].attrs["spatial_ref"] = np.bytes_(rasterio.crs.CRS.from_epsg(32633).to_wkt())
        for number, band in enumerate(("B02", "B04", "B8A", "SCL")):
            array = np.stack([np.full((24, 30), 100 * (number + 3) + 10 * t, np.uint16) for t in range(3)])
            if band == "SCL":
                array = np.full((3, 24, 30), 4, np.uint8)
                array[1, 5:9, 5:9] = 9
            else:
                array[:, 0, 0] = 65535
            made = file.create_dataset(f"S2-L2A-{band}", data=array)
            made.attrs["grid_mapping"] = np.bytes_("crs")
            if band != "SCL":
                made.attrs["_FillValue"] = np.uint16(65535)
            for axis, name in enumerate("tyx"):
                made.dims[axis].attach_scale(file[name])
    return path


def test_every_date_is_a_product(tmp_path) -> None:
    found = look(str(make_cube(tmp_path / "cube.nc")))
    assert not found.problems
    assert [d.when for d in found.deliveries] == [datetime(2022, 11, day, tzinfo=timezone.utc) for day in (9, 14, 19)]
    second = found.deliveries[1]
    assert (second.sensor, second.level) == ("sentinel2", "L2A")
    assert [(p.role, p.name, p.band) for p in second.planes] == [
        ("blue", "B02", 2),
        ("red", "B04", 2),
        ("nir08", "B8A", 2),
    ]
    assert {(p.scale, p.offset, p.nodata) for p in second.planes} == {(1e-4, 0.0, 65535.0)}
    assert [(q.kind, q.bands) for q in second.quality] == [("scl", (2,))]
    assert look(str(tmp_path)).deliveries == found.deliveries


@pytest.mark.parametrize(
    ("missing", "sentence"), [("placed", "where its pixels lie"), ("timed", "no time axis that can be read")]
)
def test_what_a_cube_does_not_tell_is_a_sentence(tmp_path, missing, sentence) -> None:
    make_cube(tmp_path / "cube.nc", **{missing: False})
    found = look(str(tmp_path), singles=False)
    assert not found.deliveries
    assert sentence in found.problems[0]


def test_real_cubes(data_root) -> None:
    cube = data_root / "scaleag_tervuren_dekads" / "inference_area_tevuren.nc"
    if not cube.exists():
        pytest.skip("the Tervuren cube is not there")
    found = look(str(cube))
    assert len(found.deliveries) == 36
    assert len(found.deliveries[0].planes) == 10
    assert found.deliveries[-1].when.date().isoformat() == "2022-12-21"


def test_not_a_cube(tmp_path) -> None:
    (tmp_path / "cut.nc").write_bytes(b"\x89HDF\r\n\x1a\n cut")
    assert "cannot be read" in look(str(tmp_path), singles=False).problems[0]
    with pytest.raises(InputError, match="does not exist"):
        look(str(tmp_path / "none.nc"))
