"""The starter network that ships with the plugin, computed with NumPy: no PyTorch is needed for one cloudy date.

The same numbers as ``models/starter.py``, which trains it and says what it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bands import SENTINEL2_L1C
from ..errors import InputError
from ..models.starter_facts import BANDS, CUES, KEPT, POOL, RADAR_MEAN, RADAR_SPREAD, RAYLEIGH, SPREAD
from ..weights.folder import find, weights_folder

NAME = "starter"
MULTIPLE = 64
LEAST_BANDS = 3
_PLACE = {name: index for index, name in enumerate(SENTINEL2_L1C)}
Array = np.ndarray


@dataclass(frozen=True)
class StarterNetwork:
    """The trained numbers by the names of ``models.starter.Starter``'s state.

    Attributes:
        numbers: float32 arrays.
        rmse: of each of the 13 bands, see :meth:`rmse_of`.
    """

    numbers: dict[str, Array]
    rmse: tuple[float, ...] = ()

    def rmse_of(self, bands: Sequence[str]) -> Array:
        """float32 (C,), root mean square error under clouds of regions that were left out of the training."""
        return np.array([self.rmse[_PLACE[name]] for name in bands], np.float32)

    def restore(self, optical: Array, bands: Sequence[str], hidden: Array | None, radar: Array | None) -> Array:
        """What the ground is probably like, under clouds and beside them.

        Args:
            optical: float32 (C, H, W) reflectance, NaN = no data. bands: C role names; others than the 13 of
                Sentinel-2 are refused.
            hidden: bool (H, W), what a mask calls hidden; None = the network finds clouds by itself.
            radar: float32 (2, H, W), VV and VH in dB, NaN = no data; None without.

        Returns:
            float32 (C, H, W), 0 and above.

        Raises:
            InputError: a band is none of Sentinel-2's.
        """
        if strange := [name for name in bands if name not in _PLACE]:
            raise InputError(f"The starter network knows no band '{strange[0]}'; choose another METHOD.")
        rows, cols = optical.shape[1:]
        pad = ((0, -rows % MULTIPLE), (0, -cols % MULTIPLE))
        blank = ~np.isfinite(optical).all(axis=0)
        places = [_PLACE[name] for name in bands]
        image = np.zeros((BANDS, rows, cols), np.float32)
        image[places] = np.where(blank, self.numbers["mean"][places][:, None, None], optical)
        mask = None if hidden is None else _padded((hidden | blank)[None].astype(np.float32), pad)[0]
        echo = None if radar is None else _padded(np.nan_to_num(radar, nan=-20.0), pad)
        found = self._forward(_padded(image, pad), places, echo, mask)
        return np.maximum(found[places, :rows, :cols], 0)

    def _forward(self, optical: Array, places: list[int], radar: Array | None, hidden: Array | None) -> Array:
        """All 13 bands (13, H, W)."""
        n, mean = self.numbers, self.numbers["mean"][:, None, None]
        x = self._complete(optical, places)
        reflectance = x + mean
        out, cloud, near = self._pixels(x, reflectance, places, hidden)
        trust = _sigmoid(out[:BANDS] + n["trust"][0] + n["trust"][1] * np.maximum(cloud, 0.5 * near))
        haze = np.logaddexp(0, out[BANDS:])
        x = x + haze[2] * (reflectance - np.array(RAYLEIGH, np.float32)[:, None, None])
        x -= SPREAD * np.tensordot(n["basis"].T, haze[:2], 1)
        level = 0.0
        if radar is not None:
            level = _grown(self._heard(radar), x.shape[1:])
        return mean + np.float32(KEPT) * (self._spread(trust, x - level) + level)

    def _complete(self, optical: Array, places: list[int]) -> Array:
        spread = self.numbers["covariance"].astype(np.float64)
        spread = spread + 1e-4 * np.diag(np.diag(spread))
        rest = [band for band in range(BANDS) if band not in places]
        gain = np.eye(BANDS)[:, places]
        gain[rest] = spread[np.ix_(rest, places)] @ np.linalg.inv(spread[np.ix_(places, places)])
        known = np.clip(optical[places], 0, 1.6) - self.numbers["mean"][places][:, None, None]
        return np.tensordot(gain.astype(np.float32), known, 1)

    def _linear(self, name: str, x: Array) -> Array:
        weight, bias = self.numbers[f"{name}.weight"], self.numbers[f"{name}.bias"]
        return (weight @ x.reshape(len(x), -1) + bias[:, None]).reshape(-1, *x.shape[1:])

    def _pixels(
        self, x: Array, reflectance: Array, places: list[int], hidden: Array | None
    ) -> tuple[Array, Array, Array]:
        """What the network of single pixels says (16, H, W), cloud and cloud nearby (H, W)."""
        size = x.shape[1:]
        shown = np.clip(x / SPREAD, -2, 5)
        cues = _cues(reflectance)
        cloud = cues[0] if hidden is None else hidden
        pooled = _pooled(shown, POOL)
        rough = np.sqrt(np.maximum(_pooled(shown[1:2] ** 2, POOL) - pooled[1:2] ** 2, 0))
        blocks = cloud.reshape(size[0] // POOL, POOL, size[1] // POOL, POOL).max((1, 3))
        around = _grown(np.concatenate((pooled, rough, _smooth(blocks[None], 2))), size)
        scene = [cloud.mean(), shown[_PLACE["nir08"]].mean(), shown[_PLACE["swir16"]].mean(),
                 1 - len(places) / BANDS, float(hidden is not None)]  # fmt: skip
        scene = np.array(scene, np.float32)[:, None, None]
        out = np.empty((BANDS + 3, *size), np.float32)
        for start in range(0, size[0], MULTIPLE):  # in strips, which stay in the cache
            rows = slice(start, start + MULTIPLE)
            parts = (shown[:, rows], cues[:, rows], cloud[None, rows], around[:, rows])
            strip = (*parts, np.broadcast_to(scene, (len(scene), *parts[0].shape[1:])))
            first = np.maximum(self._linear("first", np.concatenate(strip)), 0)
            second = np.maximum(self._linear("second", first), 0)
            out[:, rows] = self._linear("third", first + second)
        return out, cloud, around[-1]

    def _heard(self, radar: Array) -> Array:
        echo = np.clip((radar - np.array(RADAR_MEAN, np.float32)[:, None, None]) / RADAR_SPREAD, -3, 3)
        echo = _pooled(echo, 4)
        both = np.concatenate((echo, echo[:1] * echo[1:], echo[1:] - echo[:1]))
        return np.float32(0.05) * self._linear("radar", both)

    def _spread(self, trust: Array, x: Array) -> Array:
        stiff = np.exp(self.numbers["stiffness"])
        levels = [(_pooled(trust * x, 4), _pooled(trust, 4))]
        for _ in range(2):
            levels.append((_pooled(levels[-1][0], 4), _pooled(levels[-1][1], 4)))
        found = (trust * x).mean((1, 2), keepdims=True) / (trust.mean((1, 2), keepdims=True) + stiff[0])
        for place, (total, weight) in enumerate(reversed(levels)):
            coarse = _grown(found, total.shape[1:])
            found = (_smooth(total, 1) + stiff[1 + place] * coarse) / (_smooth(weight, 1) + stiff[1 + place])
        return (trust * x + stiff[4] * _grown(found, x.shape[1:])) / (trust + stiff[4])


def shipped(folder: Path | None = None) -> StarterNetwork | None:
    """The starter network: the analyst's own weights, else those of the plugin, else None."""
    stored = find(NAME, folder or weights_folder())
    if stored is None:
        return None
    try:
        rmse = tuple(float(value) for value in json.loads(stored.facts["rmse_by_band"]))
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(stored.path) from error
    if len(rmse) != BANDS:
        raise _damaged(stored.path)
    return StarterNetwork(read(stored.path), rmse)


