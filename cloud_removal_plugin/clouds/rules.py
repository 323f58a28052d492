"""Cloud probability of one date from a few bands: brightness, greyness, haze, the snow index and cirrus.

A logistic rule on five quantities, whose weights were fitted once on labelled Sentinel-2 scenes of both processing
levels (see ``docs/clouds.md``). Everything is computed on reflectance without the clear sky's path radiance, so that
one set of weights serves top-of-atmosphere and surface reflectance.

The quantities:

* brightness ``V``, the shortest visible band: clouds are bright where the ground is dark;
* haze ``h = V - 0.5 red``: bare soil brightens along this line, haze leaves it (the idea of the haze optimised
  transformation, Zhang et al. 2002, Remote Sens. Environ. 82);
* colour ``w = (max - min) / mean`` of the visible bands: clouds are grey (whiteness, Gomez-Chova et al. 2007);
* snow index ``n = (green - swir16) / (green + swir16)``: soil and towns are far below clouds, snow far above;
* cirrus at 1375 nm, where water vapour hides the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PATH_RADIANCE: dict[str, float] = {"coastal": 0.09, "blue": 0.065, "green": 0.035, "red": 0.02, "rededge1": 0.015}
"""What a clear atmosphere adds to top-of-atmosphere reflectance (Rayleigh scattering, sun at 40 to 60 degrees)."""

VISIBLE: tuple[str, ...] = ("blue", "green", "red", "rededge1")
CIRRUS_CLEAR = 0.003
BRIGHT_MAX, HAZE_RANGE, COLOUR_MAX, SNOW_RANGE, CIRRUS_MAX = 0.35, (-0.05, 0.2), 1.2, (-0.7, -0.1), 0.03
"""Where the quantities saturate: beyond, they say nothing more, and a logistic rule must not extrapolate. (The snow
index tells clouds from soil and towns below -0.1; above lie water and asphalt, as grey as a cloud.)"""

SNOW_INDEX, SNOW_SWIR, SNOW_VISIBLE, SNOW_CIRRUS = 0.5, 0.11, 0.2, 0.01


@dataclass(frozen=True)
class Weights:
    """Logistic weights: ``logit = bias + brightness V + haze h + colour w + snow n + cirrus c + excess dV``."""

    bias: float
    brightness: float
    haze: float
    colour: float
    snow: float
    cirrus: float
    excess: float = 0.0


ONE_DATE = Weights(-2.9, 26.0, 13.4, -2.9, 1.8, 227.0)
ONE_DATE_VISIBLE = Weights(-3.25, 21.5, 24.0, -3.3, 0.0, 215.0)
ONE_DATE_REDEDGE = Weights(-1.0, 19.0, 0.0, 0.0, 19.7, 227.0)
SERIES = Weights(-2.3, 17.0, 0.0, -1.9, 1.65, 308.0, 24.4)
SERIES_VISIBLE = Weights(-2.8, 19.0, 0.0, -2.7, 0.0, 303.0, 23.0)
SERIES_REDEDGE = Weights(-0.85, 16.8, 0.0, 0.0, 18.8, 308.0, 3.2)
"""Fitted by logistic regression on the sets named in ``docs/clouds.md``, with made-up dark and grey ground (water,
asphalt, gravel) as further clear examples, which the labelled scenes hold little of; rounded."""


@dataclass(frozen=True)
class Recipe:
    """Which planes of an optical stack the rules use, and with which weights.

    Attributes:
        visible: indices of up to three visible bands, shortest wavelength first.
        red, green, swir, cirrus: plane indices or None.
        dark: indices of the NIR and SWIR planes whose sum shows shadows (may be empty).
        light: positions in ``visible`` of the planes whose sum a shadow has to darken as well: all but the shortest,
            which the sky lights and haze veils; empty where no band is known as visible.
        offsets: path radiance to take off each visible band, and off green and red.
        one_date, series: weights without and with other dates.
    """

    visible: tuple[int, ...]
    offsets: tuple[float, ...]
    red: int | None
    red_offset: float
    swir: int | None
    cirrus: int | None
    dark: tuple[int, ...]
    light: tuple[int, ...]
    one_date: Weights
    series: Weights


def wanted(bands: Sequence[str]) -> tuple[str, ...]:
    """The roles that the rules read of those that are there; all of them where none is known."""
    nir = "nir08" if "nir08" in bands else "nir"
    roles = tuple(name for name in bands if name in (*VISIBLE[:3], nir, "swir16", "cirrus"))
    if not any(name in VISIBLE for name in roles):
        roles = tuple(name for name in bands if name == "rededge1" or name in roles)
    return roles if any(name in VISIBLE for name in roles) else tuple(bands)


def recipe(bands: Sequence[str], top_of_atmosphere: bool) -> Recipe:
    """Choose planes and weights for a stack.

    Args:
        bands: role names of the planes.
        top_of_atmosphere: whether the reflectance still holds the path radiance.
    """
    place = {name: index for index, name in enumerate(bands)}
    names = [name for name in VISIBLE[:3] if name in place] or [name for name in VISIBLE if name in place]
    rededge = names == ["rededge1"]
    offsets = [PATH_RADIANCE[name] if top_of_atmosphere else 0.0 for name in names]
    if not names:  # a single unknown band, or a thermal stack: brightness is all there is
        names, offsets = [bands[0]], [0.0]
    swir = place.get("swir16")
    red = place.get("red") if names[0] != "red" else None
    dark = tuple(place[name] for name in (("nir08" if "nir08" in place else "nir"), "swir16") if name in place)
    if rededge and swir is not None:
        one_date, series = ONE_DATE_REDEDGE, SERIES_REDEDGE
    elif swir is not None and names[0] in VISIBLE:
        one_date, series = ONE_DATE, SERIES
    else:
        one_date, series = ONE_DATE_VISIBLE, SERIES_VISIBLE
    light = tuple(range(min(1, len(names) - 1), len(names))) if names[0] in VISIBLE else ()
    return Recipe(
        tuple(place[name] for name in names), tuple(offsets), red, PATH_RADIANCE["red"] * top_of_atmosphere,
        swir, place.get("cirrus"), dark, light, one_date, series,
    )  # fmt: skip


@dataclass(frozen=True)
class DateCues:
    """What one date says of a window, (H, W) each.

    Attributes:
        valid: bool, data in every plane that was used.
        bright: float32, brightness V; NaN = no data.
        alone: float32, logit of cloud from this date alone.
        series: float32, logit without its ``excess`` term, to which the time series adds; None for a single date.
        dark: float32, NIR + SWIR reflectance; None where the sensor has neither.
        light: float32, sum of the longer visible bands; None without them or without ``dark``, and for a single date.
        snow: bool, looks like snow; None without SWIR.
        water: bool, looks like open water; None without NIR.
    """

    valid: np.ndarray
    bright: np.ndarray
    alone: np.ndarray
    series: np.ndarray | None
    dark: np.ndarray | None
    light: np.ndarray | None
    snow: np.ndarray | None
    water: np.ndarray | None


def cues(optical: np.ndarray, how: Recipe, *, with_series: bool) -> DateCues:
    """Compute the cues of one date.

    Args:
        optical: float32 (C, H, W) reflectance, NaN = no data.
        how: from :func:`recipe`, for the bands of ``optical``.
        with_series: whether the series' part of the logit is wanted.
    """
    visible = [optical[i] - np.float32(o) if o else optical[i] for i, o in zip(how.visible, how.offsets, strict=True)]
    bright, green = visible[0], visible[min(1, len(visible) - 1)]
    terms: dict[str, np.ndarray] = {"brightness": np.minimum(bright, BRIGHT_MAX)}
    red = optical[how.red] - np.float32(how.red_offset) if how.red is not None else bright
    terms["haze"] = _limit(bright - np.float32(0.5) * red, *HAZE_RANGE)
    if len(visible) > 1:
        terms["colour"] = _colour(visible)
    swir = optical[how.swir] if how.swir is not None else None
    snow_index = None
    if swir is not None:
        snow_index = (green - swir) / np.maximum(green + swir, np.float32(0.05))
        terms["snow"] = _limit(snow_index.copy(), *SNOW_RANGE)
    cirrus = optical[how.cirrus] if how.cirrus is not None else None
    if cirrus is not None:
        terms["cirrus"] = _limit(cirrus - np.float32(CIRRUS_CLEAR), 0, CIRRUS_MAX)
    dark = _sum([optical[i] for i in how.dark])
    alone = _logit(how.one_date, terms)
    valid = np.isfinite(alone if dark is None else alone + dark)
    snow = _snow(green, swir, snow_index, cirrus) if snow_index is not None else None
    water = green > optical[how.dark[0]] if how.dark and how.dark[0] != how.swir else None
    light = sum(visible[i] for i in how.light) if with_series and how.light and dark is not None else None
    series = _logit(how.series, terms) if with_series else None
    return DateCues(valid, bright, alone, series, dark, light, snow, water)


def _limit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Clip in place (a fifth of the time of ``np.clip`` on arrays in cache)."""
    np.maximum(values, np.float32(low), out=values)
    return np.minimum(values, np.float32(high), out=values)


