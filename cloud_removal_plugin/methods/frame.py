"""One window prepared for the scene's models: blocks of variables, what sees which pixel, gap and rim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..observation import Observation
from .dates import bands_present, value
from .patterns import encode
from .radar import RadarPlan, features, plan

RING = 2
"""Clear pixels round the gap, in pixels, at which the membrane is clamped."""


@dataclass(frozen=True)
class Plan:
    """What a region's models look at.

    Attributes:
        dates: indices into the full observation's dates, without the target.
        days: float64 (D,), relative to the target.
        bands: C.
        radar: None without radar.
        completions: per position in ``dates``, how bands that the date lacks follow from those it has.
    """

    dates: tuple[int, ...]
    days: np.ndarray
    bands: int
    radar: RadarPlan | None
    completions: dict[int, Completion]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Variables of each block: dates, radar, target."""
        return (*[self.bands] * len(self.dates), *([self.radar.count] if self.radar else []), self.bands)

    @property
    def worth(self) -> np.ndarray:
        """Value of seeing each block but the target."""
        return np.concatenate([value(self.days), [0.01] if self.radar else []])


@dataclass(frozen=True)
class Completion:
    """Bands that a date lacks as a linear function of those that it has: ``matrix @ present + offset``."""

    present: np.ndarray
    missing: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Completes an image (C, n)."""
        out = image.copy()
        out[self.missing] = self.matrix @ image[self.present] + self.offset[:, None]
        return out


def make_plan(samples: Sequence[Observation], dates: Sequence[int]) -> Plan:
    """The plan of a region from its samples and chosen dates."""
    days = np.asarray(samples[0].days, np.float64)[list(dates)]
    order = np.argsort(np.abs(days), kind="stable")
    early = [float(days[i]) for i in order if days[i] <= 0][:1]
    late = [float(days[i]) for i in order if days[i] > 0][:1]
    return Plan(
        tuple(dates), days, samples[0].shape[1], plan(samples, [*early, *late]), completions(samples, list(dates))
    )


def completions(samples: Sequence[Observation], dates: list[int]) -> dict[int, Completion]:
    """Completions of the dates that lack bands, learned on the spectra of the target, else of complete dates."""
    present = bands_present(samples)
    out: dict[int, Completion] = {}
    lacking = [i for i, d in enumerate(dates) if not present[d].all() and present[d].any()]
    if not lacking:
        return out
    sources = [d for d in [0, *dates] if present[d].all()]
    spectra = np.zeros((samples[0].shape[1], 0))
    for source in sources:
        pieces = [obs.optical[source][:, obs.seen()[source]][:, ::7] for obs in samples]
        spectra = np.concatenate(pieces, axis=1)
        if spectra.shape[1] >= 50:
            break
    for index in lacking:
        here = present[dates[index]]
        out[index] = _spectral(spectra.astype(np.float64), np.flatnonzero(here), np.flatnonzero(~here))
    return out


def _spectral(spectra: np.ndarray, present: np.ndarray, missing: np.ndarray) -> Completion:
    """Ridge regression of missing on present bands; a constant where no spectrum is known."""
    if spectra.shape[1] < 10:
        return Completion(
            present,
            missing,
            np.full((len(missing), len(present)), 1 / len(present), np.float32),
            np.zeros(len(missing), np.float32),
        )
    mean = spectra.mean(axis=1)
    centred = spectra - mean[:, None]
    gram = centred[present] @ centred[present].T / spectra.shape[1] + 1e-5 * np.eye(len(present))
    matrix = np.linalg.solve(gram, centred[present] @ centred[missing].T / spectra.shape[1]).T
    offset = mean[missing] - matrix @ mean[present]
    return Completion(present, missing, matrix.astype(np.float32), offset.astype(np.float32))


class Frame:
    """A window of the region as the models see it.

    Attributes:
        shape: (H, W).
        blocks: D float32 (C, H * W) images and, with radar, (F, H * W) features.
        seen: bool (B, H * W), which block sees which pixel.
        target: float32 (C, H * W).
        gap, clear: bool (H, W), what is to be restored and where the target is seen.
    """

    def __init__(self, obs: Observation, chosen: Plan) -> None:
        _, bands, height, width = obs.shape
        self.shape = (height, width)
        index = positions(obs, chosen)
        flat = obs.optical.reshape(obs.shape[0], bands, height * width)
        self.target = flat[0]
        self.gap = obs.gap()
        self.clear = _seen(flat[0], obs.cloud[0]).reshape(self.shape) & ~self.gap
        self.blocks = [
            chosen.completions[i].apply(flat[d]) if i in chosen.completions else flat[d] for i, d in enumerate(index)
        ]
        seen = [_seen(image, obs.cloud[d]) for image, d in zip(self.blocks, index, strict=True)]
        if chosen.radar is not None:
            if obs.radar is None:
                block = np.full((chosen.radar.count, height * width), np.nan, np.float32)
            else:
                block = features(obs.radar, chosen.radar).reshape(-1, height * width)
            self.blocks.append(block)
            seen.append(np.isfinite(block.sum(axis=0)))
        self.seen = np.stack(seen) if seen else np.zeros((0, height * width), bool)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def codes(self, pixels: np.ndarray) -> np.ndarray:
        """Patterns uint16 (n,) of the blocks at flat pixel indices."""
        return encode(self.seen[:, pixels])

    def gather(self, pixels: np.ndarray) -> np.ndarray:
        """All blocks at flat pixel indices, float32 (V, n), zero where hidden; the target is not in it."""
        out = [
            np.where(seen[pixels], np.take(block, pixels, axis=1), np.float32(0))
            for block, seen in zip(self.blocks, self.seen, strict=True)
        ]
        return np.concatenate(out) if out else np.zeros((0, len(pixels)), np.float32)


def positions(obs: Observation, chosen: Plan) -> list[int]:
    """Where the plan's dates lie in an observation with all dates or with only those that the plan uses."""
    if obs.shape[0] == len(chosen.dates) + 1:
        return list(range(1, obs.shape[0]))
    return list(chosen.dates)


def places(pixels: np.ndarray, width: int) -> np.ndarray:
    """Rows and columns (2, n) of flat indices into a window of ``width`` columns."""
    return np.stack(np.divmod(pixels, width))


def _seen(image: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """bool (H * W,): neither hidden nor without data in any band."""
    return (cloud.ravel() < 0.5) & np.isfinite(image.sum(axis=0))


def ring(gap: np.ndarray, clear: np.ndarray, width: int = RING) -> np.ndarray:
    """Clear pixels within ``width`` pixels (chessboard) of the gap, bool (H, W)."""
    near = gap.copy()
    for axis in (0, 1):
        grown = near.copy()
        for shift in range(1, width + 1):
            for source, drain in ((slice(shift, None), slice(None, -shift)), (slice(None, -shift), slice(shift, None))):
                index = (slice(None),) * axis
                grown[(*index, drain)] |= near[(*index, source)]
        near = grown
    return near & clear & ~gap
