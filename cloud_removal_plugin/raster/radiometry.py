"""How a raster's numbers become reflectance: sensor, bands, scale, offset and nodata, each with the reason.

Units are found in this order: what the analyst typed, GDAL's band scale and offset where the pixels make them
plausible, the product, the pixels. Facts: ESA product specification (quantification, offset since baseline 04.00), USGS
Collection 2 guide, HLS v2.0 and PlanetScope guides. Where metadata and pixels contradict each other, the pixels win and
the log says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..bands import SENSORS
from ..errors import InputError
from .bandnames import is_reflectance, named, roles_of
from .calibration import (
    BRIGHT_QUANTILE,
    DARK_QUANTILE,
    LARGEST_PLAUSIBLE,
    Levels,
    Log,
    calibration,
    in_words,
)
from .info import RasterInfo
from .products import Product, identify
from .sample import sample, untagged_fill

MOST_ALPHA_VALUES = 16
"""Transparency takes few values; 16-bit stacks are sometimes written with a band wrongly marked as alpha."""

KNOWN = ("sentinel2", "landsat", "hls", "planet")


@dataclass(frozen=True)
class Radiometry:
    """How a file's numbers (DN) are meant: reflectance = DN * scale + offset.

    Attributes:
        sensor: "sentinel2", "landsat", "hls", "planet" or "generic".
        bands: the role of each *used* band in file order (``bandN`` where unknown), unique.
        used_bands: file bands (from 1) that hold reflectance, one for each of ``bands``.
        scale, offset: one pair for the product.
        nodata: nodata value of each used band in DN, None where there is none.
        zero_is_nodata: whether a pixel that is 0 in every band holds no data, also without a tag.
        saturated: a DN that means "no measurement" beside nodata (65535 in uint16 products), or None.
        level: "L1C" or "L2A" for Sentinel-2 where known, else "".
        notes: sentences for the log that say what was assumed, and why.
        warnings: the sentences among them that an analyst should check.
        darkest: Sentinel-2 without metadata on its offset: lowest 0.1 % quantile of all bands in DN; else None.
        undecided: the offset is a guess from this raster's pixels; its series may correct it (:func:`offsets.agree`).
        layer: the layer's name.
        pairs: scale and offset of each used band where they differ (``scale`` and ``offset`` are then the commonest);
            () = all alike.
    """

    sensor: str
    bands: tuple[str, ...]
    used_bands: tuple[int, ...]
    scale: float
    offset: float
    nodata: tuple[float | None, ...]
    zero_is_nodata: bool
    saturated: float | None
    level: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    darkest: float | None = None
    undecided: bool = False
    layer: str = ""
    pairs: tuple[tuple[float, float], ...] = ()

    def pair(self, place: int) -> tuple[float, float]:
        """Scale and offset of the used band at a place (from 0)."""
        return self.pairs[place] if self.pairs else (self.scale, self.offset)

    def of(self, places: Sequence[int]) -> Radiometry:
        """The numbers of some used bands (places from 0) in another order; everything else stays as it is."""
        return replace(self, pairs=tuple(self.pairs[place] for place in places) if self.pairs else ())

    def units(self) -> Radiometry:
        """How standard deviations in the file's units mean reflectance: by the scales alone."""
        pairs = tuple((abs(scale), 0.0) for scale, _ in self.pairs)
        return replace(self, scale=abs(self.scale), offset=0.0, pairs=pairs)

    def in_words(self) -> str:
        """``DN x 0.0001 - 0.1``, of each band where they differ."""
        if not self.pairs:
            return in_words(self.scale, self.offset)
        return "; ".join(f"{band}: {in_words(*pair)}" for band, pair in zip(self.bands, self.pairs, strict=True))


