"""The uncertainty of a series: in the numbers of each date's restored raster, however that date stores them."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.run import run
from tests.engine.test_series import done, read

NAMES = ("blue", "green", "red", "nir")
DAYS = [date(2024, 5, 1) + timedelta(10 * number) for number in range(4)]
WAYS = {
    "float32": ("float32", 1.0, 0.0, False),
    "uint16": ("uint16", 1e-4, 0.0, False),
    "told": ("uint16", 1e-4, 0.0, True),
    "landsat": ("uint16", 2.75e-5, -0.2, True),
}
"""dtype, scale and offset of the numbers, and whether the file tells the latter."""


@pytest.fixture
def land() -> tuple[np.ndarray, np.ndarray]:
    """Reflectance float32 (dates, bands, 64, 48) of the land itself, and clouds bool (dates, 64, 48)."""
    rng = np.random.default_rng(5)
    rows, cols = np.mgrid[:64, :48]
    surface = 0.2 + 0.05 * np.sin(rows / 5 + np.arange(4)[:, None, None]) + 0.05 * np.cos(cols / 7)
    growth = 1 + 0.1 * np.arange(len(DAYS))[:, None, None, None]
    image = surface * growth + 0.004 * rng.standard_normal((len(DAYS), *surface.shape))
    cloud = np.stack([(rows - 14 - 11 * number) ** 2 + (cols - 24) ** 2 < 100 for number in range(len(DAYS))])
    return image.astype(np.float32), cloud


@pytest.fixture
def season(land, write_image):
    """``season(folder, ways, names)``: a raster and a mask for each date, stored as the date's way says."""

    def make(folder: str, ways: list[str], names=(NAMES,) * 4) -> tuple[list[str], list[str]]:
        images, masks = [], []
        for day, image, cloud, way, bands in zip(DAYS, *land, ways, names, strict=True):
            dtype, scale, offset, told = WAYS[way]
            seen = np.where(cloud, np.float32(0.8), image)
            order = [NAMES.index(name) if name in NAMES else 3 for name in bands]
            numbers = (seen[order].astype(np.float64) - offset) / scale
            numbers = numbers if dtype == "float32" else np.round(numbers)
            path = write_image(numbers.astype(dtype), f"{folder}_{day}.tif")
            with rasterio.open(path, "r+") as file:
                file.descriptions = bands
                if told:
                    file.scales, file.offsets = (scale,) * len(bands), (offset,) * len(bands)
            images.append(str(path))
            masks.append(str(write_image(cloud.astype(np.uint8), f"{folder}_mask_{day}.tif")))
        return images, masks

    return make


def sigmas(folder: Path) -> list[np.ndarray]:
    """Of all dates, as stored."""
    return [read(path) for path in sorted(folder.glob("sigma_*.tif"))]


def test_its_numbers_are_those_of_the_restored_raster(season, land, tmp_path) -> None:
    """Every date its own: 10,000 times the reflectance where numbers are, and the file's scale says it once more."""
    ways = ["uint16", "float32", "landsat", "told"]
    plain = season("plain", ["float32"] * 4)
    done(*(plain[0], tmp_path, plain[1]), method="fast", uncertainty=str(tmp_path / "plain"))
    mixed = season("mixed", ways)
    done(*(mixed[0], tmp_path, mixed[1]), method="fast", uncertainty=str(tmp_path / "mixed"))
    for way, cloud, flat, own in zip(
        ways, land[1], sigmas(tmp_path / "plain"), sigmas(tmp_path / "mixed"), strict=True
    ):
        assert (own[:, ~cloud] == 0).all()
        assert (flat[:, cloud] > 0).all()
        assert own[:, cloud].mean() * WAYS[way][1] == pytest.approx(flat[:, cloud].mean(), rel=0.03), way
    with rasterio.open(tmp_path / "mixed" / f"sigma_{DAYS[2]:%Y%m%d}.tif") as file:
        assert file.scales == (2.75e-5,) * 4
        assert file.offsets == (0.0,) * 4


