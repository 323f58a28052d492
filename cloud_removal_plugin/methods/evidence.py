"""What simulated gaps showed of one region, kept for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_PIXELS = 4_000
"""Pixels of the simulated gaps that are kept for the calibration plot."""


@dataclass(frozen=True)
class Evidence:
    """Members and mixture in the simulated gaps of a region, in reflectance.

    Attributes:
        members: everything that was tried, also what got no weight. weights: (M, C), their share in the mixture.
        rmse, mae: (M, C), error of each alone. mixture_rmse, mixture_mae: (C,), of the mixture.
        error, sigma: (C, n), error of the mixture and announced deviation; without columns where none is announced.
    """

    members: tuple[str, ...]
    weights: np.ndarray
    rmse: np.ndarray
    mae: np.ndarray
    mixture_rmse: np.ndarray
    mixture_mae: np.ndarray
    error: np.ndarray
    sigma: np.ndarray


def gather(
    tried: tuple[str, ...],
    errors: np.ndarray,
    mixed: dict[str, np.ndarray],
    mixture: np.ndarray,
    sigma: np.ndarray | None,
    fold: np.ndarray,
) -> Evidence:
    """Collect the evidence of a region.

    Args:
        tried: M members. errors: (M, C, n), each member's in the simulated gaps.
        mixed: weights (C,) of the members that the mixture is made of, by name.
        mixture: (C, n), its errors. sigma: (C, n), announced, or None.
        fold: (n,), simulated gap of each pixel; the last one, which the error model was not fitted on, is kept.
    """
    bands = mixture.shape[0]
    last = np.flatnonzero(fold == fold.max()) if fold.size else np.zeros(0, int)
    kept = last[:: max(1, -(-len(last) // MOST_PIXELS))] if sigma is not None else last[:0]
    square = np.sqrt(np.mean(np.square(errors, dtype=np.float64), axis=-1))
    return Evidence(
        members=tried,
        weights=np.array([mixed.get(name, np.zeros(bands)) for name in tried]),
        rmse=square,
        mae=np.abs(errors).mean(axis=-1, dtype=np.float64),
        mixture_rmse=np.sqrt(np.mean(np.square(mixture, dtype=np.float64), axis=-1)),
        mixture_mae=np.abs(mixture).mean(axis=-1, dtype=np.float64),
        error=mixture[:, kept],
        sigma=mixture[:, :0] if sigma is None else sigma[:, kept],
    )
