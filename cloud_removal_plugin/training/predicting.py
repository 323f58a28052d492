"""What the papers' scripts do after a training: predictions as images, figures of every sample and their means as "
"CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..datasets.collate import pad_series
from ..errors import Cancelled, InputError
from ..evaluation import published
from ..evaluation.calibration import uce_auce
from ..evaluation.classes import COUNTS, mask_counts, mask_figures
from ..models.clearvision_mask import cloud_mask
from ..models.conversion import load
from ..raster.classes import NO_DATA
from ..weights.folder import find, weights_folder
from ..weights.stored import Stored, read_header
from .baselines import BASELINES
from .checkpoints import write_whole
from .config import TrainingConfig
from .feeds import MaskFeed, UncrtaintsFeed, feed_of
from .members import Members
from .predictions import MaskPrediction, Prediction, write_images
from .presets import preset
from .sizes import cut, filled, size_of
from .sources import Samples, open_part
from .team import device_of

PEAK = "peak"
TOGETHER = "all pixels"
"""Name of the row of figures over all samples' pixels at once."""

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]
Log = Callable[[str, str], None]


def _never() -> bool:
    return False


def _silent(*_: str) -> None:
    """Takes sentences of a log."""


def _stop_if(cancelled: Cancel) -> None:
    if cancelled():
        raise Cancelled


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
    """Restores every sample of a part of the data, or finds its clouds, whole, without augmentation.

    Args:
        config: of the training.
        stored: the weights.
        part: of :data:`.sources.PARTS`.

    Attributes:
        left_out: samples that could not be judged, of those that were asked for.

    Raises:
        InputError: the data or the weights cannot be used.
    """

    def __init__(self, config: TrainingConfig, stored: Stored, part: str) -> None:
        recipe = preset(config.preset)
        self.feed = feed_of(recipe.network, stored.config)
        seed = recipe.seed if config.seed is None else config.seed
        reader = open_part(config.data, part, seed, whole=True)
        self.samples = Samples(reader, self.feed, 0, False, seed, "raise")
        self.device = device_of(config.device)
        self.network = load(stored).to(self.device)
        self.members = Members(config.options, self.device) if self.feed.record.module == "tuacr" else None
        self.left_out = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Prediction | MaskPrediction]:
        """Every sample that can be judged; samples of one name are numbered from the second on."""
        seen: Counter[str] = Counter()
        self.left_out = 0
        for index in range(len(self)):
            one = self._of(index)
            if one is None:
                self.left_out += 1
                continue
            seen[one.name] += 1
            yield replace(one, name=f"{one.name}_{seen[one.name]}") if seen[one.name] > 1 else one

    def _of(self, index: int) -> Prediction | MaskPrediction | None:
        if isinstance(self.feed, MaskFeed):
            return self._of_mask(index)
        if self.feed.wants_series:
            return self._of_series(index)
        return self._of_image(index) if self._is_in_range(index) else None

    def _is_in_range(self, index: int) -> bool:
        """Whether enough dates are covered as ``min_cov`` and ``max_cov`` ask: the toolbox's test leaves others out."""
        choose = getattr(self.samples.reader, "choice", None)
        return choose is None or self.feed.record.module != "seq2point" or choose(index).in_range

    def closing(self) -> str:
        """A sentence on what was left out, '' for nothing."""
        if not self.left_out:
            return ""
        why = "too few clear frames" if self.feed.wants_series else "too few dates within min_cov and max_cov"
        return f"{self.left_out} of {len(self)} samples were left out: {why}."

    def _output(self, batch: Mapping[str, Any]) -> Any:
        """What the network gives; sizes that it cannot take are filled up before and cut off again."""
        tensors = {key: value for key, value in batch.items() if isinstance(value, torch.Tensor)}
        size = size_of(tensors)
        moved = {key: value.to(self.device) for key, value in filled(tensors, self.feed.record).items()}
        with torch.inference_mode():
            return cut(self.feed.forward(self.network, self.members.complete(moved) if self.members else moved), size)

    def _of_image(self, index: int) -> Prediction:
        example, feed = self.samples.example(index), self.feed
        batch: Mapping[str, Any] = pad_series([feed.tensors(example)])
        seen = example.observation
        bands = [seen.bands.index(b) for b in feed.record.bands if b in seen.bands]
        output = self._output(batch)
        truth = batch["truth"][0].numpy()
        dates = feed.dates(seen)
        covered = seen.cloud[dates] >= 0.5
        whole = len(bands) == len(truth)
        inputs = seen.optical[dates][:, bands] if whole else np.full((len(dates), *truth.shape), np.nan, np.float32)
        return Prediction(
            Path(example.name).stem,
            feed.reflectance(output)[0].float().cpu().numpy(),
            truth,
            inputs[int(covered.mean(axis=(1, 2)).argmin())],
            covered.any(axis=0),
            feed.record.bands,
            example.crs,
            example.transform,
            self._variance(output),
            inputs if whole else None,
            covered,
        )

    def _of_mask(self, index: int) -> MaskPrediction:
        """Clouds by the network's own rule: the class with the larger number, so a probability above a half."""
        feed, examples = self.feed, self.samples.frames(index)
        first = examples[0]
        chosen = [first.observation.bands.index(band) for band in feed.record.bands]
        cloudy = np.concatenate([each.observation.optical[:1, chosen] for each in examples])
        samples = [feed.tensors(each) for each in examples]
        found = np.stack([self._classes(sample) for sample in samples])
        truth = np.stack([sample["mask"].numpy() for sample in samples]).astype(np.uint8)
        if not self.samples.by_frame:  # what is missing from a series counts as cloud, as its masks say
            unknown = ~np.isfinite(cloudy).all(axis=1)
            found[unknown] = truth[unknown] = NO_DATA
        bands, place = feed.record.bands, (first.crs, first.transform)
        return MaskPrediction(Path(first.name).stem, found, truth, cloudy, bands, *place)

    def _classes(self, sample: Mapping[str, Any]) -> np.ndarray:
        """uint8 (H, W) of one frame, which never shares a batch: frames of a series may be many."""
        return cloud_mask(self._output(pad_series([sample])))[0].cpu().numpy().astype(np.uint8)

    def _variance(self, output: Any) -> np.ndarray | None:
        if not isinstance(self.feed, UncrtaintsFeed) or not self.feed.variance(output).shape[2]:
            return None
        return self.feed.variance(output)[0, 0].float().cpu().numpy() / np.float32(self.feed.scaling.top) ** 2

    def _of_series(self, index: int) -> Prediction | None:
        sample = self.samples.series(index)
        if not len(sample["x"]):
            return None
        batch = pad_series([self.feed.from_series(sample)])
        estimate = self._output(batch)[0].cpu()
        valid = batch["masks_valid_obs"][0].bool()
        arrays = [tensor[valid].float().numpy() for tensor in (estimate, batch["y"][0], batch["x"][0])]
        hidden = batch["masks"][0][valid][:, 0].numpy() > 0.5
        return Prediction(sample["name"], *arrays, hidden, self.feed.record.bands)


