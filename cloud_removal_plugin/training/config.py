"""What is to be trained, on what, how long: a TOML (or JSON) file, or the same as nested dictionaries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import DependencyError, InputError
from .presets import GENERATOR_OPTIONS, TEXT_OPTIONS, Preset, options_of, preset

PRECISIONS = ("fp32", "bf16", "fp16")
ON_NAN = ("raise", "skip")
PARTS = ("train", "validation", "test")
LARGEST_SEED = 2**62


@dataclass(frozen=True)
class TrainingConfig:
    """A training run; None = as the recipe says.

    Attributes:
        preset: name of the recipe.
        output: folder of checkpoints, log and weights.
        data: ``reader`` (name of a data set, or recognised), ``root``, further options of the reader, and the tables
            ``train`` and ``validation`` with options for one of them.
        network_config: constructor arguments of the network in place of the recipe's.
        weights: safetensors file to start from (fine-tuning), '' = fresh.
        resume: go on from the last checkpoint of ``output``.
        epochs, steps: how long; ``steps`` (optimiser steps, 0 = not limited) goes before ``epochs``.
        batch, accumulate: samples at once, and batches whose gradients are summed into one step.
        lr, crop, augment: in place of the recipe's.
        clip: largest norm of the gradient, 0 = none.
        precision: ``fp32``, ``bf16`` or ``fp16`` (CUDA only).
        device: ``cpu``, ``cuda`` or ``auto``.
        devices: processes that share every batch, each with a CUDA device of its own (or all on the processor); 0 = one
            for every CUDA device. Under torchrun its own number counts.
        sync_batchnorm: several processes take the statistics of batch norm over the whole batch, not each over its own
            share; one process alone does so anyway.
        workers: processes that read samples.
        threads: of every numerical call on the processor, 0 = one for each core; another number rounds differently, so
            keep it over a resume.
        validate_every, checkpoint_every: steps; 0 = each epoch, but not more often than every 50 steps.
        validation_samples: at most so many, 0 = all.
        on_nan: ``raise`` or ``skip`` samples whose target holds no data somewhere.
        seed: of weights, order, crops, augmentation and dropout.
        options: of the loss or step, over the recipe's (``lambda_GAN``, ``vgg16`` ...).
    """

    preset: str
    output: str
    data: Mapping[str, Any]
    network_config: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    resume: bool = False
    epochs: int | None = None
    steps: int = 0
    batch: int | None = None
    accumulate: int = 1
    lr: float | None = None
    crop: int | None = None
    augment: bool | None = None
    clip: float = 0.0
    precision: str = "fp32"
    device: str = "auto"
    devices: int = 1
    sync_batchnorm: bool = False
    workers: int = 0
    threads: int = 0
    validate_every: int = 0
    checkpoint_every: int = 0
    validation_samples: int = 0
    on_nan: str = "raise"
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no run could do.

        Raises:
            InputError: an unknown recipe or choice, no data, or a number out of range.
        """
        recipe = preset(self.preset)
        if not self.output:
            raise InputError("The training does not say where to write; give output, a folder.")
        _check_data(self.data)
        for name, known in (("precision", PRECISIONS), ("on_nan", ON_NAN), ("device", ("auto", "cpu", "cuda"))):
            if getattr(self, name) not in known:
                raise InputError(f"'{name}' is '{getattr(self, name)}'; choose one of {', '.join(known)}.")
        least_of = {
            "accumulate": 1,
            **dict.fromkeys(("steps", "workers", "threads", "devices", "validate_every", "clip"), 0),
        }
        for name, least in (least_of | {"checkpoint_every": 0, "validation_samples": 0, "crop": 0, "seed": 0}).items():
            if self.chosen(name, recipe) < least:
                raise InputError(f"'{name}' is {getattr(self, name)}; it must be at least {least}.")
        if self.chosen("seed", recipe) > LARGEST_SEED:
            raise InputError(f"'seed' is {self.seed}; it must be at most 2^62.")
        known = options_of(recipe.network, recipe.loss)
        odd = sorted(set(self.options) - set(known))
        if odd:
            raise InputError(f"The recipe '{self.preset}' has no option '{odd[0]}'; it knows {', '.join(known)}.")
        _check_options(self.options)
        is_generator = any({**recipe.options, **self.options}.get(name) for name in GENERATOR_OPTIONS)
        if is_generator and (self.precision != "fp32" or self.accumulate != 1):
            raise InputError(
                f"With {' or '.join(GENERATOR_OPTIONS)} sequence to point trains as published: in fp32, one batch a "
                "step. Set precision = 'fp32' and accumulate = 1."
            )
        for name in ("epochs", "batch", "lr", "clip"):
            value = self.chosen(name, recipe)
            if not math.isfinite(value) or (value <= 0 and name != "clip"):
                raise InputError(f"'{name}' is {value}; it must be a number larger than 0.")

    def chosen(self, name: str, recipe: Preset | None = None) -> Any:
        """A value of this run: as given, else the recipe's."""
        value = getattr(self, name)
        return getattr(recipe or preset(self.preset), name) if value is None else value

    def to_dict(self) -> dict[str, Any]:
        """Plain data that :func:`from_dict` reads back."""
        return json.loads(json.dumps(asdict(self)))


