"""The training loop: ours, because exactness decides.

A run that is stopped at any step and resumed must equal an unbroken one bit for bit. So nothing here depends on a
running
generator: which samples a step sees, how each is cropped and turned, and the dropout of the step follow from
(seed, epoch, index) and (seed, step) alone, whatever process reads them. That rules out the samplers and the
progress state of Lightning and Accelerate, and what is left to a trainer (autocast, clipping, accumulation) are a
few lines of PyTorch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..datasets.collate import pad_series
from ..errors import Cancelled, InputError
from ..models import create
from ..models.conversion import load as load_stored
from ..weights.stored import read_header
from . import checkpoints
from .config import TrainingConfig
from .feeds import Batch, feed_of
from .members import Members
from .optimisers import create_optimiser, create_schedule
from .page import write_page
from .presets import preset
from .sources import Samples, open_part
from .stepping import GeneratorStep, PlainStep, Step
from .tasks import judge, loss_of

Report = Callable[[float, str], None]
Log = Callable[[str, str], None]
ORDER, DROPOUT = 0x0D, 0xD0
BARRED = ("BaselineResNet",)


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        step: optimiser steps done.
        best: lowest held-out loss.
        history: rows for the log, see :func:`.page.write_page`.
        waited, worked: seconds spent on waiting for samples, and on everything, since this process started.
        first_wait: seconds of the first wait, which starts the processes that read.
        replaced: samples that stood in for ones without data.
    """

    step: int = 0
    best: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    waited: float = 0.0
    worked: float = 0.0
    first_wait: float = 0.0
    replaced: int = 0


