"""The frame of a small web page, the same for every report that is a list or a table."""

from __future__ import annotations

from html import escape

_STYLE = "body{{font:15px/1.5 sans-serif;color:#22303c;margin:24px auto;max-width:{width}px;padding:0 16px}}"


def webpage(title: str, body: str, style: str, width: int) -> str:
    """A complete page without links to anything outside it.

    Args:
        title: as text; it is the heading, too.
        body: HTML below the heading.
        style: CSS of what is in the body.
        width: the most that the page takes, in CSS pixels.
    """
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.format(width=width)}{style}</style></head>"
        f"<body><h2>{escape(title)}</h2>{body}</body></html>\n"
    )
