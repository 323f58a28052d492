"""Series as data hubs deliver them: mixed baselines and tiles, SAFE folders, hidden and damaged dates, half radar."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.series_settings import SeriesSettings
from cloud_removal_plugin.errors import CloudRemovalError, GridError, InputError
from tests.raster.product_trees import make_safe

SHAPE = (60, 64)
NAMES = ("B02", "B03", "B04", "B8A")
FIRST = date(2021, 12, 1)
"""The series crosses 2022-01-25, where Sentinel-2's numbers got an offset."""


def land() -> np.ndarray:
    """Reflectance x 10,000 (4, H, W)."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.stack([700 + 300 * band + 10 * rows + 5 * cols for band in range(4)]).astype(np.uint16)


@pytest.fixture
def season(write_image):
    """``season(n, change)``: n dates with a cloud each, and masks; ``change(number, values)`` alters a date."""

    def make(dates: int, change=lambda number, values: (values, {}, {})) -> tuple[list[str], list[str]]:
        images, masks = [], []
        rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
        for number in range(dates):
            day = FIRST + timedelta(days=12 * number)
            cloud = (rows - 8 * number) ** 2 + (cols - 30) ** 2 < 90
            values = land() + np.uint16(20 * number)
            values[:, cloud] = 8000
            values, tags, profile = change(number, values)
            path = write_image(values, f"S2_{day}.tif", **profile)
            with rasterio.open(path, "r+") as file:
                file.descriptions = NAMES
                file.update_tags(**tags)
            images.append(str(path))
            masks.append(str(write_image(cloud.astype(np.uint8), f"MASK_{day}.tif")))
        return images, masks

    return make


def job(tmp_path: Path, images, masks=(), **changes) -> Job:
    names = set(SeriesSettings.__dataclass_fields__)
    settings = SeriesSettings(masks=tuple(masks), **{k: v for k, v in changes.items() if k in names}).to_json()
    options = {"method": "fast", "output": str(tmp_path / "out"), "dilate": 0}
    options |= {k: v for k, v in changes.items() if k not in names}
    return Job(kind="series", input="", products=tuple(images), settings=settings, **options)


def read(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def outputs(tmp_path: Path) -> list[np.ndarray]:
    return [read(path).astype(int) for path in sorted((tmp_path / "out").glob("restored_*.tif"))]


@pytest.mark.parametrize("told", ["by tags", "by the pixels"])
def test_dates_of_mixed_baselines_are_each_converted_by_their_own_offset(told: str, season, tmp_path, do) -> None:
    """From the sixth date on numbers hold +1000; what is restored fits each date's own numbers."""

    def change(number: int, values: np.ndarray):
        new = number >= 5
        tags = {"PROCESSING_BASELINE": "04.00" if new else "03.01"} if told == "by tags" else {}
        values[:, :3, :3] = 200  # a dark target, as every scene has some
        return values + np.uint16(1000 * new), tags, {}

    images, masks = season(9, change)
    do(job(tmp_path, images, masks))
    truth = [land().astype(int) + 20 * number + 1000 * (number >= 5) for number in range(9)]
    for found, expected, path, mask in zip(outputs(tmp_path), truth, images, masks, strict=True):
        gap = read(mask)[0] > 0
        gap[:3, :3] = False
        np.testing.assert_array_equal(found[:, ~gap], read(path)[:, ~gap])
        assert np.abs(found - expected)[:, gap].mean() < 60, "a wrong offset would be 1000 off"


def test_safe_folders_of_mixed_baselines_become_a_series(tmp_path, do) -> None:
    """From SAFE to series: an old baseline, a new one with the offset applied, one with the offset recorded."""
    stacks = []
    for number, (baseline, numbers) in enumerate((("02.14", "applied"), ("05.11", "applied"), ("05.11", "recorded"))):
        day = date(2024, 6, 10) + timedelta(days=5 * number)
        scl = np.full((60, 60), 4, np.uint8)
        scl[10 + 10 * number : 16 + 10 * number, 20:30] = 9
        safe = make_safe(tmp_path / str(number), baseline=baseline, start=f"{day}T10:00:31", scl=scl)
        stack, clouds = tmp_path / f"S2_{day}.tif", tmp_path / f"CLOUDS_{day}.tif"
        settings = json.dumps({"bands": "B02,B03,B04,B8A", "numbers": numbers})
        do(
            Job(
                kind="prepare",
                input="",
                output=str(stack),
                clouds=str(clouds),
                products=(str(safe),),
                settings=settings,
            )
        )
        stacks.append((stack, clouds))
    do(job(tmp_path, [str(s) for s, _ in stacks], [str(c) for _, c in stacks], method="interpolation"))
    for number, found in enumerate(outputs(tmp_path)):
        before, clouds = read(stacks[number][0]).astype(int), read(stacks[number][1])[0]
        np.testing.assert_array_equal(found[:, clouds == 0], before[:, clouds == 0])
        # land does not change between the dates: the gap's pixels are what they were under the cloud
        assert np.abs(found - before)[:, clouds == 1].max() <= 2


