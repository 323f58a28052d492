"""How far each network sees, what that costs, and what memory it takes: where the records' figures come from.

A window that is cut out of an image is computed alone and within it; the deviation at every distance from the cut says
what halo is enough. What a network writes (the change, where it adds to its input, else the image) is scaled to a
spread of 0.05 reflectance, the size of a usual correction. Images are real patches where the data are there. Weights
are random (He et al. 2015, so that signals keep their size through the depth), times ``--gain``, or those of a
weights folder (``--weights``). Redundancy is computed by wanted pixels of a scene of 2048 x 2048 in the windows that
a job with the default memory and two workers takes. Memory is the growth of the process' peak over a forward pass, each
network in a process of its own, at two sizes.

    python -m benchmarks.reach [--memory] [--gain 1.0] [--weights FOLDER] [NETWORK ...]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scenes import data_root, plain
from cloud_removal_plugin import models
from cloud_removal_plugin.bands import SENTINEL2_L1C

EDGE, CUT = 256, 32
"""Of the image, and how far from its ends the window is cut out."""

CORRECTION = 0.05
LIMIT = 1e-3
SCENE = 2048
PATCHES = ("04065", "02266")
WHOLE_IMAGE = ("utilise", "seq2point", "clearvision_removal")
"""Modules whose networks write the image; the others add to their input."""

BLANKED = ("utilise", "clearvision_removal")
"""Modules whose networks see 1 where a frame is cloudy (``methods/learned_inputs.py``)."""

Frame = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Reflectance (13, H, W), backscatter in dB (2, H, W) and what a cloud hides, bool (H, W)."""

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
"""Networks that are measured with fewer features, which changes their reach little."""


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


def build(name: str, gain: float, narrow: bool = True, seed: int = 7) -> torch.nn.Module:
    """A network with random weights, as it computes in use."""
    torch.manual_seed(seed)
    network = models.create(name, **(NARROW.get(name, {}) if narrow else {}))
    he_weights(network, gain)
    return network.eval()


def stored(name: str, folder: Path) -> torch.nn.Module:
    """A network with the weights of a folder."""
    from cloud_removal_plugin.models.conversion import load
    from cloud_removal_plugin.weights.folder import find

    found = find(name, folder)
    if found is None:
        raise SystemExit(f"There are no weights of {name} in '{folder}'.")
    return load(found)


