"""Linear interpolation in time against a loop over pixels that shares no code with it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_removal_plugin.methods import interpolation


def _by_hand(images: np.ndarray, seen: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and change (C,) of one pixel from (D, C) and (D,)."""
    early = [d for d in range(len(days)) if seen[d] and days[d] <= 0]
    late = [d for d in range(len(days)) if seen[d] and days[d] > 0]
    nothing = np.full(images.shape[1], np.nan)
    if early and late:
        a, b = max(early, key=lambda d: days[d]), min(late, key=lambda d: days[d])
        share = -days[a] / (days[b] - days[a])
        return images[a] + share * (images[b] - images[a]), images[b] - images[a]
    if early or late:
        return images[max(early, key=lambda d: days[d]) if early else min(late, key=lambda d: days[d])], nothing
    return nothing, nothing


@settings(max_examples=40, deadline=None)
@given(
    dates=st.integers(1, 6), share=st.sampled_from([0.02, 0.4, 0.7, 1.0]), block=st.sampled_from([7, 64, 1 << 15]),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_every_pixel_gets_its_two_nearest_dates(dates: int, share: float, block: int, seed: int) -> None:
    """Scattered, dense and whole lists of pixels, in blocks of any size; hidden pixels hold NaN or infinity."""
    rng = np.random.default_rng(seed)
    size = 300
    days = rng.permutation(np.arange(-60, 60, 7))[:dates].astype(np.float64)
    optical = rng.uniform(0, 1, (dates, 3, size)).astype(np.float32)
    seen = rng.random((dates, size)) < 0.6
    for value in (np.nan, np.inf):
        optical[:, 1][~seen & (rng.random(seen.shape) < 0.3)] = value
    pixels = np.flatnonzero(rng.random(size) < share)
    before, interpolation.CHUNK = interpolation.CHUNK, block
    try:
        estimate, change, age = interpolation.interpolate(optical, seen, days, pixels)
        alone, nothing, _ = interpolation.interpolate(optical, seen, days, pixels, change=False)
    finally:
        interpolation.CHUNK = before
    np.testing.assert_array_equal(alone, estimate)
    assert nothing.size == 0
    assert age.shape == (2, len(pixels))
    for place, pixel in enumerate(pixels):
        wanted, step = _by_hand(optical[:, :, pixel].astype(np.float64), seen[:, pixel], days)
        np.testing.assert_allclose(estimate[:, place], wanted, rtol=0, atol=2e-6)
        np.testing.assert_allclose(change[:, place], step, rtol=0, atol=2e-6)
        early = [-d for d in days[seen[:, pixel]] if d <= 0]
        np.testing.assert_allclose(age[0, place], min(early) / 30 if early else interpolation.OLDEST, rtol=1e-6)
