"""Dates with different bands in one series: every date comes back whole in the bands that it has itself."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from cloud_removal_plugin.engine import series, series_plan
from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.series_bands import Pass, passes, union
from cloud_removal_plugin.errors import InputError
from cloud_removal_plugin.observation import Observation
from cloud_removal_plugin.raster.dates import date_of
from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.radiometry import Radiometry, recognise
from tests.engine.test_series import done, read

ROLES = ("coastal", "blue", "green", "red", "rededge1", "nir", "nir08", "swir16")
FOUR = ("blue", "green", "red", "nir")
SENTINEL = ("blue", "green", "red", "rededge1", "nir", "nir08", "swir16")
LANDSAT = ("coastal", "blue", "green", "red", "nir08", "swir16")
DAYS = [date(2024, 5, 1) + timedelta(10 * number) for number in range(6)]
MIXED = [LANDSAT, SENTINEL, LANDSAT, SENTINEL, SENTINEL, LANDSAT]


@pytest.fixture
def season(write_image):
    """``season(bands)``: rasters, masks, truth (C, H, W) in DN and clouds (H, W) of six dates with these bands."""

    def make(sets, **profile):
        rng = np.random.default_rng(5)
        rows, cols = np.mgrid[:72, :64]
        waves = np.stack(
            [np.sin(rows / 7 + cols / 11), np.cos(cols / 6), np.where((rows // 12 + cols // 12) % 2, 1, 0)]
        )
        mix = rng.uniform(-0.02, 0.02, (len(ROLES), 3))
        level = np.linspace(0.05, 0.3, len(ROLES))[:, None, None]
        images, masks, truths, clouds = [], [], [], []
        for number, names in enumerate(sets):
            land = level * (1 + 0.04 * number) + np.tensordot(mix, waves, 1)
            land += 0.001 * rng.standard_normal(land.shape)
            cloud = (rows - 12 - 9 * number) ** 2 + (cols - 32) ** 2 < 110
            truth = land[[ROLES.index(name) for name in names]] * 10_000
            stored = np.where(cloud, 7_000 + 100 * rng.standard_normal(truth.shape), truth)
            path = write_image(
                np.clip(stored, 1, 10_000).round().astype(np.uint16), f"S2_{DAYS[number]}.tif", **profile
            )
            with rasterio.open(path, "r+") as file:
                file.descriptions = names
            images.append(str(path))
            masks.append(str(write_image(cloud.astype(np.uint8), f"MASK_{DAYS[number]}.tif", **profile)))
            truths.append(truth)
            clouds.append(cloud)
        return images, masks, truths, clouds

    return make


def restored(tmp_path: Path, number: int, folder: str = "out", kind: str = "restored") -> Path:
    return tmp_path / folder / f"{kind}_{DAYS[number]:%Y%m%d}.tif"


def errors(path: Path, truth: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Root mean square error of each band under a cloud, in DN."""
    return np.sqrt(np.square(read(path)[:, cloud] - truth[:, cloud]).mean(axis=1))


@pytest.mark.parametrize("method", ["fast", "interpolation", "inpainting"])
@pytest.mark.parametrize("sets", [[FOUR, *[SENTINEL] * 5], MIXED, [*[FOUR] * 3, SENTINEL, FOUR, FOUR]])
def test_every_date_is_restored_in_its_own_bands(sets, method: str, season, tmp_path) -> None:
    """Whichever raster comes first; a band of one date alone follows from what that date shows."""
    images, masks, truths, clouds = season(sets)
    said: list[str] = []
    sigma = str(tmp_path / "sigma")
    done(images, tmp_path, masks, method=method, uncertainty=sigma, log=lambda level, text: said.append(text))
    limit = {"fast": 80, "interpolation": 450, "inpainting": 450}[method]
    for number, (path, names, truth, cloud) in enumerate(zip(images, sets, truths, clouds, strict=True)):
        with rasterio.open(restored(tmp_path, number)) as file:
            assert file.descriptions == names
        assert (errors(restored(tmp_path, number), truth, cloud) < limit).all()
        before, after = read(path), read(restored(tmp_path, number))
        np.testing.assert_array_equal(after[:, ~cloud], before[:, ~cloud])
        deviation = read(restored(tmp_path, number, "sigma", "sigma"))
        assert len(deviation) == len(names)
        assert (deviation[:, ~cloud] == 0).all()
        if method == "fast":
            assert (deviation[:, cloud] > 0).all()
    assert any("different bands, and each is restored in its own" in line for line in said)
    assert any("Only one date has" in line for line in said) == (sets.count(SENTINEL) == 1 and method != "inpainting")


