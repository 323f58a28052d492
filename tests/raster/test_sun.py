"""The sun's place from tags of different products."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_removal_plugin.raster.info import describe
from cloud_removal_plugin.raster.sun import Sun, sun_of


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ({"SUN_AZIMUTH": "148.91234", "SUN_ELEVATION": "61.5"}, Sun(148.91234, 61.5)),
        ({"MEAN_SUN_AZIMUTH_ANGLE": "137.4, 137.5", "MEAN_SUN_ZENITH_ANGLE": "25.5"}, Sun(137.4, 64.5)),
        ({"MEAN_SOLAR_AZIMUTH_ANGLE": "160", "MEAN_SOLAR_ZENITH_ANGLE": "30"}, Sun(160.0, 60.0)),
        ({"view:sun_azimuth": "12.5", "view:sun_elevation": "-3"}, Sun(12.5, None)),
        ({"SUN_AZIMUTH": "unknown", "VIEW_AZIMUTH": "100"}, Sun()),
    ],
)
def test_tags(write_image, tags, wanted) -> None:
    import numpy as np

    info = describe(str(write_image(np.ones((1, 8, 8), np.uint16), "image.tif")))
    assert sun_of(replace(info, tags=tags)) == wanted
