"""What the papers' scripts do after a training: predictions as images, figures of every sample and their means as "
"CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..datasets.collate import pad_series
from ..datasets.files import write_raster
from ..errors import Cancelled, InputError
from ..evaluation import published
from ..evaluation.calibration import uce_auce
from ..evaluation.pictures import in_colour, png, shown_bands, stretch
from ..models.conversion import load
from ..weights.folder import find, weights_folder
from ..weights.stored import Stored, read_header
from .checkpoints import write_whole
from .config import TrainingConfig
from .feeds import UncrtaintsFeed, feed_of
from .members import Members
from .presets import preset
from .sources import Samples, open_part
from .team import device_of

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]


def _never() -> bool:
    return False


def _stop_if(cancelled: Cancel) -> None:
    if cancelled():
        raise Cancelled


@dataclass(frozen=True)
class Prediction:
    """One sample and what the network made of it.

    Attributes:
        name: of the sample.
        estimate, truth: float32 (C, H, W), reflectance, or (T, C, H, W) for series.
        cloudy: what the network saw, like ``truth``; NaN where it saw nothing of it.
        variance: float32 (C or 1, H, W), reflectance squared, of a network that gives one, else None.
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
    variance: np.ndarray | None = None


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


class Predictor:
    """Restores every sample of a part of the data, whole, without augmentation.

    Args:
        config: of the training.
        stored: the weights.
        part: of :data:`.sources.PARTS`.

    Raises:
        InputError: the data or the weights cannot be used.
    """

    def __init__(self, config: TrainingConfig, stored: Stored, part: str) -> None:
        recipe = preset(config.preset)
        self.feed = feed_of(recipe.network, stored.config)
        if recipe.loss == "cross_entropy":
            raise InputError(
                f"{self.feed.record.title} finds clouds and restores nothing; judge masks with detectclouds."
            )
        seed = recipe.seed if config.seed is None else config.seed
        reader = open_part(config.data, part, seed, whole=True)
        self.samples = Samples(reader, self.feed, 0, False, seed, "raise")
        self.device = device_of(config.device)
        self.network = load(stored).to(self.device)
        self.members = Members(config.options, self.device) if self.feed.record.module == "tuacr" else None

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Prediction]:
        """Every sample; samples of one name are numbered from the second on."""
        seen: Counter[str] = Counter()
        for index in range(len(self)):
            one = self._of_series(index) if self.feed.wants_series else self._of_image(index)
            seen[one.name] += 1
            yield replace(one, name=f"{one.name}_{seen[one.name]}") if seen[one.name] > 1 else one

    def _output(self, batch: Mapping[str, Any]) -> Any:
        moved = {key: value.to(self.device) for key, value in batch.items() if isinstance(value, torch.Tensor)}
        with torch.inference_mode():
            return self.feed.forward(self.network, self.members.complete(moved) if self.members else moved)

    def _of_image(self, index: int) -> Prediction:
        example, feed = self.samples.example(index), self.feed
        batch: Mapping[str, Any] = pad_series([feed.tensors(example)])
        seen = example.observation
        bands = [seen.bands.index(b) for b in feed.record.bands if b in seen.bands]
        output = self._output(batch)
        truth = batch["truth"][0].numpy()
        return Prediction(
            Path(example.name).stem,
            feed.reflectance(output)[0].float().cpu().numpy(),
            truth,
            seen.optical[0][bands] if len(bands) == len(truth) else np.full_like(truth, np.nan),
            seen.cloud[0] >= 0.5,
            feed.record.bands,
            example.crs,
            example.transform,
            self._variance(output),
        )

    def _variance(self, output: Any) -> np.ndarray | None:
        if not isinstance(self.feed, UncrtaintsFeed) or not self.feed.variance(output).shape[2]:
            return None
        return self.feed.variance(output)[0, 0].float().cpu().numpy() / np.float32(self.feed.scaling.top) ** 2

    def _of_series(self, index: int) -> Prediction:
        batch = pad_series([self.samples[index]])
        estimate = self._output(batch)[0].cpu()
        valid = batch["masks_valid_obs"][0].bool()
        arrays = [tensor[valid].float().numpy() for tensor in (estimate, batch["y"][0], batch["x"][0])]
        hidden = batch["masks"][0][valid][:, 0].numpy() > 0.5
        return Prediction(f"series_{index:05d}", *arrays, hidden, self.feed.record.bands)


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
    if network == "tuacr":
        colours = [one.bands.index(band) for band in ("red", "green", "blue")]
        return published.crsystem(one.estimate[colours], one.truth[colours])
    return published.uncrtaints(one.estimate, one.truth, one.variance)


