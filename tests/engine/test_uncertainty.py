"""UNCERTAINTY as a layer, however the input stores its numbers: never zero where restored, zero where kept, honest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio

WAYS = {
    "uint16": ("uint16", 1e-4, 0.0),
    "landsat": ("uint16", 2.75e-5, -0.2),
    "coarse": ("uint16", 0.02, 0.0),
    "int16": ("int16", 1e-4, -0.1),
    "float32": ("float32", 1.0, 0.0),
}
"""dtype, scale and offset: with a scale of 0.02 a sigma in whole units would be zero nearly everywhere."""


@pytest.fixture
def stored(make_series, write_image):
    """``stored(way)``: a series whose numbers are stored like that, its scale and offset told by its file."""

    def make(way: str):
        dtype, scale, offset = WAYS[way]
        series = make_series()

        def again(path):
            with rasterio.open(path) as file:
                numbers, names = file.read().astype(np.float64) * 1e-4, file.descriptions
            numbers = (numbers - offset) / scale
            numbers = numbers if dtype == "float32" else np.round(numbers)
            made = write_image(numbers.astype(dtype), path.name)
            with rasterio.open(made, "r+") as file:
                file.descriptions = names
                file.scales, file.offsets = (scale,) * len(names), (offset,) * len(names)
            return made

        return replace(series, target=again(series.target), others=tuple(map(again, series.others)))

    return make


def sigma_of(path: str) -> np.ndarray:
    """In reflectance, as whoever honours the file's scale reads it."""
    with rasterio.open(path) as file:
        assert set(file.dtypes) == {"float32"}
        assert set(file.offsets) == {0.0}
        return file.read() * np.array(file.scales, np.float32)[:, None, None]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["fast", "interpolation", "inpainting"])
def test_zero_exactly_where_kept(way: str, method: str, stored, make_job, do) -> None:
    series = stored(way)
    _, scale, offset = WAYS[way]
    result = do(make_job(series, method=method, reflectance_scale=scale, reflectance_offset=offset))
    sigma = sigma_of(result.uncertainty)
    assert (sigma[:, ~series.cloud] == 0).all()
    assert (sigma[:, series.cloud] >= 1e-4).all()
    assert (sigma[:, series.cloud] < 0.3).all()


def test_the_way_of_storing_does_not_change_it(stored, make_job, do) -> None:
    found = {}
    for way in ("uint16", "landsat", "float32"):
        _, scale, offset = WAYS[way]
        series = stored(way)
        job = make_job(series, method="interpolation", reflectance_scale=scale, reflectance_offset=offset)
        found[way] = sigma_of(do(job).uncertainty)[:, series.cloud].mean()
    assert found["landsat"] == pytest.approx(found["uint16"], rel=0.02)
    assert found["float32"] == pytest.approx(found["uint16"], rel=0.02)


@pytest.mark.parametrize("way", ["uint16", "landsat"])
def test_it_is_larger_where_less_is_known(way: str, stored, make_job, do, write_image) -> None:
    """Three dates, one far date, radar alone, nothing at all: each knows less than the one before."""
    series = stored(way)
    _, scale, offset = WAYS[way]
    with rasterio.open(write_image(series.truth, "truth.tif")) as file:
        land = file.read().astype(np.float64) * 1e-4
    rng = np.random.default_rng(3)
    waves = np.stack([-16 + 30 * land[band] + rng.normal(0, 1.5, land.shape[1:]) for band in (0, 3)])
    radar = str(write_image(waves.astype(np.float32), "S1_2024-06-10.tif"))
    far = {"other_dates": (str(series.others[2]),), "other_masks": (str(series.clear_masks[2]),)}
    none = {"other_dates": (), "other_masks": ()}
    sizes = []
    for given in ({}, far, {**none, "radar": radar}, none):
        result = do(make_job(series, reflectance_scale=scale, reflectance_offset=offset, **given))
        sigma = sigma_of(result.uncertainty)[:, series.cloud]
        assert (sigma > 0).all()
        sizes.append(float(sigma.mean()))
    assert sizes == sorted(sizes), sizes
    assert sizes[2] > 2 * sizes[0], "radar alone is not as good as other dates"


def test_windows_that_fade_never_fade_it_to_zero(make_series, make_job, do, monkeypatch) -> None:
    """A gap across many windows: between them two restorations mix, and sigma ends where the gap does."""
    from cloud_removal_plugin.engine import restoration

    monkeypatch.setattr(restoration, "core_px", lambda *_: 128)
    shape = (300, 320)
    rows, cols = np.indices(shape)
    series = make_series(shape, cloud=np.abs((rows + cols) % 97 - 48) < 12)
    sigma = sigma_of(do(make_job(series, method="fast")).uncertainty)
    assert (sigma[:, series.cloud] > 0).all()
    assert (sigma[:, ~series.cloud] == 0).all()


@pytest.mark.parametrize("method", ["fast", "auto"])
def test_it_grows_also_where_a_few_clear_pixels_lie_among_the_unseen(method, make_series, make_job, do) -> None:
    """A small share of the simulated gaps tells of it then, too little for a model that holds its largest values."""
    shape = (200, 220)
    rows, cols = np.indices(shape)
    series = make_series(shape, cloud=np.abs((rows + cols) % 87 - 40) < 14)
    unseen = np.zeros(shape, bool)
    unseen[60:110, 60:90] = True
    for mask in series.clear_masks:
        with rasterio.open(mask, "r+") as file:
            file.write(unseen.astype(np.uint8), 1)
    result = do(make_job(series, method=method))
    with rasterio.open(result.output) as file, rasterio.open(result.uncertainty) as sigmas:
        inside = np.abs(file.read().astype(float) - series.truth) < 1.645 * sigmas.read()
    assert inside[:, series.cloud & unseen].mean() > 0.55
    assert 0.8 < inside[:, series.cloud & ~unseen].mean() < 0.97


@pytest.mark.parametrize("method", ["fast", "auto", "gaussian"])
def test_where_no_other_date_sees_the_gap_it_is_as_large_as_the_error(method, make_series, make_job, do) -> None:
    """Clear pixels, on which gaps are simulated, are seen by all dates; a part of the gap lies under clouds on all."""
    series = make_series()
    unseen = np.zeros(series.cloud.shape, bool)
    unseen[30:60, 30:45] = True
    for mask in series.clear_masks:
        with rasterio.open(mask, "r+") as file:
            file.write(unseen.astype(np.uint8), 1)
    result = do(make_job(series, method=method))
    with rasterio.open(result.output) as file:
        error = np.abs(file.read().astype(float) - series.truth) * 1e-4
    with rasterio.open(result.uncertainty) as file:
        sigma = file.read() * 1e-4
    seen, blind = series.cloud & ~unseen, series.cloud & unseen
    inside = error < 1.645 * sigma
    assert inside[:, seen].mean() > 0.8
    assert inside[:, blind].mean() > 0.7
    assert sigma[:, blind].mean() > 3 * sigma[:, seen].mean()
    assert result.expected_rmse == pytest.approx(np.sqrt(np.square(error[:, series.cloud]).mean()), rel=0.5)
    assert any("show less of a part of the gap" in text for _, text in do.log)
