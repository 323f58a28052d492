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


def with_networks(
    base: Evidence | None,
    own: np.ndarray,
    networks: dict[str, np.ndarray],
    weights: dict[str, np.ndarray],
    mixture: np.ndarray,
    sigma: np.ndarray,
) -> Evidence | None:
    """The evidence of a scene ensemble that published networks joined.

    Networks are tried on few pixels, the ensemble's members on many: what counts of a network is its error there over
    the ensemble's there, and the ensemble's own figures carry it over.

    Args:
        base: of the ensemble alone; None gives None.
        own: (C, n), its errors where the networks were tried. networks: theirs, by name; NaN = band not restored.
        weights: (C,), of those that take part.
        mixture, sigma: (C, n), errors of all together, and the announced deviation.
    """
    if base is None:
        return None
    bands = own.shape[0]
    rows = np.stack([np.zeros(bands) if name not in weights else weights[name] for name in networks])
    everything = np.stack([*networks.values(), mixture])
    square = _ratio(np.sqrt(np.square(everything).mean(axis=-1)), np.sqrt(np.square(own).mean(axis=-1)))
    mean = _ratio(np.abs(everything).mean(axis=-1), np.abs(own).mean(axis=-1))
    known = np.flatnonzero(np.isfinite(sigma).all(axis=0))
    kept = known[:: max(1, -(-len(known) // MOST_PIXELS))]
    return Evidence(
        members=(*base.members, *networks),
        weights=np.concatenate((base.weights * (1 - rows.sum(axis=0)), rows)),
        rmse=np.concatenate((base.rmse, square[:-1] * base.mixture_rmse)),
        mae=np.concatenate((base.mae, mean[:-1] * base.mixture_mae)),
        mixture_rmse=square[-1] * base.mixture_rmse,
        mixture_mae=mean[-1] * base.mixture_mae,
        error=mixture[:, kept],
        sigma=sigma[:, kept],
    )


def _ratio(values: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Errors (M, C) over the ensemble's (C,); 1 in bands that a network leaves to the ensemble."""
    ratio = values / np.maximum(own, 1e-9)
    return np.where(np.isfinite(ratio), ratio, 1.0)
