"""The network on samples that it never learns from: which step was the best, and by what figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..datasets.collate import pad_series
from .feeds import Feed
from .sizes import explained
from .sources import Samples
from .tasks import Loss, judge, sums_of
from .team import Team

LOSS = "validation"
"""The figure that decides which step was the best: the recipe's own loss on held-out samples."""


def judged(
    network: torch.nn.Module, feed: Feed, loss: Loss, samples: Samples, limit: int, team: Team, prepare: Any,
    tell: Callable[[int, int], None],
) -> dict[str, float]:  # fmt: skip
    """Held-out loss (mean of the samples' losses) and figures in reflectance over all pixels together.

    Args:
        network: in training mode again afterwards.
        feed, loss: of the recipe.
        samples: held out.
        limit: at most so many, 0 = all.
        team: whose processes share the samples.
        prepare: brings a batch to the device.
        tell: hears after each sample how many of how many are done by this process, and may raise to break off.
    """
    count = min(limit or len(samples), len(samples))
    names = sums_of(feed)
    total, sums = 0.0, dict.fromkeys(names, 0.0)
    team.align(network)
    network.eval()
    with torch.inference_mode():
        # of a limited number, spread over all regions
        chosen = team.share([i * len(samples) // count for i in range(count)])
        for done, index in enumerate(chosen, start=1):
            read = pad_series([samples[index]])
            with explained(read, feed.record, team):
                batch = prepare(read)
                output = feed.forward(network, batch)
            total += float(loss(feed, output, batch))
            for name, value in judge(feed, output, batch).items():
                sums[name] += float(value)
            tell(done, len(chosen))
    network.train()
    total, *together = team.sums([total, *sums.values()])
    return {LOSS: total / count, **_figures(dict(zip(names, together, strict=True)))}


def _figures(sums: Mapping[str, float]) -> dict[str, float]:
    if "count" in sums:
        square = sums["square"] / sums["count"]
        psnr = -10 * math.log10(square) if square > 0 else math.inf
        return {"mae": sums["absolute"] / sums["count"], "rmse": math.sqrt(square), "psnr": psnr}
    return {"f1": 2 * sums["hits"] / max(1.0, sums["found"] + sums["wanted"])}


def judgements(history: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """The rows of a history that hold held-out figures."""
    return [row for row in history if LOSS in row]


def best_of(history: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The trained step with the lowest held-out loss; the untrained network does not count; {} before the first."""
    return min((row for row in judgements(history) if row["step"]), key=lambda row: row[LOSS], default={})


def sentence(found: Mapping[str, float]) -> str:
    """Figures for a log."""
    return ", ".join(f"{name} {value:.5g}" for name, value in found.items() if name != "step")
