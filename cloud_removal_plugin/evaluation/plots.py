"""The report's plots, drawn with matplotlib as SVG (lines and bars) or PNG (maps)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .pictures import address

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#22303c", "#5c6a75", "#d9dfe4"
ACCENT, SECOND, PALE = "#1f6f8b", "#c8553d", "#9fb8c4"
CYCLE = ("#1f6f8b", "#d55e00", "#f0c05a", "#979cdd", "#aa49ef", "#50b8a7", "#d3d3a4", "#444b34")
"""Apart from each other (CIE 1976 Lab, 23 or more) with full, red-, green- and blue-blind sight alike."""

SIZE_IN = (4.6, 3.3)
_STYLE = {
    "font.family": "DejaVu Sans", "font.size": 11, "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": "#aab4bc",
    "axes.linewidth": 0.8, "xtick.color": QUIET, "ytick.color": QUIET, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.7, "axes.axisbelow": True,
    "svg.hashsalt": "cloud-removal",
}  # fmt: skip


def _figure(size: tuple[float, float] = SIZE_IN) -> tuple[Figure, Axes]:
    """A figure that no window knows of, so that threads and QGIS are left alone."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.add_subplot()


def _address(figure: Figure, kind: str = "svg") -> str:
    from matplotlib import rc_context

    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    with rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=160, facecolor="white", metadata=metadata)
    return address(buffer.getvalue(), "image/svg+xml" if kind == "svg" else "image/png")


