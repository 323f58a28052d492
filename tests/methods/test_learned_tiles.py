"""Where a network's windows lie: all of the scene, enough context, on the grid, none too large."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from cloud_removal_plugin.methods.learned_tiles import EDGES, Lattice, spans


@pytest.mark.parametrize("multiple", [1, 2, 8, 16])
def test_windows_cover_what_is_asked_for_with_their_context(multiple: int) -> None:
    rng = random.Random(multiple)
    for _ in range(1500):
        half = max(multiple // 2, 1)
        halo = rng.randrange(0, 60) // half * half
        edge = rng.choice([edge for edge in EDGES if edge >= 2 * halo + max(32, multiple)])
        length, least = rng.randrange(1, 900), rng.choice([1, 2, 16, 32])
        low = rng.randrange(length)
        high = rng.randrange(low + 1, length + 1)
        lattice = Lattice(edge, halo, multiple, least)
        found, everything = spans(lattice, length, low, high), spans(lattice, length, 0, length)
        assert (found[0].low, found[-1].high) == (low, high)
        assert all(one.high == two.low for one, two in pairwise(found))
        largest = max(-(-size // multiple) * multiple for size in (edge, least))
        for span in found:
            assert span.start % multiple == 0
            assert (span.stop - span.start) % multiple == 0
            assert span.stop - span.start <= largest, "more than the memory was counted for"
            assert span.start <= max(span.low - halo, 0)
            assert span.stop >= min(span.high + halo, length)
            assert any(one.low <= span.low and span.high <= one.high for one in everything), "the same for all who ask"


def test_a_scene_that_fits_is_one_window() -> None:
    assert len(spans(Lattice(64, 20, 8), 64, 0, 64)) == 1
    # at the ends of the scene no context is computed
    assert [(span.start, span.stop) for span in spans(Lattice(64, 16), 96, 0, 96)] == [(0, 64), (32, 96)]
