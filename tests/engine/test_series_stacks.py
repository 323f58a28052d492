"""Rasters whose bands are dates x bands: how they are cut, and what would mix dates."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.errors import InputError
from tests.engine.conftest import SEASON_NAMES as NAMES
from tests.engine.test_series import done, read


def test_a_stack_of_dates_is_a_series(season, tmp_path, write_image) -> None:
    images, masks = season(4)
    done(images, tmp_path, masks)
    one = write_image(np.concatenate([read(path) for path in images]), "season.tif")
    with rasterio.open(one, "r+") as file:
        file.descriptions = tuple(f"{Path(p).stem[3:]} {n}" for p, n in itertools.product(images, NAMES))
    hidden = write_image(np.concatenate([read(path) for path in masks]), "season_masks.tif")
    done([str(one)], tmp_path, [str(hidden)], bands_per_date=4, output=str(tmp_path / "stacked"))
    for path in sorted((tmp_path / "out").glob("restored*.tif")):
        np.testing.assert_array_equal(read(tmp_path / "stacked" / path.name), read(path))


def test_a_stack_keeps_what_its_name_says_but_not_its_date(season, tmp_path, write_image) -> None:
    images, masks = season(3)
    one = write_image(np.concatenate([read(path) for path in images]), "S2L2A_season_20240501.tif")
    said = []
    hidden = write_image(np.concatenate([read(path) for path in masks]), "season_masks.tif")
    done([str(one)], tmp_path, [str(hidden)], bands_per_date=4, log=lambda level, text: said.append(text))
    assert any("S2L2A_season_date1.vrt and 2 more: read as sentinel2 ('S2L2A' in its name" in text for text in said)
    assert any("no acquisition date was found" in text and "S2L2A_season_date3.vrt" in text for text in said)


def test_a_stack_whose_bands_hold_dates_is_no_single_date(season, tmp_path) -> None:
    """The stack of an earlier run, given without BANDS_PER_DATE."""
    images, masks = season(3)
    done(images, tmp_path, masks)
    stack = str(tmp_path / "out" / "stack.vrt")
    with pytest.raises(InputError, match=r"stack.vrt' hold 3 dates.* Type 4 for BANDS_PER_DATE"):
        done([stack], tmp_path, output=str(tmp_path / "again"))
    done([stack], tmp_path, bands_per_date=4, output=str(tmp_path / "again"))
    assert len(list((tmp_path / "again").glob("restored_2024*.tif"))) == 3


def test_a_stack_is_cut_by_the_dates_in_its_bands(season, tmp_path, write_image) -> None:
    """All dates of a band after each other is another order; another number of bands would mix the dates."""
    images, masks = season(3)
    done(images, tmp_path, masks, output=str(tmp_path / "apart"))
    days = [Path(path).stem[3:] for path in images]
    planes = np.stack([read(path) for path in images]).transpose(1, 0, 2, 3).reshape(12, 64, 48)
    stack = str(write_image(planes, "season.tif"))
    with rasterio.open(stack, "r+") as file:
        file.descriptions = [f"{day}_{name}" for name in NAMES for day in days]
    done([stack], tmp_path, masks, bands_per_date=4)
    for path in sorted((tmp_path / "apart").glob("restored*.tif")):
        np.testing.assert_array_equal(read(tmp_path / "out" / path.name), read(path))
    with pytest.raises(InputError, match="hold 3 dates of 4 bands, and BANDS_PER_DATE 6 would mix them"):
        done([stack], tmp_path, bands_per_date=6)


def test_dates_of_a_stack_with_different_bands_were_cut_wrongly(season, tmp_path, write_image) -> None:
    images, masks = season(3)
    stack = str(write_image(np.concatenate([read(path) for path in images]), "season.tif"))
    with rasterio.open(stack, "r+") as file:
        file.descriptions = NAMES * 3
    with pytest.raises(InputError, match=r"dates of 'season.tif' have different bands .blue, green; red, nir."):
        done([stack], tmp_path, bands_per_date=2)
    unnamed = str(write_image(np.concatenate([read(path) for path in [*images, *images]]), "many.tif"))
    result = done([unnamed], tmp_path, masks[:1], method="inpainting")
    assert any("24 bands without names, taken as one date" in line for line in result.warnings)
