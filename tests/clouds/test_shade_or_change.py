"""What darkens the ground: a shadow takes light from all bands, a ripening crop does not, and water is black anyway."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clouds.test_detect import BANDS, GROUND, run

CLOUD = np.array([0.6, 0.58, 0.57, 0.6, 0.42, 0.34], np.float32)[:, None, None]
DIFFUSE = np.array([0.35, 0.25, 0.2, 0.12, 0.06, 0.05], np.float32)[:, None, None]
"""Share of the daylight that the sky gives, a clear sky and a sun of medium height: what is left in a deep shadow."""

SIZE, TARGET = 160, 5
PATCH = np.s_[80:110, 60:90]
AWAY = (40, -20)
"""Rows and columns from a cloud to its shadow."""


def still_series(ground: str = "field", seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Six dates (6, 6, size, size) of ground that does not change, with a sensor's noise."""
    rng = np.random.default_rng(seed)
    surface = np.array(GROUND[ground], np.float32)[:, None, None]
    return (surface * rng.uniform(0.99, 1.01, (6, 1, 1, 1)) + rng.normal(0, 0.002, (6, 6, size, size))).astype(
        np.float32
    )


def shade(optical: np.ndarray, patch: tuple, taken: float = 0.7) -> None:
    """Take a share of the direct sunlight from a patch of the target date, in place."""
    optical[(TARGET, slice(None), *patch)] *= 1 - taken * (1 - DIFFUSE)


def add_cloud(optical: np.ndarray, patch: tuple) -> None:
    """Put the cloud of a shadow on the target date, in place."""
    rows, cols = (slice(part.start - away, part.stop - away) for part, away in zip(patch, AWAY, strict=True))
    optical[TARGET, :, rows, cols] = CLOUD


def share_of_shadow(optical: np.ndarray, patch: tuple, bands: tuple[str, ...] = BANDS, **options: object) -> float:
    planes = [BANDS.index(name) for name in bands]
    classes = run(optical[:, planes], bands, method="rules", dilate=0, **options)[0]
    return float((classes[(TARGET, *patch)] == 2).mean())


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["field", "soil", "town"]), st.floats(0.55, 0.95), st.booleans(), st.integers(0, 9),
    st.sampled_from([BANDS, BANDS[:4]]),
)  # fmt: skip
def test_what_darkens_every_band_is_shadow(
    ground: str, taken: float, with_cloud: bool, seed: int, bands: tuple[str, ...]
) -> None:
    optical = still_series(ground, seed)
    shade(optical, PATCH, taken if with_cloud else max(taken, 0.65))  # without a cloud in sight it has to be deeper
    if with_cloud:
        add_cloud(optical, PATCH)
    assert share_of_shadow(optical, PATCH, bands) > 0.95


@settings(max_examples=12, deadline=None)
@given(st.floats(0.25, 0.6), st.floats(1.8, 3.0), st.booleans(), st.integers(0, 9))
def test_a_ripe_field_is_no_shadow(nir: float, red: float, with_cloud: bool, seed: int) -> None:
    """NIR falls as far as in a shadow, but red rises; four bands, so that no shortwave infrared makes up for it."""
    optical = still_series("field", seed)
    optical[(TARGET, slice(None), *PATCH)] *= np.array([1.1, 1.1, red, nir, 1, 1], np.float32)[:, None, None]
    if with_cloud:
        add_cloud(optical, (slice(60, 75), slice(40, 55)))  # its shadow would lie elsewhere
    green_alone = still_series("field", seed)
    green_alone[(TARGET, slice(None), *PATCH)] *= np.array([0.6, 0.6, 0.5, nir, 1, 1], np.float32)[:, None, None]
    assert share_of_shadow(optical, PATCH, BANDS[:4]) < 0.02
    if nir < 0.5:
        assert share_of_shadow(green_alone, PATCH, BANDS[:4]) > 0.9, "red has to tell the two apart"


def test_a_cloud_confirms_the_shadow_on_a_lake() -> None:
    optical = still_series("field")
    lake = np.s_[60:130, 40:110]
    optical[(slice(None), slice(None), *lake)] = np.array(GROUND["water"], np.float32)[:, None, None]
    alone = optical.copy()
    for series in (optical, alone):
        shade(series, PATCH)
    land = np.s_[60:80, 120:135]
    for patch in (PATCH, land):
        add_cloud(optical, patch)
    shade(optical, land)
    assert share_of_shadow(optical, PATCH) > 0.95
    assert share_of_shadow(optical, np.s_[112:128, 92:108]) < 0.02, "the water beside it is clear"
    assert share_of_shadow(alone, PATCH) == 0, "calm water is dark, too"


def test_a_flood_behind_a_cloud_is_no_shadow() -> None:
    """The ground is darker in every band, but it was no water before: nothing of it may be taken away."""
    optical = still_series("soil")
    add_cloud(optical, PATCH)
    land = np.s_[60:80, 120:135]
    shade(optical, land)
    add_cloud(optical, land)
    optical[(TARGET, slice(None), *PATCH)] = np.array((0.05, 0.07, 0.06, 0.04, 0.02, 0.01), np.float32)[:, None, None]
    assert share_of_shadow(optical, land) > 0.95
    assert share_of_shadow(optical, PATCH) == 0


def test_without_a_cloud_in_sight_only_a_deep_shadow_counts() -> None:
    """A scene that could show clouds has none: a slope or a dark field is likelier than a cloud beyond the edge."""
    wet, deep = still_series("soil"), still_series("soil")
    wet[(TARGET, slice(None), *PATCH)] *= 0.56
    deep[(TARGET, slice(None), *PATCH)] *= 0.45
    clouded = wet.copy()
    clouded[TARGET, :, 10:30, 120:140] = CLOUD
    assert share_of_shadow(wet, PATCH) < 0.02
    assert share_of_shadow(deep, PATCH) > 0.95
    assert share_of_shadow(clouded, PATCH) > 0.95
    assert share_of_shadow(wet, PATCH, pixel_m=8.0) > 0.95, "1.3 km show no cloud of theirs"


def test_a_harvested_season_stays_clear(data_root) -> None:
    """Missouri in late September: up to a fifth of the clear ground once counted as shadow, before it was grown."""
    rasterio = pytest.importorskip("rasterio")
    paths = sorted((data_root / "hls_missouri_2023").glob("HLS_*.tif"), key=lambda path: path.stem[-10:])
    if not paths:
        pytest.skip("hls_missouri_2023 is not among the real scenes")
    optical = []
    for path in paths:
        with rasterio.open(path) as file:
            numbers = file.read().astype(np.float32)
        optical.append(np.where(numbers.any(axis=0), numbers / 1e4, np.nan))
    days = np.array([datetime.date.fromisoformat(path.stem[-10:]).toordinal() for path in paths])
    classes = run(np.stack(optical), (*BANDS[:3], "nir"), method="rules", dilate=0, days=days, pixel_m=30.0)[0]
    for date in classes[-3:]:
        assert (date == 2).sum() < 0.07 * (date != 255).sum()  # real shadows of masked clouds on one of them
    for date in classes[-2:]:
        assert (date == 2).sum() < 0.01 * (date != 255).sum()
