"""Detection over whole scenes: synthetic truth, tiling, missing data, few bands, and labelled real scenes."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cloud_removal_plugin.clouds import detect
from cloud_removal_plugin.clouds.detect import detect_scene, expand_given_mask
from cloud_removal_plugin.errors import Cancelled, DependencyError, InputError
from cloud_removal_plugin.raster.grid import Grid
from cloud_removal_plugin.raster.windows import Window

BANDS = ("blue", "green", "red", "nir08", "swir16", "swir22")
GROUND = {
    "field": (0.03, 0.06, 0.04, 0.35, 0.18, 0.09),
    "soil": (0.08, 0.11, 0.14, 0.22, 0.30, 0.26),
    "town": (0.10, 0.12, 0.13, 0.22, 0.22, 0.19),
    "water": (0.03, 0.03, 0.02, 0.01, 0.01, 0.01),
}


class ArrayReader:
    """A date in memory."""

    def __init__(self, optical: np.ndarray, bands: tuple[str, ...], grid: Grid, level: str = "L2A") -> None:
        self.optical, self.bands, self.grid, self.level = optical, bands, grid, level

    def read(self, window: Window) -> np.ndarray:
        rows, cols = window.slices()
        return self.optical[:, rows, cols]


def grid_of(shape: tuple[int, ...], pixel_m: float = 20.0) -> Grid:
    return Grid("", (pixel_m, 0, 0, 0, -pixel_m, 0), shape[-1], shape[-2])


def run(optical: np.ndarray, bands: tuple[str, ...] = BANDS, level: str = "L2A", **options: object) -> tuple:
    """Detect on (T, C, H, W): classes (T, H, W), probability (T, H, W), notes."""
    grid = grid_of(optical.shape, options.pop("pixel_m", 20.0))
    classes = np.full((len(optical), *grid.shape), 77, dtype=np.uint8)
    probability = np.zeros(classes.shape, dtype=np.float32)

    def write(date: int, window: Window, found: np.ndarray, prob: np.ndarray) -> None:
        classes[date][window.slices()] = found
        probability[date][window.slices()] = prob

    readers = [ArrayReader(one, bands, grid, level) for one in optical]
    days = options.pop("days", np.arange(len(readers)) * 5.0)
    notes = detect_scene(readers, grid, days, write=write, **options)
    return classes, probability, notes


def synthetic(dates: int = 5, size: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reflectance (T, 6, H, W), true cloud and true shadow (T, H, W) of a scene of fields, soil, towns and a lake."""
    rng = np.random.default_rng(seed)
    kinds = np.array(list(GROUND.values()), dtype=np.float32)
    place = ndimage.zoom(rng.choice(3, (size // 16 + 1,) * 2, p=[0.6, 0.3, 0.1]), 16, order=0)[:size, :size]
    place[size // 2 : size // 2 + 20, 10:40] = 3
    cloud = np.zeros((dates, size, size), dtype=bool)
    shadow = cloud.copy()
    optical = np.empty((dates, 6, size, size), dtype=np.float32)
    for date in range(dates):
        surface = np.moveaxis(kinds[place], -1, 0) * rng.uniform(0.9, 1.1) + rng.normal(0, 0.004, (6, size, size))
        field = ndimage.gaussian_filter(rng.standard_normal((size, size)), 6, mode="wrap")
        thick = np.clip((field - np.quantile(field, 0.8)) / field.std(), 0, 0.5) * 2
        shade = np.roll(thick, (-24, -10), axis=(0, 1))
        optical[date] = (
            surface * (1 - 0.75 * shade) * (1 - thick)
            + thick * np.array([0.6, 0.58, 0.57, 0.6, 0.42, 0.34], np.float32)[:, None, None]
        )
        cloud[date], shadow[date] = thick > 0.25, (shade > 0.7) & (thick == 0)
    return optical, cloud, shadow


def test_synthetic_series() -> None:
    optical, cloud, shadow = synthetic()
    classes, _, _ = run(optical, dilate=0)
    lake = np.s_[:, 80:100, 10:40]
    assert (classes == 1)[cloud].mean() > 0.95
    land = shadow.copy()
    land[lake] = False
    assert (classes == 2)[land].mean() > 0.8
    rim = ndimage.binary_dilation(cloud | shadow, np.ones((1, 3, 3)), iterations=6)
    assert (classes != 0)[~rim].mean() < 0.02


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([64, 96, 128, 192]), st.integers(1, 4), st.integers(0, 3))
def test_results_do_not_depend_on_tiling_or_threads(core: int, dates: int, dilate: int) -> None:
    optical = synthetic(dates, 210, seed=dates)[0]
    optical[0, :, 30:60, 150:] = np.nan
    whole = run(optical, dilate=dilate)
    with ThreadPoolExecutor(2) as pool:
        tiled = run(optical, dilate=dilate, core=core, pool=pool)
    np.testing.assert_array_equal(whole[0], tiled[0])
    np.testing.assert_array_equal(whole[1], tiled[1])


@pytest.mark.skipif(detect.s2cloudless.model_path() is None, reason="the package s2cloudless is not installed")
@pytest.mark.parametrize("method", ["auto", "s2cloudless"])
def test_tiling_with_the_model(method: str) -> None:
    from cloud_removal_plugin.bands import SENTINEL2_L1C

    small = synthetic(1, 140)[0]
    place = [0, 0, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 5]
    optical = small[:, place]
    optical[:, 10] = 0.002
    whole = run(optical, SENTINEL2_L1C, "L1C", method=method, pixel_m=10.0)
    tiled = run(optical, SENTINEL2_L1C, "L1C", method=method, pixel_m=10.0, core=64)
    np.testing.assert_array_equal(whole[0], tiled[0])
    np.testing.assert_array_equal(whole[1], tiled[1])


def test_no_data_is_255_and_nan_and_casts_no_cloud() -> None:
    optical = synthetic(4)[0]
    optical[1] = np.nan
    optical[2, :, :40] = np.nan
    classes, probability, _ = run(optical)
    assert (classes[1] == 255).all()
    assert (classes[2, :40] == 255).all()
    np.testing.assert_array_equal(np.isnan(probability), classes == 255)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 13)])