def test_windows_and_regions_do_not_show(season, tmp_path, monkeypatch) -> None:
    """Several passes, each with its own model of every region."""
    images, masks, truths, clouds = season(MIXED)
    done(images, tmp_path, masks, method="fast", output=str(tmp_path / "whole"))
    monkeypatch.setattr(series_plan, "EDGES", (32,))
    done(images, tmp_path, masks, method="fast", output=str(tmp_path / "cut"))
    for number in range(len(images)):
        whole, cut = (read(restored(tmp_path, number, folder)).astype(int) for folder in ("whole", "cut"))
        assert np.abs(whole - cut).max() <= 1
    monkeypatch.setattr(series, "REGION_PX", 40)
    done(images, tmp_path, masks, method="fast")
    for number, (truth, cloud) in enumerate(zip(truths, clouds, strict=True)):
        assert (errors(restored(tmp_path, number), truth, cloud) < 150).all()


def test_clouds_are_found_on_dates_that_lack_bands(season, tmp_path) -> None:
    """A date without a band that detection reads of the others was no data altogether, and stayed cloudy."""
    sets = [SENTINEL, ("blue", "green", "red"), SENTINEL, FOUR, SENTINEL, SENTINEL]
    images, _, truths, clouds = season(sets)
    done(images, tmp_path, method="fast")
    for number, (truth, cloud) in enumerate(zip(truths, clouds, strict=True)):
        assert (errors(restored(tmp_path, number), truth, cloud) < 150).all()


def test_a_detector_that_a_date_does_not_allow_names_it(season, tmp_path) -> None:
    images, _, _, _ = season([SENTINEL, FOUR, *[SENTINEL] * 4])
    with pytest.raises(InputError, match=r"S2_2024-05-\d1.tif: The detection method 'dsen2cr' .* lacks"):
        done(images, tmp_path, detector="dsen2cr")


def test_other_dates_with_fewer_bands_help_a_single_date(season, tmp_path, do) -> None:
    """They were no data to detection, so that nothing was learned from them."""
    images, _, truths, clouds = season([FOUR, FOUR, SENTINEL, FOUR, FOUR, FOUR])
    others = tuple(images[:2] + images[3:])
    do(Job("restore", images[2], str(tmp_path / "out.tif"), other_dates=others, method="fast"))
    assert (errors(tmp_path / "out.tif", truths[2], clouds[2]) < 100).all()
    job = Job("detect", images[2], str(tmp_path / "classes.tif"), other_dates=others, method="auto")
    do(job)
    assert (read(tmp_path / "classes.tif")[0][clouds[2]] == 1).mean() > 0.95


def test_what_is_made_of_a_product_is_still_read_as_that_product(season, write_image, tmp_path, do) -> None:
    """B05 is near infrared in HLS L30 and red edge in S30; 'restored_20240501.tif' tells neither."""
    sets = [("coastal", "blue", "green", "red", "nir08", "swir16")] * 3
    images, masks, _, _ = season(sets)
    granules = []
    for number, path in enumerate(images):
        name = f"HLS.L30.T32UPU.{DAYS[number]:%Y%j}T103000.v2.0.tif"
        granules.append(str(write_image(read(path).astype(np.int16), name)))
        with rasterio.open(granules[-1], "r+") as file:
            file.descriptions = ("B01", "B02", "B03", "B04", "B05", "B06")
    done(granules, tmp_path, masks)
    done(granules, tmp_path, masks, target="composite", output=str(tmp_path / "made"))
    do(Job("restore", granules[0], str(tmp_path / "out.tif"), cloud_mask=masks[0], method="inpainting"))
    made = [restored(tmp_path, 0), next((tmp_path / "made").glob("composite*.tif")), tmp_path / "out.tif"]
    for path in made:
        info = describe(str(path))
        found = recognise(info)
        assert (found.sensor, found.bands) == ("hls", sets[0]), path
        assert found.scale == 1e-4
    assert date_of(describe(str(made[2]))) == DAYS[0]


def test_dates_between_have_the_bands_of_the_first_raster(season, tmp_path) -> None:
    images, masks, truths, _ = season(MIXED)
    done([images[1], images[0], *images[2:]], tmp_path, [masks[1], masks[0], *masks[2:]], output_dates="2024-05-16")
    with rasterio.open(tmp_path / "out" / "restored_20240516.tif") as file:
        assert file.descriptions == SENTINEL
        found = file.read()
    level = [truths[1][SENTINEL.index(name)].mean() for name in SENTINEL]
    np.testing.assert_allclose(found.mean(axis=(1, 2)), level, rtol=0.06)


