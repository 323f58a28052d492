"""Withheld-truth cases: a clear target date, the real cloud mask of another date laid over it, and the truth below.

Protocol: masks come from other dates of the series, rotated, mirrored and shifted, and are laid over targets that are
more than 97 % clear; the pixels under the mask are withheld everywhere; other dates keep their own gaps. Everything is
seeded, so that two runs score the same pixels.

    from benchmarks import cases
    sets = cases.load(scenes.data_root())       # {"LZ": [Case, ...], "LZ60": ..., ...}
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks import scenes
from benchmarks.scenes import Series
from cloud_removal_plugin.observation import Observation

DONOR_SHARE = (0.12, 0.75)
"""A mask of another date is laid over a target only if it hides this share of it."""

MISSED_RISE = 0.05
MISSED_SHARE = 0.02
SPOILT_SHARE = 0.10
"""A mask plainly misses cloud where the shortest band lies this far (reflectance) above the median of the four nearest
clear dates on more than this share of the pixels, after the general rise of the date is taken off. Beyond the second
share the whole date counts as hidden."""


@dataclass(frozen=True)
class Setting:
    """How cases are cut from a series.

    Attributes:
        place: key of :data:`benchmarks.scenes.PLACES`.
        count: number of cases.
        apart: dates within this many days of the target are left out.
        radar: hand over the radar of the series.
        target_clear: least clear share of a target date.
        all_gapped: give every other date a simulated gap as well (for series that are clear throughout).
        screen: no target whose mask plainly misses clouds; other dates keep their masks as they are.
        mend: add the clouds that masks plainly miss to the masks of all dates.
    """

    place: str
    count: int
    apart: int = 0
    radar: bool = False
    target_clear: float = 0.97
    all_gapped: bool = False
    screen: bool = False
    mend: bool = False


SETTINGS: dict[str, Setting] = {
    "LZ": Setting("lazio", 12),
    "LZ60": Setting("lazio", 9, apart=60),
    "FL": Setting("flanders", 13, screen=True),
    "FL30": Setting("flanders", 13, apart=30, screen=True),
    "TZ30": Setting("tanzania", 15, apart=30, radar=True, screen=True),
    "HLS": Setting("missouri", 10),
    "CA": Setting("california", 8, all_gapped=True),
}
"""The sets with a goal."""

EXTRA: dict[str, Setting] = {
    "FL30R": Setting("flanders", 13, apart=30, radar=True, screen=True),
    "TZ30O": Setting("tanzania", 15, apart=30, screen=True),
    "FLM": Setting("flanders", 13, mend=True),
    "FL30M": Setting("flanders", 13, apart=30, mend=True),
    "TZ30M": Setting("tanzania", 15, apart=30, radar=True, mend=True),
    "BE": Setting("belgium", 6, radar=True),
    "TV": Setting("tervuren", 8, radar=True),
}
"""Sets without a goal: the same scenes with or without radar, with mended masks (M), and two series of composites."""


OTHER_SITE: dict[str, Setting] = {
    "": Setting("", 13, screen=True),
    "-30": Setting("", 13, apart=30, radar=True, screen=True),
}
"""What is measured of a WorldCereal site without a set of its own: all dates, and with radar none within 30 days."""


@dataclass(frozen=True)
class Case:
    """One scene to restore whose answer is known.

    Attributes:
        name: set, target date and number.
        observation: what a method may see: ``cloud[0] == 1`` and ``optical[0]`` NaN where the target is hidden.
        truth: float32 (C, H, W), the target's reflectance, NaN where it is not known.
        gap: bool (H, W), the withheld pixels that are scored.
        dates: T calendar dates in the observation's order (target first).
        radar_dates: R calendar dates.
        series: where it comes from (sensor, CRS, transform).
    """

    name: str
    observation: Observation
    truth: np.ndarray
    gap: np.ndarray
    dates: tuple[dt.date, ...]
    radar_dates: tuple[dt.date, ...]
    series: Series


def risen(series: Series, index: int) -> np.ndarray:
    """Clear pixels of a date that are brighter than its nearest clear dates as only a missed cloud would be.

    A change of season lifts a whole field or a whole date; a missed cloud lifts patches. So the date's own median rise
    is taken off first, and only what is left above :data:`MISSED_RISE` in the shortest band counts.

    Returns:
        bool (H, W).
    """
    optical = series.optical[:, 1 if series.bands[0] == "coastal" else 0]
    days = np.array([abs((d - series.dates[index]).days) for d in series.dates])
    near = [t for t in np.argsort(days, kind="stable") if t != index and series.clear[t].mean() > 0.9][:4]
    clear = series.clear[index]
    if len(near) < 2 or not clear.any():
        return np.zeros_like(clear)
    rise = optical[index] - np.median(np.where(series.clear[near], optical[near], optical[index]), axis=0)
    return clear & (rise - np.median(rise[clear]) > MISSED_RISE)


def missed_cloud(series: Series, index: int) -> float:
    """Share of a date's clear pixels that look like cloud."""
    return float(risen(series, index).sum() / max(series.clear[index].sum(), 1))