def coverage(measured: Mapping[str, float | None]) -> str:
    """Share of true values inside central intervals against what the intervals promise, both in percent."""
    figure, axes = _figure()
    promised = [float(level) for level in measured]
    held = [np.nan if share is None else 100 * share for share in measured.values()]
    axes.plot([0, 100], [0, 100], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate("perfect", (24, 18), color=QUIET, fontsize=10, ha="left", va="top")
    axes.plot(promised, held, color=ACCENT, marker="o", linewidth=1.8)
    axes.set(xlim=(0, 104), ylim=(0, 104), xlabel="promised by the interval (%)", ylabel="true values inside (%)")
    return _address(figure)


def reliability(sigma: np.ndarray, error: np.ndarray, bins: int = 12) -> str:
    """Announced against measured error, in groups of equally many values."""
    figure, axes = _figure()
    order = np.argsort(sigma, kind="stable")
    groups = [part for part in np.array_split(order, bins) if len(part)]
    announced = [float(np.sqrt(np.mean(np.square(sigma[part])))) for part in groups]
    measured = [float(np.sqrt(np.mean(np.square(error[part])))) for part in groups]
    top = 1.08 * max([*announced, *measured, 1e-4])
    axes.plot([0, top], [0, top], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(announced, measured, color=ACCENT, marker="o", linewidth=1.8)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="announced error (reflectance)", ylabel="measured error (RMSE)")
    return _address(figure)


def discard(rmse: Sequence[float]) -> str:
    """RMSE of what is left when the least certain values are discarded."""
    figure, axes = _figure()
    kept = np.linspace(100 / len(rmse), 100, len(rmse))
    axes.plot(kept, rmse, color=ACCENT, marker="o", markersize=3.5, linewidth=1.8)
    axes.fill_between(kept, rmse, color=ACCENT, alpha=0.08)
    axes.set(xlim=(0, 102), ylim=(0, None), xlabel="most certain values kept (%)", ylabel="RMSE (reflectance)")
    return _address(figure)


WORST_MAP = 4.0
"""Of several maps the scale reaches this many times as far as the best one needs."""

LONGEST_BAR = 4.0
"""Bars longer than this many times the median are cut, so that the others can still be told apart."""


def _longest(values: Sequence[float]) -> float:
    """Where the longest bar ends: a cut that saves less than half of the width is not worth its arrow."""
    longest = max([*values, 1e-9])
    limit = LONGEST_BAR * float(np.median([value for value in values if value > 0] or [longest]))
    return longest if longest <= 2 * limit else limit


def bars(
    names: Sequence[str], values: Sequence[float], label: str, strong: Sequence[str] = (), form: str = "{:.4f}"
) -> str:
    """Horizontal bars from top to bottom, ``strong`` ones in the accent's colour; far outliers end in an arrow."""
    figure, axes = _figure((2 * SIZE_IN[0], max(1.5, 0.36 * len(names) + 0.7)))
    colours = [ACCENT if name in strong or not strong else PALE for name in names]
    places = np.arange(len(names))
    end = _longest(values)
    axes.barh(places, np.minimum(values, end), color=colours, height=0.66)
    for place, value in zip(places, values, strict=True):
        text = form.format(value) + (" \u2192" if value > end else "")
        axes.annotate(
            text, (min(value, end), place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=10
        )
    axes.set(yticks=places, yticklabels=list(names), xlabel=label, xlim=(0, 1.18 * end))
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    return _address(figure)


def columns(groups: Sequence[str], series: Mapping[str, Sequence[float]], label: str) -> str:
    """Grouped columns: one group a place on the axis, one colour a series; NaN leaves a gap."""
    figure, axes = _figure((2 * SIZE_IN[0], SIZE_IN[1]))
    width = 0.8 / max(len(series), 1)
    places = np.arange(len(groups))
    for number, (name, values) in enumerate(series.items()):
        shift = (number - (len(series) - 1) / 2) * width
        axes.bar(places + shift, values, width * 0.94, color=CYCLE[number % len(CYCLE)], label=name)
    axes.set(xticks=places, xticklabels=list(groups), ylabel=label, ylim=(0, None))
    axes.grid(False, axis="x")
    axes.tick_params(axis="x", length=0, labelcolor=INK, rotation=0 if sum(map(len, groups)) <= 64 else 35)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=10, ncol=min(len(series), 3), loc="lower left", bbox_to_anchor=(0, 1))
    return _address(figure)


def stacked(rows: Sequence[str], parts: Mapping[str, Sequence[float]], label: str) -> str:
    """Horizontal bars that add up, one a row: the members' weights of every region; negative ones left of zero."""
    figure, axes = _figure((2 * SIZE_IN[0], max(1.5, 0.32 * len(rows) + 1.0)))
    places, left, right = np.arange(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
    for number, (name, values) in enumerate(parts.items()):
        width, colour = 100 * np.asarray(values, float), CYCLE[number % len(CYCLE)]
        start = np.where(width < 0, left, right)
        axes.barh(places, width, left=start, height=0.7, color=colour, label=name)
        for place in np.flatnonzero(np.abs(width) > 8):
            middle = (start[place] + width[place] / 2, place)
            axes.annotate(f"{width[place]:.0f}", middle, ha="center", va="center", color=_on(colour), fontsize=10)
        left, right = left + np.minimum(width, 0), right + np.maximum(width, 0)
    ends = (min(0.0, float(left.min(initial=0.0))), max(100.0, float(right.max(initial=0.0))))
    axes.set(yticks=places, yticklabels=list(rows), xlabel=label, xlim=ends)
    axes.invert_yaxis()
    axes.grid(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.legend(frameon=False, fontsize=10, ncol=min(len(parts), 3), loc="lower left", bbox_to_anchor=(0, 1))
    return _address(figure)


def _on(colour: str) -> str:
    """White or ink, whichever can be read on a colour."""
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5 else INK


UNKNOWN = (0.55, 0.75, 0.91, 1.0)
"""Pale blue, which the ramp of a map does not have."""


def map_of(
    values: np.ndarray,
    label: str,
    *,
    diverging: bool = False,
    top: float | None = None,
    unknown: np.ndarray | None = None,
) -> str:
    """A map with its colour bar; pale grey where there is no value, pale blue where one is missing (``unknown``)."""
    from matplotlib import colormaps

    height, width = values.shape
    across = SIZE_IN[0]
    figure, axes = _figure((across, across * min(max(height / width, 0.35), 1.6) + 0.55))
    ramp = colormaps["RdBu_r" if diverging else "magma"].copy()
    ramp.set_bad("#e9edf0")
    known = values[np.isfinite(values)]
    if top is None:
        top = float(np.quantile(np.abs(known), 0.99)) if known.size else 1.0
    top = max(top, 1e-6)
    low = -top if diverging else 0.0
    shown = axes.imshow(np.ma.masked_invalid(values), cmap=ramp, vmin=low, vmax=top, interpolation="antialiased")
    if unknown is not None and unknown.any():
        axes.imshow(unknown[..., None] * np.array(UNKNOWN), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color="#c5ced5", linewidth=0.8)
    bar = figure.colorbar(shown, ax=axes, orientation="horizontal", extend="both" if diverging else "max", pad=0.02,
                          shrink=0.94, aspect=34)  # fmt: skip
    bar.set_label(label, fontsize=10.5)
    bar.ax.locator_params(nbins=5)
    bar.ax.tick_params(labelsize=10)
    bar.outline.set_visible(False)
    return _address(figure, "png")


def common_top(maps: Sequence[np.ndarray]) -> float:
    """An upper end of the colour scale that suits several maps: a far worse one saturates, so that others show."""
    known = [values[np.isfinite(values)] for values in maps]
    tops = [float(np.quantile(values, 0.99)) for values in known if values.size]
    least = min((top for top in tops if top > 0), default=1.0)
    return min(max(tops, default=1.0), WORST_MAP * least)


def as_numbers(values: Sequence[Any]) -> list[float]:
    """None becomes NaN, which plots leave out."""
    return [float("nan") if value is None else float(value) for value in values]
