"""U-TILISE's windows over long series by their rule (Stucker et al. 2023), for other lengths than the golden case."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cloud_removal_plugin.models.utilise import next_window, restore_series  # noqa: E402


def moved(start: int, frames: int, window: int, coverage: list[float]) -> int:
    """Half a window on; where that frame is cloudy, to the nearest of the clearest frames around."""
    stride = window // 2
    new = start + stride
    if new + window > frames:
        return frames - window
    if coverage[new] <= 0.1:
        return new
    reach = math.ceil(stride / 2)
    around = list(range(max(0, new - reach), min(new + reach + 1, frames)))
    clearest = [frame for frame in around if coverage[frame] == min(coverage[f] for f in around)]
    best = sorted(clearest, key=lambda frame: (abs(frame - new), frame))[0]
    return frames - window if best + window > frames else best


def test_windows_move_by_the_rule() -> None:
    rng = np.random.default_rng(3)
    for _ in range(2000):
        window = int(rng.integers(4, 15))
        frames = window + int(rng.integers(1, 40))
        start = int(rng.integers(0, frames - window + 1))
        coverage = np.where(rng.random(frames) < 0.4, 0, rng.random(frames).round(1)).tolist()
        assert next_window(start, frames, window, coverage) == moved(start, frames, window, coverage)


def network(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Something that depends on the whole window and never twice in the same way."""
    return x * x.mean(1, keepdim=True) + x.flip(1) * positions.std(1, correction=0).view(-1, 1, 1, 1, 1) / 40


@pytest.mark.parametrize("frames", [1, 5, 11, 26, 40])
@pytest.mark.parametrize("window", [4, 5, 10, 12])
def test_series_of_any_length(frames: int, window: int) -> None:
    generator = torch.Generator().manual_seed(frames)
    x = torch.rand(2, frames, 3, 4, 4, generator=generator)
    cover = torch.rand(1, frames, 1, 1, 1, generator=generator)
    masks = (torch.rand(2, frames, 1, 4, 4, generator=generator) < cover - 0.4).float()
    positions = torch.cumsum(torch.randint(1, 9, (2, frames), generator=generator), 1).float()
    coverage = masks.mean((0, 2, 3, 4)).tolist()
    expected, starts, end = torch.zeros_like(x), [0], min(window, frames)
    expected[:, :end] = network(x[:, :end], positions[:, :end])
    while end < frames:
        start = moved(starts[-1], frames, window, coverage)
        new = network(x[:, start : start + window], positions[:, start : start + window])
        apart = [float((expected[:, f] - new[:, f - start]).abs().mean()) for f in range(start, end)]
        switch = start + apart.index(min(apart))
        end = start + window
        expected[:, switch:end] = new[:, switch - start :]
        starts.append(start)
    got, found = restore_series(network, x, masks, positions, window)
    assert found == starts
    torch.testing.assert_close(got, expected)
