"""What happens in one optimiser step, for plain losses and for generator against discriminator."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError
from .adversarial import GAN_MODES, AdversarialStep, finite_gradients
from .feeds import Batch, Feed
from .optimisers import create_optimiser
from .shared_norm import share_norms
from .tasks import Loss
from .team import Team, holding_back, terms_of

MOST_SKIPPED = 20
"""So many steps in a row without a finite gradient end a training."""


class Step(Protocol):
    """One optimiser step.

    Attributes:
        left_out: steps of this process without a finite gradient, which moved nothing.
    """

    left_out: int

    def __call__(self, batches: Sequence[Batch], number: int) -> float:
        """Learns from batches whose gradients are summed; returns the loss."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside network, optimiser and schedule."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """The opposite of :meth:`state`."""
        ...


class PlainStep:
    """Forward, loss, backward; clipped, in the wanted precision; steps without finite gradients are left out.

    Args:
        network, optimiser, feed, loss: of the recipe.
        team: whose processes share the batches; the network is on its device.
        precision: of :data:`.config.PRECISIONS`.
        clip: largest norm of the gradient, 0 = none.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: Optimizer,
        feed: Feed,
        loss: Loss,
        team: Team,
        precision: str = "fp32",
        clip: float = 0.0,
    ) -> None:
        if precision == "fp16" and not team.device.startswith("cuda"):
            raise InputError("Half precision (fp16) trains on CUDA only; choose bf16 or fp32.")
        self.network, self.optimiser, self.feed, self.loss = team.wrapped(network), optimiser, feed, loss
        self.team, self.clip, self.skipped, self.left_out = team, clip, 0, 0
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self._scaler = torch.amp.GradScaler(enabled=precision == "fp16")

    def _precision(self) -> Any:
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.team.device.split(":")[0], dtype=self._dtype)

    def __call__(self, batches: Sequence[Batch], number: int) -> float:
        """See :class:`Step`."""
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for batch in batches[:-1]:
            with holding_back(self.network):
                total += self._backward(batch, len(batches))
        total += self._backward(batches[-1], len(batches))
        self._scaler.unscale_(self.optimiser)
        parameters = list(self.network.parameters())
        if self.clip:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        if finite_gradients(parameters):
            self.skipped = 0
            self._scaler.step(self.optimiser)
        else:
            self.skipped += 1
            self.left_out += 1
        self._scaler.update()
        _check_skipped(self.skipped)
        return total

    def _backward(self, batch: Batch, count: int) -> float:
        """Adds one of ``count`` batches' gradients; returns its share of the loss."""
        with self._precision():
            output = self.feed.forward(self.network, batch)
        loss = self.loss(self.feed, _full(output), batch) * self.team.weight(terms_of(batch)) / count
        self._scaler.scale(loss).backward()
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """See :class:`Step`."""
        return {"scaler": self._scaler.state_dict(), "skipped": self.skipped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`Step`."""
        self._scaler.load_state_dict(dict(state["scaler"]))
        self.skipped = int(state["skipped"])


def _full(output: Any) -> Any:
    """Outputs in float32: losses of squares and logarithms need it."""
    if isinstance(output, Tensor):
        return output.float()
    return type(output)(*(_full(part) for part in output))


def _check_skipped(count: int) -> None:
    if count >= MOST_SKIPPED:
        raise InputError(
            f"{count} steps in a row gave no finite gradient: the training has diverged. Resume with a lower lr or "
            "with clip, or fine-tune the best weights so far in another folder."
        )


class GeneratorStep:
    """Sequence to point against a discriminator, or with a body that is released late.

    Wraps :class:`.adversarial.AdversarialStep`.

    Args:
        network, optimiser, feed: of the recipe.
        options: ``lambda_L1``, ``lambda_GAN``, ``gan_mode``, ``unfreeze_iter``; of the discriminator ``ndf`` (width)
            and ``norm`` (``batch`` as published, or ``instance``).
        lr, betas: of the discriminator's Adam.
        further: a loss of (image, target) beside, or None.
        team: whose processes share the batches; the network is on its device.
        clip: largest norm of the generator's gradient, 0 = none.
        shares_norms: the discriminator's batch norm sees the whole batch, over all processes.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: Optimizer,
        feed: Feed,
        options: Mapping[str, Any],
        lr: float,
        betas: tuple[float, float],
        further: Any,
        team: Team,
        clip: float = 0.0,
        shares_norms: bool = False,
    ) -> None:
        from ..models.seq2point import PatchDiscriminator

        share = float(options.get("lambda_GAN", 0.0))
        self.judge: nn.Module | None = None
        self.judge_optimiser: Optimizer | None = None
        if share:
            channels = int(feed.config.get("n_input_samples", 3)) * (13 + 2 * feed.has_radar) + 13
            norm = str(options.get("norm", "batch"))
            if norm not in ("batch", "instance"):
                raise InputError(f"The discriminator's norm is '{norm}'; choose batch or instance.")
            if options.get("gan_mode", GAN_MODES[0]) not in GAN_MODES:
                raise InputError(f"gan_mode is '{options['gan_mode']}'; choose one of {', '.join(GAN_MODES)}.")
            judge = PatchDiscriminator(channels, int(options.get("ndf", 64)), norm=norm)
            self.judge = (share_norms(judge) if shares_norms else judge).to(team.device).train()
            self.judge_optimiser = create_optimiser("adam", self.judge.parameters(), lr, betas=betas)
        self._step = AdversarialStep(
            network, optimiser, feed.image, self.judge, self.judge_optimiser,
            lambda_l1=float(options.get("lambda_L1", 100.0)), lambda_gan=share,
            gan_mode=str(options.get("gan_mode", "lsgan")), unfreeze_at=int(options.get("unfreeze_iter", 0)),
            further=further, average=team.average_gradients, clip=clip,
        )  # fmt: skip
        self.skipped = self.left_out = 0

    def __call__(self, batches: Sequence[Batch], number: int) -> float:
        """See :class:`Step`; one batch at a time, as published."""
        (batch,) = batches
        report = self._step(list(batch["frames"].unbind(1)), batch["target"])
        self.skipped = self.skipped + 1 if report["skipped"] else 0
        self.left_out += bool(report["skipped"])
        _check_skipped(self.skipped)
        return report["total"]

    def state(self) -> dict[str, Any]:
        """See :class:`Step`."""
        found: dict[str, Any] = {"iteration": self._step.iteration, "skipped": self.skipped}
        if self.judge is not None and self.judge_optimiser is not None:
            found |= {"judge": self.judge.state_dict(), "judge_optimiser": self.judge_optimiser.state_dict()}
        return found

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`Step`."""
        self._step.resume_at(int(state["iteration"]))
        self.skipped = int(state["skipped"])
        if self.judge is not None and self.judge_optimiser is not None:
            self.judge.load_state_dict(state["judge"])
            self.judge_optimiser.load_state_dict(state["judge_optimiser"])
