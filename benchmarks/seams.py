"""What the borders of windows add to a restored image, for every network that sees its whole window.

A scene is restored as a job would (``methods/learned_window.py``, the windows of a job with the default memory and two
workers), and each of its windows by itself as well. By the product rule of differences a step between two neighbouring
pixels of the scene, R(x+1) - R(x) where R = sum of w_i f_i over windows i, is made of two parts, exactly:

    the mean of w_i at both pixels, times f_i(x+1) - f_i(x)     what the network itself writes there
    w_i(x+1) - w_i(x), times the mean of f_i at both pixels     what the border adds: the *seam*

The second is zero away from borders. Where windows meet without fading it is their whole difference, in one step;
where they fade it is spread: one pixel's part is what an edge would be seen by, their sum over the fade is how far the
tone of both windows lies apart (*height*), a smooth ramp that is no edge. Its mean along 32 pixels of the border
(*tone*) is left where the difference is not texture.

The goal holds for the 99.9 % quantile of steps over all bands: 1e-3 for local networks, 3e-3 for the others. Its own
steps, in the last column, say what a seam hides in. The scene is a mosaic of nine real SEN12MS-CR patches, the worst
that one can offer: neighbouring windows see different places under different clouds. Weights are random, what they
write is scaled as in :mod:`benchmarks.reach` to a spread of 0.05 reflectance; with ``--weights`` nothing is scaled.

    python -m benchmarks.seams [--weights FOLDER] [--fade PIXELS] [NETWORK ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from benchmarks import reach
from benchmarks.jobs import as_worker
from cloud_removal_plugin import models
from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.methods.crsystem import PARTS, CRSystem
from cloud_removal_plugin.methods.facts import SceneFacts
from cloud_removal_plugin.methods.learned import Learned
from cloud_removal_plugin.methods.learned_tiles import Span, spans
from cloud_removal_plugin.methods.learned_window import Runner
from cloud_removal_plugin.models.tuacr import TUACROutput
from cloud_removal_plugin.observation import Observation

WHOLE = ("uncrtaints_mono", "uncrtaints", "clearvision_removal", "crsystem")
"""They see means over their window, or its size."""

CONTROLS = ("dsen2cr", "glfcr", "utilise_earthnet2021")
PATCHES = ("04065", "07264", "00746", "04438", "02266", "06553", "04287", "02729", "05349")
GOALS = {True: 3e-3, False: 1e-3}
SHARE = 0.999
ALONG = 32
"""Pixels along a border whose mean is its tone."""

LARGEST = 320
"""Pixels of a window of a local network, whose borders do not depend on that."""

DAY = date(2018, 7, 5)
MEMORY_MB, WORKERS = 4096, 2


@dataclass(frozen=True)
class Seams:
    """What borders add, in reflectance.

    Attributes:
        steps: of all neighbouring pixels that lie across a border, all bands; ``elsewhere``: the largest one between
            pixels that do not.
        heights, tones: sums over whole borders, and their means along 32 pixels.
        own: rms of the steps that the network itself writes.
    """

    steps: np.ndarray
    elsewhere: float
    heights: np.ndarray
    tones: np.ndarray
    own: float


def mosaic(edge: int, dates: int) -> Observation:
    """Real patches side by side, cropped; by turns cloudy and clear, with their masks and radar of every date."""
    many = -(-edge // 256)
    lines = [[reach.real(PATCHES[(row * 3 + col) % len(PATCHES)], dates) for col in range(many)] for row in range(many)]
    crop = (..., slice(edge), slice(edge))

    def joined(kind: int) -> np.ndarray:
        rows = [np.concatenate([np.stack([frame[kind] for frame in part]) for part in line], -1) for line in lines]
        return np.concatenate(rows, -2)[crop].astype(np.float32)

    days = np.array([5.0 * ((number + 1) // 2) * (1 if number % 2 else -1) for number in range(dates)])
    return Observation(joined(0), joined(2), days, SENTINEL2_L1C, joined(1), days, 10.0)


def runner_of(name: str, folder: Path, edge: int, fade: int | None = None) -> tuple[Runner, Observation]:
    """A network at work on the mosaic, ``edge`` pixels wide, and the mosaic."""
    method = CRSystem(folder, MEMORY_MB) if name == "crsystem" else Learned(name, folder, MEMORY_MB)
    record = models.record("tuacr" if name == "crsystem" else name)
    obs = replace(mosaic(edge, reach.dates_of(record.name)), pixel_m=record.gsd_m)
    method.prepare(SceneFacts(obs.bands, len(obs.days), DAY, "VV VH", obs.pixel_m, obs.shape[2:]))
    with ThreadPoolExecutor(WORKERS) as pool:  # it says how many windows the memory is divided by
        runner = method.runner([obs], "cpu", pool, None)[0]
    lattice = runner.lattice
    if not lattice.fixed:
        lattice = replace(lattice, edge=min(lattice.edge, LARGEST))
    elif fade is not None:
        lattice = replace(lattice, fade=fade)
    return replace(runner, lattice=lattice), obs


def alone(runner: Runner, obs: Observation, row: Span, col: Span) -> np.ndarray:
    """What the network writes in one whole window (C, h, w)."""
    part = (..., slice(row.start, row.stop), slice(col.start, col.stop))
    seen = replace(obs, optical=obs.optical[part], cloud=obs.cloud[part], radar=obs.radar[part])
    lattice = replace(runner.lattice, edge=max(row.stop - row.start, col.stop - col.start))
    single = replace(runner, lattice=lattice, shape=None)
    return single.restore(seen, np.ones(seen.shape[2:], bool), None)[0]


def written_alone(runner: Runner, obs: Observation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows' own steps, each by its weight at both pixels: (C, H, W - 1), (C, H - 1, W); and one window."""
    height, width = obs.shape[2:]
    wide, tall, first = None, None, None
    for row in spans(runner.lattice, height, 0, height):
        for col in spans(runner.lattice, width, 0, width):
            values = alone(runner, obs, row, col)
            if wide is None:
                wide = np.zeros((len(values), height, width - 1), np.float32)
                tall, first = np.zeros((len(values), height - 1, width), np.float32), values
            weight = full(row)[:, None] * full(col)
            part = (slice(None), slice(row.start, row.stop - 1), slice(col.start, col.stop))
            tall[part] += np.diff(values, axis=1) * (weight[1:] + weight[:-1]) / 2
            part = (slice(None), slice(row.start, row.stop), slice(col.start, col.stop - 1))
            wide[part] += np.diff(values, axis=2) * (weight[:, 1:] + weight[:, :-1]) / 2
    return wide, tall, first