def _colour(visible: Sequence[np.ndarray]) -> np.ndarray:
    low, high = np.minimum(visible[0], visible[1]), np.maximum(visible[0], visible[1])
    mean = visible[0] + visible[1]
    if len(visible) > 2:
        low, high = np.minimum(low, visible[2]), np.maximum(high, visible[2])
        mean = mean + visible[2]
    mean *= np.float32(1 / len(visible))
    high -= low
    high /= np.maximum(mean, np.float32(0.02))
    return np.minimum(high, np.float32(COLOUR_MAX), out=high)


def _sum(planes: Sequence[np.ndarray]) -> np.ndarray | None:
    if not planes:
        return None
    return planes[0] + planes[1] if len(planes) > 1 else planes[0] + planes[0]


def _logit(weights: Weights, terms: dict[str, np.ndarray]) -> np.ndarray:
    total = terms["brightness"] * np.float32(weights.brightness)
    total += np.float32(weights.bias)
    for name, values in terms.items():
        weight = np.float32(getattr(weights, name))
        if name != "brightness" and weight:
            total += weight * values
    return total


def _snow(green: np.ndarray, swir: np.ndarray, index: np.ndarray, cirrus: np.ndarray | None) -> np.ndarray:
    snow = (index > SNOW_INDEX) & (swir < SNOW_SWIR) & (green > SNOW_VISIBLE)
    if cirrus is not None:
        snow &= cirrus < SNOW_CIRRUS  # icy cloud tops share snow's colours, but not its height
    return snow


def probability(logit: np.ndarray) -> np.ndarray:
    """Logistic function, float32."""
    odds = _limit(-logit, -20, 20)
    np.exp(odds, out=odds)
    odds += np.float32(1)
    return np.reciprocal(odds, out=odds)
