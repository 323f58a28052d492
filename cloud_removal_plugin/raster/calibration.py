"""Scale and offset of a raster's numbers: what the analyst typed, the file's own, the product's, the pixels'.

GDAL's band scale and offset count where the pixels make them plausible; bands may have their own. Facts: ESA product
specification (quantification, offset since baseline 04.00), USGS Collection 2 guide, HLS v2.0 and PlanetScope guides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .dates import date_of
from .info import RasterInfo
from .offsets import OFFSET_DN, decide
from .products import Product, declared_offset, landsat_level

DN_SCALE = 1e-4
"""Sentinel-2, HLS, Planet and most exports: reflectance x 10,000."""

DARK_QUANTILE = 0.001
BRIGHT_QUANTILE = 0.99

LANDSAT_L2 = (2.75e-5, -0.2)
LANDSAT_L1 = (2e-5, -0.1)

LARGEST_PLAUSIBLE = 3.0
"""Reflectance of the brightest cloud edges stays below 2; three leaves room for scaled-up radiances."""

LEAST_PLAUSIBLE = -0.25
"""Atmospheric correction makes dark water slightly negative, no more."""

LARGEST_PERCENT = 150.0
"""Percent of the brightest clouds; in reflectance x 10,000 it would be a scene with nothing brighter than 1.5 %."""


@dataclass(frozen=True)
class Levels:
    """Quantiles of the sampled pixels of each used band, in DN; ``count`` 0 where nothing with data was found."""

    dark: np.ndarray
    bright: np.ndarray
    roles: tuple[str, ...]
    count: int

    @property
    def top(self) -> float:
        return float(self.bright.max()) if self.count else 0.0


class Log:
    """Sentences in the order in which things were decided."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.darkest: float | None = None
        self.undecided = False
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def say(self, sentence: str) -> None:
        self.notes.append(f"{self.name}: {sentence[:1].lower()}{sentence[1:]}")

    def warn(self, sentence: str) -> None:
        self.say(sentence)
        self.warnings.append(self.notes[-1])


def calibration(
    info: RasterInfo,
    product: Product,
    used: tuple[int, ...],
    levels: Levels,
    scale: float | None,
    offset: float | None,
    log: Log,
) -> tuple[tuple[float, float], tuple[tuple[float, float], ...]]:
    """Scale and offset: typed ones as they are, the rest found; and those of each band where they differ."""
    if scale is not None:
        log.say(f"reflectance = {in_words(scale, offset or 0.0)}, as typed.")
        return (float(scale), float(offset or 0.0)), ()
    pairs = _own_pairs(info, used, levels, log)
    found = max(pairs, key=pairs.count) if pairs else _gdal_pair(info, product, used, levels, log)
    found = found or _product_pair(info, product, used, levels, log)
    if offset is not None:
        found = (found[0], float(offset))
        pairs = tuple((own, float(offset)) for own, _ in pairs)
        log.darkest, log.undecided = None, False
        log.say(f"the offset {offset:g} was typed.")
    if not pairs:
        log.say(f"reflectance = {in_words(*found)}.")
        _doubt(levels, *found, log)
    return found, pairs


def _doubt(levels: Levels, scale: float, offset: float, log: Log) -> None:
    """A warning where no ground and no cloud reflects as much, or as little, as the numbers would say."""
    if levels.count:
        low, high = sorted((float(levels.dark.min()) * scale + offset, levels.top * scale + offset))
        if not 0.004 < high < LARGEST_PLAUSIBLE or low < LEAST_PLAUSIBLE:
            log.warn(
                f"its numbers would be reflectance {low:.1g} to {high:.1g}, which is not plausible. Choose another "
                "SENSOR, or type REFLECTANCE_SCALE and REFLECTANCE_OFFSET."
            )


def _own_pairs(info: RasterInfo, used: tuple[int, ...], levels: Levels, log: Log) -> tuple[tuple[float, float], ...]:
    """GDAL's scale and offset of each band, where they differ and are plausible; bands without any take the commonest.

    Returns:
        A pair for each used band, () where one serves all.
    """
    told = [(info.scales[b - 1], info.offsets[b - 1]) for b in used]
    known = [pair for pair in told if pair != (1.0, 0.0)]
    if len(set(known)) < 2:
        return ()
    pairs = tuple(max(known, key=known.count) if pair == (1.0, 0.0) else pair for pair in told)
    scales, offsets = np.array(pairs).T
    if levels.count:
        bright, dark = levels.bright * scales + offsets, levels.dark * scales + offsets
        if not ((scales > 0).all() and 0.004 < bright.max() < LARGEST_PLAUSIBLE and dark.min() > LEAST_PLAUSIBLE):
            return ()
    several = "; ".join(f"{scale:g} {_signed(offset)}" for scale, offset in dict.fromkeys(pairs))
    log.say(f"the bands have scales and offsets of their own, which are used ({several}).")
    return pairs


def in_words(scale: float, offset: float) -> str:
    """``DN x 0.0001 - 0.1``."""
    return f"DN x {scale:g} {_signed(offset)}"


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value):g}"


