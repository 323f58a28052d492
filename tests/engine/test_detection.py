"""Detection with a mask of the product beside it, and with margins in metres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.clouds import s2cloudless
from cloud_removal_plugin.clouds.morphology import dilate
from cloud_removal_plugin.engine.detection import joined
from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.errors import InputError


@pytest.fixture
def detected(do, make_series, tmp_path):
    """``detected(mask=None, **changes)``: classes of a scene with one bright disc, on pixels of 10 m."""
    series = make_series(shape=(96, 80))

    def run(mask: str = "", **changes: object) -> np.ndarray:
        job = Job(
            kind="detect", input=str(series.target), output=str(tmp_path / "classes.tif"), method="rules",
            cloud_mask=mask, probability=str(tmp_path / "probability.tif"),
        )  # fmt: skip
        do(replace(job, **changes))
        with rasterio.open(tmp_path / "classes.tif") as file:
            return file.read(1)

    return run


def test_joined_classes() -> None:
    found = np.array([0, 0, 0, 1, 2, 2, 255, 0], np.uint8)
    given = np.array([0, 1, 2, 2, 1, 0, 1, 255], np.uint8)
    assert joined(found, given).tolist() == [0, 1, 2, 1, 1, 2, 255, 0]


def test_a_mask_joins_in(detected, write_image, tmp_path) -> None:
    """An SCL with cloud and shadow in two corners; it is widened only where that is asked for."""
    scl = np.full((96, 80), 4, np.uint8)
    scl[5:15, 5:15], scl[80:90, 60:70] = 9, 3
    mask = str(write_image(scl, "SCL_2024-06-10.tif"))
    alone, both = detected(dilate=0), detected(mask, dilate=0)
    assert (both[scl == 9] == 1).all()
    assert (both[(scl == 3) & (alone != 1)] == 2).all()
    rest = scl == 4
    np.testing.assert_array_equal(both[rest], alone[rest])
    with rasterio.open(tmp_path / "probability.tif") as file:
        assert (file.read(1)[scl == 9] == 1).all()
    wide = detected(mask, dilate=3)
    assert (wide[dilate(scl == 9, 3)] == 1).all()


def test_metres_go_before_pixels(detected, write_image) -> None:
    mask = np.zeros((96, 80), np.uint8)
    mask[40:50, 5:10] = 1
    path = str(write_image(mask, "MASK_2024-06-10.tif"))
    pixels = detected(path, dilate=4)
    metres = detected(path, dilate=1, settings='{"dilate_m": 40}')
    np.testing.assert_array_equal(pixels, metres)
    assert (metres == 1).sum() > (detected(path, dilate=0) == 1).sum()


@pytest.mark.parametrize("settings", ['{"dilate_m": -5}', '{"dilate_m": "far"}', '{"colour": 1}', "no json", "[1]"])
def test_other_settings_are_refused(detected, settings) -> None:
    with pytest.raises(InputError, match="settings of the job"):
        detected(settings=settings)


@pytest.mark.parametrize(
    ("bands", "there", "ran"), [(13, True, "s2cloudless"), (13, False, "rules"), (4, True, "rules")]
)
def test_auto_says_which_detector_ran(do, write_image, tmp_path, monkeypatch, bands, there, ran) -> None:
    if there and s2cloudless.model_path() is None:
        pytest.skip("s2cloudless is not installed")
    if not there:
        monkeypatch.setattr(s2cloudless, "model_path", lambda: None)
    image = np.random.default_rng(1).integers(500, 900, (bands, 64, 64), np.uint16)
    layer = write_image(image, "S2L1C_2024-06-10.tif")
    job = Job(kind="detect", input=str(layer), output=str(tmp_path / "classes.tif"), method="auto")
    assert do(job).method_used == ran
    assert do(replace(job, method="rules")).method_used == "rules"
