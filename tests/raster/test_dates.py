"""Dates in names and tags, typed dates, and what is said where none is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_removal_plugin.errors import DateError
from cloud_removal_plugin.raster.dates import assign, date_of, find_date, parse_dates
from cloud_removal_plugin.raster.info import describe


@pytest.fixture
def layer(write_image):
    """``layer(path, tags)``: a description with this path."""
    info = describe(str(write_image(np.ones((1, 2, 2), np.uint8))))
    return lambda path, **tags: replace(info, path=path, tags=tags)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("S2B_MSIL2A_20250302T095029_N0511_R079_T33UXP_20250303T104753.tif", date(2025, 3, 2)),
        ("T33UXP_20250302T095029_B02_10m.jp2", date(2025, 3, 2)),
        ("S2L1C_2018-07-05.tif", date(2018, 7, 5)),
        ("HLS.S30.T15SWD.2023153T170851.v2.0.B04.tif", date(2023, 6, 2)),
        ("LC09_L2SP_042034_20230615_20230620_02_T1_SR_B4.TIF", date(2023, 6, 15)),
        ("20230615_183045_12_24a1_3B_AnalyticMS_SR.tif", date(2023, 6, 15)),
        ("scene_2020_2_9.tif", date(2020, 2, 9)),
        ("/a/S2A_MSIL1C_20200101T101010_N0208_R022_T32TQM_x.SAFE/GRANULE/L1C/IMG_DATA/B02.jp2", date(2020, 1, 1)),
        ("/projects/2023-06-15/stack.tif", date(2023, 6, 15)),
        ("/projects/20240101_report/stack.tif", None),
        ("S2_month01.tif", None),
        ("ROIs2017_winter_102_p926_s2_clear.tif", None),
        ("Spain_7370579_S2Hand.tif", None),
        ("scene_20181345.tif", None),
        ("scene_99991231.tif", None),
    ],
)
def test_names(layer, path, expected):
    assert date_of(layer(path)) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"TIFFTAG_DATETIME": "2018:07:05 10:20:30"}, date(2018, 7, 5)),
        ({"ACQUISITION_DATE": "2019-01-02", "TIFFTAG_DATETIME": "2024:01:01 00:00:00"}, date(2019, 1, 2)),
        ({"date": "2018-01-21"}, date(2018, 1, 21)),
        ({"system:time_start": "1530748800000"}, date(2018, 7, 5)),
        ({"DATATAKE_1_DATATAKE_SENSING_START": "2020-06-01T10:10:10.000Z"}, date(2020, 6, 1)),
        ({"comment": "2020-06-01"}, None),
    ],
)
def test_tags(layer, tags, expected):
    assert date_of(layer("a.tif", **tags)) == expected


@given(st.dates(date(1972, 1, 1), date(2099, 12, 31)), st.sampled_from(["%Y%m%d", "%Y-%m-%d", "%Y%j", "%Y_%m_%d"]))
@settings(max_examples=40, deadline=None)
def test_every_form_is_read_back(day, form):
    assert find_date(f"x_{day.strftime(form)}_B02") == day


def test_typed_dates():
    assert parse_dates("2018-07-05; 20180625,2018190", 3) == [date(2018, 7, 5), date(2018, 6, 25), date(2018, 7, 9)]
    for text, n, words in (
        ("2018-07-05;yesterday", 2, "'yesterday' is not a date"),
        ("2018-07-05", 2, "1 date for 2 layers"),
        ("2018-07-05;2018-07-05", 2, "2018-07-05 twice"),
        ("2018-02-30", 1, "not a date"),
    ):
        with pytest.raises(DateError, match=words):
            parse_dates(text, n)


def test_assign(layer):
    found = [layer("a_20200110.tif"), layer("b_20200101.tif"), layer("c_20200120.tif")]
    days, dates, _ = assign(found, "")
    assert days.tolist() == [0.0, -9.0, 10.0]
    assert dates[1] == date(2020, 1, 1)
    days, dates, notes = assign([*found, layer("month4.tif")], "")
    assert days.tolist() == [0.0, 10.0, 20.0, 30.0]
    assert dates is None
    assert "month4.tif" in notes[0]
    assert notes[0].startswith("Warning")
    days, _, _ = assign(found, "2020-01-01;2020-02-01;2020-03-01")
    assert days.tolist() == [0.0, 31.0, 60.0]


def test_twins_of_one_day_are_allowed_in_names(layer):
    days, dates, notes = assign([layer("HLS_S30_2023-06-02.tif"), layer("HLS_L30_2023-06-02.tif")], "")
    assert days.tolist() == [0.0, 0.0]
    assert dates[1] - dates[0] == timedelta(0)
    assert any("same day" in note for note in notes)
