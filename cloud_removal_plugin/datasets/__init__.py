"""Readers of the public data sets and of the analyst's own scenes, as PyTorch data sets.

``from cloud_removal_plugin.datasets import SEN12MSCRTS`` loads a reader when it is asked for.
"""

from __future__ import annotations

from typing import Any

_HOMES = {
    "SEN12MSCR": "sen12mscr",
    "SEN12MSCRTS": "sen12mscrts",
    "SEN12MSCRTSFile": "sen12mscrts_file",
    "M3RCR": "m3rcr",
    "EarthNet2021": "earthnet",
    "EarthNet2021x": "earthnetx",
    "FileListTriplets": "filelist",
    "ScenesDataset": "scenes",
    "open_dataset": "opening",
}

__all__ = [
    "M3RCR",
    "SEN12MSCR",
    "SEN12MSCRTS",
    "EarthNet2021",
    "EarthNet2021x",
    "FileListTriplets",
    "SEN12MSCRTSFile",
    "ScenesDataset",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    """The reader called ``name``."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
