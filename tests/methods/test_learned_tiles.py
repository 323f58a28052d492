"""Where a network's windows lie: all of the scene, enough context, on the grid, none too large."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from cloud_removal_plugin.methods.learned_tiles import EDGES, Lattice, spans
from cloud_removal_plugin.methods.learned_window import lattice_of
from cloud_removal_plugin.models.records import RECORDS


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


FADING = [name for name, record in RECORDS.items() if record.window]


@pytest.mark.parametrize("name", FADING)
@pytest.mark.parametrize("memory", [200, 1024, 65536])
def test_windows_that_fade_sum_to_one_everywhere(name: str, memory: int) -> None:
    lattice = lattice_of(RECORDS[name], RECORDS[name].dates_counted, memory, 1, "cpu")
    assert lattice.fixed
    # a scene's last window lies anywhere beside the one before it
    for length in [*range(lattice.edge - 8, 4 * lattice.edge), 2048, 10980]:
        total = np.zeros(length, np.float32)
        for span in spans(lattice, length, 0, length):
            assert span.start <= span.first <= span.low < span.high <= span.last <= max(span.stop, length)
            weights = span.weights()
            assert ((weights > 0) & (weights <= 1)).all()
            total[span.first : span.last] += weights
        np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("name", FADING)
def test_ramps_are_as_long_as_the_record_says_and_leave_out_the_border(name: str) -> None:
    record = RECORDS[name]
    found = spans(lattice_of(record, record.dates_counted, 65536, 1, "cpu"), 2048, 0, 2048)
    assert {span.stop - span.start for span in found} == {record.window}
    assert {span.fade_low for span in found[1:]} == {record.fade}
    assert min(span.first - span.start for span in found[1:]) >= record.halo
    for span in found[1:]:
        assert np.diff(span.weights()).max() <= 1 / record.fade + 1e-6