class Trainer:
    """A training, ready to run.

    Args:
        config: what is to be done.

    Raises:
        InputError: data, weights or checkpoint cannot be used.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config, self.recipe = config, preset(config.preset)
        self.output = Path(config.output)
        self.seed = int(self.recipe.seed if config.seed is None else config.seed)
        self.device = _device(config.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.batch = int(config.chosen("batch"))
        self.network_config = _plain({**self.recipe.config, **config.network_config})
        self.feed = feed_of(self.recipe.network, self.network_config)
        self.samples = self._samples("train")
        self.held_out = self._samples("validation")
        self.options = {**self.recipe.options, **config.options}
        torch.manual_seed(self.seed)
        self.network = self._network().to(self.device).train()
        self.optimiser = self._optimiser()
        self.per_epoch = max(1, len(self.samples) // (self.batch * config.accumulate))
        self.steps = config.steps or self.per_epoch * int(config.chosen("epochs"))
        epochs = max(1, math.ceil(self.steps / self.per_epoch))
        self.schedule = create_schedule(self.recipe.schedule, self.optimiser, epochs, **self.recipe.schedule_options)
        self.loss = loss_of(self.recipe.loss, self.options, self.device)
        self.members = Members(self.options, self.device) if self.feed.record.module == "tuacr" else None
        self.step: Step = self._step()
        self.progress = Progress()
        if config.resume:
            self._resume(self.output / checkpoints.LAST)

    def _samples(self, part: str) -> Samples:
        reader = open_part(self.config.data, part, self.seed, int(self.config.chosen("crop")))
        if not len(reader):
            raise InputError(f"The part '{part}' of the data holds no sample.")
        is_train = part == "train"
        augment = bool(self.config.chosen("augment")) and is_train
        return Samples(reader, self.feed, int(self.config.chosen("crop")), augment, self.seed, self.config.on_nan)

    def _network(self) -> Any:
        if not self.config.weights:
            try:
                return create(self.recipe.network, **self.network_config)
            except (TypeError, ValueError) as error:
                raise InputError(f"The network_config does not make a {self.recipe.network} ({error}).") from error
        stored = read_header(Path(self.config.weights), self.recipe.network)
        self.network_config = _plain(stored.config)
        self.feed = self.samples.feed = self.held_out.feed = feed_of(self.recipe.network, self.network_config)
        return load_stored(stored).requires_grad_(True)

    def _optimiser(self) -> torch.optim.Optimizer:
        lr = float(self.config.chosen("lr"))
        slow = [p for n, p in self.network.named_parameters() if any(word in n for word in self.recipe.slow)]
        chosen = {id(p) for p in slow}
        groups = [{"params": [p for p in self.network.parameters() if id(p) not in chosen], "lr": lr}]
        groups += [{"params": slow, "lr": lr * self.recipe.slow_factor}] if slow else []
        return create_optimiser(self.recipe.optimiser, groups, lr, **self.recipe.optimiser_options)

    def _step(self) -> Step:
        record = self.feed.record
        if record.module == "seq2point" and record.builder not in BARRED:
            weighed = float(self.options.get("lambda_perceptual", 0.0))
            whole = loss_of("l1", {**self.options, "lambda_L1": 0.0}, self.device) if weighed else None
            further = (lambda image, target: whole(_Same, image, {"target": target})) if whole else None
            betas = tuple(self.recipe.optimiser_options.get("betas", (0.5, 0.999)))
            lr = float(self.config.chosen("lr"))
            return GeneratorStep(self.network, self.optimiser, self.feed, self.options, lr, betas, further, self.device)
        return PlainStep(
            self.network, self.optimiser, self.feed, self.loss, self.device, self.config.precision, self.config.clip
        )

    def _resume(self, path: Path) -> None:
        state = checkpoints.load(path)
        checkpoints.check_same_network(state, self.recipe.network, self.network_config, path)
        settled = {"seed": self.seed, "batch": self.batch, "accumulate": self.config.accumulate}
        odd = [name for name, value in settled.items() if state["settled"][name] != value]
        if odd:
            raise InputError(
                f"The checkpoint '{path}' was trained with another {' and '.join(odd)}; a resumed run would not "
                "equal an "
                "unbroken one. Use the same, or fine-tune its weights in another folder."
            )
        self.network.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step.restore(state["stepping"])
        self.progress = Progress(int(state["step"]), float(state["best"]), [dict(row) for row in state["history"]])

    def state(self) -> dict[str, Any]:
        """All that a checkpoint holds."""
        return {
            "network": self.recipe.network,
            "config": self.network_config,
            "settled": {"seed": self.seed, "batch": self.batch, "accumulate": self.config.accumulate},
            "weights": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "stepping": self.step.state(),
            "step": self.progress.step,
            "best": self.progress.best,
            "history": self.progress.history,
        }

    def _keys(self) -> Iterator[list[tuple[int, int]]]:
        """Keys of every batch from the next step on."""
        group = self.batch * self.config.accumulate
        for step in range(self.progress.step, self.steps):
            epoch, place = divmod(step, self.per_epoch)
            order = np.random.default_rng([self.seed, epoch, ORDER]).permutation(len(self.samples))
            chosen = [(epoch, int(i)) for i in order[place * group : (place + 1) * group]]
            yield from (chosen[i : i + self.batch] for i in range(0, len(chosen), self.batch))

    def _loader(self) -> Iterator[Batch]:
        workers = self.config.workers
        loader = DataLoader(
            self.samples,
            batch_sampler=self._keys(),
            num_workers=workers,
            collate_fn=pad_series,
            prefetch_factor=2 if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )
        return iter(loader)

    def _on_device(self, batch: Batch) -> dict[str, Any]:
        moved = {key: value.to(self.device) for key, value in batch.items() if isinstance(value, torch.Tensor)}
        return self.members.complete(moved) if self.members else moved

    def run(self, report: Report, cancelled: Callable[[], bool], log: Log) -> Progress:
        """Trains to the end.

        Args:
            report: receives (fraction 0..1, phase).
            cancelled: asked after every step; the checkpoint of that step is kept.
            log: receives ('info' or 'warning', sentence).

        Raises:
            Cancelled: ``cancelled()`` said so; the last checkpoint is whole.
            InputError, OutputError: see there.
        """
        config, progress = self.config, self.progress
        every = config.validate_every or self.per_epoch
        kept = config.checkpoint_every or self.per_epoch
        if progress.step == 0:
            self._validated(log)
        batches = self._loader()
        started = time.perf_counter()
        while progress.step < self.steps:
            self._one(batches)
            progress.worked = time.perf_counter() - started
            row = progress.history[-1]
            report(progress.step / self.steps, f"step {progress.step} of {self.steps}, loss {row['loss']:.5g}")
            is_last, stop = progress.step == self.steps, cancelled()
            if is_last or (progress.step % every == 0 and not stop):
                self._validated(log)
            if is_last or stop or progress.step % kept == 0:
                checkpoints.save(self.output / checkpoints.LAST, self.state())
                self._page()
            if stop and not is_last:
                log("info", f"Stopped after step {progress.step}; '{checkpoints.LAST}' is kept, resume to go on.")
                raise Cancelled
        if progress.replaced:
            log("warning", f"{progress.replaced} samples without data in their target were replaced by the next ones.")
        return progress

    def _one(self, batches: Iterator[Batch]) -> None:
        """One optimiser step."""
        progress = self.progress
        before = time.perf_counter()
        step, place = progress.step, progress.step % self.per_epoch
        group = min(self.batch * self.config.accumulate, len(self.samples))
        read = [next(batches) for _ in range(math.ceil(group / self.batch))]
        progress.replaced += int(sum(float(b["replaced"].sum()) for b in read if "replaced" in b))
        progress.waited += time.perf_counter() - before
        progress.first_wait = progress.first_wait or progress.waited
        torch.manual_seed(_mixed(self.seed, step))
        loss = self.step([self._on_device(batch) for batch in read], step)
        if place == self.per_epoch - 1:
            self.schedule.step()
        progress.step += 1
        progress.history.append({"step": float(progress.step), "loss": loss})

    def validate(self) -> dict[str, float]:
        """Held-out loss and figures of the network as it is."""
        limit = self.config.validation_samples or len(self.held_out)
        self.network.eval()
        total, sums = 0.0, {}
        count = min(limit, len(self.held_out))
        with torch.inference_mode():
            for index in range(count):
                batch = self._on_device(pad_series([self.held_out[index]]))
                output = self.feed.forward(self.network, batch)
                total += float(self.loss(self.feed, output, batch))
                for name, value in judge(self.feed, output, batch).items():
                    sums[name] = sums.get(name, 0.0) + float(value)
        self.network.train()
        return {"validation": total / count, **_figures(sums)}

    def _validated(self, log: Log) -> None:
        found = self.validate()
        progress = self.progress
        progress.history.append({"step": float(progress.step), **found})
        log("info", f"Step {progress.step}: held out " + ", ".join(f"{k} {v:.5g}" for k, v in found.items()) + ".")
        if found["validation"] < progress.best and progress.step:
            progress.best = found["validation"]
            checkpoints.save(self.output / checkpoints.BEST, self.state())

    def _page(self) -> None:
        settings = {"network": self.feed.record.title, "recipe": self.config.preset, "steps": self.steps,
                    "batch": self.batch, "seed": self.seed, "training samples": len(self.samples),
                    "held-out samples": len(self.held_out), "device": self.device}  # fmt: skip
        write_page(self.output / "log.html", f"Training of {self.feed.record.title}", settings, self.progress.history)


class _Same:
    """Stands in for a feed whose image is the output itself."""

    @staticmethod
    def image(output: Any) -> Any:
        return output


def _mixed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step, DROPOUT]).generate_state(1, np.uint64)[0]) >> 1


def _device(wanted: str) -> str:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise InputError("No CUDA device is there; choose the device 'cpu' or 'auto'.")
    return "cuda"


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Lists in place of tuples, so that what was saved compares equal."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}


def _figures(sums: dict[str, float]) -> dict[str, float]:
    if "count" in sums:
        square = sums["square"] / sums["count"]
        psnr = -10 * math.log10(square) if square > 0 else math.inf
        return {"mae": sums["absolute"] / sums["count"], "rmse": math.sqrt(square), "psnr": psnr}
    if "hits" in sums:
        return {"f1": 2 * sums["hits"] / max(1.0, sums["found"] + sums["wanted"])}
    return {}


def train(config: TrainingConfig, report: Report, cancelled: Callable[[], bool], log: Log) -> tuple[Trainer, Path]:
    """Trains, and stores the best weights with their record.

    Returns:
        The trainer and the weights file.

    Raises:
        Cancelled, InputError, OutputError: see :meth:`Trainer.run`.
    """
    trainer = Trainer(config)
    log("info", f"{trainer.feed.record.title}: {trainer.steps} steps of {trainer.batch * config.accumulate}.")
    log("info", f"{len(trainer.samples)} training and {len(trainer.held_out)} held-out samples; {trainer.device}.")
    progress = trainer.run(report, cancelled, log)
    best = trainer.output / checkpoints.BEST
    if best.is_file():
        trainer.network.load_state_dict(checkpoints.load(best)["weights"])
    return trainer, store(trainer, progress.history)


def store(trainer: Trainer, history: Sequence[dict[str, float]]) -> Path:
    """Writes the weights of a training with their record; returns the file."""
    rows = [row for row in history if "validation" in row and row["step"]]
    best = min(rows, key=lambda row: row["validation"], default={})
    data = trainer.config.data
    facts = {
        "title": trainer.feed.record.title,
        "trained_with": trainer.config.preset,
        "data": str(data.get("root") or f"{len(data.get('scenes', []))} scenes"),
        "samples": str(len(trainer.samples)),
        "seed": str(trainer.seed),
        **{f"held_out_{key}": f"{value:.6g}" for key, value in best.items()},
    }
    path = trainer.output / checkpoints.WEIGHTS
    name = f"{trainer.config.preset}, {trainer.progress.step} steps"
    checkpoints.write_weights(path, trainer.network, trainer.recipe.network, trainer.network_config, facts, name)
    return path


def with_resume(config: TrainingConfig) -> TrainingConfig:
    """The same run, going on from its last checkpoint."""
    return replace(config, resume=True)
