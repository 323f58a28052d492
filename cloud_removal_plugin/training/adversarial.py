"""Generator and discriminator in turns: the training step of the SEN12MS-CR-TS toolbox.

Ebel et al. 2022, doi 10.1109/TGRS.2022.3146246; conditional GAN after Isola et al. 2017, arXiv 1611.07004.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAN_MODES = ("lsgan", "vanilla", "wgangp")


def gan_loss(judged: Tensor, is_real: bool, mode: str = "lsgan") -> Tensor:
    """How far a discriminator's logits (any shape) are from the verdict; a scalar.

    Args:
        mode: ``lsgan`` (Mao et al. 2017), ``vanilla`` (Goodfellow et al. 2014) or ``wgangp`` (the critic's mean; the
            published step never calls the gradient penalty).

    Raises:
        ValueError: an unknown mode.
    """
    truth = torch.full_like(judged, float(is_real))
    if mode == "lsgan":
        return F.mse_loss(judged, truth)
    if mode == "vanilla":
        return F.binary_cross_entropy_with_logits(judged, truth)
    if mode == "wgangp":
        return -judged.mean() if is_real else judged.mean()
    raise ValueError(f"Unknown GAN loss '{mode}': choose one of {', '.join(GAN_MODES)}.")


def finite_gradients(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether no gradient holds NaN or infinity."""
    return all(bool(torch.isfinite(p.grad).all()) for p in parameters if p.grad is not None)


def set_trainable(module: nn.Module, trainable: bool) -> None:
    """Freezes or releases every parameter of a module."""
    for parameter in module.parameters():
        parameter.requires_grad_(trainable)


def _alone(parameters: Iterable[nn.Parameter]) -> None:
    """One process: its own gradients are the mean."""


class AdversarialStep:
    """One iteration of the sequence-to-point training.

    Args:
        generator: :class:`models.seq2point.Seq2Point` or a sibling.
        optimiser: of all its parameters.
        to_image: raw output to the target's scale (:func:`models.seq2point.image`).
        discriminator, discriminator_optimiser: needed where ``lambda_gan`` is not 0.
        lambda_l1, lambda_gan: weights.
        gan_mode: of :data:`GAN_MODES`.
        unfreeze_at: the iteration within which a pre-trained, frozen ``model_initial`` is released, after that
            iteration's forward pass, so that its weights first move one iteration later; 0 = it was never frozen.
        further: one more loss of (image, target), e.g. the weighted perceptual one.
        clip: largest norm of the generator's gradient, 0 = none.
        average: takes parameters and puts the mean gradient of all processes in place of their own.
    """

    def __init__(
        self,
        generator: nn.Module,
        optimiser: torch.optim.Optimizer,
        to_image: Callable[[Tensor], Tensor],
        discriminator: nn.Module | None = None,
        discriminator_optimiser: torch.optim.Optimizer | None = None,
        lambda_l1: float = 100.0,
        lambda_gan: float = 0.0,
        gan_mode: str = "lsgan",
        unfreeze_at: int = 0,
        further: Callable[[Tensor, Tensor], Tensor] | None = None,
        average: Callable[[Iterable[nn.Parameter]], None] = _alone,
        clip: float = 0.0,
    ) -> None:
        if lambda_gan and (discriminator is None or discriminator_optimiser is None):
            raise ValueError("A GAN term needs a discriminator and its optimiser.")
        self.generator, self.optimiser, self.to_image = generator, optimiser, to_image
        self.discriminator, self.discriminator_optimiser = discriminator, discriminator_optimiser
        self.lambda_l1, self.lambda_gan, self.gan_mode = lambda_l1, lambda_gan, gan_mode
        self.unfreeze_at, self.further, self.average = unfreeze_at, further, average
        self.clip = clip
        self.iteration = 0
        if unfreeze_at:
            set_trainable(generator.model_initial, False)

    def __call__(self, frames: Sequence[Tensor], target: Tensor) -> dict[str, float]:
        """Runs one iteration.

        Args:
            frames: T tensors (B, C, H, W) as the generator wants them.
            target: (B, 13, H, W) in the scale of ``to_image``.

        Returns:
            ``G_loss`` (the weighted L1 term), ``total``, and with a GAN term ``G_GAN``, ``D_real`` and ``D_fake``;
            ``skipped`` = 1 where a gradient was not finite and no weight of the generator moved.
        """
        self.iteration += 1
        image = self.to_image(self.generator(frames))
        if self.iteration == self.unfreeze_at:
            set_trainable(self.generator.model_initial, True)
        judged = self._judge(frames, image, target) if self.lambda_gan else {}
        loss = self.lambda_l1 * (image - target).abs().mean()
        report = {"G_loss": float(loss.detach()), **judged}
        if self.lambda_gan:
            set_trainable(self.discriminator, False)
            verdict = gan_loss(self.discriminator(self._pair(frames, image)), True, self.gan_mode)
            report["G_GAN"] = float(verdict.detach())
            loss = loss + self.lambda_gan * verdict
        if self.further is not None:
            loss = loss + self.further(image, target)
        self.optimiser.zero_grad()
        loss.backward()
        self.average(self.generator.parameters())
        if self.clip:
            nn.utils.clip_grad_norm_(list(self.generator.parameters()), self.clip)
        finite = finite_gradients(self.generator.parameters())
        if finite:
            self.optimiser.step()
        return {**report, "total": float(loss.detach()), "skipped": float(not finite)}

    def resume_at(self, iteration: int) -> None:
        """Goes on after so many iterations; the body is free where they have passed its release."""
        self.iteration = iteration
        if self.unfreeze_at:
            set_trainable(self.generator.model_initial, iteration >= self.unfreeze_at)

    @staticmethod
    def _pair(frames: Sequence[Tensor], image: Tensor) -> Tensor:
        return torch.cat((*frames, image), dim=1)

    def _judge(self, frames: Sequence[Tensor], image: Tensor, target: Tensor) -> dict[str, float]:
        """One step of the discriminator."""
        set_trainable(self.discriminator, True)
        fake = gan_loss(self.discriminator(self._pair(frames, image.detach())), False, self.gan_mode)
        real = gan_loss(self.discriminator(self._pair(frames, target)), True, self.gan_mode)
        self.discriminator_optimiser.zero_grad()
        (0.5 * self.lambda_gan * (fake + real)).backward()
        self.average(self.discriminator.parameters())
        if finite_gradients(self.discriminator.parameters()):
            self.discriminator_optimiser.step()
        return {"D_real": float(real.detach()), "D_fake": float(fake.detach())}