def test_a_composite_takes_dates_with_the_bands_of_the_first_raster(season, tmp_path) -> None:
    images, masks, truths, _ = season(MIXED)
    result = done(images, tmp_path, masks, target="composite")
    assert any("3 dates lack some of them" in line for line in result.warnings)
    with rasterio.open(tmp_path / "out" / "composite_medoid_20240501_20240620.tif") as file:
        assert file.descriptions == LANDSAT
        assert np.abs(file.read() - truths[2]).mean() < 150
    with pytest.raises(InputError, match="no date asked for has all of them"):
        done(images, tmp_path, masks, target="composite", output_dates="2024-05-11;2024-05-31")


def test_a_date_on_another_grid_keeps_its_bands(season, write_image, tmp_path) -> None:
    images, masks, truths, clouds = season([FOUR, *[SENTINEL] * 5])
    values = read(images[2])
    path = write_image(values, "S2_moved_2024-05-21.tif", transform=from_origin(600_003, 5_650_004, 10, 10))
    with rasterio.open(path, "r+") as file:
        file.descriptions = SENTINEL
    images[2] = str(path)
    done(images, tmp_path, masks, method="fast", uncertainty=str(tmp_path / "sigma"), dilate=2)
    with rasterio.open(restored(tmp_path, 2)) as file:
        assert set(file.descriptions) == set(SENTINEL)
        found = dict(zip(file.descriptions, file.read(), strict=True))
    with rasterio.open(restored(tmp_path, 2, "sigma", "sigma")) as file:
        assert file.count == len(SENTINEL)
    for name, truth in zip(SENTINEL, truths[2], strict=True):
        assert found[name][clouds[2]].max() < 1.2 * truth.max()


def test_a_raster_without_any_of_the_first_bands_is_refused(season, tmp_path) -> None:
    images, masks, _, _ = season([FOUR, ("swir16", "rededge1"), *[FOUR] * 4])
    with pytest.raises(InputError, match="has none of the first raster's bands"):
        done(images, tmp_path, masks)


def radiometry(*bands: str) -> Radiometry:
    numbers = tuple(range(1, len(bands) + 1))
    return Radiometry("generic", bands, numbers, 1e-4, 0.0, (None,) * len(bands), True, None, "")


def test_bands_that_stand_in_for_each_other_are_one() -> None:
    assert union([radiometry("red", "nir"), radiometry("red", "nir08", "swir16")]) == ("red", "nir", "swir16")
    both = [radiometry("red", "nir08"), radiometry("red", "nir", "nir08"), radiometry("red", "nir")]
    assert union(both) == ("red", "nir08", "nir")


def test_passes_restore_each_band_of_each_date_once() -> None:
    own = [frozenset({0, 1}), frozenset({0, 1, 2}), frozenset({0, 1, 2}), frozenset({0, 3})]
    for method in ("auto", "harmonic", "inpainting", "utilise"):
        cells = [
            (t, place) for each in passes(method, own) for t in each.targets for place in each.take if place in own[t]
        ]
        assert sorted(cells) == [(t, place) for t, bands in enumerate(own) for place in sorted(bands)]
        for each in passes(method, own):
            assert set(each.targets) <= set(each.layers)
            complete = [t for t in each.layers if set(each.bands) <= own[t]]
            assert complete
            assert each.method in ("auto", "fast") or len(complete) == len(each.layers)
    same = [frozenset({0, 1})] * 3
    assert passes("harmonic", same) == [Pass("harmonic", (0, 1, 2), (0, 1), (0, 1), (0, 1, 2))]


def test_a_pass_copies_no_more_than_it_must() -> None:
    obs = Observation(
        np.zeros((4, 3, 5, 6), np.float32), np.zeros((4, 5, 6), np.float32), np.arange(4) * 5.0, ("a", "b", "c")
    )
    every = Pass("fast", (0, 1, 2, 3), (0, 1, 2), (0, 1, 2), (0,))
    assert every.narrowed(obs) is obs
    run = Pass("fast", (1, 2), (1, 2), (1,), (1,)).narrowed(obs)
    assert np.shares_memory(run.optical, obs.optical)
    assert run.bands == ("b", "c")
    assert list(run.days) == [0, 5]
    some = Pass("fast", (0, 2, 3), (0, 2), (0,), (0,)).narrowed(obs)
    assert some.shape == (3, 2, 5, 6)
    assert some.bands == ("a", "c")
