"""How each published network is fed with the frames of a window, and what its output means.

Reflectance and dB in, reflectance and its standard deviation out; the ranges that a network wants are those of its
record, the order of channels and the positions in time those of the network's file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.records import Record
from ..models.scaling import UNCRTAINTS, Scaling

UNCRTAINTS_EPOCH = date(2014, 4, 3)
"""Day 0 of UnCRtainTS' positions: launch of Sentinel-1A."""
SERIES = 10
"""Frames of one series: as many as U-TILISE and Clear Vision were trained with."""


@dataclass(frozen=True)
class Wants:
    """What a network with certain weights needs of a scene.

    Attributes:
        bands: role names, in the network's order.
        radar: VV and VH must be there.
        dates: frames of one call, least and most.
        calendar: acquisition dates must be known.
        masked: hidden pixels of every frame are blanked; else the network sees the clouds.
        variance: it gives a variance.
        gives: role names that it restores, in the order of ``bands``; empty = all.
    """

    bands: tuple[str, ...]
    radar: bool
    dates: tuple[int, int]
    calendar: bool = False
    masked: bool = False
    variance: bool = False
    gives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frames:
    """A window as a network is to see it: no number is missing.

    Attributes:
        optical: float32 (T, C, h, w) reflectance, in the order of time, bands in the network's order.
        hidden: bool (T, h, w).
        radar: float32 (T, 2, h, w) dB, None without.
        days: (T,) days relative to the target; radar_days likewise, of the radar frames.
        dates: acquisition dates, None where they are not known.
        target: which frame is restored.
    """

    optical: np.ndarray
    hidden: np.ndarray
    radar: np.ndarray | None
    days: np.ndarray
    radar_days: np.ndarray
    dates: Sequence[date] | None
    target: int


Predicted = tuple[np.ndarray, "np.ndarray | None"]
"""Reflectance (C, h, w), and standard deviation (C, h, w) where the network gives one."""


def wants(record: Record, config: Mapping[str, Any]) -> Wants:
    """What the network needs with the arguments that its weights belong to.

    Raises:
        InputError: the weights were trained for other bands than the published ones.
    """
    module, bands = record.module, len(record.bands)
    radar = record.radar == "required"
    dates, variance = (1, 1), False
    given = config.get("optical_channels", config.get("output_nc", config.get("bands", bands)))
    if module == "dsen2cr":
        radar = config.get("include_sar_input", radar)
    elif module == "seq2point":
        radar = config.get("include_S1", radar)
        frames = 1 if record.builder == "BaselineResNet" else config.get("n_input_samples", record.dates[0])
        dates = (frames, frames)
    elif module == "uncrtaints":
        radar = config.get("input_dim", 15) == 15
        mono = config.get("is_mono", False)
        dates = (1, 1) if mono else (2, record.dates_counted)
        variance = config.get("out_conv", (26,))[-1] > bands
        given = config.get("input_dim", 15) - (2 if radar else 0)
    elif module == "utilise":
        given = config.get("output_dim", bands)
        radar = config.get("input_dim", bands) == given + 2
        dates = (2, SERIES)
    elif module == "clearvision_removal":
        given, dates = config.get("n_channels", bands), record.dates
    if given != bands:
        raise InputError(
            f"The stored weights of {record.title} are for {given} bands; the published network has {bands}. Import "
            "the published checkpoint."
        )
    calendar = module == "utilise" or (module == "uncrtaints" and dates[1] > 1)
    masked = module in ("utilise", "clearvision_removal")
    gives = ("blue", "green", "red") if module == "tuacr" else ()
    return Wants(record.bands, radar, dates, calendar, masked, variance, gives)


def lowered(precision: str, device: str) -> AbstractContextManager[object]:
    """Inside, torch computes in this precision what can be computed in it."""
    if precision == "float32":
        return nullcontext()
    import torch

    return torch.autocast(device.split(":")[0], dtype=getattr(torch, precision))


def predict(network: Any, record: Record, config: Mapping[str, Any], frames: Frames, device: str) -> Predicted:
    """Run a network on one window.

    Args:
        network: in evaluation mode, on ``device``.
        record, config: of the network.
        frames: its window; height and width fit the network.
        device: "cpu" or "cuda".
    """
    import torch

    with torch.inference_mode():
        return _FEEDS[record.module](network, _scaling(record, config), config, frames, _Mover(torch, device))


def _scaling(record: Record, config: Mapping[str, Any]) -> Scaling:
    """The record's ranges; UnCRtainTS' factor may differ from the published one."""
    return UNCRTAINTS.times(config.get("scale_by", 10.0)) if record.module == "uncrtaints" else record.scaling


class _Mover:
    """NumPy to the device and back."""

    def __init__(self, torch: Any, device: str) -> None:
        self._torch, self._device = torch, device

    def there(self, *parts: np.ndarray) -> Any:
        """Arrays joined along their third last axis, with a batch axis in front."""
        joined = np.concatenate(parts, axis=-3) if len(parts) > 1 else parts[0]
        return self._torch.from_numpy(np.ascontiguousarray(joined, np.float32))[None].to(self._device)

    def numbers(self, values: Sequence[float]) -> Any:
        """A row of numbers (1, T)."""
        return self._torch.tensor([list(values)], dtype=self._torch.float32, device=self._device)

    def back(self, tensor: Any) -> np.ndarray:
        """Without the batch axis."""
        return tensor[0].float().cpu().numpy()


