"""Inputs of golden cases that are not stored: real patches, and what a json says in words of how they are scaled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cloud_removal_plugin.models.scaling import Scaling
from tests.models.golden_files import data_folders

WINDOW = "window_row_col_h_w"
WHOLE = (0, 0, 10**6, 10**6)
DN = np.float32(10000)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = rf"\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]"
_KINDS = {"s1": ("s1",), "s2_cloudy": ("s2_cloudy",), "s2_cloudfree": ("s2_cloudfree", "s2_clear")}


def batch_of(values: np.ndarray) -> Tensor:
    """(bands, H, W) to a tensor (1, bands, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values))[None]


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers that a case's recipe names; a recipe in other words fails here."""
    found = re.search(pattern.replace("#", f"({_NUMBER})"), text)
    assert found, f"{text!r} does not say {pattern}"
    return [float(part) for part in found.groups()]


def _places(kind: str, sample: str) -> Iterator[Path]:
    """Where a patch may lie below a data folder: a path from there, or a bare name in one of the sets."""
    names = _KINDS.get(kind, (kind,))
    stem = re.sub(r"_(s1|s2_cloudy|s2_cloudfree|s2_clear)$", "", Path(sample).stem)
    above = Path(sample).parent
    for name in names:
        yield above.parent / name / f"{stem}.tif" if above.name in sum(_KINDS.values(), ()) else above / f"{stem}.tif"
        yield above / f"{stem}_{name}.tif"
        yield Path("sen12mscr") / name / f"{stem}.tif"
        for folder in ("sen12mscr_pairs", "sen12mscr_triplets"):
            yield Path(folder) / f"{stem}_{name}.tif"
    if kind != "s1":
        yield Path(sample)


def _ends_as(file: Path, place: Path) -> bool:
    kept = 2 if place.parent.name in sum(_KINDS.values(), ()) else 1
    return file.parts[-kept:] == place.parts[-kept:]


def patch_file(kind: str, sample: str) -> Path:
    """The file of a real patch.

    Args:
        kind: ``s1``, ``s2_cloudy`` or ``s2_cloudfree``.
        sample: a name in one of the SEN12MS-CR folders, or a path below the data folder, of whatever kind.
    """
    places = list(_places(kind, sample))
    for folder in data_folders():
        known = (folder / place for place in places)
        # In a folder that no set has so far, the name must still end as one of these places does.
        elsewhere = (file for file in folder.rglob("*.tif") if any(_ends_as(file, place) for place in places))
        if found := next((file for file in (*known, *elsewhere) if file.is_file()), None):
            return found
    pytest.skip(f"the real patch {sample} ({kind}) is not there")


@lru_cache(maxsize=8)
def _read(file: Path) -> np.ndarray:
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(file) as source:
        return source.read().astype(np.float32)


def stored_patch(kind: str, sample: str, window: Any = WHOLE) -> np.ndarray:
    """float32 (bands, H, W) as stored: dB, or digital numbers."""
    row, col, height, width = window
    return _read(patch_file(kind, sample))[:, row : row + height, col : col + width]


def real_patch(kind: str, sample: str, window: Any = WHOLE) -> np.ndarray:
    """float32 (bands, H, W) of ``kind`` (s1, s2_cloudy, s2_cloudfree): dB, or reflectance."""
    values = stored_patch(kind, sample, window)
    return values if kind == "s1" else values / DN


def kind_in(text: str, otherwise: str = "s2_cloudy") -> str:
    """Which optical patch a description speaks of."""
    found = re.search(r"s2_(cloudy|cloudfree|clear)", text)
    return {"cloudy": "s2_cloudy"}.get(found[1], "s2_cloudfree") if found else otherwise


def said_scaling(base: Scaling, optical: str, radar: str) -> Scaling:
    """``base`` with what the descriptions say otherwise, such as "clip 0..10000 /2000", "VH clip[-32.5,0] -> [0,2]"."""
    wanted = base
    if divisor := re.search(rf"/\s*({_NUMBER})", optical):
        wanted = replace(wanted, top=10000 / float(divisor[1]))
    if top := re.search(rf"->\s*{_RANGE}", radar):
        wanted = replace(wanted, radar_top=float(top[2]))
    for name, label in (("vv", "VV"), ("vh", "VH"), ("vv", "(?i:both)[^\\[]*"), ("vh", "(?i:both)[^\\[]*")):
        if limits := re.search(rf"{label}\s*(?:clip)?\s*{_RANGE}", radar):
            wanted = replace(wanted, **{name: (float(limits[1]), float(limits[2]))})
    return wanted


def samples_of(where: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(kind, sample) of every patch of a json's ``input``: ``sample``, ``samples``, or ``dates`` that are no days."""
    dates = [entry for entry in where.get("dates", ()) if not isinstance(entry, (int, float))]
    listed = dates or where.get("samples") or [where["sample"]]
    usual = kind_in(str(where.get("s2", where.get("image", ""))))
    return [(usual, entry) if isinstance(entry, str) else (entry[0], entry[1]) for entry in listed]


def days_of(where: Mapping[str, Any]) -> Tensor | None:
    """Day numbers (1, T) that a json's ``input`` lists, or None."""
    days = [entry for entry in where.get("dates", ()) if isinstance(entry, (int, float))]
    return torch.tensor([days], dtype=torch.float32) if days else None


def rebuilt(where: Mapping[str, Any], base: Scaling, radar: bool = True) -> list[tuple[Tensor, ...]]:
    """Every patch of a json's ``input``, scaled as it says: (1, 13, H, W), and with ``radar`` (1, 2, H, W)."""
    wanted = said_scaling(base, str(where.get("s2", "")), str(where.get("s1", where.get("sar", ""))))
    window = where.get(WINDOW, WHOLE)
    patches = []
    for kind, sample in samples_of(where):
        parts = [batch_of(wanted.optical(real_patch(kind, sample, window)))]
        if radar:
            parts.append(batch_of(wanted.radar(real_patch("s1", sample, window))))
        patches.append(tuple(parts))
    return patches


def joined(patches: list[tuple[Tensor, ...]], part: int) -> Tensor:
    """One part of all patches as a batch."""
    return torch.cat([patch[part] for patch in patches])