def _gdal_pair(
    info: RasterInfo, product: Product, used: tuple[int, ...], levels: Levels, log: Log
) -> tuple[float, float] | None:
    """GDAL's band scale and offset, where there are any and the pixels make them plausible."""
    pairs = [(info.scales[b - 1], info.offsets[b - 1]) for b in used]
    scale, offset = max(pairs, key=pairs.count)
    if (scale, offset) == (1.0, 0.0) or (scale == 1.0 and offset == -OFFSET_DN):
        return None
    if any(pair != (scale, offset) for pair in pairs):
        log.warn(f"the bands have different scales or offsets; {scale:g} {_signed(offset)} is used for all.")
    if levels.count:
        bright, dark = levels.top * scale + offset, float(levels.dark.min()) * scale + offset
        if not (scale > 0 and 0.004 < bright < LARGEST_PLAUSIBLE and dark > LEAST_PLAUSIBLE):
            log.warn(
                f"the file's band scale {scale:g} and offset {offset:g} would make reflectance {dark:.3g} to "
                f"{bright:.3g}; "
                "they are ignored."
            )
            return None
    if product.sensor == "sentinel2" and offset:
        declared = offset / scale
        return scale, _sentinel2_offset(info, levels, scale * OFFSET_DN / 0.1, declared, "the band offset", log) * scale
    log.say(f"scale {scale:g} and offset {offset:g} are the file's own.")
    return scale, offset


def _product_pair(
    info: RasterInfo, product: Product, used: tuple[int, ...], levels: Levels, log: Log
) -> tuple[float, float]:
    """Scale and offset by product and pixel values."""
    floating = np.dtype(info.dtypes[used[0] - 1]).kind == "f"
    if floating and levels.top <= 2.0:
        log.say("floating-point numbers below 2: reflectance as it is.")
        return 1.0, 0.0
    percent = 0 < levels.top <= LARGEST_PERCENT and (floating or product.sensor == "generic")
    if percent and info.dtypes[used[0] - 1] not in ("uint8", "int8"):
        log.warn(
            "its numbers hardly pass 100: taken as reflectance in percent. Type REFLECTANCE_SCALE if that is wrong."
        )
        return 0.01, 0.0
    if product.sensor == "landsat":
        return _landsat_pair(info, log)
    if product.sensor == "sentinel2":
        declared, where = declared_offset(info)
        return DN_SCALE, _sentinel2_offset(info, levels, 1.0, declared, where, log) * DN_SCALE
    if product.sensor == "planet" and "_sr" not in info.name.lower() and "analyticms" in info.name.lower():
        log.warn(
            "this Planet product without '_SR' holds radiance; prefer surface reflectance, or type REFLECTANCE_SCALE."
        )
    if product.sensor in ("hls", "planet"):
        return DN_SCALE, 0.0
    return _generic_pair(info, used, levels, log)


def _landsat_pair(info: RasterInfo, log: Log) -> tuple[float, float]:
    level = landsat_level(info)
    if level == "C1":
        log.say("16-bit signed integers: Landsat Collection 1 style, reflectance x 10,000.")
        return DN_SCALE, 0.0
    if level == "L1":
        log.warn("Landsat Level 1: top-of-atmosphere reflectance, not corrected for the sun's elevation.")
        return LANDSAT_L1
    log.say("Landsat Collection 2 Level 2 surface reflectance.")
    return LANDSAT_L2


def _generic_pair(info: RasterInfo, used: tuple[int, ...], levels: Levels, log: Log) -> tuple[float, float]:
    """Unknown products: by the size of the numbers."""
    dtype = info.dtypes[used[0] - 1]
    if dtype in ("uint8", "int8"):
        log.warn("an 8-bit picture: 0..255 is treated as 0..1. The result is a picture as well, not reflectance.")
        return 1.0 / 255.0, 0.0
    if levels.top > 25_000:
        log.warn(
            "numbers above 25,000: taken as 16-bit reflectance (65,535 = 1). Type REFLECTANCE_SCALE if that is wrong."
        )
        return 1.0 / 65535.0, 0.0
    log.warn(
        "an unknown product: its numbers are taken as reflectance x 10,000. Type REFLECTANCE_SCALE if that is wrong."
    )
    return DN_SCALE, 0.0


def _sentinel2_offset(
    info: RasterInfo, levels: Levels, unit: float, declared: float | None, where: str, log: Log
) -> float:
    """The offset in DN, -1000 or 0: see :mod:`offsets`.

    Args:
        unit: 1 where DN are reflectance x 10,000; other scalings in proportion.
        declared: what metadata says, or None.
    """
    telling = levels.dark * unit
    if len(levels.roles) > 1:
        telling = telling[[role != "coastal" for role in levels.roles]]  # haze: never dark in top-of-atmosphere data
    darkest = float(telling.min()) if levels.count else None
    decision = decide(darkest, declared, where, date_of(info))
    (log.warn if decision.check and levels.count else log.say)(decision.sentence)
    log.darkest = darkest if declared is None else None
    log.undecided = decision.open
    return decision.offset
