"""Half precision, where windows of the scene say that it changes nothing that matters.

Automatic mixed precision (Micikevicius et al. 2018, arXiv 1710.03740): convolutions and matrix products in 16 bits,
sums and norms in 32. A graphics card is asked for float16, a processor only when the analyst says so and it multiplies
bfloat16 natively, since the compiled kernel in float32 is faster there for most networks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..observation import Observation
from .learned_window import Runner

VARIABLE = "CLOUD_REMOVAL_PRECISION"
"""Environment variable: ``auto``, ``float32``, ``float16`` or ``bfloat16``."""

CHOICES = ("auto", "float32", "float16", "bfloat16")

LIMIT = 1e-3
"""Reflectance by which a value may differ from float32's, ..."""

SHARE = 0.999
"""... for this share of the values."""

WINDOWS, BOX_PX = 2, 128
"""Windows of the check, and the part of each that is computed both ways."""

LEFT_ALONE = ("tuacr",)
"""Modules that hand numbers between networks in NumPy."""


@dataclass(frozen=True)
class Checked:
    """How far half precision is from float32 on a scene.

    Attributes:
        windows: that were computed both ways; 0 = none holds anything to restore.
        deviation: reflectance that :data:`SHARE` of the values stay within; infinite where a value is not finite.
    """

    windows: int
    deviation: float

    @property
    def passed(self) -> bool:
        """Whether half precision may be used."""
        return self.windows > 0 and self.deviation <= LIMIT


def wanted(device: str, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """The precision to try, and what is to be said where that is not what was asked for.

    Args:
        device: "cpu" or "cuda".
        environment: where :data:`VARIABLE` is looked up.

    Raises:
        InputError: the variable holds something else.
    """
    chosen = environment.get(VARIABLE, "").strip().lower() or "auto"
    if chosen not in CHOICES:
        raise InputError(f"{VARIABLE} is '{chosen}'; it must be one of {', '.join(CHOICES)}.")
    if device != "cpu":
        return ("float16" if chosen == "auto" else chosen), ""
    if chosen in ("auto", "float32"):
        return "float32", ""
    if chosen == "bfloat16" and native_bfloat16():
        return "bfloat16", ""
    return "float32", f"Networks compute in float32: this processor does not multiply {chosen} natively."


def native_bfloat16(facts: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 (AVX-512 BF16, AMX, or Arm's BF16); False where that cannot be read."""
    try:
        lines = facts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith(("flags", "Features"))), [])
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def check(runner: Runner, samples: Sequence[Observation], precision: str) -> Checked:
    """Computes windows of the scene in float32 and in another precision.

    Args:
        runner: of the network; its ``order`` counts the samples' dates.
        samples: windows of the scene.
        precision: "float16" or "bfloat16".
    """
    found = [(obs, _fullest(obs.gap())) for obs in samples]
    fullest = sorted((pair for pair in found if pair[1].any()), key=lambda pair: -int(pair[1].sum()))[:WINDOWS]
    differences = [_difference(runner, obs, box, precision) for obs, box in fullest]
    return Checked(len(differences), max(differences, default=float("inf")))


def settled(runner: Runner, samples: Sequence[Observation], precision: str) -> tuple[Runner, str]:
    """The runner in another precision where a check allows it, and what was decided, for the log."""
    title = runner.record.title
    if precision == "float32" or runner.record.module in LEFT_ALONE:
        return runner, ""
    found = check(runner, samples, precision)
    if not found.windows:
        return runner, f"{title} computes in float32: there is no window to try {precision} on."
    many = f"{found.windows} window{'s' if found.windows > 1 else ''} of the scene"
    if not np.isfinite(found.deviation):
        return runner, f"{title} computes in float32: {precision} gives values that are not finite in {many}."
    told = f"in {many} {SHARE:.1%} of the values differ by at most {found.deviation:.1g} reflectance (limit {LIMIT:g})"
    if not found.passed:
        return runner, f"{title} computes in float32, not in {precision}: {told}."
    return replace(runner, precision=precision), f"{title} computes in {precision}: {told} from float32's."


def _fullest(gap: np.ndarray) -> np.ndarray:
    """bool (H, W): the gap's pixels in the square of :data:`BOX_PX` that holds most of them."""
    best, box = 0, np.zeros_like(gap)
    for top in range(0, gap.shape[0], BOX_PX // 2):
        for left in range(0, gap.shape[1], BOX_PX // 2):
            here = np.s_[top : top + BOX_PX, left : left + BOX_PX]
            count = int(gap[here].sum())
            if count > best:
                best, box = count, np.zeros_like(gap)
                box[here] = gap[here]
    return box


def _difference(runner: Runner, obs: Observation, box: np.ndarray, precision: str) -> float:
    """Reflectance that most values of a box stay within."""
    full, _ = runner.restore(obs, box, None)
    half, deviation = replace(runner, precision=precision).restore(obs, box, None)
    known = np.isfinite(full[:, box])
    values = half[:, box][known]
    if not np.isfinite(values).all() or (deviation is not None and not np.isfinite(deviation[:, box][known]).all()):
        return float("inf")
    return float(np.quantile(np.abs(values - full[:, box][known]), SHARE)) if known.any() else float("inf")
