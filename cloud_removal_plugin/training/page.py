"""The log of a training as one self-contained page: curves, held-out figures, settings."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoints import write_whole
from .held_out import LOSS, best_of, judgements

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT, MARGIN = 720, 300, 56
MOST_POINTS, MOST_ROWS = 600, 200
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;vertical-align:top;text-align:left}"
    "svg{width:100%;min-width:560px;height:auto}.axis{stroke:#c5ced5;fill:none}.scroll{overflow-x:auto}.train{stroke:#1f6feb}.validation{stroke:#d1242f}.best{background:#fff3c4}"
)


def write_page(path: Path, title: str, settings: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: of the HTML file.
        title: heading.
        settings: shown as a table.
        history: rows with ``step``, and ``loss`` of the training or the held-out loss and further figures.

    Raises:
        OutputError: the file cannot be written.
    """
    found = judgements(history)
    curves = [
        ("train", "training loss", [(row["step"], row["loss"]) for row in history if "loss" in row]),
        ("validation", "held-out loss", [(row["step"], row[LOSS]) for row in found]),
    ]
    plots = _plot("loss by step", curves)
    if any("psnr" in row for row in found):
        psnr = [(row["step"], row["psnr"]) for row in found]
        plots += _plot("held-out PSNR by step, dB", [("validation", "held-out PSNR, dB", psnr)])
    table = "".join(f"<tr><td>{_text(key)}</td><td>{_text(value)}</td></tr>" for key, value in settings.items())
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style>"
        f"<h1>{_text(title)}</h1>{plots}{_figures(found, best_of(history))}"
        f"<h2>Settings</h2><table>{table}</table></html>\n"
    )
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _text(value: Any) -> str:
    return html.escape(str(value))


def _figures(found: Sequence[Mapping[str, float]], best: Mapping[str, float]) -> str:
    """Every judgement (the last 200), the best step marked; reflectance and dB."""
    if not found:
        return ""
    names = list(found[0])
    titles = {LOSS: "held-out loss", "psnr": "PSNR, dB", "mae": "MAE", "rmse": "RMSE", "f1": "F1"}
    head = "".join(f"<th>{_text(titles.get(name, name))}</th>" for name in names)
    rows = "".join(
        f"<tr{' class=best' if row is best else ''}>"
        + "".join(f"<td>{_number(name, row[name])}</td>" for name in names)
        + "</tr>"
        for row in found[-MOST_ROWS:]
    )
    note = "Step 0 is the network before the training; the marked step's weights are kept."
    units = "MAE and RMSE in reflectance (1.0 = 100 %). " if {"mae", "rmse"} & set(names) else ""
    table = f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'
    return f"<h2>On held-out samples</h2><p>{units}{note}</p>{table}"


def _number(name: str, value: float) -> str:
    """Decibels with two decimals, shares and reflectance with four, losses with five digits."""
    form = {"step": ".0f", "psnr": ".2f", "mae": ".4f", "rmse": ".4f", "f1": ".4f"}.get(name, ".5g")
    return format(value, form)


@dataclass(frozen=True)
class _Axes:
    """Places of numbers on the drawing; logarithmic where all of them are positive."""

    right: float
    low: float
    high: float
    forth: Callable[[float], float]
    back: Callable[[float], float]

    def place(self, x: float, y: float) -> str:
        col = MARGIN + (WIDTH - 2 * MARGIN) * x / self.right
        row = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (self.forth(y) - self.low) / (self.high - self.low)
        return f"{col:.1f},{row:.1f}"

    def labels(self) -> str:
        """Numbers and lines of the upright axis, both ends of the level one."""
        left, right = f'x1="{MARGIN}"', f'x2="{WIDTH - MARGIN}"'
        rows = [HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share for share in (0, 0.5, 1)]
        lines = "".join(f'<line class="axis" {left} {right} y1="{row:.1f}" y2="{row:.1f}"/>' for row in rows)
        return lines + "".join(
            f'<text x="4" y="{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share + 4:.0f}" font-size="12">'
            f"{self.back(self.low + share * (self.high - self.low)):.3g}</text>"
            for share in (0, 0.5, 1)
        )


def _axes(points: Points, logarithmic: bool) -> _Axes:
    forth, back = (math.log10, lambda value: 10**value) if logarithmic else (float, float)
    low, high = (forth(f(y for _, y in points)) for f in (min, max))
    return _Axes(max(x for x, _ in points) or 1, low, high if high - low > 1e-6 else low + 1e-6, forth, back)


def _plot(title: str, curves: Sequence[tuple[str, str, Points]]) -> str:
    """Curves in one drawing: likelihoods may be negative, other losses are shown on a logarithmic axis."""
    shown = [(kind, name, [(x, y) for x, y in points if math.isfinite(y)]) for kind, name, points in curves]
    every = [point for _, _, points in shown for point in points]
    if not every:
        return "<p>No step was made yet.</p>"
    axes = _axes(every, "loss" in title and all(y > 0 for _, y in every))
    lines = key = ""
    for number, (kind, name, points) in enumerate(shown):
        kept = list(points[:: max(1, len(points) // MOST_POINTS)]) + points[-1:]
        path = " ".join(axes.place(*point) for point in kept)
        lines += f'<polyline class="{kind}" fill="none" stroke-width="1.5" points="{path}"/>'
        colour = "#1f6feb" if kind == "train" else "#d1242f"
        key += f'<text x="{MARGIN + 110 * number}" y="18" font-size="12" fill="{colour}">{_text(name)}</text>'
    key += f'<text x="{MARGIN}" y="{HEIGHT - 36}" font-size="12">step 0</text>'
    key += f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 36}" font-size="12" text-anchor="end">step {axes.right:.0f}</text>'
    return (
        f'<div class="scroll"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(title)}">'
        f"{axes.labels()}{key}{lines}</svg></div>"
    )
