"""One optimiser step of each kind of training: the forward pass, the loss of the recipe, and what else moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from . import losses
from .feeds import Batch, Feed, MaskFeed, SeriesFeed, UncrtaintsFeed
from .perceptual import FEATURE_SETS, VGG16Encoder, perceptual
from .series_losses import series_losses

Loss = Callable[[Feed, Any, Batch], Tensor]
ENCODER_TOP = 5.0


def _plain(function: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    return lambda feed, output, batch: function(feed.image(output), batch["target"])


def _carl(feed: Feed, output: Any, batch: Batch) -> Tensor:
    return losses.carl(feed.image(output), batch["optical"], batch["target"], batch["cloud"])


def _weighted(feed: Feed, output: Any, batch: Batch) -> Tensor:
    return losses.weighted_charbonnier(feed.image(output), batch["target"], batch["cloud"])


def _likelihood(function: Callable[..., Tensor]) -> Loss:
    def loss(feed: Feed, output: Any, batch: Batch) -> Tensor:
        if not isinstance(feed, UncrtaintsFeed) or output.shape[2] <= batch["target"].shape[1]:
            raise InputError("This loss needs a network that gives a variance; choose UnCRtainTS with out_conv = [26].")
        return function(feed.image(output)[:, None], batch["target"][:, None], feed.variance(output))

    return loss


def _series(feed: Feed, output: Tensor, batch: Batch) -> Tensor:
    weights = {"l1_loss": 1.0}
    return series_losses(output, batch["y"], batch["masks_valid_obs"], weights)["total_loss"]


def _cross_entropy(feed: Feed, output: Tensor, batch: Batch) -> Tensor:
    return F.cross_entropy(output, batch["mask"])


def _tuacr(feed: Feed, output: Any, batch: Batch) -> Tensor:
    """The terms of CR_system's script that its published head can have, without LPIPS (docs/training.md)."""
    target, mask = batch["target"], batch["cloud"]
    rgb = target[:, 1:4]
    return (
        100 * losses.charbonnier(output.out, rgb)
        + 5 * losses.charbonnier(output.stage1, target)
        + 5 * losses.total_variation(output.out)
        + 5 * losses.charbonnier(output.sar_trans, target)
        + 100 * losses.charbonnier(output.out * mask, rgb * mask)
        + 5 * losses.l2(output.attention, mask)
    )


LOSSES: Mapping[str, Loss] = {
    "l1": _plain(losses.l1),
    "l2": _plain(losses.l2),
    "charbonnier": _plain(losses.charbonnier),
    "carl": _carl,
    "weighted_charbonnier": _weighted,
    "gnll": _likelihood(losses.gaussian_nll),
    "mgnll": _likelihood(losses.multivariate_nll),
    "series_l1": _series,
    "cross_entropy": _cross_entropy,
    "tuacr": _tuacr,
}

MASKED = ("carl", "weighted_charbonnier", "cross_entropy", "tuacr")
"""Losses that look at the cloud mask; others need none to be computed."""


def loss_of(name: str, options: Mapping[str, Any], device: str, processes: int = 1) -> Loss:
    """The loss of a recipe; ``lambda_L1`` and ``lambda_perceptual`` of the options weigh it.

    Args:
        options: ``lambda_L1``, ``lambda_perceptual`` with ``vgg16`` (a file of the 13-band encoder's weights) and
            ``perceptual_features``.
        device: where the encoder is put.
        processes: that share a batch; MGNLL counts the whole batch's log-determinant, of which each sees its part.

    Raises:
        InputError: an unknown loss, or the encoder's weights are missing.
    """
    if name not in LOSSES:
        raise InputError(f"There is no loss '{name}'. Choose one of: {', '.join(LOSSES)}.")
    base, weight = LOSSES[name], float(options.get("lambda_L1", 1.0))
    if name == "mgnll" and processes > 1:
        base = _likelihood(partial(losses.multivariate_nll, processes=processes))
    share = float(options.get("lambda_perceptual", 0.0))
    if not share:
        return lambda feed, output, batch: weight * base(feed, output, batch)
    encoder = _encoder(str(options.get("vgg16", ""))).to(device)
    features = str(options.get("perceptual_features", "original"))
    if features not in FEATURE_SETS:
        raise InputError(f"There are no perceptual_features '{features}'. Choose one of: {', '.join(FEATURE_SETS)}.")

    def loss(feed: Feed, output: Any, batch: Batch) -> Tensor:
        # the encoder learned from reflectance x 5; other networks have other scales
        scale = ENCODER_TOP / feed.scaling.top
        further = perceptual(encoder, feed.image(output) * scale, batch["target"] * scale, features)
        return weight * base(feed, output, batch) + share * further

    return loss


def _encoder(path: str) -> VGG16Encoder:
    encoder = VGG16Encoder()
    try:
        state = torch.load(Path(path), map_location="cpu", weights_only=True)
        state = state.get("model_state_dict", state)
        encoder.load_state_dict({key: value for key, value in state.items() if key.startswith("encoder.")})
    except (OSError, RuntimeError, ValueError, AttributeError, KeyError) as error:
        raise InputError(
            f"The perceptual loss needs the weights of a 13-band VGG16; '{path}' does not hold them ({error}). Set "
            "vgg16, or "
            "lambda_perceptual = 0."
        ) from error
    return encoder.requires_grad_(False).eval()


FIGURE_SUMS = ("square", "absolute", "count")
MASK_SUMS = ("hits", "found", "wanted")


def sums_of(feed: Feed) -> tuple[str, ...]:
    """What :func:`judge` adds up for a network."""
    return MASK_SUMS if isinstance(feed, MaskFeed) else FIGURE_SUMS


def judge(feed: Feed, output: Any, batch: Batch) -> dict[str, Tensor]:
    """Sums for validation: squared and absolute error in reflectance, and how many numbers; F1 for masks."""
    if "mask" in batch:
        found, wanted = output.argmax(1).bool(), batch["mask"].bool()
        return {"hits": (found & wanted).sum(), "found": found.sum(), "wanted": wanted.sum()}
    if isinstance(feed, SeriesFeed):
        valid = batch["masks_valid_obs"].bool()
        error = (feed.image(output) - batch["y"])[valid]
    else:
        error = feed.reflectance(output) - batch["truth"]
    return {"square": error.double().square().sum(), "absolute": error.double().abs().sum(),
            "count": torch.tensor(error.numel())}  # fmt: skip