def knows(bands: Sequence[str]) -> bool:
    """Whether all bands are Sentinel-2's."""
    return set(bands) <= set(SENTINEL2_L1C)


def _damaged(path: Path) -> InputError:
    return InputError(f"The starter weights '{path}' are damaged. Install the plugin again.")


def read(path: Path) -> dict[str, Array]:
    """The float32 arrays of a safetensors file (https://huggingface.co/docs/safetensors), without its package.

    Raises:
        InputError: the file is damaged.
    """
    try:
        raw = path.read_bytes()
        begin = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:begin])
        out = {}
        for name, entry in header.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                out[name] = np.frombuffer(raw[begin + first : begin + last], "<f4").reshape(entry["shape"]).copy()
        _ = [out[name] for name in ("mean", "covariance", "trust", "stiffness", "basis", "third.weight")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    return out


def _cues(reflectance: Array) -> Array:
    """As ``models.starter.Starter._cues``: (5, H, W)."""
    blue, green, red = (reflectance[_PLACE[name]] - np.float32(CUES[name]) for name in ("blue", "green", "red"))
    swir, cirrus = reflectance[_PLACE["swir16"]], reflectance[_PLACE["cirrus"]]
    haze = blue - np.float32(0.5) * red
    visible = np.maximum(np.stack((blue, green, red)), 0.005)
    colour = np.clip((visible.max(0) - visible.min(0)) / visible.mean(0), 0, 1.5)
    snow = np.clip((green - swir) / np.maximum(green + swir, 0.02), -1, 1)
    logit = -2.9 + 26 * np.minimum(blue, 0.35) + 13.4 * np.clip(haze, -0.05, 0.2) - 2.9 * np.minimum(colour, 1.2)
    logit = logit + 1.8 * np.clip(snow, -0.7, -0.1) + 227 * np.clip(cirrus - 0.003, 0, 0.03)
    return np.stack((_sigmoid(logit), 10 * haze, colour, snow, np.minimum(30 * cirrus, 3))).astype(np.float32)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def _padded(planes: Array, pad: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    return np.pad(planes, ((0, 0), *pad), mode="symmetric") if pad != ((0, 0), (0, 0)) else planes


def _pooled(planes: Array, size: int) -> Array:
    """Means of blocks."""
    count, height, width = planes.shape
    return planes.reshape(count, height // size, size, width // size, size).mean((2, 4))


def _smooth(planes: Array, radius: int) -> Array:
    """Means of the neighbours within the image."""
    ones = np.ones((1, *planes.shape[1:]), np.float32)

    def sums(values: Array) -> Array:
        for axis in (1, 2):
            edge = [(0, 0)] * 3
            edge[axis] = (radius + 1, radius)
            total = np.cumsum(np.pad(values, edge), axis=axis, dtype=np.float64)
            far, near = [slice(None)] * 3, [slice(None)] * 3
            far[axis], near[axis] = slice(2 * radius + 1, None), slice(None, -2 * radius - 1)
            values = total[tuple(far)] - total[tuple(near)]
        return values

    return (sums(planes) / sums(ones)).astype(np.float32)


def _grown(planes: Array, size: tuple[int, int]) -> Array:
    """Bilinear enlargement, pixel centres aligned, edges repeated."""
    for axis, length in ((1, size[0]), (2, size[1])):
        at = np.clip((np.arange(length) + 0.5) * planes.shape[axis] / length - 0.5, 0, planes.shape[axis] - 1)
        low = at.astype(int)
        high = np.minimum(low + 1, planes.shape[axis] - 1)
        shape = [1, 1, 1]
        shape[axis] = length
        share = (at - low).astype(np.float32).reshape(shape)
        planes = np.take(planes, low, axis) * (1 - share) + np.take(planes, high, axis) * share
    return planes
