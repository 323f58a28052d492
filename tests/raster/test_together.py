"""Files of one job: all whole, or none."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest

from cloud_removal_plugin.errors import OutputError
from cloud_removal_plugin.raster import target
from cloud_removal_plugin.raster.grid import Grid
from cloud_removal_plugin.raster.together import Together
from cloud_removal_plugin.raster.windows import Window
from cloud_removal_plugin.raster.writer import RasterWriter

GRID = Grid("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_600_000.0), 300, 280)
LIKE = SimpleNamespace(
    count=1, dtype="uint16", nodata=(0,), colorinterp=["gray"], descriptions=("B4",), scales=(1.0,), offsets=(0.0,),
    tags={}, band_tags=[{}], path="like.tif",
)  # fmt: skip


def write_both(folder, spoil=None) -> None:
    with Together() as stack:
        one, two = (stack.writer(RasterWriter(str(folder / f"{name}.tif"), LIKE, GRID)) for name in ("one", "two"))
        for writer in (one, two):
            writer.write(np.ones((1, 280, 300), np.uint16), Window(0, 0, 280, 300))
        if spoil:
            spoil({"one": one, "two": two})


def test_both_are_there(tmp_path):
    write_both(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["one.tif", "two.tif"]


@pytest.mark.parametrize("which", ["one", "two"])
def test_one_that_is_not_whole_takes_the_other_with_it(which, tmp_path, monkeypatch):
    """GDAL writes what it kept in memory when it closes a file: a disk that fills then leaves a file that is cut."""

    def cut(writers):
        monkeypatch.setattr(writers[which], "_check_whole", lambda: (_ for _ in ()).throw(OSError("incomplete")))
        monkeypatch.setattr(target, "free_bytes", lambda folder: 0)

    with pytest.raises(OutputError, match=f"is full; '{which}.tif' was not written"):
        write_both(tmp_path, cut)
    assert os.listdir(tmp_path) == []


def test_an_older_result_stays_when_the_new_one_fails(tmp_path):
    write_both(tmp_path)
    before = (tmp_path / "one.tif").read_bytes()

    def fail(writers):
        raise OutputError("no room")

    with pytest.raises(OutputError, match="no room"):
        write_both(tmp_path, fail)
    assert sorted(os.listdir(tmp_path)) == ["one.tif", "two.tif"]
    assert (tmp_path / "one.tif").read_bytes() == before
