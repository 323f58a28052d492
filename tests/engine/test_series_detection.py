"""Detection on a whole series: each date has its own sun, from its own raster's tags."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.series_scene import SeriesScene
from cloud_removal_plugin.engine.series_settings import SeriesSettings
from cloud_removal_plugin.raster.crs import grid_of
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.stack import split_dates
from cloud_removal_plugin.raster.sun import Sun, sun_of
from cloud_removal_plugin.raster.windows import Window

NAMES = ("blue", "green", "red", "nir08", "swir16", "swir22")
GROUND = np.array([0.03, 0.06, 0.04, 0.35, 0.18, 0.09])[:, None, None]
CLOUD = np.array([0.6, 0.58, 0.57, 0.6, 0.42, 0.34])[:, None]
EDGE = 224
WEST, EAST = np.s_[:, : EDGE // 2 - 20], np.s_[:, EDGE // 2 + 20 :]


@pytest.fixture
def write_date(write_image) -> Callable[..., str]:
    """``write_date(day, azimuth, row)``: a disc of cloud at ``row``, with equally dark discs in its west and east."""

    def disc(row: int, col: int) -> np.ndarray:
        rows, cols = np.mgrid[:EDGE, :EDGE]
        return (rows - row) ** 2 + (cols - col) ** 2 < 16**2

    def write(day: str, azimuth: float | None = None, row: int | None = None) -> str:
        image = GROUND + np.random.default_rng(int(day[-2:])).normal(0, 0.002, (6, EDGE, EDGE))
        if row is not None:
            image[:, disc(row, EDGE // 2 - 54) | disc(row, EDGE // 2 + 54)] *= 0.67  # shadow where a cloud explains it
            image[:, disc(row, EDGE // 2)] = CLOUD
        path = write_image(np.clip(image * 10000, 1, 10000).astype(np.uint16), f"S2_{day}.tif")
        with rasterio.open(path, "r+") as file:
            file.descriptions = NAMES
            if azimuth is not None:
                file.update_tags(SUN_AZIMUTH=str(azimuth), SUN_ELEVATION="45")
        return str(path)

    return write


def found(paths: list[str], folder: Path) -> list[np.ndarray]:
    """Classes (H, W) of the dates, ascending in time."""
    job = Job(kind="series", input="", products=tuple(paths), output=str(folder / "out"), dilate=0)
    with SeriesScene(job, SeriesSettings(), folder) as scene, ThreadPoolExecutor(1) as pool:
        scene.detect(job, "auto", lambda share: None, lambda: False, pool)
        return [scene.classes(date, Window(0, 0, EDGE, EDGE)) for date in range(len(paths))]


def test_shadows_lie_away_from_each_dates_own_sun(write_date, tmp_path) -> None:
    """Dates given in any order; the sun in the east throws shadows to the west."""
    paths = [
        write_date("2024-06-05", azimuth=270, row=70),
        write_date("2024-05-01", azimuth=180),
        write_date("2024-05-20", azimuth=90, row=150),
        write_date("2024-05-10"),
        write_date("2024-06-20", azimuth=0),
    ]
    classes = found(paths, tmp_path)
    for date, shadow, bright in ((2, WEST, EAST), (3, EAST, WEST)):
        assert (classes[date][shadow] == 2).sum() > 600
        assert not (classes[date][bright] == 2).any()
        assert (classes[date] == 1).sum() > 600
    assert not any(classes[date].any() for date in (0, 1, 4))


def test_one_sun_of_a_stack_of_dates_is_none_of_theirs(write_date, tmp_path) -> None:
    with rasterio.open(write_date("2024-05-20", azimuth=90, row=150)) as file:
        pixels, profile = file.read(), file.profile | {"count": 12}
    with rasterio.open(tmp_path / "season.tif", "w", **profile) as file:
        file.write(np.concatenate([pixels, pixels]))
        file.update_tags(SUN_AZIMUTH="90", SUN_ELEVATION="45", PRODUCT="kept")
    info = describe(str(tmp_path / "season.tif"))
    parts = [describe(str(path)) for path in split_dates(info, 6, tmp_path, 1, grid_of(info))]
    assert [sun_of(part) for part in parts] == [Sun(), Sun()]
    assert [part.tags["PRODUCT"] for part in parts] == ["kept", "kept"]