def recognise(
    info: RasterInfo, *, sensor: str = "auto", scale: float | None = None, offset: float | None = None
) -> Radiometry:
    """Find out how an optical raster stores reflectance.

    Args:
        sensor: what the analyst chose (:data:`bands.SENSORS`).
        scale, offset: what the analyst typed (reflectance = DN * scale + offset), None to find it.

    Raises:
        InputError: an unknown sensor, an 8-bit picture without a typed scale, no band with reflectance, unreadable
            pixels.
    """
    if sensor not in SENSORS:
        raise InputError(f"SENSOR '{sensor}' is unknown. Choose one of {', '.join(SENSORS)}.")
    if scale is not None and not (np.isfinite(scale) and scale != 0):
        raise InputError("REFLECTANCE_SCALE must be a number other than 0 (reflectance = DN * scale + offset).")
    product = identify(info, sensor)
    log = Log(info.name)
    log.say(f"read as {product.sensor} ({product.evidence}).")
    if product.doubt:
        log.warn(product.doubt)
    used = _used_bands(info, product, log)
    _refuse_pictures(info, used, sensor, scale)
    values = sample(info, used)
    fill = untagged_fill(values, info, used)
    if fill is not None:
        values = values[:, (values != fill).any(axis=0)]
        if product.sensor != "hls":  # there it is the rule
            log.warn(f"some pixels are {fill:g} in every band, and no tag says so: taken as no data.")
    if sensor == "auto" and product.sensor == "generic" and _looks_like_landsat(info, values):
        product = Product("landsat", "L89", "", "its numbers")
        log.warn("taken as Landsat Collection 2 surface reflectance, because its numbers lie where that product's do.")
    used, values = _without_false_alpha(info, used, values, log)
    roles, sentence = roles_of(info, used, product.sensor, product.table)
    log.say(sentence)
    levels = _levels(values, roles)
    if not levels.count:
        log.warn("no pixel with data was found in a sample.")
    (found_scale, found_offset), pairs = calibration(info, product, used, levels, scale, offset, log)
    integer = np.dtype(info.dtypes[used[0] - 1]).kind in "iu"
    uint16 = info.dtypes[used[0] - 1] == "uint16"
    return Radiometry(
        sensor=product.sensor,
        bands=roles,
        used_bands=used,
        scale=found_scale,
        offset=found_offset,
        nodata=_nodata(info, used, product, fill, log),
        zero_is_nodata=_zero_rule(info, used, product),
        saturated=65535.0 if integer and uint16 and product.sensor in KNOWN else None,
        level=product.level,
        notes=tuple(log.notes),
        warnings=tuple(log.warnings),
        darkest=log.darkest,
        undecided=log.undecided,
        layer=info.name,
        pairs=pairs,
    )


def _used_bands(info: RasterInfo, product: Product, log: Log) -> tuple[int, ...]:
    bands = range(1, info.count + 1)
    used = tuple(b for b in bands if is_reflectance(info, b, product.table))
    left_out = [info.descriptions[b - 1] for b in bands if b not in used]
    if left_out:
        log.say(f"not reflectance, left as it is: {', '.join(left_out)}.")
    if not used:
        raise InputError(
            f"Layer '{info.name}' holds no reflectance band ({', '.join(left_out)}). Choose an optical layer."
        )
    return used


def _refuse_pictures(info: RasterInfo, used: tuple[int, ...], sensor: str, scale: float | None) -> None:
    if scale is None and all(info.colorinterp[b - 1] == "palette" for b in used):
        raise InputError(
            f"Layer '{info.name}' has a colour table: its numbers are colours or classes, not measurements. Give "
            "the original bands, or make red, green and blue of it (Raster > Conversion > PCT to RGB)."
        )
    if scale is not None or sensor == "generic":
        return
    told = all(info.scales[b - 1] != 1 and 0 < 255 * info.scales[b - 1] < LARGEST_PLAUSIBLE for b in used)
    if all(info.dtypes[b - 1] in ("uint8", "int8") for b in used) and not told:
        raise InputError(
            f"Layer '{info.name}' is an 8-bit picture (0 to 255): a stretch for the eye, not reflectance. Give the "
            "original 16-bit or float bands, or choose SENSOR 'generic' (or type a REFLECTANCE_SCALE) to restore the "
            "picture as it is."
        )


