"""Alpha bands: true ones show what was restored, as far as they show the rest; false ones are measurements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@pytest.fixture
def remade(write_image):
    """``remade(series, change)``: every date written again; ``change(numbers)`` gives numbers and profile."""

    def make(series, change):
        def again(path):
            with rasterio.open(path) as file:
                numbers, names = file.read(), file.descriptions
            numbers, names, colours, scale = change(numbers, names)
            made = write_image(numbers, path.name)
            with rasterio.open(made, "r+") as file:
                file.descriptions, file.colorinterp = names, colours
                file.scales = (scale,) * len(numbers)
            return made

        return replace(series, target=again(series.target), others=tuple(map(again, series.others)))

    return make


@pytest.mark.parametrize(("dtype", "unit"), [("uint16", 1e-4), ("float32", 1.0), ("uint8", 0.004)])
def test_a_band_that_is_marked_as_transparency_by_mistake_is_restored(
    dtype, unit, make_series, make_job, do, remade
) -> None:
    """GDAL marks the fourth of four bands so where nobody says what it is."""

    def change(numbers, names):
        numbers = numbers * 1e-4 / unit
        return (
            (numbers if dtype == "float32" else np.rint(numbers)).astype(dtype),
            names,
            (*COLOURS, ColorInterp.alpha),
            unit,
        )

    series = remade(make_series(), change)
    result = do(make_job(series))
    with rasterio.open(result.output) as file, rasterio.open(series.target) as before:
        found = file.read() * unit
        np.testing.assert_array_equal(file.read()[:, ~series.cloud], before.read()[:, ~series.cloud])
    assert np.abs(found - series.truth * 1e-4)[:, series.cloud].mean() < 0.006
    assert any("marked as transparency but holds measurements" in text for _, text in do.log)


@pytest.mark.parametrize("opaque", [255, 65_535])
def test_restored_pixels_are_as_opaque_as_the_others(opaque, make_series, make_job, do, remade) -> None:
    hidden = np.zeros((96, 80), bool)
    hidden[:9, :9] = hidden[40:50, 30:40] = True  # beside and inside the gap

    def change(numbers, names):
        alpha = np.where(hidden, 0, opaque).astype(np.uint16)[None]
        colours = (*COLOURS, ColorInterp.undefined, ColorInterp.alpha)
        return np.concatenate([numbers, alpha]), (*names, "alpha"), colours, 1.0

    series = remade(make_series(), change)
    result = do(make_job(series))
    with rasterio.open(result.output) as file:
        assert (file.read(5) == np.where(hidden & ~series.cloud, 0, opaque)).all()