def image(bands: int, edge: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth land with fine detail in 0..1, float32 (bands, edge, edge)."""
    coarse = torch.from_numpy(rng.uniform(0.05, 0.5, (1, bands, edge // 8 + 1, edge // 8 + 1)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(edge, edge), mode="bilinear", align_corners=True)[0].numpy()
    return (smooth + 0.03 * rng.standard_normal((bands, edge, edge)).astype(np.float32)).clip(0, 1)


def made_up(edge: int, dates: int) -> list[Frame]:
    """A frame for each date, every other with a cloud over the right half."""
    rng = np.random.default_rng(3)
    frames = []
    for date in range(dates):
        optical = image(len(SENTINEL2_L1C), edge, rng)
        hidden = np.zeros((edge, edge), bool)
        hidden[:, edge // 2 :] = date % 2 == 0
        frames.append((np.where(hidden, np.float32(0.9), optical), -20 + 15 * image(2, edge, rng), hidden))
    return frames


def real(patch: str, dates: int) -> list[Frame]:
    """The same from a patch of SEN12MS-CR, by turns cloudy and clear; nothing where it or its mask is not there."""
    stem = data_root() / "sen12mscr_triplets" / patch
    if not all(Path(f"{stem}_{kind}.tif").is_file() for kind in ("s1", "cloudmask")):
        return []

    def read(kind: str) -> np.ndarray:
        with plain(Path(f"{stem}_{kind}.tif")) as file:
            return file.read().astype(np.float32)

    optical, radar = [read("s2_cloudy") / 1e4, read("s2_clear") / 1e4], read("s1")
    cloudy = read("cloudmask")[0] > 0
    return [((1 + 0.02 * date) * optical[date % 2], radar + date, cloudy & (date % 2 == 0)) for date in range(dates)]


def inputs(name: str, frames: list[Frame]) -> torch.Tensor:
    """Frames (T, C, edge, edge) in the network's order of channels, ranges as in its record."""
    record = models.record(name)
    places = [SENTINEL2_L1C.index(role) for role in record.bands]
    scaled = []
    for optical, radar, hidden in frames:
        parts = [record.scaling.optical(optical[places])]
        if record.module in BLANKED:
            parts[0] = np.where(hidden, np.float32(1), parts[0])
        if record.radar == "required":
            parts.insert(0 if record.radar_first else 1, record.scaling.radar(radar))
        scaled.append(torch.from_numpy(np.concatenate(parts)))
    return torch.stack(scaled)


def run(name: str, network: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """The network's reflectance (C, H, W) for frames (T, C, H, W)."""
    from cloud_removal_plugin.models.seq2point import image as from_tanh

    record = models.record(name)
    bands = len(record.bands)
    days = 150 + 5 * torch.arange(len(frames), dtype=torch.float32)[None]
    with torch.inference_mode():
        if record.module in ("uncrtaints", "utilise"):
            out = network(frames[None], days)[0][0 if record.module == "uncrtaints" else len(frames) // 2][:bands]
        elif record.module == "clearvision_removal":
            out = network(frames.transpose(0, 1)[None])[1][0][:, len(frames) // 2]
        elif record.builder in ("Seq2Point", "PairwiseResNet"):
            out = from_tanh(network([frame[None] for frame in frames])[0])
        elif record.builder == "BaselineResNet":
            out = network(frames[:1])[0]
        elif record.radar == "required":
            out = network(frames[:1, :bands], frames[:1, bands:])[0]
        else:
            out = network(frames[:1])[0]
    return out / record.scaling.top


def dates_of(name: str) -> int:
    """Frames of a measurement."""
    record = models.record(name)
    return max(record.dates[0], min(record.dates_counted, 5))


def scale_of(name: str, whole: torch.Tensor, frames: torch.Tensor) -> float:
    """What brings the spread of what the network writes to the size of a usual correction."""
    record = models.record(name)
    written = whole
    if record.module not in WHOLE_IMAGE:
        written = whole - frames[0, 2 if record.radar_first else 0 :][: len(record.bands)] / record.scaling.top
    return CORRECTION / float((written - written.mean(dim=(1, 2), keepdim=True)).square().mean().sqrt())


def deviations(name: str, network: torch.nn.Module) -> np.ndarray:
    """Largest deviation in reflectance of the pixels at least so far from a cut, for every distance in pixels."""
    dates = dates_of(name)
    worst = np.zeros(EDGE // 2 - CUT)
    for pixels in [found for patch in PATCHES if (found := real(patch, dates))] or [made_up(EDGE, dates)]:
        frames = inputs(name, pixels)
        whole = run(name, network, frames)
        inside = slice(CUT, EDGE - CUT)
        part = run(name, network, frames[..., inside, inside])
        found = (part - whole[:, inside, inside]).abs().amax(dim=0).numpy() * scale_of(name, whole, frames)
        size = len(found)
        here = [found[far : size - far, far : size - far].max() for far in range(len(worst))]
        worst = np.maximum(worst, here)
    return worst


def smallest(worst: np.ndarray, limit: float, multiple: int = 1) -> int | None:
    """The smallest halo, a multiple of what sizes are multiples of, that keeps deviations below the limit."""
    enough = np.flatnonzero(worst < limit)
    halo = -(-int(enough[0]) // multiple) * multiple if len(enough) else None
    return halo if halo is not None and halo < len(worst) else None


def windows_of(record: models.Record, compiled: bool | None = None) -> tuple[int, float]:
    """Edge of the windows of a job by default, and computed pixels for every wanted one of a scene.

    Args:
        record: of the network.
        compiled: with the compiled kernel, or without; None: as it is here.
    """
    from cloud_removal_plugin.methods import learned, learned_tiles, learned_window

    if compiled is not None:
        kib, base = (compiled and record.memory_compiled) or (record.memory_kib, record.memory_base)
        record = replace(record, memory_kib=kib, memory_base=base, memory_compiled=None)
    dates, memory = max(record.dates[0], min(record.dates[1] or 5, 5)), 4096 * learned.SHARE
    workers = 2 if learned_window.side_by_side(record, dates, memory, 2) else 1
    lattice = learned_window.lattice_of(record, dates, memory, workers, "cpu")
    spans = learned_tiles.spans(lattice, SCENE, 0, SCENE)
    return lattice.edge, (sum(span.stop - span.start for span in spans) / SCENE) ** 2


def report(name: str, worst: np.ndarray) -> str:
    """A line of the table."""
    record = models.record(name)
    multiple = record.size_multiple
    needed, fine = smallest(worst, LIMIT, multiple), smallest(worst, LIMIT / 10, multiple)
    edge, redundancy = windows_of(record)
    then = f"{windows_of(replace(record, halo=needed))[1]:.2f}" if needed is not None and not record.window else ""
    at, half = worst[min(record.halo, len(worst) - 1)], worst[record.halo // 2]
    return (
        f"| {name} | {smallest(worst, LIMIT)} | {needed} | {fine} | {record.halo} | {at:.1e} | {half:.1e} | {edge} | "
        f"{redundancy:.2f} | {then} |"
    )


def peak_mb(name: str, edge: int) -> float:
    """Growth in MiB of this process' peak memory over one pass, weights left out."""
    record = models.record(name)
    frames = inputs(name, made_up(edge, max(record.dates[0], record.dates_counted)))
    network = build(name, 1.0, narrow=False)
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
    """Prints a table of halos, or one line of JSON a network on memory; status 1 where a local record's halo fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=[])
    parser.add_argument("--memory", action="store_true", help="measure memory instead of reach")
    parser.add_argument("--gain", type=float, default=1.0)
    parser.add_argument("--weights", type=Path, help="a folder of imported or trained weights")
    parser.add_argument("--peak", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.peak:
        print(peak_mb(chosen.networks[0], chosen.peak))
        return 0
    if chosen.memory:
        for name in chosen.networks or restorers():
            record = models.record(name)
            line = {"network": name, **memory(name), "record": [record.memory_kib, record.memory_base]}
            print(json.dumps(line), flush=True)
        return 0
    print("| network | exact halo | in its multiple | for 1e-4 | record | deviation | at half of it | window | "
          "redundancy | with the needed halo |\n|" + " --- |" * 10)  # fmt: skip
    enough = True
    for name in chosen.networks or restorers():
        network = stored(name, chosen.weights) if chosen.weights else build(name, chosen.gain)
        worst = deviations(name, network)
        print(report(name, worst), flush=True)
        record = models.record(name)
        enough &= bool(record.whole_statistics or worst[record.halo] < LIMIT)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
