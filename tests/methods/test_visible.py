"""U-TILISE's interpolators pixel by pixel: one date, nothing hidden, everything hidden, gaps at both ends, ties."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_removal_plugin.methods import visible


def by_pixel(images: np.ndarray, hidden: np.ndarray, days: np.ndarray) -> dict[str, np.ndarray]:
    """The four fillings and the nearest frame by their definition, for one pixel (T, C), (T,), (T,)."""
    found = {name: np.full(images.shape, np.nan) for name in ("last", "next", "closest", "linear")}
    nearest, seen = np.full(len(days), np.nan), np.flatnonzero(~hidden)
    for t in range(len(days)):
        before, after = seen[seen <= t][-1:], seen[seen >= t][:1]
        ends = [*before, *after]
        if not ends:
            continue
        near = min(ends, key=lambda frame: abs(days[frame] - days[t]))
        span = days[ends[-1]] - days[ends[0]]
        share = (days[t] - days[ends[0]]) / span if span else 0.0
        found["closest"][t], nearest[t] = images[near], near
        found["linear"][t] = (1 - share) * images[ends[0]] + share * images[ends[-1]]
        if before.size:
            found["last"][t] = images[before[0]]
        if after.size:
            found["next"][t] = images[after[0]]
    return {**found, "nearest": nearest}


@pytest.mark.parametrize("dates", [1, 2, 9])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_fillings_follow_their_definition(dates: int, share: float) -> None:
    rng = np.random.default_rng(dates)
    images, hidden = rng.random((dates, 2, 6, 5)).astype(np.float32), rng.random((dates, 6, 5)) < share
    days = 5.0 * np.cumsum(rng.integers(1, 3, dates))
    got = {
        "last": visible.fill_last(images, hidden),
        "next": visible.fill_next(images, hidden),
        "closest": visible.fill_closest(images, hidden, days),
        "linear": visible.fill_linear(images, hidden, days),
    }
    nearest = visible.closest_visible(hidden, days)
    for row, col in np.ndindex(6, 5):
        expected = by_pixel(images[:, :, row, col], hidden[:, row, col], days)
        for name, value in got.items():
            np.testing.assert_allclose(value[:, :, row, col], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(nearest[:, row, col], expected["nearest"])
