"""Which blocks (dates, radar) see a pixel, as one number, and how to keep the number of such patterns small.

A conditional Gaussian needs one matrix per pattern. Dropping a date from a rare pattern is always valid (it only
forgets something), so rare patterns are folded into frequent ones.
"""

from __future__ import annotations

import numpy as np

MOST_BLOCKS = 15


def encode(seen: np.ndarray) -> np.ndarray:
    """Pattern numbers: bit b is set where block b sees the pixel.

    Args:
        seen: bool (B, n), B <= 15.

    Returns:
        uint16 (n,).
    """
    code = np.zeros(seen.shape[1:], np.uint16)
    for bit, row in enumerate(seen):
        code |= row.astype(np.uint16) << np.uint16(bit)
    return code


def bits(pattern: int, blocks: int) -> list[int]:
    """The blocks that ``pattern`` sees."""
    return [bit for bit in range(blocks) if pattern >> bit & 1]


def fold_rare(codes: np.ndarray, worth: np.ndarray, least: int, most: int = 1 << 16) -> np.ndarray:
    """Replaces rare patterns by the most worthy frequent pattern that they contain.

    Args:
        codes: uint16 (n,).
        worth: (B,) value of seeing each block.
        least: patterns with fewer pixels are rare.
        most: no more patterns than these count as frequent.

    Returns:
        uint16 (n,). A rare pattern stays where the best replacement is worth less than 70 % of it.
    """
    unique, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    frequent = counts >= least
    if frequent.sum() > most:
        limit = np.partition(counts, -most)[-most]
        frequent &= counts >= limit
    if frequent.all() or not frequent.any():
        return codes
    flags = (unique[:, None].astype(np.int64) >> np.arange(len(worth))) & 1
    value = flags @ worth
    kept = unique[frequent].astype(np.int64)
    kept_value = value[frequent]
    target = unique.copy()
    for index in np.flatnonzero(~frequent):
        inside = np.where(kept & ~int(unique[index]), -1.0, kept_value)
        best = int(np.argmax(inside))
        if inside[best] >= 0.7 * value[index]:
            target[index] = kept[best]
    return target[inverse.ravel()]


def groups(codes: np.ndarray, longest: int) -> list[tuple[int, np.ndarray]]:
    """Pixels by pattern: (pattern, positions in ``codes``) with at most ``longest`` positions each."""
    if not len(codes):
        return []
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    out = []
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        for first in range(start, stop, longest):
            out.append((int(ordered[start]), order[first : min(first + longest, stop)]))
    return out
