"""How well a mask of two classes, clear ground and cloud, agrees with the true one.

Clear Vision's authors report precision, recall and F1 of both classes, the mean F1 and the accuracy over a whole test
set (https://github.com/caoymg/Clear-Vision). They add 1e-14 to each denominator, so that a class that is nowhere
counts 0; here its figures are NaN, since a frame without clouds is no failure to find them. IoU is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..raster.classes import CLOUD, NO_DATA

COUNTS = ("TP", "FP", "FN", "TN")
"""Pixels, where cloud is what is looked for: found, invented, missed, rightly clear."""


def mask_counts(estimate: np.ndarray, truth: np.ndarray) -> dict[str, int]:
    """Pixels by :data:`COUNTS`.

    Args:
        estimate, truth: uint8 of one shape: 0 clear, 1 cloud, 255 unknown, which takes no part.
    """
    known = (estimate != NO_DATA) & (truth != NO_DATA)
    found, wanted = estimate[known] == CLOUD, truth[known] == CLOUD
    parts = (found & wanted, found & ~wanted, ~found & wanted, ~found & ~wanted)
    return {name: int(part.sum()) for name, part in zip(COUNTS, parts, strict=True)}


def mask_figures(counts: Mapping[str, float]) -> dict[str, float]:
    """Measures 0..1 by class, and their means over the classes that are there; NaN where nothing is to be measured.

    Args:
        counts: by :data:`COUNTS`, of one mask or added up over many.
    """
    hits, invented, missed, right = (counts[name] for name in COUNTS)
    by_class = {"clear": _of_class(right, missed, invented), "cloud": _of_class(hits, invented, missed)}
    found = {"accuracy": _share(hits + right, hits + invented + missed + right)}
    found |= {f"{measure}_{name}": value for name, values in by_class.items() for measure, value in values.items()}
    for measure in ("F1", "IoU"):
        there = [values[measure] for values in by_class.values() if not np.isnan(values[measure])]
        found[f"mean_{measure}"] = float(np.mean(there)) if there else float("nan")
    return found


def _of_class(hits: float, invented: float, missed: float) -> dict[str, float]:
    return {
        "precision": _share(hits, hits + invented),
        "recall": _share(hits, hits + missed),
        "F1": _share(2 * hits, 2 * hits + invented + missed),
        "IoU": _share(hits, hits + invented + missed),
    }


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
