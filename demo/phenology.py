"""How the land looks on a date: crop calendars, leaves, mowing, rain, and the sun."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping

import numpy as np

from demo.land import CROPS, FIELD, ROAD, VILLAGE, WATER, WOOD, Land
from demo.spectra import BAND_NAMES, MATERIALS, REFLECTANCE

LATITUDE_DEG = 51.0
OVERPASS_SUN_AZIMUTH_DEG = 152.0

# Days of the year: emergence half done, ripening half done, harvest; densest cover; green material.
_CALENDAR: dict[str, tuple[float, float, float, float, str]] = {
    "wheat": (85, 183, 210, 0.93, "cereal"),
    "barley": (80, 168, 190, 0.90, "cereal"),
    "rapeseed": (78, 178, 200, 0.95, "broadleaf"),
    "maize": (152, 262, 280, 0.95, "broadleaf"),
    "beet": (146, 290, 300, 0.93, "broadleaf"),
    "meadow": (60, 330, 340, 0.92, "grass"),
    "fallow": (120, 300, 310, 0.45, "grass"),
}


def _rise(day: float, half: np.ndarray | float, width: float) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-(day - np.asarray(half, np.float32)) / width))


def sun(date: dt.date) -> tuple[float, float]:
    """Zenith and azimuth of the sun in degrees at the overpass (half past ten), to a degree or two."""
    declination = 23.44 * math.sin(2 * math.pi * (date.timetuple().tm_yday - 81) / 365.25)
    hour_angle = 15.0 * 1.25
    lat, dec, hour = (math.radians(v) for v in (LATITUDE_DEG, declination, hour_angle))
    cosine = math.sin(lat) * math.sin(dec) + math.cos(lat) * math.cos(dec) * math.cos(hour)
    return math.degrees(math.acos(cosine)), OVERPASS_SUN_AZIMUTH_DEG


def _field_shares(land: Land, day: float, mowing: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of green cover, ripe share and flowers of every field on a day of the year."""
    fields = land.crop.size
    green, ripe, flower = (np.zeros(fields, np.float32) for _ in range(3))
    for index, name in enumerate(CROPS):
        own = land.crop == index
        emergence, ripening, harvest, densest, _ = _CALENDAR[name]
        lag = land.lag_days[own]
        cover = densest * land.vigour[own] * _rise(day, emergence + lag, 9.0)
        standing = day < harvest + 0.8 * lag
        green[own] = np.where(standing, cover, 0.12).clip(0, 0.97)
        ripe[own] = np.where(standing, _rise(day, ripening + lag, 5.0), 0.8)
        if name == "rapeseed":
            flower[own] = 0.85 * np.exp(-(((day - 122 - lag) / 11.0) ** 2))
        if name == "meadow":
            ripe[own] = 0.05
            since = (day - mowing[:, own]).astype(np.float32)
            cut = np.where(since >= 0, np.exp(-since / 14.0), 0.0).max(axis=0)
            green[own] *= 1 - 0.6 * cut
            ripe[own] += 0.3 * cut
    return {"green": green, "ripe": ripe, "flower": flower}


def materials(land: Land, date: dt.date, mowing: np.ndarray) -> np.ndarray:
    """Shares of every material in every pixel.

    Args:
        land: the land.
        date: the date of the image.
        mowing: (cuts, fields), days of the year on which meadows are mown.

    Returns:
        float32 (materials, H, W); shares sum to one.
    """
    day = float(date.timetuple().tm_yday)
    index = {name: number for number, name in enumerate(MATERIALS)}
    shares = np.zeros((len(MATERIALS), *land.cover.shape), np.float32)
    states = _field_shares(land, day, mowing)
    at = {name: values[land.field] for name, values in states.items()}
    green = (at["green"] * (1 + 0.10 * land.patchiness)).clip(0, 0.98)
    crop = land.crop[land.field]
    on_field = land.cover == FIELD
    alive = green * (1 - at["ripe"])
    flowering = alive * at["flower"]
    for number, name in enumerate(CROPS):
        own = on_field & (crop == number)
        shares[index[_CALENDAR[name][4]]][own] = (alive - flowering)[own]
    shares[index["flower"]][on_field] = flowering[on_field]
    shares[index["straw"]][on_field] = (green * at["ripe"])[on_field]
    bare = (1 - green) * on_field
    shares[index["soil_light"]] += bare * land.soil
    shares[index["soil_dark"]] += bare * (1 - land.soil)
    wood = land.cover == WOOD
    leaves = float(_rise(day, 118.0, 5.0) * (1 - _rise(day, 295.0, 8.0)))
    shares[index["conifer"]] += wood * land.conifers
    shares[index["beech"]] += wood * (1 - land.conifers) * leaves
    shares[index["bare_wood"]] += wood * (1 - land.conifers) * (1 - leaves)
    shares[index["water"]][land.cover == WATER] = 1.0
    shares[index["asphalt"]][land.cover == ROAD] = 0.45
    shares[index["grass"]][land.cover == ROAD] = 0.55
    village = land.cover == VILLAGE
    for name, share in zip(("roof", "concrete", "asphalt", "grass"), land.built, strict=True):
        shares[index[name]][village] += share[village]
    return shares


def _shading(land: Land, date: dt.date) -> np.ndarray:
    """float32 (H, W): sunlight on the slopes, relative to flat ground."""
    zenith, azimuth = (math.radians(v) for v in sun(date))
    south, east = land.slope
    towards = south * math.cos(azimuth) - east * math.sin(azimuth)
    cosine = (math.cos(zenith) + towards * math.sin(zenith)) / np.sqrt(1 + south**2 + east**2)
    return (cosine / math.cos(zenith)).clip(0.4, 1.6).astype(np.float32)


def surface(land: Land, shares: np.ndarray, date: dt.date, wetness: float, rng: np.random.Generator) -> np.ndarray:
    """Reflectance at the ground.

    Args:
        land: the land.
        shares: what :func:`materials` says.
        date: the date of the image (the sun).
        wetness: 0 dry to 1 wet soil; rain darkens it, most in the shortwave infrared.
        rng: the date's own randomness: the view angle changes each material's brightness a little.

    Returns:
        float32 (13, H, W).
    """
    bands = len(BAND_NAMES)
    anisotropy = rng.normal(1.0, 0.025, (len(MATERIALS), 1)) * rng.normal(1.0, 0.008, (len(MATERIALS), bands))
    spectra = (REFLECTANCE * anisotropy).astype(np.float32)
    darkening = 1 - wetness * np.linspace(0.20, 0.42, bands, dtype=np.float32)
    for name in ("soil_light", "soil_dark"):
        spectra[MATERIALS.index(name)] *= darkening
    flat = spectra.T @ shares.reshape(len(MATERIALS), -1)
    amplitude = _texture_of(land.cover)
    light = _shading(land, date) * (1 + amplitude * land.grain)
    return flat.reshape(bands, *land.cover.shape) * light.clip(0.3, 1.8)


def _texture_of(cover: np.ndarray, of: Mapping[int, float] | None = None) -> np.ndarray:
    """float32 (H, W): how strongly the texture shows on each cover."""
    of = of or {FIELD: 0.025, WOOD: 0.13, WATER: 0.02, VILLAGE: 0.10, ROAD: 0.04}
    table = np.array([of[kind] for kind in range(len(of))], np.float32)
    return table[cover]