def evaluate(
    config: TrainingConfig, weights: str, part: str, output: Path, report: Report, cancelled: Cancel = _never,
    images: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Measures every sample of a part of the data; ``images`` also writes rasters and pictures.

    Returns:
        The means; ``output``/figures.csv holds them in its last row, after one row a sample.

    Raises:
        InputError, OutputError: see there.
        Cancelled: ``cancelled()`` said so; no table is written.
    """
    stored = weights_of(config, weights)
    rows: list[dict[str, Any]] = []
    restored = Predictor(config, stored, part)
    for one in restored:
        rows.append({"sample": one.name, **figures_of(one, stored.network)})
        if images:
            write_images(one, output)
        _stop_if(cancelled)
        report(len(rows) / len(restored), f"{len(rows)} of {len(restored)} samples")
    names = [name for name in rows[0] if name != "sample"]
    means = {name: _mean([row[name] for row in rows]) for name in names} | _calibration(rows)
    text = io.StringIO()
    table = csv.DictWriter(text, ["sample", *means], lineterminator="\n")
    table.writeheader()
    table.writerows([*rows, {"sample": "mean", **means}])
    write_whole(output / "figures.csv", lambda path: _put(path, text.getvalue().encode()))
    return means


def predict(
    config: TrainingConfig, weights: str, part: str, output: Path, report: Report, cancelled: Cancel = _never
) -> int:
    """Writes every prediction as a GeoTIFF and a picture beside its truth; returns how many.

    Raises:
        InputError, OutputError: see there.
        Cancelled: ``cancelled()`` said so; what is written is whole.
    """
    restored = Predictor(config, weights_of(config, weights), part)
    for count, one in enumerate(restored, start=1):
        write_images(one, output)
        _stop_if(cancelled)
        report(count / len(restored), f"{count} of {len(restored)} predictions")
    return len(restored)


def _calibration(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """UnCRtainTS' UCE and AUCE over all samples, from their mean variances and signed mean errors."""
    if "mean var" not in rows[0]:
        return {}
    variance, error = (np.array([row[name] for row in rows]) for name in ("mean var", "error"))
    return dict(zip(("UCE", "AUCE"), uce_auce(variance, error), strict=True))


def write_images(one: Prediction, folder: Path) -> None:
    """``name_restored.tif`` (float32 reflectance; of series all frames one after another) and ``name_restored.png``:
    seen, restored, true.

    Raises:
        OutputError: the folder cannot be written.
    """
    planes = one.estimate.reshape(-1, *one.estimate.shape[-2:])
    write_whole(folder / f"{one.name}_restored.tif", lambda path: write_raster(path, planes, one.crs, one.transform))
    frame = int(one.hidden.mean(axis=(-2, -1)).argmax()) if one.estimate.ndim == 4 else ...
    chosen = [one.bands.index(band) for band in shown_bands(one.bands)]
    three = [values[frame][..., chosen, :, :] for values in (one.cloudy, one.estimate, one.truth)]
    limits = stretch(three[2])
    image = np.concatenate([in_colour(np.nan_to_num(values), limits) for values in three], axis=1)
    write_whole(folder / f"{one.name}_restored.png", lambda path: _put(path, _png(image)))


def _png(image: np.ndarray) -> bytes:
    import base64

    return base64.b64decode(png(image).split(",", 1)[1])


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