@pytest.mark.parametrize("dates", [1, 3])
def test_tiny_rasters(size: tuple[int, int], dates: int) -> None:
    classes, _, _ = run(np.full((dates, 6, *size), 0.05, dtype=np.float32))
    assert (classes == 0).all()


@pytest.mark.parametrize(
    "bands",
    [("blue", "green", "red"), ("blue", "green", "red", "nir"), ("green", "red", "nir"), ("band1", "band2", "band3")],
)
@pytest.mark.parametrize("dates", [1, 5])
def test_few_bands(bands: tuple[str, ...], dates: int) -> None:
    optical, cloud, _ = synthetic(dates)
    known = {name: i for i, name in enumerate(("blue", "green", "red", "nir"))}
    planes = [known.get(name, i) for i, name in enumerate(bands)]
    classes, _, notes = run(optical[:, planes], bands, dilate=0)
    assert (classes == 1)[cloud].mean() > 0.85
    assert ("nir" in bands) != any("Shadows were not looked for" in note for note in notes)
    assert ("blue" in bands) != any("without a blue band" in note for note in notes)


def test_snow_that_stays_is_ground() -> None:
    optical = np.empty((4, 6, 64, 64), dtype=np.float32)
    optical[:] = np.array([0.7, 0.68, 0.66, 0.6, 0.06, 0.05], np.float32)[:, None, None]
    assert (run(optical)[0] == 0).all()


def test_harvest_is_neither_cloud_nor_shadow() -> None:
    optical = np.empty((6, 6, 64, 64), dtype=np.float32)
    optical[:] = np.array(GROUND["field"], np.float32)[:, None, None]
    optical[3:, :, 16:48, 16:48] = np.array(GROUND["soil"], np.float32)[:, None, None]
    assert (run(optical)[0] == 0).all()


