"""Numbers as an analyst reads them."""

from __future__ import annotations

from collections.abc import Sequence

MISSING = "–"


def number(value: float | int | None, form: str) -> str:
    """A number in a format, a dash where it is not known or not finite."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return "∞" if value == float("inf") else MISSING
    return form.format(value)


def reflectance(value: float | None) -> str:
    """Four decimals: a hundredth of a percent of reflectance."""
    return number(value, "{:.4f}")


def signed(value: float | None) -> str:
    """A difference in reflectance with its sign; none where it rounds to zero."""
    text = number(value, "{:+.4f}")
    return "0.0000" if text in ("+0.0000", "-0.0000") else text


def percent(share: float | None) -> str:
    """A share in 0..1 as percent with one decimal, none from 10 % on; never rounded to 0 or 100 what is not."""
    if share is None or share != share:
        return MISSING
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.0f} %" if 9.95 <= value <= 99 or value in (0, 100) else f"{value:.1f} %"


def count(value: int | float | None) -> str:
    """A count with thin spaces between thousands."""
    return MISSING if value is None else f"{int(value):,}".replace(",", "\u2009")


def seconds(value: float) -> str:
    """A duration in seconds, minutes or hours."""
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def days(value: float) -> str:
    """A distance in time from the scene."""
    whole = round(value)
    if whole == 0:
        return "same day"
    unit = "day" if abs(whole) == 1 else "days"
    return f"{abs(whole)} {unit} {'before' if whole < 0 else 'after'}"


def listed(words: Sequence[str]) -> str:
    """'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
