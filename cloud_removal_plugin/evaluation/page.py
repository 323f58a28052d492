"""A report as plain data, and as one HTML file that needs nothing else: no network, fonts or scripts from outside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DependencyError
from .pictures import Picture

TEMPLATES = Path(__file__).resolve().parent / "templates"
NEEDED = ("jinja2", "matplotlib", "PIL")


@dataclass(frozen=True)
class Tile:
    """One large number at the top: its name, the number with its unit, and a hint below."""

    label: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows, and a row of one cell is a heading inside it.

    ``strong``: rows in bold. ``texts``: columns of words, which start at the left. ``note``: a quiet line below.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = ()
    texts: Sequence[int] = ()
    note: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side where there is room."""

    pictures: Sequence[Picture]
    kind: str = "gallery"


@dataclass(frozen=True)
class Sentences:
    """Sentences as a list; ``alarming`` ones stand out."""

    lines: Sequence[str]
    alarming: bool = False
    kind: str = "sentences"


@dataclass(frozen=True)
class Code:
    """Text to copy, under a label; folded away where it is long."""

    label: str
    text: str
    folded: bool = False
    kind: str = "code"


Block = Table | Gallery | Sentences | Code


@dataclass(frozen=True)
class Section:
    """A part of the report: heading, a sentence or two on how to read it, and what there is to see."""

    title: str
    lead: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """The report.

    Attributes:
        title, subtitle, verdict: what it is about, and what came out in a sentence.
        tiles: the most important numbers.
        views: pictures of one size that can be laid over each other; left, right: titles of the two shown first.
        views_note: how the views are drawn.
        sections: in the order of the page.
        footer: one quiet line at the end.
    """

    title: str
    subtitle: str
    verdict: str
    tiles: Sequence[Tile]
    views: Sequence[Picture]
    left: str
    right: str
    views_note: str
    sections: Sequence[Section]
    footer: str
    warnings: Sequence[str] = field(default=())


def check_needed() -> None:
    """Ask for the report's libraries before any work is done.

    Raises:
        DependencyError: naming what is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"The report needs {', '.join(missing)}, which the Python that runs the job lacks. Install it there, or "
            "leave the report's file name (REPORT) empty."
        )


def render(page: Page) -> str:
    """The HTML of a page; everything that comes from files or the analyst is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    html = environment.get_template("report.html").render(page=page)
    return re.sub(r"(?<=[0-9]) (?=%)", "\u00a0", html)
