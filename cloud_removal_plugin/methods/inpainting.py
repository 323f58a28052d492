"""Laplace inpainting: the gap filled from its own rim, for a date that stands alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..observation import Observation, Restoration
from .folds import lattice_step, simulate
from .interpolation import SAMPLES, scene_mean
from .membrane import spread
from .protocol import Needs, Report
from .sigma import SigmaModel, fit_sigma, overall

REACH = 64
"""Pixels of surroundings that a window should bring: farther clear pixels hardly change the inside."""


def distance(known: np.ndarray) -> np.ndarray:
    """Chessboard distance in pixels, float32 (H, W), to the nearest known pixel; the edge length if none."""
    if not known.any():
        return np.full(known.shape, max(known.shape), np.float32)
    return ndimage.distance_transform_cdt(~known, metric="chessboard").astype(np.float32)


@dataclass(frozen=True)
class FittedInpainting:
    """Inpainting with the errors that simulated gaps showed."""

    needs: Needs
    dates_used: tuple[int, ...]
    expected_rmse: float | None
    summary: str
    notes: tuple[str, ...]
    sigma: SigmaModel | None
    fallback: np.ndarray

    def restore(self, obs: Observation, *, pool: Executor | None = None) -> Restoration:
        """Restores the gap; a window without any clear pixel gets the scene's mean, with unknown sigma."""
        gap = obs.gap()
        known = obs.seen()[0] & ~gap
        if not known.any():
            shape = obs.optical.shape[1:]
            flat = np.broadcast_to(self.fallback[:, None, None], shape).astype(np.float32)
            return Restoration(flat, np.full(shape, np.nan, np.float32))
        image = spread(obs.optical[0], known, pool)
        sigma = np.full(image.shape, np.nan, np.float32)
        if self.sigma is not None:
            sigma[:, gap] = self.sigma.predict([np.log1p(distance(known)[gap])], int(gap.sum()))
        return Restoration(image, sigma)


class Inpainting:
    """METHOD=inpainting."""

    name = "inpainting"

    def fit(
        self,
        samples: Sequence[Observation],
        *,
        seed: tuple[int, ...],
        device: str = "cpu",
        pool: Executor | None = None,
        report: Report | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FittedInpainting:
        """Measures the inpainting on clear pixels of the samples (see :class:`Restorer`)."""
        if not samples:
            raise InputError("There is no window to fit the inpainting on.")
        errors, far, fold = _trial(samples, seed, pool)
        known = errors.shape[1] >= 50
        model = fit_sigma([np.log1p(far)], errors, fold) if known else None
        rmse = overall(errors) if known else None
        notes = () if known else ("Too few clear pixels to measure the inpainting's error; it is unknown.",)
        return FittedInpainting(
            Needs(REACH, False, 1), (0,), rmse, "inpainting 1.00", notes, model, scene_mean(samples)
        )


def _trial(
    samples: Sequence[Observation], seed: tuple[int, ...], pool: Executor | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors (C, n), distances (n,) in pixels and fold numbers (n,) on simulated gaps."""
    step = lattice_step(samples)
    clears = [(obs.seen()[0] & ~obs.gap())[::step, ::step] for obs in samples]
    folds = simulate([obs.gap()[::step, ::step] for obs in samples], clears, np.random.default_rng([*seed, 11]))
    rng = np.random.default_rng([*seed, 13])
    errors, far, numbers = [], [], []
    for obs, clear, fold in zip(samples, clears, folds, strict=True):
        truth = np.ascontiguousarray(obs.optical[0][:, ::step, ::step])
        for number in np.unique(fold[fold >= 0]):
            hidden = fold == number
            known = clear & ~hidden
            if not known.any():
                continue
            error = (spread(truth, known, pool) - truth)[:, hidden]
            keep = np.sort(rng.permutation(error.shape[1])[: SAMPLES // 3])
            errors.append(error[:, keep])
            far.append(distance(known)[hidden][keep] * step)
            numbers.append(np.full(len(keep), number))
    if not errors:
        return np.zeros((samples[0].shape[1], 0), np.float32), np.zeros(0, np.float32), np.zeros(0, int)
    return np.concatenate(errors, axis=1), np.concatenate(far), np.concatenate(numbers)