def figures_of(one: Prediction | MaskPrediction, network: str) -> dict[str, float]:
    """The measures of the network's own paper (:mod:`..evaluation.published`; of masks :mod:`..evaluation.classes`)."""
    if isinstance(one, MaskPrediction):
        counts = mask_counts(one.estimate, one.truth)
        return {**mask_figures(counts), **counts}
    if one.estimate.ndim == 4:
        found = published.utilise(one.estimate, one.truth, one.hidden)
        return found | (published.clearvision(one.estimate, one.truth) if network == "clearvision_removal" else {})
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
    images: bool = False, baselines: bool = False, log: Log = _silent,
) -> dict[str, float]:  # fmt: skip
    """Measures every sample of a part of the data.

    Args:
        config, weights, part: see :class:`Predictor`.
        output: folder for figures.csv: one row a sample, the means last; of Clear Vision's networks also the figures
            over the pixels of all samples together, in a row before the last.
        report, cancelled: progress, and whether to stop.
        images: write rasters and pictures, too.
        log: hears what was left out.
        baselines: measure what the inputs alone give, too, in figures_least_cloudy.csv and figures_mosaic.csv.

    Returns:
        The means, and the figures over all pixels.

    Raises:
        InputError, OutputError: see there.
        Cancelled: ``cancelled()`` said so; no table is written.
    """
    stored = weights_of(config, weights)
    tables: dict[str, list[dict[str, Any]]] = {"figures": []}
    restored = Predictor(config, stored, part)
    for count, one in enumerate(restored, start=1):
        tables["figures"].append({"sample": one.name, **figures_of(one, stored.network)})
        for name, simple in (_simple(one) if baselines else {}).items():
            figures = {"sample": one.name, **figures_of(simple, stored.network)}
            tables.setdefault(f"figures_{name}", []).append(figures)
        if images:
            write_images(one, output)
        _stop_if(cancelled)
        report(count / len(restored), f"{count} of {len(restored)} samples")
    _say_left_out(restored, log)
    found = {name: _settled(output / f"{name}.csv", rows) for name, rows in tables.items()}
    return found["figures"]