def test_a_dark_season_is_no_shadow_and_a_shadow_in_it_is_found() -> None:
    months = np.arange(12)
    level = 0.72 + 0.36 * np.cos(2 * np.pi * (months - 6) / 12)  # NIR and SWIR of midwinter: a third of midsummer's
    field = np.array(GROUND["field"], np.float32)[:, None, None]
    optical = np.repeat(np.broadcast_to(field, (6, 96, 96))[None], 12, axis=0).copy()
    optical[:, 3:] *= level[:, None, None, None].astype(np.float32)
    optical += np.random.default_rng(0).normal(0, 0.002, optical.shape).astype(np.float32)
    shade = np.s_[30:60, 30:60]
    optical[(1, slice(None), *shade)] *= 0.45
    order = np.random.default_rng(1).permutation(12)  # the target may come first
    classes, _, _ = run(optical[order], method="rules", dilate=0, days=30.4 * order, pixel_m=10.0)
    found = classes[np.argsort(order)]
    true = np.zeros(found.shape, bool)
    true[1][shade] = True
    assert (found[true] == 2).mean() > 0.95
    assert (found[~true] == 2).mean() < 0.02
    blurred = run(optical[order], method="rules", dilate=0, days=np.zeros(12), pixel_m=10.0)[0]
    assert (blurred[np.argsort(order)] == 2)[~true].mean() > 0.1, "the season has to be a trap"


def test_all_dates_cloudy() -> None:
    optical = np.full((5, 6, 64, 64), 0.5, dtype=np.float32)
    optical[:, 4:] = 0.35
    assert (run(optical)[0] == 1).all()


def test_unknown_level_is_told_by_the_darkest_blue() -> None:
    optical = synthetic(1)[0]
    surface = run(optical, level="")[2]
    top = run(optical + np.array([0.065, 0.035, 0.02, 0, 0, 0], np.float32)[:, None, None], level="")[2]
    assert "surface" in surface[0]
    assert "top-of-atmosphere" in top[0]


def test_expand_given_mask() -> None:
    classes = np.zeros((9, 9), dtype=np.uint8)
    classes[4, 4], classes[4, 7], classes[0] = 1, 2, 255
    assert expand_given_mask(classes, 0) is classes
    grown = expand_given_mask(classes, 2)
    assert (grown == 1).sum() == 13
    assert grown[4, 7] == 2
    assert (grown[0] == 255).all()


def test_errors_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    optical = synthetic(1, 64)[0]
    with pytest.raises(InputError, match="Unknown detection method"):
        run(optical, method="magic")
    with pytest.raises(InputError, match="s2cloudless needs ten bands"):
        run(optical, method="s2cloudless")
    with pytest.raises(Cancelled):
        run(optical, cancelled=lambda: True)
    stack = np.full((1, 13, 8, 8), 0.1, dtype=np.float32)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    from cloud_removal_plugin.bands import SENTINEL2_L1C

    with pytest.raises(DependencyError, match="pip install"):
        run(stack, SENTINEL2_L1C, "L1C", method="s2cloudless")
    assert any("not installed" in note for note in run(stack, SENTINEL2_L1C, "L1C")[2])


def test_progress_reaches_the_end() -> None:
    seen: list[float] = []
    run(synthetic(1, 128)[0], report=seen.append, core=64)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_labelled_scene(data_root) -> None:
    """Clouds and shadows of one labelled date: csmask's reference labels (docs/clouds.md has the full table)."""
    rasterio = pytest.importorskip("rasterio")
    folder = data_root / "csmask_s2_labels"
    if not folder.is_dir():
        pytest.skip("csmask_s2_labels is not among the real scenes")
    with rasterio.open(folder / "s2_6band.tif") as file:
        optical = file.read()[None].astype(np.float32) / 1e4
    with rasterio.open(folder / "labels.tif") as file:
        labels = file.read()
    bands = ("blue", "green", "red", "nir", "swir16", "swir22")
    classes, _, _ = run(optical, bands, level="", pixel_m=30.0, dilate=0)
    for code, label in ((1, 4), (2, 0)):
        found, true = classes == code, labels == label
        assert (found & true).sum() / true.sum() > 0.88
        assert (found & true).sum() / found.sum() > 0.85
