"""How far each network sees, and what memory it takes: where the records' ``halo`` and ``memory_kib`` come from.

A small core in the middle of an image is computed with more and more surroundings and compared with the whole image.
Weights are random (He et al. 2015, so that signals keep their size through the depth), times ``--gain``; what the
network adds to its input is scaled to 0.05 reflectance, the size of a usual correction. Memory is the growth of the
process' peak over a forward pass, each network in a process of its own, at two sizes.

    python -m benchmarks.reach [--memory] [--gain 1.0] [NETWORK ...]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import numpy as np
import torch

from cloud_removal_plugin import models

CORE = 32
CORRECTION = 0.05
LIMIT = 1e-3
FARTHEST = 80
NARROW: dict[str, dict[str, Any]] = {
    "seq2point": {"resnet_F": 24},
    "seq2point_nosar": {"resnet_F": 24},
    "seq2point_pairwise": {"resnet_F": 12},
    "baseline_resnet": {"resnet_F": 64},
    "dsen2cr": {"feature_size": 64},
    "dsen2cr_nosar": {"feature_size": 64},
    "glfcr": {"G0": 48, "G": 24},
    "aligncr": {"G0": 48, "G": 24, "upnet_hidden": 128},
}
"""Networks that are measured with fewer features: the reach does not depend on their number."""


def restorers() -> tuple[str, ...]:
    """Networks that restore an image."""
    from cloud_removal_plugin.methods.learned import NETWORKS

    return NETWORKS


def he_weights(network: torch.nn.Module, gain: float) -> None:
    """Random weights whose layers keep the size of signals, times ``gain``; biases small and random.

    Networks with per-pixel filters keep torch's own start values, times ``gain``: filters made by filters grow without
    bound else.
    """
    with torch.no_grad():
        if hasattr(network, "DF"):
            for value in network.parameters():
                if value.dim() == 4:
                    value *= gain
            return
        for name, value in network.named_parameters():
            if value.dim() > 1 and not name.endswith("weight_g"):
                fan = value[0].numel()
                torch.nn.init.normal_(value, std=gain * (2 / fan) ** 0.5)
            elif name.endswith("bias"):
                torch.nn.init.normal_(value, std=0.05)


def build(name: str, gain: float, narrow: bool = True) -> torch.nn.Module:
    """A network with random weights."""
    torch.manual_seed(7)
    network = models.create(name, **(NARROW.get(name, {}) if narrow else {}))
    he_weights(network, gain)
    return network


def image(bands: int, edge: int, rng: np.random.Generator) -> torch.Tensor:
    """Smooth land with fine detail in 0..1, float32 (bands, edge, edge)."""
    coarse = torch.from_numpy(rng.uniform(0.05, 0.5, (1, bands, edge // 8 + 1, edge // 8 + 1)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(edge, edge), mode="bilinear", align_corners=True)[0]
    return (smooth + 0.03 * torch.from_numpy(rng.standard_normal((bands, edge, edge)).astype(np.float32))).clamp(0, 1)


def inputs(name: str, edge: int, dates: int) -> torch.Tensor:
    """Frames (T, C, edge, edge) in the network's order of channels, ranges as in its record."""
    record, rng = models.record(name), np.random.default_rng(3)
    ranges = record.scaling
    frames = []
    for date in range(dates):
        optical = torch.from_numpy(ranges.optical(image(len(record.bands), edge, rng).numpy()))
        # a cloud over the right half of every other date
        if date % 2 == 0:
            optical[:, :, edge // 2 :] = 0.9 * ranges.top
        radar = torch.from_numpy(ranges.radar(-20 + 15 * image(2, edge, rng).numpy()))
        parts = [radar, optical] if record.radar_first else [optical, radar]
        frames.append(torch.cat(parts if record.radar == "required" else [optical]))
    return torch.stack(frames)


def run(name: str, network: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """The network's reflectance (C, H, W) for frames (T, C, H, W)."""
    record = models.record(name)
    bands = len(record.bands)
    days = 150 + 5 * torch.arange(len(frames), dtype=torch.float32)[None]
    with torch.inference_mode():
        if record.module in ("uncrtaints", "utilise"):
            out = network(frames[None], days)[0][0 if record.module == "uncrtaints" else len(frames) // 2][:bands]
        elif record.module == "clearvision_removal":
            out = network(frames.transpose(0, 1)[None])[1][0][:, len(frames) // 2]
        elif record.builder in ("Seq2Point", "PairwiseResNet"):
            out = network([frame[None] for frame in frames])[0]
        elif record.builder == "BaselineResNet":
            out = network(frames[:1])[0]
        elif record.radar == "required":
            out = network(frames[:1, :bands], frames[:1, bands:])[0]
        else:
            out = network(frames[:1])[0]
    return out / record.scaling.top


def deviations(name: str, gain: float) -> dict[int, float]:
    """Largest deviation of the core by halo, in reflectance."""
    record = models.record(name)
    step = max(record.size_multiple, 4)
    far = FARTHEST // step * step
    dates = max(record.dates[0], min(record.dates_counted, 5))
    edge = CORE + 2 * far
    frames, network = inputs(name, edge, dates), build(name, gain)
    whole = run(name, network, frames)
    first = record.scaling.optical(np.zeros(1))  # signed ranges have no skip
    base = frames[0, 2 if record.radar_first else 0 :][: len(record.bands)] / record.scaling.top + float(first[0]) * 0
    added = whole - base
    scale = CORRECTION / float((added - added.mean(dim=(1, 2), keepdim=True)).square().mean().sqrt())
    core = whole[:, far : far + CORE, far : far + CORE]
    found = {}
    for halo in range(0 if record.size_multiple == 1 else step, far, step):
        low, high = far - halo, far + CORE + halo
        if high - low < record.size_least:
            continue
        part = run(name, network, frames[..., low:high, low:high])[:, halo : halo + CORE, halo : halo + CORE]
        found[halo] = scale * float((part - core).abs().max())
    return found


def smallest(found: dict[int, float], limit: float) -> int | None:
    """The smallest halo from which on no deviation is above the limit."""
    good = None
    for halo in sorted(found, reverse=True):
        if found[halo] > limit:
            return good
        good = halo
    return good


def peak_mb(name: str, edge: int) -> float:
    """Growth in MiB of this process' peak memory over one pass, weights left out."""
    record = models.record(name)
    frames, network = inputs(name, edge, max(record.dates[0], record.dates_counted)), build(name, 1.0, narrow=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(name, network, frames)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def memory(name: str) -> dict[str, float]:
    """KiB a pixel and MiB beside that, from two sizes in processes of their own."""
    sizes = (32, 64) if models.record(name).module == "seq2point" else (64, 128)
    found = []
    for edge in sizes:
        command = [sys.executable, "-m", "benchmarks.reach", "--peak", str(edge), name]
        found.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]))
    slope = (found[1] - found[0]) / (sizes[1] ** 2 - sizes[0] ** 2)
    return {"kib": 1024 * slope, "base_mb": found[0] - slope * sizes[0] ** 2, f"at_{sizes[1]}_mb": found[1]}


def main() -> int:
    """Prints one line of JSON a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=[])
    parser.add_argument("--memory", action="store_true", help="measure memory instead of reach")
    parser.add_argument("--gain", type=float, default=1.0)
    parser.add_argument("--peak", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.peak:
        print(peak_mb(chosen.networks[0], chosen.peak))
        return 0
    for name in chosen.networks or restorers():
        record = models.record(name)
        if chosen.memory:
            line = {"network": name, **memory(name), "record": [record.memory_kib, record.memory_base]}
        else:
            found = deviations(name, chosen.gain)
            line = {
                "network": name,
                "halo": smallest(found, LIMIT),
                "halo_1e-4": smallest(found, LIMIT / 10),
                "record": record.halo,
                "deviation": {halo: float(f"{value:.2g}") for halo, value in found.items()},
            }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
