"""What a series of dates says of clouds and shadows, pixel by pixel.

The ground changes slowly and clouds come and go: a date that is much brighter than the darkest of the others in the
shortest visible band shows cloud, one whose NIR and SWIR together are far below its clear neighbours shows shadow. The
sum of NIR and SWIR is used because it hardly moves when a crop grows or is harvested (one falls as the other rises);
visible light has to fall with it.
Everything here is pointwise, so it cannot depend on how the scene was cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .rules import DateCues, Recipe
from .shadows import WEAK_SHARE

LEAST_DATES = 3
"""Dates from which a pixel has a time series worth the name."""

SECOND_DARKEST_FROM = 6
"""With this many dates the reference is the second darkest, so that one bad value does not make it."""

REFERENCE_SHADE, REFERENCE_GAP = 0.65, 0.08
"""The darkest date is shadow where its NIR + SWIR is this share of the second darkest's, and brightness so close."""

SEASON_DAYS, FAR_WEIGHT = 30.0, 0.01
"""Days after which a date counts e times less as a reference for shadows, and what the farthest still counts."""

EXCESS_RANGE = (-0.03, 0.25)
SNOW_LOGIT = -4.0
CLEAR_LOGIT = -0.6
DARK_GROUND = 0.12
"""NIR + SWIR below which the ground itself is so dark (water) that they can't tell its shadows."""

LIGHT_PART = 0.55
"""Part of the visible share below which no share falls: shadow by itself (0.58) is at most 1.05 times as bright."""

WATER_SHARE = 0.65
"""What a water's shadow counts at least: enough behind a cloud, not enough near one or by itself."""


def cloud_logits(cues: Sequence[DateCues], how: Recipe) -> list[np.ndarray]:
    """Cloud logit of every date, each seen against the others.

    Args:
        cues: of T dates on one window.
        how: the recipe that made them.

    Returns:
        T float32 arrays (H, W); where a date is not valid the value means nothing.
    """
    if len(cues) < LEAST_DATES:
        return [_spare_snow(one.alone.copy(), one, one.snow) for one in cues]
    reference, count = clear_brightness(cues)
    enough = count >= LEAST_DATES
    snowy = snow_ground(cues)
    result = []
    for one in cues:
        logit = one.bright - reference
        np.maximum(logit, np.float32(EXCESS_RANGE[0]), out=logit)
        np.minimum(logit, np.float32(EXCESS_RANGE[1]), out=logit)
        logit *= np.float32(how.series.excess)
        logit += one.series
        if not enough.all():
            logit = np.where(enough, logit, one.alone)
        result.append(_spare_snow(logit, one, snowy))
    return result


def _spare_snow(logit: np.ndarray, one: DateCues, snowy: np.ndarray | None) -> np.ndarray:
    if snowy is not None and one.snow is not None:
        logit[snowy & one.snow] = SNOW_LOGIT
    return logit


def clear_brightness(cues: Sequence[DateCues]) -> tuple[np.ndarray, np.ndarray]:
    """The brightness of the clear, sunlit ground.

    The darkest date; of six and more dates the second darkest, and also of fewer where the darkest looks like shadow
    (NIR + SWIR far below the second's, while a cloud on the second would have raised its brightness more).

    Returns:
        float32 (H, W), inf where no date has data; and the number of valid dates, uint16 (H, W).
    """
    shape, with_dark = cues[0].bright.shape, cues[0].dark is not None
    first, second = (np.full(shape, np.inf, dtype=np.float32) for _ in range(2))
    first_dark, second_dark = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    count = np.zeros(shape, dtype=np.uint16)
    for one in cues:
        value = np.where(one.valid, one.bright, np.float32(np.inf))
        lowest, low = value < first, value < second
        np.minimum(second, np.maximum(first, value), out=second)
        np.minimum(first, value, out=first)
        if with_dark:
            np.copyto(second_dark, np.where(lowest, first_dark, one.dark), where=low)
            np.copyto(first_dark, one.dark, where=lowest)
        count += one.valid
    skip = (first_dark < REFERENCE_SHADE * second_dark) & (second - first < REFERENCE_GAP)
    if len(cues) >= SECOND_DARKEST_FROM:
        skip |= count >= SECOND_DARKEST_FROM
    return np.where(skip & np.isfinite(second), second, first), count


def snow_ground(cues: Sequence[DateCues]) -> np.ndarray | None:
    """bool (H, W): at least two dates look like snow here. Icy cloud tops do too, but not twice at one place."""
    if cues[0].snow is None:
        return None
    times = np.zeros(cues[0].snow.shape, dtype=np.uint8)
    for one in cues[:255]:
        times += one.snow
    return times >= 2


