"""The training loop: ours, because exactness decides.

A run that is stopped at any step and resumed must equal an unbroken one bit for bit. So nothing here depends on a
running
generator: which samples a step sees, how each is cropped and turned, and the dropout of the step follow from
(seed, epoch, index) and (seed, step) alone, whatever process reads them. That rules out the samplers and the
progress state of Lightning and Accelerate, and what is left to a trainer (autocast, clipping, accumulation) are a
few lines of PyTorch. Several processes may share the batches (:mod:`.team`); one alone is a team of one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import Cancelled, InputError
from ..models import create
from ..models.conversion import load as load_stored
from ..weights.stored import read_header
from . import checkpoints, held_out
from .batches import Batches
from .config import TrainingConfig
from .events import FOLDER, Events
from .feeds import Batch, Feed, feed_of
from .members import Members
from .optimisers import create_optimiser, create_schedule
from .page import write_page
from .presets import GENERATOR_OPTIONS, preset
from .reading import read
from .record import Outcome, not_better, set_aside, store, store_best
from .resuming import Progress, resume, settings, settled
from .shared_norm import has_norms, share_norms
from .sizes import explained
from .sources import Samples, open_part, reader_name, skipped_of, spare_clouds
from .stepping import GeneratorStep, PlainStep, Step
from .tasks import MASKED, loss_of
from .team import Team, device_of

Report = Callable[[float, str], None]
Log = Callable[[str, str], None]
DROPOUT = 0xD0
WORDS = {"train": "training", "validation": "judging"}
LEAST_BETWEEN = 50
"""Steps between checkpoints and judgements where nothing else is set: a few scenes make an epoch of a single step."""


class Trainer:
    """A training, ready to run.

    Args:
        config: what is to be done.
        team: of this process; None = it trains alone.

    Raises:
        InputError: data, weights or checkpoint cannot be used.
    """

    def __init__(self, config: TrainingConfig, team: Team | None = None) -> None:
        self.config, self.recipe = config, preset(config.preset)
        self.output = Path(config.output)
        self.seed = int(self.recipe.seed if config.seed is None else config.seed)
        self.team = team or Team(device=device_of(config.device))
        self.device = self.team.device
        if config.threads:
            torch.set_num_threads(config.threads)
        self.batch = int(config.chosen("batch"))
        self.network_config = _plain({**self.recipe.config, **config.network_config})
        self.feed = feed_of(self.recipe.network, self.network_config)
        self.reader = reader_name(config.data)
        self.notes: list[str] = []
        self.samples = self._samples("train")
        self.held_out = self._samples("validation")
        self.batches = Batches(self.seed, len(self.samples), self.batch, config.accumulate)
        self.batches.check_shares(self.team)
        self.options = {**self.recipe.options, **config.options}
        torch.manual_seed(self.seed)
        self.shares_norms = config.sync_batchnorm and self.team.count > 1
        network = share_norms(self._network()) if self.shares_norms else self._network()
        self.network = network.to(self.device).train()
        self.optimiser = self._optimiser()
        self.per_epoch = self.batches.per_epoch
        self.steps = config.steps or self.per_epoch * int(config.chosen("epochs"))
        epochs = max(1, math.ceil(self.steps / self.per_epoch))
        self.schedule = create_schedule(self.recipe.schedule, self.optimiser, epochs, **self.recipe.schedule_options)
        self.loss = loss_of(self.recipe.loss, self.options, self.device, self.team.count)
        self.members = Members(self.options, self.device) if self.feed.record.module == "tuacr" else None
        self.step: Step = self._step()
        if config.sync_batchnorm and not has_norms(self.network, getattr(self.step, "judge", None)):
            raise InputError(f"{self.feed.record.title} has no batch norm to share; leave sync_batchnorm out.")
        self.progress = Progress()
        if config.resume:
            self.progress, notes = resume(self, self.output / checkpoints.LAST)
            self.notes += notes
        self.events = Events(self.output / FOLDER, self.progress.step)
        self._report: Report = _silent
        self._cancelled: Callable[[], bool] = lambda: False

    @property
    def held_out_count(self) -> int:
        """Held-out samples that are judged."""
        return min(self.config.validation_samples or len(self.held_out), len(self.held_out))

    def _samples(self, part: str) -> Samples:
        augment, crop = bool(self.config.chosen("augment")) and part == "train", int(self.config.chosen("crop"))
        reader = open_part(self.config.data, part, self.seed, crop, augment=augment)
        if not len(reader):
            raise InputError(f"The part '{part}' of the data holds no sample.")
        if self.recipe.loss not in MASKED:
            spare_clouds(reader)
        if skipped := skipped_of(reader):
            self.notes.append(
                f"Of the files for {WORDS[part]} {skipped} are missing, truncated or extra; their samples are left out."
            )
        return Samples(reader, self.feed, crop, augment, self.seed, self.config.on_nan)

    def _network(self) -> Any:
        if not self.config.weights:
            try:
                return create(self.recipe.network, **self.network_config)
            except (TypeError, ValueError, RuntimeError, IndexError, ArithmeticError) as error:
                raise InputError(f"The network_config does not make a {self.recipe.network} ({error}).") from error
        stored = read_header(Path(self.config.weights), self.recipe.network)
        kept = {**_plain(self.feed.record.config), **_plain(stored.config)}
        odd = sorted(k for k, v in _plain(self.config.network_config).items() if kept.get(k, v) != v)
        if odd:
            raise InputError(
                f"The weights '{self.config.weights}' belong to another {odd[0]} ({kept[odd[0]]}) than network_config "
                "says; leave network_config out to fine-tune them."
            )
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
        if not any(self.options.get(name) for name in GENERATOR_OPTIONS):
            return PlainStep(
                self.network, self.optimiser, self.feed, self.loss, self.team, self.config.precision, self.config.clip
            )
        weighed = float(self.options.get("lambda_perceptual", 0.0))
        whole = loss_of("l1", {**self.options, "lambda_L1": 0.0}, self.device) if weighed else None
        further = (lambda image, target: whole(_Same(self.feed), image, {"target": target})) if whole else None
        betas = tuple(self.recipe.optimiser_options.get("betas", (0.5, 0.999)))
        lr, clip = float(self.config.chosen("lr")), self.config.clip
        return GeneratorStep(
            self.network, self.optimiser, self.feed, self.options, lr, betas, further, self.team, clip,
            self.shares_norms,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """All that a checkpoint holds."""
        return {
            "network": self.recipe.network,
            "config": self.network_config,
            "settled": settled(self),
            "settings": settings(self),
            "weights": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "stepping": self.step.state(),
            "step": self.progress.step,
            "best": self.progress.best,
            "history": self.progress.history,
        }

    def _loader(self) -> Iterator[Batch]:
        keys = self.batches.keys(self.progress.step, self.steps, self.team)
        return read(self.samples, keys, self.config.workers)

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
        rarely = max(self.per_epoch, LEAST_BETWEEN)
        every, kept = config.validate_every or rarely, config.checkpoint_every or rarely
        if self.team.leads:
            checkpoints.clear_parts(self.output)
            self.notes += set_aside(self.output) if not config.resume else []
        for note in self.notes:
            log("warning", note)
        self._report, self._cancelled = report, cancelled
        if self._lacks_judgement(every):
            self._validated(log)
        batches = self._loader()
        started = time.perf_counter()
        while progress.step < self.steps:
            stop = self._one(batches, cancelled)
            progress.worked = time.perf_counter() - started
            row = progress.history[-1]
            report(progress.step / self.steps, f"step {progress.step} of {self.steps}, loss {row['loss']:.5g}")
            is_last = progress.step == self.steps
            if is_last or (progress.step % every == 0 and not stop):
                self._validated(log)
            if is_last or stop or progress.step % kept == 0:
                self._keep(checkpoints.LAST)
                self._write_logs()
            if stop and not is_last:
                self._stop(log)
        self._closing_notes(log)
        return progress

    def _lacks_judgement(self, every: int) -> bool:
        """Whether the step to go on from is one to be judged, and was not: at the start, or where it was broken off."""
        step = self.progress.step
        judged = any(held_out.LOSS in row for row in self.progress.history if row["step"] == step)
        return not judged and (step % every == 0 or step == self.steps)

    def _stop(self, log: Log) -> None:
        """Ends the training in order.

        Raises:
            Cancelled: always.
        """
        step = self.progress.step
        kept = f"'{checkpoints.LAST}' is kept, resume to go on" if step else "nothing is kept yet"
        log("info", f"Stopped after step {step}; {kept}.")
        raise Cancelled

    def _one(self, batches: Iterator[Batch], cancelled: Callable[[], bool]) -> bool:
        """One optimiser step; whether any process was asked to stop."""
        progress = self.progress
        before = time.perf_counter()
        step, place = progress.step, progress.step % self.per_epoch
        found = [next(batches) for _ in range(self.batches.per_step)]
        replaced = sum(float(b["replaced"].sum()) for b in found if "replaced" in b)
        progress.waited += time.perf_counter() - before
        progress.first_wait = progress.first_wait or progress.waited
        torch.manual_seed(_mixed(self.seed, step, self.team.rank))
        with explained(found[0], self.feed.record, self.team):
            loss = self.step([self._on_device(batch) for batch in found], step)
        if place == self.per_epoch - 1:
            self.schedule.step()
        progress.step += 1
        loss, replaced, stops = self.team.sums([loss / self.team.count, replaced, float(cancelled())])
        progress.replaced += int(replaced)
        self._add({"step": float(progress.step), "loss": loss})
        return stops > 0

    def _add(self, row: dict[str, float]) -> None:
        self.progress.history.append(row)
        self.events.add(row)

    def validate(self) -> dict[str, float]:
        """Held-out loss and figures of the network as it is.

        Raises:
            Cancelled: meanwhile; of several processes none may leave the others, so they ask after the next step.
        """
        return held_out.judged(
            self.network, self.feed, self.loss, self.held_out, self.held_out_count, self.team, self._on_device,
            self._judging,
        )  # fmt: skip

    def _judging(self, done: int, count: int) -> None:
        """After each held-out sample of this process."""
        step = self.progress.step
        self._report(step / self.steps, f"step {step} of {self.steps}, judging held-out samples: {done} of {count}")
        if self.team.count == 1 and self._cancelled():
            raise Cancelled

    def _validated(self, log: Log) -> None:
        progress = self.progress
        try:
            found = self.validate()
        except Cancelled:
            self.network.train()
            if progress.step:
                self._keep(checkpoints.LAST)
                self._write_logs()
            self._stop(log)
        self._add({"step": float(progress.step), **found})
        is_best = found[held_out.LOSS] < progress.best and progress.step > 0
        log("info", f"Step {progress.step}: held out {held_out.sentence(found)}{', the best so far' * is_best}.")
        if is_best:
            progress.best = found[held_out.LOSS]
            self._keep(checkpoints.BEST)
            store_best(self)
        self._write_logs()

    def _keep(self, name: str) -> None:
        if self.team.leads:
            checkpoints.save(self.output / name, self.state())

    def _write_logs(self) -> None:
        if not self.team.leads:
            return
        settings = {"network": self.feed.record.title, "recipe": self.config.preset, "steps": self.steps,
                    "batch": self.batch, "seed": self.seed, "training samples": len(self.samples),
                    "held-out samples": self.held_out_count, "device": self.device,
                    "processes": self.team.count}  # fmt: skip
        title = f"Training of {self.feed.record.title}"
        write_page(self.output / "log.html", title, settings, self.progress.history)
        self.events.write()

    def _closing_notes(self, log: Log) -> None:
        progress = self.progress
        if progress.replaced:
            log("warning", f"{progress.replaced} samples without data in their target were replaced by the next ones.")
        if self.step.left_out:
            log(
                "warning", f"{self.step.left_out} steps gave no finite gradient and were left out; a lower lr may help."
            )
        if self.config.weights and not_better(progress.history):
            log(
                "warning",
                "No step was better on held-out samples than the weights that the training started from; keep those, "
                "or lower lr.",
            )


class _Same:
    """Stands in for a feed whose image is the output itself, in the same scale."""

    def __init__(self, feed: Feed) -> None:
        self.scaling = feed.scaling

    @staticmethod
    def image(output: Any) -> Any:
        return output


def _mixed(seed: int, step: int, rank: int) -> int:
    """Seed of a step's dropout; each process draws its own, and the leader what a process alone would."""
    parts = [seed, step, DROPOUT, *([rank] if rank else [])]
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Lists in place of tuples, so that what was saved compares equal."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}


def _silent(*_: object) -> None:
    """What a process that does not lead reports."""


def train(
    config: TrainingConfig, report: Report, cancelled: Callable[[], bool], log: Log, team: Team | None = None
) -> tuple[Trainer, Outcome]:
    """Trains in this process, and stores the best weights with their record.

    Returns:
        The trainer, and what it left; of a team every process gets the same, the leader writes.

    Raises:
        Cancelled, InputError, OutputError: see :meth:`Trainer.run`.
    """
    trainer = Trainer(config, team)
    report, log = (report, log) if trainer.team.leads else (_silent, _silent)
    log("info", f"{trainer.feed.record.title}: {trainer.steps} steps of {trainer.batches.group}.")
    log(
        "info",
        f"{len(trainer.samples)} training and {trainer.held_out_count} held-out samples; {trainer.team.count} x "
        f"{trainer.device}.",
    )
    with checkpoints.alone_in(trainer.output) if trainer.team.leads else nullcontext():
        trainer.run(report, cancelled, log)
        return trainer, store(trainer)
