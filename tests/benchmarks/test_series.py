"""The series benchmark judges what it says: gaps on clear dates only, withheld everywhere, figures beside goals."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from benchmarks import accuracy, series
from benchmarks.cases import Setting
from benchmarks.scenes import Series


@pytest.fixture
def made() -> Series:
    rng = np.random.default_rng(3)
    base = 0.2 + 0.1 * rng.random((2, 24, 24))
    optical = np.stack([base * (1 + 0.02 * t) for t in range(5)]).astype(np.float32)
    clear = np.ones((5, 24, 24), bool)
    clear[2, :, :9] = False
    dates = tuple(dt.date(2024, 5, 1) + dt.timedelta(days=7 * t) for t in range(5))
    return Series("made", optical, clear, dates, ("red", "nir"), "generic")


def test_gaps_lie_on_clear_dates_and_are_withheld(made: Series) -> None:
    case = series.withhold(made, Setting("made", 9), "made")
    assert sorted(case.gaps) == [0, 1, 3, 4]
    for date, gap in case.gaps.items():
        assert np.isnan(case.observation.optical[date][:, gap]).all()
        assert np.isfinite(case.truth[date][:, gap]).all()
    assert (case.observation.cloud[2] > 0).mean() == pytest.approx(9 / 24)


def test_the_table_compares_with_linear_and_with_dates_by_themselves(made: Series) -> None:
    case = series.withhold(made, Setting("made", 9), "made")
    record = series.evaluate(case, ["interpolation"], ["interpolation"], 9)
    rows = series.table({"made": record}).splitlines()
    own = next(row for row in rows if "| interpolation |" in row)
    assert abs(float(own.split("|")[5])) < 0.02
    assert any("each date by itself" in row for row in rows)


def test_accuracy_hands_series_over(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(series, "main", lambda argv: seen.append(list(argv)) or 0)
    assert accuracy.main(["--series", "--sets", "LZ"]) == 0
    assert seen == [["--sets", "LZ"]]