def darkness(cues: Sequence[DateCues], logits: Sequence[np.ndarray], days: Sequence[float]) -> list[np.ndarray | None]:
    """How dark every date is, as a share of what the other dates that are clear there show, the nearer the more.

    Fields ripen and winters are dark: against the mean of a whole year a third of a clear autumn scene looked like
    shadow. So dates count by :data:`SEASON_DAYS`, and the sums over earlier and over later dates are carried along.
    What is dark in NIR + SWIR is then looked at in visible light, see :func:`_in_visible_light`.

    Args:
        cues: of T dates; logits: their cloud logits. days: of the dates, in any order.

    Returns:
        T float32 arrays (H, W), about 1 for clear ground; NaN where no other date is clear; None where the sensor
        has neither NIR nor SWIR, or there are fewer than three dates.
    """
    if len(cues) < LEAST_DATES or cues[0].dark is None:
        return [None] * len(cues)
    clear = [one.valid & (logit < CLEAR_LOGIT) for one, logit in zip(cues, logits, strict=True)]
    when = np.asarray(days, np.float64)
    shares, blacks = [], []
    for one, reference in zip(cues, _references([one.dark for one in cues], clear, when), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = one.dark / reference
            black = reference < DARK_GROUND
        share[black] = 1.0
        if one.water is not None:
            share[one.water & np.isfinite(share)] = 1.0  # ground under water is a flood and no shadow
        shares.append(share)
        blacks.append(black)
    if cues[0].light is not None:
        _in_visible_light(cues, shares, _asked(cues, shares, blacks, clear), clear, when)
    return shares


def _asked(
    cues: Sequence[DateCues], shares: Sequence[np.ndarray], blacks: Sequence[np.ndarray], clear: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Where visible light can change a share, bool (H, W) a date: dark ground, and black that is darker than it was.

    What falls below a share of the mean of other dates falls below that share of the brightest, which is quicker known.
    """
    dark = [share < WEAK_SHARE for share in shares]
    if not any(black.any() for black in blacks):
        return dark
    most = np.zeros_like(shares[0])
    for one, mask in zip(cues, clear, strict=True):
        np.maximum(most, one.light, out=most, where=mask)
    most *= np.float32(WEAK_SHARE)
    return [ask | (black & (one.light < most)) for ask, black, one in zip(dark, blacks, cues, strict=True)]


def _in_visible_light(
    cues: Sequence[DateCues], shares: Sequence[np.ndarray], asked: Sequence[np.ndarray], clear: Sequence[np.ndarray],
    when: np.ndarray,
) -> None:  # fmt: skip
    """Correct ``shares`` where visible light says otherwise, on the pixels that any date asks for.

    A shadow takes light from all bands, from blue the least, which the sky lights. Where a crop ripens or is cut, NIR
    falls and red rises: so a share counts as no less than :data:`LIGHT_PART` of the share of visible light. What is
    black in NIR and SWIR on the other dates, too (water), counts as shadow by visible light alone, and only just, so
    that a cloud in the sun's direction has to confirm it.
    """
    places = np.flatnonzero(np.logical_or.reduce(asked))
    if not places.size:
        return
    light, seen = ([plane.take(places)[None] for plane in planes] for planes in ([one.light for one in cues], clear))
    for one, reference, share, ask in zip(light, _references(light, seen, when), shares, asked, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            visible = (one / reference)[0]
        here = ask.take(places) & np.isfinite(visible)
        place, visible = places[here], visible[here]
        old = share.take(place)
        black = np.where(visible < WEAK_SHARE, np.maximum(visible, np.float32(WATER_SHARE)), old)
        ground = np.maximum(old, np.float32(LIGHT_PART) * visible)
        share.reshape(-1)[place] = np.where(old < WEAK_SHARE, ground, black)


def _references(planes: Sequence[np.ndarray], clear: Sequence[np.ndarray], days: np.ndarray) -> list[np.ndarray]:
    """What the other clear dates show: T float32 (H, W), NaN where none is clear."""
    seen = [np.where(mask, one, np.float32(0)) for mask, one in zip(clear, planes, strict=True)]
    totals, counts = ([np.zeros(planes[0].shape, np.float32) for _ in planes] for _ in range(2))
    order = np.argsort(days, kind="stable")
    for way in (order, order[::-1]):
        _carry(way, days, seen, clear, totals, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return [
            np.where(count > FAR_WEIGHT / 2, total / count, np.float32(np.nan))
            for total, count in zip(totals, counts, strict=True)
        ]


def _carry(
    way: np.ndarray, days: np.ndarray, seen: Sequence[np.ndarray], clear: Sequence[np.ndarray],
    totals: Sequence[np.ndarray], counts: Sequence[np.ndarray],
) -> None:  # fmt: skip
    """Adds to every date what the dates before it on the way show: fading ones, and a little of all of them."""
    near, near_count, every, every_count = (np.zeros_like(totals[0]) for _ in range(4))
    for place, date in enumerate(way):
        if place:
            fade = np.float32(np.exp(-abs(days[date] - days[way[place - 1]]) / SEASON_DAYS))
            near *= fade
            near_count *= fade
            totals[date] += near + np.float32(FAR_WEIGHT) * every
            counts[date] += near_count + np.float32(FAR_WEIGHT) * every_count
        for into in (near, every):
            into += seen[date]
        for into in (near_count, every_count):
            into += clear[date]