def mended(series: Series) -> Series:
    """The series with the clouds that its masks plainly miss added to the masks.

    One missed cloud beside a gap throws linear interpolation off by 10 dB; sets with mended masks show what is left
    when the masks are good.
    """
    clear = series.clear.copy()
    for t in range(len(clear)):
        found = risen(series, t)
        share = found.sum() / max(series.clear[t].sum(), 1)
        if share > SPOILT_SHARE:
            clear[t] = False
        elif share > MISSED_SHARE:
            clear[t] &= ~ndimage.binary_dilation(found, np.ones((3, 3), bool), iterations=2)
    return replace(series, clear=clear)


def targets(series: Series, setting: Setting) -> list[int]:
    """Indices of the dates that are clear enough to be a truth."""
    found = [t for t in range(len(series.dates)) if series.clear[t].mean() > setting.target_clear]
    return [t for t in found if not setting.screen or missed_cloud(series, t) <= MISSED_SHARE]


def turned(mask: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A mask rotated by quarter turns, mirrored and shifted (what leaves one side comes back), cut to ``shape``.

    Clouds keep their size in pixels: a mask that is too small is continued by its mirror image, never enlarged.
    """
    mask = np.rot90(mask, int(rng.integers(4)))
    if rng.integers(2):
        mask = mask[:, ::-1]
    short = [max(0, wanted - have) for wanted, have in zip(shape, mask.shape, strict=True)]
    mask = np.pad(mask, [(0, n) for n in short], mode="symmetric")
    mask = np.roll(mask, tuple(int(rng.integers(n)) for n in mask.shape), axis=(0, 1))
    return mask[: shape[0], : shape[1]]


def _noise_shape(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Blobs of several sizes, for folders that hold no mask with cloud at all."""
    parts = [w * s * ndimage.gaussian_filter(rng.standard_normal(shape), s) for w, s in ((1, 32), (0.6, 12), (0.3, 4))]
    field = np.sum(parts, axis=0)
    return field > np.quantile(field, 1 - rng.uniform(0.2, 0.5))


def _draw(
    pool: Sequence[np.ndarray], valid: np.ndarray, rng: np.random.Generator, share: tuple[float, float] = DONOR_SHARE
) -> np.ndarray:
    """A mask from the pool, turned, that hides a fair share of the valid pixels and leaves some to see."""
    mask = np.zeros_like(valid)
    for _ in range(50):
        mask = turned(pool[int(rng.integers(len(pool)))], valid.shape, rng) if pool else _noise_shape(valid.shape, rng)
        if share[0] <= mask[valid].mean() <= share[1]:
            return mask
    return mask


def cases(
    series: Series, setting: Setting, shapes: Sequence[np.ndarray] = (), seed: int = 0, code: str = ""
) -> list[Case]:
    """Cut cases from a series.

    Args:
        series: every date of the place.
        setting: how to cut.
        shapes: cloud masks (bool, True = cloud) to use where the series has none of a fair size.
        seed: every random choice follows from it and from ``code``.
        code: name of the set.

    Returns:
        Up to ``setting.count`` cases; targets are used in turn, spread over the year.
    """
    if setting.mend:
        series = mended(series)
    own = [~c for c in series.clear if DONOR_SHARE[0] <= 1 - c.mean() <= 0.88]
    pool = own or list(shapes)
    possible = targets(series, setting)
    if not possible:
        return []
    if len(possible) > setting.count:
        possible = [possible[i] for i in np.linspace(0, len(possible) - 1, setting.count).round().astype(int)]
    key = zlib.crc32((code or series.name).rstrip("MRO-0123456789").encode())
    made = []
    for number in range(setting.count):
        index = possible[number % len(possible)]
        rng = np.random.default_rng([seed, key, number])
        made.append(_one(series, setting, index, pool, rng, f"{code or series.name} {series.dates[index]} #{number}"))
    return made


def _one(
    series: Series, setting: Setting, index: int, pool: Sequence[np.ndarray], rng: np.random.Generator, name: str
) -> Case:
    """The case of one target date."""
    target = series.dates[index]
    gap = _draw(pool, series.clear[index], rng) & series.clear[index]
    others = [t for t in range(len(series.dates)) if t != index]
    others = [t for t in others if setting.apart == 0 or abs((series.dates[t] - target).days) > setting.apart]
    order = [index, *others]
    optical, hidden = series.optical[order].copy(), ~series.clear[order]
    if setting.all_gapped:
        for k in range(1, len(order)):
            more = _draw(pool, ~hidden[k], rng)
            hidden[k] |= more
            optical[k][:, more] = np.nan
    hidden[0] |= gap
    optical[0][:, hidden[0]] = np.nan
    radar = series.radar if setting.radar else None
    radar_dates = series.radar_dates if radar is not None else ()
    observation = Observation(
        optical=optical,
        cloud=hidden.astype(np.float32),
        days=np.array([(series.dates[t] - target).days for t in order], np.float64),
        bands=series.bands,
        radar=radar,
        radar_days=np.array([(d - target).days for d in radar_dates], np.float64),
        pixel_m=series.pixel_m,
    )
    truth = np.where(series.clear[index], series.optical[index], np.nan).astype(np.float32)
    return Case(name, observation, truth, gap, tuple(series.dates[t] for t in order), radar_dates, series)


def load(root: Path | None = None, names: Sequence[str] = tuple(SETTINGS), seed: int = 0) -> dict[str, list[Case]]:
    """The named sets (default: those with a goal) from the data folder; sets whose data are absent are left out."""
    root = Path(root) if root else scenes.data_root()
    every = {**SETTINGS, **EXTRA}
    places: dict[str, Series] = {}
    found: dict[str, list[Case]] = {}
    shapes: list[np.ndarray] | None = None
    for name in names:
        setting = every[name]
        if setting.place not in places:
            loader: Callable[[Path], Series] = scenes.PLACES[setting.place]
            try:
                places[setting.place] = loader(root)
            except (FileNotFoundError, StopIteration):
                continue
        if setting.all_gapped and shapes is None:
            shapes = scenes.cloud_shapes(root)
        found[name] = cases(places[setting.place], setting, shapes or (), seed, name)
    return found


def load_other_sites(root: Path, seed: int = 0) -> dict[str, list[Case]]:
    """Cases of the WorldCereal sites in a folder that no named set is about."""
    return {
        name + ending: cases(series, setting, (), seed, name + ending)
        for name, series in scenes.other_sites(root).items()
        for ending, setting in OTHER_SITE.items()
    }


def linear(observation: Observation) -> np.ndarray:
    """Linear interpolation in time per pixel between the nearest dates that see it: the baseline of every table.

    Written for itself, in float64, with no code of the product. Pixels that no date sees get the band's mean over the
    target's clear pixels (over all dates where the target shows nothing).

    Returns:
        float64 (C, H, W) reflectance on every pixel.
    """
    optical = observation.optical.astype(np.float64)
    seen = (observation.cloud < 0.5) & np.isfinite(optical).all(axis=1)
    _, bands, height, width = optical.shape
    value = {side: np.full((bands, height, width), np.nan) for side in (-1, 1)}
    age = {side: np.full((height, width), np.inf) for side in (-1, 1)}
    for t in range(1, len(optical)):
        side = -1 if observation.days[t] <= 0 else 1
        nearer = seen[t] & (abs(observation.days[t]) < age[side])
        age[side][nearer] = abs(observation.days[t])
        value[side][:, nearer] = optical[t][:, nearer]
    before, after = age[-1], age[1]
    with np.errstate(invalid="ignore"):
        weight = after / np.maximum(before + after, 1e-9)
        weight = np.where(np.isinf(after), 1.0, np.where(np.isinf(before), 0.0, weight))
        both = weight * np.nan_to_num(value[-1]) + (1 - weight) * np.nan_to_num(value[1])
    unseen = np.isinf(before) & np.isinf(after)
    basis = optical[0][:, seen[0]] if seen[0].any() else np.moveaxis(optical, 1, 0)[:, seen]
    both[:, unseen] = (basis.mean(axis=1) if basis.size else np.zeros(bands))[:, None]
    return both


def psnr(estimate: np.ndarray, case: Case) -> float:
    """PSNR in dB with data range 1 over the withheld pixels and all bands."""
    error = estimate[:, case.gap].astype(np.float64) - case.truth[:, case.gap]
    return float(-10.0 * np.log10(np.mean(error**2)))