def full(span: Span) -> np.ndarray:
    """Weights of all pixels that a window reads."""
    weight = np.zeros(span.stop - span.start, np.float32)
    weight[span.first - span.start : span.last - span.start] = span.weights()
    return weight


def borders(runner: Runner, length: int) -> list[slice]:
    """Where along an axis windows pass over into each other, as indices of differences of neighbouring pixels."""
    found = spans(runner.lattice, length, 0, length)
    return [slice(span.first - 1, span.first + span.fade_low) for span in found[1:]]


def measured(name: str, runner: Runner, obs: Observation, scaled: bool = True) -> Seams:
    """The seams of a scene; ``scaled``: as if what the network writes had the spread of a usual correction."""
    whole = runner.restore(obs, np.ones(obs.shape[2:], bool), None)[0]
    wide, tall, window = written_alone(runner, obs)
    scale = scale_of(name, runner, whole, obs) if scaled else 1.0
    steps, heights, tones, elsewhere = [], [], [], 0.0
    for axis, own in ((2, wide), (1, tall)):
        seam = np.moveaxis(scale * (np.diff(whole, axis=axis) - own), axis, -1)
        rest = np.ones(seam.shape[-1], bool)
        for border in borders(runner, whole.shape[axis]):
            steps.append(np.abs(seam[..., border]).ravel())
            height = seam[..., border].sum(axis=-1)
            heights.append(np.abs(height).ravel())
            cut = height[:, : height.shape[1] // ALONG * ALONG]
            tones.append(np.abs(cut.reshape(len(cut), -1, ALONG).mean(axis=-1)).ravel())
            rest[border] = False
        elsewhere = max(elsewhere, float(np.abs(seam[..., rest]).max()))
    written = scale * (np.diff(window, axis=2) - np.diff(_input(name, runner, obs, window.shape), axis=2))
    return Seams(
        np.concatenate(steps), elsewhere, np.concatenate(heights), np.concatenate(tones), _rms(written)
    )  # fmt: skip


def _input(name: str, runner: Runner, obs: Observation, shape: tuple[int, ...]) -> np.ndarray:
    """What the network adds to, in its upper left window or as large as asked for; zeros where it adds to nothing."""
    if name == "crsystem" or models.record(name).module in reach.WHOLE_IMAGE:
        return np.zeros(shape, np.float32)
    return obs.optical[0][list(runner.bands), : shape[1], : shape[2]]


def scale_of(name: str, runner: Runner, whole: np.ndarray, obs: Observation) -> float:
    """What brings the spread of what the network writes to that of a usual correction."""
    written = whole - _input(name, runner, obs, whole.shape)
    return reach.CORRECTION / float((written - written.mean(axis=(1, 2), keepdims=True)).std())


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def edge_of(runner: Runner) -> int:
    """Of a scene with three windows a side, or two where they are large."""
    found = spans(runner.lattice, 4096, 0, 4096)
    return next(span.stop for span in (found[2], found[1]) if span.stop <= 768)


def stored(names: tuple[str, ...], folder: Path) -> None:
    """Puts networks with random weights into a weights folder, as an import would."""
    from safetensors.torch import save_file

    from cloud_removal_plugin.weights.folder import publish
    from cloud_removal_plugin.weights.stored import text_of

    for name in names:
        network = settled(name, reach.build(name, 1.0))
        config = {**dict(models.record(name).config), **reach.NARROW.get(name, {})}
        facts = text_of(name, config, "random", "0" * 64)
        publish(name, folder, lambda path, net=network, text=facts: save_file(net.state_dict(), str(path), text))


def settled(name: str, network: torch.nn.Module) -> torch.nn.Module:
    """Batch norms get the statistics of two patches, as training would give them; no sigmoid is left saturated."""
    record = models.record(name)
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms or record.module == "tuacr":  # its only ones are in blocks that are not used
        return network
    for norm in norms:
        norm.train().momentum = None
    for patch in PATCHES[:2]:
        reach.run(name, network, reach.inputs(name, reach.real(patch, reach.dates_of(name)))[..., :128, :128])
    if record.module == "uncrtaints":
        with torch.no_grad():
            network.out_conv.conv.conv[0].weight *= 0.1
    return network.eval()


def toned(network: torch.nn.Module, obs: Observation) -> None:
    """Makes all three networks of CR_system write what has the spread of a correction, so that nothing is clipped."""
    spread = reach.CORRECTION
    cut = (slice(None), slice(256), slice(256))

    def correcting(part: torch.nn.Module, top: float) -> None:
        def hook(_, seen: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            wrote = out - seen[0]
            factors.setdefault(part, spread * top / wrote.std())
            return seen[0] + factors[part] * wrote

        part.register_forward_hook(hook)

    def making(_, seen: tuple[torch.Tensor, ...], out: TUACROutput) -> TUACROutput:
        factors.setdefault(network.head, spread / out.out.std())
        factors.setdefault("mean", out.out.mean())
        return out._replace(out=0.4 + factors[network.head] * (out.out - factors["mean"]))

    factors: dict[object, torch.Tensor] = {}
    correcting(network.dsen2cr, models.record("dsen2cr").scaling.top)
    correcting(network.glfcr, models.record("glfcr").scaling.top)
    network.head.register_forward_hook(making)
    network.restore(obs.optical[0][cut], obs.radar[0][cut])  # the first call decides the factors


def line(name: str, runner: Runner, found: Seams, goal: float) -> str:
    """A row of the table."""
    lattice = runner.lattice
    at = [float(np.quantile(values, SHARE)) for values in (found.steps, found.heights, found.tones)]
    fade = str(lattice.fade) if lattice.fixed else "none"
    return (
        f"| {name} | {lattice.edge} | {fade} | {_rms(found.steps):.1e} | {at[0]:.1e} | {goal:.0e} | "
        f"{found.steps.max():.1e} | {_rms(found.heights):.1e} | {_rms(found.tones):.1e} | {found.own:.1e} |"
    )


def main() -> int:
    """Prints the table; status 1 where a network misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=[*WHOLE, *CONTROLS])
    parser.add_argument("--weights", type=Path, help="a folder of imported or trained weights")
    parser.add_argument("--fade", type=int, help="pixels over which whole-window networks fade, instead of theirs")
    chosen = parser.parse_args()
    as_worker("benchmarks.seams")
    torch.set_num_threads(1)
    print("| network | window | fade | step, rms | 99.9 % | goal | largest | height, rms | tone, rms | own steps, rms |"
          "\n|" + " --- |" * 10)  # fmt: skip
    met = True
    for name in chosen.networks:
        with tempfile.TemporaryDirectory() as made:
            folder = chosen.weights or Path(made)
            if not chosen.weights:
                stored((*PARTS, "tuacr") if name == "crsystem" else (name,), folder)
            runner, obs = runner_of(name, folder, 256, chosen.fade)  # its windows say how large the scene must be
            runner, obs = runner_of(name, folder, edge_of(runner), chosen.fade)
        if name == "crsystem" and not chosen.weights:
            toned(runner.network, obs)
        found, goal = measured(name, runner, obs, chosen.weights is None), GOALS[name in WHOLE]
        print(line(name, runner, found, goal), flush=True)
        met &= float(np.quantile(found.steps, SHARE)) <= goal and found.elsewhere < goal / 10
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