def _single(network: Any, ranges: Scaling, config: Mapping[str, Any], frames: Frames, move: _Mover) -> Predicted:
    """DSen2-CR, GLF-CR, Align-CR: optical and radar side by side."""
    optical = move.there(ranges.optical(frames.optical[frames.target]))
    radar = [] if frames.radar is None else [move.there(ranges.radar(frames.radar[frames.target]))]
    return ranges.reflectance(move.back(network(optical, *radar))), None


def _channels(ranges: Scaling, frames: Frames, radar_first: bool = False) -> np.ndarray:
    """Every frame's scaled bands and radar on one axis: (T, C, h, w)."""
    optical = ranges.optical(frames.optical)
    if frames.radar is None:
        return optical
    radar = ranges.radar(frames.radar)
    return np.concatenate((radar, optical) if radar_first else (optical, radar), axis=1)


def _seq2point(network: Any, ranges: Scaling, config: Mapping[str, Any], frames: Frames, move: _Mover) -> Predicted:
    from ..models.seq2point import BaselineResNet, image

    stacked = _channels(ranges, frames)
    if isinstance(network, BaselineResNet):
        return ranges.reflectance(move.back(network(move.there(stacked[frames.target])))), None
    return ranges.reflectance(move.back(image(network([move.there(frame) for frame in stacked])))), None


def _uncrtaints(network: Any, ranges: Scaling, config: Mapping[str, Any], frames: Frames, move: _Mover) -> Predicted:
    stacked = move.there(_channels(ranges, frames, radar_first=True))
    positions = None
    if frames.dates is not None:
        # with radar the mean of both acquisitions' days
        shift = (frames.radar_days - frames.days) / 2 if frames.radar is not None else 0 * frames.days
        positions = move.numbers([(day - UNCRTAINTS_EPOCH).days + off for day, off in zip(frames.dates, shift)])
    out = move.back(network(stacked, positions))[0]
    bands = frames.optical.shape[1]
    mean, variance = out[:bands], out[bands:]
    if not len(variance):
        return ranges.reflectance(mean), None
    deviation = np.sqrt(np.maximum(variance, 0)) / np.float32(ranges.top)
    return ranges.reflectance(mean), np.broadcast_to(deviation, mean.shape).astype(np.float32)


def _blanked(ranges: Scaling, frames: Frames) -> np.ndarray:
    """Scaled optical frames, hidden pixels 1 in every band."""
    return np.where(frames.hidden[:, None], np.float32(1), ranges.optical(frames.optical))


def _utilise(network: Any, ranges: Scaling, config: Mapping[str, Any], frames: Frames, move: _Mover) -> Predicted:
    return _utilise_series(network, ranges, frames, move)[frames.target], None


def _utilise_series(network: Any, ranges: Scaling, frames: Frames, move: _Mover) -> np.ndarray:
    """Every frame (T, C, h, w)."""
    from ..models.utilise_positions import positions

    stacked = _blanked(ranges, frames)
    if frames.radar is not None:
        stacked = np.concatenate((stacked, ranges.radar(frames.radar)), axis=1)
    days = None if frames.dates is None else move.numbers(positions(frames.dates))
    return ranges.reflectance(move.back(network(move.there(stacked), days)))


def _clearvision(network: Any, ranges: Scaling, config: Mapping[str, Any], frames: Frames, move: _Mover) -> Predicted:
    return _clearvision_series(network, ranges, frames, move)[frames.target], None


def _clearvision_series(network: Any, ranges: Scaling, frames: Frames, move: _Mover) -> np.ndarray:
    """Every frame (T, C, h, w)."""
    from ..models.clearvision_removal import masked_series

    series = masked_series(ranges.optical(frames.optical), frames.hidden.astype(np.float32))
    _, out = network(move.there(series[0]))
    return ranges.reflectance(move.back(out).swapaxes(0, 1)[: len(frames.optical)])


_SERIES: dict[str, Callable[..., np.ndarray]] = {
    "utilise": _utilise_series,
    "clearvision_removal": _clearvision_series,
}


def predict_series(network: Any, record: Record, config: Mapping[str, Any], frames: Frames, device: str) -> np.ndarray:
    """Run a network that rebuilds all its frames on one window (see :func:`predict`); float32 (T, C, h, w)."""
    import torch

    with torch.inference_mode():
        return _SERIES[record.module](network, _scaling(record, config), frames, _Mover(torch, device))


def _crsystem(network: Any, ranges: Scaling, config: Mapping[str, Any], frames: Frames, move: _Mover) -> Predicted:
    image, _ = network.restore(frames.optical[frames.target], frames.radar[frames.target])
    return image, None


_FEEDS: dict[str, Callable[..., Predicted]] = {
    "dsen2cr": _single,
    "glfcr": _single,
    "aligncr": _single,
    "seq2point": _seq2point,
    "uncrtaints": _uncrtaints,
    "utilise": _utilise,
    "clearvision_removal": _clearvision,
    "tuacr": _crsystem,
}

RESTORERS_BY_MODULE = tuple(module for module in _FEEDS if module != "tuacr")
"""Modules whose networks restore by themselves; a mask network and an ensemble head do not."""