def _simple(one: Prediction | MaskPrediction) -> dict[str, Prediction]:
    """The simple baselines as if a network had made them.

    Raises:
        InputError: the network does not restore one image of several bands.
    """
    if not isinstance(one, Prediction) or one.inputs is None or one.covered is None:
        raise InputError("Simple baselines are measured beside networks that restore one image; leave them out.")
    made = {name: make(one.inputs, one.covered) for name, make in BASELINES.items()}
    return {name: replace(one, estimate=estimate, variance=None) for name, estimate in made.items()}


def _settled(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Writes a table with its closing rows; returns their figures."""
    names = [name for name in rows[0] if name != "sample"]
    means = {name: _mean([row[name] for row in rows]) for name in names} | _calibration(rows)
    together = _together(rows)
    closing = [{"sample": TOGETHER, **together}] if together else []
    _write_table(path, [*rows, *closing, {"sample": "mean", **means}])
    return means | {f"{name} ({TOGETHER})": value for name, value in together.items()}


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The last row has all columns."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[-1]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, lambda part: part.write_bytes(text.getvalue().encode()))


def predict(
    config: TrainingConfig, weights: str, part: str, output: Path, report: Report, cancelled: Cancel = _never,
    log: Log = _silent,
) -> int:  # fmt: skip
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
    _say_left_out(restored, log)
    return len(restored) - restored.left_out


def _say_left_out(restored: Predictor, log: Log) -> None:
    """Says what was left out.

    Raises:
        InputError: everything.
    """
    if restored.left_out == len(restored):
        raise InputError(f"Nothing can be judged. {restored.closing()}")
    if restored.left_out:
        log("warning", restored.closing())


def _calibration(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """UnCRtainTS' UCE and AUCE over all samples, from their mean variances and signed mean errors."""
    if "mean var" not in rows[0]:
        return {}
    variance, error = (np.array([row[name] for row in rows]) for name in ("mean var", "error"))
    return dict(zip(("UCE", "AUCE"), uce_auce(variance, error), strict=True))


def _together(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Figures over the pixels of all samples, as Clear Vision's are published; {} of other networks."""
    if PEAK in rows[0]:
        return published.clearvision_together(rows)
    if not set(COUNTS) <= set(rows[0]):
        return {}
    counts = {name: sum(row[name] for row in rows) for name in COUNTS}
    return {**mask_figures(counts), **counts}


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
