"""The log of a training as one self-contained page: curves, settings, figures."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .checkpoints import write_whole

WIDTH, HEIGHT, MARGIN = 720, 300, 56
MOST_POINTS = 600
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;vertical-align:top}"
    "svg{width:100%;height:auto}.train{stroke:#1f6feb}.validation{stroke:#d1242f}"
)


def write_page(path: Path, title: str, settings: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: of the HTML file.
        title: heading.
        settings: shown as a table.
        history: rows with ``step``, ``loss`` and, where it was validated, ``validation`` and further figures.

    Raises:
        OutputError: the file cannot be written.
    """
    train = [(row["step"], row["loss"]) for row in history if "loss" in row]
    held_out = [(row["step"], row["validation"]) for row in history if "validation" in row]
    last = next((row for row in reversed(history) if "validation" in row), {})
    rows = {**settings, **{f"last {key}": f"{value:.5g}" for key, value in last.items()}}
    table = "".join(f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>{_plot(train, held_out)}<table>{table}</table></html>\n"
    )
    write_whole(path, lambda part: _put(part, text))


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _plot(train: Sequence[tuple[float, float]], held_out: Sequence[tuple[float, float]]) -> str:
    points = [(x, y) for x, y in (*train, *held_out) if math.isfinite(y) and y > 0]
    if not points:
        return "<p>No step was made yet.</p>"
    right = max(x for x, _ in points) or 1
    low, high = (math.log10(f(y for _, y in points)) for f in (min, max))
    high = high if high - low > 1e-6 else low + 1e-6

    def place(x: float, y: float) -> str:
        col = MARGIN + (WIDTH - 2 * MARGIN) * x / right
        row = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (math.log10(y) - low) / (high - low)
        return f"{col:.1f},{row:.1f}"

    def line(values: Sequence[tuple[float, float]], name: str) -> str:
        kept = [(x, y) for x, y in values if math.isfinite(y) and y > 0]
        kept = kept[:: max(1, len(kept) // MOST_POINTS)] + kept[-1:]
        return f'<polyline class="{name}" fill="none" stroke-width="1.5" points="{" ".join(place(*p) for p in kept)}"/>'

    labels = "".join(
        f'<text x="4" y="{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share + 4:.0f}" font-size="12">'
        f"{10 ** (low + share * (high - low)):.3g}</text>"
        for share in (0, 0.5, 1)
    )
    key = (
        f'<text x="{MARGIN}" y="18" font-size="12" fill="#1f6feb">training loss</text>'
        f'<text x="{MARGIN + 110}" y="18" font-size="12" fill="#d1242f">held-out loss</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 20}" font-size="12" text-anchor="end">step {right:.0f}</text>'
    )
    curves = line(train, "train") + line(held_out, "validation")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="loss by step">{labels}{key}{curves}</svg>'
