"""What is to be done, and what came of it: frozen plain data that turns into JSON and back.

Standard library only: QGIS imports this module when the provider loads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ..errors import InputError

KINDS: tuple[str, ...] = (
    "restore", "detect", "import", "models", "evaluate", "simulate", "describe", "prepare", "prepare_radar",
    "series", "train",
)  # fmt: skip
"""What a job can do: restore hidden pixels, only find clouds, import weights of a network, list the networks, judge
restored layers, lay simulated clouds over a layer, say what layers are, make a stack of products or of radar, restore
all dates of a series (``products``) into a folder, train a network."""

RASTER_KINDS: tuple[str, ...] = ("restore", "detect")
"""Kinds that read and write rasters."""

DEVICES: tuple[str, ...] = ("auto", "cpu", "cuda")
"""What an analyst can choose for DEVICE."""

AUTO_DILATE_PX = -1
"""Default of ``dilate``: the detector's own margin for detected clouds, none for masks that the analyst gives."""


@dataclass(frozen=True)
class Job:
    """One run over a scene.

    Attributes:
        kind: one of :data:`KINDS`.
        input: path of the cloudy raster; of the checkpoint for kind 'import'.
        output: path of the restored raster (kind 'restore'), of the classes ('detect'), of a web page
            ('import', 'models'; '' = not wanted).
        other_dates: paths of the other acquisitions.
        radar: path of the Sentinel-1 raster, '' without.
        cloud_mask: path of the mask of ``input``, '' = detect.
        other_masks: masks in the order of ``other_dates``; '' inside it = detect that date.
        method: name of a restorer, of a detector for kind 'detect', of a network or 'auto' for kind 'import'.
        dates: acquisition dates as the analyst typed them, ``input`` first; '' = from names and tags.
        extent: (xmin, ymin, xmax, ymax) in the CRS of ``input``; None = all.
        sensor: 'auto' or a sensor of :mod:`cloud_removal_plugin.bands`.
        reflectance_scale, reflectance_offset: reflectance = number * scale + offset; None = recognise.
        dilate: pixels by which masks are widened; :data:`AUTO_DILATE_PX` = automatic.
        device: one of :data:`DEVICES`.
        memory_mb: what the job may use in MiB; 0 = automatic.
        seed: start of every random choice.
        threshold: cloud probability (0..1) from which a pixel is cloud; None = the detector's own.
        uncertainty, clouds, probability: paths of optional outputs, '' = not wanted.
        attention: path of the attention mask of method 'crsystem', '' = not wanted.
        page: path of an HTML report ('restore', 'evaluate'), '' = not wanted.
        restored: paths of the layers that kind 'evaluate' judges; ``input`` is then the reference, ``output`` the error
            ('' = not wanted).
        cloudy, sigma, land_cover: paths of what else is known of them: the cloudy layer, the uncertainty of the first
            restored one, land-cover classes.
        metrics_as: name of a convention of :mod:`cloud_removal_plugin.evaluation.conventions`.
        figures: path of a JSON or CSV file of the figures, '' = not wanted.
        cover, size_m, haze: simulated clouds: share of the scene (0..1), typical size in metres, and how
            much of them is thin (0..1).
        sun_azimuth, sun_elevation: degrees; None = from the tags of ``input``.
        donor_masks: paths of masks of other dates whose shapes are laid over ``input`` instead of made-up clouds.
        products: paths of folders, archives and rasters that 'describe', 'prepare' and 'prepare_radar' read; ``input``
            is then the raster whose grid the radar is brought to ('prepare_radar').
        settings: JSON object of what these kinds, 'detect' and 'import' alone ask, see
            :mod:`cloud_removal_plugin.engine.preparing`, ``radar_preparation``, ``detection`` and ``weights``.
        training: settings of kind 'train' as JSON (:class:`cloud_removal_plugin.training.config.TrainingConfig`).
        ensemble: published networks that may join method 'auto', or, with a minus before them, may not; 'none' = none,
            '' = all whose weights are there.
        weights: folder of the networks' weights, '' = as :func:`weights.folder.weights_folder` finds it.
    """

    kind: str
    input: str
    output: str
    other_dates: tuple[str, ...] = ()
    radar: str = ""
    cloud_mask: str = ""
    other_masks: tuple[str, ...] = ()
    method: str = "auto"
    dates: str = ""
    extent: tuple[float, float, float, float] | None = None
    sensor: str = "auto"
    reflectance_scale: float | None = None
    reflectance_offset: float | None = None
    dilate: int = AUTO_DILATE_PX
    device: str = "auto"
    memory_mb: int = 0
    seed: int = 0
    threshold: float | None = None
    uncertainty: str = ""
    clouds: str = ""
    probability: str = ""
    attention: str = ""
    weights: str = ""
    ensemble: str = ""
    page: str = ""
    training: str = ""
    restored: tuple[str, ...] = ()
    cloudy: str = ""
    sigma: str = ""
    land_cover: str = ""
    metrics_as: str = "field"
    figures: str = ""
    cover: float = 0.3
    size_m: float = 1500.0
    haze: float = 0.3
    sun_azimuth: float | None = None
    sun_elevation: float | None = None
    donor_masks: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    settings: str = ""

    def __post_init__(self) -> None:
        """Refuse what no run could do.

        Raises:
            InputError: unknown kind or device, no input or output, a negative number, a threshold outside 0..1,
                other_masks of another length.
        """
        if self.kind not in KINDS:
            raise InputError(f"A job cannot be of the kind '{self.kind}'. Use one of: {', '.join(KINDS)}.")
        if self.device not in DEVICES:
            raise InputError(f"There is no device '{self.device}'. Use one of: {', '.join(DEVICES)}.")
        for name in ("input", "output"):
            needed = name == "input" or self.kind in (*RASTER_KINDS, "simulate")
            if self.kind in (*RASTER_KINDS, "evaluate", "simulate") and needed and not getattr(self, name):
                raise InputError(f"The job does not say its {name} raster. Give the path of a file.")
        if self.kind in ("describe", "prepare", "prepare_radar") and not self.products:
            raise InputError("The job names no product. Give the path of a folder, an archive or a raster.")
        if self.kind == "series" and not (self.products and self.output):
            raise InputError("The job names no raster, or no folder for the restored dates. Give both.")
        if self.kind in ("prepare", "prepare_radar") and not self.output:
            raise InputError("The job does not say its output raster. Give the path of a file.")
        if self.kind == "import" and not self.input:
            raise InputError("The job does not say which checkpoint to import. Give the path of a file.")
        if self.dilate < AUTO_DILATE_PX:
            raise InputError(f"'dilate' is {self.dilate}; use 0 or more pixels, or {AUTO_DILATE_PX} for automatic.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InputError(f"'threshold' is {self.threshold:g}; it is a probability from 0 to 1.")
        for name in ("memory_mb", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"'{name}' is {getattr(self, name)}; it cannot be negative.")
        if self.other_masks and len(self.other_masks) != len(self.other_dates):
            raise InputError(
                f"The number of other masks ({len(self.other_masks)}) is not that of other dates "
                f"({len(self.other_dates)}). Give one mask for each date, in the same order, or none."
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every file that the job reads."""
        found = (self.input, *self.other_dates, self.radar, self.cloud_mask, *self.other_masks)
        found += (*self.restored, self.cloudy, self.sigma, self.land_cover, *self.donor_masks, *self.products)
        return tuple(path for path in found if path)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every file that the job writes."""
        rasters = (self.output, self.uncertainty, self.clouds, self.probability, self.attention)
        return tuple(path for path in (*rasters, self.page, self.figures) if path)

    def to_json(self) -> str:
        """The job as one line of JSON."""
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read a job.

        Raises:
            InputError: the text is not JSON, a key is unknown or missing, or a value has the wrong type.
        """
        return _load(cls, text, "job")


@dataclass(frozen=True)
class Result:
    """What a run produced.

    Attributes:
        output, uncertainty, clouds, probability, attention: paths written, '' = not wanted. ``output`` of kind 'import'
            is the file in the weights folder.
        cloud_share: share of the scene's valid pixels hidden by cloud or shadow, 0..1.
        restored_share: share of the scene's valid pixels that were restored, 0..1.
        expected_rmse: reflectance, from simulated gaps; None = unknown.
        seconds: wall time of the run.
        method_used: what ran, with the weights of its members where it has some.
        warnings: sentences that the analyst should read.
        page, figures: paths of the report and of the figures, '' = not wanted.
        mae, rmse, psnr, ssim, sam: of the first restored layer over all its pixels (kind 'evaluate'); None = unknown.
        report: lines of text, from the kinds that write no raster.
    """

    output: str
    uncertainty: str = ""
    clouds: str = ""
    probability: str = ""
    attention: str = ""
    cloud_share: float = 0.0
    restored_share: float = 0.0
    expected_rmse: float | None = None
    seconds: float = 0.0
    method_used: str = ""
    warnings: tuple[str, ...] = field(default=())
    report: str = ""
    page: str = ""
    figures: str = ""
    mae: float | None = None
    rmse: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    sam: float | None = None

    def to_json(self) -> str:
        """The result as one line of JSON (NaN and infinity, which JSON lacks, become unknown)."""
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read a result.

        Raises:
            InputError: the text is not JSON, a key is unknown or missing, or a value has the wrong type.
        """
        return _load(cls, text, "result")


def _dump(record: Job | Result) -> str:
    return json.dumps({item.name: _plain(getattr(record, item.name)) for item in fields(record)}, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Built-in numbers only (numpy scalars have ``item``); a number that is not finite becomes None."""
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return None
    return value


def _load(cls: Any, text: str, word: str) -> Any:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InputError(f"The {word} is not valid JSON ({error}).") from error
    if not isinstance(raw, dict):
        raise InputError(f"The {word} must be a JSON object with named values.")
    known = {item.name: item for item in fields(cls)}
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise InputError(f"The {word} has unknown keys: {', '.join(unknown)}. Known are: {', '.join(known)}.")
    missing = [name for name, item in known.items() if _required(item) and name not in raw]
    if missing:
        raise InputError(f"The {word} lacks: {', '.join(missing)}.")
    values = {}
    for name, value in raw.items():
        try:
            values[name] = _READERS[str(known[name].type)](value)
        except ValueError as error:
            raise InputError(f"'{name}' of the {word} cannot be {json.dumps(value)}.") from error
    return cls(**values)


def _required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(value)


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(value)


def _number(value: Any) -> float:
    """JSON writes 1.0 as 1, and has no NaN: null stands for it."""
    if value is None:
        return float("nan")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ValueError(value)


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_text(part) for part in value)
    raise ValueError(value)


def _box(value: Any) -> tuple[float, ...]:
    if isinstance(value, list) and len(value) == 4 and None not in value:
        return tuple(_number(part) for part in value)
    raise ValueError(value)


def _maybe(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


# Keyed by the annotations as written: evaluating "float | None" needs Python 3.10, and QGIS 3.22 may bring 3.9.
_READERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _whole,
    "float": _number,
    "float | None": _maybe(_number),
    "tuple[str, ...]": _texts,
    "tuple[float, float, float, float] | None": _maybe(_box),
}
