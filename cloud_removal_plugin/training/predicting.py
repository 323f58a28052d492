"""What the papers' scripts do after a training: predictions as images, figures of every sample and their means as "
"CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..datasets.collate import pad_series
from ..datasets.files import write_raster
from ..errors import InputError
from ..evaluation import published
from ..evaluation.pictures import in_colour, png, shown_bands, stretch
from ..models.conversion import load
from ..weights.folder import find, weights_folder
from ..weights.stored import Stored, read_header
from .checkpoints import write_whole
from .config import TrainingConfig
from .feeds import Feed, feed_of
from .members import Members
from .presets import preset
from .sources import Samples, open_part

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Prediction:
    """One sample and what the network made of it.

    Attributes:
        name: of the sample.
        estimate, truth: float32 (C, H, W), reflectance, or (T, C, H, W) for series.
        cloudy: what the network saw, like ``truth``; NaN where it saw nothing of it.
        hidden: bool (H, W), or (T, H, W) for series.
        bands: C role names.
        crs, transform: where it lies.
    """

    name: str
    estimate: np.ndarray
    truth: np.ndarray
    cloudy: np.ndarray
    hidden: np.ndarray
    bands: tuple[str, ...]
    crs: str = ""
    transform: tuple[float, ...] = ()


def weights_of(config: TrainingConfig, weights: str) -> Stored:
    """The weights to use: a file, those that the training left, or the imported ones of the network.

    Raises:
        InputError: there are none.
    """
    network = preset(config.preset).network
    trained = Path(config.output) / "weights.safetensors"
    if weights or trained.is_file():
        return read_header(Path(weights or trained), network)
    stored = find(network, weights_folder())
    if stored is None:
        raise InputError(f"There are no weights of {network}: train it first, name a file, or import a checkpoint.")
    return stored


def predictions(config: TrainingConfig, stored: Stored, part: str = "validation") -> Iterator[Prediction]:
    """Every sample of a part of the data, whole, without augmentation.

    Raises:
        InputError: the data or the weights cannot be used.
    """
    recipe = preset(config.preset)
    feed = feed_of(recipe.network, stored.config)
    if recipe.loss == "cross_entropy":
        raise InputError(f"{feed.record.title} finds clouds and restores nothing; judge masks with detectclouds.")
    seed = recipe.seed if config.seed is None else config.seed
    samples = Samples(open_part(config.data, part, seed), feed, 0, False, seed, "raise")
    network, members = load(stored), Members(config.options, "cpu") if feed.record.module == "tuacr" else None
    for index in range(len(samples)):
        if feed.wants_series:
            yield _of_series(feed, network, samples[index], index)
        else:
            yield _of_image(feed, network, samples, index, members)


def _of_image(feed: Feed, network: Any, samples: Samples, index: int, members: Members | None) -> Prediction:
    example = samples.example(index)
    batch: Mapping[str, Any] = pad_series([feed.tensors(example)])
    seen = example.observation
    bands = [seen.bands.index(b) for b in feed.record.bands if b in seen.bands]
    with torch.inference_mode():
        output = feed.forward(network, members.complete(batch) if members else batch)
        estimate = feed.reflectance(output)[0].float().numpy()
    truth = batch["truth"][0].numpy()
    cloudy = seen.optical[0][bands] if len(bands) == len(truth) else np.full_like(truth, np.nan)
    hidden = seen.cloud[0] >= 0.5
    place = {"crs": example.crs, "transform": example.transform}
    return Prediction(Path(example.name).stem, estimate, truth, cloudy, hidden, feed.record.bands, **place)


def _of_series(feed: Feed, network: Any, sample: Mapping[str, Any], index: int) -> Prediction:
    batch = pad_series([sample])
    with torch.inference_mode():
        estimate = feed.forward(network, batch)[0]
    valid = batch["masks_valid_obs"][0].bool()
    arrays = [tensor[valid].float().numpy() for tensor in (estimate, batch["y"][0], batch["x"][0])]
    hidden = batch["masks"][0][valid][:, 0].numpy() > 0.5
    return Prediction(f"series_{index:05d}", *arrays, hidden, feed.record.bands)


def figures_of(one: Prediction, network: str) -> dict[str, float]:
    """The measures of the network's own paper (:mod:`..evaluation.published`)."""
    if one.estimate.ndim == 4:
        return published.utilise(one.estimate, one.truth, one.hidden)
    if network.startswith("dsen2cr"):
        scaled = [np.float32(5) * values[None] for values in (one.estimate, one.truth, np.nan_to_num(one.cloudy))]
        return published.dsen2cr(*scaled, one.hidden[None].astype(np.float32))
    if network in ("glfcr", "aligncr"):
        error = float(np.mean(np.abs(one.estimate - one.truth), dtype=np.float64))
        return {"mae": error, **published.glfcr(one.estimate, one.truth)}
    if network.startswith(("seq2point", "baseline")):
        return published.sen12mscrts(one.estimate, one.truth, one.hidden)
    return published.uncrtaints(one.estimate, one.truth)


def evaluate(
    config: TrainingConfig, weights: str, part: str, output: Path, report: Report, images: bool = False
) -> dict[str, float]:
    """Measures every sample of a part of the data; ``images`` also writes rasters and pictures.

    Returns:
        The means; ``output``/figures.csv holds them in its last row, after one row a sample.

    Raises:
        InputError, OutputError: see there.
    """
    stored = weights_of(config, weights)
    rows: list[dict[str, Any]] = []
    for one in predictions(config, stored, part):
        rows.append({"sample": one.name, **figures_of(one, stored.network)})
        if images:
            write_images(one, output)
        report(len(rows) / (len(rows) + 1), f"{len(rows)} samples")
    names = [name for name in rows[0] if name != "sample"]
    means = {name: _mean([row[name] for row in rows]) for name in names}
    text = io.StringIO()
    table = csv.DictWriter(text, ["sample", *names], lineterminator="\n")
    table.writeheader()
    table.writerows([*rows, {"sample": "mean", **means}])
    write_whole(output / "figures.csv", lambda path: _put(path, text.getvalue().encode()))
    return means


def predict(config: TrainingConfig, weights: str, part: str, output: Path, report: Report) -> int:
    """Writes every prediction as a GeoTIFF and a picture beside its truth; returns how many."""
    count = 0
    for one in predictions(config, weights_of(config, weights), part):
        write_images(one, output)
        count += 1
        report(count / (count + 1), f"{count} predictions")
    return count


def write_images(one: Prediction, folder: Path) -> None:
    """``name.tif`` (float32 reflectance; of series all frames one after another) and ``name.png``: seen, restored,
    true.

    Raises:
        OutputError: the folder cannot be written.
    """
    planes = one.estimate.reshape(-1, *one.estimate.shape[-2:])
    write_whole(folder / f"{one.name}.tif", lambda path: write_raster(path, planes, one.crs, one.transform))
    frame = int(one.hidden.mean(axis=(-2, -1)).argmax()) if one.estimate.ndim == 4 else ...
    chosen = [one.bands.index(band) for band in shown_bands(one.bands)]
    three = [values[frame][..., chosen, :, :] for values in (one.cloudy, one.estimate, one.truth)]
    limits = stretch(three[2])
    image = np.concatenate([in_colour(np.nan_to_num(values), limits) for values in three], axis=1)
    write_whole(folder / f"{one.name}.png", lambda path: _put(path, _png(image)))


def _png(image: np.ndarray) -> bytes:
    import base64

    return base64.b64decode(png(image).split(",", 1)[1])


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
