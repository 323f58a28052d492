"""Made-up clouds: as much as wanted, the same in any window, with shadows on the far side of the sun."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import simulate
from cloud_removal_plugin.clouds.optics import optics, seen_through
from cloud_removal_plugin.clouds.simulate import Clouds, Wish
from cloud_removal_plugin.raster.windows import Window

SHAPE = (300, 260)
WHOLE = Window(0, 0, *SHAPE)


def surface(bands: int = 4) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.03, 0.35, (bands, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("cover", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("haze", [0.0, 0.7])
def test_the_cover_is_as_wanted(cover: float, haze: float) -> None:
    _, classes = Clouds(Wish(cover, 400, haze, 1), SHAPE, 10.0).over(surface(), SENTINEL2_L1C[:4], WHOLE)
    assert (classes == 1).mean() == pytest.approx(cover, abs=0.01)


@pytest.mark.parametrize("edge", [1536, 100])
def test_windows_fit_together(edge: int, monkeypatch) -> None:
    """Also where the field is coarser than the scene and a tile adds the detail."""
    monkeypatch.setattr(simulate, "FIELD_EDGE", edge)
    clouds = Clouds(Wish(0.4, 400, 0.5, 2), SHAPE, 10.0)
    seen, classes = clouds.over(surface(), SENTINEL2_L1C[:4], WHOLE)
    window = Window(120, 90, 110, 130)
    rows, cols = window.slices()
    part, part_classes = clouds.over(surface()[:, rows, cols], SENTINEL2_L1C[:4], window)
    np.testing.assert_array_equal(part_classes, classes[rows, cols])
    np.testing.assert_allclose(part, seen[:, rows, cols], atol=1e-6)
    assert (classes == 1).mean() == pytest.approx(0.4, abs=0.02)


def test_seeds_and_sizes_matter() -> None:
    def mask(seed: int, size: float) -> np.ndarray:
        return Clouds(Wish(0.3, size, 0.2, seed), SHAPE, 10.0).over(surface(), SENTINEL2_L1C[:4], WHOLE)[1] == 1

    assert (mask(1, 500) == mask(1, 500)).all()
    assert (mask(1, 500) != mask(2, 500)).mean() > 0.1
    rims = [np.abs(np.diff(mask(1, size).astype(int))).sum() for size in (100, 1000)]
    assert rims[0] > 2 * rims[1]


def test_clear_pixels_are_untouched_and_clouds_are_bright() -> None:
    ground = surface()
    ground[:, 0, 0] = np.nan
    seen, classes = Clouds(Wish(0.4, 600, 0.3, 3), SHAPE, 10.0).over(ground, SENTINEL2_L1C[:4], WHOLE)
    clear = classes == 0
    np.testing.assert_array_equal(seen[:, clear], ground[:, clear])
    assert classes[0, 0] == 255
    assert seen[:, classes == 1].mean() > ground[:, classes == 1].mean() + 0.2
    assert (seen[:, classes == 2] < ground[:, classes == 2]).all()
    assert np.nanmax(seen) < 1.1


def test_shadows_fall_away_from_the_sun() -> None:
    clouds = Clouds(Wish(0.2, 500, 0.0, 4, azimuth=90, elevation=45), SHAPE, 10.0)
    cloud = clouds.depths(WHOLE)[0] > 2
    shade = clouds.shade(WHOLE) > 0.1
    west = np.roll(cloud, -120, axis=1)
    assert (west & shade).sum() > 0.8 * west.sum()
    assert clouds._shift == (0, -120)


def test_haze_fades_with_the_wavelength_and_hides_nothing_in_the_cirrus_band() -> None:
    dark, none, some = np.full((1, 1), 0.05), np.zeros((1, 1)), np.ones((1, 1))
    seen = [float(seen_through(dark, optics(name), none, some, none)[0, 0]) for name in ("blue", "red", "swir22")]
    assert seen[0] > seen[1] > seen[2] > 0.05
    assert float(seen_through(dark, optics("cirrus"), none, some, none)[0, 0]) == pytest.approx(0.05)
    thick = np.full((1, 1), 200.0)
    assert 0.8 < float(seen_through(dark, optics("red"), thick, none, none)[0, 0]) < 0.95
