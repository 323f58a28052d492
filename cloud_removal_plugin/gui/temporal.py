"""Layers that QGIS' Temporal Controller shows at their time."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from qgis.core import Qgis, QgsDateTimeRange, QgsRasterLayer, QgsRasterLayerTemporalProperties
from qgis.PyQt.QtCore import QDate, QDateTime, QTime

from .styling import Style


def dated_style(style: Style, days: Sequence[datetime.date]) -> Style:
    """``style`` that also sets the time range of the loaded layer.

    Args:
        style: how the layer is to look.
        days: first and last day for which the layer stands; empty = not known.
    """

    def apply(layer: QgsRasterLayer) -> None:
        style(layer)
        if days:
            set_range(layer, days[0], days[-1])

    return apply


def set_range(layer: QgsRasterLayer, first: datetime.date, last: datetime.date) -> None:
    """Show the layer from the first moment of one day to the last of another."""
    begin = QDateTime(QDate(first.year, first.month, first.day), QTime(0, 0))
    end = QDateTime(QDate(last.year, last.month, last.day), QTime(23, 59, 59))
    properties = layer.temporalProperties()
    properties.setMode(_fixed_range())
    properties.setFixedTemporalRange(QgsDateTimeRange(begin, end))
    properties.setIsActive(True)


def _fixed_range():
    """The mode of a fixed range, whose enumeration newer QGIS has in another class and under another name."""
    if hasattr(Qgis, "RasterTemporalMode"):
        return Qgis.RasterTemporalMode.FixedTemporalRange
    return QgsRasterLayerTemporalProperties.TemporalMode.ModeFixedTemporalRange