def _check_data(data: Mapping[str, Any]) -> None:
    """Refuses a table of data that no reader could take.

    Raises:
        InputError: it names no place, or an entry is of another kind than it should be.
    """
    if "root" not in data and "scenes" not in data:
        raise InputError("The training does not say where its data are; give data.root or data.scenes.")
    kinds = {
        **dict.fromkeys(("reader", "root", "cache"), (str, "a text")),
        **dict.fromkeys(PARTS, (Mapping, "a table")),
        **dict.fromkeys(("scenes", "held_out"), (list | tuple, "a list")),
    }
    tables = {"data": data, **{f"data.{part}": data[part] for part in PARTS if isinstance(data.get(part), Mapping)}}
    for table, values in tables.items():
        for name, (kind, said) in kinds.items():
            if name in values and not isinstance(values[name], kind):
                raise InputError(f"'{table}.{name}' is {values[name]!r}; it must be {said}.")
    if not all(isinstance(scene, Mapping) for scene in data.get("scenes", ())):
        raise InputError('Each of \'data.scenes\' must be a table, such as {clear = "a.tif", cloudy = "b.tif"}.')


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuses options of a loss or step that are neither finite numbers nor texts where such are wanted.

    Raises:
        InputError: a number or a text of another kind.
    """
    for name, value in options.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        wants_text = name in TEXT_OPTIONS
        if isinstance(value, str) != wants_text or not (wants_text or is_number):
            raise InputError(f"The option '{name}' is {value!r}; it must be a {'text' if wants_text else 'number'}.")


def from_dict(values: Mapping[str, Any]) -> TrainingConfig:
    """A run from nested dictionaries; the table ``training`` may hold the plain values.

    Raises:
        InputError: an unknown key, a missing one, or a value that does not fit.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("training", {}), Mapping):
        raise InputError("A training is a table of settings (preset, output, data ...), 'training' in it another one.")
    flat = {**values.get("training", {}), **{key: value for key, value in values.items() if key != "training"}}
    known = {item.name: str(item.type) for item in fields(TrainingConfig)}
    unknown = sorted(set(flat) - set(known))
    if unknown:
        raise InputError(f"The training has unknown settings: {', '.join(unknown)}. Known are: {', '.join(known)}.")
    missing = [name for name in ("preset", "output", "data") if name not in flat]
    if missing:
        raise InputError(f"The training lacks: {', '.join(missing)}.")
    return TrainingConfig(**{name: _fitting(name, value, known[name]) for name, value in flat.items()})


def _fitting(name: str, value: Any, kind: str) -> Any:
    kinds = {"str": str, "int": int, "bool": bool, "float": (int, float), "Mapping[str, Any]": Mapping}
    wanted = kinds[kind.removesuffix(" | None")]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = isinstance(value, wanted) and (wanted is bool or wanted in (str, Mapping) or is_number)
    if not fits and not (value is None and kind.endswith("None")):
        raise InputError(f"'{name}' of the training cannot be {value!r}.")
    return value


def read_config(path: str | Path) -> TrainingConfig:
    """A run from a TOML or JSON file; relative paths in it count from its folder.

    Raises:
        InputError: the file cannot be read or is not what it should be.
        DependencyError: TOML before Python 3.11.
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8")
        values = json.loads(text) if place.suffix == ".json" else _toml(text)
    except (OSError, ValueError) as error:
        raise InputError(f"The training file '{place}' cannot be read ({error}).") from error
    return from_dict(_located(values, place.resolve().parent))


def _toml(text: str) -> dict[str, Any]:
    try:
        import tomllib as reader
    except ImportError:  # before Python 3.11
        try:
            import tomli as reader
        except ImportError:
            message = "Training files in TOML need Python 3.11 or the package tomli; or write the same as JSON."
            raise DependencyError(message) from None
    return reader.loads(text)


_PATHS = ("output", "weights", "root", "cache", "csv_list", "file_list", "clear", "cloudy", "radar", "mask",
          "import_data_path", "export_data_path", "vgg16", "dsen2cr", "glfcr")  # fmt: skip


def _located(value: Any, folder: Path, name: str = "") -> Any:
    """The same with relative paths made absolute."""
    if isinstance(value, Mapping):
        return {key: _located(part, folder, key) for key, part in value.items()}
    if isinstance(value, list):
        return [_located(part, folder, name) for part in value]
    if name in _PATHS and isinstance(value, str) and value:
        return str(folder / value)
    return value
