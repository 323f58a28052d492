"""The papers' recipes by name. Where a recipe names a number of epochs, that of its paper stands here.

Sources: DSen2-CR, Meraner et al. 2020; GLF-CR, Xu et al. 2022; UnCRtainTS, Ebel et al. 2023; U-TILISE, Stucker et
al. 2023; Clear Vision, its authors' project description; Align-CR, Xu et al. 2024; sequence to point, Ebel et al.
2022. TUA-CR was published without a training; that recipe is ours (docs/training.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import InputError

GENERATOR_OPTIONS = ("lambda_GAN", "unfreeze_iter")
"""Each makes the step that of a generator, with its own rules."""
_LOSS = ("lambda_L1", "lambda_perceptual", "vgg16", "perceptual_features")
_GAN = (*GENERATOR_OPTIONS, "gan_mode", "ndf", "norm")
_MEMBERS = ("dsen2cr", "glfcr")
FILE_OPTIONS = ("vgg16", *_MEMBERS)
TEXT_OPTIONS = ("perceptual_features", "gan_mode", "norm", *FILE_OPTIONS)
"""Options that are words or files; all others are numbers."""


def options_of(network: str, loss: str) -> tuple[str, ...]:
    """Names of the options that mean something to a recipe.

    The perceptual term compares 13 bands of one image; the discriminator is that of sequence to point, which no other
    network has.
    """
    if loss in ("series_l1", "cross_entropy", "weighted_charbonnier"):
        return ("lambda_L1",)
    return _LOSS + (_GAN if network == "seq2point" else ()) + (_MEMBERS if network == "tuacr" else ())


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Attributes:
        network: name in the registry of the networks.
        config: constructor arguments that differ from the published configuration.
        loss: of :data:`..training.tasks.LOSSES`.
        optimiser, lr, optimiser_options: see :mod:`.optimisers`.
        schedule, schedule_options: by finished epochs.
        batch, epochs, crop: crop 0 = whole samples.
        augment: flips and quarter turns.
        slow, slow_factor: parameters whose name holds one of these words learn at ``lr`` times the factor.
        options: what the loss or the step wants to know.
        seed: of the paper.
    """

    network: str
    loss: str
    optimiser: str
    lr: float
    batch: int
    epochs: int
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    optimiser_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    schedule: str = "constant"
    schedule_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    crop: int = 0
    augment: bool = False
    slow: tuple[str, ...] = ()
    slow_factor: float = 1.0
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    seed: int = 0


def _some(**values: Any) -> Mapping[str, Any]:
    return MappingProxyType(values)


_DSEN2CR: dict[str, Any] = {
    "network": "dsen2cr", "optimiser": "keras_nadam", "lr": 7e-5, "batch": 16, "epochs": 8, "crop": 128,
    "augment": True, "seed": 42,
}  # fmt: skip
_UNCRTAINTS: dict[str, Any] = {"optimiser": "adam", "batch": 4, "epochs": 20, "seed": 1}
_UTILISE_TS: dict[str, Any] = {
    "loss": "series_l1", "optimiser": "adam", "lr": 2e-4, "batch": 3, "epochs": 1000, "augment": True,
    "optimiser_options": _some(weight_decay=1e-5),
    "schedule": "steps", "schedule_options": _some(gamma=0.5, milestones=(40, 60, 80, 100)),
}  # fmt: skip
_SEQ2POINT: dict[str, Any] = {
    "network": "seq2point", "loss": "l1", "optimiser": "adam", "lr": 2e-4, "batch": 1, "epochs": 200,
    "optimiser_options": _some(betas=(0.5, 0.999)),
}  # fmt: skip

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "dsen2cr-carl": Preset(loss="carl", **_DSEN2CR),
        "dsen2cr-l1": Preset(loss="l1", **_DSEN2CR),
        "glfcr": Preset(
            "glfcr", "l1", "adam", 1e-4, 1, 30, crop=128, seed=7,
            schedule="halving", schedule_options=_some(gamma=0.5, every=5),
        ),
        "uncrtaints-l2": Preset(
            "uncrtaints_mono", "l2", lr=1e-4, schedule="exponential", schedule_options=_some(gamma=0.8), **_UNCRTAINTS
        ),
        "uncrtaints-mgnll": Preset("uncrtaints", "mgnll", lr=1e-3, **_UNCRTAINTS),
        "utilise": Preset(
            "utilise_earthnet2021", "series_l1", "adam", 2e-4, 3, 1000, augment=True,
            schedule="steps", schedule_options=_some(gamma=0.5, milestones=(50, 100, 150, 200, 250)),
        ),
        "utilise-sen12mscrts": Preset("utilise_sen12mscrts", **_UTILISE_TS),
        "utilise-sen12mscrts-s1": Preset("utilise_sen12mscrts_s1", **_UTILISE_TS),
        "clearvision-mask": Preset("clearvision_mask", "cross_entropy", "adam", 1e-4, 8, 1000),
        "clearvision-removal": Preset("clearvision_removal", "series_l1", "adam", 2e-4, 3, 1000),
        "aligncr": Preset(
            "aligncr", "weighted_charbonnier", "adam", 1e-4, 2, 30, crop=160, seed=7, slow=("SFAlign",),
            slow_factor=0.1, schedule="halving", schedule_options=_some(gamma=0.5, every=5),
        ),
        "seq2point": Preset(options=_some(lambda_L1=100.0, lambda_GAN=0.0), **_SEQ2POINT),
        "seq2point-gan": Preset(options=_some(lambda_L1=100.0, lambda_GAN=1.0), **_SEQ2POINT),
        "tuacr": Preset(
            "tuacr", "tuacr", "adamw", 1e-4, 1, 20, optimiser_options=_some(weight_decay=1e-4),
            schedule="linear", schedule_options=_some(final=0.1),
        ),
    }
)  # fmt: skip


def preset(name: str) -> Preset:
    """The recipe called ``name``.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"There is no training recipe '{name}'. Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]