def _without_false_alpha(
    info: RasterInfo, used: tuple[int, ...], values: np.ndarray, log: Log
) -> tuple[tuple[int, ...], np.ndarray]:
    """Drop the alpha band, and radar bands hidden among unnamed ones (negative by nature, unlike reflectance in DN)."""
    keep = [b != info.alpha for b in used]
    if info.alpha in used:
        # GDAL itself marks the fourth of four 8-bit bands as transparency; there only a name tells that it is none
        various = np.unique(values[used.index(info.alpha)]).size > MOST_ALPHA_VALUES
        if named(info, info.alpha) or (various and info.dtypes[info.alpha - 1] != "uint8"):
            keep = [True] * len(used)
            log.warn(f"band {info.alpha} is marked as transparency but holds measurements; it is read as a band.")
    unnamed = not any(info.descriptions)
    if unnamed and info.count in (15, 16) and values.shape[1] and np.median(values, axis=1).min() < -1:
        radar = np.median(values, axis=1) < -1
        keep = [k and not r for k, r in zip(keep, radar, strict=True)]
        left_out = ", ".join(str(b) for b, r in zip(used, radar, strict=True) if r)
        log.say(f"bands {left_out} are negative: radar, left as they are.")
    if not any(keep):
        raise InputError(f"Layer '{info.name}' holds no reflectance band. Choose an optical layer.")
    return tuple(b for b, k in zip(used, keep, strict=True) if k), values[np.array(keep)]


def _levels(values: np.ndarray, roles: tuple[str, ...]) -> Levels:
    if not values.shape[1]:
        zeros = np.zeros(len(roles))
        return Levels(zeros, zeros, roles, 0)
    dark, bright = np.quantile(values, (DARK_QUANTILE, BRIGHT_QUANTILE), axis=1, method="nearest")
    return Levels(dark.astype(np.float64), bright.astype(np.float64), roles, values.shape[1])


def _looks_like_landsat(info: RasterInfo, values: np.ndarray) -> bool:
    """uint16, fill 0, everything between 6,500 and 44,000: reflectance -0.02 to 1.0 in Collection 2's scale."""
    if info.dtype != "uint16" or values.shape[1] < 100 or info.count < 3 or any(info.descriptions):
        return False
    dark, middle = np.quantile(values, (DARK_QUANTILE, 0.5), axis=1)
    return bool((dark > 6500).all() and (dark.min() < 12_000) and (middle < 30_000).all())


def _nodata(
    info: RasterInfo, used: tuple[int, ...], product: Product, fill: float | None, log: Log
) -> tuple[float | None, ...]:
    """Nodata tags; without any, the fill value that was seen, or HLS' own where the dtype can hold it."""
    tags = tuple(info.nodata[b - 1] for b in used)
    different = list(dict.fromkeys(f"{v:g}" for v in info.nodata if v is not None))
    if len(different) > 1:
        log.say(
            f"its bands mark missing data by different numbers ({', '.join(different)}); a GeoTIFF has one for all "
            f"bands, so what is written from it uses {different[0]}."
        )
    if fill is not None:
        return (fill,) * len(used)
    if product.sensor == "hls" and all(v is None for v in tags) and np.dtype(info.dtypes[used[0] - 1]).kind in "if":
        return (-9999.0,) * len(used)
    return tags


def _zero_rule(info: RasterInfo, used: tuple[int, ...], product: Product) -> bool:
    """Zero in every band is a hole in all products; a single band needs to be of a product that says so."""
    if all(info.dtypes[b - 1] in ("uint8", "int8") for b in used):
        return False  # black is a colour in a picture
    if len(used) > 1:
        return True
    return product.sensor in KNOWN and np.dtype(info.dtypes[used[0] - 1]).kind in "iu"