@pytest.mark.parametrize("way", WAYS)
def test_the_evaluation_reads_it_as_the_series_meant_it(way: str, season, land, write_image, tmp_path) -> None:
    images, masks = season("S", [way] * 4)
    done(images, tmp_path, masks, method="fast", uncertainty=str(tmp_path / "sigma"))
    day = f"{DAYS[1]:%Y%m%d}"
    truth = write_image(land[0][1], "truth.tif")
    with rasterio.open(truth, "r+") as file:
        file.descriptions = NAMES
    figures = tmp_path / "figures.json"
    sigma, restored = (
        str(tmp_path / folder / f"{name}_{day}.tif") for folder, name in (("sigma", "sigma"), ("out", "restored"))
    )
    job = Job("evaluate", str(truth), "", restored=(restored,), sigma=sigma, figures=str(figures))
    run(job, lambda *_: None, lambda: False, lambda *_: None)
    found = json.loads(figures.read_text())["uncertainty"]
    stored = read(sigma)[:, land[1][1]]
    assert found["values"] == stored.size
    assert found["mean_sigma"] == pytest.approx(stored.mean() * WAYS[way][1], rel=1e-4)
    assert 0.6 < found["coverage"]["90"] <= 1
    assert 0.3 < found["mean_sigma"] / 0.004 < 5  # the noise of the land is what no date can tell


def test_its_bands_are_those_of_its_own_date(season, land, tmp_path) -> None:
    """Another order, and a band that the first raster lacks."""
    same = season("same", ["uint16"] * 4)
    done(*(same[0], tmp_path, same[1]), method="fast", uncertainty=str(tmp_path / "same"))
    names = ("nir", "swir16", "red", "green", "blue")
    other = season("other", ["uint16"] * 4, [NAMES, NAMES, names, NAMES])
    done(*(other[0], tmp_path, other[1]), method="fast", uncertainty=str(tmp_path / "other"))
    with rasterio.open(tmp_path / "other" / f"sigma_{DAYS[2]:%Y%m%d}.tif") as file:
        assert file.descriptions == tuple(f"{name} standard deviation" for name in names)
        found = dict(zip(names, file.read(), strict=True))
    cloud = land[1][2]
    for name, plane in zip(NAMES, sigmas(tmp_path / "same")[2], strict=True):
        np.testing.assert_allclose(found[name][cloud], plane[cloud], rtol=0.5)
    for plane in found.values():
        assert (plane[cloud] > 0).all()
        assert (plane[~cloud] == 0).all()


def test_a_band_that_stands_in_for_another_is_restored(season, land, tmp_path) -> None:
    """The narrow near infrared of one date fills the first raster's near infrared, and gets its values back."""
    names = ("blue", "green", "red", "nir08")
    images, masks = season("S", ["uint16"] * 4, [NAMES, names, NAMES, NAMES])
    done(images, tmp_path, masks, method="fast", uncertainty=str(tmp_path / "sigma"))
    cloud, day = land[1][1], f"{DAYS[1]:%Y%m%d}"
    assert read(tmp_path / "out" / f"restored_{day}.tif")[:, cloud].max() < 6000
    assert (read(tmp_path / "sigma" / f"sigma_{day}.tif")[:, cloud] > 0).all()


def test_it_is_unknown_where_nothing_was_restored(season, land, tmp_path) -> None:
    """Pixels that no date shows stay as they came; zero would say that they are certain."""
    land[1][:, :, :6] = True
    images, masks = season("S", ["uint16"] * 4)
    done(images, tmp_path, masks, uncertainty=str(tmp_path / "sigma"))
    for cloud, image, sigma in zip(land[1], images, sigmas(tmp_path / "sigma"), strict=True):
        day = Path(image).stem[2:].replace("-", "")
        kept = (read(tmp_path / "out" / f"restored_{day}.tif") == read(image)).all(axis=0) & cloud
        assert kept[:, :6].all()
        assert np.isnan(sigma[:, kept]).all()
        assert (sigma[:, ~cloud] == 0).all()


def test_where_no_date_sees_the_land_it_is_as_large_as_the_error(land, season, tmp_path) -> None:
    image, cloud = land
    never = np.zeros(cloud.shape[1:], bool)
    never[20:44, 18:30] = True
    cloud |= never
    images, masks = season("never", ["uint16"] * 4)
    done(images, tmp_path, masks, method="fast", uncertainty=str(tmp_path / "sigma"))
    inside, sizes = [], []
    for number, day in enumerate(DAYS):
        blind, seen = never, cloud[number] & ~never
        sigma = read(tmp_path / "sigma" / f"sigma_{day:%Y%m%d}.tif") * 1e-4
        error = np.abs(read(tmp_path / "out" / f"restored_{day:%Y%m%d}.tif") * 1e-4 - image[number])
        inside.append((error < 1.645 * sigma)[:, blind].mean())
        sizes.append(sigma[:, blind].mean() / sigma[:, seen].mean())
    assert np.mean(inside) > 0.6, inside
    assert min(sizes) > 2, sizes
