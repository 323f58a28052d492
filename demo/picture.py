"""The demo's picture: images side by side, the whole scene above and a detail below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_INK = "#22303c"
_QUIET = "#66747f"
_KEPT = "#e9edf0"
_COLOURS = 256
_NO_DITHER = 0  # Image.Dither.NONE, a name that Pillow has only since 9.1 (Ubuntu 22.04 is older)
_PANEL_IN = 2.95
_DPI = 100


@dataclass(frozen=True)
class Panel:
    """One column.

    Attributes:
        title: what it shows.
        note: one quiet line below the title.
        image: (H, W, 3) colours in 0..1, or (H, W) values in reflectance with NaN where nothing was restored.
        limit: upper end of the colour ramp for values.
    """

    title: str
    note: str
    image: np.ndarray
    limit: float = 0.0


def colours(reflectance: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """True colours.

    Args:
        reflectance: (3, H, W), red, green, blue.
        low, high: (3,), what becomes black and white.

    Returns:
        float32 (H, W, 3) in 0..1.
    """
    scaled = (reflectance - low[:, None, None]) / (high - low)[:, None, None]
    return np.moveaxis(np.nan_to_num(scaled, nan=0.9).clip(0, 1), 0, -1).astype(np.float32) ** 0.75


def stretch(reflectance: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Black and white points of (3, H, W): just outside the darkest and at the brightest of the clear pixels (H, W)."""
    clear = reflectance[:, where] if where.any() else reflectance.reshape(3, -1)
    low, high = np.nanpercentile(clear, 0.5, axis=1), np.nanpercentile(clear, 99.3, axis=1)
    return low - 0.08 * (high - low), high


def busiest_detail(hidden: np.ndarray, edge: int) -> tuple[int, int]:
    """Upper left corner of the square in which hidden and seen pixels are most evenly mixed."""
    height, width = hidden.shape
    step = max(1, edge // 4)
    places = [
        (r, c) for r in range(0, max(1, height - edge + 1), step) for c in range(0, max(1, width - edge + 1), step)
    ]
    return min(places, key=lambda rc: abs(float(hidden[rc[0] : rc[0] + edge, rc[1] : rc[1] + edge].mean()) - 0.5))


def draw(path: Path, panels: Sequence[Panel], hidden: np.ndarray, heading: str, caption: str) -> None:
    """Draws the picture.

    Args:
        path: PNG to write.
        panels: columns from left to right.
        hidden: bool (H, W), the pixels that were restored.
        heading: bold line at the top.
        caption: quiet line at the bottom.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch, Rectangle

    plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": _INK, "font.size": 9})
    height, width = hidden.shape
    edge = max(8, min(height, width) // 4)
    row, col = busiest_detail(hidden, edge)
    columns = len(panels)
    panel_height = _PANEL_IN * height / width
    figure = plt.figure(figsize=(columns * (_PANEL_IN + 0.12) + 0.5, panel_height + _PANEL_IN + 2.0), dpi=_DPI)
    bottom = 0.95 / figure.get_figheight()
    top = 1 - 0.95 / figure.get_figheight()
    grid = figure.add_gridspec(
        2, columns, height_ratios=(panel_height, _PANEL_IN), left=0.012, right=0.988, bottom=bottom, top=top,
        wspace=0.035, hspace=0.03,
    )  # fmt: skip
    ramp = plt.get_cmap("magma").copy()
    ramp.set_bad(_KEPT)
    shown = None
    for number, panel in enumerate(panels):
        for line, window in enumerate(((slice(None), slice(None)), (slice(row, row + edge), slice(col, col + edge)))):
            axes = figure.add_subplot(grid[line, number])
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color="#c5ced5", linewidth=0.8)
            if panel.image.ndim == 3:
                axes.imshow(panel.image[window], interpolation="antialiased", aspect="auto")
            else:
                shown = axes.imshow(
                    np.ma.masked_invalid(panel.image[window]), cmap=ramp, vmin=0, vmax=panel.limit,
                    interpolation="antialiased" if line == 0 else "nearest", aspect="auto",
                )  # fmt: skip
            if line == 0:
                axes.set_title(panel.title, fontsize=11.5, fontweight="bold", loc="left", pad=19)
                axes.text(0, 1.02, panel.note, transform=axes.transAxes, fontsize=8.6, color=_QUIET, va="bottom")
                axes.add_patch(Rectangle((col, row), edge, edge, fill=False, edgecolor="white", linewidth=2.6))
                axes.add_patch(Rectangle((col, row), edge, edge, fill=False, edgecolor="#e4572e", linewidth=1.3))
    figure.text(0.012, 1 - 0.14 / figure.get_figheight(), heading, fontsize=14, fontweight="bold", va="top")
    figure.text(0.012, 0.2 / figure.get_figheight(), caption, fontsize=9, color=_QUIET)
    if shown is not None:
        _legend(figure, shown, Patch)
    _save(figure, path)
    plt.close(figure)


def _legend(figure, shown, patch) -> None:
    """Colour bar of the values, and what the grey means, at the lower right."""
    inches = figure.get_figheight()
    figure.legend(
        handles=[patch(facecolor=_KEPT, edgecolor="#c5ced5", label="clear: kept bit for bit"),
                 patch(facecolor="none", edgecolor="#e4572e", label="detail below")],
        loc="lower left", bbox_to_anchor=(0.008, 0.45 / inches), ncol=2, frameon=False, fontsize=9,
        handlelength=1.3, columnspacing=1.6,
    )  # fmt: skip
    axes = figure.add_axes((0.66, 0.68 / inches, 0.328, 0.11 / inches))
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal", extend="max")
    bar.set_label("reflectance (1.0 = 100 %), mean over bands", fontsize=8.6, color=_QUIET, labelpad=2)
    bar.ax.tick_params(labelsize=8, color=_QUIET, labelcolor=_QUIET, length=2)
    bar.outline.set_visible(False)


def _save(figure, path: Path) -> None:
    """A PNG of 256 colours: a fifth of the size, and nothing that the eye would miss."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    buffer.seek(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(buffer) as image:
        image.convert("RGB").quantize(_COLOURS, dither=_NO_DITHER).save(path, optimize=True)
