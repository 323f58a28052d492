"""Dates in the file names of the data sets."""

from __future__ import annotations

import datetime

LAUNCH = datetime.date(2014, 4, 3)
"""Launch of Sentinel-1A, from which SEN12MS-CR-TS and UnCRtainTS count days."""


def days_since_launch(date: datetime.date) -> int:
    """Day number of a date as the SEN12MS-CR-TS loader counts."""
    return (date - LAUNCH).days