def test_a_neighbouring_tile_that_covers_half(season, tmp_path, do) -> None:
    """A date of another tile on the same grid, shifted by half: what it lacks stays empty, what it has helps."""
    half = SHAPE[1] // 2
    place = from_origin(600_000 + 10 * half, 5_650_000, 10, 10)

    def change(number: int, values: np.ndarray):
        if number != 2:
            return values, {}, {}
        return np.roll(values, -half, axis=2), {}, {"transform": place, "nodata": 0}

    images, masks = season(5, change)
    masks[2] = ""
    do(job(tmp_path, images, [mask for mask in masks if mask]))
    found = outputs(tmp_path)
    assert [image.shape[1:] for image in found] == [SHAPE] * 5
    assert (found[2][:, :, :half] == 0).all(), "no data is not invented"
    np.testing.assert_array_equal(found[2][:, 30:, half:], read(images[2])[:, 30:, :half])
    for number in (0, 1, 3, 4):
        gap = read(masks[number])[0] > 0
        assert np.abs(found[number] - land() - 20 * number)[:, gap].mean() < 60


def test_a_tile_far_away_is_refused(season, tmp_path, do) -> None:
    far = {"transform": from_origin(900000, 4000000, 10, 10)}
    images, masks = season(3, lambda number, values: (values, {}, far if number == 1 else {}))
    with pytest.raises(GridError, match="S2_2021-12-13"):
        do(job(tmp_path, images, masks))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["fast", "interpolation", "harmonic", "whittaker", "inpainting"])
def test_no_date_shows_anything(method: str, season, write_image, tmp_path, do) -> None:
    """All dates hidden everywhere: everything is left as it was, and the log says that nothing is known."""
    images, _ = season(3)
    hidden = [str(write_image(np.ones(SHAPE, np.uint8), f"ALL_{number}.tif")) for number in range(3)]
    result = do(job(tmp_path, images, hidden, method=method))
    for path, found in zip(images, outputs(tmp_path), strict=True):
        np.testing.assert_array_equal(found, read(path))
    assert result.restored_share == 0
    assert any("nothing is known of them" in sentence for sentence in result.warnings)


def test_an_empty_date_among_others(season, tmp_path, do) -> None:
    """A date without data stays empty and disturbs no other."""
    images, masks = season(5, lambda number, values: (values * (number != 2), {}, {"nodata": 0}))
    do(job(tmp_path, images, masks))
    found = outputs(tmp_path)
    for number in (0, 1, 3, 4):
        gap = read(masks[number])[0] > 0
        assert np.abs(found[number] - land() - 20 * number)[:, gap].mean() < 60


@pytest.mark.parametrize(("method", "filled"), [("fast", True), ("inpainting", True), ("whittaker", False)])
def test_one_date_alone(method: str, filled: bool, season, tmp_path, do) -> None:
    """It is filled from the rims of its gaps where the method can do that, and the log says neither more nor less."""
    images, masks = season(1)
    result = do(job(tmp_path, images, masks, method=method))
    assert (result.restored_share == result.cloud_share) == filled
    assert any("filled from their rims" in sentence for sentence in result.warnings) == filled
    assert any("could not be restored" in sentence for sentence in result.warnings) != filled
    assert not any("dates around" in sentence for sentence in (result.method_used, *(text for _, text in do.log)))


def test_all_dates_of_one_day(season, tmp_path, do) -> None:
    """Two satellites, overlapping granules: a day may come as often as it likes."""
    images, masks = season(4)
    result = do(job(tmp_path, images, masks, dates=";".join(["2022-01-01"] * 4)))
    assert result.restored_share == pytest.approx(result.cloud_share)
    assert len(outputs(tmp_path)) == 4


def test_radar_of_half_the_scene_on_another_grid(season, write_image, tmp_path, do) -> None:
    images, masks = season(4)
    with rasterio.open(images[0]) as first:
        place = from_origin(first.transform.c, first.transform.f, 20, 20)
    values = np.random.default_rng(0).normal(-12, 1, (2, 30, 16)).astype(np.float32)
    radar = write_image(values, "S1_2021-12-10.tif", transform=place, nodata=float("nan"))
    with rasterio.open(radar, "r+") as file:
        file.descriptions = ("VV", "VH")
    result = do(job(tmp_path, images, masks, radar=(str(radar),)))
    assert result.restored_share == pytest.approx(result.cloud_share)


def test_a_raster_that_is_cut_is_named_and_nothing_is_left(season, tmp_path, do) -> None:
    images, masks = season(4, lambda number, values: (values, {}, {"compress": "deflate"}))
    whole = Path(images[2]).read_bytes()
    Path(images[2]).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CloudRemovalError, match="S2_2021-12-25"):
        do(job(tmp_path, images, masks))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".cloud-removal*"))


def test_masks_of_another_place_are_refused(season, write_image, tmp_path, do) -> None:
    images, masks = season(3)
    far = write_image(np.zeros(SHAPE, np.uint8), "MASK_far.tif", transform=from_origin(900000, 4000000, 10, 10))
    with pytest.raises((GridError, InputError), match="MASK_far"):
        do(job(tmp_path, images, [masks[0], str(far), masks[2]]))
    assert not (tmp_path / "out").exists()
