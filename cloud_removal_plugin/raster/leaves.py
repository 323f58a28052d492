"""The few numbers and names that are wanted of a product's XML metadata, read by the tags around them.

Only elements that hold text matter, so this is no XML parser: nothing in a file that came from somewhere is expanded
or followed, and of a cut file the part that is there can still be read.
"""

from __future__ import annotations

import re
from functools import lru_cache

_ATTRIBUTE = re.compile(r'([\w:.-]+)\s*=\s*"([^"]*)"')


@lru_cache(maxsize=128)
def _element(tag: str) -> re.Pattern[str]:
    return re.compile(rf"<(?:\w+:)?{re.escape(tag)}(\s[^>]*)?>(.*?)</(?:\w+:)?{re.escape(tag)}\s*>", re.DOTALL)


def blocks(text: str, tag: str) -> list[tuple[dict[str, str], str]]:
    """Attributes and inner text of every element of a name, whatever its namespace prefix; none inside its like."""
    return [(dict(_ATTRIBUTE.findall(match[1] or "")), match[2]) for match in _element(tag).finditer(text)]


def first(text: str, *tags: str) -> str:
    """Text of the first element with one of these names that is not empty, tried in their order; '' without one."""
    for tag in tags:
        for _, inner in blocks(text, tag):
            if inner.strip():
                return inner.strip()
    return ""


def number(text: str, *tags: str) -> float | None:
    """The first such element as a number, None where there is none or it is no number."""
    try:
        return float(first(text, *tags))
    except ValueError:
        return None
