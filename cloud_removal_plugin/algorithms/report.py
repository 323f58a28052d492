"""A report as plain data, as text and as a web page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from ..webpage import webpage

GOOD, HINT, BAD = "ok", "hint", "missing"
"""Fine; works without it, but it would be better with it; does not work without it."""

_MARKS = {GOOD: "[ok]     ", HINT: "[hint]   ", BAD: "[missing]"}
_STYLE = (
    "td,th{text-align:left;vertical-align:top;padding:3px 14px 3px 0}th{padding-top:14px}"
    "td:last-child{overflow-wrap:anywhere}"
)
_COLOURS = {GOOD: "#2e7d32", HINT: "#b26a00", BAD: "#b3261e"}


@dataclass(frozen=True)
class Item:
    """One finding.

    Attributes:
        section: heading under which it stands.
        name: what was looked for.
        found: what is there.
        state: GOOD, HINT or BAD.
        cure: what to do about it, '' where nothing is to be done.
    """

    section: str
    name: str
    found: str
    state: str = GOOD
    cure: str = ""


def problems(items: Iterable[Item]) -> int:
    """How many things are missing that the plugin cannot work without."""
    return sum(item.state == BAD for item in items)


def as_text(items: Iterable[Item]) -> str:
    """One line a finding, its cure below it."""
    lines: list[str] = []
    section = ""
    for item in items:
        if item.section != section:
            section = item.section
            lines += ["", section] if lines else [section]
        lines.append(f"{_MARKS[item.state]} {item.name}: {item.found}")
        if item.cure:
            lines.append(f"          -> {item.cure}")
    return "\n".join(lines)


def as_html(title: str, items: Iterable[Item]) -> str:
    """A complete page without links to anything outside it."""
    rows: list[str] = []
    section = ""
    for item in items:
        if item.section != section:
            section = item.section
            rows.append(f'<tr><th colspan="3">{escape(section)}</th></tr>')
        cure = f"<br><i>{escape(item.cure)}</i>" if item.cure else ""
        rows.append(
            f'<tr><td style="color:{_COLOURS[item.state]}"><b>{item.state}</b></td>'
            f"<td>{escape(item.name)}</td><td>{escape(item.found)}{cure}</td></tr>"
        )
    return webpage(title, f"<table>{''.join(rows)}</table>", _STYLE, width=1000)
